"""Fitting the outcome model: attempts in, an ensemble of networks and a shared concentration out.

Belongs here: the likelihood of an attempt, the ensemble's training, kappa. Does not: the model
(``models.outcome``), trees (``training.outcome_trees``), calibration of what comes out.
Spec: section 7.4. Shapes: N attempts, F features, C choices, M members.

An attempt that passed or gave up tells its end and its time; one that a limit cut tells only that
it was not over by then. Every member leaves out a quarter of the blocks (toolchains, where those
are what is new in serving, else issues) to stop on, and sees a bootstrap of the rest's issues.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import torch
from torch import Tensor

from planner_pipeline.models.outcome import (
    N_PARAMETERS,
    AttemptModel,
    AttemptNetworks,
    Kind,
    OutcomeSpec,
    times_of,
)
from planner_pipeline.training.threads import one_thread

UNKNOWN_KAPPA: Final = 0.5  # its log, before any decision with several tries: docs/log.md
HELD_SHARE: Final = 0.25  # of the blocks, that a member stops on


class Attempts(msgspec.Struct, frozen=True):
    """Tries to learn from. N rows.

    Attributes:
        features: (N, F) float32 of the decision, with no knowledge of the try.
        choices: (N, C) float32 of the action beside candidates and minutes.
        passed, timed_out: (N,) bool.
        minutes: (N,) its duration, or the limit that cut it; NaN where not known.
        usd: (N,) NaN where not known.
        case: (N,) int64, equal for tries of one decision.
        issue: (N,) int64, equal for tries at one issue.
        block: (N,) int64, what a member is stopped on apart: toolchains, or issues.
        weight: (N,) float32.
    """

    features: np.ndarray
    choices: np.ndarray
    passed: np.ndarray
    timed_out: np.ndarray
    minutes: np.ndarray
    usd: np.ndarray
    case: np.ndarray
    issue: np.ndarray
    block: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.passed)

    def choose(self, rows: np.ndarray) -> "Attempts":
        """Some rows, by positions or by a mask."""
        return Attempts(*(getattr(self, name)[rows] for name in self.__struct_fields__))


class OutcomeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How an outcome model is fitted.

    Attributes:
        kind: What is added to the offsets.
        members: Of the ensemble.
        epochs, patience: Of full-batch steps; a member stops on the blocks it left out.
        trees, leaves, least_rows, tree_rate: Rounds at most, leaves of a tree, rows of a leaf, and
            the share of a tree's answer that is added.
        weight_decay: Of everything that is added to the offsets.
        slope_decay: Pull of the offsets' slopes to 1 and of their biases to 0.
    """

    kind: Kind = "networks"
    members: int = 5
    width: int = 16
    dropout: float = 0.1
    epochs: int = 400
    patience: int = 40
    learning_rate: float = 0.01
    weight_decay: float = 0.03
    slope_decay: float = 0.001
    trees: int = 200
    leaves: int = 4
    least_rows: int = 40
    tree_rate: float = 0.05
    seed: int = 0


class OutcomeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How an outcome model came about.

    Attributes:
        log_kappa: Concentration of tries of one decision around what its features tell.
        steps: Of every member, where it stopped.
        nll: Of every member, nats a try on the blocks it left out.
    """

    config: OutcomeConfig
    n_attempts: int
    n_cases: int
    knows_cost: bool
    log_kappa: float
    steps: tuple[int, ...]
    nll: tuple[float, ...]


def _log_normal(log_minutes: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    return -0.5 * ((log_minutes - mean) / spread) ** 2 - torch.log(spread) - 0.9189385


class Rows(msgspec.Struct, frozen=True):
    """Attempts as tensors, in the logs that likelihoods are of."""

    features: Tensor
    choices: Tensor
    passed: Tensor
    timed_out: Tensor
    log_minutes: Tensor
    is_timed: Tensor
    log_usd: Tensor
    is_priced: Tensor
    issue: np.ndarray
    weight: Tensor


def rows_of(attempts: Attempts) -> Rows:
    """The tensors of some attempts."""
    is_timed = np.isfinite(attempts.minutes)
    log_minutes = np.log(np.maximum(np.where(is_timed, attempts.minutes, 1.0), 0.05))
    is_priced = is_timed & np.isfinite(attempts.usd) & (attempts.usd > 0)
    log_usd = np.log(np.where(is_priced, attempts.usd, 1.0)) - log_minutes

    def floats(values: np.ndarray) -> Tensor:
        return torch.tensor(values, dtype=torch.float32)

    return Rows(
        floats(attempts.features), floats(attempts.choices), floats(attempts.passed),
        floats(attempts.timed_out), floats(log_minutes), floats(is_timed),
        floats(np.where(is_priced, log_usd, 0.0)), floats(is_priced), attempts.issue,
        floats(attempts.weight),
    )  # fmt: skip


def log_likelihood(parameters: Tensor, rows: Rows) -> Tensor:
    """(M x Q, N) nats of every try under every row of parameters."""
    log_pi = torch.nn.functional.logsigmoid(parameters[..., 0])
    log_no = torch.nn.functional.logsigmoid(-parameters[..., 0])
    passing, failing = times_of(parameters)
    at = rows.log_minutes
    passed = log_pi + rows.is_timed * _log_normal(at, passing.mean, passing.spread)
    failed = log_no + rows.is_timed * _log_normal(at, failing.mean, failing.spread)
    late_pass = torch.special.log_ndtr((passing.mean - at) / passing.spread)
    late_fail = torch.special.log_ndtr((failing.mean - at) / failing.spread)
    cut = torch.logaddexp(log_pi + late_pass, log_no + late_fail)
    cut = torch.where(rows.is_timed > 0, cut, log_no)  # a limit nobody knows tells of failing alone
    told = torch.where(rows.passed > 0, passed, torch.where(rows.timed_out > 0, cut, failed))
    price = -0.5 * (rows.log_usd - parameters[..., 5]) ** 2
    return told + rows.is_priced * price


def drawn(
    attempts: Attempts, members: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(M, N) how often each member learns from each row, and whether it stops on it."""
    blocks, block = np.unique(attempts.block, return_inverse=True)
    issues, issue = np.unique(attempts.issue, return_inverse=True)
    n_out = max(1, round(len(blocks) * HELD_SHARE)) if len(blocks) > 1 else 0
    counts, held = [], []
    for _ in range(members):
        is_out = np.isin(block, rng.choice(len(blocks), n_out, replace=False))
        drawn = rng.multinomial(len(issues), np.full(len(issues), 1 / len(issues)))[issue]
        counts.append(np.where(is_out, 0, drawn))
        held.append(is_out if n_out else drawn == 0)
    return np.array(counts), np.array(held)


