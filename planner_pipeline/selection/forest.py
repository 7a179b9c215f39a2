"""Trees over whole groups of cases, and what they say of cases that they have not seen.

Belongs here: growing trees on resamples of groups, means of any outcome in their leaves, for new
cases and, by the trees that had not drawn them, for the training cases themselves (out of bag:
Breiman 2001). Does not: what the trees are grown for (``members``).
Shapes: N training cases, M new cases, D columns, T targets, K outcomes, B trees.

What the trees are split on and what is read off their leaves are two things (Athey et al. 2019,
arXiv 1610.01271): splits on log times and on differences between actions are stable, while the
mean of the penalised time itself is what a decision is scored by.
"""

from typing import Any, Final, Literal

import msgspec
import numpy as np
from sklearn.tree import DecisionTreeRegressor, ExtraTreeRegressor

MAX_TARGETS: Final = 12
Splits = Literal["random", "best"]


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """How trees grow.

    Attributes:
        splits: Random thresholds (extremely randomised trees, Geurts et al. 2006) or the best.
        least_cases: In a leaf.
        column_share: Of the columns, tried at each split.
    """

    splits: Splits = "random"
    least_cases: int = 3
    column_share: float = 0.33


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected, of the training cases by what has not seen them, and of new cases.

    Attributes:
        own: (N, K).
        new: (M, K).
    """

    own: np.ndarray
    new: np.ndarray


class Sums:
    """Means of what several trees say, where each may be silent."""

    def __init__(self, n_rows: int, n_outcomes: int) -> None:
        self._sum = np.zeros((n_rows, n_outcomes))
        self._n = np.zeros((n_rows, n_outcomes))

    def add(self, values: np.ndarray, rows: np.ndarray | slice = slice(None)) -> None:
        """Add (R, K) values, NaN where there is none, to the rows."""
        known = np.isfinite(values)
        self._sum[rows] += np.where(known, values, 0.0)
        self._n[rows] += known

    def mean(self, fallback: np.ndarray) -> np.ndarray:
        """(rows, K) means; ``fallback`` (K,) where nothing was added."""
        with np.errstate(invalid="ignore", divide="ignore"):
            means: np.ndarray = np.where(self._n > 0, self._sum / self._n, fallback)
        return means


def known_means(values: np.ndarray) -> np.ndarray:
    """(K,) mean of each column's known values; 0 where none is."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    means: np.ndarray = total / np.maximum(known.sum(axis=0), 1)
    return means


def squeezed(targets: np.ndarray) -> np.ndarray:
    """(N, at most ``MAX_TARGETS``) the same distances between cases in fewer columns: a split
    depends on distances alone, and its time on the columns.
    """
    if targets.shape[1] <= MAX_TARGETS:
        return targets
    centred = targets - targets.mean(axis=0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    fewer: np.ndarray = (left * scale)[:, :MAX_TARGETS]
    return fewer


def leaf_means(leaves: np.ndarray, counts: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
    """(leaves, K) mean outcome of the drawn cases in each leaf, NaN where none is known.

    Args:
        leaves: (N,) the leaf of each case.
        counts: (N,) how often it was drawn.
        outcomes: (N, K), NaN where unknown.
    """
    known = np.isfinite(outcomes)
    weights = counts[:, None] * known
    order = np.argsort(leaves, kind="stable")
    present, starts = np.unique(leaves[order], return_index=True)
    totals = np.add.reduceat((weights * np.where(known, outcomes, 0.0))[order], starts)
    sizes = np.add.reduceat(weights[order], starts)
    means = np.full((int(leaves.max()) + 1, outcomes.shape[1]), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        means[present] = np.where(sizes > 0, totals / sizes, np.nan)
    return means


def grow_forest(
    columns: np.ndarray,
    targets: np.ndarray,
    outcomes: np.ndarray,
    new_columns: np.ndarray,
    *,
    draws: np.ndarray,
    growth: Growth,
    seed: int,
) -> Estimate:
    """Grow a tree on each draw of the cases, split on the targets; tell mean outcomes.

    Args:
        columns: (N, D) float32.
        targets: (N, T) without NaN.
        outcomes: (N, K), NaN where unknown.
        new_columns: (M, D) float32.
        draws: (B, N) how often each case is in each tree.
    """
    targets = squeezed(targets)
    fallback = known_means(outcomes)
    own, new = Sums(len(columns), len(fallback)), Sums(len(new_columns), len(fallback))
    seeds = np.random.default_rng(seed).integers(0, 2**31 - 1, len(draws))
    kind: Any = ExtraTreeRegressor if growth.splits == "random" else DecisionTreeRegressor
    for counts, tree_seed in zip(draws, seeds, strict=True):
        drawn = counts > 0
        tree = kind(
            min_samples_leaf=min(growth.least_cases, max(1, int(drawn.sum()) // 4)),
            max_features=growth.column_share,
            random_state=int(tree_seed),
        )
        tree.fit(columns[drawn], targets[drawn], sample_weight=counts[drawn])
        leaves, new_leaves = tree.apply(columns), tree.apply(new_columns)
        padded = np.full((tree.tree_.node_count, outcomes.shape[1]), np.nan)
        means = leaf_means(leaves[drawn], counts[drawn], outcomes[drawn])
        padded[: len(means)] = means
        own.add(padded[leaves[~drawn]], ~drawn)
        new.add(padded[new_leaves])
    return Estimate(own=own.mean(fallback), new=new.mean(fallback))
