"""Archived workcells -> run records.

Belongs here: one archive with everything around it as one run, each field with its source.
Does not: deciding which file to believe for an outcome (``evidence``), workcells that only the
event log knows (``logged``), world runs (``worlds``).
"""

from typing import Any, Final

from planner_runtime.archives.events import Dispatch, LoggedWorkcell
from planner_runtime.archives.evidence import (
    EVENTS,
    MANIFEST,
    PROOF,
    ROLLOUT,
    TELEMETRY,
    duration,
    ended,
    first_known,
    verdict,
)
from planner_runtime.archives.issues_then import IssueTimeline
from planner_runtime.archives.moments import bounded_span, moment_ms, span_between, stamp_ms
from planner_runtime.archives.runs import RunRecord, action_of_plan
from planner_runtime.archives.workcell_files import ArchiveRecord, RecordedPlan
from planner_runtime.contracts.executed_plan import ExecutedPlan
from planner_runtime.contracts.reading import to_document
from planner_runtime.contracts.run_summary import ActionExecuted
from planner_runtime.heuristic import SERIAL, SPECULATE
from planner_runtime.inputs import domain_of, group_of, issue_document, job_type_of


def executed_plan(recorded: RecordedPlan) -> ExecutedPlan:
    """A recorded plan as the contract; values below 1 are budgets nobody enforced."""

    def positive(value: int | float | None) -> int | None:
        return int(value) if value is not None and 1 <= value <= 2**53 else None

    candidates = recorded.max_candidates_executed or recorded.parallelism_executed
    return ExecutedPlan(
        swarm_id_executed=recorded.swarm_id_executed,
        max_candidates_executed=positive(candidates),
        timeout_seconds_executed=positive(recorded.timeout_seconds_executed),
        max_iterations_executed=positive(recorded.max_iterations_executed),
        fallback_applied=recorded.fallback_applied,
        fallback_reason=recorded.fallback_reason,
    )


UNKNOWN_STATE: Final = ("dk_priority", "dk_risk", "dk_size", "dk_tool_hint")
ISSUES: Final = "issues.jsonl"


def issue_at(
    timeline: IssueTimeline, issue_id: str | None, told: dict[str, Any], moment: int | None
) -> tuple[dict[str, Any], str]:
    """An issue at a past moment, and the source; what is not known of its state is null.

    Args:
        told: What its manifest says of it, as it was when it was dispatched; may be empty.
    """
    state = None if moment is None else timeline.at(issue_id, moment)
    if state is None or moment is None:
        document = issue_document({**told, "id": issue_id}, attempts=0)
        document |= dict.fromkeys(UNKNOWN_STATE)
        return document, MANIFEST if told else ""
    proven = state.is_proven_at(moment)
    raw = {**state.raw, **told, "id": issue_id}
    document = issue_document(raw, attempts=0, has_hints=proven or "description" in told)
    source = f"{ISSUES}@git" if proven else ISSUES
    return document, f"{MANIFEST}+{source}" if told else source


def _issue_then(
    archive: ArchiveRecord, timeline: IssueTimeline, decided_ms: int | None
) -> tuple[dict[str, Any], bool, str]:
    """The issue at decision time, whether its attempts are of that time, and the source.

    Recorded at dispatch; else the manifest's text, and from Beads the newest state not after it.
    """
    recorded = archive.planner.planner_input
    if recorded is not None and recorded.issue:
        issue = {**recorded.issue, **issue_document(recorded.issue)}
        keywords = recorded.issue.get("keywords")
        if isinstance(keywords, list) and all(isinstance(word, str) for word in keywords):
            issue["keywords"] = keywords  # the kernel saw a description that we do not have
        return issue, "dk_attempts" in recorded.issue, f"{MANIFEST}:planner"
    told = {} if archive.manifest is None else dict(archive.manifest.issue)
    issue, source = issue_at(timeline, archive.issue_id, told, decided_ms)
    return issue, False, source


