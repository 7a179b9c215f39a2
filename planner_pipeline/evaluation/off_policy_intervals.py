"""Intervals of off-policy estimates, clustered by issue.

Belongs here: standard errors by the influence of issues, the bootstrap of whole issues, what an
interval is made of. Does not: the estimators (``off_policy``). Shapes: n decisions, G clusters, R
resamples, K = 7 sums.

Four kinds of a 95 % interval, all from the sums of each cluster:
- ``percentile``: percentiles of the estimate over resamples of whole clusters.
- ``expanded``: the same at percentiles as far out as t is beyond the normal (Hesterberg 2015).
- ``bootstrap_t``: estimate +- t x the standard deviation over the same resamples.
- ``sandwich_t``: estimate +- t x the standard error by cluster influence, scaled by G / (G - 1).

t has the degrees of freedom that the error rests on (``effective_df``). A few decisions of large
weight make an error out of few squares, however many decisions there are: with G - 1 degrees of
freedom intervals were too narrow in every replay study of poor overlap. docs/off-policy.md has what
each kind covers where the truth is known, and why ``DEFAULT_KIND`` is the one.

What is held fixed while clusters are resampled: the reward model and SWITCH's threshold.
"""

from typing import Final, Literal, cast, get_args

import msgspec
import numpy as np
from scipy.special import ndtr
from scipy.stats import t as student

from planner_pipeline.evaluation.bootstrap import N_BOOTSTRAP, PERCENTILES
from planner_pipeline.evaluation.off_policy import (
    Estimator,
    LoggedDecisions,
    Sums,
    gain_of,
    known_estimators,
    row_sums,
    slopes,
    value_of,
)

IntervalKind = Literal["percentile", "expanded", "bootstrap_t", "sandwich_t"]
INTERVAL_KINDS: Final[tuple[IntervalKind, ...]] = get_args(IntervalKind)
DEFAULT_KIND: Final[IntervalKind] = "bootstrap_t"
# its error is the model's own, which no resample of decisions shows: measured, such an interval
# covers the truth in one replay of five
WITHOUT_INTERVAL: Final = ("dm",)
MOST_UNDEFINED: Final = 0.05  # of resamples without a value, before an interval is none


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A value with its standard error and 95 % interval; None where it cannot be told, which is
    always so for the intervals of ``WITHOUT_INTERVAL``.

    Attributes:
        standard_error: Of the value, by cluster influence, in the value's unit.
        gain, gain_low, gain_high: The value minus the mean of what ran, with its interval: the two
            are told from the same decisions, so their differences pair up.
    """

    value: float | None
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None


class Resampled(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of clusters, and those of every bootstrap sample of them.

    Attributes:
        sums: (G, K) in the order of ``Sums``.
        totals: Each () float64.
        drawn: Each (R,).
    """

    sums: np.ndarray
    totals: Sums
    drawn: Sums


def cluster_sums(rows: Sums, cluster: np.ndarray) -> np.ndarray:
    """(G, K) sums of each cluster, clusters in the order of their names."""
    _, position = np.unique(cluster, return_inverse=True)
    n_clusters = int(position.max()) + 1 if len(position) else 0
    return np.stack([np.bincount(position, column, n_clusters) for column in rows], axis=1)


def draw_counts(n_clusters: int, *, n_resamples: int = N_BOOTSTRAP, seed: int = 0) -> np.ndarray:
    """(R, G) float64, how often each cluster is in each bootstrap sample."""
    rng = np.random.default_rng(seed)
    even = np.full(n_clusters, 1 / n_clusters)
    return rng.multinomial(n_clusters, even, n_resamples).astype(np.float64)


def resample(sums: np.ndarray, counts: np.ndarray) -> Resampled:
    """Everything intervals need.

    Args:
        sums: (G, K) of ``cluster_sums``.
        counts: (R, G) of ``draw_counts``.
    """
    return Resampled(sums=sums, totals=Sums(*sums.sum(axis=0)), drawn=Sums(*(counts @ sums).T))


