"""Running code that nobody trusts: one command at a time, under limits, with nothing left over.

Belongs here: the public names of the sandbox. Does not: what is run, or what comes of it.
"""

from planner_pipeline.bench.sandbox.command import (
    GUARANTEES,
    UNIT_VARIABLE,
    Command,
    Ending,
    Finished,
    Isolation,
)
from planner_pipeline.bench.sandbox.opening import open_sandbox
from planner_pipeline.bench.sandbox.orphans import reap_orphans
from planner_pipeline.bench.sandbox.sandbox import Sandbox

__all__ = [
    "GUARANTEES",
    "UNIT_VARIABLE",
    "Command",
    "Ending",
    "Finished",
    "Isolation",
    "Sandbox",
    "open_sandbox",
    "reap_orphans",
]
