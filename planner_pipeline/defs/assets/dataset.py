"""Stage dataset: labelled examples, their tokens, and the data set on disk.

Belongs here: doorways to ``dataset``. Does not: building anything.
"""

from collections import Counter

import dagster as dg
import polars as pl

from planner_pipeline.dataset.examples import Example, build_examples, count_not_examples
from planner_pipeline.dataset.shards import (
    DatasetMeta,
    dataset_settings,
    examples_table,
    label_counts,
    tokens_table,
    write_dataset,
)
from planner_pipeline.defs.markdown import counts_table, first_rows, markdown_table
from planner_pipeline.defs.resources import Settings
from planner_pipeline.defs.table_types import table_type
from planner_pipeline.history.runs import RunRecord
from planner_pipeline.sources.workspace import SourceReport
from planner_pipeline.tables import EXAMPLES, TOKENS, read_records
from planner_runtime.actions import ActionSpace, action_space_for_swarms, valid_actions
from planner_runtime.similar_runs import DEFAULT_WEIGHTS


@dg.asset(group_name="dataset", code_version="1", io_manager_key="record_io")
def action_space(universes: pl.DataFrame) -> dg.MaterializeResult[ActionSpace]:
    """The choices on offer: version 1 bins with the swarms of all universes."""
    swarm_ids = [swarm for swarms in universes["swarm_ids"] for swarm in swarms]
    space = action_space_for_swarms(swarm_ids)
    n_valid = {job: len(valid_actions(space, job)) for job in ("code", "fab-world")}
    return dg.MaterializeResult(value=space, metadata={"swarms": list(space.swarm_ids), **n_valid})


@dg.asset(
    group_name="dataset",
    code_version="1",
    dagster_type=table_type(EXAMPLES),
    io_manager_key="table_io",
)
def examples(
    runs: pl.DataFrame, action_space: ActionSpace, settings: Settings
) -> dg.MaterializeResult:
    """Decisions with the action that was executed and what was known when it was chosen."""
    records = read_records(runs, RunRecord)
    built = build_examples(records, space=action_space, n_similar=settings.n_similar)
    table = examples_table(built)
    labels = [
        (head, choice, n)
        for head, counts in label_counts(built).items()
        for choice, n in counts.items()
    ]
    return dg.MaterializeResult(
        value=table,
        metadata={
            "rows": table.height,
            "splits": counts_table(Counter(table["split"]), "split"),
            "labels": markdown_table(("head", "choice", "n"), labels),
            "first_rows": first_rows(table),
        },
    )


@dg.asset(
    group_name="dataset",
    code_version="1",
    dagster_type=table_type(TOKENS),
    io_manager_key="table_io",
)
def tokens(examples: pl.DataFrame) -> dg.MaterializeResult:
    """Token ids and features of every example, made by the runtime's own code."""
    table = tokens_table(read_records(examples, Example))
    longest = table["n_tokens"].max() or 0
    return dg.MaterializeResult(
        value=table, metadata={"rows": table.height, "longest_tokens": int(str(longest))}
    )


@dg.asset(group_name="dataset", code_version="1", io_manager_key="record_io")
def dataset(
    runs: pl.DataFrame,
    examples: pl.DataFrame,
    tokens: pl.DataFrame,
    action_space: ActionSpace,
    quarantine: pl.DataFrame,
    source_report: SourceReport,
    settings: Settings,
) -> dg.MaterializeResult[DatasetMeta]:
    """The data set on disk: Parquet shards and meta.json, under one hash."""
    meta = write_dataset(
        settings.out_dir / "dataset",
        read_records(examples, Example),
        tokens,
        settings=dataset_settings(
            space=action_space, n_similar=settings.n_similar, weights=DEFAULT_WEIGHTS
        ),
        not_examples=count_not_examples(read_records(runs, RunRecord), action_space),
        sources=source_report.counts,
        quarantined_by_reason=dict(sorted(Counter(quarantine["reason"]).items())),
    )
    return dg.MaterializeResult(
        value=meta,
        metadata={
            "dataset_hash": meta.dataset_hash,
            "examples": meta.n_examples,
            "quarantined": meta.quarantined,
            "not_examples": counts_table(meta.not_examples, "reason"),
        },
    )
