"""From which confidence on a model may be followed, with a promise about how often that is worse.

Belongs here: the threshold and its promise, and whether later rows keep it. Does not: what "worse"
means (the callers), applying the threshold (``planner_runtime.calibration``).
Spec: sections 7.4 and 10.3; Angelopoulos et al. 2021, arXiv 2110.01052 (Learn then Test).

Thresholds of a fixed grid are tested from the most careful down, each by an exact binomial test of
"more than ``target`` of the followed decisions are worse than the default". The first that is not
refuted ends it, so the chance that any accepted threshold breaks the promise is at most
``failure``, whatever the model and the data's distribution are. That needs rows that are
exchangeable with those to come and that the model, its stopping and its temperatures have not seen;
rows of one issue depend on each other, and times change, so the promise is checked again on the
test split.
"""

import math
from typing import Final

import numpy as np
from scipy import stats

from planner_runtime.calibration import RiskControl

TARGET: Final = 0.1  # of the followed decisions
FAILURE: Final = 0.1  # of the promise
GRID: Final = tuple(step / 200 for step in range(199, -1, -1))
SPARED: Final = 1  # worse decisions that the first test must survive, so that one does not end it


def least_rows(target: float, failure: float) -> int:
    """Followed rows that the first test needs to pass with one worse among them.

    >>> least_rows(0.1, 0.1)
    38
    """
    n = SPARED + 1
    while stats.binom.cdf(SPARED, n, target) > failure:
        n += 1
    return n


def upper_bound(n_worse: int, n: int, failure: float) -> float:
    """What a share is not above, with probability 1 - ``failure``. Source: Clopper, Pearson 1934.

    >>> round(upper_bound(0, 22, 0.1), 3)
    0.099
    """
    return 1.0 if n_worse >= n else float(stats.beta.ppf(1 - failure, n_worse + 1, n - n_worse))


def choose_threshold(
    confidence: np.ndarray,
    is_worse: np.ndarray,
    *,
    measure: str,
    target: float = TARGET,
    failure: float = FAILURE,
    whole_first: bool = False,
) -> tuple[float | None, RiskControl]:
    """The lowest threshold that keeps the promise, None where none does, and the promise.

    Args:
        confidence: (N,) of decisions that nothing of the model was fitted on.
        is_worse: (N,) bool, whether following the model was worse than the default.
        measure: What "worse" means, in words.
        whole_first: Spend half of ``failure`` on following every decision, and the other half on
            the thresholds where that is refuted (Bonferroni). For policies whose choices are
            careful by themselves.
    """
    n, each = len(confidence), failure
    least = least_rows(target, each)
    found: tuple[float, int, int] | None = None
    grid: tuple[float, ...] = GRID
    if whole_first:
        each = failure / 2
        n_worse = int(is_worse.sum())
        if n and stats.binom.cdf(n_worse, n, target) <= each:
            found, grid = (0.0, n, n_worse), ()
        least = least_rows(target, each)
    for threshold in grid:
        followed = confidence >= threshold
        n_followed = int(followed.sum())
        if n_followed < least:
            continue
        n_worse = int(is_worse[followed].sum())
        if stats.binom.cdf(n_worse, n_followed, target) > each:
            break
        found = threshold, n_followed, n_worse
    threshold, n_followed, n_worse = found or (math.inf, 0, 0)
    promise = RiskControl(
        target=target,
        failure=failure,
        n=n,
        n_followed=n_followed,
        n_worse=n_worse,
        bound=upper_bound(n_worse, n_followed, each),
        measure=measure,
    )
    return (None if found is None else threshold), promise
