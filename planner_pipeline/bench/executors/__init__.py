"""Executors: what runs a candidate and tells what came of it.

Belongs here: a module for each way of running one. Does not: campaigns, caps, labels (``bench``).
Spec: section 9.3.
"""
