"""What a kernel does with a plan: follow it within its own caps, or keep its baseline, and say why.

Belongs here: the checks of an answer against the kernel's space and caps, in order, the caps last;
what is enforced of it; which actions a kernel could enforce at all. Does not: asking a planner
(``dispatch``), the documents a kernel imports (``cyntra``).
Spec: section 10.3; formats 7.3, without its two faults: a plan that is not followed leaves nothing
of itself in force, and another topology is possible where the configuration allows it.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from planner_runtime.actions import (
    HEADS,
    NA,
    Action,
    ActionSpace,
    is_valid_action,
    nearest_bin,
    valid_actions,
)
from planner_runtime.remembering import remembered

MINUTE_SECONDS: Final = 60

Refusal = Literal[
    "invalid_action_type",
    "low_confidence",
    "malformed_prediction",
    "prediction_out_of_space",
    "prediction_invalid",
    "swarm_mismatch",
    "max_candidates_exceeds_cap",
    "timeout_exceeds_cap",
    "max_iterations_exceeds_cap",
]


class Caps(msgspec.Struct, frozen=True, kw_only=True):
    """The most that a kernel would spend on a topology.

    Attributes:
        timeout_seconds: The shortest limit among its toolchains; None: it has none.
        max_iterations: Rounds; None: it has no such budget, so that none can be exceeded.
    """

    max_candidates: int
    timeout_seconds: int | None = None
    max_iterations: int | None = None


class KernelBaseline(msgspec.Struct, frozen=True, kw_only=True):
    """What a kernel runs when no plan is followed.

    Attributes:
        caps: Its budgets, which no plan may exceed.
        alternatives: Swarm id and caps of each other topology that the kernel's configuration
            allows and that it could run for this issue.
    """

    swarm_id: str
    caps: Caps
    alternatives: tuple[tuple[str, Caps], ...] = ()

    @property
    def swarm_ids(self) -> tuple[str, ...]:
        """Every topology that could run."""
        return (self.swarm_id, *(name for name, _ in self.alternatives))

    def caps_of(self, swarm_id: str) -> Caps | None:
        """Caps of a topology; None: the kernel would not run it."""
        if swarm_id == self.swarm_id:
            return self.caps
        return next((caps for name, caps in self.alternatives if name == swarm_id), None)


class Enforced(msgspec.Struct, frozen=True, kw_only=True):
    """What runs.

    Attributes:
        timeout_seconds_override: None: every toolchain keeps its own limit.
    """

    swarm_id: str
    max_candidates: int
    timeout_seconds_override: int | None = None
    max_iterations: int | None = None


def kept(baseline: KernelBaseline) -> Enforced:
    """The baseline, and nothing of any plan."""
    return Enforced(
        swarm_id=baseline.swarm_id,
        max_candidates=baseline.caps.max_candidates,
        max_iterations=baseline.caps.max_iterations,
    )


def enforced(action: Action, baseline: KernelBaseline) -> Enforced:
    """An action that ``over_caps`` does not refuse; "NA" keeps what the topology has.

    Raises:
        ValueError: the kernel would not run this topology.
    """
    caps = baseline.caps_of(action.swarm_id)
    if caps is None:
        raise ValueError(f"the kernel would not run {action.swarm_id!r}")
    _, candidates, minutes, iterations = action
    return Enforced(
        swarm_id=action.swarm_id,
        max_candidates=caps.max_candidates if candidates == NA else int(candidates),
        timeout_seconds_override=None if minutes == NA else int(minutes) * MINUTE_SECONDS,
        max_iterations=caps.max_iterations if iterations == NA else int(iterations),
    )


def over_caps(action: Action, baseline: KernelBaseline) -> Refusal | None:
    """The first of the kernel's caps that an action exceeds; None when it keeps all of them."""
    caps = baseline.caps_of(action.swarm_id)
    if caps is None:
        return "swarm_mismatch"
    would = enforced(action, baseline)
    if would.max_candidates > caps.max_candidates:
        return "max_candidates_exceeds_cap"
    seconds = would.timeout_seconds_override
    if seconds is not None and caps.timeout_seconds is not None and seconds > caps.timeout_seconds:
        return "timeout_exceeds_cap"
    rounds = would.max_iterations
    if rounds is not None and caps.max_iterations is not None and rounds > caps.max_iterations:
        return "max_iterations_exceeds_cap"
    return None


