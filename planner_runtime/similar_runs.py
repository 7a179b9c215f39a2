"""Similar-run retrieval: which past runs a planner may look at, and in what order.

Belongs here: the index that a kernel and the pipeline ask, and when a run is put on a shelf.
Does not: what similarity means (``retrieval.similarity``), how the best are found (``search``,
``retrieval.lone_search``, ``retrieval.fresh_runs``), turning runs into tokens (``tokenizer``).
Spec: section 5.2 (score), 5.3 (leakage).
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final, Protocol

import msgspec

from planner_runtime.contracts.run_summary import Domain, RunSummary
from planner_runtime.fork_safe_lock import ForkSafeLock
from planner_runtime.inputs import run_document
from planner_runtime.retrieval.fresh_runs import FreshRun, Ranked, fresh_signals, rank_fresh
from planner_runtime.retrieval.lone_search import search_one
from planner_runtime.retrieval.search import search
from planner_runtime.retrieval.shelf import Shelf, sort_runs
from planner_runtime.retrieval.similarity import (
    DAY_MS,
    DEFAULT_WEIGHTS,
    Query,
    RunKeys,
    SimilarityWeights,
    is_visible,
    run_keys,
)

__all__ = [
    "DAY_MS", "DEFAULT_WEIGHTS", "Query", "RunIndex", "Searcher", "SimilarityWeights", "is_visible",
]  # fmt: skip

ShelfKey = tuple[str, Domain]
MOST_FRESH: Final = 48  # runs beside a shelf, before the older ones are put on it
KEPT_FRESH: Final = 16  # of them stay beside it: one that started before them may still come
MOST_LATE: Final = 64  # runs beside a shelf that belong into its middle, before it is made anew
LATE_RATIO: Final = 256  # of a long shelf: one in so many
DEAD_RATIO: Final = 8  # replaced or removed runs on a shelf, before it is made anew
ROOM: Final = 2_048  # runs that a new shelf has room for beyond its own
MOST_DOCUMENTS: Final = 4_096  # that are kept written out
FEW_QUERIES: Final = 4  # are searched one by one


class Searcher(Protocol):
    """Exact search of a shelf: by numpy (``search``), or compiled, in the pipeline, for builds."""

    def __call__(
        self, shelf: Shelf, queries: Sequence[Query], n: int, *, window: int | None = None
    ) -> list[list[int]]:
        """For each query the positions of its ``n`` most similar visible runs, best first."""
        ...


class _Drawer:
    """A shelf, its runs by position, and the runs that wait beside it."""

    def __init__(self, weights: SimilarityWeights) -> None:
        self.shelf = Shelf(weights)
        self.runs: list[RunSummary] = []  # by position
        self.dead: set[int] = set()  # positions whose runs were removed
        self.fresh: dict[str, FreshRun] = {}
        self.late: dict[str, FreshRun] = {}

    def fill(self, runs: Sequence[RunSummary]) -> None:
        """Put runs into an empty drawer."""
        of_id = {run.run_id: run for run in runs}
        keys = sort_runs([_keys(run) for run in runs])
        n = max(0, len(keys) - KEPT_FRESH)
        self.shelf.extend(keys[:n], expected=_with_room(n))
        self.runs = [of_id[one.run_id] for one in keys[:n]]
        self.fresh = {one.run_id: FreshRun(of_id[one.run_id], one.ended_ms) for one in keys[n:]}

    def drop(self, run: RunSummary) -> None:
        """Take away a run that was put in."""
        if self.fresh.pop(run.run_id, None) or self.late.pop(run.run_id, None):
            return
        position = bisect_left(self.shelf.started, run.started_ms)
        while self.runs[position].run_id != run.run_id or position in self.dead:
            position += 1
        self.dead.add(position)
        self.shelf.hide(position)
        if run.issue_id is not None:
            left = self.shelf.issues.documents_of(run.issue_id)
            keys = [_keys(self.runs[place]) for place in left if place not in self.dead]
            self.shelf.tell_signals(run.issue_id, keys)

    def settle(self, *, wholly: bool) -> None:
        """Put runs on the shelf when many wait.

        Args:
            wholly: All that wait, and no removed run may stay.
        """
        if wholly:
            if self.dead or self.late:
                self._make_anew()
            self._put(len(self.fresh))
        elif len(self.fresh) > MOST_FRESH:
            self._put(len(self.fresh) - KEPT_FRESH)
        n_held = len(self.runs)
        if len(self.late) > (0 if wholly else max(MOST_LATE, n_held // LATE_RATIO)) or len(
            self.dead
        ) > max(MOST_LATE, n_held // DEAD_RATIO):
            self._make_anew()

    def _put(self, n: int) -> None:
        """The ``n`` fresh runs that started first, on the shelf where they follow what is there."""
        keys = sort_runs([_keys(one.run) for one in self.fresh.values()])[:n]
        shelf = self.shelf
        late = [one for one in keys if not shelf.follows(one.started_ms, one.run_id)]
        for one in late:
            self.late[one.run_id] = self.fresh.pop(one.run_id)
        self._extend(keys[len(late) :])

    def _extend(self, keys: Sequence[RunKeys]) -> None:
        self.shelf.extend(keys)
        self.runs += [self.fresh.pop(one.run_id).run for one in keys]

    def _make_anew(self) -> None:
        """A shelf of all but the fresh runs."""
        alive = [run for place, run in enumerate(self.runs) if place not in self.dead]
        held = alive + [one.run for one in self.late.values()]
        keys = sort_runs([_keys(run) for run in held])
        of_id = {run.run_id: run for run in held}
        self.shelf, self.dead, self.late = Shelf(self.shelf.weights), set(), {}
        self.shelf.extend(keys, expected=_with_room(len(keys)))
        self.runs = [of_id[one.run_id] for one in keys]

    def signals(self, query: Query) -> frozenset[str]:
        """Fail codes of the issue's own runs that ``query`` may see."""
        if query.failure_signals is not None:
            return query.failure_signals
        return self.own_signals(query)

    def own_signals(self, query: Query) -> frozenset[str]:
        """As ``signals``, whatever the query says."""
        beside = fresh_signals((*self.fresh.values(), *self.late.values()), query)
        return self.shelf.failure_signals(query).union(beside)

    def best(self, query: Query, n: int, window: int | None) -> list[RunSummary]:
        """The ``n`` most similar runs, on the shelf and beside it."""
        if n == 0:
            return []
        signals = self.signals(query)
        found = search_one(self.shelf, query, signals, n, window=window)
        runs, weights = self.runs, self.shelf.weights
        least = found[-1].score if len(found) == n else 0
        beside = rank_fresh(self.fresh.values(), query, signals, weights, least)
        if self.late:
            beside += rank_fresh(self.late.values(), query, signals, weights, least)
        if not beside:
            return [runs[one.position] for one in found]
        for score, position in found:
            run = runs[position]
            beside.append(Ranked(-score, -run.started_ms, run.run_id, run))
        beside.sort(key=lambda one: one[:3])
        return [one.run for one in beside[:n]]


