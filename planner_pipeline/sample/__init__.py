"""A simulated kernel: a workspace in the kernel's true formats, from a seed.

Belongs here: the simulation and its files. Does not: reading them back (``sources``). Nothing
learned on it says anything about real agents, and no quality claim is ever made on it.
"""
