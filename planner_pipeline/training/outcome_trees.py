"""Growing gradient-boosted trees for the outcome model: the networks' likelihood, LightGBM's trees.

Belongs here: gradients of that likelihood, rounds, stopping. Does not: the likelihood
(``outcome_fit``), the model (``models.outcome_trees``).
Spec: section 7.4; source: Friedman 2001. Shapes: M members, N attempts, P parameters, Q levels.

First every member's slopes and biases are fitted, which holds what is constant: both spreads and
the dollars a minute. Then each round grows one small tree for the log-odds of passing and for each
mean of log minutes, all three from the gradient of the one likelihood of a try at the same place.
So a try that a limit cut pulls the log-odds up by the chance that it would have passed later, and
pulls the means of both ends beyond the limit by the chances of each. Instead of the second
derivative stands what it would be if the end of the try and its time were known, which is never
less, so that steps are never too long.
"""

from collections.abc import Sequence
from typing import Any, Final

import lightgbm
import numpy as np
import torch
from torch import Tensor

from planner_pipeline.models.outcome import N_PARAMETERS, OutcomeSpec, times_of
from planner_pipeline.models.outcome_trees import GROWN, AttemptTrees
from planner_pipeline.training.outcome_fit import (
    Attempts,
    OutcomeConfig,
    OutcomeRecord,
    Rows,
    descend,
    drawn,
    log_likelihood,
    member_nll,
    record_of,
    rows_of,
    starts_of,
)
from planner_pipeline.training.threads import one_thread

_LEAST_CURVATURE: Final = 1e-3


def curvature(parameters: Tensor, told: Tensor, rows: Rows, n_members: int) -> Tensor:
    """(M, N, 3) curvatures by the grown parameters, with the end and the time of a try as known.

    Args:
        parameters: (M x Q, N, P).
        told: (M x Q, N) log-likelihoods.
    """
    pi = torch.sigmoid(parameters[..., 0])
    passing, failing = times_of(parameters)
    late = torch.special.ndtr((passing.mean - rows.log_minutes) / passing.spread) * pi
    late_fail = torch.special.ndtr((failing.mean - rows.log_minutes) / failing.spread) * (1 - pi)
    later = torch.where(rows.timed_out > 0, late / (late + late_fail).clamp(min=1e-9), 0.0)
    is_pass = torch.where(rows.passed > 0, 1.0, later)
    each = torch.stack(
        [
            pi * (1 - pi),
            rows.is_timed * is_pass / passing.spread**2,
            rows.is_timed * (1 - is_pass) / failing.spread**2,
        ],
        dim=-1,
    )
    each = each.view(n_members, -1, *each.shape[1:])  # (M, Q, N, 3)
    share = torch.softmax(told.view(n_members, -1, told.shape[1]), dim=1)
    mixed: Tensor = (each * share.unsqueeze(-1)).sum(dim=1)
    return mixed


class _Given:
    """An objective that was worked out before: gradient and curvature of every row."""

    def __init__(self, gradient: np.ndarray, curve: np.ndarray) -> None:
        self._both = gradient, curve

    def __call__(self, scores: np.ndarray, data: lightgbm.Dataset) -> tuple[np.ndarray, np.ndarray]:
        return self._both


class _Growing:
    """One booster a member and a grown parameter, on the rows that the member drew."""

    def __init__(self, x: np.ndarray, counts: np.ndarray, config: OutcomeConfig) -> None:
        self._x, self._round = x, 0
        self._rows = [np.flatnonzero(drawn_often) for drawn_often in counts]
        self._boosters = [
            [_booster(x[rows], config, seed=member * 10 + place) for place in range(len(GROWN))]
            if np.ptp(x[rows], axis=0).any()  # LightGBM refuses rows that do not differ
            else []
            for member, rows in enumerate(self._rows)
        ]

    def grow(self, gradient: np.ndarray, curve: np.ndarray) -> np.ndarray:
        """A tree each by (M, N, 3) derivatives of the loss; (M, N, P) that these trees add."""
        added = np.zeros((len(self._rows), len(self._x), N_PARAMETERS), dtype=np.float32)
        for member, (rows, of) in enumerate(zip(self._rows, self._boosters, strict=True)):
            for place, booster in enumerate(of):
                given = _Given(gradient[member, rows, place], curve[member, rows, place])
                booster.update(fobj=given)
                added[member, :, GROWN[place]] = booster.predict(
                    self._x, raw_score=True, num_threads=1,
                    start_iteration=self._round, num_iteration=1,
                )  # fmt: skip
        self._round += 1
        return added

    def texts(self, rounds: Sequence[int]) -> list[list[str]]:
        """Of every member the trees of its first rounds."""
        return [
            [booster.model_to_string(num_iteration=n) for booster in of]
            if n and of
            else [""] * len(GROWN)
            for n, of in zip(rounds, self._boosters, strict=True)
        ]


