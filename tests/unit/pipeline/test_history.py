"""Every row of formats table 2.2, and what may not be known."""

import json
from pathlib import Path
from typing import Any

import pytest

from planner_runtime.archives.runs import RunRecord, run_summary
from planner_runtime.inputs import epoch_ms
from tests.building import examples_of, runs_of

WORKCELL = "wc-7-20260105T090000Z"
AT = "2026-01-05T09:{:02d}:00Z"


def ms(minute: int) -> int:
    return epoch_ms(AT.format(minute))


class Workspace:
    """A workspace with one archive, built part by part."""

    def __init__(self, root: Path, workcell: str = WORKCELL) -> None:
        self.root, self.workcell = root, workcell

    def put(self, name: str, content: Any) -> "Workspace":
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text)
        return self

    def archive(self, name: str, content: Any) -> "Workspace":
        return self.put(f".cyntra/archives/{self.workcell}/{name}", content)

    def manifest(self, **changes: Any) -> "Workspace":
        plan = {
            "swarm_id_executed": "serial_handoff", "max_candidates_executed": 1,
            "timeout_seconds_executed": 3_600, "max_iterations_executed": None,
        }  # fmt: skip
        issue = {"id": "7", "title": "then", "tags": ["ui"], "description": "as it was"}
        return self.archive(
            "manifest.json",
            {"workcell_id": self.workcell, "issue": issue, "job_type": "code", "toolchain": "codex",
             "speculate_mode": False, "planner": {"executed_plan": plan}} | changes,
        )  # fmt: skip

    def proof(self, status: str = "success", passed: bool = True, **changes: Any) -> "Workspace":
        gate = {"passed": passed, "duration_ms": 60_000}
        document = {
            "status": status, "issue_id": "7",
            "verification": {"gates": {"test": gate}, "all_passed": passed,
                             "blocking_failures": [] if passed else ["test"]},
            "metadata": {"started_at": AT.format(1), "completed_at": AT.format(5),
                         "duration_ms": 240_000, "cost_usd": 0.5, "tokens_used": 900},
        }  # fmt: skip
        return self.archive("proof.json", document | changes)

    def events(self, *events: tuple[str, int, dict[str, Any]]) -> "Workspace":
        lines = [
            json.dumps({"type": kind, "timestamp": AT.format(minute), "issue_id": "7",
                        "workcell_id": self.workcell, "data": data})
            for kind, minute, data in events
        ]  # fmt: skip
        return self.put(".cyntra/logs/events.jsonl", "\n".join(lines) + "\n")

    def runs(self) -> list[RunRecord]:
        return runs_of(self.root)

    def run(self) -> RunRecord:
        (run,) = self.runs()
        return run


def test_a_serial_success(tmp_path: Path) -> None:
    run = Workspace(tmp_path).manifest().proof().archive(
        "rollout.json", {"generated_at": AT.format(7), "outcomes": {"verification": {"all_passed": True}}}
    ).run()  # fmt: skip
    assert (run.status, run.started_ms, run.ended_ms) == ("success", ms(1), ms(7))
    assert (run.duration_ms, run.cost_usd, run.tokens) == (240_000, 0.5, 900)
    assert run.decided_ms == epoch_ms("2026-01-05T09:00:00Z")
    assert [(g.name, g.passed) for g in run.gates] == [("test", True)]
    assert run.evidence["status"] == run.evidence["started_ms"] == "proof.json"
    assert run.evidence["ended_ms"] == "rollout.json"


def test_a_failed_gate_gives_its_codes_and_the_pseudo_gate_none(tmp_path: Path) -> None:
    gates = {
        "fab-realism": {"passed": False, "scores": {"overall": 0.4}, "failures": {"hard": ["MESH"], "soft": ["X"]}},
        "debug_analysis": {"hook": "text"},
    }  # fmt: skip
    verification = {"gates": gates, "all_passed": False, "blocking_failures": ["fab-realism"]}
    run = Workspace(tmp_path).manifest().proof(verification=verification).run()
    assert run.status == "failed"
    assert run.fail_codes == ("fab-realism", "MESH")
    (gate,) = run.gates
    assert (gate.name, gate.score, gate.hard, gate.soft) == ("fab-realism", 0.4, ("MESH",), ("X",))


def test_without_gates_the_end_is_the_adapters_plus_the_gates_that_ran(tmp_path: Path) -> None:
    assert Workspace(tmp_path).manifest().proof().run().ended_ms == ms(6)


def test_a_forbidden_path_fails(tmp_path: Path) -> None:
    verification = {"gates": {}, "all_passed": False, "blocking_failures": []}
    patch = {"forbidden_path_violations": [".github/x"]}
    run = Workspace(tmp_path).manifest().proof(verification=verification, patch=patch).run()
    assert (run.status, run.fail_codes) == ("failed", ("forbidden_path",))


def test_a_tool_that_exits_with_2_fails_without_any_gate(tmp_path: Path) -> None:
    verification = {"gates": {}, "all_passed": False, "blocking_failures": []}
    run = Workspace(tmp_path).manifest().proof("failed", False, verification=verification).run()
    assert (run.status, run.fail_codes) == ("failed", ("status:failed",))


