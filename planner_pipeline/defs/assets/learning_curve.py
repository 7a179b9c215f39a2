"""Stage bench, its last asset: whether more cases would pay.

Belongs here: the doorway to ``experiments.learning_curve``, and what MLflow is told. Does not:
fits, words. It fits an outcome model some fifty times, so only its own job makes it.
"""

from functools import partial
from typing import Any

import dagster as dg
import polars as pl

from planner_pipeline.bench.bench_tables import LEARNING_CURVE
from planner_pipeline.defs.progress import show_progress
from planner_pipeline.defs.resources import Settings, Tracking
from planner_pipeline.defs.table_types import table_type
from planner_pipeline.experiments.curve_learners import bench_curve
from planner_pipeline.experiments.learning_curve import (
    CurveConfig,
    CurveError,
    LearningCurve,
    as_markdown,
    curve_metrics,
    learning_curve_of,
    write_curve,
)
from planner_pipeline.tables import polars_schema
from planner_pipeline.tracking import Tracker


class CurveAsked(dg.Config):
    """How a curve is measured, and how many future decisions share what is learned."""

    seeds: int = 8
    decisions: int = 1_000


@dg.asset(
    group_name="bench",
    code_version="1",
    dagster_type=table_type(LEARNING_CURVE),
    io_manager_key="table_io",
)
def learning_curve(
    outcome_dataset: pl.DataFrame, config: CurveAsked, settings: Settings, tracking: Tracking
) -> dg.MaterializeResult:
    """Value of what is learned from few, more and all cases, and what further ones would add."""
    asked = CurveConfig(seeds=config.seeds, decisions=config.decisions)
    try:
        data = bench_curve(outcome_dataset, cost_weight=asked.cost_weight)
        curve = learning_curve_of(data, asked, partial(show_progress, "fits"))
    except CurveError as error:
        nothing = pl.DataFrame(schema=polars_schema(LEARNING_CURVE))
        return dg.MaterializeResult(value=nothing, metadata={"not_known": str(error)})
    log_curve(tracking.tracker(), curve, settings)
    told: dict[str, Any] = {"is_known": curve.is_known, "rise": curve.rise.value}
    told |= {"curve": dg.MetadataValue.md(as_markdown(curve)), "cases": curve.n_cases}
    return dg.MaterializeResult(value=curve.table, metadata=told)


def log_curve(tracker: Tracker, curve: LearningCurve, settings: Settings) -> None:
    """One run whose steps are numbers of cases; the page and the table beside the bench."""
    page = write_curve(curve, settings.out_dir / "bench")
    params = {"cases": curve.n_cases, "issues": curve.n_issues, "seeds": curve.config.seeds}
    with tracker.start("learning_curve", params) as run:
        for step, metrics in curve_metrics(curve):
            run.log_metrics(metrics, step=step)
        run.log_file(page)
