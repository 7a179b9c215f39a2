"""RTFS code and RTFS values as one kind of immutable tree.

Belongs here: the node types, strict equality, what a name may look like, the depth limit.
Does not: text (``reader``, ``printer``) or meaning (``evaluator``).
Source: rtfs.md 1.1 (lexis), 1.4 (``=`` is strict on type).

A literal is the Python value: ``None``, ``bool``, ``int`` (64 bits), ``float``, ``str``. Positions
are carried for messages and never compared. A tree deeper than ``MAX_DEPTH`` cannot be built, so
whatever walks one may recurse.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from planner_synthesis.rtfs.errors import FormTooDeep, RtfsTypeError

MAX_DEPTH = 200  # levels of nesting of any form or value
USUAL_NAME = 64  # characters; names are part of code and cost no more than their node
INT_MIN, INT_MAX = -(2**63), 2**63 - 1

_DOTTED = r"\.[A-Za-z_$+\-*/=<>!?][A-Za-z0-9_$+\-*/=<>!?.]*+"
_PLAIN = r"[A-Za-z_$+\-*/=<>!?%][A-Za-z0-9_$+\-*/=<>!?%.@]*+"
IDENTIFIER = f"(?:{_DOTTED}|{_PLAIN})"
_VERSIONED = IDENTIFIER + r":v[0-9]++(?:\.[0-9]++)*+/" + IDENTIFIER
NAME = re.compile(f"{_VERSIONED}|{IDENTIFIER}")  # what a symbol, and a keyword after ':', may be


class Position(NamedTuple):
    """A place in a text; both count from 1, columns in characters."""

    line: int
    column: int


Form: TypeAlias = (
    "bool | int | float | str | Sym | Kw | Vector | List | Map | Extra | Opaque | None"
)
Key: TypeAlias = "str | int | Kw"


class Opaque:
    """A value that no text stands for: a function, a caught error. Equal to itself alone."""

    type_name = "function"


@dataclass(frozen=True, slots=True)
class Sym:
    """A symbol: a name that stands for a value."""

    name: str
    at: Position | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Kw:
    """A keyword; ``name`` is without the colon: ``Kw("trip/dates")`` is ``:trip/dates``."""

    name: str
    at: Position | None = field(default=None, compare=False, repr=False)


def tree_depth(items: Iterable[object]) -> int:
    """Levels of a collection that holds ``items``.

    Raises:
        FormTooDeep: there would be more than ``MAX_DEPTH``.
    """
    depth = 1 + max((getattr(item, "depth", 0) for item in items), default=0)
    if depth > MAX_DEPTH:
        raise FormTooDeep(MAX_DEPTH)
    return depth


def tree_weight(items: Iterable[object]) -> int:
    """Nodes and characters of a collection that holds ``items``, counted as a tree.

    A part that is shared counts each time it is met, as it would if the tree were printed.
    """
    return 1 + sum(weight_of(item) for item in items)


def weight_of(item: object) -> int:
    """Nodes and characters of one value; of a name only what is more than usual counts."""
    if isinstance(item, str):
        return 1 + len(item)
    if isinstance(item, Sym | Kw):
        return 1 + len(item.name) // USUAL_NAME
    weight = getattr(item, "weight", 1)
    return weight if isinstance(weight, int) else 1


class _HasItems:
    """What every tree with ``items`` does: its depth and weight are worked out as it is made."""

    __slots__ = ()
    items: tuple[Form, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", tree_depth(self.items))
        object.__setattr__(self, "weight", tree_weight(self.items))

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    def __hash__(self) -> int:
        return strict_hash(self)


@dataclass(frozen=True, slots=True, eq=False)
class _Sequence(_HasItems):
    items: tuple[Form, ...] = ()
    at: Position | None = field(default=None, repr=False)
    depth: int = field(init=False, repr=False)
    weight: int = field(init=False, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Vector(_Sequence):
    """``[a b c]``: ``items`` in order."""


@dataclass(frozen=True, slots=True, eq=False)
class List(_Sequence):
    """``(a b c)``: a call or special form as code, the rest arguments of a function as a value."""


@dataclass(frozen=True, slots=True, eq=False)
class Extra(_HasItems):
    """Syntax beyond the planner subset: read and understood, never printed.

    ``tag`` is one of short-fn, method, deref, resource-ref, meta, delegation, module, quote,
    unquote, type, map-pattern, as-pattern.
    """

    tag: str
    items: tuple[Form, ...] = ()
    at: Position | None = field(default=None, repr=False)
    depth: int = field(init=False, repr=False)
    weight: int = field(init=False, repr=False)

    def __hash__(self) -> int:
        return strict_hash(self)


def map_key(key: object) -> tuple[str, str | int]:
    """A key with its type, so that ``"a"`` and ``:a`` are two keys.

    Raises:
        RtfsTypeError: a map's key is a keyword, a string or an integer.
    """
    if isinstance(key, Kw):
        return ("keyword", key.name)
    if isinstance(key, str):
        return ("string", key)
    if isinstance(key, int) and not isinstance(key, bool):
        return ("integer", key)
    raise RtfsTypeError("map key", "keyword, string or integer", type_name(key))


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """``{:k v}``: ``entries`` are (key, value) pairs; of two with one key the last is kept.

    Their order is never compared.
    """

    entries: tuple[tuple[Key, Form], ...] = ()
    at: Position | None = field(default=None, repr=False)
    index: dict[tuple[str, str | int], Form] = field(init=False, repr=False)
    depth: int = field(init=False, repr=False)
    weight: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        index = {map_key(key): (key, value) for key, value in self.entries}
        object.__setattr__(self, "entries", tuple(index.values()))
        object.__setattr__(self, "index", {name: pair[1] for name, pair in index.items()})
        values = [value for _, value in self.entries]
        object.__setattr__(self, "depth", tree_depth(values))
        keys = sum(weight_of(key) for key, _ in self.entries)
        object.__setattr__(self, "weight", keys + tree_weight(values))

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    def __hash__(self) -> int:
        return strict_hash(self)


def same(left: object, right: object) -> bool:
    """Equality that is strict on type at every level: 1, 1.0 and true are three values.

    Source: rtfs.md 1.4; probes ``(= 1 1.0)``, ``(= {:a 1 :b 2} {:b 2 :a 1})``.
    """
    if type(left) is not type(right):
        return False
    if isinstance(left, _Sequence | Extra) and isinstance(right, _Sequence | Extra):
        tags = getattr(left, "tag", None), getattr(right, "tag", None)
        is_alike = tags[0] == tags[1] and len(left.items) == len(right.items)
        return is_alike and all(map(same, left.items, right.items))
    if isinstance(left, Map) and isinstance(right, Map):
        keys = left.index.keys()
        others = map(right.index.__getitem__, keys)
        return keys == right.index.keys() and all(map(same, left.index.values(), others))
    return left == right


def strict_hash(value: object) -> int:
    """A hash that agrees with ``same``: 1, 1.0 and true have three."""
    if isinstance(value, _Sequence | Extra):
        return hash((type(value), getattr(value, "tag", None), *map(strict_hash, value.items)))
    if isinstance(value, Map):
        hashes = map(strict_hash, value.index.values())
        return hash(frozenset(zip(value.index, hashes, strict=True)))
    return hash((type(value), value))


_TYPE_NAMES = {
    type(None): "nil", bool: "boolean", int: "integer", float: "float", str: "string",
    Sym: "symbol", Kw: "keyword", Vector: "vector", List: "list", Map: "map",
}  # fmt: skip


def type_name(value: object) -> str:
    """What RTFS calls the type of a value."""
    if isinstance(value, Opaque):
        return value.type_name
    return _TYPE_NAMES.get(type(value), "syntax")
