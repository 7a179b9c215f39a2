"""The standard library of RTFS, one table of names.

Belongs here: ``BUILTINS``, all tables together. Does not: any function (the modules beside).
Source: rtfs.md 1.5 (names), 1.4 (semantics); upstream ``runtime/secure_stdlib.rs``.
"""

from planner_synthesis.rtfs.builtins.collections import COLLECTIONS
from planner_synthesis.rtfs.builtins.functions import FUNCTIONS
from planner_synthesis.rtfs.builtins.maps import MAPS
from planner_synthesis.rtfs.builtins.numbers import NUMBERS
from planner_synthesis.rtfs.builtins.predicates import PREDICATES
from planner_synthesis.rtfs.builtins.strings import STRINGS
from planner_synthesis.rtfs.values import Builtin

BUILTINS: dict[str, Builtin] = {
    builtin.name: builtin
    for table in (NUMBERS, PREDICATES, STRINGS, COLLECTIONS, MAPS, FUNCTIONS)
    for builtin in table
}
"""Every function by its name. ``call`` is not among them: it belongs to the evaluator."""
