"""The kernel's side of formats 7.1: names, arguments, shapes and errors, called as a kernel does.

Belongs here: ``planner_runtime.cyntra``. Does not: whole dispatches (``test_kernel_planner``).
"""

import inspect
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from planner_runtime import cyntra
from planner_runtime.contracts import (
    ExecutedPlan,
    PlannerAction,
    PlannerInput,
    RunSummary,
    input_hash,
    read_document,
)
from planner_runtime.session import ModelError
from tests.outcome_bundles import NOW_MS, tiny_onnx, write_outcome_bundle

# formats 7.1: arguments that a kernel gives by keyword, and those it may leave out
SIGNATURES = {
    "is_valid_action": (
        "job_type swarm_id max_candidates_bin max_minutes_bin max_iterations_bin", ""
    ),
    "build_planner_input_v1": (
        "issue job_type universe_id universe_defaults action_space history_candidates system_state",
        "now_ms n_similar",
    ),
    "build_planner_action_v1": (
        "swarm_id max_candidates max_minutes max_iterations action_space planner_input",
        "now_ms checkpoint_id",
    ),
    "build_executed_plan_v1": (
        "swarm_id max_candidates timeout_seconds max_iterations", "fallback_applied fallback_reason"
    ),
    "collect_history_candidates": ("repo_root", "include_world"),
    "system_state_snapshot": ("active_workcells queue_depth available_toolchains", "now_ms"),
}  # fmt: skip
ISSUE = SimpleNamespace(
    id="7", title="Fix the parser", description="commas", tags=["ui"], status="ready",
    dk_priority="P1", dk_risk="high", dk_size="M", dk_tool_hint=None, dk_attempts=1,
    dk_speculate=False,
)  # fmt: skip


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_function_takes_what_a_kernel_gives_it(name: str) -> None:
    required, optional = (names.split() for names in SIGNATURES[name])
    parameters = inspect.signature(getattr(cyntra, name)).parameters
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters.values())
    assert [n for n, p in parameters.items() if p.default is inspect.Parameter.empty] == required
    assert [n for n, p in parameters.items() if p.default is not p.empty] == optional


def test_the_action_space_has_the_shape_that_a_kernel_reads() -> None:
    space = cyntra.action_space_for_swarms(["speculate_vote", "serial_handoff"])
    assert space.swarm_ids == ("serial_handoff", "speculate_vote")
    assert space.max_minutes_bins == (15, 30, 45, 60, 120, cyntra.NA)
    assert space.max_candidates_bins == (1, 2, 3, cyntra.NA)
    assert space.max_iterations_bins == (1, 2, 3, 5, cyntra.NA)
    document = space.to_dict()
    assert list(document) == [
        "swarm_ids", "max_candidates_bins", "max_minutes_bins", "max_iterations_bins",
        "validity_rules",
    ]  # fmt: skip
    assert [sorted(rule) for rule in document["validity_rules"]] == [
        ["description", "if", "then"]
    ] * 3
    json.dumps(document)
    counts = [len(cyntra.valid_actions(space, job)) for job in ("code", "fab-world", "other")]
    assert counts == [30, 120, 150]
    told = {
        "swarm_id": "speculate_vote", "max_candidates_bin": 1, "max_minutes_bin": 60,
        "max_iterations_bin": "NA",
    }  # fmt: skip
    assert cyntra.is_valid_action(job_type="code", **told) is True
    assert cyntra.is_valid_action(job_type="code", **{**told, "max_iterations_bin": 2}) is False


def asked(**given: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "issue": ISSUE, "job_type": "code", "universe_id": "unknown",
        "universe_defaults": {"swarm_id": None, "objective_id": None},
        "action_space": cyntra.ActionSpace(), "history_candidates": [],
        "system_state": cyntra.system_state_snapshot(
            active_workcells=1, queue_depth=None, available_toolchains=["codex"], now_ms=NOW_MS
        ),
        "now_ms": NOW_MS, **given,
    }  # fmt: skip
    return cyntra.build_planner_input_v1(**told)


def a_run(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "schema_version": "cyntra.run_summary.v1", "run_id": f"wc-{number}",
        "started_ms": NOW_MS - 100_000 + number, "ended_ms": NOW_MS - 50_000 + number,
        "job_type": "code", "domain": "code", "tags": ["ui"], "outcome": {"status": "success"},
        "action_executed": {}, "runtime": {}, **fields,
    }  # fmt: skip


def test_a_planner_input_keeps_its_contract_and_the_kernels_shape() -> None:
    question = asked()
    read_document(question, PlannerInput)
    assert list(question) == [
        "schema_version", "created_at", "universe_id", "job_type", "universe_defaults", "issue",
        "history", "action_space", "system_state",
    ]  # fmt: skip
    assert question["issue"]["dk_attempts"] == 1
    assert question["issue"]["keywords"]
    assert question["system_state"] == {
        "active_workcells_bin": "1_2", "queue_depth_bin": None, "available_toolchains": ["codex"],
        "toolchain_health": None, "hour_bucket": "09", "budget_remaining_bin": None,
    }  # fmt: skip


