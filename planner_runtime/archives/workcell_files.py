"""``.cyntra/archives/<workcell>/``: what the kernel keeps of a workcell, any part of it missing.

Belongs here: one typed record per archive. Does not: what the parts prove (``history``).
Source: formats 2.1 to 2.6. The directory's mtime is never looked at.
"""

import re
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from planner_runtime.archives.files import (
    FolderReader,
    Quarantine,
    as_text,
    excerpt,
    relative,
)
from planner_runtime.contracts.planner_input import SystemState

SOURCE: Final = "archives"
FOLDER: Final = ".cyntra/archives"
PARTS: Final = ("manifest.json", "proof.json", "rollout.json", "telemetry.jsonl")
PartT = TypeVar("PartT")

_STAMP: Final = re.compile(r"-(\d{8}T\d{6}Z)")


class UniverseDefaultsThen(msgspec.Struct, frozen=True, kw_only=True):
    """The universe's defaults at dispatch; keys beyond these two are left out."""

    swarm_id: str | None = None
    objective_id: str | None = None


class RecordedInput(msgspec.Struct, frozen=True, kw_only=True):
    """The planner input a kernel wrote at dispatch; its history is rebuilt, so not kept."""

    created_at: str
    universe_id: str = "unknown"
    universe_defaults: UniverseDefaultsThen = UniverseDefaultsThen()
    issue: dict[str, Any] = {}
    system_state: dict[str, Any] | None = None


class RecordedPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The executed plan a kernel wrote; open, as its schema is."""

    swarm_id_executed: str
    max_candidates_executed: int | None = None
    parallelism_executed: int | None = None
    timeout_seconds_executed: int | float | None = None
    max_iterations_executed: int | None = None
    fallback_applied: bool = False
    fallback_reason: str | None = None


class RecordedPlanner(msgspec.Struct, frozen=True, kw_only=True):
    """``manifest.planner``."""

    planner_input: RecordedInput | None = None
    executed_plan: RecordedPlan | None = None


class _PlannerFile(msgspec.Struct, frozen=True, kw_only=True):
    # each decoded by itself, so that a bad one spares the other
    planner_input: msgspec.Raw = msgspec.Raw(b"null")
    executed_plan: msgspec.Raw = msgspec.Raw(b"null")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of ``manifest.json`` that history needs."""

    workcell_id: str
    issue: dict[str, Any] = {}
    job_type: str = "code"
    toolchain: str | None = None
    toolchain_config: dict[str, Any] = {}
    speculate_mode: bool = False
    speculate_tag: str | None = None


class _ManifestFile(Manifest, frozen=True, kw_only=True):
    planner: msgspec.Raw = msgspec.Raw(
        b"null"
    )  # decoded by itself, so that a bad one spares the rest


class ProofGates(msgspec.Struct, frozen=True, kw_only=True):
    """``proof.verification``; a gate is whatever its writer put there."""

    gates: dict[str, Any] = {}
    all_passed: bool = False
    blocking_failures: list[str] = []


class ProofMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """``proof.metadata``; timeouts and opencode leave much of it out."""

    started_at: str | None = None
    completed_at: str | None = None
    duration_ms: int | float | None = None
    exit_code: int | None = None
    tokens_used: int | None = None
    cost_usd: float | None = None
    toolchain_version: str | None = None


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of ``proof.json`` that history needs."""

    status: str
    issue_id: str | int | None = None
    patch: dict[str, Any] = {}
    verification: ProofGates = ProofGates()
    metadata: ProofMetadata = ProofMetadata()


class RolloutVerification(msgspec.Struct, frozen=True, kw_only=True):
    """``rollout.outcomes.verification``."""

    all_passed: bool | None = None
    blocking_failures: list[str] = []


class RolloutOutcomes(msgspec.Struct, frozen=True, kw_only=True):
    """``rollout.outcomes``."""

    verification: RolloutVerification = RolloutVerification()


class RolloutScores(msgspec.Struct, frozen=True, kw_only=True):
    """``rollout.scores``."""

    cost_usd: float | None = None
    duration_ms: int | float | None = None


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of ``rollout.json`` that history needs."""

    issue_id: str | int | None = None
    job_type: str | None = None
    policy: dict[str, Any] = {}
    outcomes: RolloutOutcomes = RolloutOutcomes()
    scores: RolloutScores = RolloutScores()
    generated_at: str | None = None


class TelemetryEnds(msgspec.Struct, frozen=True, kw_only=True):
    """First and last word of ``telemetry.jsonl``."""

    started_at: str | None = None
    ended_at: str | None = None
    error: str | None = None


