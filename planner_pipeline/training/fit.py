"""Data set in, checkpoint and held-out logits out.

Belongs here: the two steps between tables and models. Does not: the loop or the model.
"""

from collections.abc import Callable, Sequence

import msgspec
import polars as pl

from planner_pipeline.dataset.arrays import build_arrays
from planner_pipeline.dataset.examples import Example
from planner_pipeline.models.mlp import MlpSpec
from planner_pipeline.tables import LOGITS, build_table, fields
from planner_pipeline.training.checkpoint import decode_checkpoint, encode_checkpoint
from planner_pipeline.training.loop import EpochMetrics, TrainConfig, predict_logits, train_mlp
from planner_runtime.actions import HEADS, ActionSpace
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
    examples: Sequence[Example],
    tokens: pl.DataFrame,
    space: ActionSpace,
    config: TrainConfig,
    on_epoch: Callable[[EpochMetrics], None] = lambda metrics: None,
) -> tuple[bytes, TrainingRecord]:
    """Train a feature MLP on the training split, stop on the validation split.

    Raises:
        NothingToLearnError: no example is in the training split.
    """
    parts = {split: [e for e in examples if e.split == split] for split in ("train", "val")}
    if not parts["train"]:
        raise NothingToLearnError(
            "no labelled run to learn from: a run is an example when its archive holds "
            "manifest.planner.executed_plan (or, for worlds, an evolve_world.json)"
        )
    arrays = {
        split: build_arrays(rows, tokens, space, n_features=N_FEATURES)
        for split, rows in parts.items()
    }
    spec = MlpSpec(
        n_features=N_FEATURES,
        n_choices=tuple(len(choices) for choices in space.choices),
        width=config.width,
        n_layers=config.n_layers,
        dropout=config.dropout,
    )
    trained = train_mlp(arrays["train"], arrays["val"], spec, config, on_epoch)
    record = TrainingRecord(
        config=config,
        n_train=len(arrays["train"]),
        n_val=len(arrays["val"]),
        best_epoch=trained.best_epoch,
        epochs=trained.history,
    )
    return encode_checkpoint(trained.model), record


def held_out_logits(
    checkpoint: bytes, examples: Sequence[Example], tokens: pl.DataFrame, space: ActionSpace
) -> pl.DataFrame:
    """Raw logits of every validation and test example, in time order."""
    held = [example for example in examples if example.split != "train"]
    arrays = build_arrays(held, tokens, space, n_features=N_FEATURES)
    heads = predict_logits(decode_checkpoint(checkpoint), arrays.features)
    row_of = {example.example_id: i for i, example in enumerate(held)}
    columns = {
        name: (lambda e, head=head: heads[head][row_of[e.example_id]].tolist())
        for head, name in enumerate(HEADS)
    }
    return build_table(
        LOGITS,
        held,
        fields("example_id", "split") | columns,
    )
