"""What a kernel needs around a planner: its history, its question, its modes, its records.

Belongs here: everything between a kernel's own objects and a decision. Does not: the names that a
kernel imports (``cyntra``), the decision itself (``planner``). Spec: section 10.
"""
