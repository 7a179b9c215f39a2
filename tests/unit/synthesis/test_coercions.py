"""Coercions, run by the real evaluator: the right value or nil, never a wrong one."""

import datetime
import math
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_synthesis.coercions import coercion_form, find_coercion, is_value_of
from planner_synthesis.generate import generate_planner_generic
from planner_synthesis.program_walk import BUILTINS
from planner_synthesis.rtfs import BUILTINS as KNOWN
from planner_synthesis.rtfs import List, Sym, Vector, evaluate
from planner_synthesis.schema import schema_from_history
from planner_synthesis.types import (
    CapabilityCard,
    InputSpec,
    InteractionTurn,
    ParamSchema,
    ParamSpec,
    PlannerGenContext,
    RuntimeContext,
)

NAMES = ["int->string", "float->string", "bool->string", "int->float", "float->int", "string->int",
         "string->float", "string->bool", "parse-date", "string->enum"]  # fmt: skip
TYPES = {"int->string": str, "float->string": str, "bool->string": str, "int->float": float,
         "float->int": int, "string->int": int, "string->float": float, "string->bool": bool,
         "parse-date": str, "string->enum": str}  # fmt: skip
VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=12) | st.sampled_from(
    ["+5", " 5 ", "5.0", "1e3", "inf", "nan", "NaN", "-inf", "TRUE", "Yes", "n", "2024-02-29", "2025-02-29", "2025-+1-01",
     "0999-01-01", "2025-1-01", "-025-01-01", "LOW", "high ", "1_000"])  # fmt: skip


def coerced(name: str, value: object, options: tuple[str, ...] = ("Low", "High")) -> object:
    form = coercion_form(name, Sym("context"), options)
    wrapped = List((Sym("do"), form))
    if value is None:  # a context of nil is no context; bind it in the program
        wrapped = List((Sym("let"), Vector((Sym("context"), None)), form))
    return evaluate([wrapped], context=value)


@pytest.mark.parametrize(("name", "value", "expected"), [
    ("string->int", "42", 42), ("string->int", " 42 ", 42), ("string->int", "many", None), ("string->int", "4.0", None),
    ("string->int", 2.7, None), ("string->int", 7, 7),
    ("string->float", "2.5", 2.5), ("string->float", "nan", None), ("string->float", "inf", None), ("string->float", "x", None),
    ("string->bool", "TRUE", True), ("string->bool", "no", False), ("string->bool", "maybe", None), ("string->bool", False, False),
    ("int->string", 5, "5"), ("int->string", None, None), ("bool->string", True, "true"),
    ("float->int", 2.0, 2), ("float->int", 2.5, None), ("float->int", math.inf, None), ("float->int", 3, 3),
    ("int->float", 3, 3.0), ("int->float", 2**53 + 1, None), ("int->float", 2**53 - 1, 2.0**53 - 1),
    ("string->float", "9007199254740993", None), ("string->float", "9223372036854775809", None),
    ("string->float", 1e300, 1e300), ("string->float", "-0.1", -0.1),
    ("parse-date", "10000-01-01", None), ("parse-date", "9999-12-31", "9999-12-31"), ("parse-date", "2024-02-29", "2024-02-29"), ("parse-date", "2025-02-29", None), ("parse-date", "1900-02-29", None),
    ("parse-date", "2000-02-29", "2000-02-29"), ("parse-date", "2025-+1-01", None), ("parse-date", "2025-13-01", None),
    ("parse-date", "2025-04-31", None), ("parse-date", "tomorrow", None), ("parse-date", "2025-1-01", None),
    ("string->enum", "low", "Low"), ("string->enum", "HIGH", "High"), ("string->enum", "mid", None), ("string->enum", 1, None),
])  # fmt: skip
def test_a_coercion_gives_the_value_or_nil(name: str, value: object, expected: object) -> None:
    found = coerced(name, value)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize("name", NAMES)
@given(value=VALUES)
def test_a_coercion_never_fails_and_never_gives_another_type(name: str, value: object) -> None:
    found = coerced(name, value)
    assert found is None or type(found) is TYPES[name]
    if isinstance(found, float):
        assert math.isfinite(found)
    if isinstance(value, int) and isinstance(found, float):
        assert int(found) == value


