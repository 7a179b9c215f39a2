"""Diagnostics of predictions, every one with its interval and its n.

Belongs here: accuracy, calibration, collapse; computed from the predictions table alone.
Does not: outcome metrics, which need a bench. Spec: section 8.1; reference/models.md 2.
A figure that cannot be computed is absent, never 0.
"""

from collections import Counter
from typing import Final

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.evaluation.bootstrap import N_BOOTSTRAP, Bootstrap, Interval
from planner_runtime.actions import HEADS

N_BINS: Final = 10
PREDICTORS: Final = ("model", "heuristic", "prior")


class ReliabilityBin(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one tenth of confidence."""

    low: float
    high: float
    n: int
    mean_confidence: float
    accuracy: float


class Diagnostics(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the predictions of one split.

    Attributes:
        exact_match: By predictor, share of rows whose four choices all equal the label.
        head_accuracy: By predictor and head, over the rows where the head was not forced.
        model_minus_heuristic: Paired difference of exact match; None where every label is the same
            action, so that there is nothing to tell apart.
        ece: Expected calibration error of the joint confidence, ten equal-width bins. ECE is never
            below its null level, and its bootstrap interval lies high: read it beside the null.
        ece_null: Mean and 95th percentile of ECE were the confidences exactly right and the rows
            independent.
        nll: Mean negative log-likelihood of the label, nats, for model and prior.
        top1_share: Share of the model's most frequent action.
    """

    split: str
    n: int
    exact_match: dict[str, Interval]
    head_accuracy: dict[str, dict[str, Interval]]
    model_minus_heuristic: Interval | None
    ece: Interval | None
    ece_null: tuple[float, float] | None
    nll: dict[str, Interval]
    brier: Interval | None
    abstain_ratio: float | None
    action_entropy_nats: float | None
    top1_share: float | None
    reliability: tuple[ReliabilityBin, ...]


def _bins(confidence: np.ndarray, n_bins: int) -> np.ndarray:
    """Index of each confidence's equal-width bin; 1.0 falls into the last."""
    index: np.ndarray = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    return index


def expected_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, n_bins: int = N_BINS
) -> float:
    """Mean |accuracy - confidence| over equal-width bins, weighted by their rows.

    Args:
        confidence: (N,) in [0, 1].
        correct: (N,) 0 or 1; N >= 1.
    """
    gaps = np.bincount(_bins(confidence, n_bins), correct - confidence, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(confidence))


def _reliability(confidence: np.ndarray, correct: np.ndarray) -> tuple[ReliabilityBin, ...]:
    bins = _bins(confidence, N_BINS)
    return tuple(
        ReliabilityBin(
            low=b / N_BINS,
            high=(b + 1) / N_BINS,
            n=int((bins == b).sum()),
            mean_confidence=float(confidence[bins == b].mean()),
            accuracy=float(correct[bins == b].mean()),
        )
        for b in range(N_BINS)
        if (bins == b).any()
    )


def _ece_null(confidence: np.ndarray, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    draws = [
        expected_calibration_error(confidence, (rng.random(len(confidence)) < confidence) * 1.0)
        for _ in range(N_BOOTSTRAP)
    ]
    return float(np.mean(draws)), float(np.percentile(draws, 95))


def _present(figures: dict[str, Interval | None]) -> dict[str, Interval]:
    return {name: figure for name, figure in figures.items() if figure is not None}


def diagnose(predictions: pl.DataFrame, *, split: str, seed: int = 0) -> Diagnostics:
    """Diagnostics of one split of a predictions table."""
    rows = predictions.filter(pl.col("split") == split)
    n = rows.height
    issues = [
        issue or example
        for issue, example in zip(rows["issue_id"], rows["example_id"], strict=True)
    ]
    boot = Bootstrap(issues, seed)
    labels = rows["label"].to_list()
    chosen = {name: rows[name].to_list() for name in PREDICTORS}
    match = {
        name: np.array([a == b for a, b in zip(chosen[name], labels, strict=True)], dtype=float)
        for name in PREDICTORS
    }
    forced = np.array(rows["is_forced"].to_list(), dtype=bool).reshape(n, len(HEADS))
    heads: dict[str, dict[str, Interval]] = {}
    for name in PREDICTORS:
        figures = {}
        for head, head_name in enumerate(HEADS):
            right = np.array(
                [a[head] == b[head] for a, b in zip(chosen[name], labels, strict=True)], dtype=float
            )
            figures[head_name] = boot.mean(right, ~forced[:, head])
        heads[name] = _present(figures)
    confidence = rows["confidence"].to_numpy().clip(0.0, 1.0)
    correct = match["model"]
    counts = Counter(tuple(action) for action in chosen["model"])
    shares = np.array(list(counts.values())) / max(1, n)
    return Diagnostics(
        split=split,
        n=n,
        exact_match=_present({name: boot.mean(match[name]) for name in PREDICTORS}),
        head_accuracy=heads,
        model_minus_heuristic=boot.mean(match["model"] - match["heuristic"])
        if len({tuple(label) for label in labels}) > 1
        else None,
        ece=boot.interval(lambda i: expected_calibration_error(confidence[i], correct[i])),
        ece_null=_ece_null(confidence, seed) if n else None,
        nll=_present(
            {
                "model": boot.mean(-np.log(rows["label_prob"].to_numpy().clip(1e-12, 1.0))),
                "prior": boot.mean(-np.log(rows["prior_label_prob"].to_numpy().clip(1e-12, 1.0))),
            }
        ),
        brier=boot.mean(rows["brier"].to_numpy()),
        abstain_ratio=float(rows["abstains"].to_numpy().mean()) if n else None,
        action_entropy_nats=float(-(shares * np.log(shares)).sum()) if n else None,
        top1_share=float(shares.max()) if n else None,
        reliability=_reliability(confidence, correct) if n else (),
    )


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """Diagnostics of both held-out splits; the validation split also fitted the temperatures."""

    val: Diagnostics
    test: Diagnostics


def evaluate(predictions: pl.DataFrame, *, seed: int = 0) -> Evaluation:
    """Diagnostics of a predictions table."""
    return Evaluation(
        val=diagnose(predictions, split="val", seed=seed),
        test=diagnose(predictions, split="test", seed=seed),
    )
