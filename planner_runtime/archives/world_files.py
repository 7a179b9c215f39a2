"""``.cyntra/runs/<run>/``: world builds, evolution candidates, and evolutions.

Belongs here: one typed record per run directory. Does not: what its stages mean (``history``).
Source: formats 3.1 to 3.5. The run's id is the directory's name; its manifest often has another.
"""

from pathlib import Path
from typing import Any, Final

import msgspec

from planner_runtime.archives.files import FolderReader, Quarantine

SOURCE: Final = "world_runs"
FOLDER: Final = ".cyntra/runs"
PARTS: Final = (
    "context.json", "manifest.json", "verdict/gate_verdict.json", "evolve_world.json",
    "run_meta.json", "job_result.json",
)  # fmt: skip


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """``context.json``: present only where a universe was named."""

    universe_id: str | None = None
    world_id: str | None = None
    objective_id: str | None = None
    swarm_id: str | None = None


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One stage; a crash leaves ``running`` and no duration."""

    id: str
    status: str
    started_at: str | None = None
    duration_ms: int | float | None = None
    metadata: dict[str, Any] = {}
    optional: bool = False


class WorldManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a world run's ``manifest.json`` that history needs."""

    world_id: str
    created_at: str | None = None
    stages: list[Stage] = []


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """``verdict/gate_verdict.json``: the last gate stage's word."""

    verdict: str
    scores: dict[str, Any] = {}
    failures: dict[str, list[str]] = {}


class EvolveCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate of a generation."""

    run_id: str
    passed: bool = False


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """One generation of an evolution."""

    selected_run_id: str | None = None
    candidates: list[EvolveCandidate] = []


class Evolution(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of ``evolve_world.json`` that history needs."""

    generated_at: str
    universe_id: str
    world_id: str
    swarm_id: str
    population_size: int
    objective_id: str | None = None
    history: list[Generation] = []


class RunMeta(msgspec.Struct, frozen=True, kw_only=True):
    """``run_meta.json`` of desktop jobs."""

    started_ms: int | None = None


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """``job_result.json`` of desktop jobs."""

    ended_ms: int | None = None
    exit_code: int | None = None


class WorldRunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One run directory; a part is None where its file is missing or unreadable."""

    run_id: str  # the directory's name
    context: Context | None = None
    manifest: WorldManifest | None = None
    verdict: Verdict | None = None
    evolution: Evolution | None = None
    meta: RunMeta | None = None
    result: JobResult | None = None


def read_world_run(repo: Path, folder: Path) -> tuple[WorldRunRecord | None, list[Quarantine]]:
    """One run directory; None while a part of it is still being written, or while it holds nothing.

    A desktop job that ended without a world is a record that tells of no run.
    """
    parts = FolderReader(repo, folder, SOURCE)
    record = WorldRunRecord(
        run_id=folder.name,
        context=parts.read("context.json", Context),
        manifest=parts.read("manifest.json", WorldManifest),
        verdict=parts.read("verdict/gate_verdict.json", Verdict),
        evolution=parts.read("evolve_world.json", Evolution),
        meta=parts.read("run_meta.json", RunMeta),
        result=parts.read("job_result.json", JobResult),
    )
    if parts.is_unfinished:
        return None, parts.refused
    if record.manifest is None and record.evolution is None and record.result is None:
        if parts.refused:
            parts.refuse("", "no_content", "no part of it can be used")
        else:
            parts.refuse("", "nothing_yet", "neither manifest.json nor evolve_world.json")
        return None, parts.refused
    return record, parts.refused
