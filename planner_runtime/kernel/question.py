"""A kernel's question: its own issue object and its own history, as the planner input they make.

Belongs here: reading what a kernel has at hand. Does not: the question itself (``asking``).
Source: reference/cyntra-formats.md 1.2 (fields of an issue), 7.1 and 7.3.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from planner_runtime.actions import ActionSpace
from planner_runtime.contracts.run_summary import RunSummary
from planner_runtime.fork_safe_lock import ForkSafeLock
from planner_runtime.inputs import WORLD_ISSUE_PREFIX, issue_document, run_document
from planner_runtime.kernel.asking import N_SIMILAR, CandidateIndex, HasIndex, question_about
from planner_runtime.kernel.history import KernelHistory
from planner_runtime.similar_runs import RunIndex

History = HasIndex | Sequence[Mapping[str, Any]]

ISSUE_FIELDS: Final = (
    "id", "title", "description", "tags", "dk_priority", "dk_risk", "dk_size", "dk_tool_hint",
    "dk_attempts", "dk_speculate",
)  # fmt: skip


class KernelQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """What a kernel asks about.

    Attributes:
        issue: The kernel's own object, or a mapping with its fields.
        now_ms: The moment of the decision, Unix epoch in milliseconds.
    """

    issue: Any
    job_type: str
    universe_id: str
    universe_defaults: Mapping[str, str | None]
    action_space: ActionSpace
    system_state: Mapping[str, Any] | None
    now_ms: int


class HistoryCandidates(list[dict[str, Any]]):
    """``run_summary.v1`` documents of a ``KernelHistory``, which answers for them.

    Args:
        earlier: Of the same history; a run that it has is not written out again.
    """

    def __init__(self, history: KernelHistory, earlier: "HistoryCandidates | None" = None) -> None:
        kept = {} if earlier is None else earlier.written
        self.history = history
        self.written: dict[str, tuple[RunSummary, dict[str, Any]]] = {}
        for run in history.ordered:
            known = kept.get(run.run_id)
            is_same = known is not None and known[0] is run
            self.written[run.run_id] = known if is_same else (run, run_document(run))  # type: ignore[assignment]
        super().__init__(document for _, document in self.written.values())


def clock_ms() -> int:
    """Now, Unix epoch in milliseconds."""
    return time.time_ns() // 1_000_000


class Histories:
    """What a kernel passes as its history, with an index of it. For any thread."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._lists = CandidateIndex()

    def question(
        self, asked: KernelQuestion, history: History, *, n_similar: int = N_SIMILAR
    ) -> tuple[dict[str, Any], RunIndex]:
        """The ``planner_input.v1``, and the index of every run that is known.

        Args:
            history: A ``KernelHistory``, or ``run_summary.v1`` documents: what of them is none is
                left out.

        Raises:
            ValueError: the moment is outside the calendar, or ``n_similar`` is negative.
        """
        section = issue_document(_issue_fields(asked.issue))
        if isinstance(history, HistoryCandidates):
            history = history.history
        if not isinstance(history, Sequence):
            return _question(asked, section, history, n_similar), history.index
        with self._lock:  # between taking a list and asking, nobody may take another
            index = self._lists.taking(history)
            return _question(asked, section, index, n_similar), index.index


def _issue_fields(issue: Any) -> Mapping[str, Any]:
    if isinstance(issue, Mapping):
        return issue
    return {name: value for name in ISSUE_FIELDS if (value := getattr(issue, name, None))}


def _question(
    asked: KernelQuestion, section: Mapping[str, Any], history: HasIndex, n_similar: int
) -> dict[str, Any]:
    issue_id = str(section["issue_id"])
    is_evolution = issue_id.startswith(WORLD_ISSUE_PREFIX)
    return question_about(
        section,
        job_type=asked.job_type,
        history=history,
        now_ms=asked.now_ms,
        space=asked.action_space,
        universe_id=asked.universe_id,
        universe_defaults=asked.universe_defaults,
        system_state=asked.system_state,
        n_similar=n_similar,
        world_id=issue_id.removeprefix(WORLD_ISSUE_PREFIX) if is_evolution else None,
        objective_id=asked.universe_defaults.get("objective_id") if is_evolution else None,
    )
