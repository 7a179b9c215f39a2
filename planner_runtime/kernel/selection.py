"""What a kernel gets of its planner, and what its own planners answered like.

Belongs here: the selection of one dispatch, the kernel's own kind of planner. Does not: making a
selection (``dispatch``), planners with records (``served_planner``). Source: formats 7.3.
"""

from typing import Any, Protocol, runtime_checkable

import msgspec


class PlannerSelection(msgspec.Struct, frozen=True, kw_only=True):
    """What a dispatch runs, and the record of why.

    Attributes:
        timeout_seconds_override: None: every toolchain keeps its own limit.
        fallback_reason: None where the planner is off or was followed.
        policy_trace: None where chance had a part in a plan that the kernel then refused: with
            which probability that happened nobody can say, and a record must not guess.
    """

    planner_input: dict[str, Any]
    planner_action: dict[str, Any]
    swarm_id_executed: str
    max_candidates_executed: int
    timeout_seconds_override: int | None
    max_iterations_executed: int | None
    fallback_applied: bool
    fallback_reason: str | None
    policy_trace: dict[str, Any] | None


@runtime_checkable
class Predicting(Protocol):
    """Who answers as the kernel's own planners did: with a document, or by raising."""

    def predict_action(self, planner_input: dict[str, Any]) -> Any:
        """A ``planner_action.v1``."""
        ...
