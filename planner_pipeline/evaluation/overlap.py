"""Whether logged decisions can tell of a policy: overlap, in numbers, in words, or a refusal.

Belongs here: effective sample size, weights, the judged policy's mass where nothing was logged, and
the error that says why there is no answer. Does not: estimates (``off_policy``).
Sources: Kish 1965 (effective sample size); Dudik, Langford and Li 2011 (overlap).
Shapes: n decisions, A actions.
"""

from typing import Final, Literal

import msgspec
import numpy as np

from planner_pipeline.evaluation.off_policy import LoggedDecisions

CERTAIN: Final = 1 - 1e-9  # a propensity from here up was no draw
FLOOR: Final = 0.01  # a logging probability below it makes weights of hundreds
MAX_UNCOVERED: Final = 0.05  # mass on actions that could not be drawn, before there is no answer
LEAST_EFFECTIVE: Final = 0.1  # of the decisions
LARGEST_SHARE: Final = 0.1  # of all weight, on one decision
FEW_CLUSTERS: Final = 30
FEW_EFFECTIVE: Final = 30

RefusalReason = Literal[
    "nothing_logged", "one_cluster", "deterministic_logging", "no_shared_action", "uncovered_target"
]


class Overlap(msgspec.Struct, frozen=True, kw_only=True):
    """How well the logs cover the judged policy.

    Attributes:
        effective_n: (sum w)^2 / sum w^2: as many decisions of the judged policy itself would vary
            as little. 0 where all weights are 0. Rare large weights that happened not to be drawn
            make it look better than it is.
        expected_effective_n: n / mean(sum_a pi^2 / p), what ``effective_n`` is on average over
            draws; at most so when chances are lower bounds. None where some chance is not known,
            0 where the judged policy takes what could not be drawn.
        mean_weight: 1 in expectation when propensities are right.
        mean_weight_error: Its standard error.
        largest_weight: Without unit; ``largest_share`` is its part of all weights.
        smallest_propensity: Of the actions that ran.
        uncovered_mass: Mean probability of the judged policy to take an action that is known to
            have had no chance there.
        never_logged_mass: The same, of actions that ran in no decision at all.
        below_floor_mass: The same, of actions whose known chance was below ``FLOOR``.
        unknown_mass: The same, of actions whose chance nothing tells.
        is_deterministic: Whether no action was drawn by chance.
        warnings: What to worry about, in words; empty where nothing is.
    """

    n: int
    n_clusters: int
    effective_n: float
    expected_effective_n: float | None
    mean_weight: float
    mean_weight_error: float | None
    largest_weight: float
    largest_share: float
    smallest_propensity: float
    uncovered_mass: float
    never_logged_mass: float
    below_floor_mass: float
    unknown_mass: float
    is_deterministic: bool
    warnings: tuple[str, ...] = ()


class OverlapError(Exception):
    """The logs cannot tell what the policy would come to, and no estimator changes that.

    Attributes:
        reason: One of a closed set of codes.
        overlap: The numbers behind it; None where nothing was logged.
    """

    def __init__(self, reason: RefusalReason, why: str, overlap: Overlap | None) -> None:
        super().__init__(why)
        self.reason: RefusalReason = reason
        self.overlap = overlap


def effective_sample_size(weights: np.ndarray) -> float:
    """Kish's (sum w)^2 / sum w^2; 0.0 where there is no weight.

    >>> effective_sample_size(np.array([1.0, 1.0, 0.0]))
    2.0
    """
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def _mass(decisions: LoggedDecisions, is_so: np.ndarray) -> float:
    """Mean probability of the judged policy on some (n, A) or (A,) pairs."""
    return float((decisions.target * is_so).sum(axis=1).mean())


def measure_overlap(decisions: LoggedDecisions) -> Overlap:
    """The numbers and the warnings, whether or not they allow an answer.

    Raises:
        OverlapError: nothing was logged.
    """
    n = len(decisions.action)
    if n == 0:
        raise OverlapError("nothing_logged", "there is no logged decision", None)
    weights = decisions.weights
    n_clusters = len(np.unique(decisions.cluster))
    never = np.bincount(decisions.action, minlength=decisions.n_actions) == 0
    logging = decisions.logging
    known = np.full(decisions.target.shape, np.nan) if logging is None else logging.copy()
    known[np.arange(n), decisions.action] = decisions.propensity
    overlap = Overlap(
        n=n,
        n_clusters=n_clusters,
        effective_n=effective_sample_size(weights),
        expected_effective_n=_expected_effective_n(decisions.target, known),
        mean_weight=float(weights.mean()),
        mean_weight_error=_mean_error(weights, decisions.cluster),
        largest_weight=float(weights.max()),
        largest_share=float(weights.max() / weights.sum()) if weights.any() else 0.0,
        smallest_propensity=float(decisions.propensity.min()),
        uncovered_mass=_mass(decisions, known == 0),
        never_logged_mass=_mass(decisions, never),
        below_floor_mass=_mass(decisions, known < FLOOR),
        unknown_mass=_mass(decisions, np.isnan(known)),
        is_deterministic=bool((decisions.propensity >= CERTAIN).all()),
    )
    return msgspec.structs.replace(overlap, warnings=tuple(_warnings(overlap)))


