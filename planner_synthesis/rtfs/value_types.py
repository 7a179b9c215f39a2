"""Whether a value is of the type that stands beside a parameter or a result.

Belongs here: what each type admits. Does not: the grammar of types (``types_syntax``); types beside
bindings of let and def, which nothing checks.
Source: rtfs.md 1.1 (types); upstream ``runtime/type_validator.rs``: a name that is no type admits
nothing, an integer passes for a float.
"""

from collections.abc import Callable
from functools import lru_cache

from planner_synthesis.rtfs.errors import RtfsSyntaxError, TypeValidationError
from planner_synthesis.rtfs.forms import (
    Extra,
    Form,
    Kw,
    Map,
    Sym,
    Vector,
    map_key,
    same,
    type_name,
)
from planner_synthesis.rtfs.reader import read_expression
from planner_synthesis.rtfs.values import compare

_NAMED = {
    "int": {"integer"}, "float": {"float", "integer"}, "string": {"string"}, "bool": {"boolean"},
    "nil": {"nil"}, "keyword": {"keyword"}, "symbol": {"symbol"},
}  # fmt: skip
_COMPARED: dict[str, Callable[[int], bool]] = {
    ">": lambda sign: sign > 0, ">=": lambda sign: sign >= 0, "<": lambda sign: sign < 0,
    "<=": lambda sign: sign <= 0, "=": lambda sign: sign == 0, "!=": lambda sign: sign != 0,
    "min-length": lambda sign: sign >= 0, "max-length": lambda sign: sign <= 0,
    "length": lambda sign: sign == 0,
}  # fmt: skip


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
    name = name.lower() if name[:1].isupper() else name
    return name == "any" or type_name(value) in _NAMED.get(name, set())


def _admits_tagged(tag: str, parts: list[Form], value: Form) -> bool:
    match tag, parts:
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
            return _admits(base, value) and all(_refines(part, value) for part in refinements)
        case "map", _:
            return isinstance(value, Map) and all(_admits_entry(part, value) for part in parts)
        case "map-of", (key_kind, kind):
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
            if isinstance(key, Kw) and map_key(key) in value.index:
                return _admits(kind, value.index[map_key(key)])
            return bool(mark)
        case Map(entries):
            return all(_admits_entry(Vector((key, kind)), value) for key, kind in entries)
    return True


def _refines(part: Form, value: Form) -> bool:
    match part:
        case Vector((Kw(name), bound)) if name in _COMPARED:
            measured = len(value) if name.endswith("length") and isinstance(value, str) else value
            return _COMPARED[name](compare(measured, bound))
        case Kw() | Sym():
            return _admits(part, value)
    return True