def test_a_serial_timeout_is_seen_in_telemetry(tmp_path: Path) -> None:
    lines = [
        {"type": "started", "timestamp": AT.format(1)},
        {"type": "error", "timestamp": AT.format(9), "error": "Execution timed out"},
    ]
    telemetry = "\n".join(json.dumps(line) for line in lines) + "\n"
    run = Workspace(tmp_path).manifest().archive("telemetry.jsonl", telemetry).run()
    assert (run.status, run.started_ms, run.ended_ms) == ("timeout", ms(1), ms(9))
    assert run.fail_codes == ("timeout",)
    assert run.duration_ms == ms(9) - ms(1)


def test_a_timeout_without_telemetry_is_seen_in_the_events(tmp_path: Path) -> None:
    failed = ("issue.failed", 9, {"error": "Execution timed out"})
    run = Workspace(tmp_path).manifest(toolchain="opencode").events(failed).run()
    assert (run.status, run.ended_ms, run.evidence["status"]) == ("timeout", ms(9), "events.jsonl")


def test_an_adapter_exception_is_a_failure(tmp_path: Path) -> None:
    failed = ("workcell.failed", 2, {"error": "boom"})
    run = Workspace(tmp_path).manifest().events(failed).run()
    assert (run.status, run.fail_codes) == ("failed", ("error",))


def test_a_speculate_winner_that_timed_out(tmp_path: Path) -> None:
    verification = {
        "gates": {},
        "all_passed": False,
        "blocking_failures": ["timeout", "status:timeout"],
    }
    metadata = {"started_at": AT.format(1), "completed_at": AT.format(4), "error": "x"}
    run = (
        Workspace(tmp_path)
        .manifest()
        .proof("timeout", False, verification=verification, metadata=metadata)
        .run()
    )
    assert (run.status, run.fail_codes) == ("timeout", ("timeout",))
    assert run.duration_ms == ms(4) - ms(1)


def test_a_fab_world_success_has_no_proof_and_is_known_from_its_world_run(tmp_path: Path) -> None:
    stages = [{"id": "validate", "status": "success", "started_at": AT.format(2), "duration_ms": 60_000,
               "metadata": {"gates": [{"gate": "g", "passed": True}]}}]  # fmt: skip
    manifest = {"world_id": "w", "created_at": AT.format(1), "stages": stages}
    issue = {"id": "7", "tags": ["asset:world"]}
    space = Workspace(tmp_path).manifest(job_type="fab-world", toolchain="fab-world", issue=issue)
    run = space.put(f".cyntra/runs/fab-world_{WORKCELL}/manifest.json", manifest).run()
    assert (run.kind, run.status, run.domain, run.ended_ms) == (
        "workcell",
        "success",
        "fab_world",
        ms(3),
    )


def test_a_workcell_nobody_tells_of_has_no_outcome_and_is_never_shown(tmp_path: Path) -> None:
    run = Workspace(tmp_path).manifest(toolchain="crush").run()
    assert run.status is None
    assert run.ended_ms is None
    assert run_summary(run) is None
    assert run.plan is not None  # it still labels its own decision


def test_a_rollout_alone_tells_pass_or_fail(tmp_path: Path) -> None:
    document = {"issue_id": "7", "job_type": "code", "policy": {"toolchain": "claude"},
                "outcomes": {"verification": {"all_passed": False, "blocking_failures": ["lint"]}},
                "generated_at": AT.format(8), "scores": {"duration_ms": 5}}  # fmt: skip
    run = Workspace(tmp_path).archive("rollout.json", document).run()
    assert (run.status, run.fail_codes, run.toolchain) == ("failed", ("lint",), "claude")
    assert run.plan is None


def test_a_clock_that_ran_backwards_hides_the_run(tmp_path: Path) -> None:
    metadata = {"started_at": AT.format(30), "completed_at": AT.format(5)}
    run = Workspace(tmp_path).manifest().proof(metadata=metadata).run()
    assert run.ended_ms is None
    assert run.evidence["ended_ms"] == "clock went backwards"


def test_a_servers_timeout_is_an_error_like_any_other(tmp_path: Path) -> None:
    failed = ("workcell.failed", 2, {"error": "HTTP 504 gateway timeout"})
    assert Workspace(tmp_path).manifest().events(failed).run().status == "failed"


@pytest.mark.parametrize("stamp", ["not a time", "9999-99-99T00:00:00Z", "", "2026"])
def test_a_timestamp_that_is_none_is_not_guessed(tmp_path: Path, stamp: str) -> None:
    metadata = {"started_at": stamp, "completed_at": stamp}
    run = Workspace(tmp_path).manifest().proof(metadata=metadata).run()
    assert run.evidence["started_ms"] in ("workcell_id", "proof.json")
    assert run.ended_ms is None or stamp == "2026"


