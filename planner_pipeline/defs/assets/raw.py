"""Stage raw: the artifacts of a workspace as records, and what could not be read.

Belongs here: one doorway to ``sources``. Does not: reading.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import msgspec
import polars as pl

from planner_pipeline.defs.markdown import first_rows
from planner_pipeline.defs.progress import show_progress
from planner_pipeline.defs.resources import Settings
from planner_pipeline.defs.table_types import table_type
from planner_pipeline.defs.versions import content_version
from planner_pipeline.sources.store import Stored
from planner_pipeline.sources.workspace import SourceReport, Workspace, read_workspace
from planner_pipeline.tables import (
    DISPATCHES,
    ISSUES,
    PAST_ISSUES,
    QUARANTINE,
    SETTINGS_STATES,
    UNIVERSES,
)
from planner_runtime.kernel_config import KernelConfig

TABLES = {
    "issues": (ISSUES, "Issues of .beads/issues.jsonl as they stand now."),
    "past_issues": (PAST_ISSUES, "Lines that commits added to .beads/issues.jsonl."),
    "dispatches": (DISPATCHES, "Issue runs of the kernel's event log, from start to end."),
    "universes": (UNIVERSES, "Universes with their swarms and objectives."),
    "settings_states": (SETTINGS_STATES, "Commits that changed configuration, universes, prompts."),
    "quarantine": (QUARANTINE, "What was found and could not be used, with the reason."),
}
RECORDS = {
    "archives": (Stored, "Archived workcells, any part of them missing; each read once."),
    "world_runs": (Stored, "World builds, candidates and evolutions; each read once."),
    "kernel_config": (KernelConfig, "The configuration the kernel decides by."),
    "source_report": (SourceReport, "How much every reader met, took, refused and left."),
}


def rows_of(value: pl.DataFrame | msgspec.Struct) -> dict[str, Any]:
    """The numbers a person would ask for."""
    if isinstance(value, pl.DataFrame):
        return {"rows": value.height, "first_rows": first_rows(value)}
    if isinstance(value, Stored):
        return {"rows": value.live.rows, "segments": len(value.segments)}
    if isinstance(value, SourceReport):
        return {count.source: msgspec.to_builtins(count) for count in value.counts}
    return {}


@dg.multi_asset(
    group_name="raw",
    outs={
        **{
            name: dg.AssetOut(
                dagster_type=table_type(schema),
                description=text,
                io_manager_key="table_io",
                code_version="3",
            )
            for name, (schema, text) in TABLES.items()
        },
        **{
            name: dg.AssetOut(
                dagster_type=kind, description=text, io_manager_key="record_io", code_version="3"
            )
            for name, (kind, text) in RECORDS.items()
        },
    },
)
def workspace_sources(settings: Settings) -> Iterator[dg.MaterializeResult]:
    """Read every artifact of the workspace that is new or changed."""
    workspace: Workspace = read_workspace(
        settings.repo_dir, settings.out_dir / "store", show_progress
    )
    for name in (*TABLES, *RECORDS):
        value = getattr(workspace, name)
        yield dg.MaterializeResult(
            asset_key=name,
            value=value,
            metadata=rows_of(value),
            data_version=dg.DataVersion(content_version(value)),
        )
