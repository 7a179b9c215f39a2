"""Bring your own actions: which of a given set of actions each case should get, from two tables.

Belongs here: reading the tables, features, estimates, the choice, cross-validation, figures.
Does not: Cyntra's own four heads (``planner_runtime.actions``), the command line
(``select_command``). Source: docs/select.md.
"""