def test_what_was_recorded_at_dispatch_wins_over_what_beads_say_now(tmp_path: Path) -> None:
    recorded = {
        "created_at": AT.format(0), "universe_id": "medica", "universe_defaults": {"swarm_id": "serial_handoff"},
        "issue": {"issue_id": "7", "dk_priority": "P0", "dk_risk": "low", "dk_size": "S", "dk_attempts": 1,
                  "dk_tool_hint": None, "tags": ["then"], "keywords": ["old"], "team": "x"},
    }  # fmt: skip
    plan = {"swarm_id_executed": "serial_handoff", "max_candidates_executed": 1}
    space = Workspace(tmp_path).manifest(planner={"planner_input": recorded, "executed_plan": plan})
    now = {
        "id": "7",
        "dk_priority": "P3",
        "dk_risk": "critical",
        "dk_attempts": "3",
        "tags": ["now"],
    }
    run = space.proof().put(".beads/issues.jsonl", json.dumps(now) + "\n").run()
    assert run.issue["dk_priority"] == "P0"
    assert (run.issue["tags"], run.issue["keywords"], run.issue["dk_attempts"]) == (
        ["then"],
        ["old"],
        1,
    )
    assert run.issue["team"] == "x"
    assert run.universe_id == "medica"
    (example,) = examples_of([run])
    assert example.planner_input["issue"]["dk_attempts"] == 1


def test_without_a_record_text_is_of_dispatch_time_and_attempts_are_counted(tmp_path: Path) -> None:
    now = {
        "id": "7",
        "title": "now",
        "description": "rewritten",
        "dk_risk": "high",
        "dk_attempts": "3",
    }
    Workspace(tmp_path).manifest().proof("failed", False).put(
        ".beads/issues.jsonl", json.dumps(now) + "\n"
    )
    later = Workspace(tmp_path, "wc-7-20260105T100000Z").manifest()
    first, second = examples_of(later.runs())
    assert first.planner_input["issue"]["title"] == "then"
    assert "rewritten" not in first.planner_input["issue"]["keywords"]
    assert first.planner_input["issue"]["dk_risk"] is None  # beads do not say since when
    assert [e.planner_input["issue"]["dk_attempts"] for e in (first, second)] == [0, 1]


def test_beads_that_did_not_change_since_complete_what_the_manifest_leaves_out(
    tmp_path: Path,
) -> None:
    now = {"id": "7", "dk_risk": "high", "dk_attempts": "3", "updated": "2026-01-05T08:59:00Z"}
    space = Workspace(tmp_path).manifest().put(".beads/issues.jsonl", json.dumps(now) + "\n")
    (example,) = examples_of(space.runs())
    assert example.planner_input["issue"]["dk_risk"] == "high"
    assert example.planner_input["issue"]["title"] == "then"
    assert example.planner_input["issue"]["dk_attempts"] == 0


def test_an_evolution_is_a_decision_and_its_candidates_are_its_group(tmp_path: Path) -> None:
    candidate = {"run_id": "evo_a", "passed": True}
    evolution = {"generated_at": AT.format(40), "universe_id": "medica", "world_id": "w", "swarm_id": "speculate_vote",
                 "population_size": 5, "objective_id": "o", "history": [{"selected_run_id": "evo_a", "candidates": [candidate]}]}  # fmt: skip
    stage = {
        "id": "validate",
        "status": "success",
        "started_at": AT.format(10),
        "duration_ms": 1_000,
    }
    space = Workspace(tmp_path)
    space.put(".cyntra/runs/evolve_world_w_20260105T090000Z/evolve_world.json", evolution)
    space.put(
        ".cyntra/runs/evo_a/manifest.json",
        {"world_id": "w", "created_at": AT.format(9), "stages": [stage]},
    )
    whole, part = space.runs()
    assert (whole.kind, part.kind) == ("evolution", "world")
    assert whole.group_id == part.group_id
    (example,) = examples_of([whole, part])
    assert example.label == ("speculate_vote", 3, "NA", "NA")  # five is nearest to three
    assert example.planner_input["issue"]["issue_id"] == "world:w"
    assert example.planner_input["history"]["last_n_similar_runs"] == []


@pytest.mark.parametrize(
    ("stages", "verdict", "status"),
    [
        ([], None, None),
        ([{"id": "a", "status": "running"}], None, None),
        ([{"id": "a", "status": "success"}], None, "success"),
        ([{"id": "a", "status": "success"}], "fail", "failed"),
        ([{"id": "a", "status": "failed"}], None, "failed"),
        ([{"id": "a", "status": "failed", "optional": True}], None, "success"),
        (
            [{"id": "a", "status": "optional_failed"}, {"id": "b", "status": "skipped"}],
            "pass",
            "success",
        ),
    ],
)
def test_a_world_builds_outcome_is_that_of_its_required_stages(
    tmp_path: Path, stages: list[dict[str, Any]], verdict: str | None, status: str | None
) -> None:
    space = Workspace(tmp_path).put(
        ".cyntra/runs/world_w/manifest.json", {"world_id": "w", "stages": stages}
    )
    if verdict is not None:
        space.put(".cyntra/runs/world_w/verdict/gate_verdict.json", {"verdict": verdict})
    assert space.run().status == status
