"""What one dispatch of the real kernel left -> the result of a unit.

Belongs here: reading archives and log of a copy, checking that the wanted action ran, judging.
Does not: running the kernel (``cyntra``), evolutions (``cyntra_worlds``).
Source: formats 2.2 (what is archived when), 2.7, 2.8 (where each quantity comes from).

A result is only told of what is proven: the plan that the kernel recorded must be the wanted one,
and an issue passed only when an archive of it says that every gate did. The kernel archives no
losing candidate, so with several candidates agent time and cost are not known, and only the
archived attempt is listed, under its place in the order in which they began.
"""

from pathlib import Path
from typing import Final, get_args

import msgspec

from planner_pipeline.bench.executors.cyntra_overlay import Forced, mismatch
from planner_pipeline.bench.protocol import HarnessError, Result, Unit
from planner_runtime.archives.events import Dispatch, LoggedWorkcell, read_events
from planner_runtime.archives.evidence import (
    PROOF,
    ROLLOUT,
    Verdict,
    duration,
    first_known,
    gates_ms,
    is_timeout,
    verdict,
)
from planner_runtime.archives.files import subdirectories
from planner_runtime.archives.moments import bounded_span, moment_ms, span_between
from planner_runtime.archives.workcell_files import FOLDER, SOURCE, ArchiveRecord, read_archive
from planner_runtime.contracts.bench_outcome import AttemptOutcome, AttemptStatus, OutcomeStatus
from planner_runtime.heuristic import SPECULATE

WHAT: Final = "cyntra run"
_STATUSES: Final = get_args(AttemptStatus)


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel left of its one dispatch of an issue."""

    dispatch: Dispatch
    archives: tuple[ArchiveRecord, ...]

    @property
    def n_attempts(self) -> int:
        """Workcells that began."""
        logged = {one.workcell_id for one in self.dispatch.workcells}
        return len(logged | {archive.workcell_id for archive in self.archives})

    def place(self, workcell_id: str) -> int:
        """Of a workcell, from 1, in the order in which they began."""
        order = [one.workcell_id for one in self.dispatch.workcells]
        return order.index(workcell_id) + 1 if workcell_id in order else len(order) + 1

    def logged(self, workcell_id: str) -> LoggedWorkcell | None:
        """What the log says of a workcell."""
        named = (one for one in self.dispatch.workcells if one.workcell_id == workcell_id)
        return next(named, None)


def has_ended(copy: Path, issue_id: str) -> bool:
    """Whether the log of a copy says how the run of an issue ended."""
    return any(
        one.issue_id == issue_id and one.is_success is not None
        for one in read_events(copy).dispatches
    )


def read_left(copy: Path, issue_id: str, *, said: str = "") -> Left:
    """What a copy holds of the one run of an issue.

    Args:
        said: What the kernel printed last.

    Raises:
        HarnessError: it ran never, or more than once, or a part that decides cannot be read.
    """
    dispatches = [one for one in read_events(copy).dispatches if one.issue_id == issue_id]
    if len(dispatches) != 1:
        times = len(dispatches)
        told = f"it ran the issue {times} times" if times else f"it ran nothing; it said: {said}"
        raise HarnessError(WHAT, told)
    names, refused = subdirectories(copy, copy / FOLDER, SOURCE)
    found = []
    for name in names:
        record, rows = read_archive(copy, copy / FOLDER / name)
        refused += [row for row in rows if record is None or row.file.endswith(f"/{PROOF}")]
        if record is not None and record.issue_id == issue_id:
            found.append(record)
    for row in refused:
        raise HarnessError(WHAT, f"{row.file}: {row.reason}: {row.detail[:200]}")
    return Left(dispatch=dispatches[0], archives=tuple(found))


def dispatch_result(
    left: Left, unit: Unit, forced: Forced, *, wall_ms: int, base_commit: str
) -> Result:
    """The result of a unit from what the kernel left.

    Args:
        wall_ms: How long the kernel was seen to run.

    Raises:
        HarnessError: a workcell could not be made, another action ran than the wanted one, or
            nothing tells what came of it.
    """
    for failure in left.dispatch.create_failures:
        raise HarnessError(WHAT, f"a workcell was not created: {(failure.error or '?')[:300]}")
    shortage = _checked_plan(left, forced)
    found = [(one, verdict(one, left.logged(one.workcell_id), None)) for one in left.archives]
    passed = [one for one in found if one[1].status == "success" and one[1].source == PROOF]
    if not found:
        result = _unarchived(left)
    else:
        archive, told = (passed or found)[0]
        result = _archived(left, unit, archive, told)
    span = span_between(moment_ms(left.dispatch.started_at), moment_ms(left.dispatch.ended_at))
    duration_ms = wall_ms if span is None else span
    return _completed(result, left, duration_ms, base_commit, shortage)


def _checked_plan(left: Left, forced: Forced) -> str | None:
    """Says where too few toolchains were available for the action; None where it ran."""
    for archive in left.archives:
        plan, asked = archive.planner.executed_plan, archive.planner.planner_input
        if plan is None:
            raise HarnessError(WHAT, f"{archive.workcell_id} does not tell which plan ran")
        state = (asked.system_state if asked is not None else None) or {}
        available = state.get("available_toolchains")
        differs = mismatch(forced, plan, available=available)
        if differs is not None and differs[1]:
            return f"{differs[0]}: only {', '.join(available or ()) or 'nothing'} is available"
        if differs is not None:
            raise HarnessError(WHAT, differs[0])
    if not left.archives:
        is_parallel = forced.swarm_id == SPECULATE
        if left.dispatch.speculates != is_parallel or left.n_attempts != forced.n_candidates:
            ran = f"{left.n_attempts} workcells, speculating: {left.dispatch.speculates}"
            raise HarnessError(WHAT, f"wanted {forced.words}, the log tells of {ran}")
    return None


def _unarchived(left: Left) -> Result:
    """What the log alone tells: how it failed; a success without a proof proves nothing."""
    errors = [one.error for one in left.dispatch.workcells if one.error is not None]
    if left.dispatch.is_success is not False:
        raise HarnessError(WHAT, "it left no archive that tells what came of the issue")
    is_late = any(map(is_timeout, errors))
    reason = "; ".join(errors)[:300] or None
    return Result(status="timeout" if is_late else "error", is_censored=is_late, reason=reason)


def _archived(left: Left, unit: Unit, archive: ArchiveRecord, told: Verdict) -> Result:
    """What an archive tells: the winner's, or that of the candidate the kernel kept."""
    status = _status(archive, told)
    attempts = [
        one
        for each in left.archives
        if (one := _attempt(left, unit, each, archive, told)) is not None
    ]
    attempts.sort(key=lambda one: one.attempt)
    has_all = len(attempts) == left.n_attempts
    costs = [one.cost_usd for one in attempts if one.cost_usd is not None]
    place = left.place(archive.workcell_id)
    reasons = [", ".join(told.codes)[:300]] if told.codes else []
    if len(attempts) < left.n_attempts:
        n_lost = left.n_attempts - len(attempts)
        reasons.append(f"of {n_lost} of {left.n_attempts} attempts the kernel keeps nothing")
    return Result(
        status=status,
        is_censored=status == "timeout",
        gates=told.gates,
        metrics={"overall": _overall(told, is_passed=status == "passed")},
        agent_ms=sum(one.duration_ms for one in attempts) if has_all else None,
        cost_usd=sum(costs) if has_all and len(costs) == len(attempts) else None,
        attempts=tuple(attempts),
        winner=place if any(one.attempt == place for one in attempts) else None,
        reason="; ".join(reasons) or None,
    )


