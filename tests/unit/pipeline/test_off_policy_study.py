"""The study of off-policy estimators: replays come from the table, and its truth is the table's."""

import numpy as np
import polars as pl
import pytest

from planner_pipeline.bench.replay import Budget, cases_of, replay
from planner_pipeline.evaluation.off_policy_intervals import DEFAULT_KIND, INTERVAL_KINDS
from planner_pipeline.evaluation.off_policy_study import (
    KnownWorld,
    Pairing,
    epsilon_greedy,
    known_world,
    off_policy_study,
    softmax_of,
    sub_sample,
)
from planner_pipeline.evaluation.outcome_bench import OutcomeBench
from planner_pipeline.evaluation.reward_model import folds_of
from tests.reference.trials import many_trials, naive_utility

BUDGETS = [Budget(k, minutes) for k in (1, 2) for minutes in (10, 30)]
WEIGHT = 0.01


def a_world() -> tuple[KnownWorld, OutcomeBench]:
    bench = OutcomeBench(replay(many_trials(), BUDGETS).outcomes, n_resamples=0)
    features = np.random.default_rng(0).normal(size=(bench.n_cases, 2))
    return known_world(bench, cost_weight=WEIGHT, features=features), bench


def a_pairing(world: KnownWorld) -> Pairing:
    n_cases, n_actions = world.first.shape
    best = world.expected.argmax(axis=1)
    return Pairing(
        logger="epsilon", judged="best",
        logging=epsilon_greedy(np.zeros(n_cases, dtype=int), n_actions, 0.6),
        target=np.eye(n_actions)[best],
    )  # fmt: skip


def test_the_truth_is_the_tables_own_mean() -> None:
    world, bench = a_world()
    assert world.expected == pytest.approx(bench.expected_utility(WEIGHT))
    target = np.zeros(world.first.shape)
    target[:, 1] = 1.0
    of_case = [
        naive_utility(attempts, *BUDGETS[1], WEIGHT)
        for attempts in cases_of(many_trials()).values()
    ]
    assert world.truth(target) == pytest.approx(np.mean(of_case))


def test_a_case_without_an_outcome_has_no_truth() -> None:
    outcomes = replay(many_trials(), BUDGETS).outcomes
    case = outcomes["case_id"][0]
    lacking = outcomes.filter((pl.col("case_id") != case) | (pl.col("action") != 2))
    bench = OutcomeBench(lacking, n_resamples=0)
    with pytest.raises(ValueError, match="no outcome"):
        known_world(bench, cost_weight=WEIGHT, features=np.zeros((bench.n_cases, 1)))


def test_a_replay_draws_actions_as_its_logger_says_and_rewards_from_the_table() -> None:
    world, _ = a_world()
    pairing = a_pairing(world)
    logs = sub_sample(
        world, logging=pairing.logging, target=pairing.target, n=4_000,
        rng=np.random.default_rng(1),
    )  # fmt: skip
    shares = np.bincount(logs.action, minlength=4) / 4_000
    assert shares == pytest.approx([0.55, 0.15, 0.15, 0.15], abs=0.03)
    assert set(np.round(logs.reward, 9)) <= set(np.round(world.reward, 9))
    assert logs.weights.mean() == pytest.approx(1, abs=0.1)
    assert len(set(folds_of(logs.cluster))) == 5


def test_loggers_are_distributions() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 3)) * 1_000
    for table in (softmax_of(scores, 0.1), epsilon_greedy(np.zeros(5, dtype=int), 3, 0.3)):
        assert table.sum(axis=1) == pytest.approx(np.ones(5))
        assert (table >= 0).all()


@pytest.mark.slow
def test_dr_is_unbiased_and_its_intervals_cover_as_they_promise() -> None:
    world, _ = a_world()
    table = off_policy_study(world, [a_pairing(world)], sizes=(500,), n_replays=500)
    (row,) = table.filter(estimator="dr", interval=DEFAULT_KIND).iter_rows(named=True)
    assert abs(row["bias"]) < 4 * row["bias_error"]
    assert 0.90 <= row["coverage"] <= 0.98
    assert row["no_interval"] == 0


def test_more_decisions_tell_more_and_the_same_seed_tells_the_same() -> None:
    world, _ = a_world()
    found = [
        off_policy_study(world, [a_pairing(world)], sizes=(50, 400), n_replays=30, n_resamples=50)
        for _ in range(2)
    ]
    assert found[0].equals(found[1])
    assert found[0].height == 2 * 6 * len(INTERVAL_KINDS)
    small, large = (found[0].filter(estimator="dr", interval=DEFAULT_KIND, n=n) for n in (50, 400))
    assert large["rmse"][0] < small["rmse"][0]
    assert large["effective_n"][0] > small["effective_n"][0]
