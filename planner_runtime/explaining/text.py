"""An explanation as text for a terminal: facts, then tables.

Belongs here: layout. Does not: what is told (``explanation``), wording (``words``).
What comes from a document is shown without control characters, so that no run's name can move a
terminal's cursor.
"""

from collections.abc import Sequence
from typing import Final

from planner_runtime.explaining.explanation import ExplainedAction, ExplainedRun, Explanation
from planner_runtime.explaining.words import bound_words

_UNKNOWN: Final = "-"
_MAX_CELL: Final = 60


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def plain(text: str) -> str:
    r"""Text that any terminal shows as it is, shortened to what a table has room for.

    >>> plain("a\x1b[2Jb")
    'a?[2Jb'
    """
    shown = _printable(text)
    return shown if len(shown) <= _MAX_CELL else shown[: _MAX_CELL - 3] + "..."


def _number(value: float | None, digits: int = 3) -> str:
    return _UNKNOWN if value is None else f"{value:.{digits}f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as they need to be; all are read from the left."""
    cells = [[plain(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def explanation_text(told: Explanation) -> str:
    """The whole explanation, ending in a newline."""
    parts = [_facts(told), _heads(told), _likeliest(told), _outcomes(told.outcomes)]
    parts += [_limits(told), _runs(told.similar_runs)]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _facts(told: Explanation) -> list[str]:
    facts = [
        ("issue", told.issue),
        ("action", told.chosen),
        ("decided by", told.decided_by),
        ("why", told.why),
        ("baseline", told.baseline or "not recorded"),
    ]
    if told.baseline is not None:
        facts.append(("differs", "; ".join(told.differs) or "no"))
    if told.executed is not None:
        facts.append(("what ran", _executed(told)))
    facts.append(("bundle", told.bundle_id or "none"))
    if told.objective is not None:
        facts.append(("objective", told.objective))
    facts.append(("confidence", f"{_number(told.confidence)}{_threshold(told)}"))
    if told.novelty is not None:
        most = told.novelty_threshold
        limit = "" if most is None else f" (at most {most:.3f})"
        facts.append(("novelty", f"{_number(told.novelty)}{limit}"))
    facts += _chance(told)
    return [f"{name:<11} {_printable(value)}" for name, value in facts]


def _threshold(told: Explanation) -> str:
    if told.always_abstains:
        return " (the model is never followed)"
    return "" if told.threshold is None else f" (at least {told.threshold:.3f})"


def _executed(told: Explanation) -> str:
    ran = told.executed or {}
    parts = [str(ran["swarm_id_executed"])]
    parts += [
        f"{name} {ran[key]}"
        for name, key in (
            ("candidates", "max_candidates_executed"),
            ("seconds", "timeout_seconds_executed"),
            ("iterations", "max_iterations_executed"),
        )
        if ran.get(key) is not None
    ]
    if ran.get("fallback_applied"):
        parts.append(f"fallback {ran.get('fallback_reason')}")
    return ", ".join(parts)


def _chance(told: Explanation) -> list[tuple[str, str]]:
    made = told.exploration
    if made is None or not made["enabled"]:
        return []
    drawn = f"epsilon {made['epsilon']:.3g}, drew {_number(made['u'])}"
    return [("chance", f"{drawn}, propensity {_number(told.propensity)}")]


def _heads(told: Explanation) -> list[str]:
    if not told.heads:
        return []
    lines = ["probability by head (* chosen)"]
    for head in told.heads:
        shown = "  ".join(
            f"{plain(name)} {p:.3f}{'*' if name == head.chosen else ''}"
            for name, p in head.probabilities
        )
        lines.append(f"  {head.head:<20}{shown}")
    return lines


def _likeliest(told: Explanation) -> list[str]:
    if not told.likeliest:
        return []
    rows = [(f"{p:.3f}", action) for action, p in told.likeliest]
    return ["likeliest actions", *_table(("p", "action"), rows)]


def _outcomes(outcomes: Sequence[ExplainedAction]) -> list[str]:
    if not outcomes:
        return []
    head = ("action", "is", "pass", "timeout", "minutes", "usd", "utility", "lower", "closed by")
    rows = []
    for one in outcomes:
        told = one.expected
        numbers = (told.p_pass, told.p_timeout, told.minutes, told.cost_usd, told.utility)
        roles = "+".join(one.roles)
        cells = [_number(number) for number in (*numbers, told.lower)]
        rows.append((one.action, roles, *cells, one.bound or ""))
    return ["expected outcomes (lower: the bound by which actions compare)", *_table(head, rows)]


def _limits(told: Explanation) -> list[str]:
    lines = []
    if told.limits is not None:
        caps = ", ".join(f"{head} <= {cap:g}" for head, cap in sorted(told.limits["caps"].items()))
        lines.append(f"  caps: {caps or 'none'}")
        lines.append(f"  reductions only: {'yes' if told.limits['reductions_only'] else 'no'}")
        topology = "open" if told.limits["topology_changes"] else "closed"
        lines.append(f"  other topologies: {topology}")
    lines += [f"  {n} closed: {bound_words(b)} ({b})" for b, n in sorted(told.bounds.items())]
    if told.binding is not None:
        action, bound = told.binding
        if bound is None:
            lines.append("  none was felt: the objective's first choice was open")
        else:
            lines.append(f"  felt: {bound}, without it {action}")
    return ["limits", *map(_printable, lines)] if lines else []


def _runs(runs: Sequence[ExplainedRun]) -> list[str]:
    if not runs:
        return ["similar runs: none had finished by then"]
    head = ("run", "status", "age", "swarm", "minutes", "points", "of", "shared")
    rows = []
    for run in runs:
        parts = " ".join(f"{name}={n // 1000}k" for name, n in run.score_parts.items() if n)
        rows.append(
            (
                run.run_id,
                run.status,
                _age(run.age_hours),
                run.swarm_id or _UNKNOWN,
                _number(run.minutes, 1),
                f"{sum(run.score_parts.values()) // 1000}k",
                parts or _UNKNOWN,
                " ".join((*run.shared_tags, *run.shared_fail_codes)) or _UNKNOWN,
            )
        )
    return ["similar runs", *_table(head, rows)]


def _age(hours: float | None) -> str:
    if hours is None:
        return _UNKNOWN
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} d"
