"""RTFS type expressions as JSON Schemas, so that one reader of inputs serves every registry.

Belongs here: both spellings of a type: RTFS text (``[:map [:k int]]``) and the JSON that a Rust
export has of it. Does not: what a schema says of inputs (``json_schema``).
Source: rtfs.md 1.1 ("types"), 2.3 (`input_schema: Option<TypeExpr>`).
"""

from collections.abc import Mapping
from typing import Any, Final

from planner_synthesis.rtfs.errors import RtfsError
from planner_synthesis.rtfs.forms import Form, Kw, Sym, Vector
from planner_synthesis.rtfs.reader import read_expression

MAX_TEXT_CHARS: Final = 100_000
MAX_DEPTH: Final = 40

_PRIMITIVES: Final[dict[str, dict[str, Any]]] = {
    "int": {"type": "integer"}, "integer": {"type": "integer"}, "float": {"type": "number"},
    "number": {"type": "number"}, "string": {"type": "string"}, "str": {"type": "string"},
    "bool": {"type": "boolean"}, "boolean": {"type": "boolean"}, "nil": {"type": "null"},
    "date": {"type": "string", "format": "date"}, "timestamp": {"type": "string"},
    "uuid": {"type": "string"}, "keyword": {"type": "object"}, "symbol": {"type": "object"},
    "vector": {"type": "array"}, "list": {"type": "array"}, "map": {"type": "object"}, "any": {},
}  # fmt: skip


class UnknownType(ValueError):
    """A type that is not read; ``reason`` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def schema_of_type(given: Any) -> dict[str, Any]:
    """The JSON Schema of a type, whichever way it is written.

    Args:
        given: RTFS text, the JSON of a Rust ``TypeExpr``, or a JSON Schema, which is kept.

    Raises:
        UnknownType: it is none of these.
    """
    if isinstance(given, str):
        if len(given) > MAX_TEXT_CHARS:
            raise UnknownType("the type is too long")
        try:
            return _of_form(read_expression(given.strip()))
        except RtfsError as error:
            raise UnknownType("the type is not RTFS") from error
    if not isinstance(given, Mapping):
        raise UnknownType("the type is neither text nor an object")
    if {"type", "properties", "$ref", "allOf", "anyOf", "oneOf", "$schema"} & set(given):
        return dict(given)
    return _of_json(given, 0)


def _primitive(name: str) -> dict[str, Any]:
    plain = name.removesuffix("?")
    schema = _PRIMITIVES.get(plain.rsplit("/", 1)[-1].lower(), {})
    return {"anyOf": [schema, {"type": "null"}]} if plain != name and schema else dict(schema)


def _of_form(form: Form) -> dict[str, Any]:
    if form is None:
        return {"type": "null"}
    if isinstance(form, Kw | Sym):
        return _primitive(form.name)
    if not isinstance(form, Vector) or not form.items or not isinstance(form.items[0], Kw):
        raise UnknownType("the type has no shape that is known")
    head, parts = form.items[0].name, form.items[1:]
    if head in {"map", "record", "dict"}:
        return _of_entries([_entry_of(part) for part in parts if _is_entry(part)])
    if head in {"enum", "val"}:
        values = [part.name if isinstance(part, Kw) else part for part in parts]
        return {
            "enum": [one for one in values if one is None or isinstance(one, str | int | float)]
        }
    if head == "union":
        return {"anyOf": [_of_form(part) for part in parts]}
    if head == "and":
        return _of_form(parts[0]) if parts else {}
    return {"type": "array"} if head in {"vector", "tuple", "array", "list"} else {"type": "object"}


def _is_entry(part: Form) -> bool:
    return isinstance(part, Vector) and len(part.items) >= 2 and isinstance(part.items[0], Kw | str)


def _entry_of(part: Form) -> tuple[str, dict[str, Any], bool]:
    items = part.items if isinstance(part, Vector) else ()
    key, kind = items[0], items[1]
    is_optional = len(items) > 2 and items[2] == Sym("?")
    is_optional |= isinstance(kind, Kw | Sym) and kind.name.endswith("?")
    name = key.name if isinstance(key, Kw) else str(key)
    return name, _of_form(kind), not is_optional


def _of_entries(entries: list[tuple[str, dict[str, Any], bool]]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: schema for name, schema, _ in entries},
        "required": [name for name, _, is_required in entries if is_required],
    }


def _variant(given: Mapping[str, Any]) -> tuple[str, Any]:
    """A Rust enum as JSON: one key, the variant."""
    if len(given) != 1:
        raise UnknownType("the type has no shape that is known")
    name, value = next(iter(given.items()))
    return name.lower(), value


def _of_json(given: Any, depth: int) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        raise UnknownType("the type is nested too deeply")
    if isinstance(given, str):
        return _primitive(given.lower())
    if not isinstance(given, Mapping):
        raise UnknownType("the type has no shape that is known")
    name, value = _variant(given)
    if name in {"primitive", "alias", "custom"}:
        return _of_json(value, depth + 1) if isinstance(value, Mapping) else _primitive(str(value))
    if name == "map" and isinstance(value, Mapping) and isinstance(value.get("entries"), list):
        return _of_entries([_json_entry(entry, depth) for entry in value["entries"]])
    if name == "optional":
        return {"anyOf": [_of_json(value, depth + 1), {"type": "null"}]}
    if name == "union" and isinstance(value, list):
        return {"anyOf": [_of_json(one, depth + 1) for one in value]}
    if name == "intersection" and isinstance(value, list):
        return {"allOf": [_of_json(one, depth + 1) for one in value]}
    if name == "enum" and isinstance(value, list):
        return {"enum": [_literal(one) for one in value]}
    if name == "literal":
        return {"enum": [_literal(value)]}
    if name == "refined" and isinstance(value, Mapping):
        return _of_json(value.get("base_type", value.get("baseType")), depth + 1)
    return {"type": "array"} if name in {"vector", "tuple", "array"} else {"type": "object"}


def _json_entry(entry: Any, depth: int) -> tuple[str, dict[str, Any], bool]:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("key"), str):
        raise UnknownType("an entry of a map type has no key")
    kind = entry.get("value_type", entry.get("valueType"))
    is_optional = entry.get("optional") is True
    is_optional |= isinstance(kind, Mapping) and set(map(str.lower, kind)) == {"optional"}
    return entry["key"].lstrip(":"), _of_json(kind, depth + 1), not is_optional


def _literal(given: Any) -> Any:
    if isinstance(given, Mapping):
        return _variant(given)[1]
    return given
