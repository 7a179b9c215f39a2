"""What only the event log knows: losing candidates, workcells that were never created, wall time."""

import json
from pathlib import Path
from typing import Any

import pytest

from planner_runtime.archives.events import read_events
from planner_runtime.archives.runs import RunRecord, run_summary
from planner_runtime.inputs import epoch_ms
from tests.building import examples_of, runs_of

AT = "2026-01-05T09:{:02d}:00Z"
WINNER, LOSER = "wc-7-20260105T090000Z-spec-codex", "wc-7-20260105T090000Z-spec-claude"


def ms(minute: int) -> int:
    return epoch_ms(AT.format(minute))


def log(root: Path, *events: tuple[str, int, dict[str, Any], str | None]) -> None:
    lines = []
    for kind, minute, data, workcell in events:
        line = {"type": kind, "timestamp": AT.format(minute), "issue_id": "7", "data": data}
        lines.append(json.dumps(line | ({"workcell_id": workcell} if workcell else {})))
    path = root / ".cyntra/logs/events.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def archive(root: Path, workcell: str, *, issue: str = "7", minute: int = 0) -> None:
    folder = root / ".cyntra/archives" / workcell
    folder.mkdir(parents=True)
    recorded = {
        "created_at": AT.format(minute), "universe_id": "medica",
        "issue": {"issue_id": issue, "dk_priority": "P1", "dk_risk": "high", "dk_size": "M",
                  "dk_attempts": 0, "dk_tool_hint": None, "tags": ["ui"]},
    }  # fmt: skip
    plan = {"swarm_id_executed": "speculate_vote", "max_candidates_executed": 2}
    manifest = {
        "workcell_id": workcell, "issue": {"id": issue, "tags": ["ui"]}, "toolchain": "codex",
        "speculate_mode": True, "planner": {"planner_input": recorded, "executed_plan": plan},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))


SPECULATION = (
    ("issue.started", 0, {"speculate": True}, None),
    ("workcell.created", 1, {"toolchain": "codex", "speculate_tag": "spec-codex"}, WINNER),
    ("workcell.created", 1, {"toolchain": "claude", "speculate_tag": "spec-claude"}, LOSER),
    ("workcell.started", 2, {}, WINNER),
    ("workcell.started", 3, {}, LOSER),
    ("speculate.voting", 20, {"candidates": [WINNER, LOSER], "count": 2}, None),
    ("workcell.completed", 21, {"toolchain": "codex"}, WINNER),
    ("issue.completed", 22, {"toolchain": "codex"}, WINNER),
)


def by_id(root: Path) -> dict[str, RunRecord]:
    return {run.run_id: run for run in runs_of(root)}


def test_a_losing_candidate_is_a_run_whose_outcome_nobody_knows(tmp_path: Path) -> None:
    log(tmp_path, *SPECULATION)
    archive(tmp_path, WINNER)
    runs = by_id(tmp_path)
    winner, loser = runs[WINNER], runs[LOSER]
    assert (winner.status, winner.evidence["status"]) == ("success", "events.jsonl")
    assert (loser.started_ms, loser.ended_ms, loser.toolchain) == (ms(3), ms(20), "claude")
    assert (loser.status, loser.duration_ms, loser.cost_usd, loser.plan) == (None, None, None, None)
    assert loser.group_id == winner.group_id
    assert loser.issue["dk_risk"] == "high"  # they share the decision
    assert loser.action_executed == winner.action_executed
    assert loser.evidence["started_ms"] == loser.evidence["ended_ms"] == "events.jsonl"
    assert "status" not in loser.evidence
    assert run_summary(loser) is None  # so no decision is ever shown a guess
    assert [e.example_id for e in examples_of(list(runs.values()))] == [WINNER]


def test_candidates_of_a_dispatch_without_any_archive_are_still_there(tmp_path: Path) -> None:
    log(tmp_path, *SPECULATION)
    runs = by_id(tmp_path)
    assert sorted(runs) == [LOSER, WINNER]
    assert {run.group_id for run in runs.values()} == {f"7@{ms(0)}"}
    assert runs[LOSER].action_executed.swarm_id == "speculate_vote"
    assert runs[LOSER].issue["dk_risk"] is None  # nothing tells what it was


def test_wall_time_is_the_dispatchs_and_the_adapters_own_time_stays_apart(tmp_path: Path) -> None:
    log(tmp_path, *SPECULATION)
    archive(tmp_path, WINNER)
    proof = {
        "status": "success", "verification": {"all_passed": True},
        "metadata": {"started_at": AT.format(2), "completed_at": AT.format(12), "duration_ms": 600_000},
    }  # fmt: skip
    (tmp_path / ".cyntra/archives" / WINNER / "proof.json").write_text(json.dumps(proof))
    run = by_id(tmp_path)[WINNER]
    assert (run.duration_ms, run.wall_ms) == (600_000, ms(22) - ms(0))
    assert (run.evidence["duration_ms"], run.evidence["wall_ms"]) == ("proof.json", "events.jsonl")
    assert run.ended_ms == ms(22)
    summary = run_summary(run)
    assert summary is not None
    assert (summary.runtime.duration_ms, summary.runtime.wall_ms) == (600_000, ms(22) - ms(0))


