"""Figures of the decisions, each with its interval over cases or groups and the rows it rests on.

Belongs here: value, regret, gap closed, pass rate, spending, penalised time, calibration.
Does not: deciding (``crossval``), words about it (``report``). Spec: section 8.2.
Shapes: S decided cases of all repetitions, R resamples.

Best single actions and the oracle are chosen once and stay while cases are resampled: an interval
is about the policy, not about choosing it. A figure that cannot be computed is absent, never 0.
"""

from typing import Final

import msgspec
import numpy as np

from planner_pipeline.evaluation.bootstrap import Interval, interval_of, row_counts
from planner_pipeline.evaluation.reliability import (
    equal_width_bins,
    expected_calibration_error,
    null_level,
)

N_RESAMPLES: Final = 1_000
POLICY, SINGLE, ORACLE = "policy", "best_single", "oracle"


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one chooser's actions.

    Attributes:
        utility, passed, cost_usd, penalised_ms: (S,) NaN where not known.
    """

    utility: np.ndarray
    passed: np.ndarray
    cost_usd: np.ndarray
    penalised_ms: np.ndarray


class ChooserFigures(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Figures of one chooser over the cases in which all three choosers are scored."""

    value: Interval | None = None
    pass_rate: Interval | None = None
    mean_cost_usd: Interval | None = None
    cost_usd_per_pass: Interval | None = None
    penalised_mean_ms: Interval | None = None
    regret: Interval | None = None


class Differences(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The policy against the best single action, in the same cases.

    Attributes:
        value: Above 0 is better.
        pass_rate: Above 0 is better.
        cost_usd_saved: Share of the best single action's spending.
        penalised_mean_ratio: Below 1 is better.
        gap_closed: 0 is the best single action, 1 the oracle.
    """

    gap_closed: Interval | None = None
    value: Interval | None = None
    pass_rate: Interval | None = None
    cost_usd_saved: Interval | None = None
    penalised_mean_ratio: Interval | None = None


class CalibrationFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the chances to pass that were told came true, over ten bins of equal width.

    Attributes:
        ece: Expected calibration error.
        null_mean, null_95: What it would be were they right: the mean and 95th percentile.
        n: Decisions with a known pass.
    """

    ece: float
    null_mean: float
    null_95: float
    n: int
    mean_p_pass: float
    pass_rate: float


class Weighing:
    """Resampled weighted means over one set of decisions; cases are drawn by groups."""

    def __init__(self, groups: list[str], seed: int) -> None:
        names, self._group = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
        rng = np.random.default_rng(seed)
        drawn = row_counts(names.tolist(), rng, N_RESAMPLES)
        self._counts = np.concatenate([np.ones((1, len(names))), drawn])  # (R + 1, groups)

    def mean(self, values: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """(R + 1,) means over the mask, the data's own first."""
        n_groups = self._counts.shape[1]
        of = self._group[mask]
        sizes = self._counts @ np.bincount(of, minlength=n_groups)
        sums = self._counts @ np.bincount(of, values[mask], minlength=n_groups)
        means: np.ndarray = np.full(len(sizes), np.nan)
        np.divide(sums, sizes, out=means, where=sizes > 0)
        return means

    def interval(self, draws: np.ndarray, mask: np.ndarray) -> Interval | None:
        """The interval of a statistic that was worked out over ``mask``."""
        n_groups = len(np.unique(self._group[mask]))
        return interval_of(draws, n=int(mask.sum()), n_issues=n_groups)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, NaN where ``whole`` is not above 0."""
    result = np.full(len(part), np.nan)
    np.divide(part, whole, out=result, where=whole > 1e-12)
    return result


def chooser_figures(
    one: Scored, best: Scored, weighing: Weighing, mask: np.ndarray
) -> ChooserFigures:
    """Figures of one chooser; its regret is to ``best``."""
    value = weighing.mean(one.utility, mask)
    regret = weighing.mean(best.utility, mask) - value
    tells = mask & np.isfinite(one.passed)
    paid = tells & np.isfinite(one.cost_usd)
    timed = mask & np.isfinite(one.penalised_ms)
    cost = weighing.mean(one.cost_usd, paid)
    per_pass = ratio(cost, weighing.mean(one.passed, paid))
    return ChooserFigures(
        value=weighing.interval(value, mask),
        pass_rate=weighing.interval(weighing.mean(one.passed, tells), tells),
        mean_cost_usd=weighing.interval(cost, paid),
        cost_usd_per_pass=weighing.interval(per_pass, paid),
        penalised_mean_ms=weighing.interval(weighing.mean(one.penalised_ms, timed), timed),
        regret=weighing.interval(regret, mask),
    )


def differences(
    policy: Scored, single: Scored, best: Scored, weighing: Weighing, mask: np.ndarray
) -> Differences:
    """The policy against the best single action."""
    mine, theirs = weighing.mean(policy.utility, mask), weighing.mean(single.utility, mask)
    gap = weighing.mean(best.utility, mask) - theirs
    tells = mask & np.isfinite(policy.passed) & np.isfinite(single.passed)
    paid = mask & np.isfinite(policy.cost_usd) & np.isfinite(single.cost_usd)
    timed = mask & np.isfinite(policy.penalised_ms) & np.isfinite(single.penalised_ms)
    passes = weighing.mean(policy.passed, tells) - weighing.mean(single.passed, tells)
    saved = 1 - ratio(weighing.mean(policy.cost_usd, paid), weighing.mean(single.cost_usd, paid))
    times = ratio(
        weighing.mean(policy.penalised_ms, timed), weighing.mean(single.penalised_ms, timed)
    )
    return Differences(
        gap_closed=weighing.interval(ratio(mine - theirs, gap), mask),
        value=weighing.interval(mine - theirs, mask),
        pass_rate=weighing.interval(passes, tells),
        cost_usd_saved=weighing.interval(saved, paid),
        penalised_mean_ratio=weighing.interval(times, timed),
    )


def calibration_figures(
    p_pass: np.ndarray, passed: np.ndarray, seed: int
) -> CalibrationFigures | None:
    """Calibration of the decisions whose pass is known; None where none is."""
    known = np.isfinite(passed) & np.isfinite(p_pass)
    if not known.any():
        return None
    p, hits = p_pass[known], passed[known]
    mean, high = null_level(p, equal_width_bins(p), seed)
    return CalibrationFigures(
        ece=expected_calibration_error(p, hits),
        null_mean=mean,
        null_95=high,
        n=int(known.sum()),
        mean_p_pass=float(p.mean()),
        pass_rate=float(hits.mean()),
    )
