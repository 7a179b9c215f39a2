"""Plots of the report as SVG texts.

Belongs here: drawing. Does not: computing what is drawn.
"""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from planner_pipeline.evaluation.reliability import ReliabilityBin

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#1f2937"
BLUE = "#2563eb"
ORANGE = "#d97706"


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure  # half a second to import

    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: "Figure") -> str:
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "cyntra-planner", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def reliability_plot(bins: Sequence[ReliabilityBin]) -> str:
    """Accuracy against confidence with 95 % Wilson intervals; the number of rows above each bin."""
    figure = _figure(5.2, 4.2)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], "--", color="#9ca3af", linewidth=1, label="perfectly calibrated")
    for b in bins:
        low, high = wilson_interval(b.accuracy, b.n)
        axes.plot([b.mean_confidence] * 2, [low, high], color=BLUE, linewidth=1.5)
        axes.annotate(
            f"n={b.n}", (b.mean_confidence, high), fontsize=7, ha="center", va="bottom", color=INK
        )
    axes.plot(
        [b.mean_confidence for b in bins],
        [b.accuracy for b in bins],
        "o",
        color=BLUE,
        label="model",
    )
    axes.set(xlim=(0, 1.02), ylim=(0, 1.08), xlabel="confidence", ylabel="share of exact matches")
    axes.legend(loc="upper left", frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def wilson_interval(ratio: float, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion. Source: Wilson 1927.

    >>> [round(x, 3) for x in wilson_interval(0.5, 10)]
    [0.237, 0.763]
    """
    z = 1.959963984540054
    centre = ratio + z * z / (2 * n)
    spread = z * ((ratio * (1 - ratio) + z * z / (4 * n)) / n) ** 0.5
    scale = 1 + z * z / n
    low, high = (centre - spread) / scale, (centre + spread) / scale
    return max(0.0, min(ratio, low)), min(1.0, max(ratio, high))  # rounding must not exclude it


def losses_plot(train: Sequence[float], val: Sequence[float | None], *, best_epoch: int) -> str:
    """Losses by epoch with the epoch that was kept."""
    figure = _figure(5.2, 3.2)
    axes = figure.subplots()
    axes.plot(range(len(train)), train, color=INK, label="training loss, dropout on")
    known = [(i, loss) for i, loss in enumerate(val) if loss is not None]
    if known:
        epochs, nll = zip(*known, strict=True)
        axes.plot(epochs, nll, color=ORANGE, label="validation NLL, temperatures fitted")
    axes.axvline(best_epoch, color="#9ca3af", linestyle="--", linewidth=1, label="kept")
    axes.set(xlabel="epoch", ylabel="nats")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def coverage_plot(curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Error rate among the surest rows against the share of rows that are covered."""
    figure = _figure(5.2, 3.6)
    axes = figure.subplots()
    for (name, curve), color in zip(curves.items(), (BLUE, ORANGE, INK, "#9ca3af"), strict=False):
        axes.plot(*zip(*curve, strict=True), color=color, label=name)
    axes.set(xlim=(0, 1.02), xlabel="share of decisions, surest first", ylabel="wrong among them")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)
