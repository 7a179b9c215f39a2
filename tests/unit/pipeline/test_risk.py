"""The threshold's promise holds as often as it says, whichever way it was looked for."""

import math

import numpy as np
import pytest
from scipy import stats

from planner_pipeline.evaluation.risk import (
    FAILURE,
    GRID,
    TARGET,
    choose_threshold,
    least_rows,
    upper_bound,
)

N_WORLDS = 400


def a_world(
    rng: np.random.Generator, n: int, worst: float, best: float
) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, and whether following is worse, whose chance falls as confidence grows."""
    confidence = rng.random(n)
    return confidence, rng.random(n) < worst + (best - worst) * confidence


@pytest.mark.parametrize("whole_first", [False, True])
@pytest.mark.parametrize(
    ("n", "worst", "best"),
    [
        (60, 0.11, 0.11),  # nothing may be followed
        (200, 0.11, 0.11),
        (200, 0.2, 0.02),  # the whole is just above the target, the careful half is not
        (300, 0.22, 0.0),
        (150, 0.4, 0.3),
    ],
)
def test_an_accepted_threshold_breaks_its_promise_in_a_tenth_of_the_worlds_at_most(
    n: int, worst: float, best: float, whole_first: bool
) -> None:
    rng = np.random.default_rng(7)
    broken = 0
    for _ in range(N_WORLDS):
        threshold, _ = choose_threshold(
            *a_world(rng, n, worst, best), measure="worse", whole_first=whole_first
        )
        if threshold is not None:
            mean = (threshold + 1) / 2  # of the confidences that are followed
            broken += worst + (best - worst) * mean > TARGET
    assert broken / N_WORLDS <= FAILURE + 3 * math.sqrt(FAILURE * (1 - FAILURE) / N_WORLDS)


@pytest.mark.parametrize("n_worse", [0, 1, 3])
def test_where_the_whole_keeps_it_all_is_followed_at_half_of_the_failure(n_worse: int) -> None:
    n = 120
    is_worse = np.arange(n) < n_worse
    confidence = np.where(is_worse, 0.99, 0.01)  # the worst order there is
    threshold, risk = choose_threshold(confidence, is_worse, measure="worse", whole_first=True)
    assert threshold == 0.0
    assert (risk.n, risk.n_followed, risk.n_worse) == (n, n, n_worse)
    assert risk.bound == pytest.approx(upper_bound(n_worse, n, FAILURE / 2))
    assert stats.binom.cdf(n_worse, n, risk.bound) == pytest.approx(FAILURE / 2)
    assert (risk.target, risk.failure) == (TARGET, FAILURE)


def test_where_the_whole_is_refuted_the_careful_part_may_still_be_followed() -> None:
    n = 200
    confidence = np.linspace(0, 1, n)
    is_worse = confidence < 0.4
    threshold, risk = choose_threshold(confidence, is_worse, measure="worse", whole_first=True)
    assert threshold is not None
    assert 0 < threshold <= 0.4
    assert risk.n_followed >= least_rows(TARGET, FAILURE / 2)
    assert risk.bound <= TARGET
    plain, _ = choose_threshold(confidence, is_worse, measure="worse")
    assert plain is not None
    assert plain <= threshold  # it spends all of the failure on thresholds


def naive_rule(confidence: np.ndarray, is_worse: np.ndarray, each: float) -> float | None:
    """Thresholds from the most careful down, until one is not shown to keep the promise."""
    found = None
    for threshold in GRID:
        some = [bool(w) for c, w in zip(confidence, is_worse, strict=True) if c >= threshold]
        if len(some) < least_rows(TARGET, each):
            continue
        if stats.binom.cdf(sum(some), len(some), TARGET) > each:
            return found
        found = threshold
    return found


@pytest.mark.parametrize("seed", range(20))
def test_without_it_the_rule_is_the_old_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence, is_worse = a_world(rng, 150, 0.25 * rng.random(), 0.0)
    threshold, risk = choose_threshold(confidence, is_worse, measure="worse")
    assert threshold == naive_rule(confidence, is_worse, FAILURE)
    if threshold is not None:
        followed = confidence >= threshold
        assert (risk.n_followed, risk.n_worse) == (followed.sum(), is_worse[followed].sum())
        assert risk.bound == upper_bound(risk.n_worse, risk.n_followed, FAILURE)


@pytest.mark.parametrize("whole_first", [False, True])
@pytest.mark.parametrize("n", [0, 1, 20])
def test_too_few_rows_promise_nothing(n: int, whole_first: bool) -> None:
    threshold, risk = choose_threshold(
        np.ones(n), np.zeros(n, dtype=bool), measure="worse", whole_first=whole_first
    )
    assert threshold is None
    assert (risk.n, risk.n_followed, risk.bound) == (n, 0, 1.0)
