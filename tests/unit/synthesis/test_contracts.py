"""Contracts of synthesis: schemas agree with types, and what is malformed is refused."""

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_synthesis.config import ScoreWeights, SynthesisConfig
from planner_synthesis.schemas import CONTRACTS, json_schema, write_schemas
from planner_synthesis.types import (
    AdapterStep,
    CapabilityCard,
    InputSpec,
    ParamSchema,
    ParamSpec,
    PlannerGenContext,
    RuntimeContext,
)

SCHEMAS = Path(__file__).parents[3] / "schemas" / "synthesis"
TEXT = st.text(max_size=8)
INPUTS = st.builds(
    InputSpec, key=TEXT, type=st.sampled_from(["int", "any"]), required=st.booleans()
)
CARDS = st.builds(
    CapabilityCard,
    id=TEXT,
    expects_context_keys=st.lists(TEXT, max_size=3).map(tuple),
    inputs=st.lists(INPUTS, max_size=2, unique_by=lambda i: i.key).map(tuple),
    local=st.booleans(),
)


@pytest.mark.parametrize("name", sorted(CONTRACTS))
def test_a_schema_file_is_what_its_type_generates(name: str) -> None:
    written = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    assert written == json_schema(name), (
        "run `python -m planner_synthesis.schemas schemas/synthesis`"
    )


def test_no_schema_file_is_left_of_a_contract_that_is_gone(tmp_path: Path) -> None:
    write_schemas(tmp_path / "new")
    assert {p.name for p in SCHEMAS.iterdir()} == {p.name for p in (tmp_path / "new").iterdir()}


@given(CARDS)
def test_what_a_type_writes_its_schema_accepts_and_the_type_reads_back(
    card: CapabilityCard,
) -> None:
    text = msgspec.json.encode(card)
    jsonschema.validate(json.loads(text), json_schema("capability_card"))
    assert msgspec.json.decode(text, type=CapabilityCard) == card


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(0, 9) | TEXT,
        lambda x: (
            st.lists(x, max_size=2)
            | st.dictionaries(
                st.sampled_from(["id", "local", "trust_tier", "inputs", "x", "doc"]), x, max_size=3
            )
        ),
    )
)
def test_type_and_schema_refuse_the_same_documents(document: object) -> None:
    text = json.dumps(document)
    accepted = jsonschema.Draft202012Validator(json_schema("capability_card")).is_valid(document)
    try:
        msgspec.json.decode(text, type=CapabilityCard)
        assert accepted
    except msgspec.ValidationError:
        assert not accepted


def test_an_unknown_field_is_refused_with_its_path() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$.schema.params\[0\]"):
        msgspec.json.decode(
            b'{"schema": {"params": [{"key": "a", "tpye": "int"}]}}', type=PlannerGenContext
        )


def test_a_schema_with_one_key_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        ParamSchema(params=(ParamSpec(key="a"), ParamSpec(key="a")))


def test_a_card_with_one_input_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        CapabilityCard(id="x", inputs=(InputSpec(key="a"), InputSpec(key="a", type="int")))


def test_weights_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="1000"):
        ScoreWeights(coverage=500)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"weights": {"coverage": 1}}', type=SynthesisConfig)


def test_an_adapter_step_is_written_with_the_names_of_the_spec() -> None:
    written = msgspec.json.decode(msgspec.json.encode(AdapterStep(from_="a", to="b")))
    assert {"from", "to", "coercion", "default_used"} <= written.keys()


def test_required_keys_are_sorted_and_leave_optional_ones_out() -> None:
    schema = ParamSchema(
        params=(ParamSpec(key="b"), ParamSpec(key="c", required=False), ParamSpec(key="a"))
    )
    assert schema.required_keys() == ("a", "b")
    assert schema.keys() == ("a", "b", "c")


def test_effects_are_denied_first_and_none_declared_is_compute() -> None:
    context = RuntimeContext(
        level="full", allowed_effects=("Network",), denied_effects=(":compute",)
    )
    assert context.are_effects_allowed((":network",))
    assert not context.are_effects_allowed(())
    assert not context.are_effects_allowed((":network", "COMPUTE"))
    assert RuntimeContext(level="full").are_effects_allowed((":anything",))
