"""The two shapes that every program here is built of: a list with a head, a map with names.

Belongs here: those two, for whoever builds trees. Does not: what any program says (``templates``).
Source: rtfs.md 1.2; design/style.md 9 (emitted programs are trees).
"""

from planner_synthesis.rtfs.forms import Form, Kw, List, Map, Sym


def list_form(head: str, *items: Form) -> List:
    """``(head item ...)``."""
    return List((Sym(head), *items))


def map_form(**entries: Form) -> Map:
    """``{:name value ...}``, sorted by name."""
    return Map(tuple((Kw(name), entries[name]) for name in sorted(entries)))
