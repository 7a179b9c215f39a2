"""What the planner of outcomes logged, judged by ``cyntra-planner ope``: the whole way around."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from planner_pipeline.cli import main
from planner_pipeline.evaluation.ope_traces import numbered_actions, proven_chances
from planner_pipeline.history.decisions import logged_decisions
from planner_pipeline.sources.policy_traces import read_policy_traces
from planner_runtime.actions import HEADS
from planner_runtime.contracts import to_document
from planner_runtime.exploration import ExplorationBudget
from planner_runtime.planner import action_of
from tests.building import run_table, runs_of
from tests.outcome_bundles import a_question, an_outcome_planner, flat
from tests.reference.traced_workspace import write_archive

PASS_RATIO = {15: 0.3, 30: 0.4, 45: 0.5, 60: 0.8}  # by minutes: the model is wrong about them
N_ISSUES, N_CERTAIN = 120, 4
N = N_ISSUES + N_CERTAIN
EPSILON = 0.6


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of issues that may be explored, and of some that may not."""
    repo = tmp_path_factory.mktemp("logged")
    budget = ExplorationBudget(epsilon=EPSILON, seed="epoch", budget_share=1.0)
    planner = an_outcome_planner(flat(), planner={"exploration": budget})
    rng = np.random.default_rng(0)
    for number in range(N):
        priority = "P3" if number < N_ISSUES else "P1"
        question = a_question(id=f"issue-{number}", dk_priority=priority)
        decision = planner.decide(question, now_ms=0)
        minutes = int(action_of(decision.action).max_minutes_bin)
        write_archive(
            repo, number, to_document(decision.trace), issue=f"issue-{number}",
            planner_input=question, ran_seconds=60 * minutes, minutes=minutes * 0.9,
            passed=bool(rng.random() < PASS_RATIO[minutes]),
        )  # fmt: skip
    return repo


def ope(repo: Path, out: Path, *more: str) -> tuple[int, dict]:  # type: ignore[type-arg]
    code = main(["ope", "--repo", str(repo), "--out", str(out), *more])
    return code, json.loads((out / "ope.json").read_text())


def test_a_trace_of_the_planner_proves_every_chance(logged: Path) -> None:
    decisions = logged_decisions(read_policy_traces(logged), [run_table(runs_of(logged))]).decisions
    assert len(decisions) == N
    number_of = numbered_actions(decisions, [])
    drawn = [one for one in decisions if one.epsilon]
    assert len(drawn) == N_ISSUES
    for one in drawn:
        chances = proven_chances(one, number_of)
        assert not np.isnan(chances).any()
        assert len(one.drawable.open_) == one.drawable.n_open == np.count_nonzero(chances) == 4
        assert {action.max_minutes_bin for action in one.drawable.open_} == set(PASS_RATIO)
        assert chances.sum() in (pytest.approx(EPSILON), pytest.approx(1.0))  # greedy ran, or not


def test_the_baseline_is_judged_near_its_truth_by_what_the_planner_logged(
    logged: Path, tmp_path: Path
) -> None:
    code, report = ope(logged, tmp_path / "out")
    assert code == 0
    assert (report["n_decisions"], report["n_quarantined"], report["left_out"]) == (N, 0, {})
    found = report["estimates"]["pass"]["dr"]
    assert found["low"] < PASS_RATIO[60] < found["high"]
    assert found["gain_low"] > 0
    overlap = report["overlap"]
    assert overlap["unknown_mass"] == 0
    assert overlap["uncovered_mass"] == pytest.approx(N_CERTAIN / N)  # where chance had no part


def test_where_chance_had_no_part_the_planner_cannot_be_judged_otherwise(
    logged: Path, tmp_path: Path
) -> None:
    """A policy of dearer actions is closed by limits: surely not drawn, and refused as such."""
    dearer = ("serial_handoff", "1", "120", "NA")
    issues = [f"issue-{number}" for number in range(N)]
    file = tmp_path / "dearer.parquet"
    columns = dict(zip(HEADS, dearer, strict=True))
    pl.DataFrame({"issue_id": issues, **columns, "probability": 1.0}).write_parquet(file)
    code, report = ope(logged, tmp_path / "out", "--policy", str(file))
    assert code == 1
    assert report["refused"]["reason"] in ("no_shared_action", "uncovered_target")
    assert report["overlap"]["uncovered_mass"] == 1
    assert "priority P3" in report["refused"]["remedy"] or "explored" in report["refused"]["remedy"]