@given(st.dates(min_value=datetime.date(1000, 1, 1)))
def test_every_date_is_a_date(day: datetime.date) -> None:
    assert coerced("parse-date", day.isoformat()) == day.isoformat()


@given(st.integers(1000, 9999), st.integers(0, 14), st.integers(0, 33))
def test_a_date_is_what_the_calendar_says(year: int, month: int, day: int) -> None:
    text = f"{year}-{month:02}-{day:02}"
    try:
        datetime.date(year, month, day)
        assert coerced("parse-date", text) == text
    except ValueError:
        assert coerced("parse-date", text) is None


def test_options_that_only_case_tells_apart_are_matched_exactly() -> None:
    assert coerced("string->enum", "LOW", ("low", "LOW")) == "LOW"
    assert coerced("string->enum", "Low", ("low", "LOW")) is None


def enum(*values: str) -> ParamSpec:
    return ParamSpec(key="k", type="enum", enum_values=values)


@pytest.mark.parametrize(("param", "target", "name"), [
    (ParamSpec(key="k"), InputSpec(key="k", type="string"), None),
    (ParamSpec(key="k", type="date"), InputSpec(key="k", type="string"), None),
    (enum("a"), InputSpec(key="k", type="string"), None),
    (enum("a"), InputSpec(key="k", type="enum", enum_values=("a", "b")), None),
    (enum("a", "c"), InputSpec(key="k", type="enum", enum_values=("A", "b")), "enum->enum"),
    (enum("1", "2"), InputSpec(key="k", type="int"), "string->int"),
    (ParamSpec(key="k", type="int"), InputSpec(key="k", type="float"), "int->float"),
])  # fmt: skip
def test_a_pair_of_types_has_its_coercion(
    param: ParamSpec, target: InputSpec, name: str | None
) -> None:
    found = find_coercion(param, target)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(("param", "target"), [
    (ParamSpec(key="k"), InputSpec(key="k", type="other")), (enum("a"), InputSpec(key="k", type="int")),
    (enum("a"), InputSpec(key="k", type="enum", enum_values=("b",))),
    (ParamSpec(key="k", type="bool"), InputSpec(key="k", type="int")),
    (ParamSpec(key="k", type="int"), InputSpec(key="k", type="date")),
])  # fmt: skip
def test_a_pair_without_a_safe_coercion_has_none(param: ParamSpec, target: InputSpec) -> None:
    assert find_coercion(param, target) is None


def test_one_and_true_are_two_values() -> None:
    assert is_value_of(1, InputSpec(key="k", type="int"))
    assert not is_value_of(True, InputSpec(key="k", type="int"))
    assert not is_value_of(1, InputSpec(key="k", type="float"))


@pytest.mark.parametrize("value", [2**63, 2**64 - 1, -(2**63) - 1, math.inf, math.nan])
def test_a_number_that_rtfs_cannot_write_is_no_default_and_no_reason_to_fail(value: float) -> None:
    kind: Literal["int", "float"] = "int" if isinstance(value, int) else "float"
    for type_ in (kind, "any"):
        assert not is_value_of(value, InputSpec(key="k", type=type_))
    history = (InteractionTurn(turn_index=0, prompt="Which repo?", answer="a/b"),)
    inputs = (InputSpec(key="repo"), InputSpec(key="n", type=kind, default=value))
    params = (*schema_from_history(history).params,
              ParamSpec(key="m", type=kind, required=False, default=value))  # fmt: skip
    for specs in (inputs, (inputs[0], InputSpec(key="m", type=kind, required=False))):
        synthesis = generate_planner_generic(PlannerGenContext(
            schema=ParamSchema(params=params), security=RuntimeContext(level="full"),
            registry_caps=(CapabilityCard(id="x", inputs=specs, trust_tier="T1"),)))  # fmt: skip
        assert synthesis.required_capabilities == (() if specs == inputs else ("x",))


def test_every_builtin_that_planners_may_use_is_one_of_the_language() -> None:
    assert set(KNOWN) >= BUILTINS
