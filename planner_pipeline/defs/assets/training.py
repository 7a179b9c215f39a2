"""Stage training: a checkpoint, how it came about, and what it says of held-out examples.

Belongs here: doorways to ``training``, and what MLflow is told. Does not: fitting.
"""

from collections.abc import Iterator

import dagster as dg
import msgspec

from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.dataset.shards import DatasetMeta
from planner_pipeline.defs.resources import Settings, Tracking
from planner_pipeline.defs.table_types import table_type
from planner_pipeline.defs.versions import content_version
from planner_pipeline.tables import LOGITS
from planner_pipeline.training.fit import TrainingRecord, fit_checkpoint
from planner_pipeline.training.fit import held_out_logits as compute_logits
from planner_pipeline.training.loop import EpochMetrics, TrainConfig


@dg.asset(group_name="training", code_version="1", io_manager_key="record_io")
def train_config(settings: Settings) -> dg.MaterializeResult[TrainConfig]:
    """How the model is trained."""
    config = TrainConfig(seed=settings.seed, epochs=settings.epochs)
    return dg.MaterializeResult(
        value=config,
        metadata=msgspec.to_builtins(config),
        data_version=dg.DataVersion(content_version(config)),
    )


@dg.multi_asset(
    group_name="training",
    outs={
        "mlp_checkpoint": dg.AssetOut(
            dagster_type=bytes, io_manager_key="bytes_io", code_version="1",
            description="Weights of the best epoch, as safetensors.",
        ),
        "training_record": dg.AssetOut(
            dagster_type=TrainingRecord, io_manager_key="record_io", code_version="1",
            description="Settings and losses of every epoch.",
        ),
    },
)  # fmt: skip
def mlp_training(
    dataset: DatasetMeta, train_config: TrainConfig, settings: Settings, tracking: Tracking
) -> Iterator[dg.MaterializeResult]:
    """Feature MLP on executed plans, stopped on validation loss."""
    params = msgspec.to_builtins(train_config)
    params |= {"arch": "mlp", "dataset_hash": dataset.dataset_hash}
    with tracking.tracker().start("mlp", params) as run:

        def log_epoch(epoch: EpochMetrics) -> None:
            run.log_metrics(epoch_metrics(epoch), step=epoch.epoch)

        checkpoint, record = fit_checkpoint(Dataset(settings.dataset_dir), train_config, log_epoch)
        run.log_file(settings.dataset_dir / "meta.json", folder="dataset")
    best = epoch_metrics(record.epochs[record.best_epoch])
    yield dg.MaterializeResult(
        asset_key="mlp_checkpoint",
        value=checkpoint,
        metadata={"bytes": len(checkpoint)},
        data_version=dg.DataVersion(content_version(checkpoint)),
    )
    yield dg.MaterializeResult(
        asset_key="training_record", value=record, metadata=best | {"epochs": len(record.epochs)}
    )


def epoch_metrics(epoch: EpochMetrics) -> dict[str, float]:
    """Losses of an epoch under the names MLflow shows; an unknown one is absent."""
    metrics = {"train_loss": epoch.train_loss}
    return metrics if epoch.val_loss is None else metrics | {"val_loss": epoch.val_loss}


@dg.asset(
    group_name="training",
    code_version="1",
    dagster_type=table_type(LOGITS),
    io_manager_key="table_io",
)
def held_out_logits(
    mlp_checkpoint: bytes, dataset: DatasetMeta, settings: Settings
) -> dg.MaterializeResult:
    """Raw logits of every validation and test example."""
    table = compute_logits(mlp_checkpoint, Dataset(settings.dataset_dir))
    return dg.MaterializeResult(value=table, metadata={"rows": table.height})
