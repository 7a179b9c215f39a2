"""Features -> a matrix of ranks, fitted on training cases only.

Belongs here: what is done about missing values, categories, lists of words, constant and wild
columns. Does not: reading (``tables_in``), learning (``forest``, ``nearest``).

Every number becomes its rank among the training cases, in [0, 1]: trees see the same order as
before, distances are not ruled by one wild value, and infinities are merely last.
Shapes: N cases, D columns.
"""

from collections import Counter
from typing import Final

import msgspec
import numpy as np
import polars as pl

MAX_CATEGORIES: Final = 24  # of one column; the rest is "other"
MAX_WORDS: Final = 48
LEAST_CASES: Final = 3  # that a category or a word needs


class NumberColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A number's training values, sorted, and whether its being missing is a column as well."""

    name: str
    sorted_values: np.ndarray
    tells_missing: bool


class TokenColumn(msgspec.Struct, frozen=True, kw_only=True):
    """The categories or words of a column that become columns of 0 and 1."""

    name: str
    tokens: tuple[str, ...]
    has_other: bool


class Design(msgspec.Struct, frozen=True, kw_only=True):
    """How features become a matrix.

    Attributes:
        numbers: Columns of numbers.
        tokens: Columns of categories and of words.
        dropped: Columns that say nothing in the training cases.
    """

    numbers: tuple[NumberColumn, ...]
    tokens: tuple[TokenColumn, ...]
    dropped: tuple[str, ...]

    def matrix(self, features: pl.DataFrame) -> np.ndarray:
        """(N, D) float32; D is at least 1: without any telling column there is one of zeros."""
        blocks = []
        for number in self.numbers:
            values = _floats(features[number.name])
            known = ~np.isnan(values)
            ranks = np.full(len(values), 0.5)
            ranks[known] = _ranks(number.sorted_values, values[known])
            blocks.append(ranks)
            if number.tells_missing:
                blocks.append((~known).astype(float))
        for column in self.tokens:
            seen = _token_sets(features[column.name])
            blocks += [np.array([float(token in s) for s in seen]) for token in column.tokens]
            if column.has_other:
                named = set(column.tokens)
                blocks.append(np.array([float(bool(s - named)) for s in seen]))
        if not blocks:
            return np.zeros((len(features), 1), dtype=np.float32)
        return np.stack(blocks, axis=1).astype(np.float32)


def _floats(series: pl.Series) -> np.ndarray:
    values: np.ndarray = series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return values


def _ranks(sorted_values: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Share of the sorted values below each value, equal ones counted half."""
    below = np.searchsorted(sorted_values, values, "left")
    upto = np.searchsorted(sorted_values, values, "right")
    ranks: np.ndarray = (below + upto) / (2 * max(1, len(sorted_values)))
    return ranks


def _token_sets(series: pl.Series) -> list[frozenset[str]]:
    """The tokens of each case; a missing value has none."""
    return [
        frozenset()
        if value is None
        else frozenset((value,) if isinstance(value, str) else (v for v in value if v is not None))
        for value in series.to_list()
    ]


def fit_design(features: pl.DataFrame) -> Design:
    """The design of training cases. Columns that repeat an earlier one's order are dropped."""
    numbers, tokens, dropped = [], [], []
    met: set[bytes] = set()
    for name in features.columns:
        series = features[name]
        if series.dtype == pl.Float64:
            values = _floats(series)
            known = ~np.isnan(values)
            in_order = np.sort(values[known])
            varies = len(in_order) > 0 and in_order[0] < in_order[-1]
            n_missing = int((~known).sum())
            pattern = known.tobytes()
            tells = LEAST_CASES <= n_missing <= len(values) - LEAST_CASES and pattern not in met
            if tells:
                met.add(pattern)
            ranks = np.full(len(values), -1.0)
            ranks[known] = _ranks(in_order, values[known])
            order = ranks.tobytes()
            if not tells and (not varies or order in met):
                dropped.append(name)
                continue
            met.add(order)
            numbers.append(NumberColumn(name=name, sorted_values=in_order, tells_missing=tells))
        else:
            column = _fit_tokens(name, series)
            if column is None:
                dropped.append(name)
            else:
                tokens.append(column)
    return Design(numbers=tuple(numbers), tokens=tuple(tokens), dropped=tuple(dropped))


def _fit_tokens(name: str, series: pl.Series) -> TokenColumn | None:
    seen = _token_sets(series)
    counts = Counter(token for one in seen for token in one)
    cap = MAX_WORDS if isinstance(series.dtype, pl.List) else MAX_CATEGORIES
    telling = [
        (-n, token) for token, n in counts.items() if LEAST_CASES <= n <= len(seen) - LEAST_CASES
    ]
    kept = tuple(token for _, token in sorted(telling)[:cap])
    has_other = cap == MAX_CATEGORIES and len(set(counts) - set(kept)) > 0 and len(kept) > 0
    if not kept:
        return None
    return TokenColumn(name=name, tokens=tuple(sorted(kept)), has_other=has_other)
