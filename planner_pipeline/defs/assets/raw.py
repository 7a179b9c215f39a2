"""Stage raw: the artifacts of a workspace as tables, and what could not be read.

Belongs here: one doorway to ``sources``. Does not: reading.
"""

from collections.abc import Iterator

import dagster as dg

from planner_pipeline.defs.markdown import first_rows
from planner_pipeline.defs.resources import Settings
from planner_pipeline.defs.table_types import table_type
from planner_pipeline.sources.workspace import SourceReport, read_workspace
from planner_pipeline.tables import (
    ARCHIVES,
    ISSUES,
    QUARANTINE,
    UNIVERSES,
    WORKCELL_ENDS,
    WORLD_RUNS,
)
from planner_runtime.kernel_config import KernelConfig

TABLES = {
    "issues": (ISSUES, "Issues of .beads/issues.jsonl as they stand now."),
    "archives": (ARCHIVES, "Archived workcells, any part of them missing."),
    "workcell_ends": (WORKCELL_ENDS, "Ends of workcells from the kernel's event log."),
    "world_runs": (WORLD_RUNS, "World builds, candidates and evolutions."),
    "universes": (UNIVERSES, "Universes with their swarms and objectives."),
    "quarantine": (QUARANTINE, "What was found and could not be used, with the reason."),
}
RECORDS = {
    "kernel_config": (KernelConfig, "The configuration the kernel decides by."),
    "source_report": (SourceReport, "How much every reader met, took and refused."),
}


@dg.multi_asset(
    group_name="raw",
    outs={
        **{
            name: dg.AssetOut(
                dagster_type=table_type(schema),
                description=text,
                io_manager_key="table_io",
                code_version="1",
            )
            for name, (schema, text) in TABLES.items()
        },
        **{
            name: dg.AssetOut(
                dagster_type=kind, description=text, io_manager_key="record_io", code_version="1"
            )
            for name, (kind, text) in RECORDS.items()
        },
    },
)
def workspace_sources(settings: Settings) -> Iterator[dg.MaterializeResult]:
    """Read every artifact of the workspace once."""
    workspace = read_workspace(settings.repo_dir)
    for name in TABLES:
        table = getattr(workspace, name)
        numbers = {"rows": table.height, "first_rows": first_rows(table)}
        yield dg.MaterializeResult(asset_key=name, value=table, metadata=numbers)
    counts = {count.source: count.accepted for count in workspace.source_report.counts}
    refused = {f"{c.source}_quarantined": c.quarantined for c in workspace.source_report.counts}
    yield dg.MaterializeResult(
        asset_key="source_report", value=workspace.source_report, metadata=counts | refused
    )
    rules = len(workspace.kernel_config.rules)
    yield dg.MaterializeResult(
        asset_key="kernel_config", value=workspace.kernel_config, metadata={"routing_rules": rules}
    )
