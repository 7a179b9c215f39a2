"""RTFS, the language of planners: forms, a reader, a printer and a sandboxed evaluator.

Belongs here: the public names of the language. Does not: which planner to write (the rest of
``planner_synthesis``).
Source: rtfs.md (facts about the language); planner-synthesis.md (what is emitted).
"""
