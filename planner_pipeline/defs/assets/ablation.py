"""Stage ablation: the declared grid, each cell one MLflow run below one parent.

Belongs here: the doorway to ``experiments``, and what MLflow is told. Does not: fits, tables. It is
no part of the job for everything: it takes half an hour.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import msgspec

from planner_pipeline.dataset.blocks import Recipe
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.dataset.shards import DatasetMeta
from planner_pipeline.defs.progress import show_progress
from planner_pipeline.defs.resources import Settings, Tracking
from planner_pipeline.experiments.ablation import CellResult, predictions_of, run_grid
from planner_pipeline.experiments.ablation_table import (
    AblationTable,
    CellFigures,
    ablation_table,
    as_markdown,
)
from planner_pipeline.experiments.cell_log import cell_metrics, epoch_means, reliability_svg
from planner_pipeline.experiments.grid import QUICK_SEEDS, SEEDS, full_grid, quick_grid
from planner_pipeline.experiments.shipping import shipping_of
from planner_pipeline.parts import Parts
from planner_pipeline.sample.workspace import SIMULATED_MARK
from planner_pipeline.tracking import Tracker


@dg.asset(
    group_name="ablation", code_version="1", io_manager_key="record_io", deps=["run_summaries"]
)
def ablations(
    dataset: DatasetMeta, recipe: Recipe, settings: Settings, tracking: Tracking
) -> dg.MaterializeResult[AblationTable]:
    """Figures of every cell of the declared grid, and whether the recurrent model may ship."""
    data, is_quick = Dataset(settings.dataset_dir), settings.ablation_quick
    results = run_grid(
        quick_grid() if is_quick else full_grid(),
        dataset=settings.dataset_dir,
        recipe=recipe,
        runs=Parts.load(settings.runs_dir),
        folder=settings.out_dir / "ablation" / "examples",
        n_seeds=QUICK_SEEDS if is_quick else SEEDS,
        progress=show_progress,
    )
    tests = data.role_rows("test")
    table = ablation_table(
        results,
        [issue or example for issue, example in tests.select("issue_id", "example_id").iter_rows()],
        dataset_hash=dataset.dataset_hash,
        n_train=data.role_rows("train").height,
        is_quick=is_quick,
        is_simulated=(settings.repo_dir / SIMULATED_MARK).exists(),
        shipping=shipping_of(settings.out_dir),
    )
    log_cells(tracking.tracker(), results, table, data)
    told: dict[str, Any] = {verdict.split(" (")[0]: verdict for verdict in table.verdicts}
    told |= {"shipping": table.shipping.words, "table": dg.MetadataValue.md(as_markdown(table))}
    return dg.MaterializeResult(value=table, metadata=told)


def log_cells(
    tracker: Tracker, results: list[CellResult], table: AblationTable, data: Dataset
) -> None:
    """One run a cell below one parent, so that MLflow's own compare view answers the question."""
    params = {"dataset_hash": table.dataset_hash, "cells": len(results), "quick": table.is_quick}
    with tracker.start("ablation", params) as parent, TemporaryDirectory() as folder:
        for result, row in zip(results, table.rows, strict=True):
            _log_cell(tracker, parent.run_id, result, row, data, Path(folder))
        page = Path(folder) / "results.md"
        page.write_text(as_markdown(table))
        parent.log_file(page)


def _log_cell(
    tracker: Tracker, parent: str, result: CellResult, row: CellFigures, data: Dataset, folder: Path
) -> None:
    cell = result.cell
    config = msgspec.to_builtins(cell.config(0))
    del config["seed"]
    params = {"factor": cell.factor, "level": cell.level, "seeds": row.n_seeds, **config}
    params |= {f"recipe_{name}": value for name, value in cell.recipe.items()}
    with tracker.start(cell.name, params, parent=parent) as run:
        for epoch, metrics in epoch_means(result):
            run.log_metrics(metrics, step=epoch)
        run.log_metrics(cell_metrics(row))
        predictions, plot = folder / "predictions.parquet", folder / "calibration.svg"
        predictions_of(result, data).write_parquet(predictions)
        plot.write_text(reliability_svg(result))
        run.log_file(predictions)
        run.log_file(plot)
