"""Which actions chance could have drawn in a traced decision, as far as its trace tells.

Belongs here: open, closed and unknown actions from counts of bounds. Does not: chances
(``evaluation.ope_traces``), drawing (``planner_runtime.exploration``), limits themselves
(``planner_runtime.policy``). Spec: sections 7.4 and 10.2.

A trace counts what closed actions and does not name them. Two bounds follow from the baseline
alone, so the actions that they close can be named again: another topology, and budgets above the
baseline's. Caps, guardrails and gaps in what is known depend on what a trace does not hold. Where
as many actions are left as were open, these are the open ones; otherwise those that are left are
unknown, but for the ones that are open in any case: what was drawn, what the objective preferred,
and the baseline unless a cap or a gap may have closed it.
"""

from typing import Final

import msgspec

from planner_runtime.action_set import ActionSet
from planner_runtime.actions import HEADS, Action
from planner_runtime.contracts.policy_trace import PolicyTrace
from planner_runtime.decision import action_of
from planner_runtime.policy import Limits, closed_by_limits

_CLOSES_BASELINE: Final = ("cap", "unknown_outcome")


class Drawable(msgspec.Struct, frozen=True, kw_only=True):
    """What chance could have drawn; a candidate that is neither open nor closed is unknown.

    Attributes:
        n_open: How many there were; None where the trace does not say.
        open_: Surely open.
        closed: Surely closed.
    """

    n_open: int | None = None
    open_: tuple[Action, ...] = ()
    closed: tuple[Action, ...] = ()


def drawable_of(trace: PolicyTrace, candidates: tuple[Action, ...] | None) -> Drawable:
    """What chance could have drawn in one decision.

    Args:
        candidates: What the question offered; None where nobody knows.
    """
    if trace.n_open is None:
        return Drawable()
    baseline = action_of(trace.baseline)
    sure = {action_of(trace.chosen)}
    if trace.preferred is not None:
        sure.add(action_of(trace.preferred))
    if not any(bound in trace.bounds for bound in _CLOSES_BASELINE):
        sure.add(baseline)
    closed = _closed(trace, baseline, candidates or ()) - sure
    left = [action for action in candidates or () if action not in closed]
    if len(left) == trace.n_open and sure <= set(left):
        sure = set(left)
    elif len(sure) == trace.n_open:
        closed = set(candidates or ()) - sure
    return Drawable(
        n_open=trace.n_open,
        open_=tuple(sorted(sure, key=_order)),
        closed=tuple(sorted(closed, key=_order)),
    )


def _closed(trace: PolicyTrace, baseline: Action, candidates: tuple[Action, ...]) -> set[Action]:
    """Candidates that the bounds counted in a trace close whatever else was in force."""
    if baseline not in candidates:
        return set()
    actions = ActionSet(
        heads=HEADS,
        rows=tuple(tuple(action) for action in candidates),
        budgets=HEADS[1:],
        topologies=HEADS[:1],
    )
    limits = Limits(
        reductions_only="not_a_reduction" in trace.bounds,
        topology_changes="topology" not in trace.bounds,
    )
    bounds = closed_by_limits(actions, candidates.index(baseline), limits)
    return {action for action, bound in zip(candidates, bounds, strict=True) if bound is not None}


def _order(action: Action) -> tuple[str, ...]:
    return tuple(map(str, action))
