"""The runs of one job type and domain, in columns.

Belongs here: what a search reads. Does not: the search (``search``), what similarity means
(``similarity``), bitmaps (``bitmaps``).

Every run has a position: its rank by (started_ms ascending, run_id descending), so that a larger
position wins a tie exactly as the spec's order (score desc, started_ms desc, run_id asc) asks.
"""

from array import array
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from planner_runtime.bitmaps import TermBitmaps
from planner_runtime.similarity import Query, RunKeys, SimilarityWeights

MOST_SIGNALS: Final = 64  # of an issue, before they are pruned


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

    def follows(self, run: RunKeys) -> bool:
        """Whether ``run`` comes after every run on the shelf."""
        if self._last is None:
            return True
        started, run_id = self._last
        return run.started_ms > started or (run.started_ms == started and run.run_id < run_id)

    def extend(self, runs: Sequence[RunKeys], *, expected: int = 0) -> None:
        """Put runs at the end.

        Args:
            runs: As ``sort_runs`` orders them.
            expected: How many runs will come in all calls together, where that is known.

        Raises:
            ValueError: the first does not follow what is there.
        """
        if not runs:
            return
        if not self.follows(runs[0]):
            raise ValueError(f"run {runs[0].run_id} does not follow the last run on the shelf")
        self._last = runs[-1].started_ms, runs[-1].run_id
        self.started.extend([run.started_ms for run in runs])
        self.ended.extend([run.ended_ms for run in runs])
        self.groups.extend([group_number(run.group_id) for run in runs])
        self.tags.extend([run.tags for run in runs], expected=expected)
        self.failures.extend([run.fail_codes for run in runs], expected=expected)
        self.keywords.extend([run.keywords for run in runs], expected=expected)
        for bitmaps, names in (
            (self.issues, [run.issue_id for run in runs]),
            (self.worlds, [run.world_id for run in runs]),
            (self.objectives, [run.objective_id for run in runs]),
        ):
            bitmaps.extend([() if name is None else (name,) for name in names], expected=expected)
        for run in runs:
            self._note_signals(run)

    def _note_signals(self, run: RunKeys) -> None:
        if run.issue_id is None or not run.fail_codes:
            return
        known = self._signals.setdefault(run.issue_id, [])
        seen_from, group = max(run.ended_ms, run.started_ms + 1), group_number(run.group_id)
        known += [(seen_from, group, code) for code in run.fail_codes]
        if len(known) > MOST_SIGNALS:
            self._signals[run.issue_id] = _first_two_groups(known)

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