def influence(estimator: Estimator, data: Resampled) -> np.ndarray:
    """(G,) how much each cluster moves the estimate, summing to 0."""
    return cast(np.ndarray, data.sums @ slopes(estimator, data.totals))


def standard_error(of_cluster: np.ndarray) -> float:
    """Of an estimate, by (G,) influences; G is at least 2."""
    n = len(of_cluster)
    return float(np.sqrt((of_cluster**2).sum() * n / (n - 1)))


def effective_df(of_cluster: np.ndarray) -> float:
    """Degrees of freedom of a standard error, by (G,) influences: (sum f^2)^2 / sum f^4 - 1.

    As many equal squares would vary as little as these do (Satterthwaite 1946): G - 1 where all
    clusters move the estimate alike, few where few decide. At least 1, at most G - 1.
    """
    squares = of_cluster**2
    fourth = float((squares**2).sum())
    if fourth <= 0:
        return float(len(of_cluster) - 1)
    return min(max(float(squares.sum()) ** 2 / fourth - 1, 1.0), len(of_cluster) - 1)


def interval(
    estimator: Estimator, data: Resampled, kind: IntervalKind = DEFAULT_KIND
) -> tuple[float, float] | None:
    """Bounds of a 95 % interval; None where fewer than two clusters or too few resamples tell."""
    value = float(value_of(estimator, data.totals))
    if len(data.sums) < 2 or not np.isfinite(value):
        return None
    moves = influence(estimator, data)
    reach = float(student.ppf(PERCENTILES[1] / 100, effective_df(moves)))
    if kind == "sandwich_t":
        return _around(value, reach * standard_error(moves))
    draws = value_of(estimator, data.drawn)  # (R,)
    defined = draws[np.isfinite(draws)]
    if len(defined) < (1 - MOST_UNDEFINED) * len(draws):
        return None
    if kind == "bootstrap_t":
        return _around(value, reach * float(defined.std(ddof=1)))
    outer = 100 * float(ndtr(reach)) if kind == "expanded" else PERCENTILES[1]
    low, high = np.percentile(defined, (100 - outer, outer))
    return float(low), float(high)


def _around(value: float, reach: float) -> tuple[float, float]:
    return value - reach, value + reach


def estimate(
    decisions: LoggedDecisions,
    *,
    kind: IntervalKind = DEFAULT_KIND,
    threshold: float | None = None,
    counts: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Every estimate that can be told, with its interval, by the names of ``ESTIMATORS``.

    It does not ask whether the logs can answer: ``overlap.check_overlap`` does.

    Args:
        kind: Of interval.
        threshold: Of SWITCH; None lets the data choose.
        counts: (R, G) of ``draw_counts``, to share them between calls; None draws them by ``seed``.
    """
    sums = cluster_sums(row_sums(decisions, threshold), decisions.cluster)
    if counts is None:
        counts = draw_counts(max(1, len(sums)), seed=seed)
    data = resample(sums, counts)
    return {
        name: _without_interval(estimator, data)
        if name in WITHOUT_INTERVAL
        else estimate_of(estimator, data, kind)
        for name, estimator in known_estimators(decisions).items()
    }


def _without_interval(estimator: Estimator, data: Resampled) -> Estimate:
    gain = value_of(gain_of(estimator), data.totals)
    return Estimate(value=float(value_of(estimator, data.totals)), gain=float(gain))


def estimate_of(estimator: Estimator, data: Resampled, kind: IntervalKind) -> Estimate:
    """One estimate with its intervals."""
    value = float(value_of(estimator, data.totals))
    if not np.isfinite(value):
        return Estimate(value=None)
    gain = gain_of(estimator)
    low, high = interval(estimator, data, kind) or (None, None)
    gain_low, gain_high = interval(gain, data, kind) or (None, None)
    has_error = len(data.sums) > 1
    return Estimate(
        value=value,
        standard_error=standard_error(influence(estimator, data)) if has_error else None,
        low=low,
        high=high,
        gain=float(value_of(gain, data.totals)),
        gain_low=gain_low,
        gain_high=gain_high,
    )
