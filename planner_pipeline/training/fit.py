"""Arrays in, checkpoint out, whatever the architecture.

Belongs here: choosing how an architecture is fitted, the record of it, raw outputs as a table.
Does not: the ways of fitting (``loop``, ``closed_form``, ``trees``).
"""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from torch import nn

from planner_pipeline.dataset.arrays import Arrays
from planner_pipeline.evaluation.calibration import calibrated_nll
from planner_pipeline.models.trees import TreeModel
from planner_pipeline.tables import OUTPUTS, check_table
from planner_pipeline.training.checkpoint import encode_checkpoint
from planner_pipeline.training.closed_form import count_prior, fit_logistic
from planner_pipeline.training.config import TrainConfig
from planner_pipeline.training.loop import EpochMetrics, train_network
from planner_pipeline.training.predict import model_outputs
from planner_pipeline.training.threads import one_thread
from planner_pipeline.training.trees import grow_trees
from planner_runtime.actions import ActionSpace
from planner_runtime.decode import Decoding, output_widths


class TrainingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How a checkpoint came about.

    Attributes:
        val_nll: Joint negative log-likelihood of the validation rows, temperatures fitted, nats.
        n_weights: Numbers that were fitted; of trees, their leaves.
        epochs: Of networks; without any for models with a closed form.
        chosen: What was chosen on the validation split, in words.
    """

    config: TrainConfig
    n_train: int
    n_val: int
    n_weights: int
    val_nll: float | None = None
    best_epoch: int = 0
    epochs: tuple[EpochMetrics, ...] = ()
    chosen: str = ""


class NothingToLearnError(ValueError):
    """The data set holds no training example."""


@one_thread()
def fit_model(
    train: Arrays,
    val: Arrays,
    config: TrainConfig,
    on_epoch: Callable[[EpochMetrics], None] = lambda metrics: None,
    *,
    state: Path | None = None,
    key: str = "",
) -> tuple[bytes, TrainingRecord]:
    """Train on some rows, stop or choose on others.

    Args:
        state, key: As for ``train_network``.

    Raises:
        NothingToLearnError: no row to train on.
        ValueError: the architecture cannot give the output that was asked for.
        FloatingPointError: the loss is no longer finite.
    """
    if not len(train):
        raise NothingToLearnError(
            "no labelled run to learn from: a run is an example when its archive holds "
            "manifest.planner.executed_plan (or, for worlds, an evolve_world.json)"
        )
    epochs: tuple[EpochMetrics, ...] = ()
    best_epoch, chosen = 0, ""
    model: nn.Module | TreeModel
    if config.arch == "prior":
        model = count_prior(train, config)
    elif config.arch == "logreg":
        model, l2 = fit_logistic(train, val, config)
        chosen = f"L2 penalty {l2}"
    elif config.arch == "gbt":
        model = grow_trees(train, val, config)
        chosen = "trees of each head: " + ", ".join(
            str(head.model.count("\nTree=")) for head in model.heads
        )
    else:
        trained = train_network(train, val, config, on_epoch, state=state, key=key)
        model, epochs, best_epoch = trained.model, trained.history, trained.best_epoch
        chosen = f"epoch {best_epoch}"
    val_nll = None
    if len(val):
        val_nll, _ = calibrated_nll(model_outputs(model, val), val, config.decoding)
    record = TrainingRecord(
        config=config,
        n_train=len(train),
        n_val=len(val),
        n_weights=_n_weights(model),
        val_nll=val_nll,
        best_epoch=best_epoch,
        epochs=epochs,
        chosen=chosen,
    )
    return encode_checkpoint(model), record


def _n_weights(model: nn.Module | TreeModel) -> int:
    if isinstance(model, TreeModel):
        lines = [line for head in model.heads for line in head.model.splitlines()]
        return sum(int(line.split("=")[1]) for line in lines if line.startswith("num_leaves="))
    return sum(weight.numel() for weight in model.parameters())


def outputs_table(rows: pl.DataFrame, outputs: list[np.ndarray]) -> pl.DataFrame:
    """Raw outputs of some rows of the index, with their roles."""
    flat = np.concatenate(outputs, axis=1).astype(np.float64)
    table = rows.select("example_id", "role").with_columns(
        pl.Series("outputs", flat.tolist(), dtype=pl.List(pl.Float64))
    )
    return check_table(OUTPUTS, table)


def outputs_of(table: pl.DataFrame, space: ActionSpace, decoding: Decoding) -> list[np.ndarray]:
    """Each output (N, width) float64, from a table of raw outputs."""
    widths = list(output_widths(space, decoding).values())
    flat = table["outputs"].explode(empty_as_null=False).to_numpy().reshape(-1, sum(widths))
    return np.split(flat, np.cumsum(widths)[:-1], axis=1)


def epoch_metrics(epoch: EpochMetrics) -> dict[str, float]:
    """Figures of an epoch under the names MLflow shows; an unknown one is absent."""
    told = {
        "train_loss": epoch.train_loss, "val_nll": epoch.val_nll, "val_nll_raw": epoch.val_nll_raw,
    }  # fmt: skip
    return {name: value for name, value in told.items() if value is not None}
