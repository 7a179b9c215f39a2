"""How unlike the training decisions a decision is, and from where on no model is trusted.

Belongs here: the distance, its threshold, fitting both. Does not: the same in a graph
(``release.outcome_export``), what is done with a novel decision (``planner_runtime``).
Sources: Mahalanobis 1936; Ledoit and Wolf 2004 (shrinkage). Shapes: G decisions, F features.

The distance is Mahalanobis's over standardised features, divided by the root of F. What fires:
a decision further out than all but one in two hundred of those of training, each measured by a fit
without its block. Features that (almost) never left one value have no spread to measure by: each
that leaves it adds a step of its own to the square. At a typical decision one or two such steps do
not fire, ``STEPS_THAT_FIRE`` do. A feature of two values has shown both, so the rarer one counts as
no more than three standard deviations.
"""

from typing import Final

import msgspec
import numpy as np

QUANTILE: Final = 0.995
STEPS_THAT_FIRE: Final = 3
N_FOLDS: Final = 5
_LIMIT: Final = 10.0  # standard deviations; what is further out is as novel
_SEEN_LIMIT: Final = 3.0  # the same of a feature of two values
_RARE: Final = 0.01  # share of decisions away from a feature's commonest value
_WHOLE_STEP: Final = 0.5  # half of what a one-hot moves by
_LEAST_SHRINKING: Final = 0.2  # so that one-hots that sum to 1 leave no direction without spread
_Z: Final = 2.5758  # of QUANTILE, as are chi-square's by Wilson and Hilferty 1931


class Novelty(msgspec.Struct, frozen=True):
    """A fitted detector.

    Attributes:
        centre, scale, limit: (F,) a feature counts as (x - centre) / scale, held within the limit.
        factor: (F, F) what the clipped ones are multiplied by: the root of the precision.
        threshold: A distance above it is novel.
    """

    centre: np.ndarray
    scale: np.ndarray
    limit: np.ndarray
    factor: np.ndarray
    threshold: float

    def distance(self, features: np.ndarray) -> np.ndarray:
        """(G,) distances of (G, F) features."""
        z = (features.astype(np.float64) - self.centre) / self.scale
        moved = np.clip(z, -self.limit, self.limit) @ self.factor
        found: np.ndarray = np.sqrt((moved**2).mean(axis=1))
        return found


def shrunk_covariance(z: np.ndarray) -> np.ndarray:
    """(F, F) covariance of (G, F) centred rows, drawn to a multiple of the identity.

    Source: Ledoit and Wolf 2004, with at least ``_LEAST_SHRINKING``.
    """
    n, f = z.shape
    sample = z.T @ z / n
    mean = np.trace(sample) / f
    apart = ((sample - mean * np.eye(f)) ** 2).sum()
    noise = ((z**2).sum(axis=1) ** 2).sum() / n**2 - (sample**2).sum() / n
    share = 1.0 if apart <= 0 else float(np.clip(noise / apart, _LEAST_SHRINKING, 1.0))
    shrunk: np.ndarray = share * mean * np.eye(f) + (1 - share) * sample
    return shrunk


def _commonest(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(F,) commonest values, and (F,) the share of decisions away from them."""
    values, shares = [], []
    for column in features.T:
        found, counts = np.unique(column, return_counts=True)
        values.append(found[counts.argmax()])
        shares.append(1 - counts.max() / len(column))
    return np.array(values), np.array(shares)


def _measure(features: np.ndarray) -> tuple[Novelty, np.ndarray]:
    """The part of a detector that has a spread to measure by, and (F,) which features have none."""
    features = features.astype(np.float64)
    f = features.shape[1]
    commonest, away = _commonest(features)
    spread = features.std(axis=0)
    is_still = (away < _RARE) | (spread < 1e-6)
    centre = np.where(is_still, commonest, features.mean(axis=0))
    scale = np.where(is_still, _WHOLE_STEP, spread)
    factor = np.zeros((f, f))
    moving = np.flatnonzero(~is_still)
    if len(moving):
        z = ((features - centre) / scale)[:, moving]
        precision = np.linalg.inv(shrunk_covariance(z))
        factor[np.ix_(moving, moving)] = np.linalg.cholesky(precision)
    n_values = np.array([len(np.unique(column)) for column in features.T])
    limit = np.where(is_still, 1.0, np.where(n_values <= 2, _SEEN_LIMIT, _LIMIT))
    return Novelty(centre, scale, limit, factor, np.inf), is_still


def fit_novelty(features: np.ndarray, block: np.ndarray, *, seed: int = 0) -> Novelty:
    """A detector for decisions like those of training.

    The threshold is no lower than what as many normal features would give, so that few decisions
    do not make it strict.

    Args:
        features: (G, F), G >= 1.
        block: (G,) int64, decisions that are held out together; where all share one, none do.
    """
    block = np.unique(block, return_inverse=True)[1]
    if not block.any():
        block = np.arange(len(features))
    n = int(block.max()) + 1
    fold = (np.random.default_rng(seed).permutation(n) % min(N_FOLDS, n))[block]
    whole, is_still = _measure(features)
    apart = np.full(len(features), np.nan)
    for held in range(int(fold.max()) + 1):
        rows = fold == held
        if not rows.all():
            apart[rows] = _measure(features[~rows])[0].distance(features[rows])
    f, moving = features.shape[1], int((~is_still).sum())
    usual = 2 / (9 * max(moving, 1))
    floor = np.sqrt(max(moving, 1) * (1 - usual + _Z * np.sqrt(usual)) ** 3 / f)
    threshold = float(max(floor, np.nanquantile(apart, QUANTILE) if n > 1 else 0.0))
    typical = min(float(np.median(whole.distance(features))), threshold)
    step = (threshold**2 - typical**2) * f / (STEPS_THAT_FIRE - 0.5)
    factor = whole.factor.copy()
    factor[is_still, is_still] = np.sqrt(max(step, 1e-6))
    return msgspec.structs.replace(whole, factor=factor, threshold=threshold)
