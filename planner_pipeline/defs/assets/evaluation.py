"""Stage evaluation: calibration, predictions, and what they are worth.

Belongs here: doorways to ``evaluation``. Does not: models.
"""

import dagster as dg
import polars as pl

from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.dataset.shards import DatasetMeta
from planner_pipeline.defs.markdown import first_rows, markdown_table
from planner_pipeline.defs.resources import Settings
from planner_pipeline.defs.table_types import table_type
from planner_pipeline.evaluation.calibration import fit_calibration
from planner_pipeline.evaluation.diagnostics import Evaluation, evaluate
from planner_pipeline.evaluation.predictions import Prior, logits_of, predict, predictions_table
from planner_pipeline.tables import PREDICTIONS
from planner_runtime.calibration import Calibration
from planner_runtime.kernel_config import KernelConfig


@dg.asset(group_name="evaluation", code_version="1", io_manager_key="record_io")
def calibration(
    held_out_logits: pl.DataFrame, dataset: DatasetMeta, settings: Settings
) -> dg.MaterializeResult[Calibration]:
    """One temperature a head, fitted on the validation split."""
    arrays = Dataset(settings.dataset_dir).arrays("val")
    logits = logits_of(held_out_logits.filter(pl.col("split") == "val"))
    fitted = fit_calibration(logits, arrays)
    temperatures = {f"temperature_{head}": t for head, t in fitted.temperatures.items()}
    return dg.MaterializeResult(value=fitted, metadata=temperatures | {"notes": list(fitted.notes)})


@dg.asset(
    group_name="evaluation",
    code_version="1",
    dagster_type=table_type(PREDICTIONS),
    io_manager_key="table_io",
)
def predictions(
    held_out_logits: pl.DataFrame,
    dataset: DatasetMeta,
    calibration: Calibration,
    kernel_config: KernelConfig,
    settings: Settings,
) -> dg.MaterializeResult:
    """What model, heuristic and prior say of every held-out example."""
    data = Dataset(settings.dataset_dir)
    train = data.rows("train")
    table = predictions_table(
        predict(
            data.examples_of(data.rows("val", "test")),
            logits_of(held_out_logits),
            space=data.space,
            calibration=calibration,
            prior=Prior(data.labels(train), train["job_type"], data.space),
            kernel_config=kernel_config,
        )
    )
    return dg.MaterializeResult(
        value=table, metadata={"rows": table.height, "first_rows": first_rows(table)}
    )


@dg.asset(group_name="evaluation", code_version="1", io_manager_key="record_io")
def diagnostics(predictions: pl.DataFrame) -> dg.MaterializeResult[Evaluation]:
    """Accuracy, calibration and collapse on validation and test, with intervals."""
    judged = evaluate(predictions)
    rows = [
        (who, f"{f.value:.3f}", f"{f.low:.3f} to {f.high:.3f}", f.n)
        for who, f in judged.test.exact_match.items()
    ]
    table = markdown_table(("predictor", "exact match (test)", "95 % interval", "n"), rows)
    return dg.MaterializeResult(value=judged, metadata={"test": table, "rows": judged.test.n})
