"""docs/serving.md, followed literally: decision, archive, training example, off-policy estimate.

Belongs here: a kernel that was changed as the page says, and what the pipeline reads of its work.
Does not: single decisions (``tests/unit/runtime/test_kernel_planner``).
"""

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner_pipeline.cli import main
from planner_pipeline.sources.policy_traces import read_policy_traces
from planner_runtime.actions import ActionSpace, executed_action
from planner_runtime.contracts import (
    ExecutedPlan,
    PlannerAction,
    PlannerInput,
    PolicyTrace,
    input_hash,
    read_document,
)
from planner_runtime.exploration import ExplorationBudget
from planner_runtime.inputs import epoch_ms
from planner_runtime.kernel.settings import planner_settings_of
from planner_runtime.outcomes.policy_file import OutcomePolicy
from planner_runtime.reasons import FALLBACK_REASONS
from tests.building import build
from tests.integration.stub_kernel import PAGE, StubKernel
from tests.outcome_bundles import write_outcome_bundle

N_RUNS = 120


def worked(repo: Path, mode: str | None, **section: Any) -> StubKernel:
    """A kernel that has worked in ``repo``, with an outcome bundle that likes short limits."""
    write_outcome_bundle(
        repo / "models" / "current",
        policy=OutcomePolicy(exploration=ExplorationBudget(epsilon=0.9, budget_share=1.0)),
    )
    told = None if mode is None else {"mode": mode, "bundle_dir": "models/current", **section}
    kernel = StubKernel(repo, told)
    kernel.work(N_RUNS)
    kernel.runner.planner.close()
    return kernel


def manifests(repo: Path) -> dict[str, dict[str, Any]]:
    paths = sorted((repo / ".cyntra" / "archives").glob("*/manifest.json"))
    return {path.parent.name: json.loads(path.read_bytes()) for path in paths}


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> StubKernel:
    return worked(tmp_path_factory.mktemp("enforced"), "enforce")


@pytest.fixture(scope="module")
def enforced(kernel: StubKernel) -> Path:
    repo: Path = kernel.runner.repo_root
    return repo


def test_every_dispatch_leaves_its_question_its_plan_and_what_ran(enforced: Path) -> None:
    found = manifests(enforced)
    assert len(found) > 60
    overrides = 0
    for manifest in found.values():
        planner = manifest["planner"]
        question = read_document(planner["planner_input"], PlannerInput)
        action = read_document(planner["planner_action"], PlannerAction)
        plan = read_document(planner["executed_plan"], ExecutedPlan)
        trace = read_document(planner["policy_trace"], PolicyTrace)
        assert action.input_hash == trace.input_hash == input_hash(planner["planner_input"])
        assert question.system_state is not None
        override = planner["timeout_seconds_override"]
        if override is not None:
            overrides += 1
            assert plan.timeout_seconds_executed == override
            assert override == trace.chosen.budgets.max_minutes_bin * 60
        assert plan.fallback_applied == (plan.fallback_reason is not None)
        assert trace.mode == "enforce"
    assert overrides > 20


def test_a_limit_that_was_overridden_is_what_ends_an_attempt(enforced: Path) -> None:
    """A codex or claude that ran into a limit of a quarter of an hour ran no longer."""
    ended = 0
    for name, manifest in manifests(enforced).items():
        override = manifest["planner"]["timeout_seconds_override"]
        telemetry = enforced / ".cyntra" / "archives" / name / "telemetry.jsonl"
        if override is None or not telemetry.exists():
            continue
        lines = [json.loads(line) for line in telemetry.read_text().splitlines()]
        if lines[-1]["type"] == "error" and "timed out" in lines[-1]["error"]:
            started, stopped = (epoch_ms(lines[i]["timestamp"]) for i in (0, -1))
            assert stopped - started == override * 1_000
            ended += 1
    assert ended


def test_questions_show_runs_that_had_ended_and_none_of_the_future(enforced: Path) -> None:
    shown = 0
    for manifest in manifests(enforced).values():
        question = read_document(manifest["planner"]["planner_input"], PlannerInput)
        for run in question.history.last_n_similar_runs:
            assert run.ended_ms is not None
            shown += 1
        record = question.system_state.track_record if question.system_state else None
        assert record is not None
    assert shown > 200


