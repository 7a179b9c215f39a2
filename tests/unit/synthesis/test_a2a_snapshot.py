"""A2A agent cards from files and from real HTTP servers."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_synthesis.snapshot import RegistryReading
from planner_synthesis.snapshot.a2a import A2aCards, agent_id_of, cards_of_a2a
from tests.unit.synthesis.local_http import Request, a_local_server


def a_card(**changes: Any) -> dict[str, Any]:
    card = {
        "protocolVersion": "0.3.0",
        "name": "Route planner",
        "description": "Plans routes",
        "url": "https://joe:CANARY-URL-7@h.example/a2a?key=CANARY-QUERY-7",
        "provider": {"organization": "Acme", "url": "https://acme.example"},
        "version": "1.0",
        "capabilities": {"streaming": True},
        "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Key"}},
        "security": [{"key": []}],
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["application/json"],
        "skills": [
            {"id": "route", "name": "Route", "description": "d", "tags": ["maps", "traffic"]},
            {"id": "see", "name": "See", "tags": ["pictures"], "inputModes": ["image/png"]},
        ],
    }
    return {**card, **changes}


def read(document: Any) -> RegistryReading:
    return cards_of_a2a(document, source="agent.json")


def test_a_card_becomes_one_of_ours() -> None:
    (card,) = read(a_card()).agents
    assert card.agent_id == "a2a.Acme.Route planner"
    assert card.skills == ("Route", "maps", "route", "traffic"), "no skill that takes pictures only"
    assert (card.trust_tier, card.local, card.effects, card.doc) == (
        "T0",
        False,
        (":network",),
        "Plans routes",
    )
    assert card.supported_context_keys == ()
    assert "CANARY" not in repr(read(a_card()))


@pytest.mark.parametrize(
    ("changes", "is_taken"),
    [
        ({"defaultInputModes": ["image/png"], "skills": []}, False),
        ({"defaultInputModes": ["image/png"]}, False),
        ({"defaultInputModes": ["application/vnd.x+json; v=1"]}, True),
        ({"defaultInputModes": ["text"]}, True), ({"defaultInputModes": []}, True),
        ({"defaultInputModes": None, "skills": None}, True), ({"skills": [7, {"id": 3}]}, True),
        ({"name": ""}, False), ({"name": 7}, False), ({"provider": "Acme"}, True),
    ],
)  # fmt: skip
def test_an_agent_that_takes_no_answer_is_a_row(changes: dict[str, Any], is_taken: bool) -> None:
    reading = read(a_card(**changes))
    assert (len(reading.agents), len(reading.quarantine)) == ((1, 0) if is_taken else (0, 1))


def test_a_list_of_cards_is_read_and_bad_ones_are_rows() -> None:
    for document in (
        [a_card(), 7, a_card(name="Two")],
        {"agents": [a_card(), 7, a_card(name="Two")]},
    ):
        reading = read(document)
        assert len(reading.agents) == 2
        assert [row.position for row in reading.quarantine] == [
            "agents[1]" if isinstance(document, dict) else "[1]"
        ]


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=10))
def test_two_agents_share_an_id_only_if_they_are_one(pairs: list[tuple[str, str]]) -> None:
    assert len({agent_id_of(name, provider) for name, provider in pairs}) == len(set(pairs))


def test_secrets_of_a_card_and_of_its_reader_are_told_nowhere() -> None:
    card = a_card(description="use CANARY-QUERY-7 or sk-CANARY00000000000 or CANARY-HEAD-7")
    with a_local_server(lambda request: request.reply(json.dumps(card))) as server:
        source = A2aCards(
            location=f"{server.url}?token=CANARY-OWN-7",
            headers={"Authorization": "Bearer CANARY-HEAD-7"},
        )
        reading = source.read()
        assert server.seen[0][1] == "/.well-known/agent-card.json?token=CANARY-OWN-7"
        assert server.seen[0][2]["Authorization"] == "Bearer CANARY-HEAD-7"
    assert len(reading.agents) == 1
    assert "CANARY" not in msgspec.json.encode(reading).decode() + repr(source)


def in_snake_case(value: Any) -> Any:
    if isinstance(value, list):
        return [in_snake_case(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        "".join(f"_{char.lower()}" if char.isupper() else char for char in name): in_snake_case(one)
        for name, one in value.items()
    }


def test_a_card_written_with_the_protocols_own_field_names_reads_alike() -> None:
    card = a_card(
        securitySchemes={"k": {"apiKeySecurityScheme": {"name": "X-Key", "location": "header"}}},
        description="Plans routes from a header",
    )
    assert "default_input_modes" in (snake := in_snake_case(card))
    assert read(snake) == read(card)
    pictures = a_card(defaultInputModes=["image/png"], skills=[])
    assert not read(in_snake_case(pictures)).agents


@pytest.mark.parametrize(
    "told",
    [
        {"security": [{"apiKey": ["routes"]}]},
        {"securityRequirements": [{"schemes": {"apiKey": {"list": ["routes"]}}}]},
        {"security_requirements": [{"schemes": {"apiKey": {"list": ["routes"]}}}]},
    ],
)
def test_what_signing_in_for_a_skill_takes_is_no_secret(told: dict[str, Any]) -> None:
    skill = {"id": "route", "name": "Route", "tags": ["maps", "traffic", "routes"], **told}
    (card,) = read(a_card(skills=[skill])).agents
    assert (card.doc, "routes" in card.skills) == ("Plans routes", True)


def test_the_older_well_known_address_is_asked_too() -> None:
    def behave(request: Request) -> None:
        is_there = request.path == "/base/.well-known/agent.json"
        request.reply(json.dumps(a_card()) if is_there else "", status=200 if is_there else 404)

    with a_local_server(behave) as server:
        assert len(A2aCards(location=f"{server.url}/base/").read().agents) == 1
        assert (
            len(A2aCards(location=f"{server.url}/base/.well-known/agent.json").read().agents) == 1
        )
        assert [row.kind for row in A2aCards(location=server.url).read().quarantine] == ["source"]


@pytest.mark.parametrize(
    "behave",
    [
        lambda request: request.reply("", status=500),
        lambda request: request.reply("", status=302, headers={"Location": "/other.json"}),
        lambda request: request.reply("no json"),
        lambda request: request.reply(b"\xff"),
        lambda request: request.reply("[" * 200_000),
        lambda request: request.reply(" " * 5_000_000),
        lambda request: request.drip(
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b" " * 1000
        ),
        lambda request: request.drip(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 200),
        lambda request: request.connection.close(),
    ],
    ids=["500", "redirect", "text", "bytes", "deep", "huge", "drips", "drips-headers", "closes"],
)
def test_whatever_a_server_does_ends_in_time_in_a_row(behave: Any) -> None:
    with a_local_server(behave) as server:
        reading = A2aCards(location=server.url + "/card.json", timeout_s=1.0).read()
        assert len(server.seen) == 1, "nothing else was asked"
    assert (reading.agents, [row.kind for row in reading.quarantine]) == ((), ["source"])


def test_files_are_read_and_a_missing_one_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_text(json.dumps(a_card()))
    assert len(A2aCards(location=str(path)).read().agents) == 1
    for location in (str(tmp_path), str(tmp_path / "gone"), "http://127.0.0.1:9/", "http://[bad"):
        assert [row.kind for row in A2aCards(location=location, timeout_s=2).read().quarantine] == [
            "source"
        ]


JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["name", "skills", "id", "tags", "inputModes", "provider", "agents"]), inner, max_size=3),
    max_leaves=15,
)  # fmt: skip


@given(JSON)
def test_any_json_gives_cards_or_rows(document: Any) -> None:
    reading = read([document])
    assert len(reading.agents) + len(reading.quarantine) == 1
    read(document)