def _status(archive: ArchiveRecord, told: Verdict) -> OutcomeStatus:
    if told.status is None:
        raise HarnessError(WHAT, f"{archive.workcell_id} does not tell what came of it")
    if told.status == "success":
        if told.source != PROOF:
            raise HarnessError(
                WHAT, f"{archive.workcell_id} succeeded, but no proof tells of gates"
            )
        return "passed"
    if told.status == "timeout":
        return "timeout"
    is_error = archive.proof.status == "error" if archive.proof else "error" in told.codes
    return "error" if is_error else "failed"


def _overall(told: Verdict, *, is_passed: bool) -> float:
    """The least score of its gates, as world verdicts count it (formats 3.3), else 1 or 0."""
    scores = [gate.score for gate in told.gates if gate.score is not None]
    return min(scores) if scores else float(is_passed)


def _attempt(
    left: Left, unit: Unit, archive: ArchiveRecord, shown: ArchiveRecord, told: Verdict
) -> AttemptOutcome | None:
    """An archived attempt; None where nothing tells how long it took."""
    logged = left.logged(archive.workcell_id)
    if archive is not shown:
        told = verdict(archive, logged, None)
    proof, manifest = archive.proof, archive.manifest
    took_ms, _ = duration(archive, None)
    if took_ms is None and proof is None and logged is not None:
        # without a proof no gate ran either, so the log's span is the toolchain's
        took_ms = span_between(moment_ms(logged.started_at), moment_ms(logged.ended_at))
    if took_ms is None:
        return None
    cost_usd, _ = first_known(
        (proof.metadata.cost_usd if proof else None, PROOF),
        (archive.rollout.scores.cost_usd if archive.rollout else None, ROLLOUT),
    )
    status: AttemptStatus
    if proof is not None and proof.status in _STATUSES:
        status = proof.status  # type: ignore[assignment]
    elif told.status in ("success", "timeout"):
        status = told.status
    else:
        status = "error" if "error" in told.codes else "failed"
    named = manifest.toolchain if manifest is not None else None
    return AttemptOutcome(
        attempt=left.place(archive.workcell_id),
        toolchain=named or (logged.toolchain if logged is not None else None) or "unknown",
        seed=unit.seed,
        status=status,
        is_passed=told.status == "success",
        duration_ms=took_ms,
        gates_ms=gates_ms(proof) if proof is not None else 0,
        failed_gates=told.codes,
        workcell_id=archive.workcell_id,
        exit_code=proof.metadata.exit_code if proof is not None else None,
        cost_usd=cost_usd if cost_usd is not None and cost_usd >= 0 else None,
        tokens=bounded_span(proof.metadata.tokens_used) if proof is not None else None,
        reason=None if logged is None else logged.error,
    )


def _completed(
    result: Result, left: Left, duration_ms: int, base_commit: str, shortage: str | None
) -> Result:
    """A result with its times and metrics; one of another action is no label."""
    metrics = {"overall": 0.0, **result.metrics, "duration_ms": float(duration_ms)}
    if result.cost_usd is not None:
        metrics["cost_usd"] = result.cost_usd
    harness_ms = None
    if left.n_attempts == 1 and result.agent_ms is not None:
        worked_ms = result.agent_ms + sum(one.gates_ms for one in result.attempts)
        harness_ms = max(0, duration_ms - worked_ms)
    result = msgspec.structs.replace(
        result,
        metrics=metrics,
        duration_ms=duration_ms,
        harness_ms=harness_ms,
        isolation="none",
        base_commit=base_commit,
    )
    if shortage is None:
        return result
    came = f"{result.status} ({result.reason})" if result.reason else result.status
    return msgspec.structs.replace(
        result, status="infra_error", is_censored=False, reason=f"{shortage}; it {came}"
    )
