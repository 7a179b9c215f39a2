"""Outcome metrics against naive code, their laws, and what is said where nothing can be."""

from itertools import combinations
from typing import Literal

import numpy as np
import polars as pl
import pytest

from planner_pipeline.bench.replay import Budget, cases_of, replay
from planner_pipeline.evaluation.bootstrap import interval_of, row_counts
from planner_pipeline.evaluation.outcome_bench import OutcomeBench
from planner_pipeline.evaluation.outcomes import choices_table, outcome_figures
from planner_pipeline.evaluation.yardsticks import (
    best_action,
    best_fixed,
    best_fixed_out_of_fold,
    honest_oracle,
    oracle,
    prior_of_other_systems,
)
from planner_pipeline.sources.trials import Trial
from tests.reference.trials import a_trial, many_trials, naive_outcome, naive_utility

BUDGETS = [Budget(k, minutes) for k in (1, 2, 3) for minutes in (5, 10, 15, 30)]
WEIGHT = 0.02
DEFAULT = 3


def figures_of(
    trials: list[Trial],
    actions: np.ndarray,
    *,
    abstains: np.ndarray | None = None,
    **options: object,
) -> pl.DataFrame:
    outcomes = replay(trials, BUDGETS).outcomes
    cases = sorted(outcomes["case_id"].unique())
    silent = np.zeros(len(cases), dtype=bool) if abstains is None else abstains
    return outcome_figures(
        outcomes,
        choices_table("mine", cases, actions, abstains=silent),
        defaults=dict.fromkeys(cases, DEFAULT),
        cost_weights=(WEIGHT,),
        n_resamples=200,
        **options,  # type: ignore[arg-type]
    )


def figure(
    table: pl.DataFrame, name: str, against: str | None = None, policy: str = "mine"
) -> dict[str, float]:
    rows = table.filter(
        (pl.col("policy") == policy)
        & (pl.col("figure") == name)
        & pl.col("against").eq_missing(pl.lit(against, dtype=pl.String))
    )
    (row,) = rows.iter_rows(named=True)
    return row


def some_actions(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, len(BUDGETS), n)


def test_figures_are_the_naive_sums() -> None:
    trials = many_trials()
    cases = cases_of(trials)
    actions = some_actions(len(cases))
    table = figures_of(trials, actions)
    found = [
        naive_outcome(attempts, *BUDGETS[action])
        for attempts, action in zip(cases.values(), actions, strict=True)
    ]
    passes, cost = sum(p for p, _, _ in found), sum(c for _, c, _ in found)
    time = sum(p * (t or 0) for p, _, t in found)
    n = len(cases)
    assert figure(table, "pass_rate")["value"] == pytest.approx(passes / n)
    assert figure(table, "minutes_per_pass")["value"] == pytest.approx(cost / passes)
    assert figure(table, "mean_minutes_to_pass")["value"] == pytest.approx(time / passes)
    assert figure(table, "utility")["value"] == pytest.approx((passes - WEIGHT * cost) / n)
    utility = [[naive_utility(a, *b, WEIGHT) for b in BUDGETS] for a in cases.values()]
    mine = sum(row[a] for row, a in zip(utility, actions, strict=True)) / n
    best = sum(max(row) for row in utility) / n
    fixed = max(sum(row[a] for row in utility) / n for a in range(len(BUDGETS)))
    default = sum(row[DEFAULT] for row in utility) / n
    assert figure(table, "regret", "oracle")["value"] == pytest.approx(best - mine)
    assert figure(table, "utility_difference", "default")["value"] == pytest.approx(mine - default)
    assert figure(table, "utility_difference", "best_fixed")["value"] == pytest.approx(mine - fixed)
    gap = figure(table, "gap_closed", "best_fixed to oracle")
    assert gap["value"] == pytest.approx((mine - fixed) / (best - fixed))
    assert (gap["n"], gap["n_issues"]) == (18, 6)


def test_where_nothing_repeats_the_interval_is_the_naive_bootstrap_over_issues() -> None:
    trials = many_trials(n_attempts=1)
    cases = cases_of(trials)
    table = figures_of(trials, np.zeros(len(cases), dtype=int), seed=5)
    passed = np.array([naive_outcome(a, 1, 5)[0] for a in cases.values()])
    issues = [a[0].issue_id for a in cases.values()]
    rates = []
    for counts in row_counts(issues, np.random.default_rng(5), 200):
        drawn = [p for p, n in zip(passed, counts, strict=True) for _ in range(int(n))]
        rates.append(sum(drawn) / len(drawn))
    row = figure(table, "pass_rate")
    assert [row["low"], row["high"]] == pytest.approx(list(np.percentile(rates, (2.5, 97.5))))


def test_whole_issues_are_drawn() -> None:
    counts = row_counts(["a", "b", "a", "c"], np.random.default_rng(0), 500)
    assert (counts[:, 0] == counts[:, 2]).all()
    assert (counts[:, 0] + counts[:, 1] + counts[:, 3] == 3).all()
    assert counts.mean() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("budgets", [BUDGETS, [Budget(1, 5)]])
