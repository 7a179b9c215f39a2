"""The track record that a serving planner keeps: what a bundle carried, and every run since.

Belongs here: growing with a history, never ahead of the clock; a question that carries its record.
Does not: what a run teaches (``track_record``), which runs there are (``kernel_history``).
Spec: section 7.4. Training rows carry the record of every run that had ended, so questions must.
"""

from collections.abc import Mapping
from typing import Any

from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.reading import read_document
from planner_runtime.contracts.run_summary import RunSummary
from planner_runtime.kernel_config import KernelConfig
from planner_runtime.outcome_planner import toolchain_of
from planner_runtime.track_record import (
    Record,
    TrackRecord,
    TrackRecordState,
    record_document,
)


def with_record(question: Mapping[str, Any], record: Record) -> dict[str, Any]:
    """A planner input that carries a track record, so that its decision needs nothing else."""
    state = question.get("system_state") or {}
    return {**question, "system_state": {**state, "track_record": record_document(record)}}


class RunningRecord:
    """What is known of toolchains and issues, from a bundle's state on. Not for several threads.

    Runs are learned from in the order of their ends; one that becomes known late comes late.
    """

    def __init__(self, state: TrackRecordState) -> None:
        self._record = TrackRecord(state)
        self._known: set[str] = set()
        self._seen: tuple[RunSummary, ...] | None = None
        self._waiting: list[tuple[int, str, RunSummary]] = []  # by end, latest first

    def at(self, runs: tuple[RunSummary, ...], now_ms: int) -> TrackRecord:
        """The record of those of ``runs`` that had ended by ``now_ms``, Unix ms.

        Args:
            runs: The same object as before where there are no others: that costs nothing.
        """
        if runs is not self._seen:
            for run in runs:
                if run.ended_ms is not None and run.run_id not in self._known:
                    self._known.add(run.run_id)
                    self._waiting.append((run.ended_ms, run.run_id, run))
            self._waiting.sort(key=lambda one: one[:2], reverse=True)
            self._seen = runs
        while self._waiting and self._waiting[-1][0] <= now_ms:
            self._record.add_summary(self._waiting.pop()[2])
        return self._record

    def told_with(
        self,
        question: Mapping[str, Any],
        runs: tuple[RunSummary, ...],
        now_ms: int,
        config: KernelConfig,
    ) -> dict[str, Any]:
        """The question with the record of the toolchain that it would run on, at its issue.

        Raises:
            ContractError: the question keeps no contract.
        """
        asked = read_document(question, PlannerInput)
        toolchain, issue = toolchain_of(asked, config), asked.issue.issue_id or None
        return with_record(question, self.at(runs, now_ms).of(toolchain, issue))
