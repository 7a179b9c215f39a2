"""Stage evaluation: calibration, predictions, and what they are worth.

Belongs here: doorways to ``evaluation``. Does not: models.
"""

import dagster as dg
import polars as pl

from planner_pipeline.dataset.arrays import build_arrays
from planner_pipeline.dataset.examples import Example
from planner_pipeline.defs.markdown import first_rows, markdown_table
from planner_pipeline.defs.table_types import table_type
from planner_pipeline.evaluation.calibration import fit_calibration
from planner_pipeline.evaluation.diagnostics import Evaluation, evaluate
from planner_pipeline.evaluation.predictions import Prior, logits_of, predict, predictions_table
from planner_pipeline.tables import PREDICTIONS, read_records
from planner_runtime.actions import ActionSpace
from planner_runtime.calibration import Calibration
from planner_runtime.features import N_FEATURES
from planner_runtime.kernel_config import KernelConfig


@dg.asset(group_name="evaluation", code_version="1", io_manager_key="record_io")
def calibration(
    held_out_logits: pl.DataFrame,
    examples: pl.DataFrame,
    tokens: pl.DataFrame,
    action_space: ActionSpace,
) -> dg.MaterializeResult[Calibration]:
    """One temperature a head, fitted on the validation split."""
    rows = [e for e in read_records(examples, Example) if e.split == "val"]
    arrays = build_arrays(rows, tokens, action_space, n_features=N_FEATURES)
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
    examples: pl.DataFrame,
    action_space: ActionSpace,
    calibration: Calibration,
    kernel_config: KernelConfig,
) -> dg.MaterializeResult:
    """What model, heuristic and prior say of every held-out example."""
    rows = read_records(examples, Example)
    table = predictions_table(
        predict(
            [e for e in rows if e.split != "train"],
            logits_of(held_out_logits),
            space=action_space,
            calibration=calibration,
            prior=Prior([e for e in rows if e.split == "train"], action_space),
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
