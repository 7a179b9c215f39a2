"""Intervals of off-policy estimates, clustered by issue.

Belongs here: standard errors by the influence of issues, percentile and studentised bootstraps of
whole issues. Does not: the estimators (``off_policy``). Shapes: n decisions, G clusters, R
resamples, K = 7 sums.

Three kinds of a 95 % interval, all from the sums of each cluster:
- ``normal``: estimate +- t x standard error; the error is that of cluster influences (a sandwich,
  scaled by G / (G - 1)), t has G - 1 degrees of freedom.
- ``percentile``: percentiles of the estimate over resamples of whole clusters.
- ``studentised``: percentiles of (resampled estimate - estimate) / resampled standard error, times
  the estimate's own error, on the other side (bootstrap-t; Efron 1979, Hall 1988). It is the
  default: weights are skewed, and it is the one that follows them. docs/off-policy.md has what each
  covers where the truth is known.

What is held fixed while clusters are resampled: the reward model and SWITCH's threshold.
"""

from typing import Final, Literal, cast, get_args

import msgspec
import numpy as np
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

IntervalKind = Literal["normal", "percentile", "studentised"]
INTERVAL_KINDS: Final[tuple[IntervalKind, ...]] = get_args(IntervalKind)
DEFAULT_KIND: Final[IntervalKind] = "studentised"
MOST_UNDEFINED: Final = 0.05  # of resamples without a value, before an interval is none
_UPPER: Final = np.triu_indices(len(Sums._fields))


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A value with its standard error and 95 % interval; None where it cannot be told.

    Attributes:
        standard_error: Of the value, by cluster influence, in the value's unit.
        gain, gain_low, gain_high: The value minus the mean of what ran, with its interval: the two
            are told from the same decisions, so this is narrower than their own intervals suggest.
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
        totals: Each () float64.
        moments: (28,) sums of products of pairs of sums over clusters, upper triangle.
        drawn_totals: Each (R,).
        drawn_moments: (R, 28).
        n_clusters: G.
    """

    totals: Sums
    moments: np.ndarray
    drawn_totals: Sums
    drawn_moments: np.ndarray
    n_clusters: int


def cluster_sums(rows: Sums, cluster: np.ndarray) -> np.ndarray:
    """(G, K) sums of each cluster, clusters in the order of their numbers."""
    _, position = np.unique(cluster, return_inverse=True)
    n_clusters = int(position.max()) + 1 if len(position) else 0
    return np.stack([np.bincount(position, column, n_clusters) for column in rows], axis=1)


def draw_counts(n_clusters: int, *, n_resamples: int = N_BOOTSTRAP, seed: int = 0) -> np.ndarray:
    """(R, G) float64, how often each cluster is in each bootstrap sample."""
    rng = np.random.default_rng(seed)
    even = np.full(n_clusters, 1 / n_clusters)
    return cast(np.ndarray, rng.multinomial(n_clusters, even, n_resamples).astype(np.float64))


def resample(sums: np.ndarray, counts: np.ndarray) -> Resampled:
    """Everything intervals need.

    Args:
        sums: (G, K) of ``cluster_sums``.
        counts: (R, G) of ``draw_counts``.
    """
    products = sums[:, _UPPER[0]] * sums[:, _UPPER[1]]  # (G, 28)
    drawn = counts @ np.concatenate([sums, products], axis=1)
    width = sums.shape[1]
    return Resampled(
        totals=Sums(*sums.sum(axis=0)),
        moments=products.sum(axis=0),
        drawn_totals=Sums(*drawn[:, :width].T),
        drawn_moments=drawn[:, width:],
        n_clusters=len(sums),
    )


def _error(slope: np.ndarray, moments: np.ndarray, n_clusters: int) -> np.ndarray:
    """Root of the summed squares of cluster influences, of a (..., K) slope."""
    pairs = slope[..., _UPPER[0]] * slope[..., _UPPER[1]]
    twice = np.where(_UPPER[0] == _UPPER[1], 1.0, 2.0)
    squares = (pairs * twice * moments).sum(axis=-1)
    return cast(np.ndarray, np.sqrt(np.maximum(squares, 0.0) * n_clusters / (n_clusters - 1)))


def standard_error(estimator: Estimator, sums: np.ndarray) -> float:
    """Standard error of an estimate by the influence of its clusters, (G, K) sums; G at least 2."""
    influence = sums @ slopes(estimator, Sums(*sums.sum(axis=0)))  # (G,)
    n = len(sums)
    return float(np.sqrt((influence**2).sum() * n / (n - 1)))


def interval(
    estimator: Estimator, sums: np.ndarray, drawn: Resampled, kind: IntervalKind = DEFAULT_KIND
) -> tuple[float, float] | None:
    """Bounds of a 95 % interval; None where fewer than two clusters or too few resamples tell."""
    if drawn.n_clusters < 2:
        return None
    value = float(value_of(estimator, drawn.totals))
    error = standard_error(estimator, sums)
    if not np.isfinite(value):
        return None
    tiny = 1e-7 * (1.0 + abs(value))  # an error below it is rounding: nothing varies
    if kind == "normal" or error < tiny:
        reach = float(student.ppf(PERCENTILES[1] / 100, drawn.n_clusters - 1)) * error
        return value - reach, value + reach
    draws = value_of(estimator, drawn.drawn_totals)  # (R,)
    if kind == "studentised":
        slope = slopes(estimator, drawn.drawn_totals)  # (R, K)
        errors = _error(slope, drawn.drawn_moments, drawn.n_clusters)
        scaled = np.full(len(draws), np.nan)
        np.divide(draws - value, errors, out=scaled, where=errors > tiny)
        draws = scaled
    defined = draws[np.isfinite(draws)]
    if len(defined) < (1 - MOST_UNDEFINED) * len(draws):
        return None
    low, high = np.percentile(defined, PERCENTILES)
    if kind == "studentised":
        return float(value - high * error), float(value - low * error)
    return float(low), float(high)


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
    drawn = resample(sums, counts)
    return {
        name: _estimate(estimator, sums, drawn, kind)
        for name, estimator in known_estimators(decisions).items()
    }


def _estimate(
    estimator: Estimator, sums: np.ndarray, drawn: Resampled, kind: IntervalKind
) -> Estimate:
    value = float(value_of(estimator, drawn.totals))
    if not np.isfinite(value):
        return Estimate(value=None)
    gain = gain_of(estimator)
    low, high = interval(estimator, sums, drawn, kind) or (None, None)
    gain_low, gain_high = interval(gain, sums, drawn, kind) or (None, None)
    return Estimate(
        value=value,
        standard_error=standard_error(estimator, sums) if len(sums) > 1 else None,
        low=low,
        high=high,
        gain=float(value_of(gain, drawn.totals)),
        gain_low=gain_low,
        gain_high=gain_high,
    )