def test_the_pipeline_learns_from_the_executed_plans(kernel: StubKernel, enforced: Path) -> None:
    """The loop closed: decision, archive, training example, its label the executed plan."""
    workspace, examples = build(enforced)
    found = manifests(enforced)
    labelled = {example.example_id: example for example in examples}
    assert len(labelled) > 50
    n_switched = n_alike = 0
    for example in labelled.values():
        manifest = found[example.example_id]
        plan = read_document(manifest["planner"]["executed_plan"], ExecutedPlan)
        assert example.label == executed_action(ActionSpace(), plan)
        recorded = manifest["planner"]["planner_input"]
        assert example.planner_input["issue"] == recorded["issue"]
        shown = recorded["history"]["last_n_similar_runs"]
        rebuilt = example.planner_input["history"]["last_n_similar_runs"]
        # but for runs that were over at that moment and not archived yet, which nobody could read
        known_ms = [kernel.archived_ms.get(run["run_id"], math.inf) for run in rebuilt]
        in_between = [ms for ms in known_ms if ms > example.decided_ms]
        assert in_between or rebuilt == shown
        n_alike += rebuilt == shown
        n_switched += example.label.max_minutes_bin == 15
    assert n_switched > 10
    assert n_alike > 0.9 * len(labelled)
    assert workspace is not None


def test_traces_are_read_whole_and_off_policy_evaluation_has_what_it_needs(
    enforced: Path, tmp_path: Path
) -> None:
    read = read_policy_traces(enforced)
    assert read.quarantined == ()
    assert len(read.traced) == len(manifests(enforced))
    by = Counter(one.trace.decided_by for one in read.traced)
    assert by["model"] > 10
    assert by["exploration"] > 3
    main(["ope", "--repo", str(enforced), "--out", str(tmp_path / "out")])
    report = json.loads((tmp_path / "out" / "ope.json").read_text())
    assert report["n_quarantined"] == 0
    assert report["n_decisions"] > 40


def test_a_kernel_that_logs_does_what_a_kernel_that_is_off_does(tmp_path: Path) -> None:
    folders = {mode: tmp_path / str(mode) for mode in (None, "off", "log")}
    for mode, folder in folders.items():
        worked(folder, mode)
    plain = {name: without_planner(one) for name, one in manifests(folders[None]).items()}
    for mode in ("off", "log"):
        found = manifests(folders[mode])
        assert {name: without_planner(one) for name, one in found.items()} == plain
        reasons = {one["planner"]["executed_plan"]["fallback_reason"] for one in found.values()}
        assert reasons == {None if mode == "off" else "log_only"}
        assert all(one["planner"]["timeout_seconds_override"] is None for one in found.values())


def without_planner(manifest: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in manifest.items() if key != "planner"}


def test_topology_changes_only_where_the_configuration_allows_it(tmp_path: Path) -> None:
    kernel = worked(tmp_path, "enforce", topology_changes=True)
    found = manifests(tmp_path)
    switched = [
        one
        for one in found.values()
        if one["planner"]["policy_trace"] is not None
        and one["planner"]["policy_trace"]["baseline"]["swarm_id"]
        != one["planner"]["executed_plan"]["swarm_id_executed"]
    ]
    assert switched
    for one in switched:
        assert one["planner"]["executed_plan"]["fallback_applied"] is False
        assert one["speculate_mode"] is (
            one["planner"]["executed_plan"]["swarm_id_executed"] == "speculate_vote"
        )
    assert kernel.lines


def test_an_evolution_is_planned_as_the_page_says(enforced: Path) -> None:
    kernel = StubKernel(enforced, {"mode": "log", "bundle_dir": "models/current"})
    selection = kernel.page.plan_evolution(
        kernel.runner.planner,
        world={"id": "outora_library", "tags": ["asset:world"]},
        universe={
            "id": "medica", "swarm_id": "speculate_vote", "objective_id": "realism_perf_v1",
            "swarm_ids": ["serial_handoff", "speculate_vote"],
        },
        history=[], system_state=None, population=3, generations=3, now_ms=kernel.now_ms,
    )  # fmt: skip
    kernel.runner.planner.close()
    assert (selection.max_candidates_executed, selection.max_iterations_executed) == (3, 3)
    question = read_document(selection.planner_input, PlannerInput)
    assert question.issue.issue_id == "world:outora_library"
    section = kernel.page.planner_section(selection, toolchain_timeout_seconds=None)
    plan = read_document(section["executed_plan"], ExecutedPlan)
    assert (plan.max_candidates_executed, plan.max_iterations_executed) == (3, 3)
    assert plan.timeout_seconds_executed is None


def test_the_configuration_on_the_page_is_one() -> None:
    block = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.S)[0]
    settings = planner_settings_of(yaml.safe_load(block), Path("/repo"))
    assert settings.refused == ()
    assert settings.mode == "log"
    assert settings.bundle_dir == Path("/repo/.cyntra/models/current")


def test_the_page_names_every_reason_but_that_of_chance() -> None:
    page = PAGE.read_text()
    missing = [code for code in FALLBACK_REASONS if f"`{code}`" not in page]
    assert missing == ["exploration"]
