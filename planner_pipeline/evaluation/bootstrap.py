"""Percentile bootstrap over issues: what an interval is, and the resamples it comes from.

Belongs here: drawing whole issues, whose rows depend on each other, and percentiles of what was
drawn. Does not: the statistics (``diagnostics``, ``outcomes``). Source: spec section 8;
reference/models.md 2.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np

N_BOOTSTRAP: Final = 1_000
PERCENTILES: Final = (2.5, 97.5)


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A figure, its 95 % percentile bootstrap interval over issues, and the rows it rests on."""

    value: float
    low: float
    high: float
    n: int
    n_issues: int


def _groups(issues: Sequence[str]) -> list[np.ndarray]:
    """Row indices of each issue, in the order of their first rows."""
    rows_of: dict[str, list[int]] = {}
    for row, issue in enumerate(issues):
        rows_of.setdefault(issue, []).append(row)
    return [np.asarray(rows) for rows in rows_of.values()]


def _resamples(issues: list[str], rng: np.random.Generator) -> list[np.ndarray]:
    """Row indices of each bootstrap sample: whole issues are drawn, since their rows depend."""
    groups = _groups(issues)
    return [
        np.concatenate([groups[g] for g in rng.integers(0, len(groups), len(groups))])
        for _ in range(N_BOOTSTRAP)
    ]


def row_counts(
    issues: Sequence[str], rng: np.random.Generator, n_resamples: int = N_BOOTSTRAP
) -> np.ndarray:
    """How often each row is in each bootstrap sample of whole issues.

    Returns:
        (R, N) float64, equal for rows of one issue.
    """
    groups = _groups(issues)
    drawn = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=n_resamples)
    counts = np.empty((n_resamples, len(issues)))
    for group, rows in enumerate(groups):
        counts[:, rows] = drawn[:, group, None]
    return counts


class Bootstrap:
    """Intervals of any statistic over one fixed set of resamples, so that differences pair up."""

    def __init__(self, issues: list[str], seed: int) -> None:
        self._n, self._issues = len(issues), issues
        self._samples = _resamples(issues, np.random.default_rng(seed)) if issues else []

    def interval(
        self, statistic: Callable[[np.ndarray], float], rows: np.ndarray | None = None
    ) -> Interval | None:
        """The statistic over ``rows`` (a bool mask; None for all) with its interval; None where
        the rows are of fewer than two issues, since nothing then tells how far it may be off.
        """
        mask = np.ones(self._n, dtype=bool) if rows is None else rows
        n_issues = len({issue for issue, is_in in zip(self._issues, mask, strict=True) if is_in})
        if n_issues < 2:
            return None
        values = [statistic(s[mask[s]]) for s in self._samples if mask[s].any()]
        low, high = np.percentile(values, PERCENTILES)
        return Interval(
            value=statistic(np.flatnonzero(mask)),
            low=float(low),
            high=float(high),
            n=int(mask.sum()),
            n_issues=n_issues,
        )

    def mean(self, values: np.ndarray, rows: np.ndarray | None = None) -> Interval | None:
        """Interval of a mean."""
        return self.interval(lambda index: float(values[index].mean()), rows)


def interval_of(draws: np.ndarray, *, n: int, n_issues: int) -> Interval | None:
    """Interval of a statistic that was worked out on the data and on every resample.

    Args:
        draws: (R + 1,) the data's own figure first; NaN where it is not defined.

    Returns:
        None where the figure is not defined on the data or on more resamples than lie outside the
        interval, and where it rests on fewer than two issues.
    """
    resampled = draws[1:]
    defined = resampled[np.isfinite(resampled)]
    low_percent, high_percent = PERCENTILES
    enough = len(resampled) * (high_percent - low_percent) / 100
    if n_issues < 2 or not np.isfinite(draws[0]) or len(defined) < max(1, enough):
        return None
    low, high = np.percentile(defined, PERCENTILES)
    return Interval(value=float(draws[0]), low=float(low), high=float(high), n=n, n_issues=n_issues)
