"""``policy_trace.v1`` documents in ``.cyntra/archives``, and what stands beside them.

Belongs here: finding a trace in ``manifest.planner.policy_trace`` or in ``policy_trace.json`` next
to the manifest, and quarantine for what cannot be used. Does not: what came of a decision
(``history.decisions``), archives as runs (``archives``). Spec: section 10.2; formats 2.3.
"""

from pathlib import Path
from typing import Any, Final

import msgspec

from planner_runtime.archives.files import (
    FolderReader,
    Quarantine,
    Reason,
    SourceCount,
    count_rows,
    excerpt,
    subdirectories,
)
from planner_runtime.archives.workcell_files import FOLDER, RecordedPlan
from planner_runtime.contracts.policy_trace import PolicyTrace
from planner_runtime.contracts.reading import ContractError, read_document

SOURCE: Final = "policy_traces"
FILE: Final = "policy_trace.json"
_NOTHING: Final = b"null"


class TracedRun(msgspec.Struct, frozen=True, kw_only=True):
    """An archive with a readable trace.

    Attributes:
        run_id: The archive's directory, which is the run's id in every table.
        file: Where the trace stands, relative to the workspace.
        planner_input: The question as the kernel recorded it; None where it did not.
        executed_plan: What the kernel says ran; None where it does not say.
    """

    run_id: str
    file: str
    trace: PolicyTrace
    job_type: str = "code"
    planner_input: dict[str, Any] | None = None
    executed_plan: RecordedPlan | None = None


class TraceRead(msgspec.Struct, frozen=True, kw_only=True):
    """Every archive, accounted for.

    Attributes:
        traced: By run id.
        without_trace: Run ids of archives that were made without one.
        quarantined: What could not be used, each with its file and reason.
        count: Of archives with a trace, and of those nobody can tell of.
    """

    traced: tuple[TracedRun, ...]
    without_trace: tuple[str, ...]
    quarantined: tuple[Quarantine, ...]
    count: SourceCount


class _Planner(msgspec.Struct, frozen=True):
    policy_trace: msgspec.Raw = msgspec.Raw(_NOTHING)
    planner_input: msgspec.Raw = msgspec.Raw(_NOTHING)
    executed_plan: msgspec.Raw = msgspec.Raw(_NOTHING)


class _Manifest(msgspec.Struct, frozen=True):
    job_type: str = "code"
    planner: _Planner | None = None


def read_policy_traces(repo: Path) -> TraceRead:
    """The traces of a workspace. A bad one is a quarantine row and stops nothing."""
    names, refused = subdirectories(repo, repo / FOLDER, SOURCE)
    traced: list[TracedRun] = []
    without: list[str] = []
    for name in names:
        parts = FolderReader(repo, repo / FOLDER / name, SOURCE)
        found = _read_one(parts, name)
        if found is not None:
            traced.append(found)
        elif not parts.refused:
            without.append(name)
        refused += parts.refused
    return TraceRead(
        traced=tuple(traced),
        without_trace=tuple(without),
        quarantined=tuple(refused),
        count=count_rows(SOURCE, len(traced), refused),
    )


def _read_one(parts: FolderReader, name: str) -> TracedRun | None:
    """The trace of one archive; None where there is none, or where it was refused.

    One archive is refused at most once, so that everything met adds up.
    """
    manifest = parts.read("manifest.json", _Manifest)
    if manifest is None and parts.refused:
        return None
    section = (manifest and manifest.planner) or _Planner()
    raw, file = bytes(section.policy_trace), "manifest.json"
    if raw == _NOTHING:
        beside = parts.bytes_of(FILE)
        if beside is None:
            return None
        raw, file = beside, FILE
    try:
        trace = read_document(raw, PolicyTrace)
    except ContractError as error:
        _refuse(parts, file, "wrong_shape", f"policy_trace: {error.path}: {error.why}", raw)
        return None
    if trace.propensity == 0:
        _refuse(parts, file, "bad_value", "policy_trace: what was chosen had no chance", raw)
        return None
    return TracedRun(
        run_id=name,
        file=f"{FOLDER}/{name}/{file}",
        trace=trace,
        job_type=manifest.job_type if manifest else "code",
        planner_input=_maybe(section.planner_input, dict[str, Any]),
        executed_plan=_maybe(section.executed_plan, RecordedPlan),
    )


def _refuse(parts: FolderReader, file: str, reason: Reason, detail: str, raw: bytes) -> None:
    parts.refuse(file, reason, detail)
    parts.refused[-1] = msgspec.structs.replace(parts.refused[-1], excerpt=excerpt(raw))


def _maybe(raw: msgspec.Raw, shape: Any) -> Any:
    """A part that the archive reader quarantines when it is bad; None then, and where it lacks."""
    try:
        return None if bytes(raw) == _NOTHING else msgspec.json.decode(raw, type=shape)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
