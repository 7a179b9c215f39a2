"""Smooth members: linear and kernel ridge regression of every action at once.

Belongs here: their fits and what they say of training cases that they have not seen. Does not:
trees (``forest``, ``pairwise``), what is regressed (``members``).
Shapes: N training cases, M new cases, D columns, T targets.

Trees jump and these do not, which is why their blend does better than either (docs/select.md).
"""

from typing import Final

import numpy as np

from planner_pipeline.selection.fold_plan import default_folds
from planner_pipeline.selection.forest import Estimate, Sums, known_means
from planner_pipeline.selection.lesson import Lesson

RIDGE: Final = 3.0  # against columns of ranks in [0, 1]
N_RIDGES: Final = 20
KERNEL_RIDGE: Final = 1.0
REACH: Final = 0.6  # of a Gaussian kernel, a unit being the mean square distance of two cases / 2
INNER_FOLDS: Final = 5
MAX_KERNEL_CASES: Final = 4_000  # above it the kernel matrix costs more than it tells


def fit_ridges(lesson: Lesson, targets: np.ndarray) -> Estimate:
    """Linear models of (N, T) targets, one on each of the first resamples, averaged."""
    n_targets = targets.shape[1]
    own, new = Sums(len(targets), n_targets), Sums(len(lesson.new_columns), n_targets)
    columns = lesson.columns.astype(np.float64)
    new_columns = lesson.new_columns.astype(np.float64)
    for counts in lesson.draws[:N_RIDGES]:
        total = counts.sum()
        centre, level = counts @ columns / total, counts @ targets / total
        weighted = counts[:, None] * (columns - centre)
        gram = weighted.T @ (columns - centre) + RIDGE * np.eye(columns.shape[1])
        slopes = np.linalg.solve(gram, weighted.T @ (targets - level))
        left = counts == 0
        own.add((columns[left] - centre) @ slopes + level, left)
        new.add((new_columns - centre) @ slopes + level)
    fallback = known_means(targets)
    return Estimate(own=own.mean(fallback), new=new.mean(fallback))


def _likeness(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(A, B) Gaussian kernel of standardised cases."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    likeness: np.ndarray = np.exp(-REACH / a.shape[1] * np.maximum(squares, 0.0))
    return likeness


def _said(among: np.ndarray, towards: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Predictions from likeness among the training cases and towards them."""
    level = targets.mean(axis=0)
    shrunk = among + KERNEL_RIDGE * np.eye(len(among))
    said: np.ndarray = towards @ np.linalg.solve(shrunk, targets - level) + level
    return said


def fit_kernel(lesson: Lesson, targets: np.ndarray) -> Estimate:
    """Kernel ridge regression of (N, T) targets; training cases by inner folds of whole groups.

    With too many cases for a kernel matrix, or one group, ``fit_ridges``.
    """
    if len(targets) > MAX_KERNEL_CASES or len(set(lesson.groups)) < 2:
        return fit_ridges(lesson, targets)
    columns = lesson.columns.astype(np.float64)
    centre, spread = columns.mean(axis=0), columns.std(axis=0) + 1e-9
    cases, new_cases = (
        (matrix.astype(np.float64) - centre) / spread
        for matrix in (lesson.columns, lesson.new_columns)
    )
    among = _likeness(cases, cases)
    fold_of = default_folds(lesson.groups, lesson.seed, INNER_FOLDS).fold
    own = np.empty_like(targets)
    for fold in np.unique(fold_of):
        out, rest = fold_of == fold, fold_of != fold
        own[out] = _said(among[np.ix_(rest, rest)], among[np.ix_(out, rest)], targets[rest])
    new = _said(among, _likeness(new_cases, cases), targets)
    return Estimate(own=own, new=new)
