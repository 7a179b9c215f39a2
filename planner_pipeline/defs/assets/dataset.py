"""Stage dataset: labelled examples and the data set on disk.

Belongs here: doorways to ``dataset``. Does not: building anything.
"""

from collections import Counter

import dagster as dg
import polars as pl

from planner_pipeline.dataset.blocks import ExamplePlan, Recipe, write_examples
from planner_pipeline.dataset.build import gather_dataset
from planner_pipeline.dataset.drift import DriftReport, drift_report
from planner_pipeline.dataset.feasibility import MINIMUM, Feasibility, gates_table, judge
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.dataset.shards import DatasetMeta
from planner_pipeline.defs.markdown import counts_table, first_rows, markdown_table
from planner_pipeline.defs.progress import show_progress
from planner_pipeline.defs.resources import Settings, months_of
from planner_pipeline.defs.versions import content_version
from planner_pipeline.history.epochs import epochs_of
from planner_pipeline.parts import Parts
from planner_pipeline.sources.workspace import SourceReport
from planner_runtime.actions import action_space_for_swarms, valid_actions


@dg.asset(group_name="dataset", code_version="1", io_manager_key="record_io")
def recipe(universes: pl.DataFrame, settings: Settings) -> dg.MaterializeResult[Recipe]:
    """The choices on offer, version 1 bins with the swarms of all universes, and what else decides
    what the data set holds.
    """
    swarm_ids = [swarm for swarms in universes["swarm_ids"] for swarm in swarms]
    space = action_space_for_swarms(swarm_ids)
    made = Recipe(
        space=space,
        n_similar=settings.n_similar,
        window=settings.window,
        epoch=settings.epoch,
        min_examples=settings.min_examples,
    )
    n_valid = {job: len(valid_actions(space, job)) for job in ("code", "fab-world")}
    return dg.MaterializeResult(
        value=made,
        metadata={"swarms": list(space.swarm_ids), **n_valid},
        data_version=dg.DataVersion(content_version(made)),
    )


def examples_asset(partitions: dg.PartitionsDefinition | None) -> dg.AssetsDefinition:
    """The asset, in one piece or a month a partition; a month's decisions may see any before it."""
    whole = dg.AllPartitionMapping() if partitions is not None else None

    @dg.asset(
        group_name="dataset",
        code_version="2",
        partitions_def=partitions,
        deps=[dg.AssetDep("run_summaries", partition_mapping=whole)],
    )
    def examples(
        context: dg.AssetExecutionContext, recipe: Recipe, settings: Settings
    ) -> dg.MaterializeResult:
        """Decisions with the action that was executed, what was known when it was chosen, and both
        as tokens and features.
        """
        runs = Parts.load(settings.runs_dir)
        months = months_of(context)
        table, _ = write_examples(
            runs, recipe, settings.examples_dir, months=months, progress=show_progress
        )
        numbers = {"rows": table.rows, "parts": len(table.parts), "reused": table.n_reused}
        return dg.MaterializeResult(
            metadata=numbers | {"leaks": table.count("leaks")},
            data_version=dg.DataVersion(table.version),
        )

    return examples


@dg.asset(
    group_name="dataset",
    code_version="2",
    io_manager_key="record_io",
    deps=["examples", "run_summaries"],
)
def dataset(
    recipe: Recipe,
    run_epochs: pl.DataFrame,
    settings_states: pl.DataFrame,
    quarantine: pl.DataFrame,
    source_report: SourceReport,
    settings: Settings,
) -> dg.MaterializeResult[DatasetMeta]:
    """The data set on disk: examples in parts, an index with splits, meta.json, under one hash."""
    runs = Parts.load(settings.runs_dir)
    meta = gather_dataset(
        settings.dataset_dir,
        examples=Parts.load(settings.examples_dir),
        recipe=recipe,
        run_epochs=run_epochs,
        epochs=epochs_of(runs, settings_states)[1],
        not_examples=ExamplePlan(runs, recipe).not_examples,
        sources=source_report.counts,
        quarantined_by_reason=dict(sorted(Counter(quarantine["reason"]).items())),
    )
    labels = [(head, choice, n) for head, of in meta.labels.items() for choice, n in of.items()]
    return dg.MaterializeResult(
        value=meta,
        metadata={
            "dataset_hash": meta.dataset_hash,
            "rows": meta.n_examples,
            "quarantined": meta.quarantined,
            "epochs": len(meta.epochs),
            "splits": counts_table(meta.splits, "split"),
            "not_examples": counts_table(meta.not_examples, "reason"),
            "labels": markdown_table(("head", "choice", "n"), labels),
        },
        data_version=dg.DataVersion(content_version(meta)),
    )


@dg.asset(group_name="dataset", code_version="1", io_manager_key="record_io")
def feasibility(
    dataset: DatasetMeta, recipe: Recipe, settings: Settings
) -> dg.MaterializeResult[Feasibility]:
    """Whether the data set can teach anything: the gates of phase P0."""
    judged = judge(Dataset(settings.dataset_dir), MINIMUM | {"code": recipe.min_examples})
    table = first_rows(gates_table(judged), n=20)
    return dg.MaterializeResult(value=judged, metadata={"verdict": judged.verdict, "gates": table})


@dg.asset(group_name="dataset", code_version="1", io_manager_key="record_io")
def drift(dataset: DatasetMeta, settings: Settings) -> dg.MaterializeResult[DriftReport]:
    """How labels and features differ between epochs of settings."""
    report = drift_report(Dataset(settings.dataset_dir))
    return dg.MaterializeResult(
        value=report, metadata={"told": report.words, "pairs": len(report.pairs)}
    )
