"""Inputs of a tool, read off the JSON Schema that it publishes.

Belongs here: a schema -> ``InputSpec`` for each property, and notes on what could not be said.
Does not: validating values (the server does), fetching anything.
Source: JSON Schema 2020-12; docs/registries.md, "What a JSON Schema becomes".

A card knows scalars. An input whose schema admits a scalar is of that kind, since one branch that a
value meets is enough; one that admits only lists or objects is ``other`` and no answer fills it.
References inside the document are followed, others are not.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from planner_synthesis.snapshot.redaction import is_secret_name
from planner_synthesis.types import InputKind, InputSpec, Scalar

MAX_NODES: Final = 20_000  # schema nodes looked at; a schema that refers to itself ends here
MAX_DEPTH: Final = 32
MAX_ENUM: Final = 200

# of several kinds that would do, the one that admits most
_PREFERENCE: Final[tuple[InputKind, ...]] = (
    "string", "float", "int", "bool", "enum", "date", "any", "other",
)  # fmt: skip
_TYPES: Final[dict[str, InputKind]] = {
    "string": "string", "integer": "int", "number": "float", "boolean": "bool",
    "array": "other", "object": "other",
}  # fmt: skip


class SchemaReading(NamedTuple):
    """Inputs in order of key, and what a reader should know about them: (path, sentence)."""

    inputs: tuple[InputSpec, ...]
    notes: tuple[tuple[str, str], ...] = ()


class _Kind(NamedTuple):
    kind: InputKind
    enum_values: tuple[str, ...] = ()


class _Reader:
    """One walk over one schema; counts what it looks at, so that no schema is endless."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.n_nodes = 0
        self.notes: list[tuple[str, str]] = []

    def note(self, path: str, sentence: str) -> None:
        if (path, sentence) not in self.notes:
            self.notes.append((path, sentence))

    def resolved(self, schema: Any, path: str, depth: int = 0) -> Any:
        """The schema behind any chain of references; None when there is none."""
        while isinstance(schema, Mapping) and "$ref" in schema:
            self.n_nodes += 1
            depth += 1
            if depth > MAX_DEPTH or self.n_nodes > MAX_NODES:
                self.note(path, "its references go round in a circle")
                return None
            found = self._pointed(schema["$ref"])
            if found is None:
                self.note(path, "it refers to something that is not in the document")
                return None
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {"allOf": [found, rest]} if _constrains(rest) else found
        return schema

    def _pointed(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        node = self.root
        for part in reference[1:].split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, Mapping) and name in node:
                node = node[name]
            else:
                return None
        return node

    def kind_of(self, schema: Any, path: str, depth: int = 0) -> _Kind:
        """What kind of value a schema admits."""
        self.n_nodes += 1
        if depth > MAX_DEPTH or self.n_nodes > MAX_NODES:
            self.note(path, "it is nested too deeply to be read")
            return _Kind("any")
        is_there = schema is not None
        schema = self.resolved(schema, path)
        if schema is True or schema == {} or (schema is None and is_there):
            return _Kind("any")
        if not isinstance(schema, Mapping):
            self.note(path, "its schema is not an object")
            return _Kind("other" if schema is False else "any")
        for word in ("not", "if", "dependentSchemas"):
            if word in schema:
                self.note(path, f"what it says under {word} is not read")
        own = self._own_kind(schema, path)
        branches = [
            self._best(
                [self.kind_of(one, path, depth + 1) for one in schema[word]],
                path,
                is_one=word == "oneOf",
            )
            for word in ("anyOf", "oneOf")
            if isinstance(schema.get(word), list) and schema[word]
        ]
        parts = schema.get("allOf")
        if isinstance(parts, list):
            branches += [self.kind_of(one, path, depth + 1) for one in parts]
        return self._all_of([own, *branches], path)

    def _own_kind(self, schema: Mapping[str, Any], path: str) -> _Kind:
        if "const" in schema:
            return self._of_choices([schema["const"]], path)
        if isinstance(schema.get("enum"), list):
            return self._of_choices(schema["enum"], path)
        types = schema.get("type")
        names = [types] if isinstance(types, str) else types if isinstance(types, list) else []
        kinds = [_TYPES[name] for name in names if isinstance(name, str) and name in _TYPES]
        if not kinds:
            return _Kind("other" if {"properties", "items"} & set(schema) else "any")
        best = self._best([_Kind(kind) for kind in kinds], path)
        if best.kind == "string" and schema.get("format") == "date":
            return _Kind("date")
        return best

    def _of_choices(self, choices: list[Any], path: str) -> _Kind:
        values = [choice for choice in choices if choice is not None]
        texts = tuple(value for value in values if isinstance(value, str))
        if texts and len(texts) == len(values):
            return self._enum_of(tuple(dict.fromkeys(texts)), path)
        self.note(path, "its choices are not all text, so they are not checked")
        kinds = [_Kind(_kind_of_value(value)) for value in values]
        return self._best(kinds, path) if kinds else _Kind("any")

    def _best(self, kinds: list[_Kind], path: str, *, is_one: bool = False) -> _Kind:
        """Of alternatives the one that admits most; of choices all, of `oneOf` what is in one."""
        known = [one for one in kinds if one.kind != "any"] or kinds
        best = min(known, key=lambda one: _PREFERENCE.index(one.kind))
        if best.kind != "enum":
            return best
        times = Counter(value for one in known for value in one.enum_values)
        values = tuple(value for value, n in times.items() if n == 1 or not is_one)
        return self._enum_of(values, path) if values else _Kind("other")

    def _enum_of(self, values: tuple[str, ...], path: str) -> _Kind:
        if len(values) > MAX_ENUM:
            self.note(path, f"it has more than {MAX_ENUM} choices, which are not listed")
            return _Kind("string")
        return _Kind("enum", values)

    def _all_of(self, kinds: list[_Kind], path: str) -> _Kind:
        """What meets every part: the narrowest when they agree, else nothing that we can fill."""
        known = [one for one in kinds if one.kind != "any"]
        if not known:
            return _Kind("any")
        narrow = max(known, key=lambda one: _PREFERENCE.index(one.kind))
        wide = {one.kind for one in known} - {narrow.kind}
        fits: dict[InputKind, set[InputKind]] = {
            "enum": {"string"}, "date": {"string"}, "int": {"float"},
        }  # fmt: skip
        if wide - fits.get(narrow.kind, set()):
            self.note(path, "its parts ask for different types")
            return _Kind("other")
        if narrow.kind != "enum":
            return narrow
        listed = [one.enum_values for one in known if one.kind == "enum"]
        values = tuple(value for value in listed[0] if all(value in other for other in listed))
        return _Kind("enum", values) if values else _Kind("other")

    def objects(self, schema: Any, path: str, depth: int = 0) -> list[Mapping[str, Any]]:
        """The schema and all parts that must hold with it."""
        self.n_nodes += 1
        schema = self.resolved(schema, path)
        if not isinstance(schema, Mapping) or depth > MAX_DEPTH or self.n_nodes > MAX_NODES:
            return []
        for word in ("anyOf", "oneOf", "if", "not", "dependentRequired", "dependentSchemas"):
            if word in schema:
                self.note(path, f"what it says under {word} at the top is left to the server")
        found: list[Mapping[str, Any]] = [schema]
        parts = schema.get("allOf")
        for part in parts if isinstance(parts, list) else []:
            found += self.objects(part, path, depth + 1)
        return found


