"""Predicted outcomes of actions: what a model reads and says, the track records it starts from.

Belongs here: what only bundles of the kind ``outcome`` need. Does not: deciding by it
(``outcome_planner``, ``policy``), what outcomes are worth (``objective``).
Source: ADR 0011.
"""