@one_thread()
def fit_networks(
    attempts: Attempts,
    config: OutcomeConfig,
    *,
    offsets: Sequence[int] = (-1,) * N_PARAMETERS,
    doubt: int = -1,
) -> tuple[AttemptNetworks, OutcomeRecord]:
    """An ensemble of networks on some attempts.

    Args:
        offsets, doubt: As in ``OutcomeSpec``.

    Raises:
        ValueError: there is nothing to learn from.
        FloatingPointError: the loss is no longer finite.
    """
    if not len(attempts):
        raise ValueError("no finished try to learn outcomes from")
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    spec = OutcomeSpec(
        n_features=attempts.features.shape[1],
        n_choices=attempts.choices.shape[1],
        n_members=config.members,
        width=config.width,
        dropout=config.dropout,
        offsets=tuple(offsets),
        doubt=doubt,
    )
    model, rows = AttemptNetworks(spec), rows_of(attempts)
    _standardise(model, attempts)
    model.start.copy_(starts_of(attempts))
    counts, is_held = drawn(attempts, config.members, rng)
    train = torch.tensor(counts, dtype=torch.float32) * rows.weight
    held = torch.tensor(is_held, dtype=torch.float32) * rows.weight
    steps, nll = descend(model, rows, train, held, config)
    return model, record_of(model, attempts, config, steps, nll)


def record_of(
    model: AttemptModel,
    attempts: Attempts,
    config: OutcomeConfig,
    steps: tuple[int, ...],
    nll: tuple[float, ...],
) -> OutcomeRecord:
    """What is told of a model that was fitted to some attempts."""
    priced = np.isfinite(attempts.minutes) & np.isfinite(attempts.usd) & (attempts.usd > 0)
    return OutcomeRecord(
        config=config,
        n_attempts=round(float(attempts.weight.sum())),
        n_cases=len(np.unique(attempts.case)),
        knows_cost=bool(priced.any()),
        log_kappa=fit_kappa(model, attempts),
        steps=steps,
        nll=nll,
    )


def _standardise(model: AttemptNetworks, attempts: Attempts) -> None:
    x = np.concatenate([attempts.features, attempts.choices], axis=1).astype(np.float64)
    weight = attempts.weight / attempts.weight.sum()
    centre = weight @ x
    scale = np.sqrt(weight @ (x - centre) ** 2)
    model.centre.copy_(torch.tensor(centre))
    model.scale.copy_(torch.tensor(np.where(scale > 1e-6, scale, 1e6)))


def starts_of(attempts: Attempts) -> Tensor:
    """(P,) what parameters without an offset start from."""
    start = np.zeros(N_PARAMETERS)
    passed, timed = attempts.passed, np.isfinite(attempts.minutes)
    share = (passed.sum() + 1) / (len(passed) + 2)
    start[0] = np.log(share / (1 - share))
    for place, rows in ((1, timed & passed), (3, timed & ~passed)):
        logs = np.log(np.maximum(attempts.minutes[rows], 0.05))
        start[place] = logs.mean() if len(logs) else np.log(20.0)
        start[place + 1] = np.log(max(0.2, logs.std())) if len(logs) > 1 else 0.0
    priced = timed & np.isfinite(attempts.usd) & (attempts.usd > 0)
    if priced.any():
        start[5] = np.log(attempts.usd[priced] / np.maximum(attempts.minutes[priced], 0.05)).mean()
    return torch.tensor(start, dtype=torch.float32)