def _expected_effective_n(target: np.ndarray, known: np.ndarray) -> float | None:
    """Of (n, A) probabilities of the judged policy and known chances."""
    taken = target > 0
    if np.isnan(known[taken]).any():
        return None
    squares = np.full(target.shape, np.inf)
    np.divide(target**2, known, out=squares, where=known > 0)
    return float(len(target) / np.where(taken, squares, 0.0).sum(axis=1).mean())


def _mean_error(weights: np.ndarray, cluster: np.ndarray) -> float | None:
    """Standard error of the mean weight, by clusters; None for fewer than two."""
    _, position = np.unique(cluster, return_inverse=True)
    sums = np.bincount(position, weights - weights.mean())
    if len(sums) < 2:
        return None
    return float(np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / len(weights))


def _warnings(overlap: Overlap) -> list[str]:
    told = []
    if overlap.effective_n < max(FEW_EFFECTIVE, LEAST_EFFECTIVE * overlap.n):
        told.append(
            f"{overlap.n} decisions are worth {overlap.effective_n:.1f} of the judged policy's own"
        )
    expected = overlap.expected_effective_n
    if expected is not None and expected < min(FEW_EFFECTIVE, overlap.effective_n / 2):
        told.append(
            f"on average over draws they would be worth {expected:.1f}: rare large weights are "
            "missing here, and intervals are too narrow"
        )
    if overlap.largest_share > LARGEST_SHARE:
        told.append(
            f"one decision carries {overlap.largest_share:.0%} of all weight "
            f"(its weight is {overlap.largest_weight:.1f})"
        )
    error = overlap.mean_weight_error
    if error is not None and abs(overlap.mean_weight - 1) > 3 * error + 1e-9:
        told.append(
            f"weights average {overlap.mean_weight:.2f}, not 1 (standard error {error:.2f}): "
            "propensities may be wrong, or the judged policy takes what could not be drawn"
        )
    for mass, words in (
        (overlap.uncovered_mass, "on actions that could not be drawn"),
        (overlap.never_logged_mass, "on actions that never ran"),
        (overlap.below_floor_mass - overlap.uncovered_mass, f"where the chance was below {FLOOR}"),
        (overlap.unknown_mass, "on actions whose chance nothing tells"),
    ):
        if mass > 0.01:
            told.append(f"the judged policy puts {mass:.1%} of its probability {words}")
    if overlap.n_clusters < FEW_CLUSTERS:
        told.append(f"only {overlap.n_clusters} issues: intervals are rough")
    return told


def check_overlap(decisions: LoggedDecisions) -> Overlap:
    """The overlap of logs that can answer.

    Raises:
        OverlapError: nothing was logged, all of one issue, nothing was drawn by chance, the judged
            policy never takes what ran, or too much of it could not be drawn.
    """
    overlap = measure_overlap(decisions)
    if overlap.is_deterministic:
        raise OverlapError(
            "deterministic_logging",
            f"all {overlap.n} decisions were made with propensity 1: nothing was left to chance, "
            "so nothing tells what another action would have come to",
            overlap,
        )
    if not decisions.weights.any():
        raise OverlapError(
            "no_shared_action",
            f"the judged policy takes none of the actions that ran in {overlap.n} decisions",
            overlap,
        )
    if overlap.uncovered_mass > MAX_UNCOVERED:
        raise OverlapError(
            "uncovered_target",
            f"{overlap.uncovered_mass:.1%} of the judged policy's probability is on actions that "
            f"could not be drawn (at most {MAX_UNCOVERED:.0%}): logging was deterministic there",
            overlap,
        )
    if overlap.n_clusters < 2:
        raise OverlapError(
            "one_cluster",
            f"all {overlap.n} decisions are of one issue: nothing tells how far it is from others",
            overlap,
        )
    return overlap
