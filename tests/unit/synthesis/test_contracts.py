"""Contracts of synthesis: schemas agree with types, and what is malformed is refused."""

import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from planner_synthesis.config import ScoreWeights, SynthesisConfig
from planner_synthesis.documents import ContractError, read_contract
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
VALIDATORS = {name: jsonschema.Draft202012Validator(json_schema(name)) for name in CONTRACTS}
# what the types refuse and a schema cannot say; docs/synthesis.md, "Contracts", lists the same
BEYOND_SCHEMAS = {
    "a key twice": r"(twice)",
    "weights that do not add up": r"weights must add up to 1000",
    "a whole number with a point": r"Expected `int.*`, got `float`",
}
TEXT = st.text(max_size=4)
STRANGE = st.sampled_from(
    [None, True, 0, 1.0, 2.0, -1, 1000, 1500, 0.5, -0.5, 2**63, 2**64, -(2**70), 1e300, "", "x",
     "cyntra.agent_descriptor.v1", "rtfs", "agent", [], {}, [None], ["x"], {"x": 1}, [{}]]
)  # fmt: skip


def documents_of(kind: inspect.Type) -> st.SearchStrategy[object]:
    """JSON that a type accepts, or nearly: what its own ``__post_init__`` asks for is left open."""
    match kind:
        case inspect.StructType():
            fields = {f.encode_name: documents_of(f.type) for f in kind.fields}
            needed = {f.encode_name for f in kind.fields if f.required}
            if kind.tag_field is not None:
                fields[kind.tag_field] = st.just(kind.tag)
                needed.add(kind.tag_field)
            return st.fixed_dictionaries(
                {name: fields[name] for name in needed},
                optional={name: fields[name] for name in fields.keys() - needed},
            )
        case inspect.VarTupleType(item_type=item):
            return st.lists(documents_of(item), max_size=2)
        case inspect.DictType(value_type=value):
            return st.dictionaries(TEXT, documents_of(value), max_size=2)
        case inspect.UnionType(types=types):
            return st.one_of(*map(documents_of, types))
        case inspect.Metadata(type=inner):
            return documents_of(inner)
        case inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case inspect.IntType(ge=low, le=high):
            return st.integers(-(2**63) if low is None else low, high)
        case inspect.FloatType(ge=low, le=high):
            return st.floats(low, high, allow_nan=False, allow_infinity=False) | st.just(1)
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.StrType():
            return TEXT
    raise NotImplementedError(kind)


DOCUMENTS = {name: documents_of(inspect.type_info(kind)) for name, kind in CONTRACTS.items()}


def _places(node: object) -> Iterator[tuple[dict[str, object] | list[object], object]]:
    keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key  # type: ignore[misc]
        yield from _places(node[key])  # type: ignore[index]


def mutated(document: object, draw: Callable[[st.SearchStrategy[Any]], Any]) -> object:
    """The document with one thing changed: gone, new, doubled, or something else in its place."""
    document = deepcopy(document)  # what was drawn stays as it was drawn
    places = list(_places(document))
    if not places:
        return draw(STRANGE)
    holder, key = draw(st.sampled_from(places))
    change = draw(st.sampled_from(["leave out", "replace", "add", "double", "double and change"]))
    if change == "leave out":
        del holder[key]  # type: ignore[arg-type]
    elif isinstance(holder, list) and change.startswith("double"):
        holder.append(deepcopy(holder[key]))  # type: ignore[index]
        if change == "double and change" and isinstance(holder[-1], dict):
            holder[-1][draw(st.sampled_from(sorted(holder[-1]) or ["x"]))] = draw(STRANGE)
    elif isinstance(holder, dict) and change == "add":
        holder[draw(st.sampled_from(["x", "from_", "schema_version", "mode"]))] = draw(STRANGE)
    else:
        holder[key] = draw(STRANGE)  # type: ignore[index]
    return document


def refusal(name: str, document: object) -> str | None:
    """Why the type does not take a document; None when it does."""
    try:
        value = read_contract(json.dumps(document), CONTRACTS[name])
    except ContractError as error:
        return error.why
    written = msgspec.json.encode(value)
    assert VALIDATORS[name].is_valid(json.loads(written))
    assert read_contract(written, CONTRACTS[name]) == value
    return None


def assert_both_sides_agree(name: str, document: object) -> None:
    why = refusal(name, document)
    accepts = VALIDATORS[name].is_valid(document)
    if why is None:
        assert accepts, f"the schema of {name} refuses what its type takes"
    elif accepts:
        assert any(re.search(known, why) for known in BEYOND_SCHEMAS.values()), why


