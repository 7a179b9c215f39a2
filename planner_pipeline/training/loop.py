"""The training loop of networks: best epoch kept, averaged weights, taken up again after a kill.

Belongs here: fitting one network from one seed. Does not: the network, its evaluation, models with
a closed form. Spec: section 7.4. Equal data, settings and seed give equal weights, also when the
work was interrupted between two epochs and goes on from its state.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
import torch
from torch import Tensor, nn

from planner_pipeline.artifacts import write_bytes
from planner_pipeline.dataset.arrays import Arrays
from planner_pipeline.evaluation.calibration import calibrated_nll
from planner_pipeline.models.build import build_model
from planner_pipeline.models.recurrent import RecurrentEncoder
from planner_pipeline.models.scaling import Scaler
from planner_pipeline.training.batches import Inputs, Targets, build_targets, epoch_batches
from planner_pipeline.training.checkpoint import decode_tensors, encode_tensors
from planner_pipeline.training.config import TrainConfig
from planner_pipeline.training.losses import total_loss
from planner_pipeline.training.optimizers import AdamATan2
from planner_pipeline.training.predict import network_outputs

DIGEST_SIZE: Final = 32  # bytes of a sha256
CLIP: Final = 1.0  # norm of a step's gradient


class EpochMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """What one epoch gave.

    Attributes:
        train_loss: Mean of the minimised loss, dropout on.
        val_nll: Joint negative log-likelihood of the validation rows with fitted temperatures, in
            nats, of the averaged weights; None without validation rows. Its least decides.
        val_nll_raw: The same without temperatures.
    """

    epoch: int
    train_loss: float
    val_nll: float | None = None
    val_nll_raw: float | None = None


class Trained(msgspec.Struct, frozen=True):
    """The best epoch's model, what each epoch gave, and which was best."""

    model: nn.Module
    history: tuple[EpochMetrics, ...]
    best_epoch: int
    rows_per_cpu_second: float | None  # of training steps; None where none was made


class _Progress(msgspec.Struct, kw_only=True):
    """Where a fit stands after an epoch, besides its tensors."""

    key: str  # of settings and data; a state of others is not taken up
    history: list[EpochMetrics] = []
    best_epoch: int = 0
    best_nll: float | None = None  # endless is no number of JSON
    steps: int = 0

    @property
    def next_epoch(self) -> int:
        return len(self.history)


