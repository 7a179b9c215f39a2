"""Planner synthesis: RTFS planner programs from an interaction history and a capability registry.

Belongs here: the deterministic synthesis that the planner-synthesis spec describes; it knows
nothing of the learned planner. Does not: yet hold code; it is the next sibling to be built.
"""
