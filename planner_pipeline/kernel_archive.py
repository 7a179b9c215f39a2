"""A workcell's archive as the kernel writes it: manifest, proof, rollout, telemetry.

Belongs here: the documents and their files, for whoever plays the kernel (``sample`` simulates one,
``bench`` runs attempts like one). Does not: reading archives (``sources.archives``), deciding which
of the files exist (formats 2.2). Source: reference/cyntra-formats.md 2.3 to 2.7.
"""

from pathlib import Path
from typing import Any, Final

import msgspec

from planner_runtime.inputs import rfc3339

NO_CONTROL: Final = {
    "mode": "disabled",
    "reason": "no_dynamics_report",
    "action_rate": None,
    "speculate_parallelism": None,
    "sampling": None,
}
ERRORS: Final = ("timeout", "error")  # proof statuses of attempts that did not end by themselves


class WorkcellAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel knows of one attempt when it archives it.

    Attributes:
        issue: The line of ``.beads/issues.jsonl``.
        tag: Speculate tag; None for an attempt that ran alone.
        planner: ``manifest.planner``; None: a kernel without one.
        manifest_extra: Further keys of the manifest.
        status: success, partial, failed, timeout or error.
        gates: By name what the verifier wrote; empty where no gate ran.
        metadata_extra: Further keys of the proof's metadata, of attempts that ended by themselves.
        completed_ms: When the toolchain ended; gates come later.
        rolled_out_ms: When the rollout was written.
    """

    workcell_id: str
    issue: dict[str, Any]
    job_type: str
    toolchain: str
    model: str | None = None
    tag: str | None = None
    quality_gates: dict[str, Any] = {}
    planner: dict[str, Any] | None = None
    manifest_extra: dict[str, Any] = {}
    status: str
    base_commit: str = "0" * 40
    head_commit: str = "1" * 40
    files: tuple[str, ...] = ()
    insertions: int = 0
    deletions: int = 0
    forbidden: tuple[str, ...] = ()
    gates: dict[str, Any] = {}
    all_passed: bool = False
    blocking: tuple[str, ...] = ()
    started_ms: int
    completed_ms: int
    rolled_out_ms: int
    exit_code: int | None = None
    error: str | None = None
    toolchain_version: str | None = None
    metadata_extra: dict[str, Any] = {}
    cost_usd: float | None = None
    confidence: float = 0.0
    risk: str = "low"

    @property
    def diff_lines(self) -> int:
        """Lines added and removed."""
        return self.insertions + self.deletions


def manifest_document(attempt: WorkcellAttempt) -> dict[str, Any]:
    """``manifest.json``. Source: formats 2.3."""
    issue = attempt.issue
    document: dict[str, Any] = {
        "schema_version": "1.0.0",
        "workcell_id": attempt.workcell_id,
        "branch_name": f"wc/{issue['id']}/{attempt.workcell_id}",
        "apply_patch": True,
        "issue": {
            "id": issue["id"],
            "title": issue.get("title", ""),
            "description": issue.get("description"),
            "acceptance_criteria": issue.get("acceptance_criteria") or [],
            "context_files": issue.get("context_files") or [],
            "forbidden_paths": issue.get("dk_forbidden_paths") or [],
            "dk_estimated_tokens": issue.get("dk_estimated_tokens", 50_000),
            "tags": issue.get("tags") or [],
        },
        "job_type": attempt.job_type,
        "toolchain": attempt.toolchain,
        "toolchain_config": {"model": attempt.model},
        "quality_gates": attempt.quality_gates,
        "speculate_mode": attempt.tag is not None,
        "speculate_tag": attempt.tag,
        "control": NO_CONTROL,
        **attempt.manifest_extra,
    }
    if attempt.planner is not None:
        document["planner"] = attempt.planner
    return document


def proof_document(attempt: WorkcellAttempt) -> dict[str, Any]:
    """``proof.json``. Source: formats 2.4."""
    metadata: dict[str, Any] = {
        "toolchain": attempt.toolchain,
        "started_at": rfc3339(attempt.started_ms),
        "completed_at": rfc3339(attempt.completed_ms),
    }
    if attempt.status in ERRORS:
        metadata["error"] = attempt.error
    else:
        metadata |= {
            "toolchain_version": attempt.toolchain_version,
            "model": attempt.model,
            "prompt_genome_id": None,
            "sampling": None,
            "duration_ms": attempt.completed_ms - attempt.started_ms,
            "exit_code": attempt.exit_code,
            **attempt.metadata_extra,
        }
    return {
        "schema_version": "1.0.0",
        "workcell_id": attempt.workcell_id,
        "issue_id": attempt.issue["id"],
        "status": attempt.status,
        "patch": {
            "branch": f"wc/{attempt.issue['id']}/{attempt.workcell_id}",
            "base_commit": attempt.base_commit,
            "head_commit": attempt.head_commit,
            "diff_stats": {
                "files_changed": len(attempt.files),
                "insertions": attempt.insertions,
                "deletions": attempt.deletions,
            },
            "files_modified": list(attempt.files),
            "forbidden_path_violations": list(attempt.forbidden),
        },
        "verification": {
            "gates": attempt.gates,
            "all_passed": attempt.all_passed,
            "blocking_failures": list(attempt.blocking),
        },
        "metadata": metadata,
        "commands_executed": None,
        "artifacts": None,
        "confidence": attempt.confidence,
        "risk_classification": attempt.risk,
        "review": None,
    }


def rollout_document(attempt: WorkcellAttempt, manifest: dict[str, Any]) -> dict[str, Any]:
    """``rollout.json``. Source: formats 2.5."""
    scores: dict[str, Any] = {"risk": attempt.risk, "diff_lines": attempt.diff_lines}
    if attempt.cost_usd is not None:
        scores["cost_usd"] = attempt.cost_usd
    scores["duration_ms"] = attempt.completed_ms - attempt.started_ms
    document = {
        "schema_version": "cyntra.rollout.v1",
        "rollout_id": f"ro_{attempt.workcell_id}",
        "workcell_id": attempt.workcell_id,
        "issue_id": attempt.issue["id"],
        "job_type": attempt.job_type,
        "policy": {
            "toolchain": attempt.toolchain,
            "model": attempt.model,
            "prompt_genome_id": None,
            "sampling": {"temperature": None, "top_p": None},
            "speculate": {
                "enabled": attempt.tag is not None,
                "parallelism": None,
                "tag": attempt.tag,
            },
        },
        "inputs": {"manifest_path": "manifest.json", "repo_commit_base": attempt.base_commit},
        "trajectory": {
            "telemetry_path": "telemetry.jsonl",
            "tool_summary": {"Read": 0, "Write": 0, "Bash": 0, "Blender": 0},
            "file_changes": [{"path": file, "kind": "modified"} for file in attempt.files],
        },
        "outcomes": {
            "verification": {
                "all_passed": attempt.all_passed,
                "blocking_failures": list(attempt.blocking),
            }
        },
        "scores": scores,
        "generated_at": rfc3339(attempt.rolled_out_ms),
    }
    if "planner" in manifest:
        document["planner"] = manifest["planner"]
    return document


def telemetry_lines(attempt: WorkcellAttempt, prompt: str, tokens: int) -> bytes:
    """``telemetry.jsonl``. Source: formats 2.6."""
    common = {
        "issue_id": attempt.issue["id"],
        "workcell_id": attempt.workcell_id,
        "toolchain": attempt.toolchain,
        "model": attempt.model,
    }
    events: list[dict[str, Any]] = [
        {"type": "started", "timestamp": rfc3339(attempt.started_ms), **common},
        {"type": "prompt_sent", "timestamp": rfc3339(attempt.started_ms + 40), **common,
         "prompt": prompt, "tokens": tokens},
    ]  # fmt: skip
    end = {"timestamp": rfc3339(attempt.completed_ms), **common}
    if attempt.status in ERRORS:
        events.append({"type": "error", **end, "error": attempt.error})
    else:
        status = "failed" if attempt.status == "failed" else "success"
        duration_ms = attempt.completed_ms - attempt.started_ms
        events.append({"type": "completed", **end, "status": status, "duration_ms": duration_ms})
    return b"".join(msgspec.json.encode(event) + b"\n" for event in events)


def write_archive(
    folder: Path,
    attempt: WorkcellAttempt,
    *,
    has_proof: bool,
    has_rollout: bool,
    logs: dict[str, bytes],
    telemetry: bytes | None,
) -> None:
    """Write one archive; ``folder`` must not exist."""
    (folder / "logs").mkdir(parents=True)
    for name, data in logs.items():
        (folder / "logs" / name).write_bytes(data)
    manifest = manifest_document(attempt)
    (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    if has_proof:
        (folder / "proof.json").write_bytes(msgspec.json.encode(proof_document(attempt)))
    if has_rollout:
        document = rollout_document(attempt, manifest)
        (folder / "rollout.json").write_bytes(msgspec.json.encode(document))
    if telemetry is not None:
        (folder / "telemetry.jsonl").write_bytes(telemetry)