def test_history_candidates_are_shown_when_they_had_ended_and_are_runs_at_all() -> None:
    candidates: list[Any] = [
        a_run(1), a_run(2), a_run(3, ended_ms=NOW_MS + 1), a_run(4, ended_ms=None),
        {"run_id": "half"}, None,
    ]  # fmt: skip
    shown = asked(history_candidates=candidates)["history"]["last_n_similar_runs"]
    assert [run["run_id"] for run in shown] == ["wc-2", "wc-1"]
    assert all(read_document(run, RunSummary) for run in shown)
    assert (
        len(asked(history_candidates=candidates, n_similar=1)["history"]["last_n_similar_runs"])
        == 1
    )
    candidates.append(a_run(5))
    shown = asked(history_candidates=candidates)["history"]["last_n_similar_runs"]
    assert [run["run_id"] for run in shown] == ["wc-5", "wc-2", "wc-1"]


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0"), (1, "1_2"), (2, "1_2"), (3, "3_5"), (5, "3_5"), (6, "6_plus"), (None, None)]
)  # fmt: skip
def test_load_is_told_in_bins(count: int | None, expected: str | None) -> None:
    state = cyntra.system_state_snapshot(
        active_workcells=count, queue_depth=count, available_toolchains=None, now_ms=0
    )
    assert (state["active_workcells_bin"], state["queue_depth_bin"]) == (expected, expected)
    assert state["hour_bucket"] == "00"


def test_the_baselines_action_is_snapped_to_bins_and_hashed() -> None:
    question = asked()
    action = cyntra.build_planner_action_v1(
        swarm_id="speculate_vote", max_candidates=2, max_minutes=50, max_iterations=None,
        action_space=cyntra.ActionSpace(), planner_input=question, now_ms=NOW_MS,
    )  # fmt: skip
    read_document(action, PlannerAction)
    assert action["budgets"] == {
        "max_minutes_bin": 45, "max_candidates_bin": 2, "max_iterations_bin": "NA"
    }  # fmt: skip
    assert action["input_hash"] == cyntra.hash_planner_input(question) == input_hash(question)
    assert (action["confidence"], action["model"]["checkpoint_id"]) == (
        1.0,
        "baseline_heuristic_v0",
    )


def test_an_executed_plan_has_the_kernels_seven_keys() -> None:
    plan = cyntra.build_executed_plan_v1(
        swarm_id="serial_handoff", max_candidates=1, timeout_seconds=3_600, max_iterations=None
    )
    read_document(plan, ExecutedPlan)
    assert plan == {
        "schema_version": "cyntra.executed_plan.v1", "swarm_id_executed": "serial_handoff",
        "max_candidates_executed": 1, "timeout_seconds_executed": 3_600,
        "max_iterations_executed": None, "fallback_applied": False, "fallback_reason": None,
    }  # fmt: skip
    with pytest.raises(ValueError, match="max_candidates_executed"):
        cyntra.build_executed_plan_v1(
            swarm_id="serial_handoff", max_candidates=0, timeout_seconds=1, max_iterations=None
        )


def test_an_empty_workspace_has_no_history(tmp_path: Path) -> None:
    assert cyntra.collect_history_candidates(repo_root=tmp_path) == []
    assert cyntra.collect_history_candidates(repo_root=str(tmp_path), include_world=False) == []


def test_a_planner_opens_a_bundle_and_answers_with_a_document(tmp_path: Path) -> None:
    write_outcome_bundle(tmp_path / "bundle")
    answer = cyntra.OnnxPlanner(tmp_path / "bundle").predict_action(asked(issue={"id": "7"}))
    read_document(answer, PlannerAction)
    assert set(answer["budgets"]) == {"max_candidates_bin", "max_minutes_bin", "max_iterations_bin"}
    json.dumps(answer)


def test_an_answer_that_abstains_is_one_that_no_kernel_follows(tmp_path: Path) -> None:
    from tests.outcome_bundles import calibration_of

    write_outcome_bundle(tmp_path / "bundle", calibration=calibration_of(always_abstains=True))
    answer = cyntra.OnnxPlanner(str(tmp_path / "bundle")).predict_action(asked(issue={"id": "7"}))
    assert (answer["confidence"], answer["abstain_to_default"]) == (0.0, True)
    assert answer["reason"].startswith("not_certified")


def test_a_planner_raises_where_it_cannot_answer_as_the_kernels_own_did(tmp_path: Path) -> None:
    from planner_runtime import BundleError

    with pytest.raises(BundleError, match="no such directory"):
        cyntra.OnnxPlanner(tmp_path / "nowhere")
    write_outcome_bundle(tmp_path / "bundle", model=tiny_onnx(nan=True), check=False)
    planner = cyntra.OnnxPlanner(tmp_path / "bundle")
    with pytest.raises(cyntra.InferenceError, match="inference_failed"):
        planner.predict_action(asked())
    with pytest.raises(cyntra.InferenceError, match="invalid_input"):
        planner.predict_action({"schema_version": "cyntra.planner_input.v9"})


def test_the_manifests_section_holds_the_trace_only_where_there_is_one() -> None:
    parts = {"planner_input": {"a": 1}, "planner_action": {"b": 1}, "executed_plan": {"c": 1}}
    plain = cyntra.planner_manifest_bundle(**parts)
    assert plain == {**parts, "timeout_seconds_override": None}
    traced = cyntra.planner_manifest_bundle(
        **parts, timeout_seconds_override=900, policy_trace={"d": 1}
    )
    assert traced == {**parts, "timeout_seconds_override": 900, "policy_trace": {"d": 1}}


def test_schemas_are_those_of_the_contracts() -> None:
    for load, name in (
        (cyntra.load_planner_input_schema, "planner_input"),
        (cyntra.load_planner_action_schema, "planner_action"),
        (cyntra.load_executed_plan_schema, "executed_plan"),
    ):
        assert f"cyntra.{name}.v1" in json.dumps(load())


def test_every_public_name_is_there() -> None:
    assert all(hasattr(cyntra, name) for name in cyntra.__all__)
    assert cyntra.BudgetBin is not None
    assert issubclass(ModelError, Exception)
