"""``.cyntra/logs/events.jsonl``: what the kernel did with an issue from start to end.

Belongs here: the log, line by line, as dispatches, and what of it can no longer change. Does not:
keeping that between builds (``event_log``), joining dispatches to archives.
Source: formats 2.7. The only evidence of losing candidates and of workcells never created.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from planner_runtime.archives.files import (
    Quarantine,
    SourceCount,
    as_text,
    count_rows,
)
from planner_runtime.archives.lines import read_json_lines

SOURCE: Final = "events"
LOG: Final = ".cyntra/logs/events.jsonl"
SETTLED_AFTER: Final = 1_000  # lines after its end that may still belong to a dispatch


class EventData(msgspec.Struct, frozen=True):
    """What an event tells; open, as the kernel's events are."""

    toolchain: Any = None
    error: Any = None
    speculate_tag: Any = None
    speculate: Any = None


class Event(msgspec.Struct, frozen=True):
    """One line of the log."""

    type: str
    timestamp: str
    issue_id: str | int | None = None
    workcell_id: str | None = None
    data: EventData = EventData()


class LoggedWorkcell(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What the log says of one workcell; ``is_success`` only of the one that was chosen."""

    workcell_id: str
    toolchain: str | None = None
    tag: str | None = None
    created_at: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    is_success: bool | None = None
    error: str | None = None


class CreateFailure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A workcell that could not be created."""

    at: str
    toolchain: str | None = None
    error: str | None = None


class Dispatch(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One issue run of the log, from ``issue.started`` to ``issue.completed`` or ``issue.failed``.

    Attributes:
        line: Of the log, 1-based, where it begins.
        speculates: Whether several candidates were to compete; None where the start is missing.
    """

    issue_id: str
    line: int
    started_at: str | None = None
    speculates: bool | None = None
    workcells: list[LoggedWorkcell] = []
    create_failures: list[CreateFailure] = []
    voted_at: str | None = None
    ended_at: str | None = None
    is_success: bool | None = None


class EventRead(msgspec.Struct, frozen=True, kw_only=True):
    """The log of a workspace and what could not be read of it."""

    dispatches: tuple[Dispatch, ...]
    quarantined: tuple[Quarantine, ...]
    count: SourceCount


class OpenDispatch(msgspec.Struct, frozen=True, kw_only=True):
    """A dispatch that later lines may still change.

    Attributes:
        ended_on: The line of its end so far.
    """

    dispatch: Dispatch
    ended_on: int | None = None


class DispatchReader:
    """Puts lines together to dispatches. An issue runs once at a time, so its id tells which.

    Args:
        begun: What earlier lines left open.

    Attributes:
        dispatches: Those that were open, then those that began since.
    """

    def __init__(self, begun: Iterable[OpenDispatch] = ()) -> None:
        self.dispatches: list[Dispatch] = []
        self._current: dict[str, Dispatch] = {}
        self._ended_on: dict[str, int] = {}
        for one in begun:
            self.dispatches.append(one.dispatch)
            self._current[one.dispatch.issue_id] = one.dispatch
            if one.ended_on is not None:
                self._ended_on[one.dispatch.issue_id] = one.ended_on

    def still_open(self, n_lines: int) -> list[OpenDispatch]:
        """What lines after the first ``n_lines`` may change, in the order they began; nothing else
        can.
        """
        return sorted(
            (
                OpenDispatch(dispatch=dispatch, ended_on=self._ended_on.get(issue_id))
                for issue_id, dispatch in self._current.items()
                if not self._is_settled(issue_id, n_lines + 1)
            ),
            key=lambda one: one.dispatch.line,
        )

    def current(self, issue_id: str | None) -> Dispatch | None:
        """The dispatch of an issue that the last line about it belongs to."""
        return None if issue_id is None else self._current.get(issue_id)

    def take(self, number: int, event: Event) -> None:
        """One line more, in their order."""
        issue_id = as_text(event.issue_id)
        if issue_id is None:
            return
        kind, data = event.type, event.data
        dispatch = self._current.get(issue_id)
        if kind == "issue.started" or dispatch is None or self._is_settled(issue_id, number):
            dispatch = Dispatch(issue_id=issue_id, line=number)
            self._current[issue_id] = dispatch
            self._ended_on.pop(issue_id, None)
            self.dispatches.append(dispatch)
        if kind == "issue.started":
            dispatch.started_at, dispatch.speculates = event.timestamp, bool(data.speculate)
        elif kind in ("issue.completed", "issue.failed"):
            dispatch.ended_at, dispatch.is_success = event.timestamp, kind == "issue.completed"
            self._ended_on[issue_id] = number
        elif kind == "speculate.voting":
            dispatch.voted_at = event.timestamp
        elif kind == "workcell.create_failed":
            failure = CreateFailure(
                at=event.timestamp, toolchain=as_text(data.toolchain), error=_words(data.error)
            )
            dispatch.create_failures = [*dispatch.create_failures, failure]
        if event.workcell_id is not None:
            _note(_workcell(dispatch, event.workcell_id), kind, event)

    def _is_settled(self, issue_id: str, number: int) -> bool:
        return number > self._ended_on.get(issue_id, number) + SETTLED_AFTER


def _workcell(dispatch: Dispatch, workcell_id: str) -> LoggedWorkcell:
    for workcell in dispatch.workcells:
        if workcell.workcell_id == workcell_id:
            return workcell
    workcell = LoggedWorkcell(workcell_id=workcell_id)
    dispatch.workcells = [*dispatch.workcells, workcell]
    return workcell


def _note(workcell: LoggedWorkcell, kind: str, event: Event) -> None:
    workcell.toolchain = workcell.toolchain or as_text(event.data.toolchain)
    workcell.tag = workcell.tag or as_text(event.data.speculate_tag)
    if kind == "workcell.created":
        workcell.created_at = event.timestamp
    elif kind == "workcell.started":
        workcell.started_at = event.timestamp
    elif kind in ("workcell.completed", "issue.completed", "workcell.failed", "issue.failed"):
        workcell.ended_at = event.timestamp
        workcell.is_success = kind.endswith("completed")
        workcell.error = _words(event.data.error)


def _words(error: Any) -> str | None:
    return None if error is None else str(error)[:500]


def read_events(repo: Path) -> EventRead:
    """The log as dispatches, in the order they began."""
    reader, refused, n = DispatchReader(), list[Quarantine](), 0
    for number, event in read_json_lines(repo, repo / LOG, Event, SOURCE):
        if isinstance(event, Quarantine):
            refused.append(event)
            continue
        n += 1
        reader.take(number, event)
    return EventRead(
        dispatches=tuple(reader.dispatches),
        quarantined=tuple(refused),
        count=count_rows(SOURCE, n, refused),
    )
