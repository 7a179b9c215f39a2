"""A sidecar in the place of a planner: typed decisions, for ``KernelPlanner`` and whoever has one.

Belongs here: a client's documents as a ``Decision``. Does not: the connection (``client``).
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from planner_runtime.actions import Action
from planner_runtime.contracts.planner_action import PlannerAction
from planner_runtime.contracts.policy_trace import PolicyTrace
from planner_runtime.contracts.reading import read_document
from planner_runtime.decision import Decision, Situation, action_of
from planner_runtime.sidecar.client import SidecarPlanner

Alternatives = tuple[tuple[Action, float], ...]


class SidecarDecider:
    """Answers as ``Planner.decide`` does, by asking a sidecar."""

    def __init__(self, client: SidecarPlanner) -> None:
        self._client = client

    def decide(
        self,
        planner_input: Mapping[str, Any],
        *,
        now_ms: int | None = None,
        situation: Situation | None = None,
    ) -> Decision:
        """The answer and its record, or the baseline and why. Never raises."""
        told = self._client.decide(planner_input, now_ms=now_ms, situation=situation)
        try:
            return _decision(told)
        except (ValueError, TypeError, KeyError) as error:
            why = f"the reply is no decision: {error}"
        own: Decision = self._client.baseline(
            planner_input, why, now_ms=now_ms, situation=situation
        )
        return own


def _decision(told: Mapping[str, Any]) -> Decision:
    trace = read_document(told["trace"], PolicyTrace)
    return Decision(
        action=read_document(told["action"], PlannerAction),
        trace=trace,
        baseline=action_of(trace.baseline),
        model_choice=msgspec.convert(told["model_choice"], Action | None),
        alternatives=msgspec.convert(told["alternatives"], Alternatives),
    )
