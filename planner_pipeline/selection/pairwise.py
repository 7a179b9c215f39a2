"""Every two actions against each other: trees that weigh a case by what the choice is worth there.

Belongs here: growing them, their votes and the differences that they expect. Does not: other
members (``members``). Source: cost-sensitive pairwise classification, Xu, Hutter, Hoos,
Leyton-Brown 2012 (SATzilla2012); Lindauer et al. 2015 (AutoFolio's default).
Shapes: N training cases, M new cases, A actions, B trees a pair.
"""

from itertools import combinations
from typing import Final

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from planner_pipeline.selection.forest import Estimate
from planner_pipeline.selection.lesson import Lesson, action_means

N_TREES: Final = 16
LEAST_CASES: Final = 3


def contenders(utility: np.ndarray, n: int) -> list[int]:
    """Rows of the ``n`` actions of the highest mean utility, in their order."""
    means = np.nan_to_num(action_means(utility), nan=-np.inf)
    best_first = np.argsort(-means, kind="stable")
    return sorted(int(a) for a in best_first[:n] if np.isfinite(means[a]))


class _Pair:
    """What the trees of one pair say of the first action against the second."""

    def __init__(self, n_own: int, n_new: int) -> None:
        self.vote, self.gain = np.zeros(n_own + n_new), np.zeros(n_own + n_new)
        self.n = np.zeros(n_own + n_new)

    def add(self, vote: np.ndarray, gain: np.ndarray, rows: np.ndarray) -> None:
        self.vote[rows] += vote[rows]
        self.gain[rows] += gain[rows]
        self.n[rows] += 1

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """(N + M,) share of the votes, one half where nobody voted; mean difference."""
        n = np.maximum(self.n, 1)
        return np.where(self.n > 0, self.vote / n, 0.5), self.gain / n


def _grow_pair(lesson: Lesson, gain: np.ndarray, pair_seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Votes and expected differences over (N + M,) cases.

    Args:
        gain: (N,) utility of the first action above the second's; NaN where unknown.
    """
    n_own, n_new = len(lesson.columns), len(lesson.new_columns)
    everything = np.concatenate([lesson.columns, lesson.new_columns])
    known = np.isfinite(gain)
    worth, is_better = np.where(known, np.abs(gain), 0.0), gain > 0
    pair = _Pair(n_own, n_new)
    seeds = np.random.default_rng(pair_seed).integers(0, 2**31 - 1, N_TREES)
    for counts, seed in zip(lesson.draws[:N_TREES], seeds, strict=False):
        rows = np.ones(n_own + n_new, dtype=bool)
        rows[:n_own] = counts == 0
        weights = counts * worth
        used = weights > 0
        drawn = known & (counts > 0)
        mean = float(np.average(gain[drawn], weights=counts[drawn])) if drawn.any() else 0.0
        if used.sum() < 2 or len(np.unique(is_better[used])) < 2:
            flat = np.ones(n_own + n_new)
            share = float(is_better[used].mean()) if used.any() else 0.5
            pair.add(flat * share, flat * mean, rows)
            continue
        tree = DecisionTreeClassifier(
            min_samples_leaf=LEAST_CASES, max_features="sqrt", random_state=int(seed)
        )
        tree.fit(lesson.columns[used], is_better[used], weights[used] / weights[used].mean())
        leaves = tree.apply(everything)
        shares = tree.tree_.value[:, 0, :]
        votes = shares[:, 1] / shares.sum(axis=1)
        inside = leaves[:n_own][drawn]
        n_leaves = tree.tree_.node_count
        sizes = np.bincount(inside, counts[drawn], minlength=n_leaves)
        sums = np.bincount(inside, counts[drawn] * gain[drawn], minlength=n_leaves)
        gains = sums / np.maximum(sizes, 1)
        pair.add(votes[leaves], gains[leaves], rows)
    return pair.means()


def fit_pairs(lesson: Lesson) -> tuple[Estimate, Estimate]:
    """Scores by votes, and by expected differences, of the actions of the highest mean utility.

    Actions that are no contenders score -inf.
    """
    actions = contenders(lesson.utility, lesson.n_contenders)
    n_own, n_all = len(lesson.columns), len(lesson.columns) + len(lesson.new_columns)
    votes = np.full((n_all, lesson.utility.shape[1]), -np.inf)
    gains = votes.copy()
    votes[:, actions], gains[:, actions] = 0.0, 0.0
    for number, (a, b) in enumerate(combinations(actions, 2)):
        gain = lesson.utility[:, a] - lesson.utility[:, b]
        share, mean = _grow_pair(lesson, gain, lesson.seed * 1_009 + number)
        wins = (share > 0.5) + 0.5 * (share == 0.5) + 0.01 * share  # equal votes: by their shares
        votes[:, a] += wins
        votes[:, b] += 1.01 - wins
        gains[:, a] += mean
        gains[:, b] -= mean
    gains[:, actions] /= max(1, len(actions))
    return (
        Estimate(own=votes[:n_own], new=votes[n_own:]),
        Estimate(own=gains[:n_own], new=gains[n_own:]),
    )
