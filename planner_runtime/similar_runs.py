"""Similar-run retrieval: which past runs a planner may look at, and in what order.

Belongs here: the candidate filter, the similarity score, the total order, the index.
Does not: reading archives (``sources``), turning runs into tokens (``tokenizer``).
Spec: section 5.2 (score), 5.3 (leakage). The spec's cutoff, ``started_ms`` alone, shows outcomes
from the future; a run is visible here only once its outcome was known (docs/adr/0002).
"""

from array import array
from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np

from planner_runtime.contracts.run_summary import Domain, RunSummary

DAY_MS: Final = 86_400_000
NEVER: Final = np.iinfo(np.int64).max


class SimilarityWeights(msgspec.Struct, frozen=True, kw_only=True):
    """Points of each score component. Integers, so that ties are exact on every machine."""

    tags: int = 500_000  # times the Jaccard ratio of the tags
    failures: int = 250_000  # times the Jaccard ratio of the failure signals
    keywords: int = 100_000  # times the Jaccard ratio of the keywords
    same_issue: int = 200_000
    recency: tuple[int, ...] = (150_000, 112_000, 75_000, 37_000, 0)
    recency_days: tuple[int, ...] = (1, 7, 30, 90)


DEFAULT_WEIGHTS: Final = SimilarityWeights()


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision knows of itself.

    Attributes:
        cutoff_ms: Moment of the decision; nothing later may be seen.
        group_id: Dispatch or bench case of the decision: its own attempts stay unseen.
        failure_signals: None takes the fail codes of the issue's own visible runs.
    """

    job_type: str
    domain: Domain
    cutoff_ms: int
    issue_id: str | None = None
    group_id: str | None = None
    world_id: str | None = None
    objective_id: str | None = None
    tags: frozenset[str] = frozenset()
    keywords: frozenset[str] = frozenset()
    failure_signals: frozenset[str] | None = None


def is_visible(run: RunSummary, query: Query) -> bool:
    """Whether a decision may see ``run``: started and finished before it, and not its own attempt.

    Source: spec 5.3; reference/reliability.md 0.
    """
    return (
        run.started_ms < query.cutoff_ms
        and run.ended_ms is not None
        and run.ended_ms <= query.cutoff_ms
        and (run.group_id is None or run.group_id != query.group_id)
    )


def _int64(values: "array[int]") -> np.ndarray:
    """A view without a copy; it must be gone before ``values`` grows again."""
    return np.frombuffer(values, dtype=np.int64)


class _Terms:
    """Posting lists of one kind of term, and how many terms each run has."""

    def __init__(self) -> None:
        self._postings: dict[str, array[int]] = {}
        self._sizes: array[int] = array("q")

    def add(self, terms: Iterable[str]) -> None:
        """Append the terms of the next run."""
        distinct = sorted(set(terms))
        for term in distinct:
            self._postings.setdefault(term, array("q")).append(len(self._sizes))
        self._sizes.append(len(distinct))

    def points(self, terms: frozenset[str], weight: int) -> np.ndarray:
        """(R,) int64: ``weight`` times the Jaccard ratio with each run, rounded down."""
        sizes = _int64(self._sizes)
        shared = np.zeros(len(sizes), dtype=np.int64)
        for term in terms:
            if (posting := self._postings.get(term)) is not None:
                shared[_int64(posting)] += 1
        union = sizes + len(terms) - shared
        return np.where(shared > 0, weight * shared // np.maximum(union, 1), 0)


class _Shelf:
    """Runs of one job type and domain, in the order they were added."""

    def __init__(self) -> None:
        self.runs: list[RunSummary] = []
        self.started: array[int] = array("q")
        self.ended: array[int] = array("q")
        self.tags, self.failures, self.keywords = _Terms(), _Terms(), _Terms()
        self.by_issue: dict[str, list[int]] = {}
        self.by_group: dict[str, list[int]] = {}

    def add(self, run: RunSummary) -> None:
        row = len(self.runs)
        self.runs.append(run)
        self.started.append(run.started_ms)
        self.ended.append(NEVER if run.ended_ms is None else run.ended_ms)
        self.tags.add(run.tags)
        self.failures.add(run.outcome.fail_codes)
        self.keywords.add(run.keywords)
        if run.issue_id is not None:
            self.by_issue.setdefault(run.issue_id, []).append(row)
        if run.group_id is not None:
            self.by_group.setdefault(run.group_id, []).append(row)


class RunIndex:
    """Exact, incremental retrieval over run summaries."""

    def __init__(
        self, runs: Iterable[RunSummary] = (), *, weights: SimilarityWeights = DEFAULT_WEIGHTS
    ) -> None:
        self._weights = weights
        self._shelves: dict[tuple[str, Domain], _Shelf] = {}
        for run in runs:
            self.add(run)

    def __len__(self) -> int:
        return sum(len(shelf.runs) for shelf in self._shelves.values())

    def add(self, run: RunSummary) -> None:
        """Make ``run`` findable; runs may come in any order."""
        self._shelves.setdefault((run.job_type, run.domain), _Shelf()).add(run)

    def failure_signals(self, query: Query) -> frozenset[str]:
        """Fail codes of the issue's own runs that ``query`` may see."""
        shelf = self._shelves.get((query.job_type, query.domain))
        if shelf is None or query.issue_id is None:
            return frozenset()
        own = (shelf.runs[row] for row in shelf.by_issue.get(query.issue_id, ()))
        return frozenset(
            code for run in own if is_visible(run, query) for code in run.outcome.fail_codes
        )

    def similar_runs(self, query: Query, *, n: int) -> list[RunSummary]:
        """The ``n`` most similar visible runs, by (score desc, started_ms desc, run_id asc).

        Candidates have the query's job type and domain, and its world and objective where the
        query has them.

        Raises:
            ValueError: ``n`` is negative.
        """
        if n < 0:
            raise ValueError(f"n must not be negative, got {n}")
        shelf = self._shelves.get((query.job_type, query.domain))
        if shelf is None or n == 0:
            return []
        started = _int64(shelf.started)  # (R,)
        candidates = (started < query.cutoff_ms) & (_int64(shelf.ended) <= query.cutoff_ms)
        if query.group_id is not None:
            candidates[shelf.by_group.get(query.group_id, [])] = False
        rows = np.flatnonzero(candidates)
        if query.world_id is not None:
            rows = rows[[shelf.runs[r].world_id == query.world_id for r in rows]]
        if query.objective_id is not None:
            rows = rows[[shelf.runs[r].objective_id == query.objective_id for r in rows]]
        if rows.size == 0:
            return []
        score = self._scores(shelf, query, started)
        order = np.lexsort((-started[rows], -score[rows]))
        ranked = rows[order]
        if ranked.size > n:  # keep every tie with the n-th, so that run_id decides among them
            last = ranked[n - 1]
            tied = (score[ranked] == score[last]) & (started[ranked] == started[last])
            ranked = ranked[: max(n, int(np.flatnonzero(tied)[-1]) + 1)]
        best = sorted(ranked, key=lambda r: (-score[r], -started[r], shelf.runs[r].run_id))
        return [shelf.runs[r] for r in best[:n]]

    def _scores(self, shelf: _Shelf, query: Query, started: np.ndarray) -> np.ndarray:
        """(R,) int64 similarity of every run on the shelf."""
        weights = self._weights
        signals = query.failure_signals
        if signals is None:
            signals = self.failure_signals(query)
        score = shelf.tags.points(query.tags, weights.tags)
        score += shelf.failures.points(signals, weights.failures)
        score += shelf.keywords.points(query.keywords, weights.keywords)
        if query.issue_id is not None:
            score[shelf.by_issue.get(query.issue_id, [])] += weights.same_issue
        edges = np.asarray(weights.recency_days, dtype=np.int64) * DAY_MS
        bucket = np.searchsorted(edges, query.cutoff_ms - started, side="right")
        score += np.asarray(weights.recency, dtype=np.int64)[bucket]
        return score
