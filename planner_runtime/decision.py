"""A decision and its record: what was asked, what is answered, what is written down of it.

Belongs here: reading the question, the documents of an answer. Does not: deciding (``planner``,
``outcome_planner``). Spec: sections 3.2 and 10.2.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from planner_runtime.actions import (
    Action,
    ActionSpace,
    action_space_of,
    candidate_set_hash,
    valid_actions,
)
from planner_runtime.contracts.canonical import input_hash
from planner_runtime.contracts.plain import MAX_CHARS, PlainError, plain_document
from planner_runtime.contracts.planner_action import Budgets, PlannerAction
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.policy_trace import (
    ActionChoice,
    DecidedBy,
    Exploration,
    PolicyTrace,
    Stability,
)
from planner_runtime.contracts.reading import (
    ContractError,
    contract_name,
    decode_json,
    read_checked,
)
from planner_runtime.heuristic import baseline_action
from planner_runtime.inputs import epoch_ms
from planner_runtime.kernel_config import KernelConfig

Question = Mapping[str, Any] | bytes | str
BASELINE_ID: Final = "baseline_heuristic_v0"
LONGEST_NAME: Final = 200  # characters of a swarm's name
LONGEST_REASON: Final = 400  # characters
NO_EXPLORATION_MADE: Final = Exploration(enabled=False, epsilon=0.0)


class NoAnswerError(Exception):
    """A model has no answer to this question; its text is the fallback reason."""


class Decision(msgspec.Struct, frozen=True):
    """A decision and everything needed to explain it.

    Attributes:
        action: What to do.
        trace: Who decided, among what, with which probability.
        baseline: What the kernel would do by itself.
        model_choice: What the model preferred, also where it was not followed; None without one.
        alternatives: The model's valid actions, best first: of a model that imitates the likeliest
            with their probabilities, of one that predicts outcomes those with the greatest lower
            bounds of utility, with these.
    """

    action: PlannerAction
    trace: PolicyTrace
    baseline: Action
    model_choice: Action | None
    alternatives: tuple[tuple[Action, float], ...]


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What a kernel knows of its own dispatch, and no planner input says.

    Attributes:
        baseline: What it runs by itself, in bins; None: what the input tells of it.
        enforceable: The actions that it would enforce; None: it did not say.
        confidence_threshold: It does not follow an answer with less.
    """

    baseline: Action | None = None
    enforceable: frozenset[Action] | None = None
    confidence_threshold: float = 0.0


NO_SITUATION: Final = Situation()


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A question that could be read.

    Attributes:
        input_hash: None of a question that stands in for one that could not be read.
        created_at: Stamped on the answer.
        offered: The question's action space.
    """

    question: PlannerInput
    input_hash: str | None
    created_at: str
    offered: ActionSpace
    situation: Situation = NO_SITUATION


def read_question(planner_input: Question) -> tuple[PlannerInput, str]:
    """A planner input and its hash.

    Raises:
        ContractError: it is no planner input, or larger than any can be.
    """
    name = contract_name(PlannerInput)
    raw: Any = planner_input
    if isinstance(planner_input, bytes | str):
        if len(planner_input) > MAX_CHARS:
            raise ContractError(name, "$", f"longer than {MAX_CHARS} bytes")
        raw = decode_json(planner_input, PlannerInput)
    if not isinstance(raw, dict):
        raise ContractError(name, "$", "expected an object")
    try:
        raw, is_simple = plain_document(raw)
    except PlainError as error:
        raise ContractError(name, error.path, error.why) from error
    question = read_checked(raw, PlannerInput)
    if max(map(len, question.action_space.swarm_ids)) > LONGEST_NAME:
        # every valid action spells its swarm's name in the hash of all of them
        raise ContractError(name, "$.action_space.swarm_ids", f"longer than {LONGEST_NAME}")
    try:
        epoch_ms(question.created_at)
    except (ValueError, OverflowError) as error:
        raise ContractError(name, "$.created_at", str(error)) from error
    try:
        return question, input_hash(raw, is_simple=is_simple)
    except (TypeError, ValueError) as error:  # keys of two kinds, a lone surrogate, a huge number
        raise ContractError(name, "$", str(error)) from error


def asked_of(
    question: PlannerInput,
    asked: str | None,
    created_at: str,
    situation: Situation = NO_SITUATION,
) -> Asked:
    """A question with what every answer to it needs."""
    return Asked(
        question=question,
        input_hash=asked,
        created_at=created_at,
        offered=action_space_of(question.action_space),
        situation=situation,
    )


def baseline_of(asked: Asked, config: KernelConfig) -> Action:
    """What is done without a model: what the kernel says, else what the question tells.

    Raises:
        ValueError: the question's own action space has no valid action.
    """
    return asked.situation.baseline or baseline_action(asked.offered, asked.question, config)


def budgets_of(action: Action) -> Budgets:
    """The budget choices of an action."""
    return Budgets(
        max_minutes_bin=action.max_minutes_bin,  # type: ignore[arg-type]
        max_candidates_bin=action.max_candidates_bin,  # type: ignore[arg-type]
        max_iterations_bin=action.max_iterations_bin,  # type: ignore[arg-type]
    )


def told_briefly(reason: str) -> str:
    """A reason as any record can hold it, whatever a caller or a library put into it."""
    if len(reason) > LONGEST_REASON:
        reason = f"{reason[:LONGEST_REASON]}..."
    return reason if reason.isascii() else reason.encode("utf-8", "backslashreplace").decode()


def choice_of(action: Action) -> ActionChoice:
    """An action as a trace writes it."""
    return ActionChoice(swarm_id=action.swarm_id, budgets=budgets_of(action))


def action_of(told: PlannerAction | ActionChoice) -> Action:
    """The joint action that a planner action document tells, or a choice of a trace."""
    budgets = told.budgets
    return Action(
        told.swarm_id,
        budgets.max_candidates_bin,
        budgets.max_minutes_bin,
        budgets.max_iterations_bin,
    )


def trace_of(
    asked: Asked,
    action: PlannerAction,
    baseline: Action,
    *,
    decided_by: DecidedBy,
    stability: Stability,
    bundle_id: str | None,
    propensity: float = 1.0,
    exploration: Exploration = NO_EXPLORATION_MADE,
) -> PolicyTrace:
    """The record of an answer; without ``propensity`` nothing was drawn by chance."""
    job_type = asked.question.job_type
    return PolicyTrace(
        created_at=action.created_at,
        input_hash=action.input_hash,
        decided_by=decided_by,
        mode="enforce",
        chosen=ActionChoice(swarm_id=action.swarm_id, budgets=action.budgets),
        baseline=choice_of(baseline),
        n_candidates=len(valid_actions(asked.offered, job_type)),
        candidate_set_hash=candidate_set_hash(asked.offered, job_type),
        propensity=propensity,
        exploration=exploration,
        stability=stability,
        bundle_id=bundle_id,
        fallback_reason=action.reason,
    )