def _booster(x: np.ndarray, config: OutcomeConfig, *, seed: int) -> lightgbm.Booster:
    params: dict[str, Any] = {
        "objective": "none", "learning_rate": config.tree_rate, "num_leaves": config.leaves,
        "min_data_in_leaf": config.least_rows, "lambda_l2": 5.0, "feature_fraction": 0.7,
        "seed": config.seed * 1_000 + seed, "deterministic": True, "force_row_wise": True,
        "num_threads": 1, "verbosity": -1, "max_bin": 63, "feature_pre_filter": False,
    }  # fmt: skip
    data = lightgbm.Dataset(x, np.zeros(len(x)), params=params)
    return lightgbm.Booster(params, data)


@one_thread()
def fit_trees(
    attempts: Attempts,
    config: OutcomeConfig,
    *,
    offsets: Sequence[int] = (-1,) * N_PARAMETERS,
    doubt: int = -1,
) -> tuple[AttemptTrees, OutcomeRecord]:
    """An ensemble of boosted trees on some attempts; every member stops on blocks it left out.

    Args:
        offsets, doubt: As in ``OutcomeSpec``.

    Raises:
        ValueError: there is nothing to learn from.
    """
    if not len(attempts):
        raise ValueError("no finished try to learn outcomes from")
    spec = OutcomeSpec(
        n_features=attempts.features.shape[1],
        n_choices=attempts.choices.shape[1],
        n_members=config.members,
        width=0,
        offsets=tuple(offsets),
        doubt=doubt,
    )
    model, rows = AttemptTrees(spec), rows_of(attempts)
    model.start.copy_(starts_of(attempts))
    counts, is_held = drawn(attempts, config.members, np.random.default_rng(config.seed))
    train = torch.tensor(counts, dtype=torch.float32) * rows.weight
    held = torch.tensor(is_held, dtype=torch.float32) * rows.weight
    descend(model, rows, train, held, config)
    growing = _Growing(
        np.concatenate([attempts.features, attempts.choices], axis=1), counts, config
    )
    steps, nll = _boost(model, rows, (train, held), growing, config)
    grown = AttemptTrees(spec, growing.texts(steps))
    grown.load_state_dict(model.state_dict())
    grown.eval()
    return grown, record_of(grown, attempts, config, steps, nll)


def _boost(
    model: AttemptTrees,
    rows: Rows,
    weights: tuple[Tensor, Tensor],
    growing: _Growing,
    config: OutcomeConfig,
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Rounds for all members at once; of every member its best one, and its nats a try there."""
    train, held = weights
    added = torch.zeros(config.members, len(rows.passed), N_PARAMETERS)
    steps = torch.zeros(config.members, dtype=torch.long)
    least = torch.full((config.members,), torch.inf)
    for step in range(config.trees + 1):
        added.requires_grad_(True)
        parameters = model.with_offsets(rows.features, added)
        told = log_likelihood(parameters, rows)
        with torch.no_grad():
            now = member_nll(told, held)
            better = now < least - 1e-5
            least = torch.where(better, now, least)
            steps = torch.where(better, torch.tensor(step), steps)
        if step == config.trees or step - int(steps.max()) > config.patience:
            break
        # the sum, not the mean: curvature counts rows
        nats = member_nll(told, train) * train.sum(dim=1).clamp(min=1.0)
        (gradient,) = torch.autograd.grad(nats.sum(), added)
        with torch.no_grad():
            curve = curvature(parameters, told, rows, config.members) * train.unsqueeze(-1)
        moved = growing.grow(
            gradient[..., list(GROWN)].double().numpy(),
            curve.clamp(min=_LEAST_CURVATURE).double().numpy(),
        )
        added = added.detach() + torch.tensor(moved)
    return tuple(steps.tolist()), tuple(float(value) for value in least)
