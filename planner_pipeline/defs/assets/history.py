"""Stage history: every run, put together from all that was found about it; a kernel's own copy.

Belongs here: doorways to ``history``. Does not: joining anything.
"""

import dagster as dg
import polars as pl

from planner_pipeline.defs.markdown import counts_table, first_rows
from planner_pipeline.defs.progress import show_progress
from planner_pipeline.defs.resources import Settings, months_of
from planner_pipeline.defs.table_types import table_type
from planner_pipeline.history.assemble import RunAssembly, write_runs
from planner_pipeline.history.epochs import epochs_of
from planner_pipeline.history.kernel_snapshot import FILE, write_kernel_snapshot
from planner_pipeline.parts import Parts
from planner_pipeline.sources.store import Stored
from planner_pipeline.tables import RUN_EPOCHS, RUNS, polars_schema


def run_summaries_asset(partitions: dg.PartitionsDefinition | None) -> dg.AssetsDefinition:
    """The asset, in one piece or a month a partition."""

    @dg.asset(group_name="history", code_version="3", partitions_def=partitions)
    def run_summaries(
        context: dg.AssetExecutionContext,
        archives: Stored,
        world_runs: Stored,
        dispatches: pl.DataFrame,
        past_issues: pl.DataFrame,
        issues: pl.DataFrame,
        settings: Settings,
    ) -> dg.MaterializeResult:
        """Runs in the order of their decisions, each fact with the file it came from."""
        assembly = RunAssembly(
            archives=archives, worlds=world_runs, dispatches=dispatches,
            past_issues=past_issues, issues=issues,
        )  # fmt: skip
        months = months_of(context)
        table = write_runs(assembly, settings.runs_dir, months=months, progress=show_progress)
        outcomes = table.table(["status"], polars_schema(RUNS))["status"].fill_null("unknown")
        numbers = {"rows": table.rows, "parts": len(table.parts), "reused": table.n_reused}
        counts = dict(outcomes.value_counts().iter_rows())
        return dg.MaterializeResult(
            metadata=numbers | {"outcomes": counts_table(counts, "outcome")},
            data_version=dg.DataVersion(table.version),
        )

    return run_summaries


@dg.asset(
    group_name="history",
    code_version="1",
    dagster_type=table_type(RUN_EPOCHS),
    io_manager_key="table_io",
    deps=["run_summaries"],
)
def run_epochs(settings_states: pl.DataFrame, settings: Settings) -> dg.MaterializeResult:
    """Hashes of configuration, universe, prompts and toolchain versions in force at every run."""
    table, epochs = epochs_of(Parts.load(settings.runs_dir), settings_states)
    shown = pl.DataFrame([{"epoch": e.epoch, "runs": e.n_runs, **e.versions} for e in epochs])
    return dg.MaterializeResult(
        value=table, metadata={"rows": table.height, "epochs": first_rows(shown, n=20)}
    )


@dg.asset(group_name="serving", code_version="1", deps=["run_summaries"])
def history_snapshot(settings: Settings) -> dg.MaterializeResult:
    """The file a kernel starts its history from, beside the bundle."""
    header, n_young = write_kernel_snapshot(settings.repo_dir, settings.out_dir / FILE)
    return dg.MaterializeResult(
        metadata={"runs": header.n_runs, "too young": n_young, "bytes": header.n_bytes},
        data_version=dg.DataVersion(header.sha256),
    )
