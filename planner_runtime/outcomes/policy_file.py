"""``policy.json`` of an outcome bundle: what it optimises, within what, and how much it may try.

Belongs here: the document, its check, what a caller may put in the place of its parts.
Does not: applying it (``policy``, ``exploration``, ``outcome_planner``). Spec: section 7.4.
"""

import msgspec

from planner_runtime.actions import HEADS
from planner_runtime.contracts.canonical import document_hash
from planner_runtime.contracts.reading import to_document
from planner_runtime.exploration import NO_EXPLORATION, ExplorationBudget
from planner_runtime.objective import DEFAULT_OBJECTIVE, Objective
from planner_runtime.policy import SAFE_LIMITS, Limits


class OutcomePolicy(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="schema_version",
    tag="cyntra.outcome_policy.v1",
):
    """An objective, the limits it works within, and the share left to chance."""

    objective: Objective = DEFAULT_OBJECTIVE
    limits: Limits = SAFE_LIMITS
    exploration: ExplorationBudget = NO_EXPLORATION

    def fault(self) -> str | None:
        """Why no decision can be made by it; None when one can."""
        if self.objective.rule == "constrained":
            return "a constrained objective needs its price first"
        budgets = HEADS[1:]
        if unknown := sorted(set(self.limits.caps) - set(budgets)):
            return f"caps of {unknown}, which are no budgets; those are {list(budgets)}"
        if any(not cap >= 0 for cap in self.limits.caps.values()):
            return "a cap is a number from 0 on"
        try:
            objective_hash(self.objective)
        except ValueError as error:  # of an objective that no JSON gave
            return f"the objective holds what JSON cannot say: {error}"
        return None


class PolicyOverrides(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for instead of what the bundle says; None: as the bundle says."""

    objective: Objective | None = None
    limits: Limits | None = None
    exploration: ExplorationBudget | None = None

    def applied_to(self, policy: OutcomePolicy) -> OutcomePolicy:
        """The policy in force."""
        return OutcomePolicy(
            objective=self.objective or policy.objective,
            limits=self.limits or policy.limits,
            exploration=self.exploration or policy.exploration,
        )


def objective_hash(objective: Objective) -> str:
    """sha256 of the whole objective: equal when two decisions wanted the same."""
    return document_hash(to_document(objective))
