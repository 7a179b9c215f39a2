"""Exact search for the most similar runs on a shelf, many queries at a time.

Belongs here: bounds that rule runs out, scores of those that remain. Does not: the columns searched
(``shelf``), what similarity means (``similarity``). Source: reference/reliability.md 6.

Runs are looked at in blocks, newest first. Bitmaps count the tags and failure signals that every
run of a block shares with every query; a run whose counts and age cannot lift it above the query's
n-th best so far is ruled out unseen, the others are scored. Exact, since every bound is one.
Shapes: B queries, W words of a block, R bitmaps of a query, P pairs of query and run, n results.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from planner_runtime.retrieval.bitmaps import (
    NO_ROW,
    WORD,
    TermBitmaps,
    at_least,
    count_planes,
    positions,
)
from planner_runtime.retrieval.shelf import Shelf, group_number
from planner_runtime.retrieval.similarity import DAY_MS, Query

POOL: Final = 1_024  # queries that are batched together, in the order of their cutoffs
BATCH: Final = 64  # queries at a time
BLOCK_WORDS: Final = 65_536  # words of a block times queries, at most: what a cache holds
FEW_KEYWORDS: Final = 2  # many runs share so many by chance; those that share more are told apart
LEAST_WORDS: Final = 64  # of a block
BAR_WORDS: Final = 64  # the newest runs, in words, whose best set the bar to begin with
_POSITION_BITS: Final = 32
_POSITION_MASK: Final = (1 << _POSITION_BITS) - 1


def search(
    shelf: Shelf, queries: Sequence[Query], n: int, *, window: int | None = None
) -> list[list[int]]:
    """For each query the positions of its ``n`` most similar visible runs, best first.

    Args:
        window: Only so many of the newest runs that started before the cutoff are candidates.
    """
    if n == 0 or not len(shelf):
        return [[] for _ in queries]
    asked = [
        q
        if q.failure_signals is not None
        else msgspec.structs.replace(q, failure_signals=shelf.failure_signals(q))
        for q in queries
    ]
    order = sorted(range(len(asked)), key=lambda i: asked[i].cutoff_ms)
    found: list[list[int]] = [[] for _ in asked]
    for pool in range(0, len(order), POOL):  # of about one moment; in a batch as many signals each
        near = sorted(
            order[pool : pool + POOL], key=lambda i: (len(asked[i].failure_signals or ()), i)
        )
        for start in range(0, len(near), BATCH):
            chosen = near[start : start + BATCH]
            batch = _Batch(shelf, [asked[i] for i in chosen], n, window)
            for i, best in zip(chosen, batch.best(), strict=True):
                found[i] = best
    return found


class _Side:
    """The terms of one kind of all queries of a batch.

    Attributes:
        rows: (R, B) bitmaps of frequent terms, padded with ``NO_ROW``.
        rare: (query, documents) of every rare term.
        n_terms: (B,) terms a query has, known or not.
        bounds: (B, R + 1) most points of a run that shares 0, 1, ... frequent terms; ascending.
    """

    def __init__(self, bitmaps: TermBitmaps, terms: Sequence[frozenset[str]], weight: int) -> None:
        self.bitmaps, self.weight = bitmaps, weight
        known = [bitmaps.look_up(one) if weight else ([], []) for one in terms]
        most = max(len(rows) for rows, _ in known)
        self.rows = np.full((most, len(terms)), NO_ROW, dtype=np.int64)
        for i, (rows, _) in enumerate(known):
            self.rows[: len(rows), i] = rows
        self.rare = [(i, listed) for i, (_, rare) in enumerate(known) for listed in rare]
        self.n_terms = np.array([len(one) for one in terms], dtype=np.int64)
        shared = np.arange(most + 1)
        union = self.n_terms[:, None] + np.maximum(bitmaps.smallest, shared) - shared
        self.bounds = weight * shared // np.maximum(union, 1)

    def planes(self, words: slice) -> list[np.ndarray]:
        """Digits, lowest first, each (B, W): frequent terms that runs of a block share."""
        return count_planes(list(self.bitmaps.matrix[self.rows, words]))

    def shared(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """(P,) frequent terms that pairs share, one gather a pair and bitmap."""
        rows = self.rows[:, queries]  # (R, P)
        bits = (documents & 63).astype(np.uint64)
        held = (self.bitmaps.matrix[rows, documents >> 6] >> bits) & np.uint64(1)
        count: np.ndarray = held.sum(axis=0).view(np.int64)
        return count

    def rare_pairs(self) -> np.ndarray:
        """(query, document) packed, one entry for every rare term that a pair shares."""
        packed = [(query << _POSITION_BITS) | listed for query, listed in self.rare]
        return np.concatenate(packed) if packed else np.zeros(0, dtype=np.int64)

    def points(self, shared: np.ndarray, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """(P,) weight times the Jaccard ratio of pairs that share so many terms, rounded down."""
        union = np.frombuffer(self.bitmaps.sizes, dtype=np.int64)[documents]
        union += self.n_terms[queries]
        union -= shared
        points: np.ndarray = self.weight * shared
        points //= np.maximum(union, 1)
        return points


class _Batch:
    """Queries searched together; their bars rise as blocks are done."""

    def __init__(self, shelf: Shelf, queries: Sequence[Query], n: int, window: int | None) -> None:
        weights = shelf.weights
        self._n, self._size = n, len(queries)
        signals = [q.failure_signals or frozenset() for q in queries]
        issues = [frozenset(() if q.issue_id is None else (q.issue_id,)) for q in queries]
        self._tags = _Side(shelf.tags, [q.tags for q in queries], weights.tags)
        self._failures = _Side(shelf.failures, signals, weights.failures)
        self._issues = _Side(shelf.issues, issues, weights.same_issue)
        self._keywords = _Side(shelf.keywords, [q.keywords for q in queries], weights.keywords)
        self._counted = (self._tags, self._failures, self._issues)
        self._scopes = [
            (bitmaps, [None if name is None else bitmaps.look_up([name]) for name in names])
            for bitmaps, names in (
                (shelf.worlds, [q.world_id for q in queries]),
                (shelf.objectives, [q.objective_id for q in queries]),
            )
            if any(name is not None for name in names)
        ]
        self._started = np.frombuffer(shelf.started, dtype=np.int64)
        self._ended = np.frombuffer(shelf.ended, dtype=np.int64)
        self._groups = np.frombuffer(shelf.groups, dtype=np.int64)
        self._group = np.array([group_number(q.group_id) for q in queries], dtype=np.int64)
        self._cutoff = np.array([q.cutoff_ms for q in queries], dtype=np.int64)
        self._high = np.searchsorted(self._started, self._cutoff)
        self._low = np.maximum(0, self._high - window) if window else np.zeros_like(self._high)
        self._ages = np.array([days * DAY_MS for days in weights.recency_days], dtype=np.int64)
        moments = self._cutoff[:, None] - self._ages
        self._edges = np.searchsorted(self._started, moments, side="right")
        self._recency = np.array(weights.recency, dtype=np.int64)
        # (buckets,) the most points that a run of a bucket or an older one gets
        self._recency_bound = np.maximum.accumulate(self._recency[::-1])[::-1]
        # keys (score, position) of the best so far, best first; -1 where there is none yet
        self._best = np.full((self._size, n), -1, dtype=np.int64)
        self._listed = np.zeros(0, dtype=np.int64)

    def best(self) -> list[list[int]]:
        """Positions of the best visible runs of each query, best first."""
        self._listed = self._look_at_listed()
        blocks = self._blocks()
        for words in blocks[:1]:
            self._raise_bars(words)
        for words in blocks:
            self._look_at_block(words)
        return [
            [int(key) & _POSITION_MASK for key in keys if key >= 0] for keys in self._best.tolist()
        ]

    def _blocks(self) -> list[slice]:
        """Stretches of words, newest first: cut where a recency bucket of the middle query ends."""
        first, last = int(self._low.min()) // WORD, -(-int(self._high.max()) // WORD)
        cuts = {int(edge) // WORD for edge in self._edges[self._size // 2]}
        size = max(LEAST_WORDS, BLOCK_WORDS // self._size)
        blocks, stop = [], last
        while stop > first:
            start = max(first, stop - size, *(cut for cut in (*cuts, 0) if cut < stop))
            blocks.append(slice(start, stop))
            stop = start
        return blocks

    def _raise_bars(self, newest: slice) -> None:
        """Score the runs of the newest stretch that share most tags: a bar to begin with."""
        words = slice(max(int(self._low.min()) // WORD, newest.stop - BAR_WORDS), newest.stop)
        planes = self._tags.planes(words)
        mask = np.zeros((self._size, words.stop - words.start), dtype=np.uint64)
        lacking = np.ones(self._size, dtype=bool)
        for k in range(len(self._tags.rows), 0, -1):
            mask[lacking] = at_least([plane[lacking] for plane in planes], k)
            lacking &= np.bitwise_count(mask).sum(axis=1) < 2 * self._n
            if not lacking.any():
                break
        place, bits = positions(mask)
        queries, inner = np.divmod(place, mask.shape[1])
        ends = np.searchsorted(queries, np.arange(self._size), side="right")
        newest_few = np.arange(len(place)) >= (ends - 4 * self._n)[queries]
        queries = queries[newest_few]
        documents = ((inner + words.start) * WORD + bits)[newest_few]
        self._score(queries, documents, [s.shared(queries, documents) for s in self._counted])

    def _look_at_listed(self) -> np.ndarray:
        """Score every run that shares a rare term; their packed pairs, ascending."""
        rare = [side.rare_pairs() for side in (*self._counted, self._keywords)]
        pairs = np.unique(np.concatenate(rare))
        queries, documents = pairs >> _POSITION_BITS, pairs & _POSITION_MASK
        shared = []
        for side, own in zip((*self._counted, self._keywords), rare, strict=True):
            count = side.shared(queries, documents)
            np.add.at(count, np.searchsorted(pairs, own), 1)
            shared.append(count)
        self._score(queries, documents, shared)
        return pairs

    def _look_at_block(self, words: slice) -> None:
        blank = np.zeros((self._size, words.stop - words.start), dtype=np.uint64)
        planes = [side.planes(words) for side in self._counted]
        mask = self._not_ruled_out(words, planes, blank)
        place, bits = positions(mask)
        if not place.size:
            return
        queries, inner = np.divmod(place, blank.shape[1])
        documents = (inner + words.start) * WORD + bits
        shifts = bits.astype(np.uint64)
        shared = []
        for digits in planes:
            count = np.zeros(len(place), dtype=np.int64)
            for weight, plane in enumerate(digits):
                digit = (plane.ravel()[place] >> shifts) & np.uint64(1)
                count += digit.view(np.int64) << weight
            shared.append(count)
        self._score(queries, documents, shared)

    def _not_ruled_out(
        self, words: slice, planes: Sequence[Sequence[np.ndarray]], blank: np.ndarray
    ) -> np.ndarray:
        """(B, W): runs that may still be among the best of a query.

        For each number of failure signals shared, and for the issue's own runs and others: how many
        tags would do at least, were all keywords shared.
        """
        newest = np.minimum(self._high, words.stop * WORD) - 1
        bucket = (self._edges > newest[:, None]).sum(axis=1)
        nth = self._best[:, -1]
        bar = nth >> _POSITION_BITS  # -1 where fewer than n were seen
        older = newest < (nth & _POSITION_MASK)  # then a tie is lost
        need = bar + older - self._recency_bound[bucket]
        few = min(FEW_KEYWORDS, len(self._keywords.rows))
        wordy = None
        if few < len(self._keywords.rows):
            wordy = at_least(self._keywords.planes(words), few + 1)
        spare = ((self._keywords.bounds[:, few], None), (self._keywords.bounds[:, -1], wordy))
        levels: dict[int, np.ndarray] = {0: ~blank}
        mask = blank.copy()
        most = len(self._tags.rows)
        for issue_points, own in _tiers(self._issues, planes[2]):
            least = np.full(self._size, most + 1)
            for failure_points, failing in _tiers(self._failures, planes[1]):
                rest = need - issue_points - failure_points
                found = least
                for keyword_points, sharing in spare[: 1 if wordy is None else 2]:
                    short = rest - keyword_points
                    enough = (self._tags.bounds < short[:, None]).sum(axis=1)
                    better = enough < found
                    for k in np.unique(enough[better]).tolist():
                        if k not in levels:
                            levels[k] = at_least(planes[0], k)
                        rows = np.flatnonzero(better & (enough == k))
                        admitted = levels[k][rows]
                        for part in (own, failing, sharing):
                            if part is not None:
                                admitted &= part[rows]
                        mask[rows] |= admitted
                    found = np.minimum(found, enough)
                    if sharing is None:
                        least = found
        return mask

    def _score(
        self, queries: np.ndarray, documents: np.ndarray, shared: Sequence[np.ndarray]
    ) -> None:
        """Score pairs and let the best of them take their places.

        Args:
            queries: (P,) numbers of queries, ascending.
            documents: (P,) positions.
            shared: For each counted side, and perhaps for keywords, (P,) terms in common.
        """
        inside = (documents < self._high[queries]) & (documents >= self._low[queries])
        kept = np.flatnonzero(inside)
        queries, documents, shared = queries[kept], documents[kept], [one[kept] for one in shared]
        age = self._cutoff[queries] - self._started[documents]
        score = self._recency[np.searchsorted(self._ages, age, side="right")]
        for side, count in zip(self._counted, shared, strict=False):
            if len(side.rows) or side.rare:
                score += side.points(count, queries, documents)
        floor = self._best[:, -1][queries]
        keep = ((score + self._keywords.weight) << _POSITION_BITS) | documents > floor
        keep &= self._may_see(queries, documents)
        kept = np.flatnonzero(keep)
        queries, documents, score, floor = queries[kept], documents[kept], score[kept], floor[kept]
        if len(shared) > len(self._counted):
            words = shared[-1][kept]
        else:
            words = self._keywords.shared(queries, documents)
        score += self._keywords.points(words, queries, documents)
        keys = (score << _POSITION_BITS) | documents
        kept = np.flatnonzero(keys > floor)
        self._take_places(queries[kept], keys[kept])

    def _may_see(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """(P,) whether a query may see a run, and whether that was not scored as a listed one."""
        visible: np.ndarray = self._ended[documents] <= self._cutoff[queries]
        own = self._group[queries]
        visible &= (own == 0) | (self._groups[documents] != own)
        if self._listed.size:
            pairs = (queries << _POSITION_BITS) | documents
            place = np.searchsorted(self._listed, pairs)
            place[place == len(self._listed)] = 0
            visible &= self._listed[place] != pairs
        for bitmaps, looked_up in self._scopes:
            visible &= _in_scope(bitmaps, looked_up, queries, documents)
        return visible

    def _take_places(self, queries: np.ndarray, keys: np.ndarray) -> None:
        if not keys.size:
            return
        n = self._n
        queries = np.concatenate([queries, np.repeat(np.arange(self._size), n)])
        keys = np.concatenate([keys, self._best.ravel()])
        order = np.lexsort((-keys, queries))
        queries, keys = queries[order], keys[order]
        fresh = np.ones(len(keys), dtype=bool)
        fresh[1:] = (keys[1:] != keys[:-1]) | (queries[1:] != queries[:-1]) | (keys[1:] < 0)
        queries, keys = queries[fresh], keys[fresh]
        starts = np.searchsorted(queries, np.arange(self._size))
        rank = np.arange(len(keys)) - starts[queries]
        top = rank < n
        self._best[queries[top], rank[top]] = keys[top]


def _tiers(side: _Side, planes: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """For 0, 1, ... shared terms: most points (B,) that gives, and where such runs are."""
    levels = [None, *(at_least(planes, k) for k in range(1, len(side.rows) + 1))]
    return [(side.bounds[:, k], level) for k, level in enumerate(levels)]


def _in_scope(
    bitmaps: TermBitmaps,
    looked_up: Sequence[tuple[list[int], list[np.ndarray]] | None],
    queries: np.ndarray,
    documents: np.ndarray,
) -> np.ndarray:
    """(P,) whether runs are of the world, or objective, that a query asks for."""
    inside = np.ones(len(queries), dtype=bool)
    for i, found in enumerate(looked_up):
        if found is None:
            continue
        start, stop = np.searchsorted(queries, [i, i + 1])
        rows, rare = found
        here = documents[start:stop]
        if rows:
            held = bitmaps.matrix[rows[0], here >> 6] >> (here & 63).astype(np.uint64)
            inside[start:stop] = (held & np.uint64(1)).astype(bool)
        else:
            inside[start:stop] = np.isin(here, rare[0]) if rare else False
    return inside
