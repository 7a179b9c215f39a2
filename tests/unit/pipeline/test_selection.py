"""Choosing between one's own actions: laws of the decisions and of their figures."""

import msgspec
import numpy as np
import polars as pl
import pytest

from planner_pipeline.selection.choice import calibrated, fit_calibration
from planner_pipeline.selection.design import fit_design
from planner_pipeline.selection.figures import (
    Scored,
    Weighing,
    chooser_figures,
    differences,
)
from planner_pipeline.selection.fold_plan import default_folds
from planner_pipeline.selection.lesson import action_means, filled
from planner_pipeline.selection.report import SelectReport
from planner_pipeline.selection.run import select_actions
from planner_pipeline.selection.scenario import Outcomes
from planner_pipeline.selection.worth import build_stakes, default_objective, find_limits, penalised
from planner_runtime.objective import Objective, Weights
from tests.reference.scenarios import CUTOFF_MS, a_routing_table, a_scenario, some_folds

Answer = tuple[pl.DataFrame, SelectReport]


@pytest.fixture(scope="module")
def learnable() -> Answer:
    features, outcomes = a_scenario()
    return select_actions(features, outcomes, some_folds(features))


def outcomes_of(
    passed: list[list[float]],
    duration_ms: list[list[float]],
    censored: list[list[bool]] | None = None,
) -> Outcomes:
    duration = np.array(duration_ms, dtype=float)
    return Outcomes(
        passed=np.array(passed, dtype=float),
        duration_ms=duration,
        cost_usd=np.full(duration.shape, np.nan),
        is_censored=np.zeros(duration.shape, bool) if censored is None else np.array(censored),
    )


def test_what_can_be_learned_is_learned(learnable: Answer) -> None:
    _, report = learnable
    gap = report.policy_against_best_single.gap_closed
    assert gap is not None
    assert gap.low > 0.5
    assert report.policy.penalised_mean_ms is not None
    assert report.best_single.penalised_mean_ms is not None
    assert report.policy.penalised_mean_ms.value < report.best_single.penalised_mean_ms.value


def test_every_case_is_decided_once_and_every_fold_reported(learnable: Answer) -> None:
    decisions, report = learnable
    assert decisions.columns == ["case_id", "fold", "action", "utility", "p_pass", "abstained"]
    assert decisions["case_id"].is_sorted()
    assert decisions["case_id"].n_unique() == len(decisions) == 120
    assert decisions["p_pass"].is_between(0, 1).all()
    assert [fold.fold for fold in report.folds] == [1, 2, 3]
    assert sum(fold.n for fold in report.folds) == report.counts.decisions == 120


def test_the_order_of_rows_and_columns_says_nothing(learnable: Answer) -> None:
    features, outcomes = a_scenario()
    folds = some_folds(features).sample(fraction=1, shuffle=True, seed=3)
    shuffled = features.select(reversed(features.columns)).sample(fraction=1, shuffle=True, seed=1)
    again = select_actions(shuffled, outcomes.sample(fraction=1, shuffle=True, seed=2), folds)
    assert again[0].equals(learnable[0])
    assert msgspec.json.encode(again[1]) == msgspec.json.encode(learnable[1])


def test_processes_side_by_side_give_the_same_answer(learnable: Answer) -> None:
    features, outcomes = a_scenario()
    decisions, _ = select_actions(features, outcomes, some_folds(features), jobs=2)
    assert decisions.equals(learnable[0])


def test_time_in_another_unit_changes_no_decision(learnable: Answer) -> None:
    features, outcomes = a_scenario()
    longer = outcomes.with_columns(pl.col("duration_ms") * 1024)
    decisions, report = select_actions(features, longer, some_folds(features))
    assert decisions["action"].equals(learnable[0]["action"])
    gap, before = (
        one.policy_against_best_single.gap_closed for one in (report, learnable[1])
    )  # fmt: skip
    assert gap is not None
    assert before is not None
    assert gap.value == pytest.approx(before.value)


def test_where_nothing_can_be_learned_it_is_no_worse_than_the_best_single() -> None:
    features, outcomes = a_scenario(n_cases=200, learnable=False)
    bare = features.select("case_id", *(f"f{n}" for n in range(4, 12)))
    _, report = select_actions(bare, outcomes, some_folds(features))
    found = report.policy_against_best_single.value
    assert found is not None
    assert found.high >= 0
    gap = report.policy_against_best_single.gap_closed
    assert gap is not None
    assert gap.value > -0.15


