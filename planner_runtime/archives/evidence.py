"""Which file of a workcell is believed for its outcome, its end and its duration.

Belongs here: the order of evidence of formats 2.2 and 2.8. Does not: the record made of it
(``workcells``), reading files. No fact ever comes from a directory's mtime.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from planner_runtime.archives.events import Dispatch, LoggedWorkcell
from planner_runtime.archives.gates import gate_results
from planner_runtime.archives.moments import (
    bounded_moment,
    bounded_span,
    moment_ms,
    span_between,
)
from planner_runtime.archives.runs import RunRecord
from planner_runtime.archives.workcell_files import ArchiveRecord, Proof
from planner_runtime.contracts.run_summary import GateResult, Status

PROOF: Final = "proof.json"
ROLLOUT: Final = "rollout.json"
MANIFEST: Final = "manifest.json"
TELEMETRY: Final = "telemetry.jsonl"
EVENTS: Final = "events.jsonl"
TIMEOUT_CODES: Final = ("timeout", "status:timeout")  # what the kernel puts among its failures


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a workcell, and the file that tells it; status None where none does."""

    status: Status | None = None
    source: str = ""
    codes: tuple[str, ...] = ()
    gates: tuple[GateResult, ...] = ()


def is_timeout(text: str | None) -> bool:
    """Whether an error is the kernel's own timeout; a server's timeout is an error like others."""
    return text is not None and "execution timed out" in text.lower()


def first_known(*facts: tuple[Any, str]) -> tuple[Any, str]:
    """The first fact that is known, with its source; (None, "") when none is."""
    return next(((value, source) for value, source in facts if value is not None), (None, ""))


def _verdict_of(
    all_passed: bool, blocking: Sequence[str], gates: Mapping[str, Any], source: str
) -> Verdict:
    """Status and fail codes from gates; ``status:x`` beside ``x`` says nothing more."""
    results, hard = gate_results(sorted(gates.items()))
    if all_passed:
        return Verdict(status="success", source=source, gates=results)
    late = any(code in TIMEOUT_CODES for code in blocking)
    named = [
        code for code in blocking if code.removeprefix("status:") not in set(blocking) - {code}
    ]
    return Verdict(
        status="timeout" if late else "failed",
        source=source,
        codes=tuple(dict.fromkeys((*named, *hard))),
        gates=results,
    )


def verdict(archive: ArchiveRecord, end: LoggedWorkcell | None, world: RunRecord | None) -> Verdict:
    """What came of a workcell: proof, else rollout, telemetry, its world run, the event log.

    Args:
        end: What the event log says of it.
        world: The world run inside a fab-world workcell.
    """
    proof, rollout, telemetry = archive.proof, archive.rollout, archive.telemetry
    if proof is not None:
        blocking = list(proof.verification.blocking_failures)
        if proof.patch.get("forbidden_path_violations"):
            blocking.append("forbidden_path")
        finished = proof.status in ("success", "partial")
        if not finished and not blocking:
            blocking.append(f"status:{proof.status}")
        passed = finished and proof.verification.all_passed
        return _verdict_of(passed, blocking, proof.verification.gates, PROOF)
    if rollout is not None and rollout.outcomes.verification.all_passed is not None:
        told = rollout.outcomes.verification
        return _verdict_of(bool(told.all_passed), told.blocking_failures, {}, ROLLOUT)
    if telemetry is not None and telemetry.error is not None:
        code = "timeout" if is_timeout(telemetry.error) else "error"
        return _verdict_of(False, (code,), {}, TELEMETRY)
    if world is not None and world.status is not None:
        return Verdict(
            status=world.status,
            source=f"runs/{world.run_id}",
            codes=world.fail_codes,
            gates=world.gates,
        )
    if end is not None and end.is_success is not None:
        code = "timeout" if is_timeout(end.error) else "error"
        return _verdict_of(end.is_success, () if end.is_success else (code,), {}, EVENTS)
    return Verdict()


def gates_ms(proof: Proof) -> int:
    """How long all gates of a proof took together, as far as they tell."""
    durations = (
        gate.get("duration_ms")
        for gate in proof.verification.gates.values()
        if isinstance(gate, Mapping)
    )
    spans = (bounded_span(ms) for ms in durations if isinstance(ms, int | float))
    return sum(span for span in spans if span is not None)


def ended(
    archive: ArchiveRecord,
    end: LoggedWorkcell | None,
    dispatch: Dispatch | None,
    world: RunRecord | None,
) -> tuple[int | None, str]:
    """The latest moment that tells an outcome, gates included, and the file it stands in."""
    known: list[tuple[int, str]] = []

    def note(moment: int | None, source: str) -> None:
        if moment is not None:
            known.append((moment, source))

    note(moment_ms(end.ended_at) if end else None, EVENTS)
    note(moment_ms(dispatch.ended_at) if dispatch else None, EVENTS)
    note(moment_ms(archive.rollout.generated_at) if archive.rollout else None, ROLLOUT)
    if archive.proof is not None:
        completed = moment_ms(archive.proof.metadata.completed_at)
        gates_end = None if completed is None else completed + gates_ms(archive.proof)
        note(bounded_moment(gates_end), PROOF)
    if archive.telemetry is not None and archive.telemetry.error is not None:
        note(moment_ms(archive.telemetry.ended_at), TELEMETRY)
    if world is not None:
        note(world.ended_ms, f"runs/{world.run_id}")
    return max(known, default=(None, ""))


def duration(archive: ArchiveRecord, world: RunRecord | None) -> tuple[int | None, str]:
    """The toolchain's own time: as measured, else from its first to its last word (formats 2.4)."""
    facts: list[tuple[int | None, str]] = []
    if archive.proof is not None:
        metadata = archive.proof.metadata
        facts.append((bounded_span(metadata.duration_ms), PROOF))
        first, last = moment_ms(metadata.started_at), moment_ms(metadata.completed_at)
        facts.append((span_between(first, last), PROOF))
    if archive.rollout is not None:
        facts.append((bounded_span(archive.rollout.scores.duration_ms), ROLLOUT))
    if archive.telemetry is not None:
        telemetry = archive.telemetry
        first, last = moment_ms(telemetry.started_at), moment_ms(telemetry.ended_at)
        facts.append((span_between(first, last), TELEMETRY))
    if world is not None:
        facts.append((world.duration_ms, f"runs/{world.run_id}"))
    found: tuple[int | None, str] = first_known(*facts)
    return found
