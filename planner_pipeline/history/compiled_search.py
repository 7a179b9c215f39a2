"""The search of ``planner_runtime.retrieval.search``, compiled: same runs, same order, for builds.

Belongs here: one query at a time over the shelf's columns, in machine code. Does not: what is
searched (``shelf``), what similarity means (``similarity``), what a kernel runs
(``planner_runtime.retrieval.search``, which needs no compiler). Source: reference/reliability.md 6.

Newest runs first, in stretches of words. For every stretch, rows of bits say which runs share 1, 2,
... tags and failure signals; what cannot reach the n-th best so far, given its age and all the
keywords there are, is never scored. Every bound is one, so the result is exact.
Shapes: B queries, W words of a shelf, N runs, R rows of a query, n results.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit

from planner_runtime.retrieval.bitmaps import WORD, TermBitmaps
from planner_runtime.retrieval.shelf import Shelf, group_number
from planner_runtime.retrieval.similarity import DAY_MS, Query

POOL: Final = 1_024  # queries prepared together
FIRST_WORDS: Final = 2  # of the newest stretch, all of whose runs are scored; then twice as many
MOST_WORDS: Final = 128  # of a stretch: its rows of bits stay in the nearest cache
FEW_KEYWORDS: Final = 2  # many runs share so many by chance; those that share more are told apart
_POSITION_BITS: Final = 32
_POSITION_MASK: Final = (1 << _POSITION_BITS) - 1
_SIDE_BITS: Final = 2
_ANYWHERE, _LISTED = -1, -2  # instead of a row: no such filter; a list of documents
_ONES: Final = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_ONE: Final = np.uint64(1)
# the lowest bit of a word times this de Bruijn sequence: the six top bits name its place
_DE_BRUIJN: Final = np.uint64(0x03F7_9D71_B4CB_0A89)
_PLACE: Final = np.zeros(64, dtype=np.int64)
_PLACE[[((0x03F7_9D71_B4CB_0A89 << bit) & (1 << 64) - 1) >> 58 for bit in range(64)]] = range(64)


class _Side(NamedTuple):
    """One kind of term: tags, failure signals, issue, keywords."""

    matrix: np.ndarray  # (rows, W) uint64
    sizes: np.ndarray  # (N,) terms of a run
    rows: np.ndarray  # rows of every query's frequent terms, query after query
    edges: np.ndarray  # (B + 1,) where those of a query begin
    n_terms: np.ndarray  # (B,) terms of a query, known or not
    weight: int
    smallest: int


class _Scope(NamedTuple):
    """Runs of one world, or one objective, for those queries that ask for it."""

    matrix: np.ndarray
    row: np.ndarray  # (B,) a row, ``_ANYWHERE`` or ``_LISTED``
    documents: np.ndarray  # lists, ascending, query after query
    edges: np.ndarray  # (B + 1,)


class _Queries(NamedTuple):
    cutoff: np.ndarray  # (B,) as all below
    group: np.ndarray
    low: np.ndarray
    high: np.ndarray
    listed: np.ndarray  # document and side of every rare term shared, packed; query after query
    listed_edges: np.ndarray  # (B + 1,)


def search(
    shelf: Shelf, queries: Sequence[Query], n: int, *, window: int | None = None
) -> list[list[int]]:
    """For each query the positions of its ``n`` most similar visible runs, best first.

    As ``planner_runtime.search.search``, whose arguments and answers these are.
    """
    if n == 0 or not len(shelf):
        return [[] for _ in queries]
    found: list[list[int]] = []
    for start in range(0, len(queries), POOL):
        best = _search_pool(shelf, queries[start : start + POOL], n, window)
        mask = (1 << _POSITION_BITS) - 1
        found += [[key & mask for key in keys if key >= 0] for keys in best.tolist()]
    return found


def _search_pool(shelf: Shelf, queries: Sequence[Query], n: int, window: int | None) -> np.ndarray:
    weights = shelf.weights
    signals = [
        shelf.failure_signals(q) if q.failure_signals is None else q.failure_signals
        for q in queries
    ]
    issues = [frozenset(() if q.issue_id is None else (q.issue_id,)) for q in queries]
    asked_of: list[tuple[TermBitmaps, list[frozenset[str]], int]] = [
        (shelf.tags, [q.tags for q in queries], weights.tags),
        (shelf.failures, signals, weights.failures),
        (shelf.issues, issues, weights.same_issue),
        (shelf.keywords, [q.keywords for q in queries], weights.keywords),
    ]
    sides, rare = [], []
    for number, (bitmaps, terms, weight) in enumerate(asked_of):
        known = [bitmaps.look_up(one) if weight else ([], []) for one in terms]
        rows, edges = _joined([rows for rows, _ in known])
        sides.append(
            _Side(
                bitmaps.matrix, _column(bitmaps.sizes), rows, edges,
                np.array([len(one) for one in terms], dtype=np.int64), weight, bitmaps.smallest,
            )
        )  # fmt: skip
        rare += [
            query << _POSITION_BITS + _SIDE_BITS | listed << _SIDE_BITS | number
            for query, (_, lists) in enumerate(known)
            for listed in lists
        ]
    packed = np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *rare]))
    per_query = np.arange(len(queries) + 1) << _POSITION_BITS + _SIDE_BITS
    started = _column(shelf.started)
    cutoff = np.array([q.cutoff_ms for q in queries], dtype=np.int64)
    high = np.searchsorted(started, cutoff)
    asked = _Queries(
        cutoff=cutoff,
        group=np.array([group_number(q.group_id) for q in queries], dtype=np.int64),
        low=np.maximum(0, high - window) if window else np.zeros_like(high),
        high=high,
        listed=packed & (1 << _POSITION_BITS + _SIDE_BITS) - 1,
        listed_edges=np.searchsorted(packed, per_query),
    )
    scopes = (
        _scope(shelf.worlds, [q.world_id for q in queries]),
        _scope(shelf.objectives, [q.objective_id for q in queries]),
    )
    best: np.ndarray = _search_all(
        tuple(sides), scopes, asked, started, _column(shelf.ended), _column(shelf.groups),
        np.array([days * DAY_MS for days in weights.recency_days], dtype=np.int64),
        np.array(weights.recency, dtype=np.int64), n,
    )  # fmt: skip
    return best


def _column(values: Any) -> np.ndarray:
    return np.frombuffer(values, dtype=np.int64)


def _joined(lists: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    edges = np.zeros(len(lists) + 1, dtype=np.int64)
    np.cumsum([len(one) for one in lists], out=edges[1:])
    return np.fromiter(chain.from_iterable(lists), dtype=np.int64, count=edges[-1]), edges


def _scope(bitmaps: TermBitmaps, names: Sequence[str | None]) -> _Scope:
    row = np.full(len(names), _ANYWHERE, dtype=np.int64)
    lists: list[Sequence[int]] = [()] * len(names)
    for i, name in enumerate(names):
        if name is not None:
            rows, rare = bitmaps.look_up([name])
            row[i] = rows[0] if rows else _LISTED
            lists[i] = rare[0].tolist() if rare else ()
    return _Scope(bitmaps.matrix, row, *_joined(lists))


# What follows is machine code. Arrays go to functions one by one: taking them out of a tuple there
# would count references, which costs more than the work itself.


@njit(cache=True, nogil=True)
def _bit(matrix, row, document):  # type: ignore[no-untyped-def]
    return np.int64((matrix[row, document >> 6] >> np.uint64(document & 63)) & _ONE)


@njit(cache=True, nogil=True)
def _shared(matrix, rows, first, last, document):  # type: ignore[no-untyped-def]
    """How many terms of a query a run has."""
    count = 0
    for i in range(first, last):
        count += _bit(matrix, rows[i], document)
    return count


@njit(cache=True, nogil=True)
def _points(weight, n_terms, shared, size):  # type: ignore[no-untyped-def]
    """Weight times the Jaccard ratio, rounded down."""
    return weight * shared // max(1, n_terms + size - shared) if shared else 0


@njit(cache=True, nogil=True)
def _fill_bounds(bounds, weight, n_terms, smallest):  # type: ignore[no-untyped-def]
    """The most points that sharing 0, 1, ... terms can give; ascending."""
    for shared in range(len(bounds)):
        bounds[shared] = _points(weight, n_terms, shared, max(smallest, shared))


@njit(cache=True, nogil=True)
def _fewest(bounds, n_rows, points):  # type: ignore[no-untyped-def]
    """How many shared terms give so many points at least; one more than there are where none do."""
    for shared in range(n_rows + 1):
        if bounds[shared] >= points:
            return shared
    return n_rows + 1


@njit(cache=True, nogil=True)
def _is_in(values, first, last, wanted):  # type: ignore[no-untyped-def]
    """Whether a stretch of ascending values has the one that is wanted."""
    end = last
    while first < last:
        middle = (first + last) >> 1
        if values[middle] < wanted:
            first = middle + 1
        else:
            last = middle
    return first < end and values[first] == wanted


@njit(cache=True, nogil=True)
def _bucket(age, ages):  # type: ignore[no-untyped-def]
    bucket = 0
    while bucket < len(ages) and age >= ages[bucket]:
        bucket += 1
    return bucket


@njit(cache=True, nogil=True)
def _in_scope(matrix, row, documents, first, last, document):  # type: ignore[no-untyped-def]
    if row == _LISTED:
        return _is_in(documents, first, last, document)
    return row == _ANYWHERE or _bit(matrix, row, document) == 1


@njit(cache=True, nogil=True)
def _take_place(best, query, key):  # type: ignore[no-untyped-def]
    """Keep a query's row the greatest keys, greatest first."""
    place = best.shape[1] - 1
    if key <= best[query, place]:
        return
    while place > 0 and best[query, place - 1] < key:
        best[query, place] = best[query, place - 1]
        place -= 1
    best[query, place] = key


