"""The rule by which the best candidate of a case is found, on the data and on its resamples.

Belongs here: candidates' figures as arrays, which are best, how often each is under resampling.
Does not: reading outcomes and writing labels (``labels``).
Spec: section 9.4. Shapes: J outcomes of one case, U sets of draws, C candidates, M metrics,
R resamples; row 0 of every (R + 1, ...) array is the data itself.

Candidates are compared by pass ratio, then by each metric of the objective in its order; a metric
is its mean over the candidate's passing outcomes. Where it has a resolution, means are compared in
whole steps of it: the nearest, halves upwards. Otherwise, and among pass ratios, what differs by
less than ``TIE``, relative above 1, is equal, since sums differ by the order of their terms.

Luck is resampled as ``evaluation.outcome_bench`` does: every draw gets a weight from the
exponential distribution, the Bayesian bootstrap (Rubin 1981). An outcome that ran is a draw by
itself; a replayed one weighs the product of its attempts' weights, so that candidates which were
made from the same attempts go up and down together.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import numpy as np

TIE: Final = 1e-9
Direction = Literal["max", "min"]
Draws = tuple[int, ...]


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """The outcomes of one case, in an order that does not depend on how they were read.

    Attributes:
        candidate: (J,) int64 in [0, C); every candidate has at least one outcome.
        passed: (J,) bool.
        metrics: (J, M) float64; NaN where an outcome lacks one.
        draws: Of every outcome, the numbers of the draws that it was made from.
    """

    candidate: np.ndarray
    passed: np.ndarray
    metrics: np.ndarray
    draws: Sequence[Draws]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """How the means of metrics compare.

    Attributes:
        directions: Of every metric, in the objective's order.
        resolutions: Of every metric; None: no steps.
    """

    directions: tuple[Direction, ...]
    resolutions: tuple[float | None, ...]


def resampled_weights(
    draws: Sequence[Draws], rng: np.random.Generator, n_resamples: int
) -> np.ndarray:
    """(R + 1, U) weight of every set of draws: 1 on the data, a product of exponentials else."""
    numbers = sorted({draw for drawn in draws for draw in drawn})
    place = {number: i for i, number in enumerate(numbers)}
    single = rng.exponential(size=(n_resamples, len(numbers)))
    weights = np.ones((n_resamples + 1, len(draws)))
    for column, drawn in enumerate(draws):
        weights[1:, column] = single[:, [place[draw] for draw in drawn]].prod(axis=1)
    return weights


def in_steps(means: np.ndarray, resolution: float | None) -> np.ndarray:
    """Means as numbers of whole steps, the nearest and halves upwards; themselves without steps.

    >>> in_steps(np.array([0.24, 0.25, 0.74]), 0.5).tolist()
    [0.0, 1.0, 1.0]
    """
    return means if resolution is None else np.floor(means / resolution + (0.5 + TIE))


class CaseFigures:
    """Pass ratio and means of every candidate of one case, on the data and on its resamples.

    Attributes:
        pass_ratio: (R + 1, C).
        means: (R + 1, C, M) over passing outcomes; NaN where nothing passed, or where a passing
            outcome lacks the metric.
    """

    def __init__(self, evidence: Evidence, rng: np.random.Generator, n_resamples: int) -> None:
        n_candidates = int(evidence.candidate.max()) + 1
        sets = sorted(set(evidence.draws))
        place = {drawn: i for i, drawn in enumerate(sets)}
        where = (np.array([place[drawn] for drawn in evidence.draws]), evidence.candidate)
        weights = resampled_weights(sets, rng, n_resamples)  # (R + 1, U)

        def total(values: np.ndarray) -> np.ndarray:
            """(R + 1, C) weighted sums of (J,) values."""
            table = np.zeros((len(sets), n_candidates))
            np.add.at(table, where, values)
            summed: np.ndarray = weights @ table
            return summed

        passes = total(evidence.passed.astype(float))
        self.pass_ratio = passes / total(np.ones(len(evidence.candidate)))
        self.means = np.full((*passes.shape, evidence.metrics.shape[1]), np.nan)
        for metric, values in enumerate(evidence.metrics.T):
            summed = total(np.where(evidence.passed, values, 0.0))  # NaN spoils its candidate only
            is_known = np.zeros(n_candidates, dtype=bool)
            is_known[evidence.candidate[evidence.passed]] = True
            is_known[evidence.candidate[evidence.passed & np.isnan(values)]] = False
            self.means[:, is_known, metric] = summed[:, is_known] / passes[:, is_known]

    def is_best(self, rule: Rule) -> np.ndarray:
        """(R + 1, C) whether a candidate is best, alone or among equals; at least one is."""
        best = _best_of(np.ones(self.pass_ratio.shape, dtype=bool), self.pass_ratio)
        for metric, (direction, step) in enumerate(
            zip(rule.directions, rule.resolutions, strict=True)
        ):
            means = in_steps(self.means[:, :, metric], step)
            signed = means if direction == "max" else -means
            best = _best_of(best, np.where(np.isnan(signed), -np.inf, signed))
        return best

    def win_ratio(self, rule: Rule) -> np.ndarray:
        """(C,) share of resamples that each candidate wins; equals share a win."""
        best = self.is_best(rule)[1:]
        share: np.ndarray = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
        return share


def _best_of(standing: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Which of those still ``standing`` in each row have the highest value."""
    highest = np.where(standing, values, -np.inf).max(axis=1, keepdims=True)
    least = highest - TIE * np.maximum(1.0, np.abs(highest))
    left: np.ndarray = standing & (values >= least)
    return left
