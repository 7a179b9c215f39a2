"""Points of cost against quality are the plain means of what their actions came to."""

from collections.abc import Sequence

import msgspec
import numpy as np
import polars as pl
import pytest

from planner_pipeline.bench.replay import Budget, cases_of, replay
from planner_pipeline.evaluation.bootstrap import Interval, row_counts
from planner_pipeline.evaluation.frontier import (
    BEST_FIXED,
    Expected,
    FrontierPoint,
    expected_points,
    frontier_points,
)
from planner_pipeline.evaluation.outcome_bench import OutcomeBench
from planner_pipeline.sources.trials import Trial
from tests.reference.trials import a_trial, many_trials, naive_outcome

BUDGETS = [Budget(k, minutes) for k in (1, 2) for minutes in (10, 30)]
NAMES = [f"{k} x {minutes}" for k, minutes in BUDGETS]
MINUTE, N_RESAMPLES = 0.02, 100


def priced(trials: Sequence[Trial]) -> list[Trial]:
    """Attempts within every limit, at known dollars, so that each outcome's are known."""
    return [
        msgspec.structs.replace(t, duration_ms=(t.duration_ms or 0) // 10, cost_usd=0.1 * t.attempt)
        for t in trials
    ]


def bench_of(trials: Sequence[Trial]) -> OutcomeBench:
    return OutcomeBench(replay(trials, BUDGETS).outcomes, n_resamples=N_RESAMPLES)


def points_of(
    bench: OutcomeBench, mine: np.ndarray, *, usd: float = 0.0, minute: float = MINUTE
) -> dict[str, FrontierPoint]:
    points = frontier_points(
        bench, action_names=NAMES, baseline=np.full(bench.n_cases, 3),
        policies={"mine": ("value", mine)}, minute_weight=minute, usd_weight=usd,
    )  # fmt: skip
    return {point.name: point for point in points}


def value(interval: Interval | None) -> float:
    assert interval is not None
    assert interval.low <= interval.value <= interval.high
    return interval.value


def naive(trials: Sequence[Trial], action: int) -> tuple[float, float, float]:
    """(N,) means of passing, minutes and dollars."""
    rows = []
    for attempts in cases_of(trials).values():
        k, minutes = BUDGETS[action]
        passed, cost, _ = naive_outcome(attempts, k, minutes)
        rows.append((passed, cost, k * np.mean([t.cost_usd or 0.0 for t in attempts])))
    return tuple(np.array(rows).T)  # type: ignore[return-value]


@pytest.mark.parametrize("usd_weight", [0.0, 0.3, 5.0])
def test_every_point_is_what_brute_force_finds(usd_weight: float) -> None:
    trials = priced(many_trials())
    bench = bench_of(trials)
    told = [naive(trials, action) for action in range(4)]
    utility = np.array([p - MINUTE * m - usd_weight * u for p, m, u in told]).T  # (N, A)
    mine = np.arange(bench.n_cases) % 4
    points = points_of(bench, mine, usd=usd_weight)
    fixed = int(utility.mean(axis=0).argmax())
    chosen = {name: np.full(18, action) for action, name in enumerate(NAMES)}
    chosen |= {
        "baseline": np.full(18, 3), BEST_FIXED: np.full(18, fixed), "mine": mine,
        "oracle": utility.argmax(axis=1),
    }  # fmt: skip
    assert set(points) == set(chosen)
    rows = np.arange(18)
    for name, actions in chosen.items():
        point = points[name]
        for figure, number in (("pass_rate", 0), ("minutes", 1), ("usd", 2)):
            plain = np.array([told[a][number][row] for row, a in enumerate(actions)]).mean()
            assert value(getattr(point, figure)) == pytest.approx(plain), (name, figure)
        mean = utility[rows, actions].mean()
        assert value(point.utility) == pytest.approx(mean)
        if name == "baseline":
            assert point.gain is None
        else:
            assert value(point.gain) == pytest.approx(mean - utility[:, 3].mean())
        if name == BEST_FIXED:
            assert point.over_best_fixed is None
        else:
            assert value(point.over_best_fixed) == pytest.approx(mean - utility[:, fixed].mean())
        assert point.differs == pytest.approx((actions != 3).mean())


def test_a_dollar_changes_the_best_fixed_action_and_the_oracle() -> None:
    passing = [
        a_trial(n, system=s, issue=i, passed=n == 1, minutes=2.0, usd=1.0)
        for s in ("a", "b")
        for i in ("x", "y", "z")
        for n in (1, 2)
    ]
    bench = bench_of(passing)
    baseline = np.full(6, 3)
    cheap, dear = (points_of(bench, baseline, usd=usd) for usd in (0.0, 10.0))
    assert value(cheap[BEST_FIXED].pass_rate) == 1.0  # the vote of two
    assert value(dear[BEST_FIXED].pass_rate) == 0.5
    assert value(cheap["oracle"].usd) == pytest.approx(2.0)
    assert value(dear["oracle"].usd) == pytest.approx(1.0)


def test_what_is_gained_on_the_best_fixed_action_is_paired() -> None:
    """A policy that is a constant better in every case is so with certainty."""
    rng = np.random.default_rng(0)
    p = rng.random(30)
    expected = Expected(
        p_pass=np.stack([p, p - 0.1, p + 0.05], axis=1), minutes=np.zeros((30, 3)),
        usd=np.full((30, 3), np.nan), issues=[f"task-{i}" for i in range(30)],
    )  # fmt: skip
    (point,) = (
        point
        for point in expected_points(
            expected, action_names=["a", "b", "c"], baseline=np.zeros(30, dtype=int),
            policies={"worse": ("value", np.ones(30, dtype=int))}, minute_weight=0.01,
        )
        if point.name == "worse"
    )  # fmt: skip
    gain, over = point.gain, point.over_best_fixed
    assert gain is not None
    assert over is not None
    assert (gain.value, gain.low, gain.high) == pytest.approx((-0.1, -0.1, -0.1))
    assert (over.value, over.low, over.high) == pytest.approx((-0.15, -0.15, -0.15))
    assert point.utility is not None
    assert point.utility.high - point.utility.low > 0.1  # the cases themselves differ
    assert point.usd is None


def test_replayed_gains_resample_both_policies_alike() -> None:
    trials = priced(many_trials())
    bench = bench_of(trials)
    points = points_of(bench, np.full(18, 3))
    same = points["mine"].gain
    assert same is not None
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert points["mine"].utility == points["baseline"].utility


def test_expected_points_are_means_over_resampled_issues() -> None:
    rng = np.random.default_rng(1)
    p, minutes, usd = rng.random((3, 20, 4))
    issues = [f"task-{i // 2}" for i in range(20)]
    points = {
        point.name: point
        for point in expected_points(
            Expected(p, minutes, usd, issues), action_names=NAMES,
            baseline=np.full(20, 1), policies={}, minute_weight=0.5, usd_weight=0.25,
        )
    }  # fmt: skip
    utility = p - 0.5 * minutes - 0.25 * usd
    fixed = int(utility.mean(axis=0).argmax())
    assert points[BEST_FIXED].utility == points[NAMES[fixed]].utility
    counts = row_counts(issues, np.random.default_rng(0), 1000)
    draws = counts @ utility[:, 2] / counts.sum(axis=1)
    told = points[NAMES[2]].utility
    assert told is not None
    assert told.value == pytest.approx(utility[:, 2].mean())
    assert (told.low, told.high) == pytest.approx(tuple(np.percentile(draws, (2.5, 97.5))))
    assert "oracle" not in points  # nobody knows the best action of a single decision


def test_a_case_without_an_outcome_of_the_action_is_in_no_mean() -> None:
    trials = [
        *many_trials(n_systems=2),
        *(a_trial(1, system="solo", issue=f"task-{i}") for i in (0, 1)),
    ]
    outcomes: pl.DataFrame = replay(trials, BUDGETS).outcomes
    bench = OutcomeBench(outcomes, n_resamples=N_RESAMPLES)
    votes = points_of(bench, np.full(14, 3))["mine"]
    assert votes.pass_rate is not None
    assert votes.pass_rate.n == 12
    single = points_of(bench, np.full(14, 1))["mine"]
    assert single.pass_rate is not None
    assert single.pass_rate.n == 14
    assert single.gain is not None
    assert single.gain.n == 12
