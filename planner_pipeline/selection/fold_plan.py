"""Which cases are held out when: the given folds, or folds that keep groups together.

Belongs here: default folds. Does not: reading given ones (``tables_in``), fitting (``crossval``).
Shapes: N cases.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from planner_pipeline.selection.scenario import Partition, SelectionError

N_FOLDS: Final = 10


def default_folds(groups: Sequence[str], seed: int, most: int = N_FOLDS) -> Partition:
    """At most ``most`` folds of about equal size, no group in two of them.

    Raises:
        SelectionError: there is one group.
    """
    names, of_case, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise SelectionError("features", "all cases are of one group: nothing is left to test on")
    n_folds = min(most, len(names))
    shuffled = np.random.default_rng(seed).permutation(len(names))
    filled = np.zeros(n_folds, dtype=np.int64)
    fold_of_group = np.empty(len(names), dtype=np.int64)
    for group in sorted(shuffled, key=lambda g: -sizes[g]):  # the largest first; stable
        fold = int(np.argmin(filled))
        fold_of_group[group] = fold
        filled[fold] += sizes[group]
    return Partition(
        repetition=None, fold=fold_of_group[of_case], names=tuple(range(1, n_folds + 1))
    )
