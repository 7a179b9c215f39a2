"""The cost-quality frontier as the geometry of a chart: marks, bars, ticks, and labels that fit.

Belongs here: where things stand, in pixels. Does not: the SVG (``frontier_chart.svg.jinja``),
colours (the page's CSS), computing what is drawn (``evaluation.frontier``).
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, Literal, NamedTuple

import msgspec

from planner_pipeline.evaluation.bootstrap import Interval
from planner_pipeline.evaluation.frontier import FrontierPoint

Spending = Literal["minutes", "usd"]
AXIS_NAMES: Final = {"minutes": "mean agent-minutes a decision", "usd": "mean dollars a decision"}
MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 54.0, 14.0, 14.0, 46.0
LETTER_WIDTH, LETTER_HEIGHT = 7.2, 13.0  # of the bold 12 px labels, on the wide side
MAX_LETTERS: Final = 26
MARK_RADIUS: Final = 6.0
PADDING: Final = 0.06  # of the range of what is drawn, on either side
# what a label may not do, by how bad it is, in square pixels that it would cover
OVER_LABEL, OVER_MARK, OVER_LINE, FARTHER = 40.0, 12.0, 2.0, 6.0


class Box(NamedTuple):
    """A rectangle, its corners in pixels from the upper left."""

    left: float
    top: float
    right: float
    bottom: float

    def shared(self, other: "Box") -> float:
        """Area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """A text, centred on (x, y).

    Attributes:
        leader: Where a line from its mark ends; None where the text stands beside the mark.
    """

    text: str
    x: float
    y: float
    leader: tuple[float, float] | None


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """One point with its error bars.

    Attributes:
        row: Of the point among all that were given.
        look: Its kind, or ``best`` for the best fixed action.
    """

    row: int
    look: str
    title: str
    x: float
    y: float
    x_low: float
    x_high: float
    y_low: float
    y_high: float
    label: Label | None = None


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """A number on an axis."""

    at: float
    text: str


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the SVG's template draws.

    Attributes:
        marks: Fixed actions first, so that what is compared with them lies on top.
        front: Corners of the line through the fixed actions on the Pareto front.
        missing: Names of points whose place is not known.
    """

    width: float
    height: float
    plot: Box
    axis_name: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    front: tuple[tuple[float, float], ...]
    missing: tuple[str, ...]


class Caption(msgspec.Struct, frozen=True, kw_only=True):
    """How one point is told of: its look, what hovering says, and its label if it has one."""

    look: str
    title: str
    label: str | None


class _Scale(NamedTuple):
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)


class _Placed(NamedTuple):
    row: int
    x: Interval
    y: Interval


def pareto_front(places: Sequence[tuple[float, float]]) -> tuple[int, ...]:
    """Rows that no other beats, from the cheapest on; equal places count once, by their first row.

    Args:
        places: (spending, pass rate) of each.

    >>> pareto_front([(10, 0.5), (20, 0.4), (30, 0.6), (30, 0.6)])
    (0, 2)
    """
    order = sorted(range(len(places)), key=lambda row: (places[row][0], -places[row][1], row))
    front: list[int] = []
    for row in order:
        if not front or places[row][1] > places[front[-1]][1]:
            front.append(row)
    return tuple(front)


def nice_ticks(low: float, high: float, n: int) -> tuple[float, ...]:
    """About ``n`` multiples of 1, 2 or 5 times a power of ten between two numbers.

    >>> nice_ticks(0.0, 47.0, 5)
    (0.0, 10.0, 20.0, 30.0, 40.0)
    """
    rough = (high - low) / n
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(round(i * step, 10) for i in range(first, last + 1))


def build_chart(
    points: Sequence[FrontierPoint],
    captions: Sequence[Caption],
    *,
    spending: Spending,
    width: float,
    height: float,
) -> Chart | None:
    """The chart of some points; None where no point's place is known.

    Args:
        captions: One a point.
        spending: What the horizontal axis is.
    """
    placed = [
        _Placed(row, cost, point.pass_rate)
        for row, point in enumerate(points)
        if (cost := getattr(point, spending)) is not None and point.pass_rate is not None
    ]
    if not placed:
        return None
    plot = Box(MARGIN_LEFT, MARGIN_TOP, width - MARGIN_RIGHT, height - MARGIN_BOTTOM)
    low, high = _padded([p.x for p in placed], 0.0, math.inf)
    to_x = _Scale(low, high, plot.left, plot.right)
    low, high = _padded([p.y for p in placed], 0.0, 1.0)
    to_y = _Scale(low, high, plot.bottom, plot.top)
    placed.sort(key=lambda p: (points[p.row].kind != "fixed", captions[p.row].label is not None))
    marks = [
        Mark(
            row=p.row,
            look=captions[p.row].look,
            title=captions[p.row].title,
            x=to_x(p.x.value),
            y=to_y(p.y.value),
            x_low=to_x(p.x.low),
            x_high=to_x(p.x.high),
            y_low=to_y(p.y.low),
            y_high=to_y(p.y.high),
        )
        for p in placed
    ]
    fixed = [(p.x.value, p.y.value) for p in placed if points[p.row].kind == "fixed"]
    front = tuple((to_x(fixed[i][0]), to_y(fixed[i][1])) for i in pareto_front(fixed))
    return Chart(
        width=width,
        height=height,
        plot=plot,
        axis_name=AXIS_NAMES[spending],
        x_ticks=_x_ticks(to_x, spending, n=int(width / 60)),
        y_ticks=_y_ticks(to_y, n=int(height / 70)),
        marks=tuple(_labelled(marks, [captions[m.row].label for m in marks], front, plot)),
        front=front,
        missing=tuple(
            point.name for row, point in enumerate(points) if row not in {p.row for p in placed}
        ),
    )


def _padded(figures: Sequence[Interval], floor: float, ceiling: float) -> tuple[float, float]:
    """A range around all intervals, not beyond what can be; never of no width."""
    low = min(min(f.low, f.value) for f in figures)
    high = max(max(f.high, f.value) for f in figures)
    room = PADDING * (high - low) or max(abs(high), 1.0) * PADDING
    return max(floor, low - room) if low >= floor else low - room, (
        min(ceiling, high + room) if high <= ceiling else high + room
    )


def _x_ticks(to_x: _Scale, spending: Spending, n: int) -> tuple[Tick, ...]:
    values = nice_ticks(to_x.low, to_x.high, n)
    unit = "$" if spending == "usd" else ""
    return tuple(Tick(at=to_x(v), text=f"{unit}{v:{_precision(values)}}") for v in values)


def _y_ticks(to_y: _Scale, n: int) -> tuple[Tick, ...]:
    values = nice_ticks(100 * to_y.low, 100 * to_y.high, n)
    return tuple(Tick(at=to_y(v / 100), text=f"{v:{_precision(values)}} %") for v in values)


def _precision(values: Sequence[float]) -> str:
    """The format that tells neighbouring ticks apart."""
    step = min((b - a for a, b in pairwise(values)), default=1.0)
    return f".{max(0, -math.floor(math.log10(step) + 1e-9))}f"


def _along(corners: Sequence[tuple[float, float]]) -> Iterator[Box]:
    """Small boxes that together cover a line through some corners."""
    for (x, y), (to_x, to_y) in pairwise(corners):
        n = max(1, math.ceil(math.dist((x, y), (to_x, to_y)) / 4))
        for i in range(n + 1):
            at_x, at_y = x + (to_x - x) * i / n, y + (to_y - y) * i / n
            yield Box(at_x - 2, at_y - 2, at_x + 2, at_y + 2)


def _labelled(
    marks: Sequence[Mark],
    texts: Sequence[str | None],
    front: Sequence[tuple[float, float]],
    plot: Box,
) -> Iterator[Mark]:
    """Every mark, those with a text at the place where it hides least."""
    taken = [Box(m.x - 7, m.y - 7, m.x + 7, m.y + 7) for m in marks]
    lines = [
        bar
        for m in marks
        for bar in (
            Box(min(m.x_low, m.x_high), m.y - 2, max(m.x_low, m.x_high), m.y + 2),
            Box(m.x - 2, min(m.y_low, m.y_high), m.x + 2, max(m.y_low, m.y_high)),
        )
    ]
    lines += _along(front)
    labels: list[Box] = []
    for mark, text in zip(marks, texts, strict=True):
        if text is None:
            yield mark
            continue
        shown = text if len(text) <= MAX_LETTERS else text[: MAX_LETTERS - 1] + "…"
        box, is_apart = min(
            _candidates(mark, len(shown) * LETTER_WIDTH, plot),
            key=lambda c: (
                OVER_LABEL * sum(c[0].shared(b) for b in labels)
                + OVER_MARK * sum(c[0].shared(b) for b in taken)
                + OVER_LINE * sum(c[0].shared(b) for b in lines)
                + FARTHER * math.dist(_nearest(c[0], mark), (mark.x, mark.y)),
                c,
            ),
        )
        labels.append(box)
        label = Label(
            text=shown,
            x=round((box.left + box.right) / 2, 2),
            y=round((box.top + box.bottom) / 2, 2),
            leader=_nearest(box, mark) if is_apart else None,
        )
        yield msgspec.structs.replace(mark, label=label)


def _nearest(box: Box, mark: Mark) -> tuple[float, float]:
    x = min(max(mark.x, box.left), box.right)
    y = min(max(mark.y, box.top), box.bottom)
    return round(x, 2), round(y, 2)


def _candidates(mark: Mark, width: float, plot: Box) -> Iterator[tuple[Box, bool]]:
    """Places around a mark, pushed into the plot, and whether a leader has to tell whose it is."""
    half_w, half_h = width / 2, LETTER_HEIGHT / 2 + 1
    for away in (MARK_RADIUS + 3, 22.0, 40.0, 62.0, 90.0):
        for turn in range(16):
            angle = turn * math.pi / 8
            x = mark.x + math.cos(angle) * (away + half_w)
            y = mark.y + math.sin(angle) * (away + half_h)
            x = min(max(x, plot.left + half_w + 2), plot.right - half_w)
            y = min(max(y, plot.top + half_h), plot.bottom - half_h - 2)
            yield Box(x - half_w, y - half_h, x + half_w, y + half_h), away > MARK_RADIUS + 3
