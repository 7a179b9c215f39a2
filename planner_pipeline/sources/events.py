"""``.cyntra/logs/events.jsonl``: the only place with start and end of every issue run.

Belongs here: reading the log into what history asks of it. Does not: joining it to archives.
Source: formats 2.7.
"""

from pathlib import Path
from typing import Any, Final

import msgspec

from planner_pipeline.sources.files import Quarantine, SourceCount, as_text, read_json_lines

SOURCE: Final = "events"
ENDINGS: Final = ("workcell.completed", "issue.completed", "workcell.failed", "issue.failed")


class KernelEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log."""

    type: str
    timestamp: str
    issue_id: str | int | None = None
    workcell_id: str | None = None
    data: dict[str, Any] = {}


class WorkcellEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How the log says a workcell ended."""

    workcell_id: str
    issue_id: str | None
    ended_at: str
    is_success: bool
    error: str | None = None


class EventRead(msgspec.Struct, frozen=True, kw_only=True):
    """The log of a workspace and what could not be read of it."""

    ends: tuple[WorkcellEnd, ...]
    quarantined: tuple[Quarantine, ...]
    count: SourceCount


def read_events(repo: Path) -> EventRead:
    """The last ending of every workcell in the log."""
    path = repo / ".cyntra" / "logs" / "events.jsonl"
    ends: dict[str, WorkcellEnd] = {}
    refused: list[Quarantine] = []
    n = n_accepted = 0
    for _, event in read_json_lines(repo, path, KernelEvent, SOURCE):
        n += 1
        if isinstance(event, Quarantine):
            refused.append(event)
            continue
        n_accepted += 1
        if event.type in ENDINGS and event.workcell_id is not None:
            error = event.data.get("error")
            ends[event.workcell_id] = WorkcellEnd(
                workcell_id=event.workcell_id,
                issue_id=as_text(event.issue_id),
                ended_at=event.timestamp,
                is_success=event.type.endswith("completed"),
                error=None if error is None else str(error),
            )
    count = SourceCount(source=SOURCE, discovered=n, accepted=n_accepted, quarantined=len(refused))
    return EventRead(
        ends=tuple(sorted(ends.values(), key=lambda end: end.workcell_id)),
        quarantined=tuple(refused),
        count=count,
    )
