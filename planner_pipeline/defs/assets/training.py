"""Stage training: a checkpoint, how it came about, and what it says of held-out examples.

Belongs here: doorways to ``training``, and what MLflow is told. Does not: fitting.
"""

from collections.abc import Iterator
from typing import Final

import dagster as dg
import msgspec
import polars as pl

from planner_pipeline.dataset.arrays import Arrays
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.dataset.shards import DatasetMeta
from planner_pipeline.dataset.splits import Role
from planner_pipeline.dataset.winners import read_winners, with_winners
from planner_pipeline.defs.resources import Settings, Tracking, winners_of
from planner_pipeline.defs.table_types import table_type
from planner_pipeline.defs.versions import content_version
from planner_pipeline.release.onnx_export import shipped_outputs
from planner_pipeline.tables import OUTPUTS, REFERENCE_OUTPUTS
from planner_pipeline.training.checkpoint import decode_checkpoint
from planner_pipeline.training.config import REFERENCES, TrainConfig, usual_config
from planner_pipeline.training.fit import TrainingRecord, epoch_metrics, fit_model, outputs_table
from planner_pipeline.training.loop import EpochMetrics
from planner_pipeline.training.predict import model_outputs

LEARNT: Final[tuple[Role, ...]] = ("train", "val")
HELD_OUT: Final[tuple[Role, ...]] = ("val", "certify", "test")


def labelled(data: Dataset, settings: Settings) -> tuple[Arrays, Arrays, str]:
    """What to learn from and to stop on, and a key of both: executed plans (Stage A), or, where a
    bench chose them, winners (Stage B).
    """
    rows = [data.role_rows(role) for role in LEARNT]
    train, val = (data.arrays_of(some) for some in rows)
    path = winners_of(settings)
    if path is None:
        return train, val, data.meta.dataset_hash
    winners = read_winners(path)
    train, val = (
        with_winners(a, some, winners) for a, some in zip((train, val), rows, strict=True)
    )
    return train, val, f"{data.meta.dataset_hash} {content_version(winners)}"


@dg.asset(group_name="training", code_version="2", io_manager_key="record_io")
def train_config(settings: Settings) -> dg.MaterializeResult[TrainConfig]:
    """How the model is made and trained."""
    config, path = settings.train_config(), winners_of(settings)
    told = msgspec.json.decode(msgspec.json.encode(config))
    version = content_version(config)
    if path is not None:  # other labels, another model
        version += content_version(read_winners(path))
    return dg.MaterializeResult(
        value=config,
        metadata=told | {"labels": "executed plans" if path is None else str(path)},
        data_version=dg.DataVersion(version),
    )


@dg.multi_asset(
    group_name="training",
    outs={
        "model_checkpoint": dg.AssetOut(
            dagster_type=bytes, io_manager_key="bytes_io", code_version="2",
            description="The fitted model, as safetensors or, of trees, as text.",
        ),
        "training_record": dg.AssetOut(
            dagster_type=TrainingRecord, io_manager_key="record_io", code_version="2",
            description="Settings, what was chosen on the validation rows, losses of every epoch.",
        ),
    },
)  # fmt: skip
def model_training(
    dataset: DatasetMeta, train_config: TrainConfig, settings: Settings, tracking: Tracking
) -> Iterator[dg.MaterializeResult]:
    """One model on executed plans, stopped on the earlier validation rows."""
    data = Dataset(settings.dataset_dir)
    train, val, key = labelled(data, settings)
    params = msgspec.to_builtins(train_config) | {"dataset_hash": dataset.dataset_hash}
    with tracking.tracker().start(train_config.arch, params) as run:

        def log_epoch(epoch: EpochMetrics) -> None:
            run.log_metrics(epoch_metrics(epoch), step=epoch.epoch)

        checkpoint, record = fit_model(
            train, val, train_config, log_epoch,
            state=settings.out_dir / "training" / "state.safetensors", key=key,
        )  # fmt: skip
        run.log_file(settings.dataset_dir / "meta.json", folder="dataset")
    yield dg.MaterializeResult(
        asset_key="model_checkpoint",
        value=checkpoint,
        metadata={"bytes": len(checkpoint)},
        data_version=dg.DataVersion(content_version(checkpoint)),
    )
    yield dg.MaterializeResult(
        asset_key="training_record",
        value=record,
        metadata={"epochs": len(record.epochs), "val_nll": record.val_nll, "chosen": record.chosen},
    )


@dg.asset(
    group_name="training",
    code_version="2",
    dagster_type=table_type(OUTPUTS),
    io_manager_key="table_io",
)
def held_out_outputs(
    model_checkpoint: bytes, dataset: DatasetMeta, train_config: TrainConfig, settings: Settings
) -> dg.MaterializeResult:
    """Raw outputs of the model, as it will be shipped, for every validation and test example."""
    data = Dataset(settings.dataset_dir)
    rows = data.role_rows(*HELD_OUT)
    model = decode_checkpoint(model_checkpoint)
    outputs = shipped_outputs(model, data.arrays_of(rows), int8=train_config.int8)
    table = outputs_table(rows, outputs)
    return dg.MaterializeResult(value=table, metadata={"rows": table.height})


@dg.asset(
    group_name="training",
    code_version="1",
    dagster_type=table_type(REFERENCE_OUTPUTS),
    io_manager_key="table_io",
)
def reference_outputs(
    dataset: DatasetMeta, train_config: TrainConfig, settings: Settings
) -> dg.MaterializeResult:
    """The same of the models every table is compared with: the prior and logistic regression."""
    data = Dataset(settings.dataset_dir)
    train, val, _ = labelled(data, settings)
    rows = data.role_rows(*HELD_OUT)
    held_out, tables = data.arrays_of(rows), []
    for arch in REFERENCES:
        checkpoint, _ = fit_model(train, val, usual_config(arch, seed=train_config.seed))
        outputs = model_outputs(decode_checkpoint(checkpoint), held_out)
        tables.append(outputs_table(rows, outputs).with_columns(predictor=pl.lit(arch)))
    table = pl.concat(tables)
    return dg.MaterializeResult(value=table, metadata={"rows": table.height})
