"""A whole workspace -> its records, with everything accounted for.

Belongs here: calling every reader once. Does not: the readers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from planner_pipeline.sources.event_log import read_event_log
from planner_pipeline.sources.settings import (
    read_kernel_config,
    read_settings_history,
    read_universes,
)
from planner_pipeline.sources.store import Progress, ReaderOf, Stored, no_progress, read_stored
from planner_pipeline.sources.trials import read_trial_import
from planner_pipeline.tables import (
    ISSUES,
    PAST_ISSUES,
    QUARANTINE,
    SETTINGS_STATES,
    UNIVERSES,
    build_table,
    fields,
)
from planner_runtime.archives import workcell_files, world_files
from planner_runtime.archives.beads import IssueRead, read_issues
from planner_runtime.archives.files import Quarantine, SourceCount
from planner_runtime.archives.workcell_files import ArchiveRecord, read_archive
from planner_runtime.archives.world_files import WorldRunRecord, read_world_run
from planner_runtime.kernel_config import KernelConfig

NOTE_SEPARATOR: Final = "\n"


def _archive_note(record: ArchiveRecord) -> str:
    """The issue whose past states this archive needs; empty where it recorded its own."""
    recorded = record.planner.planner_input
    has_own = recorded is not None and bool(recorded.issue)
    return "" if has_own or record.issue_id is None else record.issue_id


def _world_note(record: WorldRunRecord) -> str:
    """Run ids of an evolution's candidates."""
    history = () if record.evolution is None else record.evolution.history
    return NOTE_SEPARATOR.join(c.run_id for generation in history for c in generation.candidates)


ARCHIVES: Final = ReaderOf[ArchiveRecord](
    source=workcell_files.SOURCE, folder=workcell_files.FOLDER, parts=workcell_files.PARTS,
    read_one=read_archive, note_of=_archive_note, version="2",
)  # fmt: skip
WORLD_RUNS: Final = ReaderOf[WorldRunRecord](
    source=world_files.SOURCE, folder=world_files.FOLDER, parts=world_files.PARTS,
    read_one=read_world_run, note_of=_world_note, version="2",
)  # fmt: skip


class SourceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What every reader met: discovered = accepted + quarantined + pending + unchanged."""

    counts: tuple[SourceCount, ...]
    has_default_config: bool
    knows_git_history: bool


class Workspace(msgspec.Struct, frozen=True, kw_only=True):
    """Everything read from a workspace."""

    issues: pl.DataFrame
    past_issues: pl.DataFrame
    archives: Stored
    dispatches: pl.DataFrame
    world_runs: Stored
    universes: pl.DataFrame
    settings_states: pl.DataFrame
    quarantine: pl.DataFrame
    kernel_config: KernelConfig
    source_report: SourceReport


def quarantine_table(rows: Sequence[Quarantine]) -> pl.DataFrame:
    """Quarantine rows in a total order."""
    ordered = sorted(rows, key=lambda row: (row.source, row.file, row.line or 0, row.reason))
    names = ("source", "file", "line", "reason", "is_pending", "detail", "excerpt")
    return build_table(QUARANTINE, ordered, fields(*names))


def quarantine_lines(quarantine: pl.DataFrame, most: int = 20) -> list[str]:
    """What was refused, a line each: file, line, reason, detail."""
    return [
        f"{row['file']}{'' if row['line'] is None else ':' + str(row['line'])}: "
        f"{row['reason'].replace('_', ' ')}: {row['detail'][:120]}"
        for row in quarantine.filter(~pl.col("is_pending")).head(most).iter_rows(named=True)
    ]


def issue_tables(read: IssueRead) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Issues as commits held them, and as they stand now."""
    return (
        build_table(PAST_ISSUES, read.past, fields("issue_id", "status", "committed_ms")),
        build_table(ISSUES, read.issues, fields("issue_id", "status")),
    )


def read_workspace(repo: Path, store: Path, progress: Progress = no_progress) -> Workspace:
    """Every artifact below ``repo``; whatever is missing gives an empty table.

    Args:
        store: Where the records of directories are kept between builds.

    Raises:
        NotADirectoryError: ``repo`` is no directory.
    """
    if not repo.is_dir():
        raise NotADirectoryError(f"no workspace at {repo}")
    kept_archives, archives_refused, archives_count = read_stored(ARCHIVES, repo, store, progress)
    kept_worlds, worlds_refused, worlds_count = read_stored(WORLD_RUNS, repo, store, progress)
    issues, events = read_issues(repo), read_event_log(repo, store)
    universes, config = read_universes(repo), read_kernel_config(repo)
    past_issues, issues_now = issue_tables(issues)
    states = read_settings_history(repo)
    reads = (issues, events, universes, config, read_trial_import(repo))
    refused = [row for read in reads for row in read.quarantined]
    return Workspace(
        issues=issues_now,
        past_issues=past_issues,
        archives=kept_archives,
        dispatches=events.dispatches,
        world_runs=kept_worlds,
        universes=build_table(
            UNIVERSES,
            universes.universes,
            {"universe_id": lambda u: u.universe_id, "swarm_ids": lambda u: list(u.swarm_ids)},
        ),
        settings_states=build_table(
            SETTINGS_STATES,
            states,
            fields("committed_ms", "kernel_config", "universe", "prompt_frontier"),
        ),
        quarantine=quarantine_table([*refused, *archives_refused, *worlds_refused]),
        kernel_config=config.config,
        source_report=SourceReport(
            counts=(archives_count, worlds_count, *(read.count for read in reads)),
            has_default_config=config.is_default,
            knows_git_history=bool(issues.past or states),
        ),
    )
