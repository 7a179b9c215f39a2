"""The what-if page: what every policy and action would have come to, and where decisions differ.

Belongs here: the verdict and the promise in words, and what the page's templates are given.
Does not: computing any figure (``evaluation.frontier``), the chart's geometry
(``frontier_chart``), the page's text and script (``what_if.html.jinja``, ``what_if.js``).
Spec: section 8.2.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from planner_pipeline.artifacts import write_bytes
from planner_pipeline.evaluation.bootstrap import Interval
from planner_pipeline.evaluation.frontier import FrontierPoint, Promise, WhatIf
from planner_pipeline.release.frontier_chart import Caption, Chart, Spending, build_chart
from planner_pipeline.release.pages import is_told, page_environment
from planner_runtime.objective import Objective

BEST_FIXED: Final = "best fixed action"
MAX_DIFFERENCES: Final = 50
KIND_NAMES: Final = {
    "baseline": "baseline",
    "fixed": "fixed action",
    "imitation": "imitates executed plans",
    "value": "decides by outcomes",
    "oracle": "knows the outcome; nobody can choose it",
}
SOURCE_WORDS: Final = {
    "bench": "Outcomes of bench runs: every action shown was run.",
    "replay": "Outcomes replayed from logged attempts.",
    "model": (
        "The model's own estimates, checked by no outcome. The intervals tell how much the figures "
        "depend on which decisions were looked at; they say nothing of how wrong the model is."
    ),
}
BOUND_WORDS: Final[Mapping[str, str]] = {
    "cap": "above a hard cap",
    "not_a_reduction": "not a reduction",
    "topology": "another topology",
    "guardrail_pass": "guardrail: may lose passes",
    "guardrail_saving": "guardrail: saves too little",
    "unknown_outcome": "outcome not known",
}
# wide and narrow: letters of a drawing that is scaled down could not be read
SIZES: Final = (("wide", 880.0, 460.0), ("narrow", 370.0, 400.0))
SLIDER_SPAN: Final = 5.0  # a slider's end in multiples of the objective's weight


def what_if_verdict(what_if: WhatIf) -> str:
    """The first value policy beside the baseline and the best fixed action, in plain words.

    What an interval leaves open is called open.
    """
    value = next((p for p in what_if.points if p.kind == "value"), None)
    if value is None:
        return "No policy that decides by outcomes is among these points: nothing is said of one."
    gain = value.gain
    if gain is None or not is_told(gain):
        return (
            f"Nothing can be said of the {value.name}: it shares decisions of fewer than two "
            "issues with the baseline."
        )
    is_model = what_if.source == "model"
    name = f"the {value.name}" if is_model else f"The {value.name}"
    opening = "By the model's own estimates, which no outcome has checked, " if is_model else ""
    if value.differs == 0:
        told = f"{name} decides exactly as the baseline"
    elif gain.low > 0:
        told = f"{name} {'would do' if is_model else 'does'} better than the baseline"
    elif gain.high < 0:
        told = f"{name} {'would do' if is_model else 'does'} worse than the baseline"
    else:
        told = f"{name} and the baseline cannot be told apart"
    figure = (
        f"utility {_signed(gain)} a decision, n={gain.n} decision{_s(gain.n)} "
        f"of {gain.n_issues} issue{_s(gain.n_issues)}"
    )
    return f"{opening}{told}: {figure}. {_beside_best_fixed(value, what_if)}"


def _beside_best_fixed(mine: FrontierPoint, what_if: WhatIf) -> str:
    points = what_if.points
    row = best_fixed_row(points)
    gain = mine.over_best_fixed
    if row is None or gain is None or not is_told(gain):
        return "What it gains on the best fixed action is not known."
    is_model = what_if.source == "model"
    knowing = "estimates" if is_model else "outcomes"
    figure = f"{_signed(gain)} above it, n={gain.n}; it was chosen knowing these {knowing}"
    name = f"the best fixed action{_alias(points, row)}"
    if gain.low > 0:
        return f"It {'would do' if is_model else 'does'} better than {name} as well: {figure}."
    if gain.high < 0:
        return f"It {'would do' if is_model else 'does'} worse than {name}: {figure}."
    return f"It cannot be told apart from {name}: {figure}."


def _signed(figure: Interval) -> str:
    return f"{figure.value:+.3f} ({figure.low:+.3f} to {figure.high:+.3f})"


def _s(n: int) -> str:
    return "" if n == 1 else "s"


def best_fixed_row(points: Sequence[FrontierPoint]) -> int | None:
    """Row of the best fixed action: the one that is named so, or else that of most utility."""
    fixed = [row for row, point in enumerate(points) if point.kind == "fixed"]
    named = [row for row in fixed if points[row].name == BEST_FIXED]
    if named:
        return named[0]
    scored = [(u.value, -row) for row in fixed if (u := points[row].utility) and is_told(u)]
    return -max(scored)[1] if scored else None


def _alias(points: Sequence[FrontierPoint], row: int) -> str:
    """Which action the best fixed one is, after a comma; nothing where that cannot be told."""
    if points[row].name != BEST_FIXED:
        return f", {points[row].name}"
    mine = points[row]
    same = [
        p.name
        for p in points
        if p.kind == "fixed"
        and p.name != BEST_FIXED
        and (p.pass_rate, p.minutes, p.usd, p.utility)
        == (mine.pass_rate, mine.minutes, mine.usd, mine.utility)
    ]
    return f", {same[0]}" if len(same) == 1 else ""


def promise_words(promise: Promise | None) -> tuple[str, str]:
    """What became of the promise, in two or three words, and what it was and rests on.

    >>> promise_words(None)
    ('No promise was made.', 'No threshold of the confidence was looked for.')
    """
    if promise is None:
        return "No promise was made.", "No threshold of the confidence was looked for."
    target = (
        f"at most {_percent(promise.target, 0)} of followed decisions are worse than the baseline's"
    )
    if promise.threshold is None:
        return "Nothing is promised.", (
            f"On {promise.n} earlier decision{_s(promise.n)} no threshold could hold that "
            f"{target}. The baseline answers always."
        )
    verdict = {True: "Kept.", False: "Not kept.", None: "Too few to tell."}[promise.kept]
    followed = promise.later_followed
    share = f" ({_percent(promise.later_worse / followed)})" if followed else ""
    return verdict, (
        f"The promise: {target}, and by bad luck alone it fails with a probability of "
        f"{_percent(promise.failure, 0)}. It rests on {promise.n} earlier decision{_s(promise.n)}, "
        f"of which {promise.n_followed} reached a confidence of {promise.threshold:.3f} and "
        f"{promise.n_worse} of those were worse; the share is not above {_percent(promise.bound)}. "
        f"Of {promise.later_n} later decision{_s(promise.later_n)}, {followed} "
        f"{'was' if followed == 1 else 'were'} followed and {promise.later_worse} of those "
        f"worse{share}."
    )


def _percent(ratio: float, decimals: int = 1) -> str:
    return f"{100 * ratio:.{decimals}f} %"


def _captions(points: Sequence[FrontierPoint]) -> list[Caption]:
    best = best_fixed_row(points)
    captions = []
    for row, point in enumerate(points):
        is_best = row == best
        told = [f"{point.name}{_alias(points, row) if point.name == BEST_FIXED else ''}"]
        if point.pass_rate is not None:
            rate = point.pass_rate
            told.append(
                f"pass rate {_percent(rate.value)} ({_percent(rate.low)} to {_percent(rate.high)})"
            )
        if point.minutes is not None:
            m = point.minutes
            told.append(f"{m.value:.1f} agent-minutes ({m.low:.1f} to {m.high:.1f})")
        if point.usd is not None:
            told.append(f"${point.usd.value:.3f} (${point.usd.low:.3f} to ${point.usd.high:.3f})")
        label = BEST_FIXED if is_best else None if point.kind == "fixed" else point.name
        captions.append(
            Caption(look="best" if is_best else point.kind, title=", ".join(told), label=label)
        )
    return captions


def _drawable(points: Sequence[FrontierPoint]) -> tuple[FrontierPoint, ...]:
    """The points without figures that are no numbers."""
    return tuple(
        msgspec.structs.replace(
            point,
            **{
                name: figure if is_told(figure := getattr(point, name)) else None
                for name in ("pass_rate", "minutes", "usd", "utility", "gain")
            },
        )
        for point in points
    )


def _axes(points: Sequence[FrontierPoint], objective: Objective) -> list[Spending]:
    """What the chart is drawn against, and then what else it can be."""
    has_minutes = any(p.minutes for p in points)
    has_usd = any(p.usd for p in points)
    by_usd = objective.spend == "cost_usd" or (
        objective.weights.usd and not objective.weights.minute
    )
    axes: list[Spending] = ["minutes"] if has_minutes else []
    if has_usd:
        axes.insert(0 if by_usd and all(p.usd for p in points) else len(axes), "usd")
    return axes


def _slider_end(weight: float, spent: Sequence[Interval]) -> float:
    """Where a weight costs an average decision a whole pass, or well beyond what it is now."""
    mean = sum(figure.value for figure in spent) / len(spent) if spent else 0.0
    return max(SLIDER_SPAN * weight, 1 / mean if mean > 0 else 0.0) or 0.05


def _besides(objective: Objective) -> list[str]:
    """What else the objective weighs, which a utility of passes, minutes and dollars leaves out."""
    weights, found = objective.weights, []
    if objective.rule != "utility":
        found.append(f'the objective compares actions by the rule "{objective.rule}"')
    if weights.passed != 1:
        found.append(f"a pass weighs {weights.passed:g} in the objective and 1 here")
    if weights.wall_minute:
        found.append(f"the objective weighs a minute of waiting {weights.wall_minute:g}")
    if weights.risk:
        found.append(f"the objective weighs the chance of a timeout {weights.risk:g}")
    return found


def _context(what_if: WhatIf) -> dict[str, Any]:
    points = _drawable(what_if.points)
    objective = msgspec.convert(what_if.objective, Objective)
    captions = _captions(points)
    charts: list[list[tuple[str, Chart]]] = []
    for spending in _axes(points, objective):
        drawn = [
            (size, build_chart(points, captions, spending=spending, width=width, height=height))
            for size, width, height in SIZES
        ]
        charts.append([(size, chart) for size, chart in drawn if chart is not None])
    rows = sorted(
        range(len(points)),
        key=lambda row: (-u.value if (u := points[row].utility) else float("inf"), row),
    )
    best = best_fixed_row(points)
    return {
        "what_if": what_if,
        "objective": objective,
        "besides": _besides(objective),
        "verdict": what_if_verdict(what_if),
        "source_words": SOURCE_WORDS[what_if.source],
        "promise": promise_words(what_if.promise),
        "charts": [sizes for sizes in charts if sizes],
        "rows": [
            (row, points[row], _alias(points, row) if points[row].name == BEST_FIXED else "")
            for row in rows
        ],
        "looks": [caption.look for caption in captions],
        "best_fixed": None if best is None else points[best].name,
        "has_usd": any(p.usd for p in points),
        "n_cases": {p.pass_rate.n for p in points if p.pass_rate},
        "kind_names": KIND_NAMES,
        "bound_words": BOUND_WORDS,
        "shown": what_if.differences[:MAX_DIFFERENCES],
        "minute_end": _slider_end(
            objective.weights.minute, [p.minutes for p in points if p.minutes]
        ),
        "usd_end": _slider_end(objective.weights.usd, [p.usd for p in points if p.usd]),
    }


def render_what_if(what_if: WhatIf) -> str:
    """The section as an HTML fragment; complete without a script, and it loads nothing.

    Raises:
        msgspec.ValidationError: ``what_if.objective`` is no objective.
    """
    template = page_environment().get_template("what_if.html.jinja")
    return template.render(_context(what_if))


def what_if_document(what_if: WhatIf) -> dict[str, Any]:
    """``what_if.json``: the same as data."""
    document: dict[str, Any] = {
        "schema_version": "cyntra.planner_what_if.v1",
        "verdict": what_if_verdict(what_if),
        **msgspec.to_builtins(what_if),
    }
    return document


def write_what_if(what_if: WhatIf, folder: Path) -> None:
    """Write ``what_if.html``, a page of its own, and ``what_if.json``."""
    page = page_environment().get_template("what_if_page.html.jinja")
    write_bytes(page.render(fragment=render_what_if(what_if)).encode(), folder / "what_if.html")
    text = msgspec.json.format(msgspec.json.encode(what_if_document(what_if)), indent=2)
    write_bytes(text, folder / "what_if.json")


def read_what_if(folder: Path) -> WhatIf | None:
    """The page's data as the policy's asset left it in ``folder``; None where none did."""
    path = folder / "assets" / "value_policy.json"
    return msgspec.json.decode(path.read_bytes(), type=WhatIf) if path.exists() else None