@njit(cache=True, nogil=True)
def _fill_levels(levels, matrix, rows, first, last, most, start, n_words):  # type: ignore[no-untyped-def]
    """``levels[k]``: runs of a stretch that share at least k terms, k up to ``most``."""
    for w in range(n_words):
        levels[0, w] = _ONES
    for k in range(1, most + 1):
        for w in range(n_words):
            levels[k, w] = 0
    for i in range(first, last):
        bits = matrix[rows[i], start : start + n_words]
        for k in range(min(most, i - first + 1), 0, -1):
            level, below = levels[k], levels[k - 1]
            for w in range(n_words):
                level[w] |= below[w] & bits[w]


@njit(cache=True, nogil=True)
def _fill_mask(  # type: ignore[no-untyped-def]
    mask, n_words, of_tags, of_failures, of_issue, wordy, t_bounds, f_bounds, own_points,
    n_tags, n_failures, n_issues, need, need_of_wordy,
):  # fmt: skip
    """Runs of a stretch that may still be among the best.

    For each number of failure signals shared, and for the issue's own runs and others: how many
    tags would do at least; fewer for the ``wordy``, who share many keywords.
    """
    for w in range(n_words):
        mask[w] = 0
    for own in range(n_issues + 1):
        least = n_tags + 1
        for failing in range(n_failures + 1):
            given = own * own_points + f_bounds[failing]
            enough = _fewest(t_bounds, n_tags, need - given)
            tags, failures, issue = of_tags[enough], of_failures[failing], of_issue[own]
            if enough < least:
                least = enough
                for w in range(n_words):
                    mask[w] |= tags[w] & failures[w] & issue[w]
            enough = _fewest(t_bounds, n_tags, need_of_wordy - given)
            if enough < least:
                tags = of_tags[enough]
                for w in range(n_words):
                    mask[w] |= tags[w] & failures[w] & issue[w] & wordy[w]


