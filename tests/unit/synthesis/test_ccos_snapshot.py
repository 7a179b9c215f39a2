"""CCOS exports: every field read as upstream writes it, and no secret in any card."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_synthesis.snapshot import RegistryReading
from planner_synthesis.snapshot.ccos import CcosExport, cards_of_ccos
from planner_synthesis.types import InputSpec

SHAPED = "sk-CANARY0000000000000000"  # looks like a secret wherever it stands
PLAIN = "canary-plain-words"  # a secret only by where it stands


def a_manifest(**changes: Any) -> dict[str, Any]:
    manifest = {
        "id": "github.issues.monitor",
        "name": "Issue monitor",
        "description": "Watches issues of a repository",
        "provider": {"Http": {"base_url": "https://api.example.org/v1", "auth_token": None, "timeout_ms": 500}},
        "version": "1.0.0",
        "input_schema": None,
        "output_schema": None,
        "attestation": {"signature": "abcdef", "authority": "us", "created_at": "2025-10-01T00:00:00Z", "metadata": {}},
        "provenance": {"source": "marketplace", "content_hash": "e3b0c442", "custody_chain": ["us"]},
        "permissions": ["read"],
        "effects": [":network"],
        "metadata": {"context/keys": "repository, criteria"},
    }  # fmt: skip
    return {**manifest, **changes}


def an_agent(**changes: Any) -> dict[str, Any]:
    agent = {
        "agent_id": "triage.agent",
        "execution_mode": {"RTFS": {"plan": "(do nil)"}},
        "skills": ["triage", "monitor"],
        "supported_constraints": ["budget"],
        "trust_tier": "T1Trusted",
        "cost": {"cost_per_call": 0.1, "tokens_per_second": 10},
        "metadata": {"context/keys": "repository"},
    }
    return {**agent, **changes}


def cards(*manifests: Any, agents: Any = ()) -> RegistryReading:
    return cards_of_ccos({"capabilities": list(manifests), "agents": list(agents)}, source="x.json")


def the_card(**changes: Any) -> Any:
    reading = cards(a_manifest(**changes))
    assert len(reading.capabilities) == 1, reading
    return reading.capabilities[0]


def test_a_manifest_becomes_a_card() -> None:
    card = the_card()
    assert card.id == "github.issues.monitor"
    assert card.expects_context_keys == ("criteria", "repository")
    assert (card.trust_tier, card.local, card.effects) == ("T0", False, (":network",))
    assert card.doc == "Watches issues of a repository"


@pytest.mark.parametrize(
    ("field", "spelling"),
    [
        ("context/keys", "a, b"), ("context/keys", ":a,:b,"), ("context/keys", ["a", ":b"]),
        ("expects", "(:expects (:context/keys (:a :b)))"), (":expects", "{:context/keys [:a :b]}"),
        ("expects", "{:expects {:context/keys [:a \"b\"]}}"), ("expects", {"context/keys": ["a", "b"]}),
        ("expects", {":context/keys": "a,b"}), ("expects", "(:context/keys (:a :b))"),
    ],
)  # fmt: skip
def test_every_spelling_of_expects_is_read(field: str, spelling: Any) -> None:
    assert the_card(metadata={field: spelling}).expects_context_keys == ("a", "b")
    assert the_card(metadata={}, **{field: spelling}).expects_context_keys == ("a", "b")


@pytest.mark.parametrize(
    "spelling", ["(unclosed", "{:other [:a]}", 7, [1], "(:expects 5)", "{:context/keys [1]}"]
)
def test_an_expects_that_is_none_of_them_is_told(spelling: Any) -> None:
    reading = cards(a_manifest(metadata={"expects": spelling}))
    assert [(row.position, row.is_left_out) for row in reading.quarantine] == [
        ("capabilities[0].expects", False)
    ]
    assert reading.capabilities[0].expects_context_keys == ()


def test_spellings_that_differ_are_all_taken_and_told() -> None:
    reading = cards(a_manifest(metadata={"context/keys": "a", "expects": "{:context/keys [:b]}"}))
    assert reading.capabilities[0].expects_context_keys == ("a", "b")
    assert len(reading.quarantine) == 1


TYPES = [
    "[:map [:repository string] [:limit int ?] [:mode [:enum \"fast\" \"slow\"]] [:day :date]]",
    {"map": {"entries": [
        {"key": "repository", "value_type": {"primitive": "string"}, "optional": False},
        {"key": ":limit", "value_type": {"primitive": "int"}, "optional": True},
        {"key": "mode", "value_type": {"enum": [{"string": "fast"}, {"string": "slow"}]}, "optional": False},
        {"key": "day", "value_type": {"primitive": {"custom": "date"}}, "optional": False},
    ], "wildcard": None}},
    {"Map": {"entries": [{"key": "context", "value_type": {"Map": {"entries": [
        {"key": "repository", "value_type": {"Primitive": "String"}, "optional": False},
        {"key": "limit", "value_type": {"Optional": {"Primitive": "Int"}}, "optional": False},
        {"key": "mode", "value_type": {"Union": [{"Literal": {"String": "fast"}}, {"Literal": {"String": "slow"}}]},
         "optional": False},
        {"key": "day", "value_type": {"Intersection": [{"Primitive": {"Custom": "date"}}, "Any"]}, "optional": False},
    ]}}, "optional": False}]}},
    {"type": "object", "required": ["repository", "mode", "day"], "properties": {
        "repository": {"type": "string"}, "limit": {"type": "integer"}, "mode": {"enum": ["fast", "slow"]},
        "day": {"type": "string", "format": "date"}}},
]  # fmt: skip


@pytest.mark.parametrize("schema", TYPES, ids=["text", "rust", "rust-in-context", "json-schema"])
def test_input_types_are_read_however_they_are_written(schema: Any) -> None:
    card = the_card(input_schema=schema, metadata={})
    repository, limit = (
        InputSpec(key="repository", type="string"),
        InputSpec(key="limit", type="int", required=False),
    )
    assert card.inputs[0] == InputSpec(key="day", type="date")
    assert card.inputs[1] == limit
    assert card.inputs[2] == InputSpec(key="mode", type="enum", enum_values=("fast", "slow"))
    assert card.inputs[3] == repository
    assert card.expects_context_keys == ("day", "limit", "mode", "repository")


@pytest.mark.parametrize(
    "schema",
    ["int", "[:vector int]", "(", 7, {"a": 1, "b": 2}, {"map": {"entries": [5]}}, "x" * 200_000],
)
def test_a_type_that_names_no_inputs_is_told(schema: Any) -> None:
    reading = cards(a_manifest(input_schema=schema))
    assert [row.position for row in reading.quarantine] == ["capabilities[0].input_schema"]
    assert len(reading.capabilities) == 1


@pytest.mark.parametrize(
    ("provider", "is_local", "tier", "effects"),
    [
        ("Local", True, "T1", ()), ({"Local": {}}, True, "T1", ()),
        ({"Plugin": {"plugin_path": "/p", "function_name": "f"}}, True, "T1", ()),
        ({"type": "Local"}, True, "T1", ()),
        ({"MCP": {"server_url": "http://h", "tool_name": "t", "timeout_ms": 1}}, False, "T0", (":network",)),
        ({"A2A": {}}, False, "T0", (":network",)), ({"RemoteRTFS": {}}, False, "T0", (":network",)),
        ("Stream", False, "T0", (":network",)), (None, False, "T0", (":network",)),
        (7, False, "T0", (":network",)), ([], False, "T0", (":network",)),
    ],
)  # fmt: skip
def test_a_provider_says_where_it_runs(
    provider: Any, is_local: bool, tier: str, effects: tuple[str, ...]
) -> None:
    card = the_card(provider=provider, effects=[])
    assert (card.local, card.trust_tier, card.effects) == (is_local, tier, effects)


def test_no_tier_is_higher_than_the_reader_allows() -> None:
    manifest = a_manifest(metadata={"trust_tier": "T2Privileged"})
    assert cards(manifest).capabilities[0].trust_tier == "T1"
    allowed = cards_of_ccos([manifest], source="x", highest_tier="T2")
    assert allowed.capabilities[0].trust_tier == "T2"


def test_agents_of_both_registries_become_cards() -> None:
    definition = {
        "agent_id": "d",
        "name": "Helper",
        "capabilities": ["x"],
        "cost": 1,
        "trust_score": 0.4,
    }
    reading = cards(
        agents=[
            an_agent(),
            definition,
            an_agent(
                agent_id="r",
                execution_mode={"RemoteService": {"endpoint": "https://h", "protocol": "http"}},
            ),
        ]
    )
    by_id = {card.agent_id: card for card in reading.agents}
    assert by_id["triage.agent"].supported_context_keys == ("repository",)
    assert (by_id["triage.agent"].trust_tier, by_id["triage.agent"].local) == ("T1", True)
    assert (by_id["d"].skills, by_id["d"].trust_tier) == (("x",), "T0")
    assert (by_id["r"].local, by_id["r"].effects) == (False, (":network",))


def test_bad_entries_are_rows_and_cost_no_other() -> None:
    bad = [
        7,
        {},
        a_manifest(id=5),
        a_manifest(id=""),
        a_manifest(effects=[1]),
        a_manifest(approval_status="Rejected"),
    ]
    reading = cards(a_manifest(), *bad, agents=[an_agent(), None, an_agent(skills=[1])])
    assert len(reading.capabilities) == len(reading.agents) == 1
    left_out = [row.position for row in reading.quarantine if row.is_left_out]
    assert left_out == [f"capabilities[{at}]" for at in range(1, 7)] + ["agents[1]", "agents[2]"]


def test_maps_by_id_and_plain_lists_are_read_too() -> None:
    by_id = {"capabilities": {"github.issues.monitor": a_manifest(), "other": a_manifest()},
             "agents": {"triage.agent": an_agent()}}  # fmt: skip
    reading = cards_of_ccos(by_id, source="x")
    assert (len(reading.capabilities), len(reading.agents), len(reading.quarantine)) == (1, 1, 1)
    reading = cards_of_ccos([a_manifest(), an_agent()], source="x")
    assert (len(reading.capabilities), len(reading.agents), reading.quarantine) == (1, 1, ())


@pytest.mark.parametrize("document", [None, 7, "x", {}, {"capabilities": 5}])
def test_an_export_without_lists_is_a_row(document: Any) -> None:
    assert [row.kind for row in cards_of_ccos(document, source="x").quarantine] == ["source"]


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 200_000, b"9" * 5000])
def test_a_file_that_is_no_export_is_a_row(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_bytes(text)
    assert [row.kind for row in CcosExport(path=path).read().quarantine] == ["source"]
    assert [row.kind for row in CcosExport(path=tmp_path / "gone").read().quarantine] == ["source"]


def test_what_stands_in_headers_and_connection_strings_reaches_no_card() -> None:
    headers = {"X-Auth": "qazwsx123", "Cookie": "sid=plmokn99; a=b"}
    reading = cards(
        a_manifest(
            id="a",
            description="as zxcv9876",
            metadata={"connection-string": "Server=x;Pwd=zxcv9876"},
        ),
        a_manifest(id="b", description="send qazwsx123", provider={"Http": {"headers": headers}}),
        a_manifest(id="c", metadata={"context/keys": "x,plmokn99"}),
    )
    assert [card.id for card in reading.capabilities] == ["a", "b"]
    assert [row.reason for row in reading.quarantine] == [
        "a context key holds what looks like a secret"
    ]
    assert not [one for one in ("zxcv9876", "qazwsx123", "plmokn99") if one in repr(reading)]


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to every scalar and to every key of a JSON document."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, (*path, key))
    elif isinstance(node, list):
        for at, value in enumerate(node):
            yield from leaves(value, (*path, at))
    else:
        yield path


def with_leaf(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(document)
    node = changed
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    return changed


EXPORT = {
    "capabilities": [
        a_manifest(
            input_schema={"type": "object", "properties": {
                "mode": {"enum": ["fast", "slow"], "default": "fast"}, "api_key": {"type": "string", "default": ""},
            }},
            metadata={"context/keys": "a", "expects": "{:context/keys [:a]}", "trust_tier": "T1", "note": "n"},
        ),
        a_manifest(id="second", provider={"MCP": {"server_url": "https://h/mcp", "tool_name": "t"}}),
    ],
    "agents": [an_agent(), an_agent(agent_id="two", execution_mode={"RemoteService": {"endpoint": "https://h"}})],
}  # fmt: skip


@pytest.mark.parametrize("path", list(leaves(EXPORT)), ids=str)
@pytest.mark.parametrize(
    "around", ["{}", "see {} now", "https://joe:{}@h/x?k=1", "https://h/x?key={}"]
)
def test_a_secret_in_any_field_reaches_no_card_and_no_row(
    path: tuple[Any, ...], around: str
) -> None:
    reading = cards_of_ccos(with_leaf(EXPORT, path, around.format(SHAPED)), source="x.json")
    assert "CANARY" not in msgspec.json.encode(reading).decode()
    assert len(reading.capabilities) >= 1


@pytest.mark.parametrize(
    "name", ["auth_token", "api_key", "password", "Authorization", "client_secret", "cookie"]
)
@pytest.mark.parametrize(
    "place", [("provider", "Http"), ("metadata",), ("attestation", "metadata"), ("provenance",)]
)
def test_what_stands_under_a_secret_name_is_told_nowhere(name: str, place: tuple[str, ...]) -> None:
    """Though the same words stand in the description, another manifest and an agent."""
    export = copy.deepcopy(EXPORT)
    node: Any = export["capabilities"][0]
    for step in place:
        node = node[step]
    node[name] = PLAIN
    export["capabilities"][0]["description"] = f"sent with {PLAIN}."
    export["capabilities"][1]["metadata"] = {"context/keys": f"a,{PLAIN}"}
    export["agents"][0]["skills"] = ["triage", PLAIN]
    reading = cards_of_ccos(export, source="x.json")
    assert PLAIN not in msgspec.json.encode(reading).decode()
    assert [card.doc for card in reading.capabilities] == ["sent with [redacted]."]
    assert [row.position for row in reading.quarantine] == ["capabilities[1]", "agents[0]"]


def test_a_schema_hides_the_values_of_its_secret_inputs() -> None:
    schema = {
        "type": "object",
        "properties": {"api_key": {"type": "string", "default": PLAIN, "description": PLAIN}},
    }
    reading = cards(a_manifest(input_schema=schema, description=f"uses {PLAIN}"))
    assert PLAIN not in msgspec.json.encode(reading).decode()
    assert reading.capabilities[0].inputs[0].type == "string"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["(:a", "{:context/keys [:a]}"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["id", "agent_id", "provider", "metadata", "input_schema", "map", "entries", "key", "expects",
                         "value_type", "effects", "skills", "context/keys", "capabilities", "agents", "Optional"]),
        inner, max_size=4,
    ),
    max_leaves=25,
)  # fmt: skip


@given(JSON)
def test_any_json_gives_cards_or_rows(document: Any) -> None:
    reading = cards_of_ccos(document, source="x")
    json.loads(msgspec.json.encode(reading))
    listed = cards_of_ccos({"capabilities": [document], "agents": [document]}, source="x")
    n_left_out = sum(row.is_left_out for row in listed.quarantine)
    assert len(listed.capabilities) + len(listed.agents) + n_left_out == 2
