"""Runs -> labelled examples in time order, with splits, shards and one hash for all of it.

Belongs here: what a model is trained and tested on. Does not: training (``training``).
Spec: sections 5.3 and 6.
"""
