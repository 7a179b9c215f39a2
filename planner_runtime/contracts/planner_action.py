"""``planner_action.v1``: what the planner says, and why.

Belongs here: the shape. Does not: choosing. Spec: section 3.2.
"""

from typing import Annotated

import msgspec

from planner_runtime.contracts.bins import CandidatesBin, IterationsBin, MinutesBin
from planner_runtime.contracts.planner_input import Timestamp

Ratio = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class Budgets(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The three budget choices."""

    max_minutes_bin: MinutesBin
    max_candidates_bin: CandidatesBin
    max_iterations_bin: IterationsBin


class ModelId(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Who spoke: a bundle, or the baseline."""

    checkpoint_id: str
    version: str | None = None
    git_sha: str | None = None


class PlannerAction(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag_field="schema_version",
    tag="cyntra.planner_action.v1",
):
    """One answer. ``probs`` are per head, in the order of the bundle's action space."""

    created_at: Timestamp
    swarm_id: str
    budgets: Budgets
    probs: dict[str, tuple[Ratio, ...]] | None = None
    confidence: Ratio | None = None
    abstain_to_default: bool | None = None
    reason: str | None = None
    model: ModelId | None = None
    input_hash: str | None = None
