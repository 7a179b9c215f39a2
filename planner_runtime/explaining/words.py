"""Actions and reasons in words, from a decision's own record.

Belongs here: the wording, once for reports and for ``explain``. Does not: collecting what a
decision rests on (``explanation``), layout.
"""

from planner_runtime.actions import HEADS, Action
from planner_runtime.contracts.planner_action import PlannerAction
from planner_runtime.contracts.policy_trace import DecidedBy, PolicyTrace
from planner_runtime.decision import action_of
from planner_runtime.reasons import BOUND_REASONS, FALLBACK_REASONS, reason_code


def action_words(action: Action) -> str:
    """An action as a person would say it.

    >>> action_words(Action("speculate_vote", 2, 60, "NA"))
    'speculate_vote, 2 candidates, 60 minutes'
    """
    words = [action.swarm_id]
    for choice, unit in (
        (action.max_candidates_bin, "candidate"),
        (action.max_minutes_bin, "minute"),
        (action.max_iterations_bin, "iteration"),
    ):
        if choice != "NA":
            words.append(f"{choice} {unit}{'' if choice == 1 else 's'}")
    return ", ".join(words)


def difference_words(action: Action, baseline: Action) -> list[str]:
    """Where an action is not the baseline, head by head.

    >>> difference_words(Action("a", 1, 30, "NA"), Action("a", 1, 60, "NA"))
    ['max_minutes_bin 30 instead of 60']
    """
    return [
        f"{head} {mine} instead of {theirs}"
        for head, mine, theirs in zip(HEADS, action, baseline, strict=True)
        if mine != theirs
    ]


def decider_of(action: PlannerAction, trace: PolicyTrace | None) -> DecidedBy:
    """Who decided; without a trace the action itself tells."""
    if trace is not None:
        return trace.decided_by
    if action.reason == "exploration":
        return "exploration"
    return "baseline" if action.abstain_to_default else "model"


def reason_words(action: PlannerAction, trace: PolicyTrace | None, baseline: Action | None) -> str:
    """Why this action, in one sentence.

    Args:
        trace: Tells a decision by outcomes from one by imitation.
        baseline: None where nobody recorded it.
    """
    decided_by = decider_of(action, trace)
    if decided_by == "baseline":
        reason = action.reason or "no reason is recorded"
        meaning = FALLBACK_REASONS.get(reason_code(reason))
        is_held = baseline is not None and action_of(action) != baseline
        who = "The baseline, held to the caps, answers" if is_held else "The baseline answers"
        return f"{who}: {meaning + ' ' if meaning else ''}({reason})."
    if decided_by == "exploration":
        odds = "" if trace is None else f", with a chance of {trace.propensity:.3g}"
        return f"Chance chose among the open actions{odds}."
    confidence = action.confidence or 0.0
    if trace is not None and trace.objective is not None:
        share = f"by its outcomes it is no worse with a chance of {confidence:.0%}"
    else:
        share = f"{confidence:.0%} of the model's probability over valid actions"
    if baseline is None:
        return f"The model decides; {share}."
    if action_of(action) == baseline:
        return f"Model and baseline agree; {share}."
    return f"The model prefers this to the baseline; {share}."


def bound_words(bound: str) -> str:
    """What closes an action, for people."""
    return BOUND_REASONS.get(bound, bound)
