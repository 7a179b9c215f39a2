"""Experiments: many fits compared.

Belongs here: the trial study with learned policies, ablations. Does not: single fits
(``training``), figures (``evaluation``).
"""