@remembered
def enforceable_actions(
    space: ActionSpace, job_type: str, baseline: KernelBaseline
) -> frozenset[Action]:
    """The valid actions that a kernel would enforce in full."""
    return frozenset(a for a in valid_actions(space, job_type) if over_caps(a, baseline) is None)


@remembered
def baseline_in(space: ActionSpace, job_type: str, baseline: KernelBaseline) -> Action:
    """The baseline as a joint action, each budget in its nearest bin. Source: formats 6.3, 7.3.

    Where a rule forbids the combination, the valid action that differs in the fewest choices
    stands in; ties go to the first. A topology that the space does not offer is kept all the same.

    Raises:
        ValueError: the space has no bin for a budget that the kernel does not have.
    """
    caps, minutes = baseline.caps, None
    if caps.timeout_seconds is not None:
        minutes = caps.timeout_seconds / MINUTE_SECONDS
    wanted = Action(
        baseline.swarm_id,
        nearest_bin(caps.max_candidates, space.max_candidates_bins),
        nearest_bin(minutes, space.max_minutes_bins),
        nearest_bin(caps.max_iterations, space.max_iterations_bins),
    )
    if is_valid_action(wanted, job_type=job_type):
        return wanted
    of_swarm = [a for a in valid_actions(space, job_type) if a.swarm_id == wanted.swarm_id]
    return min(
        of_swarm, key=lambda a: sum(x != y for x, y in zip(a, wanted, strict=True)), default=wanted
    )


def _choice_in(choices: tuple[Any, ...], value: Any) -> Any:
    """The space's own choice that equals ``value``; None without one. True is not 1."""
    if isinstance(value, bool):
        return None
    return next((choice for choice in choices if choice == value), None)


def action_in(answer: Mapping[str, Any], space: ActionSpace) -> Action | Refusal:
    """The joint action of a ``planner_action`` document, whoever wrote it, or what is wrong.

    >>> action_in({"swarm_id": "serial_handoff", "budgets": {}}, ActionSpace())
    'prediction_out_of_space'
    """
    swarm = answer.get("swarm_id")
    if not isinstance(swarm, str) or not swarm:
        return "malformed_prediction"
    budgets = answer.get("budgets")
    told: Mapping[str, Any] = budgets if isinstance(budgets, Mapping) else {}
    said = (swarm, *(told.get(head) for head in HEADS[1:]))
    found = [_choice_in(choices, v) for choices, v in zip(space.choices, said, strict=True)]
    return "prediction_out_of_space" if None in found else Action(*found)


def _is_confident(answer: Mapping[str, Any], threshold: float) -> bool:
    confidence = answer.get("confidence")
    if not isinstance(confidence, int | float) or isinstance(confidence, bool):
        return False
    return math.isfinite(confidence) and confidence >= threshold


def judge(
    answer: Any,
    *,
    space: ActionSpace,
    job_type: str,
    baseline: KernelBaseline,
    confidence_threshold: float,
    by_chance: bool = False,
) -> Enforced | Refusal:
    """What is enforced of a planner's answer, or the first reason to keep the baseline.

    Args:
        answer: A ``planner_action`` document, or anything else that a planner gave.
        by_chance: Whether exploration drew it: nobody was to be sure of it. Caps hold all the same.
    """
    if not isinstance(answer, Mapping):
        return "invalid_action_type"
    if not by_chance and not _is_confident(answer, confidence_threshold):
        return "low_confidence"
    action = action_in(answer, space)
    if isinstance(action, str):
        return action
    if not is_valid_action(action, job_type=job_type):
        return "prediction_invalid"
    return over_caps(action, baseline) or enforced(action, baseline)
