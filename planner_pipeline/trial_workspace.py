"""Trial tables as a workspace in the kernel's formats, so that everything else just works.

Belongs here: writing issues, archives and ``trials.parquet`` for attempts made elsewhere.
Does not: reading the tables (``sources.trials``). What a table does not tell is left out of the
archive, and is read back as not known.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from planner_pipeline.artifacts import write_parquet
from planner_pipeline.sources.files import Quarantine
from planner_pipeline.sources.trials import Trial, TrialRead
from planner_runtime.inputs import rfc3339

NOTICE = "IMPORTED.txt"
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


def workcell_id(trial: Trial) -> str:
    """A workcell id for one attempt: unique, and in the kernel's form where its start is known."""
    key = f"{trial.dataset}\0{trial.issue_id}\0{trial.system}\0{trial.attempt}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:6]
    stamp = ""
    if trial.started_ms is not None:
        stamp = "-" + re.sub(r"[-:]|\.\d+", "", rfc3339(trial.started_ms))
    issue, system = (_UNSAFE.sub("-", text).strip("-.") for text in (trial.issue_id, trial.system))
    return f"wc-{issue[:120]}{stamp}-{system[:24].lower()}-{digest}"


def _tags(trial: Trial) -> list[str]:
    return sorted({tag for tag in (trial.dataset, trial.repo) if tag})


def manifest_document(trial: Trial) -> dict[str, Any]:
    """``manifest.json`` of an attempt: one serial try without an enforced budget."""
    return {
        "schema_version": "1.0.0",
        "workcell_id": workcell_id(trial),
        "issue": {"id": trial.issue_id, "title": trial.issue_id, "tags": _tags(trial)},
        "job_type": "code",
        "toolchain": trial.system,
        "toolchain_config": {"model": trial.model},
        "speculate_mode": False,
        "speculate_tag": None,
        "planner": {
            "executed_plan": {
                "schema_version": "cyntra.executed_plan.v1",
                "swarm_id_executed": "serial_handoff",
                "max_candidates_executed": 1,
                "timeout_seconds_executed": None,
                "max_iterations_executed": None,
                "fallback_applied": False,
                "fallback_reason": None,
            }
        },
    }


def proof_document(trial: Trial) -> dict[str, Any]:
    """``proof.json`` of an attempt; gate names are not known, so there are none."""
    is_timeout = trial.fail_code == "agent_timeout"
    blocking = [] if trial.passed else [trial.fail_code or "gates_failed"]
    if is_timeout and not trial.passed:
        blocking.append("timeout")
    metadata: dict[str, Any] = {"toolchain": trial.system, "model": trial.model}
    if trial.started_ms is not None:
        metadata["started_at"] = rfc3339(trial.started_ms)
        if trial.duration_ms is not None:
            metadata["completed_at"] = rfc3339(trial.started_ms + trial.duration_ms)
    if trial.duration_ms is not None:
        metadata["duration_ms"] = trial.duration_ms
    if trial.tokens_in is not None and trial.tokens_out is not None:
        metadata["tokens_used"] = trial.tokens_in + trial.tokens_out
    metadata["cost_usd"] = trial.cost_usd
    return {
        "schema_version": "1.0.0",
        "workcell_id": workcell_id(trial),
        "issue_id": trial.issue_id,
        "status": "success" if trial.passed else "failed",
        "verification": {"gates": {}, "all_passed": trial.passed, "blocking_failures": blocking},
        "metadata": metadata,
    }


def _issue_lines(trials: tuple[Trial, ...]) -> bytes:
    first = {trial.issue_id: trial for trial in reversed(trials)}
    lines = (
        {"id": issue_id, "title": issue_id, "status": "open", "tags": _tags(trial)}
        for issue_id, trial in sorted(first.items())
    )
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def _quarantine_lines(rows: tuple[Quarantine, ...]) -> bytes:
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def write_trial_workspace(out: Path, read: TrialRead) -> None:
    """Write a workspace of some trials, ``trials.parquet`` and ``quarantine.jsonl`` beside it.

    Raises:
        FileExistsError: ``out`` holds something already.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty")
    (out / ".beads").mkdir(parents=True)
    (out / ".beads" / "issues.jsonl").write_bytes(_issue_lines(read.trials))
    (out / NOTICE).write_text("Imported from trial tables by `cyntra-planner import-trials`.\n")
    archives = out / ".cyntra" / "archives"
    archives.mkdir(parents=True)
    for trial in read.trials:
        folder = archives / workcell_id(trial)
        folder.mkdir()
        (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest_document(trial)))
        (folder / "proof.json").write_bytes(msgspec.json.encode(proof_document(trial)))
    schema = {
        "dataset": pl.String, "issue_id": pl.String, "repo": pl.String, "system": pl.String,
        "model": pl.String, "attempt": pl.Int64, "passed": pl.Boolean, "cost_usd": pl.Float64,
        "duration_ms": pl.Int64, "tokens_in": pl.Int64, "tokens_out": pl.Int64,
        "started_ms": pl.Int64, "fail_code": pl.String, "gates_passed": pl.Int64,
        "gates_total": pl.Int64,
    }  # fmt: skip
    rows = [msgspec.to_builtins(trial) for trial in read.trials]
    write_parquet(pl.DataFrame(rows, schema=schema, orient="row"), out / "trials.parquet")
    (out / "quarantine.jsonl").write_bytes(_quarantine_lines(read.quarantined))
