"""The track record that a serving planner keeps: what a bundle carried, and every run since.

Belongs here: growing with a history, never ahead of the clock; a question that carries its record.
Does not: what a run teaches (``outcomes.track_record``), which runs there are (``similar_runs``).
Spec: section 7.4. Training rows carry the record of every run that had ended, so questions must.
"""

from collections.abc import Mapping
from typing import Any

from planner_runtime.bundle import Bundle
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.reading import read_document
from planner_runtime.contracts.run_summary import RunSummary
from planner_runtime.deadline import NEVER, Deadline, DeadlineError
from planner_runtime.fork_safe_lock import ForkSafeLock
from planner_runtime.kernel_config import KernelConfig
from planner_runtime.outcome_planner import toolchain_of
from planner_runtime.outcomes.track_record import (
    Record,
    TrackRecord,
    TrackRecordState,
    record_document,
)
from planner_runtime.similar_runs import RunIndex


def with_record(question: Mapping[str, Any], record: Record) -> dict[str, Any]:
    """A planner input that carries a track record, so that its decision needs nothing else."""
    state = question.get("system_state") or {}
    return {**question, "system_state": {**state, "track_record": record_document(record)}}


class RunningRecord:
    """What is known of toolchains and issues, from a bundle's state on. Not for several threads.

    Runs are learned from in the order of their ends; one that becomes known late comes late. A
    clock that steps back behind a run that was learned begins the record anew: no decision sees
    what had not ended.
    """

    def __init__(self, state: TrackRecordState) -> None:
        self._state = state
        self._begin()

    def _begin(self) -> None:
        self._record = TrackRecord(self._state)
        self._learned_to_ms: int | None = None  # the latest end among the runs learned
        self._known: set[str] = set()
        self._index: RunIndex | None = None
        self._n_added = 0  # to that index, when it was last asked
        self._waiting: list[tuple[int, str, RunSummary]] = []  # by end, latest first

    def at(self, index: RunIndex, now_ms: int, deadline: Deadline = NEVER) -> TrackRecord:
        """The record of those runs of an index that had ended by ``now_ms``, Unix ms.

        Costs what became known since the last time; all of it where the clock stepped back.

        Raises:
            DeadlineError: there is more to learn; the next call goes on.
        """
        if self._learned_to_ms is not None and now_ms < self._learned_to_ms:
            self._begin()
        if index is not self._index:
            self._index, self._n_added = index, 0
        added, n_added = index.added_since(self._n_added)
        if added:
            for run in added:
                if run.ended_ms is not None and run.run_id not in self._known:
                    self._known.add(run.run_id)
                    self._waiting.append((run.ended_ms, run.run_id, run))
            self._waiting.sort(key=lambda one: one[:2], reverse=True)
        self._n_added = n_added
        while self._waiting and self._waiting[-1][0] <= now_ms:
            deadline.check()
            ended_ms, _, run = self._waiting.pop()
            self._record.add_summary(run)
            self._learned_to_ms = max(ended_ms, self._learned_to_ms or ended_ms)
        return self._record


class ServedRecord:
    """The running record of the bundle that serves, begun anew for another. For any thread."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._of_bundle: tuple[str, RunningRecord] | None = None

    def learn(
        self, bundle: Bundle | None, index: RunIndex, now_ms: int, deadline: Deadline = NEVER
    ) -> TrackRecord | None:
        """What is known by now; None for a bundle that is no outcome bundle.

        Raises:
            DeadlineError: there is more to learn, or somebody else is learning it.
        """
        if bundle is None or bundle.outcome is None:
            return None
        wait_seconds = -1 if deadline.is_never else max(0.0, deadline.seconds_left)
        if not self._lock.acquire(timeout=wait_seconds):
            raise DeadlineError("deadline")
        try:
            bundle_id = bundle.manifest.bundle_id
            if self._of_bundle is None or self._of_bundle[0] != bundle_id:
                self._of_bundle = bundle_id, RunningRecord(bundle.outcome.track_record)
            return self._of_bundle[1].at(index, now_ms, deadline)
        finally:
            self._lock.release()


def told_with(
    question: Mapping[str, Any], record: TrackRecord, config: KernelConfig
) -> dict[str, Any]:
    """The question with the record of the toolchain that it would run on, at its issue.

    Raises:
        ContractError: the question keeps no contract. Of its runs nothing is asked here.
    """
    without_runs = {**question, "history": {"last_n_similar_runs": ()}}
    asked = read_document(without_runs, PlannerInput)
    toolchain, issue = toolchain_of(asked, config), asked.issue.issue_id or None
    return with_record(question, record.of(toolchain, issue))