@pytest.mark.parametrize("name", sorted(CONTRACTS))
def test_a_schema_file_is_what_its_type_generates(name: str) -> None:
    written = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    assert written == json_schema(name), (
        "run `python -m planner_synthesis.schemas schemas/synthesis`"
    )


def test_no_schema_file_is_left_of_a_contract_that_is_gone(tmp_path: Path) -> None:
    write_schemas(tmp_path / "new")
    assert {p.name for p in SCHEMAS.iterdir()} == {p.name for p in (tmp_path / "new").iterdir()}


@pytest.mark.parametrize("name", sorted(CONTRACTS))
@settings(max_examples=60)
@given(data=st.data())
def test_type_and_schema_take_and_refuse_the_same_documents(name: str, data: st.DataObject) -> None:
    document = data.draw(DOCUMENTS[name])
    assert_both_sides_agree(name, document)
    for _ in range(data.draw(st.integers(1, 2))):
        document = mutated(document, data.draw)
    assert_both_sides_agree(name, document)


@pytest.mark.parametrize("name", sorted(CONTRACTS))
@settings(max_examples=30)
@given(document=st.recursive(STRANGE | TEXT, lambda x: st.lists(x) | st.dictionaries(TEXT, x)))
def test_what_is_no_document_at_all_is_refused_by_both(name: str, document: object) -> None:
    assert_both_sides_agree(name, document)


TURN = {"turn_index": 0, "prompt": ""}
CONFIG = {"schema_version": "cyntra.synthesis_config.v1"}


@pytest.mark.parametrize(
    ("exception", "name", "document"),
    [
        ("a key twice", "param_schema", {"params": [{"key": "a"}, {"key": "a", "type": "int"}]}),
        ("a key twice", "capability_card",
         {"id": "x", "inputs": [{"key": "a"}, {"key": "a", "type": "int"}]}),
        ("weights that do not add up", "synthesis_config", CONFIG | {"weights": {"trust": 1}}),
        ("a whole number with a point", "interaction_turn", TURN | {"turn_index": 1.0}),
    ],
)  # fmt: skip
def test_what_a_schema_cannot_say_is_refused_by_the_type(
    exception: str, name: str, document: object
) -> None:
    assert VALIDATORS[name].is_valid(document)
    assert re.search(BEYOND_SCHEMAS[exception], refusal(name, document) or "")
    page = (SCHEMAS.parents[1] / "docs" / "synthesis.md").read_text()
    assert exception in page


@pytest.mark.parametrize(
    ("name", "document", "path"),
    [
        ("registry_snapshot", {}, "$.schema_version"),
        ("synthesis_config", {}, "$.schema_version"),
        ("track_record", {"id": "x"}, "$.schema_version"),
        ("planner_gen_context", {"schema": {}}, "$.schema_version"),
        ("planner_gen_context",
         {"schema_version": "cyntra.planner_gen_context.v1", "schema": {},
          "track_records": [{"id": "x"}]}, "$.track_records[0].schema_version"),
        ("agent_descriptor",
         {"schema_version": "cyntra.agent_descriptor.v1", "agent_id": "x",
          "execution_mode": {"plan": "p"}}, "$.execution_mode.mode"),
        ("agent_descriptor",
         {"schema_version": "cyntra.agent_descriptor.v1", "agent_id": "x",
          "execution_mode": {"mode": "rtfs", "plan": "p", "sudo": 1}}, "$.execution_mode"),
        ("param_schema", {"params": [{"key": "a"}] * 2}, "$"),
    ],
)  # fmt: skip
def test_a_missing_version_and_an_unknown_field_are_refused_by_both(
    name: str, document: object, path: str
) -> None:
    assert not VALIDATORS[name].is_valid(document)
    with pytest.raises(ContractError) as refused:
        read_contract(json.dumps(document), CONTRACTS[name])
    assert refused.value.path == path


@pytest.mark.parametrize("text", [b"", b"{", b'{"id": NaN}', b'"\xff"', b"[" * 100_000, "nul"])
def test_what_is_no_json_is_refused_as_a_whole(text: bytes | str) -> None:
    with pytest.raises(ContractError) as refused:
        read_contract(text, CapabilityCard)
    assert refused.value.path == "$"


def test_an_unknown_field_is_refused_with_its_path() -> None:
    with pytest.raises(ContractError) as refused:
        read_contract(b'{"schema": {"params": [{"key": "a", "tpye": "int"}]}}', PlannerGenContext)
    assert refused.value.path == "$.schema.params[0]"


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
