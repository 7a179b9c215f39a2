"""Trial tables as a workspace in the kernel's formats, so that everything else just works.

Belongs here: writing issues, archives and ``trials.parquet`` for attempts made elsewhere.
Does not: reading the tables (``sources.trials``). What a table does not tell is left out of the
archive, and is read back as not known. Every attempt is one serial candidate; which limit it ran
under no table says, so its label's minutes are "NA".
"""

import hashlib
import re
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from planner_pipeline.artifacts import staged_directory, write_parquet
from planner_pipeline.sources.trials import IMPORT_FILE, Trial, TrialImport, TrialRead
from planner_runtime.inputs import rfc3339

TRIAL_COLUMNS = {
    "dataset": pl.String, "issue_id": pl.String, "repo": pl.String, "system": pl.String,
    "model": pl.String, "attempt": pl.Int64, "passed": pl.Boolean, "cost_usd": pl.Float64,
    "duration_ms": pl.Int64, "tokens_in": pl.Int64, "tokens_out": pl.Int64,
    "started_ms": pl.Int64, "ended_ms": pl.Int64, "fail_code": pl.String,
    "gates_passed": pl.Int64, "gates_total": pl.Int64,
}  # fmt: skip
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


def workcell_id(trial: Trial) -> str:
    """A workcell id for one attempt: unique, and in the kernel's form where its start is known."""
    key = f"{trial.dataset}\0{trial.issue_id}\0{trial.system}\0{trial.attempt}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:6]
    prefix, stamp = "trial", ""  # only a dated id may look like the kernel's, which hold a stamp
    if trial.started_ms is not None:
        prefix, stamp = "wc", "-" + re.sub(r"[-:]|\.\d+", "", rfc3339(trial.started_ms))
    issue, system = (_UNSAFE.sub("-", text).strip("-.") for text in (trial.issue_id, trial.system))
    return f"{prefix}-{issue[:120]}{stamp}-{system[:24].lower()}-{digest}"


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
    """``proof.json`` of an attempt; gate names are not known, so there are none.

    An attempt ends when the table says, else after its duration, which may leave out tests.
    """
    blocking = [trial.fail_code] if trial.fail_code and not trial.passed else []
    if trial.fail_code == "agent_timeout" and not trial.passed:
        blocking.append("timeout")
    ended_ms = trial.ended_ms
    if ended_ms is None and trial.started_ms is not None and trial.duration_ms is not None:
        ended_ms = trial.started_ms + trial.duration_ms
    metadata: dict[str, Any] = {"toolchain": trial.system, "model": trial.model}
    if trial.started_ms is not None:
        metadata["started_at"] = rfc3339(trial.started_ms)
    if ended_ms is not None:
        metadata["completed_at"] = rfc3339(ended_ms)
    if trial.duration_ms is not None:
        metadata["duration_ms"] = trial.duration_ms
    if trial.tokens_in is not None and trial.tokens_out is not None:
        metadata["tokens_used"] = trial.tokens_in + trial.tokens_out
    metadata["cost_usd"] = trial.cost_usd
    return {
        "schema_version": "1.0.0",
        "workcell_id": workcell_id(trial),
        "issue_id": trial.issue_id,
        "status": "success"
        if trial.passed
        else "partial",  # it ended; whether by itself is not told
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


def write_trial_workspace(out: Path, read: TrialRead) -> None:
    """Write a workspace of some trials, with ``trials.parquet`` and what was refused.

    Raises:
        FileExistsError: ``out`` holds something already.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty")
    with staged_directory(out) as folder:
        (folder / ".beads").mkdir()
        (folder / ".beads" / "issues.jsonl").write_bytes(_issue_lines(read.trials))
        archives = folder / ".cyntra" / "archives"
        archives.mkdir(parents=True)
        for trial in read.trials:
            archive = archives / workcell_id(trial)
            archive.mkdir()
            (archive / "manifest.json").write_bytes(msgspec.json.encode(manifest_document(trial)))
            (archive / "proof.json").write_bytes(msgspec.json.encode(proof_document(trial)))
        rows = [msgspec.to_builtins(trial) for trial in read.trials]
        table = pl.DataFrame(rows, schema=TRIAL_COLUMNS, orient="row")
        write_parquet(table, folder / "trials.parquet")
        told = TrialImport(count=read.count, quarantined=read.quarantined)
        text = msgspec.json.format(msgspec.json.encode(told), indent=2)
        (folder / IMPORT_FILE).write_bytes(text)
