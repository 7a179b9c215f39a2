"""Replayed actions against their definition, and what is said of cases that cannot be replayed."""

import math
from itertools import pairwise

import polars as pl
import pytest

from planner_pipeline.bench.replay import (
    Budget,
    case_id_of,
    cases_of,
    expected_outcomes,
    replay,
    winners,
)
from tests.reference.trials import a_trial, many_trials, naive_outcome, naive_utility

BUDGETS = [Budget(k, minutes) for k in (1, 2, 3) for minutes in (5, 10, 15, 30)]


def test_every_action_on_every_case_is_what_its_definition_says() -> None:
    trials = many_trials()
    expected = expected_outcomes(replay(trials, BUDGETS).outcomes, BUDGETS)
    cases = cases_of(trials)
    assert expected.height == len(cases) * len(BUDGETS)
    for row in expected.iter_rows(named=True):
        attempts = cases[row["case_id"]]
        passed, cost, time = naive_outcome(attempts, row["k"], row["minutes"])
        assert BUDGETS[row["action"]] == (row["k"], row["minutes"])
        assert row["n_subsets"] == math.comb(5, row["k"])
        assert row["pass_ratio"] == pytest.approx(passed)
        assert row["pass_std"] == pytest.approx(math.sqrt(passed * (1 - passed)), abs=1e-9)
        assert row["agent_minutes"] == pytest.approx(cost)
        assert row["minutes_to_pass"] == (None if time is None else pytest.approx(time))


def test_more_candidates_and_more_minutes_never_pass_less() -> None:
    expected = expected_outcomes(replay(many_trials(seed=1), BUDGETS).outcomes, BUDGETS)
    for over, along in (("k", "minutes"), ("minutes", "k")):
        for _, rows in expected.group_by("case_id", over):
            ratios = rows.sort(along)["pass_ratio"].to_list()
            assert all(b >= a - 1e-12 for a, b in pairwise(ratios))


def test_an_attempt_that_ends_at_the_limit_passes_and_one_just_after_is_cut() -> None:
    trials = [a_trial(1, minutes=5), a_trial(2, minutes=5.001)]
    rows = replay(trials, [Budget(1, 5)]).outcomes
    assert rows["passed"].to_list() == [True, False]
    assert rows["agent_minutes"].to_list() == [5.0, 5.0]
    assert rows["minutes_to_pass"].to_list() == [5.0, None]


def test_dollars_of_an_attempt_that_was_cut_short_are_not_known() -> None:
    trials = [a_trial(1, minutes=4, usd=1.5), a_trial(2, minutes=8, usd=2.0)]
    outcomes = replay(trials, [Budget(2, 5), Budget(2, 10), Budget(1, 5)]).outcomes
    assert outcomes["cost_usd"].to_list() == [None, 3.5, 1.5, None]
    budgets = [Budget(2, 5), Budget(2, 10), Budget(1, 5)]
    assert expected_outcomes(outcomes, budgets)["cost_usd"].to_list() == [None, 3.5, None]


def test_a_case_without_durations_is_left_out_with_the_reason() -> None:
    trials = [
        a_trial(1, issue="none", minutes=None), a_trial(2, issue="none", minutes=None),
        a_trial(1, issue="some", minutes=None), a_trial(2, issue="some"),
        a_trial(1, issue="timed"),
    ]  # fmt: skip
    found = replay(trials, BUDGETS)
    assert found.outcomes["issue_id"].unique().to_list() == ["timed"]
    assert [(left.case_id, left.reason) for left in found.left_out] == [
        ("bench/alpha/none", "no attempt has a duration"),
        ("bench/alpha/some", "some attempts have no duration"),
    ]


def test_an_action_with_more_candidates_than_attempts_has_no_outcome() -> None:
    found = replay([a_trial(1), a_trial(2)], [Budget(1, 5), Budget(2, 5), Budget(3, 5)])
    assert found.outcomes["action"].to_list() == [0, 0, 1]
    assert replay([], BUDGETS).outcomes.is_empty()


def test_outcomes_on_some_attempts_are_the_rows_that_hold_no_others() -> None:
    trials = many_trials()
    chosen = {1, 3, 4}
    of_some = replay([t for t in trials if t.attempt in chosen], BUDGETS).outcomes
    of_all = replay(trials, BUDGETS).outcomes
    others = pl.col("attempts").list.eval(~pl.element().is_in(list(chosen))).list.any()
    assert of_some.equals(of_all.filter(~others))


def test_the_winner_is_the_best_action_by_naive_utility() -> None:
    trials = many_trials(seed=2)
    expected = expected_outcomes(replay(trials, BUDGETS).outcomes, BUDGETS)
    best = dict(winners(expected, cost_weight=0.02).iter_rows())
    for case_id, attempts in cases_of(trials).items():
        utility = [naive_utility(attempts, *budget, 0.02) for budget in BUDGETS]
        assert utility[best[case_id]] == pytest.approx(max(utility))


def test_of_equal_actions_the_first_wins_or_the_last_where_that_is_asked() -> None:
    quick = [a_trial(n, minutes=n) for n in (1, 2, 3)]  # over within five minutes, so limits tie
    expected = expected_outcomes(replay(quick, BUDGETS).outcomes, BUDGETS)
    assert winners(expected, cost_weight=0.01)["action"].to_list() == [0]
    assert winners(expected, cost_weight=0.01, ties="last")["action"].to_list() == [3]


def test_a_name_with_a_slash_cannot_pass_for_another_case() -> None:
    one = a_trial(system="a/b", issue="c")
    two = a_trial(system="a", issue="b/c")
    assert case_id_of(one) != case_id_of(two)


def test_a_budget_without_candidates_or_time_is_refused() -> None:
    for budget in (Budget(0, 5), Budget(1, 0)):
        with pytest.raises(ValueError, match="at least one candidate"):
            replay([], [budget])
