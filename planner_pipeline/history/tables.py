"""Runs as a table.

Belongs here: source tables in, the runs table out. Does not: joining (``assemble``).
"""

import polars as pl

from planner_pipeline.history.assemble import assemble_runs
from planner_pipeline.history.runs import RunRecord
from planner_pipeline.sources.archives import ArchiveRecord
from planner_pipeline.sources.beads import IssueRecord
from planner_pipeline.sources.events import WorkcellEnd
from planner_pipeline.sources.world_runs import WorldRunRecord
from planner_pipeline.tables import RUNS, build_table, fields, read_records

COLUMNS = (
    "run_id", "kind", "group_id", "issue_id", "job_type", "domain", "toolchain", "decided_ms",
    "started_ms", "ended_ms", "status", "duration_ms", "cost_usd",
)  # fmt: skip


def assemble_runs_table(
    issues: pl.DataFrame,
    archives: pl.DataFrame,
    workcell_ends: pl.DataFrame,
    world_runs: pl.DataFrame,
) -> pl.DataFrame:
    """The runs of a workspace from its source tables, in the order of their decisions."""
    runs = assemble_runs(
        archives=read_records(archives, ArchiveRecord),
        ends=read_records(workcell_ends, WorkcellEnd),
        worlds=read_records(world_runs, WorldRunRecord),
        issues=read_records(issues, IssueRecord),
    )
    return runs_table(runs)


def runs_table(runs: list[RunRecord]) -> pl.DataFrame:
    """Runs as a table, in the order given."""
    return build_table(RUNS, runs, fields(*COLUMNS))
