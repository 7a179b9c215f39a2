"""Attempts drawn from a known model, and fitted outcome models without fitting: data for tests."""

import numpy as np
import torch

from planner_pipeline.models.outcome import (
    N_PARAMETERS,
    AttemptModel,
    AttemptNetworks,
    OutcomeSpec,
)
from planner_pipeline.training.novelty import fit_novelty
from planner_pipeline.training.outcome_fit import Attempts, OutcomeConfig, OutcomeRecord
from planner_pipeline.training.outcome_model import FittedOutcomes
from planner_runtime.outcomes.track_record import Priors, TrackRecordState

N_FEATURES, N_CHOICES = 14, 4
OFFSETS, DOUBT = (0, 1, 2, 3, 2, 4), 5


def some_features(n: int, seed: int = 0) -> np.ndarray:
    """(n, F) as records give them: an offset of every kind, a doubt, then anything; one is still."""
    features = np.random.default_rng(seed).normal(size=(n, N_FEATURES))
    features[:, 1:5] = features[:, 1:5] * 0.3 + np.array([1.6, -0.5, 2.0, -2.0])
    features[:, 5] = 0.3 + 0.1 * np.abs(features[:, 5])
    features[:, -1] = 0.0
    return features.astype(np.float32)


def some_networks(*, spread: float = 0.1, doubt: int = DOUBT, members: int = 3) -> AttemptNetworks:
    """Networks that nothing was fitted to, away from their start by ``spread``."""
    torch.manual_seed(0)
    spec = OutcomeSpec(
        n_features=N_FEATURES, n_choices=N_CHOICES, n_members=members, width=8,
        offsets=OFFSETS, doubt=doubt,
    )  # fmt: skip
    model = AttemptNetworks(spec)
    for weights in model.parameters():
        weights.data += spread * torch.randn_like(weights)
    return model.eval()


def some_fitted(
    *, knows_cost: bool = True, seed: int = 0, model: AttemptModel | None = None
) -> FittedOutcomes:
    """What would be shipped, around such networks or another model."""
    features = some_features(200, seed)
    record = OutcomeRecord(
        config=OutcomeConfig(members=3), n_attempts=200, n_cases=200, knows_cost=knows_cost,
        log_kappa=0.5, steps=(1, 2, 3), nll=(1.0, 1.0, 1.0),
    )  # fmt: skip
    return FittedOutcomes(
        model=model or some_networks(), record=record, state=TrackRecordState(priors=Priors()),
        pass_slope=0.9, pass_bias=-0.1, pass_knots=((0.0, 0.0), (0.5, 0.4), (1.0, 1.0)),
        novelty=fit_novelty(features, np.arange(200) // 20), held_out=np.array([0.5, np.nan]),
    )  # fmt: skip


def some_actions(n: int, seed: int = 0) -> np.ndarray:
    """(n, 2 + C) candidates from 1 to 3, minutes, choices."""
    rng = np.random.default_rng(seed)
    numbers = np.stack([rng.integers(1, 4, n), rng.choice([5.0, 15.0, 60.0, 120.0], n)], axis=1)
    return np.concatenate([numbers, rng.integers(0, 2, (n, N_CHOICES))], axis=1).astype(np.float32)


def drawn_attempts(
    n_cases: int,
    *,
    tries: int = 3,
    logit: float | np.ndarray = 0.0,
    kappa: float = 2.0,
    medians: tuple[float, float] = (6.0, 12.0),
    spread: float = 0.5,
    limit: float = np.inf,
    seed: int = 0,
) -> Attempts:
    """Tries of cases whose chances are Beta around one log-odds; a limit cuts what takes longer."""
    rng = np.random.default_rng(seed)
    chance = np.broadcast_to(1 / (1 + np.exp(-np.asarray(logit))), n_cases)
    own = rng.beta(kappa * chance, kappa * (1 - chance))
    case = np.repeat(np.arange(n_cases), tries)
    passes = rng.random(len(case)) < own[case]
    minutes = np.where(passes, *medians) * np.exp(spread * rng.normal(size=len(case)))
    is_cut = minutes > limit
    features = np.zeros((n_cases, N_FEATURES), dtype=np.float32)
    features[:, 0] = logit
    features[:, 6:] = rng.normal(size=(n_cases, N_FEATURES - 6))
    return Attempts(
        features[case], np.zeros((len(case), N_CHOICES), dtype=np.float32), passes & ~is_cut,
        is_cut, np.minimum(minutes, limit), np.exp(-2.0) * np.minimum(minutes, limit),
        case, case % max(2, n_cases // 2), case % 8, np.ones(len(case), dtype=np.float32),
    )  # fmt: skip


NO_OFFSETS = (-1,) * N_PARAMETERS
