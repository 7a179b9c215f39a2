"""What builtins ask of their arguments, and the errors when it is not so.

Belongs here: taking an argument as a number, an integer, a string, a map, items. Does not: any
builtin.
Source: rtfs.md 1.4 (nothing but what is said takes nil).
"""

from planner_synthesis.rtfs.errors import RtfsTypeError
from planner_synthesis.rtfs.forms import Form, List, Map, Vector, type_name
from planner_synthesis.rtfs.values import Arguments

# what upstream trims: Unicode's White_Space, which lacks the four separators that Python strips
WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


def is_integer(value: Form) -> bool:
    """An integer, and no boolean."""
    return isinstance(value, int) and not isinstance(value, bool)


def number_in(value: Form, operation: str) -> int | float:
    """The value as a number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise RtfsTypeError(operation, "number", type_name(value))


def integer_in(value: Form, operation: str) -> int:
    """The value as an integer."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise RtfsTypeError(operation, "integer", type_name(value))


def string_in(value: Form, operation: str) -> str:
    """The value as a string."""
    if isinstance(value, str):
        return value
    raise RtfsTypeError(operation, "string", type_name(value))


def map_in(value: Form, operation: str) -> Map:
    """The value as a map."""
    if isinstance(value, Map):
        return value
    raise RtfsTypeError(operation, "map", type_name(value))


def vector_in(value: Form, operation: str) -> Vector:
    """The value as a vector."""
    if isinstance(value, Vector):
        return value
    raise RtfsTypeError(operation, "vector", type_name(value))


def items_in(value: Form, operation: str) -> Arguments:
    """The items of a vector or list."""
    if isinstance(value, Vector | List):
        return value.items
    raise RtfsTypeError(operation, "vector or list", type_name(value))


def characters_or_items(value: Form, operation: str) -> Arguments:
    """The items of a vector or list, or the characters of a string."""
    return tuple(value) if isinstance(value, str) else items_in(value, operation)


def count_in(value: Form, operation: str, n_items: int) -> int:
    """A count of items; a negative one is as good as all of them, as in upstream's ``as usize``."""
    count = integer_in(value, operation)
    return n_items if count < 0 else min(count, n_items)
