"""Fitting temperatures on the validation split: one a head, or one for a joint output.

Belongs here: the fit, its shrinkage and its warnings. Does not: applying it
(``planner_runtime.calibration``), the threshold to abstain below (``risk``).
Spec: section 7.4; reference/models.md 2.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from planner_pipeline.dataset.arrays import Arrays
from planner_runtime.actions import HEADS
from planner_runtime.decode import (
    JOINT,
    Decoding,
    action_log_probs,
    prefix_index,
    temperature_names,
)

LOG_T_BOUNDS: Final = (math.log(0.05), math.log(20.0))
FULL_TRUST_ROWS: Final = 100  # below it log T is shrunk towards 0, and may only cool
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
        (the likelihood then has no inner optimum), when few rows would make the scores sharper (a
        model that is too sure costs more than one that is too timid), or when the fit does not
        improve.
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
    if log_t < 0 and n < FULL_TRUST_ROWS:
        return 1.0, f"{n} rows with a choice are too few to sharpen"
    temperature = math.exp(log_t)
    if masked_nll(logits, labels, mask, temperature) >= masked_nll(logits, labels, mask, 1.0):
        return 1.0, "no temperature improves on 1"
    if n < FULL_TRUST_ROWS:
        return temperature, f"shrunk: only {n} rows with a choice"
    at_bound = min(abs(log_t - bound) for bound in LOG_T_BOUNDS) < 1e-3
    return temperature, f"T={temperature:.2f} is the bound of the search" if at_bound else None


class Problem(NamedTuple):
    """What one temperature is fitted on: (N, C) scores, (N,) labels, (N, C) what was valid."""

    logits: np.ndarray
    labels: np.ndarray
    mask: np.ndarray


def problems(
    outputs: Sequence[np.ndarray], arrays: Arrays, decoding: Decoding
) -> dict[str, Problem]:
    """By temperature what it is fitted on; an autoregressive head's scores after the choices that
    were made before it.

    Args:
        outputs: As ``planner_runtime.decode.output_widths`` says, each (N, width).
    """
    raw = [np.asarray(output, dtype=np.float64) for output in outputs]
    tables, jobs, labels = arrays.tables, arrays.jobs, arrays.labels
    if not len(arrays):
        nothing = np.zeros((0, 1))
        return {
            name: Problem(nothing, np.zeros(0, dtype=np.int64), nothing > 0)
            for name in temperature_names(decoding)
        }
    if decoding == JOINT:
        mask = np.zeros((len(tables), raw[0].shape[1]), dtype=bool)
        columns = np.zeros(len(arrays), dtype=np.int64)
        for job, table in enumerate(tables):
            mask[job, table.columns] = True
            rows = jobs == job
            columns[rows] = table.columns[table.column_of(labels[rows])]
        return {JOINT: Problem(raw[0], columns, mask[jobs])}
    found = {}
    prefixes = prefix_index(labels, [len(choices) for choices in arrays.space.choices])
    for head, name in enumerate(HEADS):
        if decoding == "autoregressive":
            step_masks = np.array([table.step_masks[head] for table in tables])
            steps = raw[head].reshape(len(arrays), step_masks.shape[1], -1)
            before = prefixes[:, head]
            scores, mask = steps[np.arange(len(arrays)), before], step_masks[jobs, before]
        else:
            scores, mask = raw[head], np.array([table.masks[head] for table in tables])[jobs]
        found[name] = Problem(scores, labels[:, head], mask)
    return found


def fit_temperatures(
    outputs: Sequence[np.ndarray], arrays: Arrays, decoding: Decoding
) -> tuple[dict[str, float], tuple[str, ...]]:
    """A temperature for every head, or for the joint output, and notes where one was not fitted.

    Args:
        outputs: Raw scores of the validation rows.
        arrays: Labels and valid actions of the same rows.
    """
    temperatures, notes = {}, []
    for name, problem in problems(outputs, arrays, decoding).items():
        temperatures[name], note = fit_temperature(*problem)
        if note is not None:
            notes.append(f"{name}: T=1, {note}" if temperatures[name] == 1.0 else f"{name}: {note}")
    return temperatures, tuple(notes)


def label_log_probs(
    outputs: Sequence[np.ndarray],
    arrays: Arrays,
    decoding: Decoding,
    temperatures: Mapping[str, float],
) -> np.ndarray:
    """(N,) natural-log joint probability of every label, among the valid actions."""
    found = np.zeros(len(arrays))
    for job, table in enumerate(arrays.tables):
        rows = np.flatnonzero(arrays.jobs == job)
        log_probs = action_log_probs([one[rows] for one in outputs], temperatures, table, decoding)
        found[rows] = log_probs[np.arange(len(rows)), table.column_of(arrays.labels[rows])]
    return found


def calibrated_nll(
    outputs: Sequence[np.ndarray], arrays: Arrays, decoding: Decoding
) -> tuple[float, float]:
    """Mean joint negative log-likelihood in nats of N >= 1 rows: with the temperatures that fit
    them best, and with none.
    """
    fitted, _ = fit_temperatures(outputs, arrays, decoding)
    plain = dict.fromkeys(fitted, 1.0)
    with_fit, without = (
        float(-label_log_probs(outputs, arrays, decoding, t).mean()) for t in (fitted, plain)
    )
    return with_fit, without
