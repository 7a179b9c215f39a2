"""Workcells that only the event log knows -> run records: losing candidates, and failed creations.

Belongs here: what the log proves of them, and nothing more. Does not: the log (``sources.events``),
archived workcells (``workcells``). Source: formats 2.2 (what is not archived) and 2.7.
"""

from collections.abc import Container
from typing import Final

import msgspec

from planner_runtime.archives.events import CreateFailure, Dispatch, LoggedWorkcell
from planner_runtime.archives.evidence import EVENTS
from planner_runtime.archives.issues_then import IssueTimeline
from planner_runtime.archives.moments import moment_ms, span_between
from planner_runtime.archives.runs import RunRecord
from planner_runtime.archives.workcell_files import split_workcell_id
from planner_runtime.archives.workcells import issue_at
from planner_runtime.contracts.run_summary import ActionExecuted
from planner_runtime.heuristic import SERIAL, SPECULATE
from planner_runtime.inputs import domain_of, job_type_of

CREATE_FAILED: Final = "create_failed"
WORLD_TOOLCHAIN: Final = "fab-world"


def failure_ids(dispatch: Dispatch) -> list[str]:
    """Run ids of the workcells of a dispatch that could not be created."""
    return [
        _failure_id(dispatch, number, failure)
        for number, failure in enumerate(dispatch.create_failures)
    ]


def _losers(dispatch: Dispatch, archived: Container[str]) -> list[LoggedWorkcell]:
    return [
        one
        for one in dispatch.workcells
        if one.workcell_id not in archived and (one.created_at or one.started_at)
    ]


def _failure_id(dispatch: Dispatch, number: int, failure: CreateFailure) -> str:
    at_ms = moment_ms(failure.at)
    return f"{CREATE_FAILED}-{dispatch.issue_id}-{at_ms or dispatch.line}-{number}"


def logged_runs(
    dispatch: Dispatch,
    *,
    archived: RunRecord | None,
    timeline: IssueTimeline,
    next_started_at: str | None,
) -> list[RunRecord]:
    """Runs of a dispatch that may have left no archive: all but the archived one.

    Args:
        archived: The run of the dispatch that was archived: they share its decision.
        next_started_at: When the issue's next dispatch began, by when this one was over.
    """
    kept = () if archived is None else (archived.run_id,)
    ended_at = dispatch.ended_at or next_started_at
    losers = [_loser(dispatch, one, archived, timeline) for one in _losers(dispatch, kept)]
    failures = [
        _create_failure(dispatch, number, failure, archived, timeline, ended_at)
        for number, failure in enumerate(dispatch.create_failures)
    ]
    return [*losers, *failures]


def _common(
    dispatch: Dispatch,
    toolchain: str | None,
    archived: RunRecord | None,
    timeline: IssueTimeline,
    started_ms: int | None,
) -> RunRecord:
    """What all runs of a dispatch share; ids and outcomes are still to come."""
    began = moment_ms(dispatch.started_at)
    decided_ms = started_ms if began is None else began
    swarm = {True: SPECULATE, False: SERIAL}.get(dispatch.speculates)  # type: ignore[arg-type]
    action = ActionExecuted(swarm_id=swarm, max_candidates=1 if swarm == SERIAL else None)
    if archived is not None:
        return RunRecord(
            run_id="", kind="workcell", group_id=archived.group_id, issue_id=dispatch.issue_id,
            job_type=archived.job_type, domain=archived.domain, toolchain=toolchain,
            universe_id=archived.universe_id, universe_defaults=archived.universe_defaults,
            issue=archived.issue, has_attempts=archived.has_attempts,
            system_state=archived.system_state, decided_ms=archived.decided_ms,
            action_executed=archived.action_executed,
            evidence={**_of_decision(archived), "toolchain": EVENTS},
        )  # fmt: skip
    issue, source = issue_at(timeline, dispatch.issue_id, {}, decided_ms)
    job_type = job_type_of(issue["tags"])
    if not source and toolchain == WORLD_TOOLCHAIN:  # its tags are not known, what ran is
        job_type = "fab-world"
    evidence = {"issue": source, "decided_ms": EVENTS, "toolchain": EVENTS}
    return RunRecord(
        run_id="", kind="workcell", issue_id=dispatch.issue_id, job_type=job_type,
        group_id=f"{dispatch.issue_id}@{decided_ms if decided_ms is not None else dispatch.line}",
        domain=domain_of(job_type, issue["tags"]), toolchain=toolchain, issue=issue,
        decided_ms=decided_ms, action_executed=action,
        evidence={field: told for field, told in evidence.items() if told},
    )  # fmt: skip


def _of_decision(archived: RunRecord) -> dict[str, str]:
    return {k: v for k, v in archived.evidence.items() if k in ("issue", "decided_ms")}


def _with(run: RunRecord, **fields: object) -> RunRecord:
    evidence = {**run.evidence, **dict.fromkeys((k for k, v in fields.items() if v), EVENTS)}
    evidence.pop("run_id", None)
    return msgspec.structs.replace(run, **fields, evidence=evidence)


def _loser(
    dispatch: Dispatch,
    workcell: LoggedWorkcell,
    archived: RunRecord | None,
    timeline: IssueTimeline,
) -> RunRecord:
    """A candidate that was not chosen: when it ran is known, what came of it is not."""
    started_ms = moment_ms(workcell.started_at or workcell.created_at)
    run = _common(dispatch, workcell.toolchain, archived, timeline, started_ms)
    issue_id, _ = split_workcell_id(workcell.workcell_id)
    ended_ms = moment_ms(workcell.ended_at or dispatch.voted_at)
    return _with(
        run,
        run_id=workcell.workcell_id,
        issue_id=issue_id or dispatch.issue_id,
        started_ms=started_ms,
        ended_ms=ended_ms if span_between(started_ms, ended_ms) is not None else None,
    )


def _create_failure(
    dispatch: Dispatch,
    number: int,
    failure: CreateFailure,
    archived: RunRecord | None,
    timeline: IssueTimeline,
    ended_at: str | None,
) -> RunRecord:
    """A workcell that git could not create: a failed attempt that no toolchain ever saw.

    Alone it ends its dispatch; among candidates it is known when the dispatch is over.
    """
    at_ms = moment_ms(failure.at)
    run = _common(dispatch, failure.toolchain, archived, timeline, at_ms)
    known_ms = moment_ms(ended_at) if dispatch.speculates else at_ms
    started_ms = moment_ms(dispatch.started_at) or at_ms
    return _with(
        run,
        run_id=_failure_id(dispatch, number, failure),
        started_ms=started_ms,
        ended_ms=known_ms if span_between(started_ms, known_ms) is not None else None,
        status="failed",
        fail_codes=(CREATE_FAILED,),
    )
