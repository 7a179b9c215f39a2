"""Truth and types: and, or, not, and the questions that end in ``?``.

Belongs here: what answers about one value, whatever it is. Does not: numbers' parity (``numbers``).
Source: rtfs.md 1.4: ``and`` and ``or`` are functions, all their arguments are evaluated.
"""

from collections.abc import Callable

from planner_synthesis.rtfs.forms import Form, Kw, List, Map, Sym, Vector, type_name
from planner_synthesis.rtfs.values import Arguments, Builtin, Closure, is_truthy


def _and(args: Arguments) -> Form:
    falsy = [value for value in args if not is_truthy(value)]
    return (falsy or args[-1:] or (True,))[0]


def _or(args: Arguments) -> Form:
    truthy = [value for value in args if is_truthy(value)]
    return (truthy or args[-1:] or (False,))[0]


def _not(args: Arguments) -> Form:
    return not is_truthy(args[0])


def _empty(args: Arguments) -> Form:
    match args[0]:
        case Vector(items):
            return not items
        case Map(entries):
            return not entries
        case None | "":
            return True
    return False


def _type_name(args: Arguments) -> Form:
    return type_name(args[0])


def _is(*types: type) -> Callable[[Arguments], Form]:
    def run(args: Arguments) -> Form:
        return type(args[0]) in types

    return run


PREDICATES = (
    Builtin("and", 0, None, _and),
    Builtin("or", 0, None, _or),
    Builtin("not", 1, 1, _not),
    Builtin("empty?", 1, 1, _empty),
    Builtin("type-name", 1, 1, _type_name),
    Builtin("nil?", 1, 1, _is(type(None))),
    Builtin("bool?", 1, 1, _is(bool)),
    Builtin("int?", 1, 1, _is(int)),
    Builtin("float?", 1, 1, _is(float)),
    Builtin("number?", 1, 1, _is(int, float)),
    Builtin("string?", 1, 1, _is(str)),
    Builtin("keyword?", 1, 1, _is(Kw)),
    Builtin("symbol?", 1, 1, _is(Sym)),
    Builtin("vector?", 1, 1, _is(Vector)),
    Builtin("list?", 1, 1, _is(List)),
    Builtin("map?", 1, 1, _is(Map)),
    Builtin("fn?", 1, 1, _is(Builtin, Closure)),
)
