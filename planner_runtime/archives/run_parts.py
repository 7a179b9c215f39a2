"""What is remembered of the directories that runs are made of, and what one refresh has to do.

Belongs here: the types between readings, and what another process goes on from. Does not: making
runs (``run_book``).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from planner_runtime.archives.dispatch_log import KeptLog
from planner_runtime.archives.files import Quarantine
from planner_runtime.archives.watched import Mark
from planner_runtime.archives.workcell_files import ArchiveRecord
from planner_runtime.archives.world_files import WorldRunRecord
from planner_runtime.contracts.run_summary import RunSummary

RecordT = TypeVar("RecordT")
_TOLD_BY_MANIFEST: Final = ("title", "description", "tags")  # all that a summary has of an issue


class Cell(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An archived workcell that could be read.

    Attributes:
        line: Of its dispatch in the event log.
        note: The issue whose versions it is made of; None where it told of its issue itself.
        is_whole: Nothing of it was refused.
    """

    line: int | None = None
    note: str | None = None
    is_whole: bool = True
    summary: RunSummary | None = None


class World(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A run directory that could be read; an evolution's with the runs that were its candidates."""

    candidates: tuple[str, ...] = ()
    is_whole: bool = True
    is_over: bool = True
    run_id: str | None = None  # None where it is no run of its own
    summary: RunSummary | None = None


class KeptRuns(msgspec.Struct, frozen=True, kw_only=True):
    """All that another process goes on from. What was not at rest is left out: it is read again."""

    cells: dict[str, tuple[Mark, Cell]]
    worlds: dict[str, tuple[Mark, World]]
    failures: dict[int, tuple[tuple[str, RunSummary], ...]]
    versions: dict[str, str]  # of issues that runs are made of
    log: KeptLog

    @property
    def n_runs(self) -> int:
        """Runs with a known outcome."""
        told = [one for kept in (self.cells, self.worlds) for _, one in kept.values()]
        n_logged = sum(len(runs) for runs in self.failures.values())
        return sum(one.summary is not None for one in told) + n_logged


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What became of runs by one refresh, by id."""

    changed: dict[str, RunSummary] = {}
    removed: tuple[str, ...] = ()
    n_new: int = 0  # archives and run directories that could be used for the first time


def note_of(record: ArchiveRecord) -> str | None:
    """The issue whose versions a workcell's summary depends on."""
    recorded = record.planner.planner_input
    told = {} if record.manifest is None else record.manifest.issue
    is_told = (recorded is not None and bool(recorded.issue)) or all(
        key in told for key in _TOLD_BY_MANIFEST
    )
    return None if is_told else record.issue_id


def candidates_of(record: WorldRunRecord) -> tuple[str, ...]:
    """Run ids of an evolution's candidates."""
    history = () if record.evolution is None else record.evolution.history
    return tuple(c.run_id for generation in history for c in generation.candidates)


class Todo:
    """What one refresh has to make anew; names of workcells and run directories, lines, run ids."""

    def __init__(self) -> None:
        self.cells: set[str] = set()
        self.worlds: set[str] = set()
        self.lines: set[int] = set()
        self.run_ids: set[str] = set()


def guarded(
    read: Callable[[Path, Path], tuple[RecordT | None, list[Quarantine]]],
    repo: Path,
    folder: str,
    name: str,
    source: str,
) -> tuple[RecordT | None, list[Quarantine]]:
    """A directory's record, or why there is none, whatever lies in it."""
    try:
        return read(repo, repo / folder / name)
    except Exception as error:  # a fault of ours must not stop a kernel
        return None, [odd(source, folder, name, error)]


def odd(source: str, folder: str, name: str, error: Exception) -> Quarantine:
    """Content that nobody thought of."""
    return Quarantine(
        source=source,
        file=f"{folder}/{name}",
        reason="bad_value",
        detail=f"{type(error).__name__}: {error}"[:500],
    )
