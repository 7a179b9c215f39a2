"""A whole workspace -> one table for each kind of artifact, with everything accounted for.

Belongs here: calling every reader once. Does not: the readers.
"""

from pathlib import Path

import msgspec
import polars as pl

from planner_pipeline.sources.archives import read_archives
from planner_pipeline.sources.beads import read_issues
from planner_pipeline.sources.events import read_events
from planner_pipeline.sources.files import Quarantine, SourceCount
from planner_pipeline.sources.settings import read_kernel_config, read_universes
from planner_pipeline.sources.trials import read_trial_import
from planner_pipeline.sources.world_runs import read_world_runs
from planner_pipeline.tables import (
    ARCHIVES,
    ISSUES,
    QUARANTINE,
    UNIVERSES,
    WORKCELL_ENDS,
    WORLD_RUNS,
    build_table,
    fields,
)
from planner_runtime.kernel_config import KernelConfig


class SourceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What every reader met: discovered = accepted + quarantined, source by source."""

    counts: tuple[SourceCount, ...]
    has_default_config: bool


class Workspace(msgspec.Struct, frozen=True, kw_only=True):
    """Everything read from a workspace, as tables."""

    issues: pl.DataFrame
    archives: pl.DataFrame
    workcell_ends: pl.DataFrame
    world_runs: pl.DataFrame
    universes: pl.DataFrame
    quarantine: pl.DataFrame
    kernel_config: KernelConfig
    source_report: SourceReport


def quarantine_table(rows: list[Quarantine]) -> pl.DataFrame:
    """Quarantine rows in a total order."""
    ordered = sorted(rows, key=lambda row: (row.source, row.file, row.line or 0, row.reason))
    names = ("source", "file", "line", "reason", "detail", "excerpt")
    return build_table(QUARANTINE, ordered, fields(*names))


def read_workspace(repo: Path) -> Workspace:
    """Every artifact below ``repo``; whatever is missing gives an empty table.

    Raises:
        NotADirectoryError: ``repo`` is no directory.
    """
    if not repo.is_dir():
        raise NotADirectoryError(f"no workspace at {repo}")
    issues, archives, events = read_issues(repo), read_archives(repo), read_events(repo)
    worlds, universes, config = (
        read_world_runs(repo),
        read_universes(repo),
        read_kernel_config(repo),
    )
    trials = read_trial_import(repo)
    reads = (issues, archives, events, worlds, universes, config, trials)
    return Workspace(
        issues=build_table(
            ISSUES,
            issues.issues,
            fields("issue_id", "status"),
        ),
        archives=build_table(
            ARCHIVES,
            archives.archives,
            {
                **fields("workcell_id", "issue_id"),
                "has_manifest": lambda a: a.manifest is not None,
                "has_proof": lambda a: a.proof is not None,
                "has_rollout": lambda a: a.rollout is not None,
                "has_plan": lambda a: a.planner.executed_plan is not None,
            },
        ),
        workcell_ends=build_table(
            WORKCELL_ENDS,
            events.ends,
            fields("workcell_id", "ended_at"),
        ),
        world_runs=build_table(
            WORLD_RUNS,
            worlds.runs,
            {"run_id": lambda r: r.run_id, "is_evolution": lambda r: r.evolution is not None},
        ),
        universes=build_table(
            UNIVERSES,
            universes.universes,
            {"universe_id": lambda u: u.universe_id, "swarm_ids": lambda u: list(u.swarm_ids)},
        ),
        quarantine=quarantine_table([row for read in reads for row in read.quarantined]),
        kernel_config=config.config,
        source_report=SourceReport(
            counts=tuple(read.count for read in reads), has_default_config=config.is_default
        ),
    )
