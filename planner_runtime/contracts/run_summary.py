"""``run_summary.v1``: one past run, small enough for a model to read.

Belongs here: the shape of a run as history. Does not: how a run is read from disk or ranked.
Spec: section 5.1. The kernel's schema leaves runs open, so unknown keys are accepted.
Nothing in a run can refer back to it, so the garbage collector may pass over the many of a history.
"""

from typing import Literal

import msgspec

from planner_runtime.contracts.bins import SafeCount, SafeInt

Status = Literal["success", "failed", "timeout"]
Domain = Literal["code", "fab_asset", "fab_world"]
Quantity = SafeInt | float | Literal["NA"] | None


class ActionExecuted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What ran, as far as it is known; minutes and counts, not bins."""

    swarm_id: str | None = None
    max_candidates: Quantity = None
    max_minutes: Quantity = None
    max_iterations: Quantity = None


class GateResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One quality gate of a run, with the codes its writer gave: hard ones fail it."""

    name: str
    passed: bool
    score: float | None = None
    hard: tuple[str, ...] = ()
    soft: tuple[str, ...] = ()


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What came of a run."""

    status: Status
    fail_codes: tuple[str, ...] = ()
    gates: tuple[GateResult, ...] = ()


class Runtime(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """How long it took, in milliseconds; None when nobody measured it.

    Attributes:
        duration_ms: The toolchain's own time.
        wall_ms: Of the whole dispatch, from its start to its end: hooks, gates and vote included.
    """

    duration_ms: SafeCount | None = None
    wall_ms: SafeCount | None = None


class RunSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One past run. Times are Unix epoch milliseconds, UTC."""

    schema_version: Literal["cyntra.run_summary.v1"] = "cyntra.run_summary.v1"
    run_id: str
    started_ms: SafeInt
    job_type: str
    domain: Domain
    action_executed: ActionExecuted
    outcome: Outcome
    runtime: Runtime
    ended_ms: SafeInt | None = None  # when its outcome was known; unknown means never visible
    group_id: str | None = None  # runs of one dispatch or bench case share it
    issue_id: str | None = None
    toolchain: str | None = None
    world_id: str | None = None
    objective_id: str | None = None
    tags: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    cost_usd_est: float | None = None
    tokens_in: SafeCount | None = None
    tokens_out: SafeCount | None = None
