"""What only a running program has: functions and caught errors; and what holds of every value.

Belongs here: builtin functions, closures, forward references, error values, environments, truth,
the text of a value, the order of values. Does not: what a builtin does (``builtins``), JSON.
Source: rtfs.md 1.4; upstream ``runtime/values.rs`` for the order of types.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cmp_to_key
from typing import Literal, TypeAlias

from planner_synthesis.rtfs.forms import (
    Extra,
    Form,
    Kw,
    List,
    Map,
    Opaque,
    Sym,
    Vector,
    map_key,
)
from planner_synthesis.rtfs.shapes import Fn

Arguments: TypeAlias = "tuple[Form, ...]"
Request: TypeAlias = "Evaluate | Call"  # what a running part asks the machine for
Run: TypeAlias = "Generator[Request, Form, Form]"
# what a call of a builtin costs beside its step: nothing, the weight of its result, and before that
# the weight of its arguments, or that weight as often as sorting looks at it
Cost: TypeAlias = Literal["none", "arguments", "sorting", "result"]


@dataclass(frozen=True, slots=True, eq=False)
class Builtin(Opaque):
    """A function of the standard library: a plain one, or one that calls others (``nested``)."""

    name: str
    fewest: int
    most: int | None
    plain: Callable[[Arguments], Form] | None = None
    nested: Callable[[Arguments], Run] | None = None
    cost: Cost = "none"
    predict_size: Callable[[Arguments], int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Closure(Opaque):
    """A function of the program with the environment it was made in."""

    shape: Fn
    environment: Environment


@dataclass(slots=True, eq=False)
class Forward(Opaque):
    """A function that is still being bound: it can be called, and is nothing else's function."""

    type_name = "function-placeholder"
    function: Form = None


@dataclass(frozen=True, slots=True)
class ErrorValue(Opaque):
    """What ``catch`` binds."""

    type_name = "error"
    kind: str
    message: str

    @property
    def weight(self) -> int:
        """As that of a string: its text holds the message."""
        return 1 + len(self.message)


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Asks for the value of a form."""

    form: Form
    environment: Environment


@dataclass(frozen=True, slots=True)
class Call:
    """Asks for a function's result; ``by_name`` binds plain parameters and checks no arity."""

    function: Form
    arguments: Arguments
    by_name: bool = False


@dataclass(slots=True)
class Environment:
    """Names and their values, inside another environment."""

    parent: Environment | None = None
    names: dict[str, Form] = field(default_factory=dict)

    def look_up(self, name: str) -> tuple[Form] | None:
        """The value of a name, in a tuple since ``nil`` is a value; ``None`` if it has none."""
        scope: Environment | None = self
        while scope is not None:
            if name in scope.names:
                return (scope.names[name],)
            scope = scope.parent
        return None

    def copy(self) -> Environment:
        """As it is now: what is defined later is not seen by what was closed over before."""
        if self.parent is None:
            return self
        return Environment(self.parent.copy(), dict(self.names))

    def size(self) -> int:
        """How many names there are, those of the standard library apart."""
        return 0 if self.parent is None else len(self.names) + self.parent.size()


def is_truthy(value: Form) -> bool:
    """All but ``false`` and ``nil``."""
    return value is not None and value is not False


def is_filled(value: Form) -> bool:
    """Truth as ``step-if`` and ``step-loop`` see it: zero and empty things are false as well."""
    if isinstance(value, Vector):
        return bool(value.items)
    if isinstance(value, Map):
        return bool(value.entries)
    return bool(value) if isinstance(value, bool | int | float | str | None) else True


def float_text(number: float) -> str:
    """A float as upstream writes it: never an exponent, ``2`` for 2.0."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "inf" if number > 0 else "-inf"
    text = format(Decimal(repr(number)), "f")
    return text.removesuffix(".0") if "." in text else text


def text_of(value: Form) -> str:
    """A value inside a collection's text: strings in quotes, nothing escaped."""
    match value:
        case str():
            return f'"{value}"'
        case Vector(items):
            return f"[{' '.join(map(text_of, items))}]"
        case List(items):
            return f"({' '.join(map(text_of, items))})"
        case Map(entries):
            return "{" + " ".join(f"{text_of(k)} {text_of(v)}" for k, v in entries) + "}"
        case _:
            return str_of(value)


def str_of(value: Form) -> str:
    """What ``str`` makes of one argument: a string is itself."""
    match value:
        case None:
            return "nil"
        case bool():
            return "true" if value else "false"
        case str() | int():
            return str(value)
        case float():
            return float_text(value)
        case Kw(name):
            return f":{name}"
        case Sym(name):
            return name
        case ErrorValue():
            return f"#<error: {value.message}>"
        case Forward():
            return "#<function-placeholder>"
        case Opaque() | Extra():
            return "#<function>"
        case _:
            return text_of(value)


_ORDER_OF_TYPES: tuple[type, ...] = (type(None), bool, int, str, Kw, Sym, Vector, List, Map)


def _rank(value: Form) -> int:
    kind = int if isinstance(value, float) else type(value)
    return _ORDER_OF_TYPES.index(kind) if kind in _ORDER_OF_TYPES else len(_ORDER_OF_TYPES)


def compare(left: Form, right: Form) -> int:
    """-1, 0 or 1 in the total order of values: by type, then by value."""
    if _rank(left) != _rank(right):
        return -1 if _rank(left) < _rank(right) else 1
    match left, right:
        case (Vector(a), Vector(b)) | (List(a), List(b)):
            return _first_difference(a, b)
        case Map(), Map():
            return _first_difference(_flat(left), _flat(right))
        case (Kw(a_name), Kw(b_name)) | (Sym(a_name), Sym(b_name)):
            return (a_name > b_name) - (a_name < b_name)
        case (int() | float() | str(), int() | float() | str()):
            return (left > right) - (left < right)  # type: ignore[operator]
    return (str_of(left) > str_of(right)) - (str_of(left) < str_of(right))


def _flat(value: Map) -> tuple[Form, ...]:
    pairs = sorted((":".join(map(str, map_key(key))), item) for key, item in value.entries)
    return tuple(part for pair in pairs for part in pair)


def _first_difference(left: tuple[Form, ...], right: tuple[Form, ...]) -> int:
    for a, b in zip(left, right, strict=False):
        difference = compare(a, b)
        if difference:
            return difference
    return (len(left) > len(right)) - (len(left) < len(right))


SORT_KEY = cmp_to_key(compare)
