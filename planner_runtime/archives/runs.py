"""One run, put together from all that was found about it.

Belongs here: the run record and its bounded summary. Does not: how either kind of run is put
together (``workcells``, ``worlds``). Spec: section 5.1; formats 2.8.
"""

from typing import Any, Final, Literal

import msgspec

from planner_runtime.actions import NA
from planner_runtime.contracts.canonical import canonical_json
from planner_runtime.contracts.executed_plan import ExecutedPlan
from planner_runtime.contracts.run_summary import (
    ActionExecuted,
    Domain,
    GateResult,
    Outcome,
    RunSummary,
    Runtime,
    Status,
)
from planner_runtime.inputs import run_document

VERSION: Final = "2"  # raised when the same records start to make other runs
MAX_FAIL_CODES: Final = 8
MAX_GATES: Final = 12


RunKind = Literal["workcell", "world", "evolution"]


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A run with everything known of it; null where nothing tells.

    Attributes:
        decided_ms: When its plan was chosen; nothing later may enter its example. Unix ms.
        ended_ms: When its outcome was known to the kernel; null hides it from every decision.
        plan: What ran, only where the kernel recorded it: the label.
        action_executed: What ran as far as anything tells: for history.
        issue: The ``issue`` section at decision time; ``dk_attempts`` counts only when
            ``has_attempts``.
        evidence: For each field the file it came from.
    """

    run_id: str
    kind: RunKind
    group_id: str
    issue_id: str | None
    job_type: str
    domain: Domain
    toolchain: str | None = None
    universe_id: str = "unknown"
    world_id: str | None = None
    objective_id: str | None = None
    universe_defaults: dict[str, str | None] = {}
    issue: dict[str, Any] = {}
    has_attempts: bool = False
    system_state: dict[str, Any] | None = None
    decided_ms: int | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    status: Status | None = None
    fail_codes: tuple[str, ...] = ()
    gates: tuple[GateResult, ...] = ()
    duration_ms: int | None = None  # the toolchain's own time, without gates
    wall_ms: int | None = None  # the whole dispatch: hooks, gates and vote included
    toolchain_version: str | None = None
    prompt_genome_id: str | None = None
    cost_usd: float | None = None
    tokens: int | None = None
    action_executed: ActionExecuted = ActionExecuted()
    plan: ExecutedPlan | None = None
    evidence: dict[str, str] = {}


def run_summary(run: RunRecord) -> RunSummary | None:
    """The bounded summary of a run; None while its start or its outcome is not known."""
    if run.started_ms is None or run.status is None:
        return None
    return RunSummary(
        run_id=run.run_id,
        started_ms=run.started_ms,
        ended_ms=run.ended_ms,
        group_id=run.group_id,
        issue_id=run.issue_id,
        job_type=run.job_type,
        domain=run.domain,
        toolchain=run.toolchain,
        world_id=run.world_id,
        objective_id=run.objective_id,
        tags=tuple(run.issue.get("tags", ())),
        keywords=tuple(run.issue.get("keywords", ())),
        action_executed=run.action_executed,
        outcome=Outcome(
            status=run.status,
            fail_codes=run.fail_codes[:MAX_FAIL_CODES],
            gates=run.gates[:MAX_GATES],
        ),
        runtime=Runtime(duration_ms=run.duration_ms, wall_ms=run.wall_ms),
        cost_usd_est=run.cost_usd,
    )


def summary_text(summary: RunSummary) -> str:
    """A summary as canonical JSON, as inputs show it."""
    return canonical_json(run_document(summary)).decode()


def action_of_plan(plan: ExecutedPlan) -> ActionExecuted:
    """An executed plan as history shows it: whole minutes, counts; "NA" where not enforced."""
    seconds = plan.timeout_seconds_executed
    iterations = plan.max_iterations_executed
    return ActionExecuted(
        swarm_id=plan.swarm_id_executed,
        max_candidates=plan.max_candidates_executed or NA,
        max_minutes=NA if seconds is None else max(1, round(seconds / 60)),
        max_iterations=NA if iterations is None else iterations,
    )