def workcell_run(
    archive: ArchiveRecord,
    *,
    timeline: IssueTimeline,
    dispatch: Dispatch | None = None,
    world: RunRecord | None = None,
) -> RunRecord:
    """One archived workcell as a run.

    Args:
        timeline: What the issue was when, for archives that do not record it.
        dispatch: What the event log says of the dispatch it belongs to.
        world: The world run inside a fab-world workcell.
    """
    end = _logged(dispatch, archive.workcell_id)
    proof, rollout, telemetry = archive.proof, archive.rollout, archive.telemetry
    recorded = archive.planner.planner_input
    metadata = None if proof is None else proof.metadata
    decided_ms, decided_from = first_known(
        (moment_ms(recorded.created_at) if recorded else None, f"{MANIFEST}:planner"),
        (stamp_ms(archive.stamp), "workcell_id"),
    )
    started_ms, started_from = first_known(
        (moment_ms(metadata.started_at) if metadata else None, PROOF),
        (moment_ms(telemetry.started_at) if telemetry else None, TELEMETRY),
        (moment_ms(end.started_at) if end else None, EVENTS),
        (world.started_ms if world else None, "runs"),
        (decided_ms, decided_from),
    )
    group_id = archive.workcell_id if decided_ms is None else group_of(archive.issue_id, decided_ms)
    if decided_ms is None:
        decided_ms, decided_from = started_ms, started_from
    if decided_ms is not None and started_ms is not None:
        decided_ms = min(decided_ms, started_ms)
    issue, has_attempts, issue_source = _issue_then(archive, timeline, decided_ms)
    job_type = archive.manifest.job_type if archive.manifest else None
    job_type = job_type or (rollout.job_type if rollout else None) or job_type_of(issue["tags"])
    outcome = verdict(archive, end, world)
    ended_ms, ended_from = ended(archive, end, dispatch, world)
    if ended_ms is not None and started_ms is not None and ended_ms < started_ms:
        ended_ms, ended_from = None, "clock went backwards"
    duration_ms, duration_from = duration(archive, world)
    cost_usd, cost_from = first_known(
        (metadata.cost_usd if metadata else None, PROOF),
        (rollout.scores.cost_usd if rollout else None, ROLLOUT),
    )
    wall_ms = None
    if dispatch is not None and ended_ms is not None:
        wall_ms = span_between(moment_ms(dispatch.started_at), moment_ms(dispatch.ended_at))
    config = archive.manifest.toolchain_config if archive.manifest else {}
    genome = config.get("prompt_genome_id")
    plan = archive.planner.executed_plan
    evidence = {
        "issue": issue_source,
        "decided_ms": decided_from,
        "started_ms": started_from,
        "ended_ms": ended_from,
        "status": outcome.source,
        "duration_ms": duration_from,
        "wall_ms": EVENTS if wall_ms is not None else "",
        "cost_usd": cost_from,
        "plan": f"{MANIFEST}:planner" if plan else "",
    }
    return RunRecord(
        run_id=archive.workcell_id,
        kind="workcell",
        group_id=group_id,  # candidates of one dispatch share issue and moment
        issue_id=archive.issue_id,
        job_type=job_type,
        domain=domain_of(job_type, issue["tags"]),
        toolchain=_toolchain(archive),
        universe_id=recorded.universe_id if recorded else "unknown",
        universe_defaults=to_document(recorded.universe_defaults) if recorded else {},
        world_id=world.world_id if world else None,
        issue=issue,
        has_attempts=has_attempts,
        system_state=recorded.system_state if recorded else None,
        decided_ms=decided_ms,
        started_ms=started_ms,
        ended_ms=ended_ms,
        status=outcome.status,
        fail_codes=outcome.codes,
        gates=outcome.gates,
        duration_ms=duration_ms,
        wall_ms=wall_ms,
        toolchain_version=metadata.toolchain_version if metadata else None,
        prompt_genome_id=genome if isinstance(genome, str) else None,
        cost_usd=cost_usd,
        tokens=bounded_span(metadata.tokens_used) if metadata else None,
        action_executed=_action(archive, plan),
        plan=None if plan is None else executed_plan(plan),
        evidence={field: source for field, source in evidence.items() if source},
    )


def _logged(dispatch: Dispatch | None, workcell_id: str) -> LoggedWorkcell | None:
    workcells = dispatch.workcells if dispatch is not None else ()
    return next((one for one in workcells if one.workcell_id == workcell_id), None)


def _toolchain(archive: ArchiveRecord) -> str | None:
    if archive.manifest is not None and archive.manifest.toolchain is not None:
        return archive.manifest.toolchain
    named = archive.rollout.policy.get("toolchain") if archive.rollout else None
    return named if isinstance(named, str) else None


def _action(archive: ArchiveRecord, plan: RecordedPlan | None) -> ActionExecuted:
    """What ran, from the executed plan or, where there is none, what the manifest implies."""
    if plan is not None:
        return action_of_plan(executed_plan(plan))
    if archive.manifest is None:
        return ActionExecuted()
    if archive.manifest.speculate_mode:
        return ActionExecuted(swarm_id=SPECULATE)  # of how many, nothing tells
    return ActionExecuted(swarm_id=SERIAL, max_candidates=1)
