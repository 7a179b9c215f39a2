"""Assets, one file a stage, the group named after it.

Belongs here: doorways. Does not: work.
"""
