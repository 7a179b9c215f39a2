"""What patterns do to values: binding for let and fn, matching for match.

Belongs here: names that a pattern binds, and when it does not fit. Does not: which forms are
patterns (``shapes``), reading them (``patterns_syntax``).
Source: rtfs.md 1.2 (destructuring, match). As upstream (ran): a vector pattern without ``&`` is
exact; in match, the name after ``&`` is one more element and a map must have exactly the keys.
"""

from collections.abc import Iterator

from planner_synthesis.rtfs.errors import RtfsTypeError, UnsupportedPattern
from planner_synthesis.rtfs.forms import (
    Extra,
    Form,
    Key,
    Kw,
    List,
    Map,
    Sym,
    Vector,
    map_key,
    same,
    type_name,
)
from planner_synthesis.rtfs.patterns_syntax import REST

Names = dict[str, Form]


def bind_pattern(pattern: Form, value: Form, names: Names) -> None:
    """Binds what ``pattern`` names in ``value``, into ``names``.

    Raises:
        RtfsTypeError: the value is no vector or map, or a vector of the wrong length.
    """
    match pattern:
        case Sym("_"):
            return
        case Sym(name):
            names[name] = value
        case Vector(items):
            _bind_vector(items, value, names)
        case Map(entries):
            _bind_map([part for entry in entries for part in entry], value, names)
        case Extra("map-pattern", items):
            _bind_map(list(items), value, names)


def _bind_vector(items: tuple[Form, ...], value: Form, names: Names) -> None:
    rest: Form = None
    match items:
        case (*fixed, Kw("as"), Sym(whole)):
            names[whole] = value
            items = tuple(fixed)
    match items:
        case (*fixed, Sym("&"), Sym() as rest):
            items = tuple(fixed)
    if not isinstance(value, Vector):
        raise RtfsTypeError("vector destructuring", "vector", type_name(value))
    n_wanted, n_given = len(items), len(value.items)
    if n_given < n_wanted or (rest is None and n_given != n_wanted):
        bound = "exactly" if rest is None else "at least"
        wanted = f"vector with {bound} {n_wanted} elements"
        raise RtfsTypeError("vector destructuring", wanted, f"vector with {n_given} elements")
    for pattern, item in zip(items, value.items, strict=False):
        bind_pattern(pattern, item, names)
    if isinstance(rest, Sym):
        names[rest.name] = Vector(value.items[n_wanted:])


def _bind_map(parts: list[Form], value: Form, names: Names) -> None:
    tail: dict[str, Form] = {}
    for mark in (":as", "&"):
        if len(parts) % 2 == 0 and len(parts) >= 2 and parts[-2] == _MARKS[mark] and (
            mark == "&" or REST in parts
        ):  # fmt: skip
            tail[mark] = parts[-1]
            parts = parts[:-2]
    whole = tail.get(":as")
    if isinstance(whole, Sym):
        names[whole.name] = value
    if not isinstance(value, Map):
        raise RtfsTypeError("map destructuring", "map", type_name(value))
    taken = set()
    for key, pattern in _named_keys(parts):
        taken.add(map_key(key))
        bind_pattern(pattern, value.index.get(map_key(key)), names)
    rest = tail.get("&")
    if isinstance(rest, Sym):
        kept = tuple(entry for entry in value.entries if map_key(entry[0]) not in taken)
        names[rest.name] = Map(kept)


_MARKS: dict[str, Form] = {":as": Kw("as"), "&": REST}


def _named_keys(parts: list[Form]) -> Iterator[tuple[Key, Form]]:
    for key, pattern in zip(parts[::2], parts[1::2], strict=True):
        if key == Kw("keys") and isinstance(pattern, Vector):
            for name in pattern.items:
                if isinstance(name, Sym):
                    yield Kw(name.name), name
        elif isinstance(key, str | int | Kw):
            yield key, pattern


def match_pattern(pattern: Form, value: Form, names: Names) -> bool:
    """Whether ``value`` fits, with what the pattern names bound into ``names``.

    Raises:
        UnsupportedPattern: the pattern is a type.
    """
    match pattern:
        case Sym("_"):
            return True
        case Sym(name):
            names[name] = value
            return True
        case Vector((Kw(tag), *_)) if tag in _TYPE_TAGS:
            raise UnsupportedPattern("a type as a pattern")
        case Vector(items):
            return _match_vector([item for item in items if item != REST], value, names)
        case Map(entries):
            return _match_map(list(entries), value, names)
        case Extra("map-pattern", items):
            pairs = [(key, part) for key, part in _named_keys_of_match(items)]
            return _match_map(pairs, value, names)
        case Extra() | List():
            raise UnsupportedPattern("a type as a pattern")
    return same(pattern, value)


_TYPE_TAGS = frozenset(
    "vector map record map-of dict tuple fn => resource enum union and val array".split()
)


def _match_vector(patterns: list[Form], value: Form, names: Names) -> bool:
    if not isinstance(value, Vector) or len(value.items) != len(patterns):
        return False
    return all(match_pattern(p, item, names) for p, item in zip(patterns, value.items, strict=True))


def _named_keys_of_match(items: tuple[Form, ...]) -> Iterator[tuple[Key, Form]]:
    for key, pattern in zip(items[::2], items[1::2], strict=False):
        if isinstance(key, str | int | Kw):
            yield key, pattern


def _match_map(entries: list[tuple[Key, Form]], value: Form, names: Names) -> bool:
    if not isinstance(value, Map):
        return False
    for key, pattern in entries:
        if map_key(key) not in value.index:
            return False
        if not match_pattern(pattern, value.index[map_key(key)], names):
            return False
    return len(value.entries) == len(entries)
