"""What an experiment tracker is told of one cell.

Belongs here: metrics by name, means over seeds by epoch, the plot. Does not: the tracker.
"""

from collections.abc import Iterator

import numpy as np

from planner_pipeline.evaluation.plots import reliability_plot
from planner_pipeline.evaluation.reliability import reliability_bins
from planner_pipeline.experiments.ablation import CellResult
from planner_pipeline.experiments.ablation_table import CellFigures
from planner_pipeline.training.fit import epoch_metrics


def cell_metrics(row: CellFigures) -> dict[str, float]:
    """Figures of a cell; an absent one is left out."""
    told: dict[str, float] = {
        "test_ece": row.ece,
        "test_aurc": row.aurc,
        "test_top1_share": row.top1_share,
        "cpu_seconds": row.cpu_seconds,
        "fitted_numbers": float(row.n_weights),
    }
    for name, figure in (
        ("test_exact_match", row.exact_match),
        ("test_nll", row.nll),
        ("test_exact_match_minus_base", row.exact_match_minus_base),
        ("test_nll_minus_base", row.nll_minus_base),
    ):
        if figure is not None:
            told |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
    if row.seed_sd is not None:
        told["test_exact_match_seed_sd"] = row.seed_sd
    return told


def epoch_means(result: CellResult) -> Iterator[tuple[int, dict[str, float]]]:
    """(epoch, metrics) with means over the seeds that got so far."""
    longest = max(len(fit.epochs) for fit in result.fits)
    for epoch in range(longest):
        told = [epoch_metrics(fit.epochs[epoch]) for fit in result.fits if len(fit.epochs) > epoch]
        names = dict.fromkeys(name for one in told for name in one)
        yield (
            epoch,
            {name: float(np.mean([one[name] for one in told if name in one])) for name in names},
        )


def reliability_svg(result: CellResult) -> str:
    """Accuracy against confidence on the test split, all seeds together."""
    confidence = np.concatenate([fit.confidence for fit in result.fits]).clip(0, 1)
    return reliability_plot(
        reliability_bins(confidence, np.concatenate([fit.correct for fit in result.fits]))
    )
