"""Making predicted chances keep their word: Platt's line on the log-odds, then isotonic steps.

Belongs here: fitting both on predictions of rows that the model did not see. Does not: applying
them (``planner_runtime.outcomes.model``). Sources: Platt 1999; Zadrozny and Elkan 2002; reference
models.md 2 (small n). Shapes: N predictions.
"""

from typing import Final

import numpy as np
from scipy import optimize, special

ENOUGH_FOR_STEPS: Final = 1_000  # decisions; below it isotonic steps fit noise
PULL: Final = 2.0  # of slope 1 and bias 0, in units of predictions: few rows move them little
MAX_KNOTS: Final = 32
LEAST_SLOPE: Final = 0.05  # greater chances stay greater, whatever came of them


def _logit(p: np.ndarray) -> np.ndarray:
    held = np.clip(p, 1e-6, 1 - 1e-6)
    odds: np.ndarray = np.log(held) - np.log1p(-held)
    return odds


def _log1pexp(x: np.ndarray) -> np.ndarray:
    value: np.ndarray = np.logaddexp(0.0, x)
    return value


def fit_platt(p: np.ndarray, ratio: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Slope and bias on the log-odds, by likelihood.

    Args:
        p: (N,) predicted chances, the mean over an ensemble.
        ratio: (N,) what came of it: 0, 1, or a share of tries.
        weight: (N,) so that all rows of one decision weigh 1 together.
    """
    x = _logit(p)

    def loss(line: np.ndarray) -> tuple[float, np.ndarray]:
        z = line[0] * x + line[1]
        nats = weight * (_log1pexp(z) - ratio * z)
        wrong = weight * (special.expit(z) - ratio)
        pull = 2 * PULL * np.array([line[0] - 1, line[1]])
        value = float(nats.sum() + PULL * ((line[0] - 1) ** 2 + line[1] ** 2))
        return value, np.array([wrong @ x, wrong.sum()]) + pull

    bounds = [(LEAST_SLOPE, None), (None, None)]
    found = optimize.minimize(
        loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds
    )
    slope, bias = found.x.tolist()
    return float(slope), float(bias)


def isotonic(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(N,) the non-decreasing fit of y in the order of x: pool adjacent violators."""
    order = np.argsort(x, kind="stable")
    blocks: list[list[float]] = []  # mean, weight, rows
    for value, w in zip(y[order].tolist(), weight[order].tolist(), strict=True):
        blocks.append([value, w, 1.0])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            mean, total, n = blocks.pop()
            last = blocks[-1]
            last[0] = (last[0] * last[1] + mean * total) / (last[1] + total)
            last[1] += total
            last[2] += n
    fitted = np.empty(len(x))
    fitted[order] = np.repeat([b[0] for b in blocks], [int(b[2]) for b in blocks])
    return fitted


def fit_knots(
    p: np.ndarray, ratio: np.ndarray, weight: np.ndarray, n_decisions: int
) -> tuple[tuple[float, float], ...]:
    """Points of the calibration curve after Platt's line; none where decisions are few.

    Each of at most ``MAX_KNOTS`` bins of equal weight is a point, at its mean prediction and its
    isotonic mean outcome, shrunk by one imagined decision that went as predicted.
    """
    if n_decisions < ENOUGH_FOR_STEPS:
        return ()
    order = np.argsort(p, kind="stable")
    share = np.cumsum(weight[order]) / weight.sum()
    bins = np.minimum((share * MAX_KNOTS).astype(int), MAX_KNOTS - 1)
    total = np.bincount(bins, weights=weight[order], minlength=MAX_KNOTS)
    there = total > 0
    x = np.bincount(bins, weights=(weight * p)[order], minlength=MAX_KNOTS)[there] / total[there]
    y = np.bincount(bins, weights=(weight * ratio)[order], minlength=MAX_KNOTS)[there]
    risen = isotonic(x, (y + x) / (total[there] + 1), total[there])
    knots = [(0.0, 0.0), *zip(x.tolist(), risen.tolist(), strict=True), (1.0, 1.0)]
    kept = [knots[0]]
    for knot in knots[1:]:
        if knot[0] > kept[-1][0] + 1e-9:
            kept.append((float(knot[0]), max(float(knot[1]), kept[-1][1])))
    return tuple(kept)
