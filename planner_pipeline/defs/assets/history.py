"""Stage history: every run, put together from all that was found about it.

Belongs here: one doorway to ``history``. Does not: joining anything.
"""

from collections import Counter

import dagster as dg
import polars as pl

from planner_pipeline.defs.markdown import counts_table
from planner_pipeline.defs.table_types import table_type
from planner_pipeline.history.tables import assemble_runs_table
from planner_pipeline.tables import RUNS


@dg.asset(
    group_name="history",
    code_version="1",
    dagster_type=table_type(RUNS),
    io_manager_key="table_io",
)
def runs(
    issues: pl.DataFrame,
    archives: pl.DataFrame,
    workcell_ends: pl.DataFrame,
    world_runs: pl.DataFrame,
) -> dg.MaterializeResult:
    """Runs in the order of their decisions, each fact with the file it came from."""
    table = assemble_runs_table(issues, archives, workcell_ends, world_runs)
    outcomes = Counter(status or "unknown" for status in table["status"])
    return dg.MaterializeResult(
        value=table,
        metadata={"rows": table.height, "outcomes": counts_table(outcomes, "outcome")},
    )