def test_the_oracle_closes_the_gap_and_the_best_single_does_not() -> None:
    luck = np.random.default_rng(0)
    utility = luck.random((40, 3))

    def scored(values: np.ndarray) -> Scored:
        nothing = np.full(40, np.nan)
        return Scored(utility=values, passed=nothing, cost_usd=nothing, penalised_ms=nothing)

    single, best = scored(utility[:, int(utility.mean(0).argmax())]), scored(utility.max(axis=1))
    weighing, mask = Weighing([str(n) for n in range(40)], 0), np.ones(40, dtype=bool)
    of_oracle = differences(best, single, best, weighing, mask).gap_closed
    of_single = differences(single, single, best, weighing, mask).gap_closed
    assert of_oracle is not None
    assert of_single is not None
    assert (of_oracle.value, of_oracle.low, of_oracle.high) == (1, 1, 1)
    assert (of_single.value, of_single.low, of_single.high) == (0, 0, 0)
    figures = chooser_figures(best, best, weighing, mask)
    assert figures.pass_rate is None  # not known is not zero
    assert figures.regret is not None
    assert figures.regret.value == 0


def test_groups_are_never_in_two_folds_and_folds_are_of_equal_size() -> None:
    groups = [f"g{n % 23}" for n in range(230)]
    partition = default_folds(groups, seed=5)
    for group in set(groups):
        assert len({int(f) for f, g in zip(partition.fold, groups, strict=True) if g == group}) == 1
    sizes = np.bincount(partition.fold)
    assert sizes.max() - sizes.min() <= 10


def test_a_run_that_did_not_pass_counts_ten_times_its_limit_however_early_it_ended() -> None:
    known = outcomes_of([[1, 0, 0]], [[30.0, 5.0, 100.0]], [[False, False, True]])
    assert penalised(known, find_limits(known), 10).tolist() == [[30.0, 1_000.0, 1_000.0]]


def test_limits_differ_by_case_where_censored_durations_say_so() -> None:
    passed = [[0, 0], [0, 0], [1, 1]]
    censored = [[True, True], [True, True], [False, False]]
    by_case = outcomes_of(passed, [[100, 101], [200, 200], [5, 5]], censored)
    assert find_limits(by_case).limit_ms[:, 0].tolist() == [101, 200, 200]
    mixed = outcomes_of(passed, [[100, 200], [30, 200], [5, 5]], censored)
    assert np.unique(find_limits(mixed).limit_ms).tolist() == [200]


def test_the_objective_follows_from_what_is_known() -> None:
    features, outcomes = a_scenario(n_cases=12)
    for drop, rule, name in (
        ([], "utility", "penalised_duration"),
        (["duration_ms"], "utility", "pass_rate"),
    ):
        report = select_actions(features, outcomes.drop(drop), some_folds(features))[1]
        assert (report.objective.rule, report.objective.name) == (rule, name)
        assert report.objective_is_given is False
    cost = np.ones((3, 2))
    known = msgspec.structs.replace(outcomes_of([[1, 0]] * 3, [[np.nan] * 2] * 3), cost_usd=cost)
    assert default_objective(known)[0].rule == "constrained"


def test_a_cheap_model_takes_the_easy_cases_and_the_pass_rate_stays() -> None:
    features, outcomes = a_routing_table()
    decisions, report = select_actions(features, outcomes, some_folds(features))
    assert report.objective.rule == "constrained"
    found = report.policy_against_best_single
    assert found.cost_usd_saved is not None
    assert found.pass_rate is not None
    assert found.cost_usd_saved.low > 0.2
    assert found.pass_rate.value > -0.05
    assert all(fold.price for fold in report.folds)
    assert {"cheap", "dear"} <= set(decisions["action"])


def test_an_action_without_any_cost_is_pointed_out() -> None:
    features, outcomes = a_routing_table(30)
    free = outcomes.with_columns(
        cost_usd=pl.when(pl.col("action") == "cheap").then(0.0).otherwise("cost_usd")
    )
    report = select_actions(features, free, some_folds(features, 2))[1]
    assert "every known cost of cheap is 0: read as free, not as unknown" in report.assumptions


