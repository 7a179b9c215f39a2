"""Inputs read off a JSON Schema."""

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_synthesis.snapshot.json_schema import inputs_of_json_schema, secrets_in_schema
from planner_synthesis.types import InputSpec


def an_object(*, required: list[str] | None = None, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required or []}


def kind_of(schema: Any, **definitions: Any) -> tuple[str, tuple[str, ...]]:
    reading = inputs_of_json_schema({**an_object(k=schema), "$defs": definitions})
    return reading.inputs[0].type, reading.inputs[0].enum_values


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, "string"), ({"type": "integer"}, "int"), ({"type": "number"}, "float"),
        ({"type": "boolean"}, "bool"), ({"type": "array", "items": {}}, "other"),
        ({"type": "object"}, "other"), ({"properties": {}}, "other"), ({}, "any"), (True, "any"),
        (False, "other"), ({"type": "null"}, "any"), ({"type": "strange"}, "any"), ({"type": 7}, "any"),
        (7, "any"), ({"type": ["string", "null"]}, "string"), ({"type": ["integer", "array"]}, "int"),
        ({"type": "string", "format": "date"}, "date"),
        ({"type": "string", "format": "date-time"}, "string"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "int"),
        ({"anyOf": [{"type": "array"}, {"type": "string"}]}, "string"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "float"),
        ({"anyOf": [{"type": "array"}, {"type": "object"}]}, "other"),
        ({"allOf": [{"type": "string"}, {"minLength": 2}]}, "string"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "other"),
        ({"allOf": [{"type": "number"}, {"type": "integer"}]}, "int"),
        ({"enum": [1, 2]}, "int"), ({"enum": [1, "a"]}, "string"), ({"const": True}, "bool"),
        ({"$ref": "#/$defs/Gone"}, "any"), ({"$ref": "https://example.org/schema"}, "any"),
        ({"$ref": 7}, "any"), ({"anyOf": []}, "any"), ({"enum": []}, "any"),
    ],
)  # fmt: skip
def test_an_input_has_the_kind_that_its_schema_admits(schema: Any, kind: str) -> None:
    assert kind_of(schema)[0] == kind


def test_choices_of_text_are_kept_in_order() -> None:
    assert kind_of({"enum": ["low", "high", "low", None]}) == ("enum", ("low", "high"))
    assert kind_of({"const": "only"}) == ("enum", ("only",))
    assert kind_of({"type": "string", "enum": ["a"]}) == ("enum", ("a",))
    assert kind_of({"anyOf": [{"enum": ["a"]}, {"type": "null"}]}) == ("enum", ("a",))


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        ({"anyOf": [{"const": "a"}, {"const": "b"}]}, "ab"),
        ({"oneOf": [{"const": "a", "title": "A"}, {"const": "b", "title": "B"}]}, "ab"),
        ({"anyOf": [{"enum": ["b", "a"]}, {"enum": ["a", "c"]}, {"type": "null"}]}, "bac"),
        ({"oneOf": [{"enum": ["a", "b"]}, {"enum": ["b", "c"]}]}, "ac"),
        ({"allOf": [{"enum": ["a", "b"]}, {"enum": ["c", "b"]}, {"type": "string"}]}, "b"),
        ({"enum": ["a", "b"], "anyOf": [{"const": "b"}, {"const": "c"}]}, "b"),
    ],
)
def test_choices_of_several_parts_are_put_together(schema: Any, values: str) -> None:
    assert kind_of(schema) == ("enum", tuple(values))
    for value in values:
        jsonschema.validate(value, schema)


@pytest.mark.parametrize(
    "schema", [{"allOf": [{"const": "a"}, {"const": "b"}]}, {"oneOf": [{"const": "a"}] * 2}]
)
def test_choices_that_rule_each_other_out_are_met_by_nothing(schema: Any) -> None:
    assert kind_of(schema)[0] == "other"


def test_many_choices_in_parts_are_a_string_with_a_note() -> None:
    parts = {"anyOf": [{"const": str(number)} for number in range(300)]}
    assert kind_of(parts)[0] == "string"
    assert inputs_of_json_schema(an_object(k=parts)).notes


