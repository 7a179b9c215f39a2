"""Executors: what really runs the units of a bench, or replays what was logged.

Belongs here: one module an executor, and the parts of each. Does not: campaigns, judging.
"""