class _TelemetryLine(msgspec.Struct, frozen=True):
    type: str
    timestamp: str | None = None
    error: Any = None


class ArchiveRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One archived workcell; a part is None where its file is missing or unreadable."""

    workcell_id: str  # the directory's name
    issue_id: str | None
    stamp: str | None  # creation second inside the id, e.g. 20260105T090000Z
    manifest: Manifest | None = None
    planner: RecordedPlanner = RecordedPlanner()
    proof: Proof | None = None
    rollout: Rollout | None = None
    telemetry: TelemetryEnds | None = None


def split_workcell_id(workcell_id: str) -> tuple[str | None, str | None]:
    """Issue id and creation stamp inside a workcell id. Source: formats 2.1.

    >>> split_workcell_id("wc-a-b-20260105T090000Z-spec-codex")
    ('a-b', '20260105T090000Z')
    """
    found = _STAMP.search(workcell_id)
    if found is None or not workcell_id.startswith("wc-"):
        return None, None
    return workcell_id[3 : found.start()] or None, found[1]


def _read_planner(raw: msgspec.Raw, file: str) -> tuple[RecordedPlanner, list[Quarantine]]:
    """The planner section, and why parts of it are left out."""
    refused: list[Quarantine] = []

    def part(data: msgspec.Raw, shape: type[PartT], name: str) -> PartT | None:
        if bytes(data) == b"null":
            return None
        try:
            return msgspec.json.decode(data, type=shape)
        except msgspec.ValidationError as error:
            refused.append(
                Quarantine(
                    source=SOURCE, file=file, reason="wrong_shape",
                    detail=f"{name}: {error}", excerpt=excerpt(bytes(data)),
                )
            )  # fmt: skip
            return None

    section = part(raw, _PlannerFile, "planner") or _PlannerFile()
    recorded = part(section.planner_input, RecordedInput, "planner.planner_input")
    if recorded is not None and recorded.system_state is not None:
        state = msgspec.Raw(msgspec.json.encode(recorded.system_state))
        if part(state, SystemState, "planner.planner_input.system_state") is None:
            recorded = msgspec.structs.replace(recorded, system_state=None)
    plan = part(section.executed_plan, RecordedPlan, "planner.executed_plan")
    return RecordedPlanner(planner_input=recorded, executed_plan=plan), refused


def _telemetry_ends(lines: list[_TelemetryLine]) -> TelemetryEnds | None:
    if not lines:
        return None
    started = ended = error = None
    for line in lines:
        if line.type == "started":
            started = line.timestamp
        elif line.type in ("completed", "error"):
            ended = line.timestamp
            error = str(line.error) if line.type == "error" else None
    return TelemetryEnds(started_at=started, ended_at=ended, error=error)


def read_archive(repo: Path, folder: Path) -> tuple[ArchiveRecord | None, list[Quarantine]]:
    """One archive; None while a part of it is still being written, and when neither manifest nor
    rollout nor proof can be read.
    """
    parts = FolderReader(repo, folder, SOURCE)
    manifest_file = parts.read("manifest.json", _ManifestFile)
    proof = parts.read("proof.json", Proof)
    rollout = parts.read("rollout.json", Rollout)
    telemetry = _telemetry_ends(parts.read_lines("telemetry.jsonl", _TelemetryLine))
    if parts.is_unfinished:
        return None, parts.refused
    if manifest_file is None and proof is None and rollout is None:
        if parts.refused:
            parts.refuse("", "no_content", "no part of it can be used")
        else:
            parts.refuse("", "nothing_yet", "neither manifest.json nor proof nor rollout")
        return None, parts.refused
    issue_id, stamp = split_workcell_id(folder.name)
    planner, manifest = RecordedPlanner(), None
    if manifest_file is not None:
        name = relative(repo, folder / "manifest.json")
        planner, bad_parts = _read_planner(manifest_file.planner, name)
        parts.refused += bad_parts
        manifest = msgspec.convert(manifest_file, Manifest, from_attributes=True)
        issue_id = as_text(manifest.issue.get("id")) or issue_id
    for part in (proof, rollout):
        issue_id = issue_id or (None if part is None else as_text(part.issue_id))
    record = ArchiveRecord(
        workcell_id=folder.name,
        issue_id=issue_id,
        stamp=stamp,
        manifest=manifest,
        planner=planner,
        proof=proof,
        rollout=rollout,
        telemetry=telemetry,
    )
    return record, parts.refused
