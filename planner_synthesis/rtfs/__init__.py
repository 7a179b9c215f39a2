"""RTFS, the language of planners: forms, a reader, a printer and a sandboxed evaluator.

Belongs here: the public names of the language. Does not: which planner to write (the rest of
``planner_synthesis``).
Source: rtfs.md (facts about the language); planner-synthesis.md (what is emitted).
"""

from planner_synthesis.rtfs.budget import Limits, Meter
from planner_synthesis.rtfs.builtins import BUILTINS
from planner_synthesis.rtfs.errors import (
    BudgetExceeded,
    HostFailure,
    RtfsError,
    RtfsSyntaxError,
    SecurityViolation,
    UnprintableForm,
)
from planner_synthesis.rtfs.evaluator import evaluate
from planner_synthesis.rtfs.forms import (
    MAX_DEPTH,
    Extra,
    Form,
    Kw,
    List,
    Map,
    Position,
    Sym,
    Vector,
)
from planner_synthesis.rtfs.host import Gate, Host, HostCall, HostStep, NestingHost, StubHost
from planner_synthesis.rtfs.json_values import from_python, to_json
from planner_synthesis.rtfs.printer import is_keyword_name, print_form, print_program
from planner_synthesis.rtfs.reader import read_expression, read_program

__all__ = [
    "BUILTINS", "MAX_DEPTH", "BudgetExceeded", "Extra", "Form", "Gate", "Host", "HostCall",
    "HostFailure", "HostStep", "Kw", "Limits", "List", "Map", "Meter", "NestingHost", "Position",
    "RtfsError", "RtfsSyntaxError", "SecurityViolation", "StubHost", "Sym", "UnprintableForm",
    "Vector", "evaluate", "from_python", "is_keyword_name", "print_form", "print_program",
    "read_expression", "read_program", "to_json",
]  # fmt: skip
