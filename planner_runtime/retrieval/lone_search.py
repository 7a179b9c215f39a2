"""Exact search of a shelf for one question: what a kernel asks at every dispatch.

Belongs here: the same bounds as ``search`` has, arranged for one query, where the number of numpy
calls is what costs. Does not: many queries at a time (``search``), the columns (``shelf``), runs
that are on no shelf yet (``similar_runs``). Source: reference/reliability.md 6.

Runs that share a rare term are listed and scored first; their n-th best is the bar. What is left
shares frequent terms alone: bitmaps count its tags, and only runs whose tags, with all else at its
most, can pass the bar are scored, recency bucket after recency bucket.
Shapes: W words of a stretch, R bitmaps of a term's side, P runs looked at.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from planner_runtime.retrieval.bitmaps import WORD, TermBitmaps, at_least, count_planes, positions
from planner_runtime.retrieval.shelf import Shelf, group_number
from planner_runtime.retrieval.similarity import DAY_MS, Query

WORTH_SCORING: Final = 400  # runs that are scored before older ones are looked at
WORTH_SORTING_OUT: Final = 100  # runs
FEW_KEYWORDS: Final = 2  # many runs share so many by chance
FEW_WORDS: Final = 32  # the newest, where the bar begins when no run shares a rare term
_SHIFT: Final = 32
_MASK: Final = (1 << _SHIFT) - 1
_ONE: Final = np.uint64(1)
_LOW_BITS: Final = np.int64(63)
_NOTHING: Final = np.zeros(0, dtype=np.int64)


class Found(NamedTuple):
    """One of the best runs of a shelf."""

    score: int
    position: int


def search_one(
    shelf: Shelf, query: Query, signals: frozenset[str], n: int, *, window: int | None = None
) -> list[Found]:
    """The ``n`` most similar visible runs on a shelf, best first; equal scores by position.

    Args:
        signals: The query's failure signals.
        window: Only so many of the newest runs that started before the cutoff are candidates.
    """
    high = bisect_left(shelf.started, query.cutoff_ms)
    low = max(0, high - window) if window else 0
    if n == 0 or high <= low:
        return []
    return _Search(shelf, query, signals, n, low, high).best()


class _Side:
    """The query's terms of one kind.

    Attributes:
        rows: (R, 1) bitmaps of its frequent terms.
        listed: Documents of its rare terms, one entry for every term a document shares.
        bounds: Most points of a run that shares 0, 1, ... R of the frequent terms; ascending.
    """

    __slots__ = ("bitmaps", "bounds", "listed", "n_rows", "n_terms", "rows", "weight")

    def __init__(self, bitmaps: TermBitmaps, terms: frozenset[str], weight: int) -> None:
        self.bitmaps, self.weight, self.n_terms = bitmaps, weight, len(terms)
        rows: list[int] = []
        self.listed = _NOTHING
        if weight:
            rows, self.listed = bitmaps.look_up_flat(terms)
        self.n_rows = len(rows)
        self.rows = np.array(rows, dtype=np.int64)[:, None]
        least, own = bitmaps.smallest, self.n_terms
        self.bounds = [
            weight * k // max(own + max(least, k) - k, 1) for k in range(self.n_rows + 1)
        ]

    @property
    def is_empty(self) -> bool:
        return not self.n_rows and not self.listed.size

    def shared(self, words: np.ndarray, bits: np.ndarray) -> np.ndarray | int:
        """(P,) frequent terms that runs share."""
        if not self.n_rows:
            return 0
        held = self.bitmaps.matrix[self.rows, words]  # (R, P)
        held >>= bits
        held &= _ONE
        count: np.ndarray = np.add.reduce(held, axis=0).view(np.int64)
        return count

    def points(self, shared: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """(P,) weight times the Jaccard ratio, rounded down."""
        union = np.frombuffer(self.bitmaps.sizes, dtype=np.int64)[documents]
        union += self.n_terms
        union -= shared
        np.maximum(union, 1, out=union)
        points: np.ndarray = shared * self.weight
        points //= union
        return points


class _Search:
    """One query; its bar rises as stretches are done."""

    def __init__(
        self, shelf: Shelf, query: Query, signals: frozenset[str], n: int, low: int, high: int
    ) -> None:
        weights = shelf.weights
        issue = frozenset(() if query.issue_id is None else (query.issue_id,))
        self._n, self._low, self._high, self._cutoff = n, low, high, query.cutoff_ms
        self._tags = _Side(shelf.tags, query.tags, weights.tags)
        self._failures = _Side(shelf.failures, signals, weights.failures)
        self._issue = _Side(shelf.issues, issue, weights.same_issue)
        self._keywords = _Side(shelf.keywords, query.keywords, weights.keywords)
        self._sides = (self._tags, self._failures, self._issue, self._keywords)
        self._scopes = [
            (bitmaps, *bitmaps.look_up_flat([name]))
            for bitmaps, name in (
                (shelf.worlds, query.world_id),
                (shelf.objectives, query.objective_id),
            )
            if name is not None
        ]
        self._ended = np.frombuffer(shelf.ended, dtype=np.int64)
        self._groups = np.frombuffer(shelf.groups, dtype=np.int64)
        self._group = group_number(query.group_id)
        # oldest first, as positions are
        self._recency = np.array(weights.recency[::-1], dtype=np.int64)
        self._points_of_age = weights.recency
        # descending: a run at a position below an edge is as old as that many days, or older
        self._edges = [
            min(high, bisect_right(shelf.started, query.cutoff_ms - days * DAY_MS))
            for days in weights.recency_days
        ]
        self._best: list[int] = []  # keys (score, position), best first
        self._listed = _NOTHING

    def best(self) -> list[Found]:
        """The best visible runs, best first."""
        narrow = [listed for _, rows, listed in self._scopes if not rows]
        if narrow:  # of a rare world, or objective, there are few runs: all are scored
            self._score_listed(narrow[0])
        else:
            self._score_listed(np.concatenate([side.listed for side in self._sides]))
            self._score_rest()
        return [Found(key >> _SHIFT, key & _MASK) for key in self._best]

    def _bar(self) -> int:
        """What a key must exceed."""
        return self._best[-1] if len(self._best) == self._n else -1

    def _score_listed(self, listed: np.ndarray) -> None:
        """Score runs, each with the rare terms it shares."""
        documents = np.unique(listed)
        documents = documents[documents.searchsorted(self._low) :]
        documents = documents[: documents.searchsorted(self._high)]
        self._listed = documents
        if not documents.size:
            return
        words, bits = documents >> 6, (documents & _LOW_BITS).view(np.uint64)
        score = self._recency_of(documents)
        for side in self._sides:
            if side.is_empty:
                continue
            shared = side.shared(words, bits)
            if side.listed.size:
                place = documents.searchsorted(side.listed)
                inside = place < len(documents)
                place = place[inside]
                place = place[documents[place] == side.listed[inside]]
                shared = shared + np.bincount(place, minlength=len(documents))
            score += side.points(np.asarray(shared), documents)
        self._take(score, documents)

    def _recency_of(self, documents: np.ndarray) -> np.ndarray:
        """(P,) points for age of runs in ascending order."""
        ends = [*documents.searchsorted(self._edges[::-1]).tolist(), len(documents)]
        runs = [stop - start for start, stop in zip([0, *ends], ends, strict=False)]
        return self._recency.repeat(runs)

    def _take(self, score: np.ndarray, documents: np.ndarray) -> None:
        """Let the best of some runs that may be seen take their places."""
        keys = score << _SHIFT
        keys |= documents
        keep = keys > self._bar()
        keep &= self._ended[documents] <= self._cutoff
        if self._group:
            keep &= self._groups[documents] != self._group
        for bitmaps, rows, listed in self._scopes:
            if rows:
                held = bitmaps.matrix[rows[0], documents >> 6]
                keep &= (held >> (documents & _LOW_BITS).view(np.uint64) & _ONE).astype(bool)
            else:
                keep &= np.isin(documents, listed)
        keys = keys[keep]
        if keys.size > 4 * self._n:
            keys = np.partition(keys, keys.size - self._n)[-self._n :]
        if keys.size:
            self._best = sorted((*self._best, *keys.tolist()), reverse=True)[: self._n]

    def _score_rest(self) -> None:
        """Runs that share frequent terms alone, or nothing."""
        first, last = self._low // WORD, -(-self._high // WORD)
        columns = _Columns(self._sides, slice(first, last))
        masks: list[np.ndarray] = []
        n_found = 0
        for start, stop, recency in self._stretches(first, last):
            mask = self._not_ruled_out(columns, slice(start - first, stop - first), stop, recency)
            if mask is not None:
                n_found += int(np.bitwise_count(mask).sum())
            masks.append(np.zeros(stop - start, dtype=np.uint64) if mask is None else mask)
            if n_found > WORTH_SCORING or stop == last or start == first:
                if n_found:
                    self._score_masked(np.concatenate(masks[::-1]), start)
                masks, n_found = [], 0

    def _stretches(self, first: int, last: int) -> list[tuple[int, int, int]]:
        """Words from, to, and the most points for age there; newest first."""
        stretches: list[tuple[int, int, int]] = []
        stop, edges = last, self._edges
        cuts = {*(edge // WORD for edge in edges), first}
        if self._bar() < 0:
            cuts.add(last - FEW_WORDS)
        for start in sorted((max(first, cut) for cut in cuts), reverse=True):
            if start < stop:
                newest = min(self._high, stop * WORD) - 1
                oldest = max(self._low, start * WORD)
                youngest = sum([newest < edge for edge in edges])
                eldest = sum([oldest < edge for edge in edges])
                stretches.append((start, stop, max(self._points_of_age[youngest : eldest + 1])))
                stop = start
        return stretches

    def _not_ruled_out(
        self, columns: "_Columns", inside: slice, stop: int, recency: int
    ) -> np.ndarray | None:
        """Runs of a stretch that may pass the bar, as bits; None for none.

        Args:
            inside: The stretch, in words of ``columns``.
            stop: The word after it.
        """
        bar = self._bar()
        need = (bar >> _SHIFT) - recency
        if bar >= 0 and (bar & _MASK) >= stop * WORD:
            need += 1  # all are older than the n-th best: a tie is lost
        words = self._keywords.bounds
        mask = self._may_reach(columns, inside, need - words[-1])
        few = FEW_KEYWORDS
        if mask is not None and len(words) - 1 > few and len(mask) > FEW_WORDS:
            mask = mask & columns.at_least_words(inside, few + 1)
            poor = self._may_reach(columns, inside, need - words[few])
            if poor is not None:
                mask |= poor
        return mask

    def _may_reach(self, columns: "_Columns", inside: slice, need: int) -> np.ndarray | None:
        """Runs whose tags, failures and issue may earn so many points."""
        levels: list[tuple[int, np.ndarray | None]] = [(need, None)]
        if columns.failing is not None:
            levels.append((need - self._failures.bounds[-1], columns.failing[inside]))
        if columns.own is not None:
            own, most = columns.own[inside], self._issue.bounds[-1]
            levels += [(rest - most, own if part is None else part & own) for rest, part in levels]
        mask: np.ndarray | None = None
        for rest, part in levels:
            k = bisect_left(self._tags.bounds, rest)
            if k > self._tags.n_rows:
                continue
            level = columns.at_least_tags(inside, k)
            if part is not None:
                level = level & part
            mask = level if mask is None else mask | level
        return mask

    def _score_masked(self, mask: np.ndarray, start: int) -> None:
        """Score the runs of some bits: side by side, each exact, the rest at its most."""
        place, bit = positions(mask)
        documents = (place + start) * WORD
        documents += bit
        if documents[0] < self._low or documents[-1] >= self._high:
            documents = documents[documents.searchsorted(self._low) :]
            documents = documents[: documents.searchsorted(self._high)]
        if self._listed.size and documents.size:
            place = self._listed.searchsorted(documents)
            place[place == len(self._listed)] = 0
            documents = documents[self._listed[place] != documents]
        score = self._recency_of(documents)
        least = self._bar() >> _SHIFT
        left = sum(side.bounds[-1] for side in self._sides)
        words, bits = documents >> 6, (documents & _LOW_BITS).view(np.uint64)
        for side in self._sides:
            if not side.n_rows:
                continue
            left -= side.bounds[-1]
            score += side.points(np.asarray(side.shared(words, bits)), documents)
            if least >= 0 and documents.size > WORTH_SORTING_OUT:
                kept = score >= least - left
                documents, score = documents[kept], score[kept]
                words, bits = words[kept], bits[kept]
        if documents.size:
            self._take(score, documents)


class _Columns:
    """What stretches of a shelf share with the query, counted for all of them together.

    Attributes:
        failing, own: Runs with a frequent failure signal, and of the issue; None where there is no
            bitmap of such.
    """

    def __init__(self, sides: Sequence[_Side], words: slice) -> None:
        tags, failures, issue, self._keywords = sides
        self._words = words
        self._tags = count_planes(list(_rows(tags, words)))
        self.failing = _any_of(failures, words)
        self.own = _any_of(issue, words)

    def at_least_tags(self, inside: slice, k: int) -> np.ndarray:
        """Runs of a stretch that share ``k`` frequent tags or more."""
        if k == 0:
            return np.full(inside.stop - inside.start, ~np.uint64(0))
        return at_least([plane[inside] for plane in self._tags], k)

    def at_least_words(self, inside: slice, k: int) -> np.ndarray:
        """Runs of a stretch that share ``k`` frequent keywords or more."""
        first = self._words.start
        here = slice(first + inside.start, first + inside.stop)
        return at_least(count_planes(list(_rows(self._keywords, here))), k)


def _rows(side: _Side, words: slice) -> np.ndarray:
    return side.bitmaps.matrix[side.rows[:, 0], words]


def _any_of(side: _Side, words: slice) -> np.ndarray | None:
    if not side.n_rows:
        return None
    any_of: np.ndarray = np.bitwise_or.reduce(_rows(side, words), axis=0)
    return any_of
