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


class PolicyTrace(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="schema_version",
    tag="cyntra.policy_trace.v1",
):
    """How one decision came about. ``propensity`` is of ``chosen``, exactly as executed."""

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
