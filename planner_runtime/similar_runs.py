"""Similar-run retrieval: which past runs a planner may look at, and in what order.

Belongs here: the index that a kernel and the pipeline ask. Does not: what similarity means
(``similarity``), how the best are found (``shelf``), turning runs into tokens (``tokenizer``).
Spec: section 5.2 (score), 5.3 (leakage).
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from planner_runtime.contracts.run_summary import Domain, RunSummary
from planner_runtime.search import search
from planner_runtime.shelf import Shelf, sort_runs
from planner_runtime.similarity import (
    DAY_MS,
    DEFAULT_WEIGHTS,
    Query,
    SimilarityWeights,
    is_visible,
    run_keys,
)

__all__ = [
    "DAY_MS", "DEFAULT_WEIGHTS", "Query", "RunIndex", "Searcher", "SimilarityWeights", "is_visible",
]  # fmt: skip

ShelfKey = tuple[str, Domain]


class Searcher(Protocol):
    """Exact search of a shelf: by numpy (``search``), or compiled, in the pipeline, for builds."""

    def __call__(
        self, shelf: Shelf, queries: Sequence[Query], n: int, *, window: int | None = None
    ) -> list[list[int]]:
        """For each query the positions of its ``n`` most similar visible runs, best first."""
        ...


class RunIndex:
    """Exact, incremental retrieval over run summaries.

    Args:
        runs: In any order, as are later ones. A run without a known end is never shown; a run added
            again under its id replaces the earlier one.
        window: Only so many of the newest runs of a job type and domain that started before a
            decision are its candidates; None for all of them.
        searcher: Finds the same runs as any other.

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
        self._shelf_of: dict[str, ShelfKey] = {}  # by run id
        self._shelves: dict[ShelfKey, Shelf] = {}
        self._held: dict[ShelfKey, list[RunSummary]] = {}  # by position on the shelf
        self._new: dict[ShelfKey, dict[str, RunSummary]] = {}
        for run in runs:
            self.add(run)

    def __len__(self) -> int:
        return len(self._shelf_of)

    def add(self, run: RunSummary) -> None:
        """Make ``run`` findable; cheapest in the order of their starts."""
        key: ShelfKey = (run.job_type, run.domain)
        earlier = self._shelf_of.get(run.run_id)
        if earlier is not None:
            self._forget(earlier, run.run_id)
        self._shelf_of[run.run_id] = key
        self._new.setdefault(key, {})[run.run_id] = run

    def failure_signals(self, query: Query) -> frozenset[str]:
        """Fail codes of the issue's own runs that ``query`` may see."""
        shelf = self._shelf((query.job_type, query.domain))
        return frozenset() if shelf is None else shelf.failure_signals(query)

    def similar_runs(self, query: Query, *, n: int) -> list[RunSummary]:
        """The ``n`` most similar visible runs, by (score desc, started_ms desc, run_id asc).

        Candidates have the query's job type and domain, and its world and objective where the
        query has them.

        Raises:
            ValueError: ``n`` is negative.
        """
        return self.similar_runs_of([query], n=n)[0]

    def similar_runs_of(self, queries: Sequence[Query], *, n: int) -> list[list[RunSummary]]:
        """``similar_runs`` of every query, several times faster than one by one. Raises as that."""
        if n < 0:
            raise ValueError(f"n must not be negative, got {n}")
        of_shelf: dict[ShelfKey, list[int]] = {}
        for i, query in enumerate(queries):
            of_shelf.setdefault((query.job_type, query.domain), []).append(i)
        found: list[list[RunSummary]] = [[] for _ in queries]
        for key, numbers in of_shelf.items():
            shelf = self._shelf(key)
            if shelf is None:
                continue
            held = self._held[key]
            asked = [queries[i] for i in numbers]
            positions = self._search(shelf, asked, n, window=self._window)
            for i, best in zip(numbers, positions, strict=True):
                found[i] = [held[position] for position in best]
        return found

    def _forget(self, key: ShelfKey, run_id: str) -> None:
        if self._new.get(key, {}).pop(run_id, None) is None and key in self._held:
            left = [run for run in self._held[key] if run.run_id != run_id]
            self._new[key] = {run.run_id: run for run in left} | self._new.get(key, {})
            del self._held[key], self._shelves[key]

    def _shelf(self, key: ShelfKey) -> Shelf | None:
        """A shelf with every run on it that was added so far."""
        if new := self._new.pop(key, None):
            self._put(key, new)
        return self._shelves.get(key)

    def _put(self, key: ShelfKey, new: dict[str, RunSummary]) -> None:
        keys = sort_runs([k for run in new.values() if (k := run_keys(run)) is not None])
        if not keys:
            return
        shelf = self._shelves.setdefault(key, Shelf(self.weights))
        if not shelf.follows(
            keys[0].started_ms, keys[0].run_id
        ):  # an older run came late: every position after it moves
            new |= {run.run_id: run for run in self._held.pop(key)}
            keys = sort_runs([k for run in new.values() if (k := run_keys(run)) is not None])
            shelf = self._shelves[key] = Shelf(self.weights)
        shelf.extend(keys)
        self._held.setdefault(key, []).extend(new[one.run_id] for one in keys)
