"""Snapshot files: canonical, hashed, and never lost to one bad entry."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_synthesis.snapshot import (
    RegistryReading,
    SnapshotFile,
    discover_registry_snapshots,
    read_registries,
    read_snapshot,
    snapshot_sha256,
    write_snapshot,
)
from planner_synthesis.snapshot.files import parse_snapshot
from planner_synthesis.snapshot.reading import CardRefused
from planner_synthesis.types import AgentCard, CapabilityCard, InputSpec, RegistrySnapshot

TOKEN = "sk-" + "A1b2C3d4" * 3

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
CARDS = st.builds(
    CapabilityCard,
    id=NAMES,
    expects_context_keys=st.lists(NAMES, max_size=4).map(tuple),
    trust_tier=st.sampled_from(["", "T0", "T1", "T2"]),
    local=st.booleans(),
    doc=st.none() | NAMES,
    effects=st.lists(NAMES, max_size=2).map(tuple),
    inputs=st.lists(st.builds(InputSpec, key=NAMES), max_size=3, unique_by=lambda i: i.key).map(
        tuple
    ),
)
AGENTS = st.builds(AgentCard, agent_id=NAMES, skills=st.lists(NAMES, max_size=3).map(tuple))


def a_snapshot() -> RegistrySnapshot:
    return RegistrySnapshot(
        capabilities=(
            CapabilityCard(id="b.two", expects_context_keys=("y", "x"), effects=(":network",)),
            CapabilityCard(id="a.one", inputs=(InputSpec(key="n", type="int"),)),
        ),
        agents=(AgentCard(agent_id="helper", skills=("triage",)),),
    )


def a_document(**changes: Any) -> dict[str, Any]:
    document = json.loads(msgspec.json.encode(a_snapshot()))
    return {**document, "sha256": "", **changes}


def parsed(document: Any) -> RegistryReading:
    return parse_snapshot(json.dumps(document).encode(), source="s.json")


def test_what_was_written_is_read_in_canonical_order(tmp_path: Path) -> None:
    digest = write_snapshot(tmp_path / "deep" / "s.json", a_snapshot())
    reading = read_snapshot(tmp_path / "deep" / "s.json")
    assert [card.id for card in reading.capabilities] == ["a.one", "b.two"]
    assert reading.capabilities[1].expects_context_keys == ("x", "y")
    assert reading.quarantine == ()
    assert digest == snapshot_sha256(reading.snapshot())
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["s.json"]


@given(st.lists(CARDS, max_size=6), st.lists(AGENTS, max_size=3), st.randoms(use_true_random=False))
def test_the_hash_does_not_depend_on_order(
    cards: list[CapabilityCard], agents: list[AgentCard], luck: Any
) -> None:
    def digest() -> str:
        try:
            return snapshot_sha256(
                RegistrySnapshot(capabilities=tuple(cards), agents=tuple(agents))
            )
        except CardRefused:
            return "refused"

    first = digest()
    luck.shuffle(cards)
    luck.shuffle(agents)
    assert digest() == first


def test_a_bad_entry_is_a_row_and_costs_no_other() -> None:
    document = a_document()
    document["capabilities"] += [
        {"id": 7},
        {"id": "c", "unknown": 1},
        "text",
        {"id": ""},
        {"id": f"leak.{TOKEN}"},
        {"id": "x" * 600},
        {"id": "d", "inputs": [{"key": "k"}, {"key": "k"}]},
    ]
    document["agents"].append({"skills": []})
    reading = parsed(document)
    assert [card.id for card in reading.capabilities] == ["a.one", "b.two"]
    assert [(row.position, row.kind) for row in reading.quarantine] == [
        *((f"capabilities[{at}]", "capability") for at in range(2, 9)),
        ("agents[1]", "agent"),
    ]
    assert all(row.source == "s.json" and row.reason for row in reading.quarantine)
    assert TOKEN not in repr(reading)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[]", b"null", b"{", b"\xff\xfe", b'{"schema_version": "cyntra.registry_snapshot.v2"}',
        b'{"schema_version": "cyntra.registry_snapshot.v1", "capabilities": {}}',
        b"[" * 100_000, b'{"capabilities": ' + b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_file_that_is_none_of_ours_is_one_row(text: bytes) -> None:
    reading = parse_snapshot(text, source="s.json")
    assert (reading.capabilities, reading.agents) == ((), ())
    assert [row.kind for row in reading.quarantine] == ["source"]


def test_a_file_that_is_not_there_is_one_row(tmp_path: Path) -> None:
    for path in (tmp_path / "no.json", tmp_path):
        assert [row.kind for row in read_snapshot(path).quarantine] == ["source"]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_a_crash(noise: bytes) -> None:
    parse_snapshot(noise, source="s.json")
    text = json.dumps(a_document()).encode()
    parse_snapshot(text[: len(noise)] + noise + text[2 * len(noise) :], source="s.json")


def test_a_change_after_writing_is_told_and_costs_no_card(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    write_snapshot(path, a_snapshot())
    path.write_text(path.read_text().replace("a.one", "a.two"))
    reading = read_snapshot(path)
    assert [card.id for card in reading.capabilities] == ["a.two", "b.two"]
    assert [(row.position, row.is_left_out) for row in reading.quarantine] == [("sha256", False)]


def test_a_field_that_this_version_does_not_know_is_told() -> None:
    reading = parsed(a_document(extra=1))
    assert [(row.position, row.kind) for row in reading.quarantine] == [("extra", "source")]


def test_a_snapshot_with_a_secret_in_an_id_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(CardRefused) as refused:
        write_snapshot(
            tmp_path / "s.json", RegistrySnapshot(capabilities=(CapabilityCard(id=TOKEN),))
        )
    assert TOKEN not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_sources_are_merged_in_one_order_and_rows_are_told(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "a.json", a_snapshot())
    write_snapshot(
        tmp_path / "b.json",
        RegistrySnapshot(capabilities=(CapabilityCard(id="0.first"), a_snapshot().capabilities[1])),
    )
    sources = [SnapshotFile(tmp_path / f"{name}.json") for name in "ab"]
    rows: list[Any] = []
    missing = SnapshotFile(tmp_path / "c.json")
    found = discover_registry_snapshots([*sources, missing], on_quarantine=rows.append)
    assert found == discover_registry_snapshots([missing, *reversed(sources)])
    assert [card.id for card in found[0]] == ["0.first", "a.one", "b.two"]
    assert [card.agent_id for card in found[1]] == ["helper"]
    assert [row.source for row in rows] == [str(tmp_path / "c.json")]


def test_two_sources_of_one_name_are_not_merged(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "a.json", a_snapshot())
    source = SnapshotFile(tmp_path / "a.json")
    assert [row.kind for row in read_registries([source, source]).quarantine] == ["source"]


def test_two_cards_of_one_id_are_both_kept() -> None:
    document = a_document()
    document["capabilities"].append({"id": "a.one", "doc": "another"})
    assert [card.id for card in parsed(document).capabilities] == ["a.one", "a.one", "b.two"]
