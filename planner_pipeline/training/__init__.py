"""Fitting models: settings, batches, losses, the loop, checkpoints.

Belongs here: what happens before a checkpoint is saved. Does not: judging it (``evaluation``).
Spec: section 7.4.
"""
