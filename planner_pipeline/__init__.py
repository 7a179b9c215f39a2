"""The offline pipeline: run artifacts -> dataset -> model -> calibrated bundle -> report.

Belongs here: everything that may be slow and needs the ``pipeline`` extra. Does not: anything a
kernel calls while it works (``planner_runtime``). See docs/architecture.md.
"""