def test_attempts_of_a_case_are_resampled_as_the_bayesian_bootstrap_says(
    budgets: list[Budget],
) -> None:
    passed = [True, True, False, False, False]
    trials = [a_trial(n, passed=p) for n, p in enumerate(passed, start=1)]
    bench = OutcomeBench(replay(trials, budgets).outcomes, n_resamples=20_000)
    draws = bench.score(bench.policy([0])).passed[1:, 0]
    assert draws.mean() == pytest.approx(0.4, abs=0.01)
    assert draws.std() == pytest.approx(np.sqrt(0.4 * 0.6 / 6), rel=0.02)  # a Dirichlet mean's


def test_one_draw_of_attempts_serves_every_action() -> None:
    quick = [a_trial(n, passed=n > 2, minutes=n) for n in (1, 2, 3, 4)]  # limits make no odds
    bench = OutcomeBench(replay(quick, BUDGETS).outcomes, n_resamples=50)
    first, last = (bench.score(bench.policy([action])).passed for action in (4, 7))
    assert (first == last).all()
    assert first[1:].std() > 0


def test_regret_is_never_negative_and_the_oracles_is_zero() -> None:
    trials = many_trials(n_issues=20, seed=3)
    n = len(cases_of(trials))
    for seed in range(5):
        table = figures_of(trials, some_actions(n, seed))
        assert figure(table, "regret", "oracle")["value"] >= 0
    perfect = oracle(OutcomeBench(replay(trials, BUDGETS).outcomes).expected_utility(WEIGHT))
    table = figures_of(trials, perfect)
    row = figure(table, "regret", "oracle")
    assert (row["value"], row["low"], row["high"]) == (0.0, 0.0, 0.0)
    assert figure(table, "gap_closed", "best_fixed to oracle")["value"] == pytest.approx(1.0)
    assert figure(table, "gap_closed", "best_fixed to oracle", "best_fixed")["value"] == 0.0


def test_to_abstain_everywhere_is_to_be_the_default() -> None:
    trials = many_trials(seed=4)
    n = len(cases_of(trials))
    table = figures_of(trials, some_actions(n), abstains=np.ones(n, dtype=bool))
    columns = ["figure", "against", "value", "low", "high", "n"]
    plain = pl.col("against").is_null() & (pl.col("figure") != "abstain_ratio")
    mine = table.filter((pl.col("policy") == "mine") & plain)
    assert mine.select(columns).equals(
        table.filter((pl.col("policy") == "default") & plain).select(columns)
    )
    row = figure(table, "utility_difference", "default")
    assert (row["value"], row["low"], row["high"]) == (0.0, 0.0, 0.0)
    assert figure(table, "abstain_ratio")["value"] == 1.0
    half = np.arange(n) % 2 == 0
    some = figures_of(trials, some_actions(n), abstains=half)
    served = np.where(half, DEFAULT, some_actions(n))
    assert (
        figure(some, "utility")["value"] == figure(figures_of(trials, served), "utility")["value"]
    )


@pytest.mark.parametrize("ties", ["first", "last"])
def test_the_honest_oracle_is_the_naive_loop(ties: Literal["first", "last"]) -> None:
    trials = many_trials(seed=5)
    bench = OutcomeBench(replay(trials, BUDGETS).outcomes, n_resamples=0)
    found = bench.score(honest_oracle(bench, WEIGHT, ties))
    mine = found.passed[0] - WEIGHT * found.agent_minutes[0]
    for value, attempts in zip(mine, cases_of(trials).values(), strict=True):
        scored = []
        for choosing in combinations(attempts, 3):
            rest = [t for t in attempts if t not in choosing]
            utility = [naive_utility(choosing, *b, WEIGHT) for b in BUDGETS if b.k <= 2]
            equal = [i for i, u in enumerate(utility) if u >= max(utility) - 1e-9]
            best = equal[0] if ties == "first" else equal[-1]
            scored.append(naive_utility(rest, *BUDGETS[best], WEIGHT))
        assert value == pytest.approx(sum(scored) / len(scored))


def test_one_attempt_is_too_few_for_an_honest_oracle() -> None:
    bench = OutcomeBench(replay(many_trials(n_attempts=1), BUDGETS).outcomes, n_resamples=0)
    assert not bench.score(honest_oracle(bench, WEIGHT)).is_scored.any()


def test_fixed_actions_and_the_prior_are_the_naive_ones() -> None:
    trials = many_trials(seed=6)
    cases = list(cases_of(trials).values())
    utility = np.array([[naive_utility(a, *b, WEIGHT) for b in BUDGETS] for a in cases])
    issues, systems = [a[0].issue_id for a in cases], [a[0].system for a in cases]
    folds = [int(issue[-1]) % 3 for issue in issues]
    assert set(best_fixed(utility)) == {int(np.argmax(utility.mean(axis=0)))}
    fixed = best_fixed_out_of_fold(utility, folds)
    prior = prior_of_other_systems(utility, issues, systems)
    for n in range(len(cases)):
        apart = [i for i in range(len(cases)) if folds[i] != folds[n]]
        assert fixed[n] == np.argmax(utility[apart].mean(axis=0))
        same = [i for i in range(len(cases)) if issues[i] == issues[n] and systems[i] != systems[n]]
        assert prior[n] == np.argmax(utility[same].mean(axis=0))


