"""Attempts of the local executor as archives of the kernel: winners, losers and timeouts alike.

Belongs here: what a run attempt is in the kernel's files. Does not: the files' shape
(``kernel_archive``). Source: formats 2.1 to 2.6. Other than the kernel, a bench keeps everything it
did: formats 2.2 says what would be lost.

``executed_plan`` and the planner's action speak of minutes as the action does; durations are those
of the clock. Where a minute was not sixty seconds, ``manifest.bench.minute_seconds`` tells.
"""

import os
import re
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from planner_pipeline.bench.config import BenchConfig
from planner_pipeline.bench.executors.attempts import AttemptRun
from planner_pipeline.bench.protocol import Unit
from planner_pipeline.kernel_archive import WorkcellAttempt, telemetry_lines, write_archive
from planner_runtime.archives.workcell_files import FOLDER
from planner_runtime.contracts.reading import to_document
from planner_runtime.decision import choice_of
from planner_runtime.heuristic import SPECULATE
from planner_runtime.inputs import rfc3339

CHECKPOINT: Final = "bench_forced_action"
ERRORS: Final = {"timeout": "Execution timed out", "error": "the toolchain broke"}


class _OfBench(msgspec.Struct):
    unit_id: str


class _Manifest(msgspec.Struct):
    bench: _OfBench


def workcell_id(unit: Unit, run: AttemptRun) -> str:
    """Name of an attempt's archive. Source: formats 2.1."""
    stamp = re.sub(r"[-:]|\.\d+", "", rfc3339(run.started_ms))
    tag = re.sub(r"[^a-z0-9_-]+", "-", _tag(unit, run).lower()).strip("-")[:24]
    digest = _digest(unit, run.task.number)
    return "-".join(part for part in (_prefix(unit), stamp, tag, digest) if part)


def _prefix(unit: Unit) -> str:
    """An issue's id may hold what is no part of a file's name."""
    return f"wc-{re.sub(r'[^A-Za-z0-9._-]+', '-', unit.case.issue_id)[:100]}"


def _digest(unit: Unit, number: int) -> str:
    return sha256(f"{unit.unit_id} {number}".encode()).hexdigest()[:6]


def forget_attempts(workspace: Path, unit: Unit, most: int) -> None:
    """Delete what an earlier try of a unit archived before its harness died: it runs again.

    Args:
        most: Attempts of a unit.
    """
    ends = tuple(f"-{_digest(unit, number)}" for number in range(1, most + 1))
    whole = [(path, path.name) for path in (workspace / FOLDER).glob(f"{_prefix(unit)}-*")]
    parts = [
        (path, path.name.rpartition(".")[0])  # without the number of the process that began it
        for path in _unfinished(workspace).glob(f"{_prefix(unit)}-*")
    ]
    for path, name in (*whole, *parts):
        if name.endswith(ends) and _unit_id(path) in (unit.unit_id, None):
            shutil.rmtree(path)


def _unfinished(workspace: Path) -> Path:
    return (workspace / FOLDER).parent / "unfinished"


def _unit_id(archive: Path) -> str | None:
    """Whose attempt it is; None where that was not written yet."""
    try:
        manifest = msgspec.json.decode((archive / "manifest.json").read_bytes(), type=_Manifest)
    except (OSError, msgspec.MsgspecError):
        return None
    return manifest.bench.unit_id


def _tag(unit: Unit, run: AttemptRun) -> str:
    return f"spec-{run.task.toolchain}" if unit.action.swarm_id == SPECULATE else "bench"


def _planner(unit: Unit, config: BenchConfig) -> dict[str, Any]:
    action = unit.action
    return {
        "planner_input": unit.case.planner_input,
        "planner_action": {
            "schema_version": "cyntra.planner_action.v1",
            "created_at": unit.case.planner_input["created_at"],
            **to_document(choice_of(action)),
            "model": {"checkpoint_id": CHECKPOINT},
            "input_hash": unit.case.input_hash,
        },
        "executed_plan": {
            "schema_version": "cyntra.executed_plan.v1",
            "swarm_id_executed": action.swarm_id,
            "max_candidates_executed": unit.n_candidates,
            "timeout_seconds_executed": config.minutes(action) * 60,
            "max_iterations_executed": None,
            "fallback_applied": False,
            "fallback_reason": None,
        },
        "timeout_seconds_override": None,
    }


def archive_attempt(
    workspace: Path, unit: Unit, run: AttemptRun, config: BenchConfig, version: str | None
) -> str:
    """Write the archive of one attempt below ``workspace``, whole or not at all; its name."""
    name = workcell_id(unit, run)
    speculates = unit.action.swarm_id == SPECULATE
    told = WorkcellAttempt(
        workcell_id=name,
        issue=unit.case.issue,
        job_type=unit.case.job_type,
        toolchain=run.task.toolchain,
        tag=_tag(unit, run) if speculates else None,
        quality_gates=run.task.gates,
        planner=_planner(unit, config),
        manifest_extra={
            "bench": {
                "unit_id": unit.unit_id,
                "attempt": run.task.number,
                "seed": run.task.seed,
                "minute_seconds": config.minute_seconds,
                "isolation": run.finished.isolation,
            }
        },
        status=run.status,
        base_commit=run.task.base,
        head_commit=run.changes.head_commit,
        files=run.changes.files,
        insertions=run.changes.insertions,
        deletions=run.changes.deletions,
        forbidden=run.forbidden,
        gates=run.gates,
        all_passed=run.is_passed,
        blocking=() if run.forbidden else run.failed_gates,
        started_ms=run.started_ms,
        completed_ms=run.completed_ms,
        rolled_out_ms=run.ended_ms,
        exit_code=run.finished.exit_code,
        error=ERRORS.get(run.status),
        toolchain_version=version,
        metadata_extra={"tokens_used": run.tokens, "cost_usd": run.cost_usd},
        cost_usd=run.cost_usd,
        confidence=run.confidence,
        risk=run.risk,
    )
    archives = workspace / FOLDER
    part = _unfinished(workspace) / f"{name}.{os.getpid()}"
    shutil.rmtree(part, ignore_errors=True)
    prompt = str(unit.case.issue.get("title", ""))
    logs = {f"{run.task.toolchain}-stdout.log": run.finished.stdout}
    logs[f"{run.task.toolchain}-stderr.log"] = run.finished.stderr
    for gate, found in run.gates.items():
        logs[f"{re.sub(r'[^A-Za-z0-9_.-]', '_', gate)}.log"] = (found["output"] or "").encode()
    write_archive(
        part, told, has_proof=True, has_rollout=run.status in ("success", "partial"), logs=logs,
        telemetry=telemetry_lines(told, prompt, 0),
    )  # fmt: skip
    archives.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(archives / name, ignore_errors=True)
    part.rename(archives / name)
    return name
