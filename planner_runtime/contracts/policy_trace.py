"""``policy_trace.v1``: who decided, among what, with which probability, in which world.

Belongs here: the record that off-policy evaluation and audits need. Does not: deciding.
Spec: sections 7.4 and 10.2.
"""

from typing import Annotated, Literal

import msgspec

from planner_runtime.contracts.planner_action import Budgets, Ratio
from planner_runtime.contracts.planner_input import Timestamp

DecidedBy = Literal["model", "baseline", "exploration"]
Mode = Literal["off", "log", "enforce"]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class ActionChoice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One joint action."""

    swarm_id: str
    budgets: Budgets


class Exploration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether chance was allowed to choose; ``u`` is the draw when it was."""

    enabled: bool
    epsilon: Ratio
    u: Ratio | None = None


class Stability(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hashes of what must stay equal for two traces to be of one epoch; null: not known."""

    kernel_config_hash: Sha256 | None = None
    universe_hash: Sha256 | None = None
    prompt_frontier_hash: Sha256 | None = None
    toolchain_versions_hash: Sha256 | None = None


class ExpectedOutcome(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the model expects of one action; null where nobody knows.

    Attributes:
        minutes: Agent-minutes: candidates side by side all count.
        utility: Of the objective's weights.
        lower: Its lower bound, by which actions compare.
    """

    p_pass: Ratio | None = None
    p_timeout: Ratio | None = None
    minutes: float | None = None
    cost_usd: float | None = None
    utility: float | None = None
    lower: float | None = None


class Expected(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was expected of the action that was done, of the baseline and of the preferred one."""

    chosen: ExpectedOutcome
    baseline: ExpectedOutcome
    preferred: ExpectedOutcome


class Binding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the objective would have taken had every action been open, and what closed it.

    Attributes:
        bound: Null where it was open.
    """

    action: ActionChoice
    bound: str | None = None


class PolicyTrace(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="schema_version",
    tag="cyntra.policy_trace.v1",
):
    """How one decision came about. ``propensity`` is of ``chosen``, exactly as executed.

    What stands after ``fallback_reason`` is told of decisions by outcomes alone.

    Attributes:
        objective, objective_hash: Name and content of the objective in force.
        expected: Outcomes of three of the actions.
        preferred: What the objective prefers among the open actions, whether followed or not.
        bounds: How many actions each limit, guardrail or gap in what is known has closed.
        binding: Which of them the decision felt.
        novelty: How unlike the model's training rows the question is.
        confidence: Chance that the preferred action is no worse than the baseline.
        n_open: Actions that chance could have drawn.
    """

    created_at: Timestamp
    input_hash: Sha256 | None
    decided_by: DecidedBy
    mode: Mode
    chosen: ActionChoice
    baseline: ActionChoice
    n_candidates: Annotated[int, msgspec.Meta(ge=1)]
    candidate_set_hash: Sha256
    propensity: Ratio
    exploration: Exploration
    stability: Stability
    bundle_id: str | None = None
    fallback_reason: str | None = None
    objective: str | None = None
    objective_hash: Sha256 | None = None
    expected: Expected | None = None
    preferred: ActionChoice | None = None
    bounds: dict[str, Annotated[int, msgspec.Meta(ge=1)]] = {}
    binding: Binding | None = None
    novelty: float | None = None
    confidence: Ratio | None = None
    n_open: Annotated[int, msgspec.Meta(ge=1)] | None = None