def test_without_another_system_the_prior_abstains() -> None:
    trials = many_trials(n_systems=1)
    table = figures_of(trials, some_actions(6))
    assert figure(table, "abstain_ratio", policy="prior_of_other_systems")["value"] == 1.0


def test_a_tie_goes_to_the_lower_action_however_its_sum_was_rounded() -> None:
    assert best_action(np.array([0.1 + 0.2, 0.3, 0.3 + 1e-15])) == 0
    some = np.array([[np.nan, 1.0, 1.0, 0.5], [np.nan] * 4])
    assert best_action(some).tolist() == [1, -1]
    assert best_action(some, "last").tolist() == [2, -1]


def test_an_action_that_some_case_lacks_is_no_candidate_for_the_fixed_one() -> None:
    assert best_fixed(np.array([[0.1, 0.9], [0.2, np.nan]])).tolist() == [0, 0]


def test_best_fixed_can_be_chosen_on_other_cases() -> None:
    trials, others = many_trials(seed=7), many_trials(seed=8)
    training = replay(others, BUDGETS).outcomes
    table = figures_of(trials, some_actions(18), training=training)
    utility = np.array(
        [[naive_utility(a, *b, WEIGHT) for b in BUDGETS] for a in cases_of(others).values()]
    )
    chosen = BUDGETS[int(np.argmax(utility.mean(axis=0)))]
    scored = [naive_utility(a, *chosen, WEIGHT) for a in cases_of(trials).values()]
    value = figure(table, "utility", policy="best_fixed_training")["value"]
    assert value == pytest.approx(np.mean(scored))


def test_what_cannot_be_computed_has_no_value() -> None:
    trials = [a_trial(n, issue=i, passed=False) for n in (1, 2) for i in ("a", "b")]
    table = figures_of(trials, np.zeros(2, dtype=int))
    for name in ("minutes_per_pass", "mean_minutes_to_pass", "usd_per_pass"):
        assert figure(table, name)["value"] is None
    assert figure(table, "pass_rate")["value"] == 0.0
    alone = figures_of([a_trial(1), a_trial(2)], np.zeros(1, dtype=int))
    assert figure(alone, "pass_rate")["value"] is None  # one issue tells nothing of its spread
    assert interval_of(np.full(101, np.nan), n=9, n_issues=9) is None


def test_dollars_are_told_where_all_are_known() -> None:
    trials = [a_trial(n, issue=i, usd=2.0, passed=n == 1) for n in (1, 2) for i in ("a", "b")]
    table = figures_of(trials, np.zeros(2, dtype=int))
    assert figure(table, "usd_per_pass")["value"] == pytest.approx(4.0)


def test_a_case_without_an_outcome_of_the_choice_counts_for_neither_side() -> None:
    trials = [t for t in many_trials() if t.attempt <= (2 if t.issue_id == "task-0" else 3)]
    table = figures_of(trials, np.full(18, 11))  # three candidates
    assert figure(table, "pass_rate")["n"] == 15
    row = figure(table, "utility_difference", "default")
    utility = [
        naive_utility(a, 3, 30, WEIGHT) - naive_utility(a, 1, 30, WEIGHT)
        for a in cases_of(trials).values()
        if len(a) == 3
    ]
    assert row["value"] == pytest.approx(np.mean(utility))


def test_wrong_questions_are_refused() -> None:
    outcomes = replay([a_trial(1), a_trial(1, issue="task-2")], BUDGETS).outcomes
    cases = sorted(outcomes["case_id"].unique())
    nobody = np.zeros(2, dtype=bool)
    choices = choices_table("mine", cases, np.zeros(2, dtype=int), abstains=nobody)
    defaults = dict.fromkeys(cases, 0)

    def ask(table: pl.DataFrame, **options: object) -> None:
        given = {"defaults": defaults, "cost_weights": (WEIGHT,), "n_resamples": 5} | options
        outcome_figures(outcomes, table, **given)  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="no default"):
        ask(choices, defaults={})
    with pytest.raises(ValueError, match="no fold 'task'"):
        ask(choices, folds={"task": {}})
    with pytest.raises(ValueError, match="unknown cases"):
        ask(choices.with_columns(case_id=pl.lit("?") + pl.col("case_id")))
    with pytest.raises(ValueError, match="names of yardsticks"):
        ask(choices.with_columns(policy=pl.lit("oracle")))
    both = choices.with_columns(cost_weight=pl.lit(WEIGHT))
    with pytest.raises(ValueError, match="chooses twice"):
        ask(pl.concat([choices, both]))
    with pytest.raises(ValueError, match="1 actions for 2 cases"):
        choices_table("mine", cases, np.zeros(1, dtype=int), abstains=nobody)
    with pytest.raises(ValueError, match="at least one case"):
        OutcomeBench(outcomes.clear())
    with pytest.raises(ValueError, match="two outcomes on the same attempts"):
        OutcomeBench(pl.concat([outcomes, outcomes]))
