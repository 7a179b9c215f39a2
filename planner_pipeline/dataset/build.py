"""A workspace -> a data set on disk, in one call.

Belongs here: the order of the steps, for tests, notebooks and measurements. Dagster's assets call
the same steps one by one. Does not: any step.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from planner_pipeline.dataset.blocks import Recipe, write_examples
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.dataset.shards import (
    DatasetMeta,
    EpochShare,
    build_index,
    chosen_epochs,
    examples_with_epochs,
    write_dataset,
)
from planner_pipeline.history.assemble import RunAssembly, write_runs
from planner_pipeline.history.epochs import Epoch, epochs_of
from planner_pipeline.memory import rare_collections
from planner_pipeline.parts import Parts
from planner_pipeline.sources.store import Progress, no_progress
from planner_pipeline.sources.workspace import Workspace, read_workspace
from planner_runtime.actions import action_space_for_swarms
from planner_runtime.archives.files import SourceCount


def gather_dataset(
    folder: Path,
    *,
    examples: Parts,
    recipe: Recipe,
    run_epochs: pl.DataFrame,
    epochs: Sequence[Epoch],
    not_examples: dict[str, int],
    sources: Sequence[SourceCount],
    quarantined_by_reason: dict[str, int],
) -> DatasetMeta:
    """Write the data set of finished tables.

    Raises:
        UnknownEpochError: no run belongs to the recipe's epoch.
        DamagedPartError: a part is not what was written.
    """
    chosen = chosen_epochs(recipe.epoch, epochs)
    everything = examples_with_epochs(examples, run_epochs)
    index = build_index(everything, chosen)
    counts = dict(everything["epoch"].value_counts().iter_rows())
    shares = [
        EpochShare(epoch=one, n_examples=counts.get(one.epoch, 0), is_chosen=one.epoch in chosen)
        for one in epochs
    ]
    return write_dataset(
        folder,
        examples,
        index,
        settings=recipe.to_document(),
        epochs=shares,
        not_examples=not_examples,
        sources=sources,
        quarantined_by_reason=quarantined_by_reason,
    )


def assembly_of(workspace: Workspace) -> RunAssembly:
    """The runs of a workspace that was read."""
    return RunAssembly(
        archives=workspace.archives,
        worlds=workspace.world_runs,
        dispatches=workspace.dispatches,
        past_issues=workspace.past_issues,
        issues=workspace.issues,
    )


def recipe_of(workspace: Workspace, *, n_similar: int = 8, window: int | None = None) -> Recipe:
    """The usual recipe: version 1 bins with the swarms of all universes."""
    swarms = [swarm for swarms in workspace.universes["swarm_ids"] for swarm in swarms]
    return Recipe(space=action_space_for_swarms(swarms), n_similar=n_similar, window=window)


def build_dataset(
    repo: Path,
    out: Path,
    *,
    recipe: Recipe | None = None,
    progress: Progress = no_progress,
) -> Dataset:
    """The data set of a workspace, everything below ``out``; what is there already is used again.

    Raises:
        NotADirectoryError: ``repo`` is no directory.
        UnknownEpochError, DamagedPartError: as ``gather_dataset``.
    """
    with rare_collections():
        return _build(repo, out, recipe, progress)


def _build(repo: Path, out: Path, recipe: Recipe | None, progress: Progress) -> Dataset:
    workspace = read_workspace(repo, out / "store", progress)
    recipe = recipe or recipe_of(workspace)
    runs = write_runs(assembly_of(workspace), out / "parts" / "runs", progress=progress)
    examples, not_examples = write_examples(
        runs, recipe, out / "parts" / "examples", progress=progress
    )
    table, epochs = epochs_of(runs, workspace.settings_states)
    gather_dataset(
        out / "dataset",
        examples=examples,
        recipe=recipe,
        run_epochs=table,
        epochs=epochs,
        not_examples=not_examples,
        sources=workspace.source_report.counts,
        quarantined_by_reason=dict(sorted(Counter(workspace.quarantine["reason"]).items())),
    )
    return Dataset(out / "dataset")
