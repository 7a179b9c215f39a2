"""Archived workcells -> run records: which file is believed for which fact.

Belongs here: the order of evidence of formats 2.2 and 2.8. Does not: world runs (``worlds``).
No fact ever comes from a directory's mtime.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from planner_pipeline.history.gates import gate_results
from planner_pipeline.history.runs import RunRecord, action_of_plan
from planner_pipeline.sources.archives import ArchiveRecord, Proof, RecordedPlan
from planner_pipeline.sources.beads import IssueRecord
from planner_pipeline.sources.events import WorkcellEnd
from planner_runtime.contracts.executed_plan import ExecutedPlan
from planner_runtime.contracts.run_summary import ActionExecuted, Status
from planner_runtime.heuristic import SERIAL, SPECULATE
from planner_runtime.inputs import domain_of, epoch_ms, issue_document, job_type_of

PROOF: Final = "proof.json"
ROLLOUT: Final = "rollout.json"
MANIFEST: Final = "manifest.json"
TELEMETRY: Final = "telemetry.jsonl"
EVENTS: Final = "events.jsonl"


def moment_ms(timestamp: str | None) -> int | None:
    """Unix ms of a timestamp the kernel wrote; None for none or for one that is no timestamp."""
    if timestamp is None:
        return None
    try:
        return epoch_ms(timestamp)
    except (ValueError, OverflowError):
        return None


def stamp_ms(stamp: str | None) -> int | None:
    """Unix ms of the second inside a workcell id."""
    if stamp is None:
        return None
    try:
        moment = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp()) * 1000


TIMEOUT_CODES: Final = ("timeout", "status:timeout")  # what the kernel puts among its failures


def is_timeout(text: str | None) -> bool:
    """Whether an error text says that time ran out."""
    return text is not None and ("timed out" in text.lower() or "timeout" in text.lower())


def first_known(*facts: tuple[Any, str]) -> tuple[Any, str]:
    """The first fact that is known, with its source; (None, "") when none is."""
    return next(((value, source) for value, source in facts if value is not None), (None, ""))


def _gates_ms(proof: Proof) -> int:
    durations = (
        gate.get("duration_ms")
        for gate in proof.verification.gates.values()
        if isinstance(gate, Mapping)
    )
    return sum(int(ms) for ms in durations if isinstance(ms, int | float) and ms > 0)


def _status_of_blocking(all_passed: bool, blocking: list[str]) -> Status:
    if all_passed:
        return "success"
    return "timeout" if any(code in TIMEOUT_CODES for code in blocking) else "failed"


def _status(
    archive: ArchiveRecord, end: WorkcellEnd | None, world: RunRecord | None
) -> tuple[Status | None, str, tuple[str, ...]]:
    """Status, the file that tells it, and fail codes. Source: formats 2.2 and 2.8."""
    proof, rollout, telemetry = archive.proof, archive.rollout, archive.telemetry
    if proof is not None:
        blocking = list(proof.verification.blocking_failures)
        if proof.patch.get("forbidden_path_violations"):
            blocking.append("forbidden_path")
        passed = proof.status in ("success", "partial") and proof.verification.all_passed
        if not passed and not blocking:
            blocking.append(f"status:{proof.status}")
        return _status_of_blocking(passed, blocking), PROOF, tuple(blocking)
    if rollout is not None and rollout.outcomes.verification.all_passed is not None:
        verdict = rollout.outcomes.verification
        blocking = list(verdict.blocking_failures)
        return (
            _status_of_blocking(bool(verdict.all_passed), blocking), ROLLOUT, tuple(blocking)
        )  # fmt: skip
    if telemetry is not None and telemetry.error is not None:
        late = is_timeout(telemetry.error)
        return ("timeout" if late else "failed"), TELEMETRY, ("timeout" if late else "error",)
    if end is not None:
        if end.is_success:
            return "success", EVENTS, ()
        late = is_timeout(end.error)
        return ("timeout" if late else "failed"), EVENTS, ("timeout" if late else "error",)
    if world is not None and world.status is not None:
        return world.status, f"runs/{world.run_id}", world.fail_codes
    return None, "", ()


def _ended(
    archive: ArchiveRecord, end: WorkcellEnd | None, world: RunRecord | None
) -> tuple[int | None, str]:
    """The latest moment anything of the run is known to have happened, gates included."""
    known: list[tuple[int, str]] = []

    def note(moment: int | None, source: str) -> None:
        if moment is not None:
            known.append((moment, source))

    note(moment_ms(end.ended_at) if end else None, EVENTS)
    note(moment_ms(archive.rollout.generated_at) if archive.rollout else None, ROLLOUT)
    if archive.proof is not None:
        completed = moment_ms(archive.proof.metadata.completed_at)
        note(None if completed is None else completed + _gates_ms(archive.proof), PROOF)
    if archive.telemetry is not None and archive.telemetry.error is not None:
        note(moment_ms(archive.telemetry.ended_at), TELEMETRY)
    if world is not None:
        note(world.ended_ms, f"runs/{world.run_id}")
    return max(known, default=(None, ""))


def executed_plan(recorded: RecordedPlan) -> ExecutedPlan:
    """A recorded plan as the contract; values below 1 are budgets nobody enforced."""

    def positive(value: int | float | None) -> int | None:
        return int(value) if value is not None and value >= 1 else None

    candidates = recorded.max_candidates_executed or recorded.parallelism_executed
    return ExecutedPlan(
        swarm_id_executed=recorded.swarm_id_executed,
        max_candidates_executed=positive(candidates),
        timeout_seconds_executed=positive(recorded.timeout_seconds_executed),
        max_iterations_executed=positive(recorded.max_iterations_executed),
        fallback_applied=recorded.fallback_applied,
        fallback_reason=recorded.fallback_reason,
    )


def _issue_then(
    archive: ArchiveRecord, beads: IssueRecord | None
) -> tuple[dict[str, Any], bool, str]:
    """The issue at decision time, whether its attempts are of that time, and the source."""
    recorded = archive.planner.planner_input
    if recorded is not None and recorded.issue:
        issue = {**recorded.issue, **issue_document(recorded.issue)}
        keywords = recorded.issue.get("keywords")
        if isinstance(keywords, list) and all(isinstance(word, str) for word in keywords):
            issue["keywords"] = keywords  # the kernel saw a description that we do not have
        return issue, "dk_attempts" in recorded.issue, f"{MANIFEST}:planner"
    raw: dict[str, Any] = {} if archive.manifest is None else dict(archive.manifest.issue)
    source = MANIFEST
    if beads is not None:
        now = {key: value for key, value in beads.raw.items() if key.startswith("dk_")}
        raw = {**now, **raw} if raw else dict(beads.raw)
        source = f"{MANIFEST}+issues.jsonl(now)"
    raw["id"] = archive.issue_id
    return issue_document(raw, attempts=0), False, source


def workcell_run(
    archive: ArchiveRecord,
    *,
    beads: IssueRecord | None,
    end: WorkcellEnd | None,
    world: RunRecord | None,
) -> RunRecord:
    """One archived workcell as a run.

    Args:
        beads: The issue as it stands now, for what the archive does not tell.
        end: What the event log says of the workcell's end.
        world: The world run inside a fab-world workcell.
    """
    proof, rollout, telemetry = archive.proof, archive.rollout, archive.telemetry
    recorded = archive.planner.planner_input
    metadata = None if proof is None else proof.metadata
    issue, has_attempts, issue_source = _issue_then(archive, beads)
    tags = issue["tags"]
    job_type = archive.manifest.job_type if archive.manifest else None
    job_type = job_type or (rollout.job_type if rollout else None) or job_type_of(tags)
    decided, decided_from = first_known(
        (moment_ms(recorded.created_at) if recorded else None, f"{MANIFEST}:planner"),
        (stamp_ms(archive.stamp), "workcell_id"),
    )
    started, started_from = first_known(
        (moment_ms(metadata.started_at) if metadata else None, PROOF),
        (moment_ms(telemetry.started_at) if telemetry else None, TELEMETRY),
        (decided, decided_from),
    )
    status, status_from, codes = _status(archive, end, world)
    ended, ended_from = _ended(archive, end, world)
    if started is not None and decided is not None:
        decided = min(decided, started)
    elif started is not None:
        decided, decided_from = started, started_from
    if ended is not None and started is not None and ended < started:
        ended, ended_from = None, "clock went backwards"
    gates, hard = gate_results(sorted(proof.verification.gates.items())) if proof else ((), ())
    duration, duration_from = first_known(
        (metadata.duration_ms if metadata else None, PROOF),
        (rollout.scores.duration_ms if rollout else None, ROLLOUT),
        (world.duration_ms if world else None, "runs"),
    )
    cost, cost_from = first_known(
        (metadata.cost_usd if metadata else None, PROOF),
        (rollout.scores.cost_usd if rollout else None, ROLLOUT),
    )
    toolchain = archive.manifest.toolchain if archive.manifest else None
    if toolchain is None and rollout is not None:
        named = rollout.policy.get("toolchain")
        toolchain = named if isinstance(named, str) else None
    plan = archive.planner.executed_plan
    evidence = {
        "issue": issue_source,
        "decided_ms": decided_from,
        "started_ms": started_from,
        "ended_ms": ended_from,
        "status": status_from,
        "duration_ms": duration_from,
        "cost_usd": cost_from,
        "plan": f"{MANIFEST}:planner" if plan else "",
    }
    moment = decided_from and decided
    return RunRecord(
        run_id=archive.workcell_id,
        kind="workcell",
        group_id=f"{archive.issue_id}@{moment}" if moment else archive.workcell_id,
        issue_id=archive.issue_id,
        job_type=job_type,
        domain=domain_of(job_type, tags),
        toolchain=toolchain,
        universe_id=recorded.universe_id if recorded else "unknown",
        universe_defaults=dict(recorded.universe_defaults) if recorded else {},
        world_id=world.world_id if world else None,
        issue=issue,
        has_attempts=has_attempts,
        system_state=recorded.system_state if recorded else None,
        decided_ms=decided,
        started_ms=started,
        ended_ms=ended,
        status=status,
        fail_codes=tuple(dict.fromkeys((*codes, *hard))) if status != "success" else (),
        gates=gates,
        duration_ms=None if duration is None or duration < 0 else int(duration),
        cost_usd=cost,
        tokens=metadata.tokens_used if metadata else None,
        action_executed=_action(archive, plan),
        plan=None if plan is None else executed_plan(plan),
        evidence={field: source for field, source in evidence.items() if source},
    )


def _action(archive: ArchiveRecord, plan: RecordedPlan | None) -> ActionExecuted:
    """What ran, from the executed plan or, where there is none, what the manifest implies."""
    if plan is not None:
        return action_of_plan(executed_plan(plan))
    if archive.manifest is None:
        return ActionExecuted()
    if archive.manifest.speculate_mode:
        return ActionExecuted(swarm_id=SPECULATE)  # of how many, nothing tells
    return ActionExecuted(swarm_id=SERIAL, max_candidates=1)
