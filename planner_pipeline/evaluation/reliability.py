"""Single figures of confidence: calibration errors, their null level, selective risk.

Belongs here: numbers from confidences and whether they were right. Does not: intervals
(``bootstrap``), tables (``diagnostics``). Source: reference/models.md 2.
Shapes: N rows, confidence (N,) in [0, 1], correct (N,) 0 or 1.
"""

from typing import Final

import msgspec
import numpy as np

N_BINS: Final = 10
N_DRAWS: Final = 1_000


class ReliabilityBin(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one tenth of confidence."""

    low: float
    high: float
    n: int
    mean_confidence: float
    accuracy: float


def equal_width_bins(confidence: np.ndarray, n_bins: int = N_BINS) -> np.ndarray:
    """(N,) index of each confidence's bin; 1.0 falls into the last."""
    index: np.ndarray = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    return index


def equal_mass_bins(confidence: np.ndarray, n_bins: int = N_BINS) -> np.ndarray:
    """(N,) index of each row's bin, all of as many rows as can be; equal confidences stay
    together.
    """
    values, of_row, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    before = np.cumsum(counts) - counts
    middle = (before + counts / 2) / max(1, len(confidence))  # where the value lies among all rows
    of_value = np.minimum((middle * n_bins).astype(int), n_bins - 1)
    index: np.ndarray = of_value[of_row] if len(values) else np.zeros(0, dtype=int)
    return index


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: np.ndarray) -> float:
    """Mean |accuracy - confidence| over bins, weighted by their rows; N >= 1."""
    gaps = np.bincount(bins, correct - confidence, minlength=N_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """``calibration_error`` over ten bins of equal width."""
    return calibration_error(confidence, correct, equal_width_bins(confidence))


def null_level(confidence: np.ndarray, bins: np.ndarray, seed: int) -> tuple[float, float]:
    """Mean and 95th percentile of the error were the confidences right and rows independent."""
    luck = np.random.default_rng(seed)
    draws = [
        calibration_error(confidence, (luck.random(len(confidence)) < confidence) * 1.0, bins)
        for _ in range(N_DRAWS)
    ]
    return float(np.mean(draws)), float(np.percentile(draws, 95))


def reliability_bins(confidence: np.ndarray, correct: np.ndarray) -> tuple[ReliabilityBin, ...]:
    """Bins of equal width that hold a row."""
    bins = equal_width_bins(confidence)
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


def _errors_among_surest(confidence: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """(N,) expected number of wrong rows among the k surest; rows as sure come in any order."""
    values, of_row = np.unique(-confidence, return_inverse=True)
    wrong = np.bincount(of_row, 1.0 - correct, minlength=len(values))
    share = wrong / np.bincount(of_row, minlength=len(values))
    result: np.ndarray = np.cumsum(share[np.sort(of_row)])
    return result


def aurc(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Mean over k of the error rate among the k surest rows; N >= 1."""
    errors = _errors_among_surest(confidence, correct)
    return float((errors / np.arange(1, len(errors) + 1)).mean())


def augrc(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Mean over k of the share of all rows that are among the k surest and wrong; N >= 1."""
    errors = _errors_among_surest(confidence, correct)
    return float(errors.mean() / len(errors))


def risk_coverage(
    confidence: np.ndarray, correct: np.ndarray, n_points: int
) -> tuple[tuple[float, float], ...]:
    """(coverage, error rate among the rows covered) at so many coverages, surest first."""
    errors, n = _errors_among_surest(confidence, correct), len(confidence)
    at = sorted({-(-n * step // n_points) for step in range(1, n_points + 1)})
    return tuple((k / n, float(errors[k - 1] / k)) for k in at)