class _Fit:
    """One network being fitted: weights, their average, the best so far, the optimizer's memory."""

    def __init__(self, train: Arrays, config: TrainConfig, key: str) -> None:
        torch.manual_seed(config.seed)
        self.config, self.progress = config, _Progress(key=key)
        self.spec = config.model_spec(train.space)
        self.model, self.average = build_model(self.spec), build_model(self.spec)
        self.inputs = Inputs(train, self.spec.input_kind)
        self.targets = build_targets(
            train, class_weight=config.class_weight, decoding=config.decoding
        )
        scaler = getattr(self.model, "scaler", None)
        if isinstance(scaler, Scaler):
            scaler.fit(torch.from_numpy(train.features))
        self.average.load_state_dict(self.model.state_dict())
        self.best = _copy(self.model)
        kinds: dict[str, Any] = {"adamw": torch.optim.AdamW, "adam_atan2": AdamATan2}
        self.optimizer: torch.optim.Optimizer = kinds[config.optimizer](
            self.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def epoch(self) -> float:
        """One pass over the training rows; their mean loss."""
        number, total, n = self.progress.next_epoch, 0.0, 0
        # by epoch, so that work taken up again draws as it would have
        torch.manual_seed(self.config.seed * 1_000_003 + number)
        self.model.train()  # every epoch: judging switches dropout off
        lengths, size = self.inputs.lengths, self.config.batch_size
        for rows in epoch_batches(lengths, size, seed=self.config.seed, epoch=number):
            loss = self._loss(self.inputs.batch(rows), self.targets.rows(torch.from_numpy(rows)))
            if not torch.isfinite(loss):
                raise FloatingPointError(f"loss is {loss.item()} in epoch {number}")
            self._step(loss)
            total, n = total + loss.item() * len(rows), n + len(rows)
        return total / n

    def _loss(self, batch: tuple[Tensor, ...], targets: Targets) -> Tensor:
        config = self.config
        answers = (
            self.model.forward_loops(*batch)
            if config.per_loop_loss and isinstance(self.model, RecurrentEncoder)
            else [self.model(*batch)]
        )
        losses = [
            total_loss(
                outputs, targets, self.spec.decoding,
                head_weights=config.head_weights, focal=config.focal,
            )
            for outputs in answers
        ]  # fmt: skip
        return torch.stack(losses).sum()

    def _step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.progress.steps += 1
        steps, warmup = self.progress.steps, self.config.warmup_steps
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * min(1.0, steps / max(1, warmup))
        self.optimizer.step()
        keep = min(self.config.ema, (1 + steps) / (10 + steps)) if self.config.ema else 0.0
        with torch.no_grad():
            for mean, weight in zip(
                self.average.parameters(), self.model.parameters(), strict=True
            ):
                mean.lerp_(weight, 1 - keep)

    # -- taking work up again

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for part, module in (("model", self.model), ("average", self.average)):
            for name, value in module.state_dict().items():
                yield f"{part}/{name}", value
        for name, value in self.best.items():
            yield f"best/{name}", value
        for number, memory in self.optimizer.state_dict()["state"].items():
            for name, value in memory.items():
                yield f"optimizer/{number}/{name}", torch.as_tensor(value)

    def save(self, path: Path) -> None:
        """Write everything the next epoch depends on, by rename."""
        data = encode_tensors(dict(self._tensors()), self.progress)
        write_bytes(sha256(data).digest() + data, path)

    def load(self, path: Path) -> None:
        """Take up a whole state of the same settings, data and network; anything else is left
        alone.
        """
        try:
            told = path.read_bytes()
            digest, data = told[:DIGEST_SIZE], told[DIGEST_SIZE:]
            tensors, progress = decode_tensors(data, _Progress)
        except (OSError, ValueError):
            return
        if sha256(data).digest() != digest:  # numbers of a damaged tensor look like any others
            return
        if progress.key != self.progress.key:
            return
        parts: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            part, _, rest = name.partition("/")
            parts.setdefault(part, {})[rest] = value
        expected = _shapes(self.model.state_dict())
        if any(_shapes(parts.get(p, {})) != expected for p in ("model", "average", "best")):
            return
        self.model.load_state_dict(parts["model"])
        self.average.load_state_dict(parts["average"])
        self.best, self.progress = parts["best"], progress
        memory: dict[int, dict[str, Tensor]] = {}
        for name, value in parts.get("optimizer", {}).items():
            number, _, field = name.partition("/")
            memory.setdefault(int(number), {})[field] = value
        state = self.optimizer.state_dict()
        self.optimizer.load_state_dict({**state, "state": memory})


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in tensors.items()}


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def train_network(
    train: Arrays,
    val: Arrays,
    config: TrainConfig,
    on_epoch: Callable[[EpochMetrics], None] = lambda metrics: None,
    *,
    state: Path | None = None,
    key: str = "",
) -> Trained:
    """Fit a network and keep its best epoch.

    Args:
        train: At least one row.
        val: May be empty; then the last epoch is kept.
        on_epoch: Told what every epoch gave, also of those before an interruption.
        state: A file written after every epoch and taken up when it is there; removed at the end.
        key: Of the data, so that a state of other data is not taken up.

    Raises:
        ValueError: there is nothing to train on.
        FloatingPointError: the loss is no longer finite.
    """
    if len(train) == 0:
        raise ValueError("no training examples")
    settings = msgspec.json.encode(config, order="deterministic").decode()
    fit = _Fit(train, config, f"{key} {settings}")
    if state is not None:
        fit.load(state)
    for metrics in fit.progress.history:
        on_epoch(metrics)
    val_inputs = Inputs(val, fit.spec.input_kind)
    spent, n_rows = 0.0, 0
    progress = fit.progress
    while (
        progress.next_epoch < config.epochs
        and progress.next_epoch - progress.best_epoch <= config.patience
    ):
        start = time.process_time()
        loss = fit.epoch()
        spent, n_rows = spent + time.process_time() - start, n_rows + len(train)
        metrics = EpochMetrics(epoch=progress.next_epoch, train_loss=loss)
        if len(val):
            outputs = network_outputs(fit.average, val, val_inputs)
            nll, raw = calibrated_nll(outputs, val, config.decoding)
            metrics = msgspec.structs.replace(metrics, val_nll=nll, val_nll_raw=raw)
        if (
            metrics.val_nll is None
            or progress.best_nll is None
            or metrics.val_nll < progress.best_nll
        ):
            progress.best_nll, progress.best_epoch = metrics.val_nll, metrics.epoch
            fit.best = _copy(fit.average)
        progress.history.append(metrics)
        on_epoch(metrics)
        if state is not None:
            fit.save(state)
    fit.model.load_state_dict(fit.best)
    fit.model.eval()
    if state is not None:
        state.unlink(missing_ok=True)
    speed = n_rows / spent if spent else None
    return Trained(fit.model, tuple(progress.history), progress.best_epoch, speed)