@njit(cache=True, nogil=True)
def _search_all(  # type: ignore[no-untyped-def]  # noqa: PLR0915  one loop over arrays at hand
    sides, scopes, asked, started, ended, groups, ages, recency, n
):
    """(B, n) keys of the best runs, best first; -1 where there are no more."""
    (t_matrix, t_sizes, t_rows, t_edges, t_terms, t_weight, t_smallest) = sides[0]
    (f_matrix, f_sizes, f_rows, f_edges, f_terms, f_weight, f_smallest) = sides[1]
    (i_matrix, i_sizes, i_rows, i_edges, i_terms, i_weight, _) = sides[2]
    (k_matrix, k_sizes, k_rows, k_edges, k_terms, k_weight, k_smallest) = sides[3]
    (w_matrix, w_row, w_documents, w_edges) = scopes[0]
    (o_matrix, o_row, o_documents, o_edges) = scopes[1]
    (cutoffs, own_groups, lows, highs, listed, listed_edges) = asked
    n_queries, documents = len(cutoffs), listed >> _SIDE_BITS
    most = 1
    for query in range(n_queries):
        for edges in (t_edges, f_edges, k_edges):
            most = max(most, edges[query + 1] - edges[query])
    of_tags, of_failures = np.zeros((2, most + 2, MOST_WORDS), dtype=np.uint64)
    of_issue = np.zeros((2, MOST_WORDS), dtype=np.uint64)
    of_keywords = np.zeros((FEW_KEYWORDS + 2, MOST_WORDS), dtype=np.uint64)
    mask = np.zeros(MOST_WORDS, dtype=np.uint64)
    t_bounds, f_bounds, k_bounds = np.zeros((3, most + 1), dtype=np.int64)
    best = np.full((n_queries, n), -1, dtype=np.int64)
    for query in range(n_queries):
        cutoff, group, low, high = cutoffs[query], own_groups[query], lows[query], highs[query]
        t_first, t_last = t_edges[query], t_edges[query + 1]
        f_first, f_last = f_edges[query], f_edges[query + 1]
        i_first, i_last = i_edges[query], i_edges[query + 1]
        k_first, k_last = k_edges[query], k_edges[query + 1]
        listed_first, listed_last = listed_edges[query], listed_edges[query + 1]
        n_tags, n_failures, n_words_asked = t_last - t_first, f_last - f_first, k_last - k_first
        _fill_bounds(t_bounds, t_weight, t_terms[query], t_smallest)
        _fill_bounds(f_bounds, f_weight, f_terms[query], f_smallest)
        _fill_bounds(k_bounds, k_weight, k_terms[query], k_smallest)
        few = min(FEW_KEYWORDS, n_words_asked)
        few_points, most_points = k_bounds[few], k_bounds[n_words_asked]

        # first the runs that share a rare term, then the rest, a stretch at a time, newest first
        i, stop, size = listed_first, -(-high // WORD), FIRST_WORDS
        while i < listed_last or stop > low // WORD:
            in_list = i < listed_last
            start = stop
            if not in_list:
                start = max(low // WORD, stop - size)
                n_words = stop - start
                newest = min(high, stop * WORD) - 1
                age_points = 0
                for bucket in range(
                    _bucket(cutoff - started[newest], ages),
                    _bucket(cutoff - started[start * WORD], ages) + 1,
                ):
                    age_points = max(age_points, recency[bucket])
                need = (best[query, n - 1] >> _POSITION_BITS) - age_points
                if newest < best[query, n - 1] & _POSITION_MASK:
                    need += 1  # a tie is lost
                _fill_levels(of_tags, t_matrix, t_rows, t_first, t_last, n_tags, start, n_words)
                _fill_levels(
                    of_failures, f_matrix, f_rows, f_first, f_last, n_failures, start, n_words
                )
                _fill_levels(
                    of_issue, i_matrix, i_rows, i_first, i_last, i_last - i_first, start, n_words
                )
                beyond = few + 1 if few < n_words_asked else 0
                _fill_levels(of_keywords, k_matrix, k_rows, k_first, k_last, beyond, start, n_words)
                _fill_mask(
                    mask, n_words, of_tags, of_failures, of_issue, of_keywords[beyond],
                    t_bounds, f_bounds, i_weight, n_tags, n_failures, i_last - i_first,
                    need - few_points, need - most_points,
                )  # fmt: skip
                size = min(2 * size, MOST_WORDS)
            w, left = stop - start - 1, np.uint64(0)
            if w >= 0:
                left = mask[w]
            while True:
                t_more = f_more = i_more = k_more = 0
                if in_list:
                    if i == listed_last:
                        break
                    document = documents[i]
                    while i < listed_last and documents[i] == document:
                        side = listed[i] & 3
                        t_more += side == 0
                        f_more += side == 1
                        i_more += side == 2
                        k_more += side == 3
                        i += 1
                else:
                    while not left and w > 0:
                        w -= 1
                        left = mask[w]
                    if not left:
                        break
                    lowest = left & (~left + _ONE)
                    left ^= lowest
                    document = (start + w) * WORD + _PLACE[(lowest * _DE_BRUIJN) >> np.uint64(58)]
                if not low <= document < high:
                    continue
                score = recency[_bucket(cutoff - started[document], ages)]
                count = t_more + _shared(t_matrix, t_rows, t_first, t_last, document)
                score += _points(t_weight, t_terms[query], count, t_sizes[document])
                count = f_more + _shared(f_matrix, f_rows, f_first, f_last, document)
                score += _points(f_weight, f_terms[query], count, f_sizes[document])
                count = i_more + _shared(i_matrix, i_rows, i_first, i_last, document)
                score += _points(i_weight, i_terms[query], count, i_sizes[document])
                bar = best[query, n - 1]
                if (score + k_weight) << _POSITION_BITS | document <= bar:
                    continue
                count = k_more + _shared(k_matrix, k_rows, k_first, k_last, document)
                score += _points(k_weight, k_terms[query], count, k_sizes[document])
                key = score << _POSITION_BITS | document
                if key <= bar or ended[document] > cutoff:
                    continue
                if group != 0 and groups[document] == group:
                    continue
                if not _in_scope(
                    w_matrix,
                    w_row[query],
                    w_documents,
                    w_edges[query],
                    w_edges[query + 1],
                    document,
                ) or not _in_scope(
                    o_matrix,
                    o_row[query],
                    o_documents,
                    o_edges[query],
                    o_edges[query + 1],
                    document,
                ):
                    continue
                if not in_list and _is_in(documents, listed_first, listed_last, document):
                    continue
                _take_place(best, query, key)
            stop = start
    return best