@pytest.mark.parametrize(
    "objective",
    [
        Objective(weights=Weights(minute=0.01)),
        Objective(rule="lexicographic"),
        Objective(rule="constrained", spend="minutes", pass_within=0.05),
        Objective(rule="pareto"),
    ],
    ids=lambda objective: objective.rule,
)
def test_a_given_objective_rules(objective: Objective) -> None:
    features, outcomes = a_scenario(n_cases=60)
    decisions, report = select_actions(features, outcomes, some_folds(features), objective)
    assert report.objective == objective
    assert len(decisions) == 60
    assert report.policy.value is not None


def test_repetitions_are_whole_validations_and_no_more_cases() -> None:
    features, outcomes = a_scenario(n_cases=40, n_actions=2)
    decisions, report = select_actions(features, outcomes, some_folds(features, 2, repetitions=2))
    assert decisions.columns[-1] == "repetition"
    assert decisions.group_by("repetition").len()["len"].to_list() == [40, 40]
    gap = report.policy_against_best_single.gap_closed
    assert gap is not None
    assert (gap.n, gap.n_issues) == (80, 40)


def test_a_missing_outcome_is_never_a_label_and_is_not_scored() -> None:
    features, outcomes = a_scenario(n_cases=60)
    gone = outcomes.filter(pl.int_range(pl.len()) % 5 != 0)
    decisions, report = select_actions(features, gone, some_folds(features))
    assert len(decisions) == 60
    assert report.counts.scored < 60
    assert report.counts.outcomes == len(gone)
    gap = report.policy_against_best_single.gap_closed
    assert gap is not None
    assert gap.n == report.counts.scored


def test_gaps_are_closed_by_action_and_case() -> None:
    exact = np.array([1.0, 2.0, 4.0])[:, None] + np.array([0.0, 1.0])
    assert filled(exact) is exact
    known = np.repeat(exact, 20, axis=0)
    known[0, 1] = np.nan
    assert filled(known)[0, 1] == pytest.approx(known[1, 1], abs=1.0)
    assert np.isnan(action_means(np.array([[1.0, np.nan], [2.0, np.nan]]))[1])


def test_a_matrix_is_finite_whatever_the_features() -> None:
    luck = np.random.default_rng(0)
    features = pl.DataFrame(
        {
            "wild": [1e308, -1e308, float("inf"), float("nan"), None, 0.0, 1.0, 2.0] * 5,
            "empty": pl.Series([None] * 40, dtype=pl.Float64),
            "same": [1.0] * 40,
            "word": ["a", "b", None, "c"] * 10,
            "unique": [str(n) for n in range(40)],
            "list": [["x", "y"], ["x"], [], None] * 10,
            "plain": luck.random(40),
        }
    )
    design = fit_design(features)
    matrix = design.matrix(features)
    assert np.isfinite(matrix).all()
    assert {"empty", "same", "unique"} <= set(design.dropped)
    unseen = features.with_columns(word=pl.lit("never met"), wild=pl.lit(None, pl.Float64))
    assert design.matrix(unseen).shape == matrix.shape
    only_constant = features.select("same")
    assert fit_design(only_constant).matrix(only_constant).shape == (40, 1)


def test_chances_that_are_too_sure_are_told_less_sure() -> None:
    luck = np.random.default_rng(1)
    truth = luck.uniform(0.1, 0.9, 2_000)
    passed = (luck.random(2_000) < truth) * 1.0
    sure = 1 / (1 + np.exp(-3 * np.log(truth / (1 - truth))))
    shift, slope = fit_calibration(sure, passed)
    assert slope == pytest.approx(1 / 3, abs=0.06)
    assert calibrated(sure, shift, slope).mean() == pytest.approx(passed.mean(), abs=0.01)
    assert fit_calibration(np.array([0.5]), np.array([np.nan])) == (0.0, 1.0)


def test_time_alone_as_an_objective_is_penalised_time() -> None:
    known = outcomes_of([[1, 0]], [[60_000, CUTOFF_MS]], [[False, True]])
    stakes = build_stakes(known, Objective(weights=Weights(passed=0, minute=1), time_penalty=2))
    assert stakes.kind == "penalised_duration"
    assert stakes.utility.tolist() == [[-1.0, -20.0]]


@pytest.mark.slow
def test_forty_actions_are_a_matter_of_minutes() -> None:
    features, outcomes = a_scenario(n_cases=1_000, n_actions=40, n_features=150)
    decisions, report = select_actions(features, outcomes, some_folds(features, 3), jobs=2)
    gap = report.policy_against_best_single.gap_closed
    assert len(decisions) == 1_000
    assert gap is not None
    assert gap.low > 0
