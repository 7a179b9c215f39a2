"""Decisions of the trial study see only their past, and its yardsticks are the known ones."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from planner_pipeline.bench.replay import cases_of
from planner_pipeline.bench.trial_study import (
    STUDY_ACTIONS,
    STUDY_BUDGETS,
    TrialStudy,
    build_trial_study,
    parse_study_tasks,
    study_labels,
)
from planner_pipeline.dataset.examples import count_leaks
from planner_pipeline.evaluation.study import COST_WEIGHTS, study_table
from planner_pipeline.sources.trials import Trial, read_trials
from planner_runtime.actions import Action
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.reading import read_document
from planner_runtime.features import feature_vector
from planner_runtime.tokenizer import tokenize
from tests.reference.trials import HOUR_MS, a_trial, many_trials, naive_utility


def inputs_of(study: TrialStudy) -> list[PlannerInput]:
    return [read_document(text.encode(), PlannerInput) for text in study.cases["planner_input"]]


def test_the_actions_are_serial_runs_and_votes_of_two_or_three() -> None:
    assert len(STUDY_ACTIONS) == 12
    assert STUDY_ACTIONS[3] == Action("serial_handoff", 1, 30, "NA")
    assert STUDY_ACTIONS[4] == Action("speculate_vote", 2, 5, "NA")
    assert [tuple(b) for b in STUDY_BUDGETS] == [(k, t) for k in (1, 2, 3) for t in (5, 10, 15, 30)]


@pytest.mark.parametrize("n_seen", [0, 2])
def test_a_decision_sees_only_what_had_ended(n_seen: int) -> None:
    study = build_trial_study(many_trials(), n_seen=n_seen)
    assert study.cases.height == 18
    for row, question in zip(study.cases.iter_rows(named=True), inputs_of(study), strict=True):
        leaks = count_leaks(question, decided_ms=row["decided_ms"], group_id=row["example_id"])
        assert leaks == 0
        assert row["newest_seen_ms"] <= row["decided_ms"]
        seen = {run.run_id for run in question.history.last_n_similar_runs}
        assert not seen & {f"{row['case_id']}#{attempt}" for attempt in row["attempts"]}
        assert question.system_state is not None
        assert question.system_state.available_toolchains == (row["system"],)
        assert row["token_ids"] == tokenize(question)
        assert row["features"] == feature_vector(question).tolist()


def test_a_later_decision_sees_its_own_attempts_and_is_scored_on_the_rest() -> None:
    trials = many_trials(n_systems=2)
    study = build_trial_study(trials, n_seen=2, n_similar=len(trials))
    assert study.cases["n_own_seen"].to_list() == [2] * 12
    assert study.cases["attempts"].to_list() == [[3, 4, 5]] * 12
    starts = {(t.system, t.issue_id): t.started_ms for t in trials if t.attempt == 3}
    for row in study.cases.iter_rows(named=True):
        assert row["decided_ms"] == starts[row["system"], row["issue_id"]]
    assert {attempt for some in study.outcomes["attempts"] for attempt in some} == {3, 4, 5}
    rest = [t for t in trials if t.attempt > 2]
    for label, attempts in zip(
        study_labels(study, cost_weight=0.02), cases_of(rest).values(), strict=True
    ):
        utility = [naive_utility(attempts, *budget, 0.02) for budget in STUDY_BUDGETS]
        assert utility[label] == pytest.approx(max(utility))


def test_earlier_attempts_are_the_earlier_starts_and_not_the_lower_numbers() -> None:
    order = [5, 4, 3, 2, 1]
    trials = [
        a_trial(n, issue=issue, started_ms=HOUR_MS * (rank + 1))
        for issue in ("a", "b")
        for rank, n in enumerate(order)
    ]
    study = build_trial_study(trials, n_seen=2)
    assert study.cases["attempts"].to_list() == [[3, 2, 1]] * 2


def test_cases_without_a_decision_tell_why() -> None:
    def five(issue: str, **cells: object) -> list[Trial]:
        return [a_trial(n, issue=issue, **cells) for n in range(1, 6)]  # type: ignore[arg-type]

    untimed = five("untimed", minutes=None)
    parallel = five("parallel", started_ms=HOUR_MS)
    trials = [*five("fine"), *untimed, *parallel, a_trial(1, issue="short")]
    study = build_trial_study(trials, n_seen=2)
    assert {left.case_id.split("/")[-1]: left.reason for left in study.left_out} == {
        "untimed": "some earlier attempts have no known end",
        "parallel": "earlier attempts were still running",
        "short": "no attempt is left after 2",
    }
    first = build_trial_study(trials)
    assert {left.reason for left in first.left_out} == {"no attempt has a duration"}
    assert first.cases["issue_id"].to_list() == ["fine", "parallel", "short"]
    with pytest.raises(ValueError, match="negative"):
        build_trial_study(trials, n_seen=-1)


def test_a_task_gives_its_difficulty_and_keywords_to_issue_and_history() -> None:
    tasks = parse_study_tasks(
        b'{"task_id": "task-0", "difficulty": "hard", "keywords": ["maze"], "instr_words": 9}\n'
    )
    study = build_trial_study(many_trials(n_systems=2), tasks)
    rows = [q for q in inputs_of(study) if q.issue.issue_id == "task-0"]
    for question in rows:
        assert question.issue.tags == ("bench", "difficulty:hard")
        assert question.issue.keywords == ("maze",)
    own = [r for r in rows[-1].history.last_n_similar_runs if r.issue_id == "task-0"]
    assert own
    assert all(run.keywords == ("maze",) for run in own)


def test_folds_keep_a_task_and_a_system_together_whenever_the_decision_is_made() -> None:
    trials = many_trials(n_issues=7)
    first, third = (build_trial_study(trials, n_seen=n).cases for n in (0, 2))
    keys = ["case_id", "task_fold", "system_fold"]
    assert first.select(keys).equals(third.select(keys))
    assert first.group_by("issue_id").agg(pl.col("task_fold").n_unique())["task_fold"].max() == 1
    assert first["task_fold"].n_unique() == 5
    assert first.group_by("system_fold").agg(pl.col("system").n_unique())["system"].max() == 1
    assert first["system_fold"].n_unique() == 3


def test_the_order_of_the_attempts_changes_nothing() -> None:
    trials = many_trials()
    one, other = build_trial_study(trials), build_trial_study(trials[::-1])
    assert one.cases.equals(other.cases)
    assert one.outcomes.equals(other.outcomes)


def test_the_labels_played_as_a_policy_are_the_oracle() -> None:
    study = build_trial_study(many_trials())
    predictions = {w: {"labels": study_labels(study, cost_weight=w)} for w in COST_WEIGHTS}
    table = study_table(study.cases, study.outcomes, predictions, n_resamples=50)
    assert table["cost_weight"].unique().sort().to_list() == list(COST_WEIGHTS)
    columns = ["cost_weight", "figure", "against", "value", "low", "high"]
    mine, best = (
        table.filter(pl.col("policy") == name).select(columns) for name in ("labels", "oracle")
    )
    assert mine.equals(best)


def test_a_policy_may_abstain_at_one_weight() -> None:
    study = build_trial_study(many_trials())
    everybody = np.ones(18, dtype=bool)
    table = study_table(
        study.cases, study.outcomes, {0.01: {"shy": np.zeros(18, dtype=int)}},
        abstains={0.01: {"shy": everybody}}, n_resamples=50,
    )  # fmt: skip
    shy = table.filter((pl.col("policy") == "shy") & (pl.col("figure") == "utility_difference"))
    assert shy["cost_weight"].unique().to_list() == [0.01]
    assert shy.filter(pl.col("against") == "default")["value"].to_list() == [0.0]


@pytest.fixture(scope="module")
def real_trials(shared_data: Path) -> tuple[Trial, ...]:
    return read_trials([shared_data / "agent-trials" / "terminal_bench.trials.csv.gz"]).trials


def test_the_real_yardsticks_are_those_of_the_data_sets_readme(
    shared_data: Path, real_trials: tuple[Trial, ...]
) -> None:
    lines = (shared_data / "agent-trials" / "terminal_bench.tasks.jsonl").read_bytes()
    study = build_trial_study(real_trials, parse_study_tasks(lines))
    assert (study.cases.height, len(study.left_out)) == (330, 512 - 330)
    assert study.cases["issue_id"].n_unique() == 64
    assert study.cases["default_action"].unique().to_list() == [3]  # serial, 30 minutes
    table = study_table(study.cases, study.outcomes, {}, n_resamples=20)

    def value(policy: str, cost_weight: float, name: str = "utility") -> float:
        (row,) = table.filter(
            (pl.col("policy") == policy)
            & (pl.col("cost_weight") == cost_weight)
            & (pl.col("figure") == name)
            & (pl.col("against").is_null() | (pl.col("against") == "best_fixed to oracle"))
        ).iter_rows(named=True)
        return float(row["value"])

    names = ("best_fixed", "prior_of_other_systems", "oracle")
    known = {
        0.003: (0.4904, 0.4868, 0.5285, -9),
        0.01: (0.4040, 0.4169, 0.4774, 18),
        0.02: (0.3371, 0.3531, 0.4098, 22),
        0.04: (0.2101, 0.2423, 0.2955, 38),
    }
    for cost_weight, (*utilities, percent) in known.items():
        found = [round(value(name, cost_weight), 4) for name in names]
        assert found == utilities
        gap = value("prior_of_other_systems", cost_weight, "gap_closed")
        assert round(100 * gap) == percent
    assert round(value("honest_oracle", 0.01), 4) == 0.4030
    assert round(value("honest_oracle_loose", 0.01), 4) == 0.4214
    fixed = {0.003: (3, 30), 0.01: (1, 30), 0.02: (1, 30), 0.04: (1, 15)}
    for cost_weight, budget in fixed.items():
        utility = [
            np.mean([naive_utility(a, *b, cost_weight) for a in timed(real_trials)])
            for b in STUDY_BUDGETS
        ]
        assert STUDY_BUDGETS[int(np.argmax(utility))] == budget


def timed(trials: tuple[Trial, ...]) -> list[list[Trial]]:
    return [a for a in cases_of(trials).values() if all(t.duration_ms is not None for t in a)]


def test_a_real_third_decision_can_see_its_own_two_attempts(
    real_trials: tuple[Trial, ...],
) -> None:
    study = build_trial_study(real_trials, n_seen=2)
    assert study.cases.height == 327
    assert study.cases["attempts"].list.len().unique().to_list() == [3]
    # failures of others that share a code can rank before its own successes
    assert 270 < (study.cases["n_own_seen"] == 2).sum() < 327
    wide = build_trial_study(real_trials, n_seen=2, n_similar=24)
    assert wide.cases["n_own_seen"].unique().to_list() == [2]
