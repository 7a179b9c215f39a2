"""Why this planner: a page of text for people.

Belongs here: the table of candidates, the adapters, the sentence that says why the winner won.
Does not: the facts (they are in the decision trace).
Spec: planner-synthesis, "Auditable": decisions that can be explained.
"""

from collections.abc import Sequence

from planner_synthesis.types import (
    AdapterStep,
    CandidateScore,
    PlannerDecisionTrace,
    PlannerSynthesis,
)

MAX_CELL_CHARS = 48


def explain_synthesis(synthesis: PlannerSynthesis) -> str:
    """The decision as text, lines ended by newlines; ids and keys cannot break a line."""
    trace = synthesis.decision_trace
    lines = [f"template: {trace.template}", f"calls: {_list(synthesis.required_capabilities)}",
             f"reads: {_list(synthesis.expects)}", ""]  # fmt: skip
    lines += _candidates(trace)
    lines += ["", _verdict(trace)]
    if trace.adapters:
        lines += ["", "inputs:", *map(_step, trace.adapters)]
    if trace.unused_keys:
        lines += ["", f"not used: {_list(trace.unused_keys)}"]
    if trace.rejected:
        lines += ["", "refused:", *(f"  {_shown(text, 200)}" for text in trace.rejected)]
    if trace.notes:
        lines += ["", *(f"note: {_shown(text, 200)}" for text in trace.notes)]
    if trace.complexity:
        lines += ["", f"complex because of {'; '.join(map(_shown, trace.complexity))}"]
    if synthesis.agent is not None:
        agent = synthesis.agent
        steps = trace.agent_steps or agent.required_capabilities
        lines += ["", f"agent {_shown(agent.agent_id)} takes {len(steps)} steps:"]
        lines += [f"  {n}. {_shown(step)}" for n, step in enumerate(steps, start=1)]
    return "\n".join(lines) + "\n"


def _candidates(trace: PlannerDecisionTrace) -> list[str]:
    counts = (
        f"{trace.n_considered} considered, {trace.n_not_allowed} not allowed,"
        f" {trace.n_conflicting} with a disputed id"
    )
    if not trace.candidates:
        return [f"candidates: none ({counts})"]
    head = ("", "candidate", "kind", "coverage", "compat.", "trust", "total", "remarks")
    rows = [head, *(_row(score, trace) for score in trace.candidates)]
    return [f"candidates: {counts}", *_table(rows)]


def _row(score: CandidateScore, trace: PlannerDecisionTrace) -> tuple[str, ...]:
    mark = "*" if score == trace.selected else "" if score.is_viable else "x"
    parts = (score.coverage, score.compatibility, score.trust_bias, score.total)
    n = score.n_adapters
    remarks = "; ".join(score.why) or ("1 adapter" if n == 1 else f"{n} adapters")
    return (mark, _shown(score.id), score.kind, *(f"{part:.3f}" for part in parts),
            _shown(remarks, 100))  # fmt: skip


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _verdict(trace: PlannerDecisionTrace) -> str:
    """Why the winner won: what it was ahead in, against the next that was viable."""
    if trace.fallback is not None:
        return f"nothing is called: {_shown(trace.fallback.reason, 200)}"
    winner = trace.selected
    if winner is None:
        return "the planner was proposed, and passed every check"
    others = [score for score in trace.candidates if score.is_viable and score.id != winner.id]
    if winner not in trace.candidates:
        return f"{_shown(winner.id)} was synthesized for this interaction"
    if not others:
        return f"{_shown(winner.id)} won: it is the only viable candidate"
    second = others[0]
    if trace.candidates[0] != winner:
        return f"{_shown(winner.id)} won: the better ranked were refused by their checks"
    ahead = _ahead(winner, second)
    return f"{_shown(winner.id)} won over {_shown(second.id)}: {ahead}"


def _ahead(winner: CandidateScore, second: CandidateScore) -> str:
    if winner.total == second.total:
        for name in ("coverage", "compatibility", "trust_bias"):
            if getattr(winner, name) > getattr(second, name):
                return f"equal totals, more {name}"
        return "equal scores; fewer adapters, words that were said, kind or id decided"
    parts = [
        f"{name} {getattr(winner, name) - getattr(second, name):+.3f}"
        for name in ("coverage", "compatibility", "trust_bias")
        if getattr(winner, name) != getattr(second, name)
    ]
    return f"total {winner.total - second.total:+.3f} ({', '.join(parts)})"


def _step(step: AdapterStep) -> str:
    source = "(default)" if step.is_own_default else _shown(step.from_)
    coercion = f", {step.coercion}" if step.coercion else ""
    default = ", default where absent" if step.default_used and not step.is_own_default else ""
    return f"  {_shown(step.to)} <- {source}: {_shown(step.reason)}{coercion}{default}"


def _list(items: Sequence[str]) -> str:
    return ", ".join(map(_shown, items)) or "nothing"


def _shown(text: str, limit: int = MAX_CELL_CHARS) -> str:
    """Text on one line, without control characters, cut where it is long."""
    plain = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
    return plain if len(plain) <= limit else plain[: limit - 3] + "..."
