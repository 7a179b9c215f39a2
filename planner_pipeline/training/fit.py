"""Data set in, checkpoint and held-out logits out.

Belongs here: the two steps between tables and models. Does not: the loop or the model.
"""

from collections.abc import Callable

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.models.mlp import MlpSpec
from planner_pipeline.tables import LOGITS, check_table
from planner_pipeline.training.checkpoint import decode_checkpoint, encode_checkpoint
from planner_pipeline.training.loop import EpochMetrics, TrainConfig, predict_logits, train_mlp
from planner_runtime.actions import HEADS
from planner_runtime.features import N_FEATURES


class TrainingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How a checkpoint came about."""

    config: TrainConfig
    n_train: int
    n_val: int
    best_epoch: int
    epochs: tuple[EpochMetrics, ...]


class NothingToLearnError(ValueError):
    """The data set holds no training example."""


def fit_checkpoint(
    dataset: Dataset,
    config: TrainConfig,
    on_epoch: Callable[[EpochMetrics], None] = lambda metrics: None,
) -> tuple[bytes, TrainingRecord]:
    """Train a feature MLP on the training split, stop on the validation split.

    Raises:
        NothingToLearnError: no example is in the training split.
    """
    train, val = dataset.arrays("train"), dataset.arrays("val")
    if not len(train):
        raise NothingToLearnError(
            "no labelled run to learn from: a run is an example when its archive holds "
            "manifest.planner.executed_plan (or, for worlds, an evolve_world.json)"
        )
    spec = MlpSpec(
        n_features=N_FEATURES,
        n_choices=tuple(len(choices) for choices in dataset.space.choices),
        width=config.width,
        n_layers=config.n_layers,
        dropout=config.dropout,
    )
    trained = train_mlp(train, val, spec, config, on_epoch)
    record = TrainingRecord(
        config=config,
        n_train=len(train),
        n_val=len(val),
        best_epoch=trained.best_epoch,
        epochs=trained.history,
    )
    return encode_checkpoint(trained.model), record


def held_out_logits(checkpoint: bytes, dataset: Dataset) -> pl.DataFrame:
    """Raw logits of every validation and test example, in time order."""
    rows = dataset.rows("val", "test")
    heads = predict_logits(decode_checkpoint(checkpoint), dataset.features(rows))
    table = rows.select("example_id", "split").with_columns(
        pl.Series(name, head.astype(np.float64).tolist(), dtype=pl.List(pl.Float64))
        for name, head in zip(HEADS, heads, strict=True)
    )
    return check_table(LOGITS, table)
