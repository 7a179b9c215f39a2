"""Stage bench: candidates that really run, issue by issue, and what is learned from them.

Belongs here: doorways to ``bench``, partitioned by issue. Does not: running or judging anything,
when to (``defs.bench_automation``). The records themselves are in ``OUT/bench``.
"""

from collections.abc import Iterator
from typing import Final

import dagster as dg

from planner_pipeline.bench.bench_tables import OUTCOMES_DATASET, WINNER_LABELS
from planner_pipeline.defs.bench_resource import BenchSettings
from planner_pipeline.defs.markdown import first_rows
from planner_pipeline.defs.resources import Settings
from planner_pipeline.defs.table_types import table_type
from planner_pipeline.defs.versions import content_version
from planner_pipeline.experiments.bench_report import BenchReport, as_markdown, report_of

ISSUES: Final = dg.DynamicPartitionsDefinition(name="issues")
POOL: Final = "bench"  # its limit says how many runs may bench at once on this machine


class AskedAgain(dg.Config):
    """Whether cases are asked again, with today's history and from today's commit."""

    fresh: bool = False


@dg.asset(group_name="bench", code_version="1", partitions_def=ISSUES, deps=["run_summaries"])
def bench_candidates(
    context: dg.AssetExecutionContext, config: AskedAgain, bench: BenchSettings, settings: Settings
) -> dg.MaterializeResult[None]:
    """The actions to try on an issue: baseline, other topology, cheaper, dearer, least seen."""
    session = bench.session(settings, context.partition_keys, fresh=config.fresh)
    table = session.candidates()
    refused = [f"{one.issue_id}: {one.reason}" for one in session.refused]
    return dg.MaterializeResult(
        metadata={"rows": table.height, "candidates": first_rows(table), "refused": refused},
        data_version=dg.DataVersion(content_version(table)),
    )


@dg.asset(
    group_name="bench",
    code_version="1",
    partitions_def=ISSUES,
    deps=[bench_candidates],
    pool=POOL,
)
def bench_outcomes(
    context: dg.AssetExecutionContext, bench: BenchSettings, settings: Settings
) -> dg.MaterializeResult[None]:
    """What came of every candidate of an issue, run under limits and judged by gates."""
    session = bench.session(settings, context.partition_keys)
    end = session.run()
    table = session.judge(is_part=True).outcomes
    return dg.MaterializeResult(
        metadata={
            "rows": table.height,
            "ran": end.n_run,
            "kept": end.n_kept,
            "infra_errors": end.n_infra_errors,
            "ended": end.reason or end.ending,
            "passed": int(table["passed"].sum()),
        },
        data_version=dg.DataVersion(content_version(table.drop("duration_ms"))),
    )


@dg.multi_asset(
    group_name="bench",
    deps=[dg.AssetDep(bench_outcomes, partition_mapping=dg.AllPartitionMapping())],
    outs={
        "winner_labels": dg.AssetOut(
            dagster_type=table_type(WINNER_LABELS), io_manager_key="table_io", code_version="1",
            description="The best candidate of every case, or why there is none.",
        ),
        "outcome_dataset": dg.AssetOut(
            dagster_type=table_type(OUTCOMES_DATASET), io_manager_key="table_io", code_version="1",
            description="(question, action) -> passed, timeout, duration, cost, censored.",
        ),
        "bench_figures": dg.AssetOut(
            dagster_type=BenchReport, io_manager_key="record_io", code_version="1",
            description="Heuristic, best fixed action and model on these outcomes.",
        ),
    },
)  # fmt: skip
def bench_judgement(bench: BenchSettings, settings: Settings) -> Iterator[dg.MaterializeResult]:
    """Labels and figures of everything that was benched."""
    session = bench.everything(settings)
    judged = session.judge()
    report = report_of(session, judged)
    n_labels = int(judged.labels["is_label"].sum())
    yield dg.MaterializeResult(
        asset_key="winner_labels",
        value=judged.labels,
        metadata={"rows": judged.labels.height, "labels": n_labels},
    )
    yield dg.MaterializeResult(
        asset_key="outcome_dataset",
        value=judged.outcomes,
        metadata={"rows": judged.outcomes.height},
    )
    yield dg.MaterializeResult(
        asset_key="bench_figures",
        value=report,
        metadata={"report": dg.MetadataValue.md(as_markdown(report))},
    )