def _constrains(schema: Mapping[str, Any]) -> bool:
    return bool(
        set(schema) & {"type", "enum", "const", "anyOf", "oneOf", "allOf", "properties", "format"}
    )


def _kind_of_value(value: Any) -> InputKind:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "int" if isinstance(value, int) else "float"
    return "string" if isinstance(value, str) else "other"


def inputs_of_json_schema(schema: Any) -> SchemaReading:
    """What the schema of a tool's arguments says of each of them.

    Never raises: what cannot be read is ``any`` (a value may be tried) or ``other`` (no answer can
    be one) and has a note. A default under a secret's name is not told.

    Args:
        schema: The decoded schema, whatever it is.

    Source: JSON Schema 2020-12, `properties`, `required`, `allOf`, `anyOf`, `oneOf`, `$ref`.
    """
    reader = _Reader(schema)
    properties: dict[str, list[Any]] = {}
    required: set[str] = set()
    objects = reader.objects(schema, "")
    if not objects:
        reader.note("", "the schema is not an object, so nothing is known of the arguments")
    for part in objects:
        listed = part.get("properties")
        for key, value in listed.items() if isinstance(listed, Mapping) else ():
            properties.setdefault(str(key), []).append(value)
        names = part.get("required")
        required |= {n for n in names if isinstance(n, str)} if isinstance(names, list) else set()
    inputs = []
    for key in sorted(properties.keys() | required):
        schemas = properties.get(key, [])
        path = f"properties.{key}"
        kind = reader.kind_of({"allOf": schemas} if len(schemas) != 1 else schemas[0], path)
        inputs.append(_input(key, kind, schemas, is_required=key in required))
    return SchemaReading(tuple(inputs), tuple(reader.notes))


def _input(key: str, kind: _Kind, schemas: list[Any], *, is_required: bool) -> InputSpec:
    default: Scalar = None
    for schema in schemas:
        given = schema.get("default") if isinstance(schema, Mapping) else None
        if isinstance(given, str | int | float) and not is_secret_name(key):
            default = given
    if kind.enum_values and is_secret_name(key):
        kind = _Kind("string")
    return InputSpec(
        key=key,
        type=kind.kind,
        required=is_required,
        enum_values=kind.enum_values,
        default=default,
    )


def secrets_in_schema(schema: Any) -> frozenset[str]:
    """Values that a schema gives to inputs with a secret's name: defaults, examples, choices."""
    found: set[str] = set()
    stack: list[tuple[Any, bool]] = [(schema, False)]
    n_nodes = 0
    while stack and n_nodes < MAX_NODES:
        node, is_secret = stack.pop()
        n_nodes += 1
        if isinstance(node, Mapping):
            for word in ("default", "const", "examples", "example", "enum") if is_secret else ():
                values = node.get(word)
                listed = values if isinstance(values, list) else [values]
                found |= {value for value in listed if isinstance(value, str)}
            for key, value in node.items():
                names = value if key == "properties" and isinstance(value, Mapping) else {}
                stack += [(one, is_secret_name(str(name))) for name, one in names.items()]
                if not names:
                    stack.append((value, is_secret))
        elif isinstance(node, list):
            stack += [(item, is_secret) for item in node]
    return frozenset(found)