def _with_room(n: int) -> int:
    """Runs to make room for at once; room that nobody takes is no memory."""
    return n + n // 8 + ROOM


def _keys(run: RunSummary) -> RunKeys:
    keys = run_keys(run)
    assert keys is not None  # no run without an end is put into a drawer
    return keys


def _json_values(document: dict[str, Any]) -> dict[str, Any]:
    """A document with lists where structs have tuples, as if it had been read from JSON."""
    try:
        read: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
        return read
    except (UnicodeError, ValueError):  # half a surrogate pair, which a kernel may hold
        pass

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        return [plain(one) for one in value] if isinstance(value, list | tuple) else value

    return {key: plain(value) for key, value in document.items()}


class RunIndex:
    """Exact, incremental retrieval over run summaries; one for all threads.

    Args:
        runs: In any order, as are later ones. A run without a known end is never shown; a run added
            again under its id replaces the earlier one.
        window: Only so many of the newest runs of a job type and domain that started before a
            decision are its candidates; None for all of them.
        searcher: Finds the same runs as any other, for many queries at a time.

    Raises:
        ValueError: ``window`` is not positive.
    """

    def __init__(
        self,
        runs: Iterable[RunSummary] = (),
        *,
        weights: SimilarityWeights = DEFAULT_WEIGHTS,
        window: int | None = None,
        searcher: Searcher = search,
    ) -> None:
        if window is not None and window < 1:
            raise ValueError(f"a window holds at least one run, got {window}")
        self.weights, self._window, self._search = weights, window, searcher
        self._runs: dict[str, RunSummary] = {}
        self._drawers: dict[ShelfKey, _Drawer] = {}
        self._n_added = 0
        self._documents: dict[str, tuple[RunSummary, dict[str, Any]]] = {}
        self._lock = ForkSafeLock(is_reentrant=True)
        self.update(runs)

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, run: RunSummary) -> None:
        """Make ``run`` findable; cheapest about in the order of their starts."""
        with self._lock:
            self._add(run)

    def update(self, runs: Iterable[RunSummary], *, removed: Iterable[str] = ()) -> None:
        """Add and remove runs at once: no question sees a part of it."""
        with self._lock:
            for run_id in removed:
                self._remove(run_id)
            if self._runs:
                for run in runs:
                    self._add(run)
            else:
                self._fill({run.run_id: run for run in runs})
            for drawer in self._drawers.values():
                drawer.settle(wholly=False)

    def settle(self) -> None:
        """Do now what the next question would have to do first."""
        with self._lock:
            for drawer in self._drawers.values():
                drawer.settle(wholly=self._window is not None)

    def added_since(self, n_added: int) -> tuple[list[RunSummary], int]:
        """The runs that came after ``n_added`` additions, and how many there are now; where runs
        were replaced or removed, a few from before stand among them.
        """
        with self._lock:
            newest = islice(reversed(self._runs.values()), self._n_added - n_added)
            return list(newest), self._n_added

    def failure_signals(self, query: Query) -> frozenset[str]:
        """Fail codes of the issue's own runs that ``query`` may see."""
        with self._lock:
            drawer = self._drawers.get((query.job_type, query.domain))
            return frozenset() if drawer is None else drawer.own_signals(query)

    def similar_runs(self, query: Query, *, n: int) -> list[RunSummary]:
        """The ``n`` most similar visible runs, by (score desc, started_ms desc, run_id asc).

        Candidates have the query's job type and domain, and its world and objective where the
        query has them.

        Raises:
            ValueError: ``n`` is negative.
        """
        return self.similar_runs_of([query], n=n)[0]

    def similar_documents(self, query: Query, *, n: int) -> list[dict[str, Any]]:
        """``similar_runs`` as an input shows them; what stands in one is shared, and not to be
        changed. Raises as that.
        """
        with self._lock:
            return [dict(self._document(run)) for run in self.similar_runs(query, n=n)]

    def _document(self, run: RunSummary) -> dict[str, Any]:
        known = self._documents.get(run.run_id)
        if known is not None and known[0] is run:
            return known[1]
        if len(self._documents) >= MOST_DOCUMENTS:
            self._documents.clear()
        document = _json_values(run_document(run))
        self._documents[run.run_id] = run, document
        return document

    def similar_runs_of(self, queries: Sequence[Query], *, n: int) -> list[list[RunSummary]]:
        """``similar_runs`` of every query, several times faster than one by one. Raises as that."""
        if n < 0:
            raise ValueError(f"n must not be negative, got {n}")
        of_drawer: dict[ShelfKey, list[int]] = {}
        for i, query in enumerate(queries):
            of_drawer.setdefault((query.job_type, query.domain), []).append(i)
        found: list[list[RunSummary]] = [[] for _ in queries]
        with self._lock:
            for key, numbers in of_drawer.items():
                if (drawer := self._drawers.get(key)) is None:
                    continue
                is_few = len(numbers) <= FEW_QUERIES and self._search is search
                drawer.settle(wholly=self._window is not None or not is_few)
                asked = [queries[i] for i in numbers]
                if is_few:
                    best = [drawer.best(query, n, self._window) for query in asked]
                else:
                    places = self._search(drawer.shelf, asked, n, window=self._window)
                    best = [[drawer.runs[place] for place in one] for one in places]
                for i, one in zip(numbers, best, strict=True):
                    found[i] = one
        return found

    def _add(self, run: RunSummary) -> None:
        self._remove(run.run_id)
        self._runs[run.run_id] = run  # the last of them
        self._n_added += 1
        if run.ended_ms is None:
            return
        key: ShelfKey = (run.job_type, run.domain)
        drawer = self._drawers.get(key)
        if drawer is None:
            drawer = self._drawers[key] = _Drawer(self.weights)
        drawer.fresh[run.run_id] = FreshRun(run, run.ended_ms)

    def _fill(self, runs: dict[str, RunSummary]) -> None:
        """Put all runs in at once."""
        self._runs = runs
        self._n_added += len(runs)
        of_key: dict[ShelfKey, list[RunSummary]] = {}
        for run in runs.values():
            if run.ended_ms is not None:
                of_key.setdefault((run.job_type, run.domain), []).append(run)
        for key, own in of_key.items():
            drawer = self._drawers[key] = _Drawer(self.weights)
            drawer.fill(own)

    def _remove(self, run_id: str) -> None:
        earlier = self._runs.pop(run_id, None)
        if earlier is not None and earlier.ended_ms is not None:
            self._drawers[earlier.job_type, earlier.domain].drop(earlier)
