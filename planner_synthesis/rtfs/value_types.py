"""Whether a value is of the type that stands beside a parameter or a result.

Belongs here: what each type admits. Does not: the grammar of types (``types_syntax``); types beside
bindings of let and def, which nothing checks.
Source: rtfs.md 1.1 (types); upstream ``runtime/type_validator.rs``: a name or predicate that is not
known admits nothing, an integer passes for a float, lengths are in bytes, and beside a further type
in ``[:and ...]`` predicates are not asked.
"""

import operator
import re
from collections.abc import Callable
from functools import lru_cache

from planner_synthesis.rtfs.errors import RtfsSyntaxError, TypeValidationError, Unsupported
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
    same,
    type_name,
    weight_of,
)
from planner_synthesis.rtfs.reader import read_expression

_NAMED = {
    "int": {"integer"}, "float": {"float", "integer"}, "string": {"string"}, "bool": {"boolean"},
    "nil": {"nil"}, "keyword": {"keyword"}, "symbol": {"symbol"},
}  # fmt: skip
_ORDERED: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip
_SIZED: dict[str, Callable[[int, int], bool]] = {
    "min": operator.ge, "max": operator.le, "": operator.eq
}  # fmt: skip
_EMAIL = re.compile(r"[\w.%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}", re.ASCII)


def check_type(kind: Form, value: Form) -> None:
    """Raises ``TypeValidationError`` unless ``value`` is of the type; ``None`` is no type."""
    if kind is not None and not _admits(kind, value):
        raise TypeValidationError(_written(kind), type_name(value))


def _written(kind: Form) -> str:
    return str(kind.items[0]) if isinstance(kind, Extra) else getattr(kind, "name", "")


def _admits(kind: Form, value: Form) -> bool:
    match kind:
        case Kw(name) | Sym(name):
            return _is_named(name, value)
        case Extra("type", (str(text),)) if text.endswith("?"):
            return value is None or _is_named(text[:-1].strip().removeprefix(":"), value)
        case Extra("type", (str(text),)):
            return _admits(_read_type(text), value)
        case Vector((Kw(tag), *parts)):
            return _admits_tagged(tag, parts, value)
    return True


@lru_cache(maxsize=64)
def _read_type(text: str) -> Form:
    """A type's text as a form; ``:any`` for one that only the grammar of types can read."""
    try:
        return read_expression(text)
    except RtfsSyntaxError:
        return Kw("any")


def _is_named(name: str, value: Form) -> bool:
    if name.endswith("?") and name != "?":
        return value is None or _is_named(name[:-1], value)
    name = name.lower() if name[:1].isupper() else name
    return name == "any" or type_name(value) in _NAMED.get(name, set())


def _admits_tagged(tag: str, parts: list[Form], value: Form) -> bool:
    match tag, parts:
        case "array", (_, Vector((int() as n_items,))) if not _has_size("count", [n_items], value):
            return False
        case ("vector", (kind,)) | ("array", (kind, *_)):
            return isinstance(value, Vector) and all(_admits(kind, item) for item in value.items)
        case "tuple", _:
            items = value.items if isinstance(value, Vector) else ()
            is_long_enough = isinstance(value, Vector) and len(items) == len(parts)
            return is_long_enough and all(map(_admits, parts, items))
        case "union", _:
            return any(_admits(part, value) for part in parts)
        case "enum" | "val", _:
            return any(same(part, value) for part in parts)
        case "and", (base, *refinements):
            types = [part for part in refinements if not _is_predicate(part)]
            holds = _admits if types else _holds
            return _admits(base, value) and all(holds(p, value) for p in types or refinements)
        case "map" | "record", _:
            return isinstance(value, Map) and all(_admits_entry(part, value) for part in parts)
        case "map-of" | "dict", (key_kind, kind):
            return isinstance(value, Map) and all(
                _admits(key_kind, key) and _admits(kind, item) for key, item in value.entries
            )
        case "fn" | "=>", _:
            return type_name(value) == "function"
    return False


def _admits_entry(entry: Form, value: Map) -> bool:
    match entry:
        case Vector((Kw("*"), _)):
            return True
        case Vector((Kw(), kind, *mark)):
            key = entry.items[0]
            for name in (key, key.name) if isinstance(key, Kw) else ():
                if map_key(name) in value.index:
                    return _admits(kind, value.index[map_key(name)])
            return bool(mark)
        case Map(entries):
            return all(_admits_entry(Vector((key, kind)), value) for key, kind in entries)
    return True


def _is_predicate(part: Form) -> bool:
    match part:
        case Vector((Kw("has-key" | "required-keys"), Vector(keys))):
            return all(isinstance(key, Kw) for key in keys)
        case Vector((Kw() | Sym(), *arguments)):
            return not any(isinstance(item, Sym | Vector | Map | Extra) for item in arguments)
    return False


def _holds(predicate: Form, value: Form) -> bool:
    """Whether a predicate such as ``[:> 0]`` holds of a value; one that is not known never does.

    Raises:
        Unsupported: it is a regular expression.
    """
    match predicate:
        case Vector((Kw("matches-regex"), str())):
            raise Unsupported("a regular expression in a type")
        case Vector((Kw("=" | "!=" as name), wanted)):
            is_literal = not isinstance(value, Vector | List | Map | Opaque)
            return is_literal and same(wanted, value) is (name == "=")
        case Vector((Kw(name), bound)) if name in _ORDERED:
            return _are_numbers(value, bound) and _ORDERED[name](value, bound)  # type: ignore[arg-type]
        case Vector((Kw("in-range"), least, most)):
            return _are_numbers(least, value, most) and least <= value <= most  # type: ignore[operator]
        case Vector((Kw("non-empty"), *_)):
            return weight_of(value) > 1 if isinstance(value, str | Vector | Map) else False
        case Vector((Kw("has-key"), Kw() as key)):
            return isinstance(value, Map) and map_key(key) in value.index
        case Vector((Kw("required-keys"), Vector(keys))):
            return isinstance(value, Map) and all(map_key(key) in value.index for key in keys)
        case Vector((Kw(name) | Sym(name), *bounds)):
            return _has_size(name, bounds, value) or _has_form(name, value)
    return False


def _are_numbers(*values: Form) -> bool:
    """Integers all, or floats all: upstream compares no others."""
    kinds = set(map(type, values))
    return kinds in ({int}, {float})


def _has_size(name: str, bounds: list[Form], value: Form) -> bool:
    least_or_most, _, measure = name.rpartition("-")
    if least_or_most not in _SIZED or len(bounds) != 1:
        return False
    size: int | None = None
    if measure == "length" and isinstance(value, str):
        size = len(value.encode("utf-8", "surrogatepass"))
    elif measure == "count" and isinstance(value, Vector):
        size = len(value.items)
    elif measure == "count" and isinstance(value, Map):
        size = len(value.entries)
    return size is not None and _are_numbers(size, bounds[0]) and (
        _SIZED[least_or_most](size, bounds[0])  # type: ignore[arg-type]
    )  # fmt: skip


def _has_form(name: str, value: Form) -> bool:
    if name == "is-url":
        return isinstance(value, str) and value.startswith(("http://", "https://"))
    return name == "is-email" and isinstance(value, str) and _EMAIL.fullmatch(value) is not None