def test_a_workcell_that_could_not_be_created_is_a_failed_attempt(tmp_path: Path) -> None:
    log(
        tmp_path,
        ("issue.started", 0, {"speculate": False}, None),
        ("workcell.create_failed", 1, {"toolchain": "codex", "error": "no space", "attempt": 1}, None),
    )  # fmt: skip
    archive(tmp_path, "wc-7-20260105T093000Z", minute=30)
    failure, later = sorted(runs_of(tmp_path), key=lambda run: run.decided_ms or 0)
    assert (failure.status, failure.fail_codes) == ("failed", ("create_failed",))
    assert (failure.started_ms, failure.ended_ms) == (ms(0), ms(1))
    assert failure.toolchain == "codex"
    assert failure.duration_ms is None
    (example,) = examples_of([failure, later])
    (seen,) = example.planner_input["history"]["last_n_similar_runs"]
    assert seen["outcome"]["fail_codes"] == ["create_failed"]


def test_failed_creations_count_as_attempts_where_none_were_recorded(tmp_path: Path) -> None:
    log(
        tmp_path,
        ("issue.started", 0, {"speculate": False}, None),
        ("workcell.create_failed", 1, {"toolchain": "codex"}, None),
        ("issue.started", 5, {"speculate": False}, None),
        ("workcell.create_failed", 6, {"toolchain": "codex"}, None),
    )
    archive(tmp_path, "wc-7-20260105T093000Z", minute=30)
    manifest = tmp_path / ".cyntra/archives/wc-7-20260105T093000Z/manifest.json"
    document = json.loads(manifest.read_text())
    del document["planner"]["planner_input"]
    manifest.write_text(json.dumps(document))
    (example,) = examples_of(runs_of(tmp_path))
    assert example.planner_input["issue"]["dk_attempts"] == 2


def test_a_failed_creation_among_candidates_is_known_when_the_dispatch_is_over(
    tmp_path: Path,
) -> None:
    failed = ("workcell.create_failed", 1, {"toolchain": "crush"}, None)
    log(tmp_path, SPECULATION[0], failed, *SPECULATION[1:])
    archive(tmp_path, WINNER)
    (failure,) = [run for run in runs_of(tmp_path) if run.fail_codes == ("create_failed",)]
    assert failure.ended_ms == ms(22)
    assert failure.group_id == by_id(tmp_path)[WINNER].group_id
    log(tmp_path, SPECULATION[0], failed, ("issue.started", 40, {"speculate": True}, None))
    (failure,) = [run for run in runs_of(tmp_path) if run.run_id.startswith("create_failed")]
    assert failure.ended_ms == ms(40)  # over at the latest when the next one began
    log(tmp_path, SPECULATION[0], failed)
    (failure,) = [run for run in runs_of(tmp_path) if run.run_id.startswith("create_failed")]
    assert failure.ended_ms is None


def test_a_timed_out_toolchain_without_telemetry_is_dated_by_the_log(tmp_path: Path) -> None:
    workcell = "wc-7-20260105T090000Z"
    log(
        tmp_path,
        ("issue.started", 0, {"speculate": False}, None),
        ("workcell.started", 2, {}, workcell),
        ("workcell.failed", 50, {"error": "Execution timed out", "attempt": 1}, workcell),
    )
    archive(tmp_path, workcell)
    run = by_id(tmp_path)[workcell]
    assert (run.status, run.started_ms, run.ended_ms) == ("timeout", ms(2), ms(50))
    assert run.evidence["started_ms"] == "events.jsonl"


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5, 7, 6), (0, 2, 1, 4, 3, 5, 6, 7)])
def test_lines_of_one_dispatch_may_come_in_another_order(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    log(tmp_path, *(SPECULATION[i] for i in order))
    (dispatch,) = read_events(tmp_path).dispatches
    assert dispatch.is_success is True
    assert dispatch.ended_at == AT.format(22)
    assert {w.workcell_id for w in dispatch.workcells} == {WINNER, LOSER}


def test_a_log_that_begins_in_the_middle_still_tells_what_it_can(tmp_path: Path) -> None:
    log(tmp_path, *SPECULATION[3:])
    (dispatch,) = read_events(tmp_path).dispatches
    assert (dispatch.started_at, dispatch.speculates) == (None, None)
    run = by_id(tmp_path)[LOSER]
    assert (run.started_ms, run.ended_ms) == (ms(3), ms(20))
    assert run.action_executed.swarm_id is None