def test_references_are_followed_inside_the_document() -> None:
    defs = {"Mode": {"enum": ["fast", "safe"]}, "a/b~c": {"$ref": "#/$defs/Mode"}}
    assert kind_of({"$ref": "#/$defs/Mode"}, **defs) == ("enum", ("fast", "safe"))
    assert kind_of({"$ref": "#/$defs/a~1b~0c"}, **defs) == ("enum", ("fast", "safe"))
    assert kind_of({"$ref": "#/$defs/Mode", "type": "string"}, **defs)[0] == "enum"


def test_a_circle_ends_and_is_told() -> None:
    schema = {**an_object(a={"$ref": "#/$defs/A"}, b={"$ref": "#/$defs/N"}), "$defs": {
        "A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"},
        "N": {"anyOf": [{"$ref": "#/$defs/N"}, {"$ref": "#/$defs/N"}, {"type": "integer"}]},
    }}  # fmt: skip
    reading = inputs_of_json_schema(schema)
    assert [spec.key for spec in reading.inputs] == ["a", "b"]
    assert {path for path, _ in reading.notes} == {"properties.a", "properties.b"}


def test_required_and_default_are_read() -> None:
    schema = an_object(
        n={"type": "integer", "default": 3}, s={"type": "string"}, required=["s", "t"]
    )
    assert inputs_of_json_schema(schema).inputs == (
        InputSpec(key="n", type="int", required=False, default=3),
        InputSpec(key="s", type="string", required=True),
        InputSpec(key="t", type="any", required=True),
    )


def test_parts_of_the_whole_are_read_together() -> None:
    schema = {
        "allOf": [an_object(a={"type": "string"}, required=["a"]), {"$ref": "#/$defs/More"}],
        "$defs": {"More": an_object(b={"type": "integer"}, a={"enum": ["x"]})},
    }
    assert [(s.key, s.type, s.required) for s in inputs_of_json_schema(schema).inputs] == [
        ("a", "enum", True), ("b", "int", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({**an_object(), "anyOf": [{"required": ["a"]}]}, ""),
        (an_object(k={"not": {"type": "string"}}), "properties.k"),
        (an_object(k={"enum": [1]}), "properties.k"),
        (an_object(k={"$ref": "http://elsewhere/x"}), "properties.k"),
        (an_object(k={"enum": [str(n) for n in range(300)]}), "properties.k"),
        ([], ""),
        (None, ""),
    ],
)
def test_what_is_not_read_is_told(schema: Any, path: str) -> None:
    assert path in {where for where, _ in inputs_of_json_schema(schema).notes}


def test_a_secret_input_tells_neither_default_nor_choices() -> None:
    schema = an_object(
        api_key={"type": "string", "default": "hunter22", "examples": ["example9"]},
        token={"enum": ["choice77"]},
        n={"default": "plain"},
    )
    reading = inputs_of_json_schema(schema)
    assert [(s.key, s.type, s.default, s.enum_values) for s in reading.inputs] == [
        ("api_key", "string", None, ()), ("n", "any", "plain", ()), ("token", "string", None, ()),
    ]  # fmt: skip
    assert secrets_in_schema(schema) == {"hunter22", "example9", "choice77"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["string", "object", "#/$defs/a", "#"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["type", "properties", "required", "anyOf", "allOf", "oneOf", "$ref", "$defs",
                         "a", "enum", "const", "items", "default", "not", "token"]),
        inner, max_size=4,
    ),
    max_leaves=25,
)  # fmt: skip


@given(JSON)
def test_any_json_is_read_without_a_crash(schema: Any) -> None:
    keys = [spec.key for spec in inputs_of_json_schema(schema).inputs]
    assert keys == sorted(set(keys))
    secrets_in_schema(schema)


SCALARS = {
    "string": ["x"],
    "int": [3],
    "float": [1.5],
    "bool": [True],
    "enum": ["a", "b"],
    "date": ["2025-01-01"],
}
LEAVES = st.sampled_from(
    [{"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "boolean"}, {"type": "array"},
     {"type": "object"}, {"type": ["string", "null"]}, {"enum": ["a", "b"]}, {"type": "null"}, {"const": "c"}, {"enum": ["b", "d"]}]
)  # fmt: skip
ONE_OF_MANY = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda some: {"anyOf": some}),
    max_leaves=6,
)


@given(ONE_OF_MANY)
def test_a_value_of_the_kind_that_was_read_is_valid(schema: dict[str, Any]) -> None:
    """A law: what we say an input takes, its own schema accepts."""
    kind, choices = kind_of(schema)
    for value in choices or SCALARS.get(kind, []):
        jsonschema.validate(value, schema)
