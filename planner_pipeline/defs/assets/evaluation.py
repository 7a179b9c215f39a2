"""Stage evaluation: calibration, predictions, and what they are worth.

Belongs here: doorways to ``evaluation``. Does not: models.
"""

import dagster as dg
import polars as pl

from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.dataset.shards import DatasetMeta
from planner_pipeline.defs.assets.training import HELD_OUT
from planner_pipeline.defs.markdown import first_rows, markdown_table
from planner_pipeline.defs.resources import Settings
from planner_pipeline.defs.table_types import table_type
from planner_pipeline.evaluation.calibrate import calibrate
from planner_pipeline.evaluation.calibration import fit_temperatures
from planner_pipeline.evaluation.diagnostics import Evaluation, evaluate
from planner_pipeline.evaluation.predictions import (
    Said,
    choices_of,
    choices_table,
    heuristic_choices,
    predictions_table,
)
from planner_pipeline.tables import DEFAULT_CHOICES, PREDICTIONS
from planner_pipeline.training.config import REFERENCES, TrainConfig, usual_config
from planner_pipeline.training.fit import outputs_of
from planner_runtime.calibration import Calibration
from planner_runtime.kernel_config import KernelConfig


@dg.asset(
    group_name="evaluation",
    code_version="1",
    dagster_type=table_type(DEFAULT_CHOICES),
    io_manager_key="table_io",
)
def default_choices(
    dataset: DatasetMeta, kernel_config: KernelConfig, settings: Settings
) -> dg.MaterializeResult:
    """What the kernel's own rules would do in every held-out example."""
    data = Dataset(settings.dataset_dir)
    rows = data.role_rows(*HELD_OUT)
    choices = heuristic_choices(data.examples_of(rows), data.space, kernel_config)
    table = choices_table(rows, choices)
    return dg.MaterializeResult(value=table, metadata={"rows": table.height})


@dg.asset(group_name="evaluation", code_version="2", io_manager_key="record_io")
def calibration(
    held_out_outputs: pl.DataFrame,
    default_choices: pl.DataFrame,
    dataset: DatasetMeta,
    train_config: TrainConfig,
    settings: Settings,
) -> dg.MaterializeResult[Calibration]:
    """Temperatures, and the confidence from which on the model is followed, with its promise."""
    data = Dataset(settings.dataset_dir)
    fitting, certifying = (
        (
            outputs_of(held_out_outputs.filter(role=role), data.space, train_config.decoding),
            data.role_arrays(role, tokens=False),
        )
        for role in HELD_OUT[:2]
    )
    defaults = choices_of(default_choices.filter(role="certify"))
    fitted = calibrate(
        fitting, certifying, defaults, train_config.decoding,
        target=settings.risk_target, failure=settings.risk_failure,
    )  # fmt: skip
    told = {f"temperature_{name}": t for name, t in fitted.temperatures.items()}
    told |= {"threshold": fitted.confidence_threshold, "always_abstains": fitted.always_abstains}
    return dg.MaterializeResult(value=fitted, metadata=told | {"notes": list(fitted.notes)})


@dg.asset(
    group_name="evaluation",
    code_version="2",
    dagster_type=table_type(PREDICTIONS),
    io_manager_key="table_io",
)
def predictions(
    held_out_outputs: pl.DataFrame,
    reference_outputs: pl.DataFrame,
    default_choices: pl.DataFrame,
    dataset: DatasetMeta,
    calibration: Calibration,
    train_config: TrainConfig,
    settings: Settings,
) -> dg.MaterializeResult:
    """What the model, the heuristic and the reference models say of every held-out example."""
    data = Dataset(settings.dataset_dir)
    rows, val = data.role_rows(*HELD_OUT), data.role_arrays("val", tokens=False)
    references: dict[str, Said] = {}
    for arch in REFERENCES:
        decoding, said = usual_config(arch).decoding, reference_outputs.filter(predictor=arch)
        of_val = outputs_of(said.filter(role="val"), data.space, decoding)
        temperatures, _ = fit_temperatures(of_val, val, decoding)
        references[arch] = Said(outputs_of(said, data.space, decoding), decoding, temperatures)
    outputs = outputs_of(held_out_outputs, data.space, train_config.decoding)
    table = predictions_table(
        rows,
        data.arrays_of(rows, tokens=False),
        model=Said(outputs, train_config.decoding, calibration.temperatures),
        calibration=calibration,
        defaults=choices_of(default_choices),
        references=references,
    )
    return dg.MaterializeResult(
        value=table, metadata={"rows": table.height, "first_rows": first_rows(table)}
    )


@dg.asset(group_name="evaluation", code_version="2", io_manager_key="record_io")
def diagnostics(predictions: pl.DataFrame) -> dg.MaterializeResult[Evaluation]:
    """Accuracy, calibration, collapse and selective risk, with intervals."""
    judged = evaluate(predictions)
    rows = [
        (who, f"{f.value:.3f}", f"{f.low:.3f} to {f.high:.3f}", f.n)
        for who, figures in judged.test.predictors.items()
        if (f := figures.exact_match) is not None
    ]
    table = markdown_table(("predictor", "exact match (test)", "95 % interval", "n"), rows)
    return dg.MaterializeResult(value=judged, metadata={"test": table, "rows": judged.test.n})
