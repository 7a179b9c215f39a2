"""Fitting one temperature per head on the validation split.

Belongs here: the fit, its shrinkage and its warnings. Does not: applying it
(``planner_runtime.calibration``). Spec: section 7.4; reference/models.md 2.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from planner_pipeline.dataset.arrays import Arrays
from planner_runtime.actions import HEADS
from planner_runtime.calibration import Calibration

LOG_T_BOUNDS: Final = (math.log(0.05), math.log(20.0))
FULL_TRUST_ROWS: Final = 100  # below it log T is shrunk towards 0
CONFIDENCE_THRESHOLD: Final = 0.2  # the kernel's own default: formats 5
_GOLDEN: Final = (math.sqrt(5) - 1) / 2


def masked_nll(
    logits: np.ndarray, labels: np.ndarray, mask: np.ndarray, temperature: float
) -> float:
    """Mean negative log-likelihood (nats) of (N, C) masked logits at a temperature."""
    scaled = np.where(mask, logits.astype(np.float64) / temperature, -np.inf)
    top = scaled.max(axis=1, keepdims=True)
    log_total = top[:, 0] + np.log(np.exp(scaled - top).sum(axis=1))
    return float(np.mean(log_total - scaled[np.arange(len(labels)), labels]))


def _best_log_temperature(logits: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> float:
    """Golden-section search; the NLL is unimodal in log T."""
    low, high = LOG_T_BOUNDS
    while high - low > 1e-4:
        a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        nll_a = masked_nll(logits, labels, mask, math.exp(a))
        nll_b = masked_nll(logits, labels, mask, math.exp(b))
        low, high = (low, b) if nll_a <= nll_b else (a, high)
    return (low + high) / 2


def fit_temperature(
    logits: np.ndarray, labels: np.ndarray, mask: np.ndarray
) -> tuple[float, str | None]:
    """Temperature of one head and a note where the fit could not be trusted.

    Args:
        logits: (N, C) raw scores.
        labels: (N,) int64.
        mask: (N, C) bool; rows with a single valid choice say nothing and are left out.

    Returns:
        1.0 with a note when there is no row to fit on, when every row is right or every row wrong
        (the likelihood then has no inner optimum), or when the fit does not improve.
    """
    free = mask.sum(axis=1) > 1
    logits, labels, mask = logits[free], labels[free], mask[free]
    n = len(labels)
    if n == 0:
        return 1.0, "no row with a choice"
    right = np.where(mask, logits, -np.inf).argmax(axis=1) == labels
    if right.all() or not right.any():
        return 1.0, f"all {n} rows are {'right' if right.all() else 'wrong'}"
    log_t = _best_log_temperature(logits, labels, mask) * min(1.0, n / FULL_TRUST_ROWS)
    temperature = math.exp(log_t)
    if masked_nll(logits, labels, mask, temperature) >= masked_nll(logits, labels, mask, 1.0):
        return 1.0, "no temperature improves on 1"
    if n < FULL_TRUST_ROWS:
        return temperature, f"shrunk: only {n} rows with a choice"
    at_bound = min(abs(log_t - bound) for bound in LOG_T_BOUNDS) < 1e-3
    return temperature, f"T={temperature:.2f} is the bound of the search" if at_bound else None


def fit_calibration(logits: Sequence[np.ndarray], arrays: Arrays) -> Calibration:
    """Temperatures of all heads.

    Args:
        logits: Per head (N, C), raw scores of the validation rows.
        arrays: Labels and masks of the same rows.
    """
    labels, masks = arrays.labels, arrays.masks
    temperatures, notes = {}, []
    for head, name in enumerate(HEADS):
        temperatures[name], note = fit_temperature(logits[head], labels[:, head], masks[head])
        if note is not None:
            notes.append(f"{name}: T=1, {note}" if temperatures[name] == 1.0 else f"{name}: {note}")
    return Calibration(
        temperatures=temperatures,
        confidence_threshold=CONFIDENCE_THRESHOLD,
        n_validation=len(labels),
        notes=tuple(notes),
    )
