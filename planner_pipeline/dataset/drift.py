"""How the data differ between epochs: labels and features, by the population stability index.

Belongs here: PSI with the level that luck alone reaches. Does not: which run is of which epoch
(``history.epochs``). Spec: section 12, P5. Source of PSI: sum over bins of (p - q) ln(p / q).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.dataset.reader import Dataset
from planner_runtime.actions import HEADS
from planner_runtime.features import FEATURE_NAMES

LEAST_EXAMPLES: Final = 30  # of an epoch, to be compared
N_BINS: Final = 10
N_SHUFFLES: Final = 200
TOP_FEATURES: Final = 12


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """One label head or feature between two epochs.

    Attributes:
        psi: Population stability index.
        by_luck: What it stays under in 95 % of shuffles of the same examples between the epochs.
    """

    name: str
    psi: float
    by_luck: float

    @property
    def is_real(self) -> bool:
        """Whether it is more than luck."""
        return self.psi > self.by_luck


class EpochDrift(msgspec.Struct, frozen=True, kw_only=True):
    """What changed from one epoch to the next."""

    before: str
    after: str
    n_before: int
    n_after: int
    labels: tuple[Drift, ...]
    features: tuple[Drift, ...]  # the largest ones


class DriftReport(msgspec.Struct, frozen=True, kw_only=True):
    """Drift between epochs that follow each other, and epochs too small to be compared."""

    pairs: tuple[EpochDrift, ...]
    too_small: tuple[str, ...]
    words: str


def psi(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Population stability index of counts, every count raised by half so that none is zero.

    Args:
        before: (..., K) counts.
        after: (..., K) counts of the same bins.

    Returns:
        (...) index; 0 for equal shares.

    >>> float(psi(np.array([50, 50]), np.array([50, 50])))
    0.0
    """
    p = (before + 0.5) / (before + 0.5).sum(axis=-1, keepdims=True)
    q = (after + 0.5) / (after + 0.5).sum(axis=-1, keepdims=True)
    index: np.ndarray = ((p - q) * np.log(p / q)).sum(axis=-1)
    return index


def bin_numbers(values: np.ndarray) -> np.ndarray:
    """(N,) bin of every value: its own where there are few distinct ones, else its decile."""
    distinct, numbers = np.unique(values, return_inverse=True)
    if len(distinct) <= N_BINS:
        return numbers
    edges = np.unique(np.quantile(values, np.arange(1, N_BINS) / N_BINS))
    return np.searchsorted(edges, values, side="right")


def drift_of(name: str, numbers: np.ndarray, is_after: np.ndarray, seed: int = 0) -> Drift:
    """Drift of one column of bin numbers between two epochs.

    Args:
        numbers: (N,) bins.
        is_after: (N,) which examples are of the later epoch.
    """
    k = int(numbers.max()) + 1 if len(numbers) else 1
    total = np.bincount(numbers, minlength=k)
    after = np.bincount(numbers[is_after], minlength=k)
    value = float(psi(total - after, after))
    luck = np.random.default_rng(seed)
    shuffled = luck.multivariate_hypergeometric(total, int(is_after.sum()), size=N_SHUFFLES)
    by_luck = float(np.quantile(psi(total - shuffled, shuffled), 0.95))
    return Drift(name=name, psi=value, by_luck=by_luck)


def compare(dataset: Dataset, before: str, after: str) -> EpochDrift:
    """What changed from one epoch to another."""
    rows = dataset.index.filter(pl.col("epoch").is_in([before, after]))
    is_after = (rows["epoch"] == after).to_numpy()
    labels = [
        drift_of(head, np.unique(rows[head].to_numpy(), return_inverse=True)[1], is_after)
        for head in HEADS
    ]
    features = dataset.features(rows)
    columns = [
        drift_of(name, bin_numbers(features[:, i]), is_after)
        for i, name in enumerate(FEATURE_NAMES)
        if features[:, i].min() < features[:, i].max()
    ]
    columns.sort(key=lambda one: (-(one.psi - one.by_luck), one.name))
    return EpochDrift(
        before=before,
        after=after,
        n_before=int((~is_after).sum()),
        n_after=int(is_after.sum()),
        labels=tuple(labels),
        features=tuple(columns[:TOP_FEATURES]),
    )


def drift_report(dataset: Dataset) -> DriftReport:
    """Drift between each epoch of a data set and the next that is large enough."""
    counts = dict(dataset.index.group_by("epoch").len().iter_rows())
    ids = [share.epoch.epoch for share in dataset.meta.epochs if counts.get(share.epoch.epoch)]
    large = [one for one in ids if counts[one] >= LEAST_EXAMPLES]
    pairs = [compare(dataset, before, after) for before, after in pairwise(large)]
    return DriftReport(
        pairs=tuple(pairs),
        too_small=tuple(one for one in ids if one not in large),
        words=_words(ids, pairs),
    )


def _words(ids: Sequence[str], pairs: Sequence[EpochDrift]) -> str:
    if len(ids) < 2:
        return "One epoch: there is nothing to compare."
    told = []
    for pair in pairs:
        moved = [one.name for one in pair.labels if one.is_real]
        what = f"executed {', '.join(moved)} changed" if moved else "executed plans did not change"
        told.append(f"{pair.before} to {pair.after}: {what} beyond luck")
    small = "" if pairs else f" None has {LEAST_EXAMPLES} examples beside another that has."
    return f"{len(ids)} epochs. {'; '.join(told)}{'.' if told else ''}{small}".strip()
