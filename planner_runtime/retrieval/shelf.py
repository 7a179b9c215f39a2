"""The runs of one job type and domain, in columns.

Belongs here: what a search reads. Does not: the search (``search``), what similarity means
(``similarity``), bitmaps (``bitmaps``).

Every run has a position: its rank by (started_ms ascending, run_id descending), so that a larger
position wins a tie exactly as the spec's order (score desc, started_ms desc, run_id asc) asks.
"""

from array import array
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from planner_runtime.retrieval.bitmaps import TermBitmaps, Terms, number_terms
from planner_runtime.retrieval.similarity import Query, RunKeys, SimilarityWeights

MOST_SIGNALS: Final = 64  # of an issue, before they are pruned
NEVER_MS: Final = 2**63 - 1


def group_number(group_id: str | None) -> int:
    """A number for a group; 0 for none. Two of a million groups share one with odds of 1 to 10^7.

    Numbers, not names: a million of those would fill the memory that the bitmaps need.
    """
    if group_id is None:
        return 0
    digest = blake2b(group_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True) or 1


def sort_runs(runs: Sequence[RunKeys]) -> list[RunKeys]:
    """Runs in the order of their positions."""
    by_id = sorted(runs, key=lambda run: run.run_id, reverse=True)
    return sorted(by_id, key=lambda run: run.started_ms)


class RunColumns(NamedTuple):
    """Runs in the order of their positions, in columns.

    Attributes:
        started: (N,) int64, as ``ended`` and ``groups``, which are ``group_number``.
        issues: Of each run its issue or none, as ``worlds`` and ``objectives``.
    """

    first_id: str
    last_id: str
    started: np.ndarray
    ended: np.ndarray
    groups: np.ndarray
    tags: Terms
    failures: Terms
    keywords: Terms
    issues: Terms
    worlds: Terms
    objectives: Terms


def run_columns(runs: Sequence[RunKeys]) -> RunColumns:
    """Runs, as ``sort_runs`` orders them, in columns."""

    def named(names: Iterable[str | None]) -> Terms:
        return number_terms(() if name is None else (name,) for name in names)

    return RunColumns(
        first_id=runs[0].run_id if runs else "",
        last_id=runs[-1].run_id if runs else "",
        started=np.array([run.started_ms for run in runs], dtype=np.int64),
        ended=np.array([run.ended_ms for run in runs], dtype=np.int64),
        groups=np.array([group_number(run.group_id) for run in runs], dtype=np.int64),
        tags=number_terms(run.tags for run in runs),
        failures=number_terms(run.fail_codes for run in runs),
        keywords=number_terms(run.keywords for run in runs),
        issues=named(run.issue_id for run in runs),
        worlds=named(run.world_id for run in runs),
        objectives=named(run.objective_id for run in runs),
    )


class Shelf:
    """Runs of one job type and domain in the order of their positions."""

    def __init__(self, weights: SimilarityWeights) -> None:
        self.weights = weights
        self.started, self.ended, self.groups = array("q"), array("q"), array("q")
        self.tags, self.failures, self.keywords = TermBitmaps(), TermBitmaps(), TermBitmaps()
        self.issues, self.worlds, self.objectives = TermBitmaps(), TermBitmaps(), TermBitmaps()
        self._last: tuple[int, str] | None = None
        # by issue (when it was known, group, code), pruned to what any decision may need
        self._signals: dict[str, list[tuple[int, int, str]]] = {}

    def __len__(self) -> int:
        return len(self.started)

    def follows(self, started_ms: int, run_id: str) -> bool:
        """Whether a run comes after every run on the shelf."""
        if self._last is None:
            return True
        started, last_id = self._last
        return started_ms > started or (started_ms == started and run_id < last_id)

    def extend(self, runs: Sequence[RunKeys], *, expected: int = 0) -> None:
        """Put runs at the end.

        Args:
            runs: As ``sort_runs`` orders them.
            expected: How many runs will come in all calls together, where that is known.

        Raises:
            ValueError: the first does not follow what is there.
        """
        self.extend_columns(run_columns(runs), expected=expected)

    def extend_columns(self, runs: RunColumns, *, expected: int = 0) -> None:
        """``extend`` with runs that are in columns already."""
        if not len(runs.started):
            return
        if not self.follows(int(runs.started[0]), runs.first_id):
            raise ValueError(f"run {runs.first_id} does not follow the last run on the shelf")
        self._last = int(runs.started[-1]), runs.last_id
        self.started.frombytes(runs.started.tobytes())
        self.ended.frombytes(runs.ended.tobytes())
        self.groups.frombytes(runs.groups.tobytes())
        for bitmaps, terms in (
            (self.tags, runs.tags),
            (self.failures, runs.failures),
            (self.keywords, runs.keywords),
            (self.issues, runs.issues),
            (self.worlds, runs.worlds),
            (self.objectives, runs.objectives),
        ):
            bitmaps.extend(terms, expected=expected)
        self._note_signals(runs)

    def hide(self, position: int) -> None:
        """Let no decision see a run; its fail codes stay known until ``tell_signals``."""
        self.ended[position] = NEVER_MS

    def tell_signals(self, issue_id: str, runs: Iterable[RunKeys]) -> None:
        """Take the fail codes of an issue from these runs alone."""
        known = [
            (max(run.ended_ms, run.started_ms + 1), group_number(run.group_id), code)
            for run in runs
            for code in set(run.fail_codes)
        ]
        self._signals[issue_id] = _first_two_groups(known) if len(known) > MOST_SIGNALS else known

    def _note_signals(self, runs: RunColumns) -> None:
        """Codes of the runs that are an issue's, put with the issue."""
        issue_of = np.full(len(runs.started), -1, dtype=np.int64)
        issue_of[runs.issues.sizes > 0] = runs.issues.numbers
        failed = np.repeat(np.arange(len(runs.started)), runs.failures.sizes)
        order = np.argsort(issue_of[failed], kind="stable")
        order = order[np.searchsorted(issue_of[failed][order], 0) :]  # without the issueless
        failed, codes = failed[order], runs.failures.numbers[order].tolist()
        seen_from = np.maximum(runs.ended[failed], runs.started[failed] + 1).tolist()
        names = runs.failures.names
        told = list(
            zip(seen_from, runs.groups[failed].tolist(), (names[c] for c in codes), strict=True)
        )
        issues, starts = np.unique(issue_of[failed], return_index=True)
        for issue, (start, stop) in zip(
            issues.tolist(), pairwise([*starts.tolist(), len(told)]), strict=True
        ):
            name = runs.issues.names[issue]
            known = self._signals.setdefault(name, [])
            known += told[start:stop]
            if len(known) > MOST_SIGNALS:
                self._signals[name] = _first_two_groups(known)

    def failure_signals(self, query: Query) -> frozenset[str]:
        """Fail codes of the issue's own runs that ``query`` may see."""
        own = group_number(query.group_id)
        return frozenset(
            code
            for seen_from, group, code in self._signals.get(query.issue_id or "", ())
            if seen_from <= query.cutoff_ms and (own == 0 or group != own)
        )


def _first_two_groups(known: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """For every code the two groups that showed it first: one of them may be the asker's own."""
    first: dict[str, dict[int, int]] = {}
    for seen_from, group, code in known:
        groups = first.setdefault(code, {})
        groups[group] = min(seen_from, groups.get(group, seen_from))
    return [
        (seen_from, group, code)
        for code, groups in first.items()
        for seen_from, group in sorted((at, group) for group, at in groups.items())[:2]
    ]