def member_nll(told: Tensor, weight: Tensor) -> Tensor:
    """(M,) weighted mean nats a try, the evidence's values averaged as chances.

    Args:
        told: (M x Q, N) log-likelihoods.
        weight: (M, N).
    """
    by_member = told.view(len(weight), -1, told.shape[1])
    mixed = torch.logsumexp(by_member, dim=1) - np.log(by_member.shape[1])
    nats: Tensor = -(mixed * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)
    return nats


def descend(
    model: AttemptModel, rows: Rows, train: Tensor, held: Tensor, config: OutcomeConfig
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Full-batch steps; every member keeps its weights of the step that was best for it.

    Args:
        train, held: (M, N) weights of the rows that each member learns from, and stops on.

    Returns:
        Of every member its step, and its nats a try on the rows it stops on.
    """

    def nll(weight: Tensor) -> Tensor:
        return member_nll(log_likelihood(model(rows.features, rows.choices), rows), weight)

    added = [getattr(model, name) for name in model.decayed]
    names = model.learned
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    best = {name: getattr(model, name).detach().clone() for name in names}
    with torch.no_grad():
        model.eval()
        least = nll(held)
    steps = torch.zeros(config.members, dtype=torch.long)
    for step in range(1, config.epochs + 1):
        model.train()
        loss = nll(train).sum()
        pull = torch.stack([(w**2).sum() for w in added]).sum() if added else torch.zeros(())
        pull = pull * config.weight_decay
        pull = pull + ((model.slope - 1) ** 2).sum() * config.slope_decay
        pull = pull + (model.bias**2).sum() * config.slope_decay
        total = loss + pull
        if not torch.isfinite(total):
            raise FloatingPointError(f"the loss is {float(total)} at step {step}")
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            model.eval()
            now = nll(held)
            better = now < least - 1e-5
            least = torch.where(better, now, least)
            steps = torch.where(better, torch.tensor(step), steps)
            for name in names:
                weights = getattr(model, name).detach()
                shape = (-1,) + (1,) * (weights.dim() - 1)
                best[name] = torch.where(better.view(shape), weights, best[name])
            if step - int(steps.max()) > config.patience:
                break
    with torch.no_grad():
        for name in names:
            getattr(model, name).copy_(best[name])
    model.eval()
    return tuple(steps.tolist()), tuple(float(value) for value in least)


def fit_kappa(model: AttemptModel, attempts: Attempts) -> float:
    """Log concentration of the tries of one decision, by the beta-binomial likelihood of its
    passes around the model's own chances; near ``UNKNOWN_KAPPA`` where few decisions have several.

    Where a limit cut some of the tries, their chance is that of passing within it.
    """
    from scipy import optimize, special

    _, place = np.unique(attempts.case, return_inverse=True)
    weight = attempts.weight.astype(float)  # below 1 where a try stands in several views
    n, passed = np.bincount(place, weight), np.bincount(place, weight * attempts.passed)
    is_cut = attempts.timed_out & ~attempts.passed & np.isfinite(attempts.minutes)
    limit = np.zeros(len(n))
    np.maximum.at(limit, place[is_cut], np.maximum(attempts.minutes[is_cut], 0.05))
    several = n > 1 + 1e-6
    with torch.no_grad():
        parameters = model(torch.tensor(attempts.features), torch.tensor(attempts.choices))
        at = torch.tensor(limit[place], dtype=torch.float32)
        within = times_of(parameters)[0].within(torch.log(at.clamp(min=1e-3)))
        every = torch.sigmoid(parameters[..., 0]) * torch.where(at > 0, within, 1.0)
    told = every.double().numpy()  # (M x Q, N)
    chance = np.array([np.bincount(place, weight * row) for row in told])[:, several] / n[several]
    n, passed = n[several], passed[several]
    chance = np.clip(chance, 1e-5, 1 - 1e-5)  # (M x Q, G)

    def loss(log_kappa: float) -> float:
        kappa = np.exp(log_kappa)
        a, b = kappa * chance, kappa * (1 - chance)
        told = special.betaln(passed + a, n - passed + b) - special.betaln(a, b)
        mixed = special.logsumexp(told, axis=0) - np.log(len(chance))
        return -float(mixed.sum()) + 0.5 * (log_kappa - UNKNOWN_KAPPA) ** 2

    found = optimize.minimize_scalar(loss, bounds=(-2.0, 5.0), method="bounded")
    return float(found.x)
