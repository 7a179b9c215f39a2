"""The training loop: AdamW, early stopping on validation loss, the best epoch kept.

Belongs here: fitting one model from one seed. Does not: the model or its evaluation.
Spec: section 7.4, Stage A. Equal data and seed give equal weights.
"""

from collections.abc import Callable

import msgspec
import numpy as np
import torch
from torch import Tensor

from planner_pipeline.dataset.arrays import Arrays
from planner_pipeline.models.mlp import FeatureMlp, MlpSpec
from planner_pipeline.training.losses import head_losses


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How one model is trained. ``patience`` counts epochs without a better validation loss."""

    seed: int = 0
    epochs: int = 120
    patience: int = 15
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    width: int = 128
    n_layers: int = 2
    dropout: float = 0.3  # a thousand rows, 180 features: by validation loss, docs/log.md


class EpochMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Losses after one epoch; ``val_loss`` is None without validation rows."""

    epoch: int
    train_loss: float
    val_loss: float | None


class Trained(msgspec.Struct, frozen=True):
    """The best epoch's model, what each epoch gave, and which was best."""

    model: FeatureMlp
    history: tuple[EpochMetrics, ...]
    best_epoch: int


class _Batch(msgspec.Struct, frozen=True):
    features: Tensor
    labels: Tensor
    masks: tuple[Tensor, ...]


def _to_torch(arrays: Arrays) -> _Batch:
    return _Batch(
        torch.from_numpy(arrays.features),
        torch.from_numpy(arrays.labels),
        tuple(torch.from_numpy(mask) for mask in arrays.masks),
    )


def _loss(model: FeatureMlp, batch: _Batch, rows: Tensor) -> Tensor:
    logits = model(batch.features[rows])
    return head_losses(logits, batch.labels[rows], [mask[rows] for mask in batch.masks]).sum()


def train_mlp(
    train: Arrays,
    val: Arrays,
    spec: MlpSpec,
    config: TrainConfig,
    on_epoch: Callable[[EpochMetrics], None] = lambda metrics: None,
) -> Trained:
    """Fit a feature MLP on executed plans.

    Args:
        train: At least one row.
        val: May be empty; then the last epoch is kept.
        on_epoch: Told the losses after every epoch.

    Raises:
        ValueError: there is nothing to train on.
        FloatingPointError: the loss is no longer finite.
    """
    if len(train) == 0:
        raise ValueError("no training examples")
    torch.manual_seed(config.seed)
    order = np.random.default_rng(config.seed)
    model = FeatureMlp(spec)
    training, validation = _to_torch(train), _to_torch(val)
    model.fit_scale(training.features)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    every_val_row = torch.arange(len(val))
    best_loss, best_epoch = float("inf"), 0
    best_weights = {name: value.clone() for name, value in model.state_dict().items()}
    history: list[EpochMetrics] = []
    for epoch in range(config.epochs):
        model.train()  # every epoch: evaluation below switched dropout off
        shuffled = torch.from_numpy(order.permutation(len(train)))
        total = 0.0
        for rows in torch.split(shuffled, config.batch_size):
            optimizer.zero_grad()
            loss = _loss(model, training, rows)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"loss is {loss.item()} in epoch {epoch}")
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            total += loss.item() * len(rows)
        model.eval()
        with torch.no_grad():
            val_loss = _loss(model, validation, every_val_row).item() if len(val) else None
        metrics = EpochMetrics(epoch=epoch, train_loss=total / len(train), val_loss=val_loss)
        history.append(metrics)
        on_epoch(metrics)
        if val_loss is None or val_loss < best_loss:
            best_loss = best_loss if val_loss is None else val_loss
            best_epoch = epoch
            best_weights = {name: value.clone() for name, value in model.state_dict().items()}
        elif epoch - best_epoch >= config.patience:
            break
    model.load_state_dict(best_weights)
    model.eval()
    return Trained(model, tuple(history), best_epoch)


def predict_logits(model: FeatureMlp, features: np.ndarray) -> list[np.ndarray]:
    """Per head (N, C) float32 logits of (N, F) features, dropout off."""
    model.eval()
    with torch.no_grad():
        logits = model(torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)))
    return [head.numpy() for head in logits]
