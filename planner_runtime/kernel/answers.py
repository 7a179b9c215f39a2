"""The documents a kernel records of a dispatch: the action, the executed plan, the trace.

Belongs here: what stands for the baseline, what becomes of a plan that is not followed. Does not:
whether it is (``modes``), asking (``dispatch``). Spec: section 10.2; formats 7.3 and 7.4.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from planner_runtime.actions import Action, ActionSpace, candidate_set_hash, valid_actions
from planner_runtime.contracts.executed_plan import ExecutedPlan
from planner_runtime.contracts.planner_action import ModelId, PlannerAction
from planner_runtime.contracts.policy_trace import (
    ActionChoice,
    Expected,
    Mode,
    PolicyTrace,
    Stability,
)
from planner_runtime.contracts.reading import to_document
from planner_runtime.decision import BASELINE_ID, NO_EXPLORATION_MADE, budgets_of, choice_of

UNAVAILABLE_ID: Final = "unavailable"  # the model of an answer when none could be asked


def action_document(
    action: Action,
    *,
    asked_hash: str,
    created_at: str,
    confidence: float = 1.0,
    checkpoint_id: str = BASELINE_ID,
    reason: str | None = None,
) -> dict[str, Any]:
    """A ``planner_action.v1`` that no model gave.

    Args:
        asked_hash: ``input_hash`` of the planner input that it answers.
        reason: Why no model was asked; None: nobody wanted one.
    """
    answer = PlannerAction(
        created_at=created_at,
        swarm_id=action.swarm_id,
        budgets=budgets_of(action),
        confidence=confidence,
        abstain_to_default=reason is not None,
        reason=reason,
        model=ModelId(checkpoint_id=checkpoint_id),
        input_hash=asked_hash,
    )
    return to_document(answer)


def not_followed(answer: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """An answer as it is recorded when the baseline runs instead."""
    return {**answer, "abstain_to_default": True, "reason": reason}


def executed_plan_document(
    *,
    swarm_id: str,
    max_candidates: int | None,
    timeout_seconds: int | None,
    max_iterations: int | None,
    fallback_applied: bool = False,
    fallback_reason: str | None = None,
) -> dict[str, Any]:
    """An ``executed_plan.v1``. Source: formats 7.4.

    Raises:
        ValueError: a budget is no whole number from 1; its message holds the field.
    """
    plan = {
        "swarm_id_executed": swarm_id,
        "max_candidates_executed": max_candidates,
        "timeout_seconds_executed": timeout_seconds,
        "max_iterations_executed": max_iterations,
        "fallback_applied": fallback_applied,
        "fallback_reason": fallback_reason,
    }
    return to_document(msgspec.convert(plan, ExecutedPlan))


def baseline_trace(
    baseline: Action,
    *,
    asked_hash: str,
    space: ActionSpace,
    job_type: str,
    created_at: str,
    mode: Mode,
    reason: str | None,
    of_planner: PolicyTrace | None = None,
) -> PolicyTrace | None:
    """The trace of a dispatch that no model had a part in; None where the space offers nothing.

    Args:
        of_planner: What a planner that fell back recorded: in which world, with which bundle.
    """
    n_candidates = len(valid_actions(space, job_type))
    if not n_candidates:
        return None
    return PolicyTrace(
        created_at=created_at,
        input_hash=asked_hash,
        decided_by="baseline",
        mode=mode,
        chosen=choice_of(baseline),
        baseline=choice_of(baseline),
        n_candidates=n_candidates,
        candidate_set_hash=candidate_set_hash(space, job_type),
        propensity=1.0,
        exploration=NO_EXPLORATION_MADE,
        stability=Stability() if of_planner is None else of_planner.stability,
        bundle_id=None if of_planner is None else of_planner.bundle_id,
        fallback_reason=reason,
    )


def trace_as_run(
    trace: PolicyTrace, baseline: Action, *, mode: Mode, refused: str | None
) -> PolicyTrace | None:
    """A decision's trace as it was executed. In mode log nothing was left to chance.

    Args:
        refused: Why the kernel ran its baseline instead; None: the decision ran.

    Returns:
        None where chance had a part in what the kernel then refused: with which probability the
        baseline ran nobody can say, and a record must not guess.
    """
    kept = choice_of(baseline)
    if refused is None:
        ran = msgspec.structs.replace(trace, mode=mode)
        if trace.fallback_reason is not None and trace.chosen != kept:  # drawn, and only then run
            ran = msgspec.structs.replace(ran, propensity=_share_of_chance(trace))
        return ran
    told = msgspec.structs.replace(
        trace,
        mode=mode,
        decided_by="baseline",
        chosen=kept,
        baseline=kept,
        fallback_reason=refused,
        expected=_expected_of_baseline(trace, kept),
    )
    if mode == "enforce":
        if trace.chosen == kept:
            return told  # the same action, with the same probability
        if trace.decided_by == "baseline":  # held to caps, which no kernel knows of
            without_chance = trace.propensity - _share_of_chance(trace)
            return msgspec.structs.replace(told, propensity=without_chance)
        if trace.exploration.enabled:
            return None
    return msgspec.structs.replace(told, propensity=1.0, exploration=NO_EXPLORATION_MADE)


def _expected_of_baseline(trace: PolicyTrace, kept: ActionChoice) -> Expected | None:
    """What was expected, now that the baseline ran; None where another one was looked at."""
    if trace.expected is None or trace.baseline != kept:
        return None
    return msgspec.structs.replace(trace.expected, chosen=trace.expected.baseline)


def _share_of_chance(trace: PolicyTrace) -> float:
    """The probability with which chance draws one of the open actions."""
    return trace.exploration.epsilon / (trace.n_open or 1)
