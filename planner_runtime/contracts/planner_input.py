"""``planner_input.v1``: everything a planner may look at for one decision.

Belongs here: the shape. Does not: building one (``inputs``) or turning it into numbers.
Spec: section 3.1; formats 7.4: closed at the top, in ``history``, ``action_space`` and
``universe_defaults``; open in ``issue``, ``system_state`` and runs.
"""

from typing import Annotated, Any, Literal

import msgspec

from planner_runtime.contracts.bins import (
    CandidatesBin,
    IterationsBin,
    LoadBin,
    MinutesBin,
    SafeCount,
)
from planner_runtime.contracts.run_summary import RunSummary

Timestamp = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
        r"(Z|[+-][0-9]{2}:[0-9]{2})$(?!\n)",
        description="RFC 3339 date and time",
    ),
]
Priority = Literal["P0", "P1", "P2", "P3"]
Risk = Literal["low", "medium", "high", "critical"]
Size = Literal["XS", "S", "M", "L", "XL"]


class UniverseDefaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the universe would do if nobody decided."""

    swarm_id: str | None = None
    objective_id: str | None = None


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """The issue at the moment of decision; null where nobody knows what it was then."""

    issue_id: str
    dk_priority: Priority | None
    dk_risk: Risk | None
    dk_size: Size | None
    dk_tool_hint: str | None
    dk_attempts: SafeCount  # attempts that had failed before now
    tags: tuple[str, ...]
    title: str = ""
    keywords: tuple[str, ...] = ()
    dk_speculate: bool | msgspec.UnsetType = msgspec.UNSET


class History(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Past runs, best first."""

    last_n_similar_runs: tuple[RunSummary, ...]


class ActionSpaceDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The choices on offer, written out so that training and serving cannot disagree."""

    swarm_ids: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=32)]
    max_candidates_bins: Annotated[
        tuple[CandidatesBin, ...], msgspec.Meta(min_length=1, max_length=4)
    ]
    max_minutes_bins: Annotated[tuple[MinutesBin, ...], msgspec.Meta(min_length=1, max_length=6)]
    max_iterations_bins: Annotated[
        tuple[IterationsBin, ...], msgspec.Meta(min_length=1, max_length=5)
    ]
    validity_rules: tuple[dict[str, Any], ...] = ()


LogNumber = Annotated[float, msgspec.Meta(ge=-100.0, le=100.0)]
Spread = Annotated[float, msgspec.Meta(ge=0.0, le=1_000.0)]


class RecordDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What finished runs told, at the moment of decision, of the toolchain at this issue.

    Attributes:
        logit, logit_variance: Of passing in the end.
        log_minutes_pass, log_minutes_fail, log_minutes_variance: Of the time of a try.
        log_usd: Of its dollars a minute.
        n_toolchain, n_issue, n_pair: Runs that this rests on.
        pair_pass: Of the pair's own tries, the share that passed; 0.5 without any.
    """

    logit: LogNumber
    logit_variance: Spread
    log_minutes_pass: LogNumber
    log_minutes_fail: LogNumber
    log_minutes_variance: Spread
    log_usd: LogNumber
    n_toolchain: SafeCount = 0
    n_issue: SafeCount = 0
    n_pair: SafeCount = 0
    pair_pass: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.5


class SystemState(msgspec.Struct, frozen=True, kw_only=True):
    """The machine and its queue, as far as they were logged."""

    active_workcells_bin: LoadBin | None = None
    queue_depth_bin: LoadBin | None = None
    available_toolchains: tuple[str, ...] | None = None
    toolchain_health: dict[str, Any] | None = None
    hour_bucket: Annotated[str, msgspec.Meta(pattern="^([01][0-9]|2[0-3])$(?!\n)")] | None = None
    budget_remaining_bin: str | None = None
    track_record: RecordDocument | None = None


class PlannerInput(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="schema_version",
    tag="cyntra.planner_input.v1",
):
    """One question to a planner. Unknown keys of ``issue`` stay in the document that is hashed."""

    created_at: Timestamp
    universe_id: str
    job_type: str
    universe_defaults: UniverseDefaults
    issue: Issue
    history: History
    action_space: ActionSpaceDocument
    system_state: SystemState | None = None
