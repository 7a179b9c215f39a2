"""Simulated dispatches as the kernel archives them: which file exists, and what is in it.

Belongs here: ``.cyntra/archives/<workcell>/*`` and the lines of ``events.jsonl``. Does not: luck
(``kernel``), what the documents look like (``kernel_archive``).
Source: reference/cyntra-formats.md 2.2 (which file exists when) and 2.7.
"""

from pathlib import Path
from typing import Any, Final

import msgspec

from planner_pipeline import kernel_archive
from planner_pipeline.kernel_archive import WorkcellAttempt, telemetry_lines
from planner_pipeline.sample.kernel import START_MS, Attempt, Dispatch
from planner_runtime.actions import NA, ActionSpace
from planner_runtime.heuristic import plan_to_action
from planner_runtime.inputs import rfc3339
from planner_runtime.kernel_config import SHIPPED_CONFIG

MODELS: Final = {
    "codex": "gpt-5.2",
    "claude": "claude-opus-4-5-20251101",
    "opencode": "openai/gpt-5-nano",
    "crush": "crush-default",
    "fab-world": "local",
}
EXIT_CODES: Final = {"success": 0, "partial": 1, "failed": 2}
UPDATE_DAYS: Final = (3, 9, 27, 81, 243)  # of simulated time, when codex is updated
LOG_WRITERS: Final = ("codex", "claude")  # adapters that write telemetry
QUALITY_GATES: Final = {"test": "pytest -q", "typecheck": "mypy src", "lint": "ruff check ."}
WORLD_CONFIG: Final = {
    "world_path": "fab/worlds/outora_library",
    "seed": 42,
    "param_overrides": {},
    "quality_gates": [],
}


PROOF_STATUS: Final = {
    "passed": "success", "gates_failed": "success", "partial": "partial", "exit_2": "failed",
    "forbidden": "success", "timeout": "timeout", "exception": "error",
}  # fmt: skip
ERRORS: Final = {
    "timeout": "Execution timed out",
    "exception": "adapter lost its process (simulated)",
}


def blocking_failures(attempt: Attempt) -> list[str]:
    """What the verifier writes; it sees a proof without gates in speculate mode only (2.2)."""
    failed = [gate for gate, passed in attempt.gates.items() if not passed]
    if attempt.tag is None or attempt.gates:
        return failed
    return {
        "timeout": ["timeout", "status:timeout"],
        "exception": ["error", "status:error"],
        "exit_2": ["status:failed"],
    }.get(attempt.ending, [])


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)


def _planner_section(dispatch: Dispatch, attempt: Attempt) -> dict[str, Any]:
    plan = dispatch.plan
    action = plan_to_action(ActionSpace(), plan, job_type=dispatch.job_type)
    seconds = SHIPPED_CONFIG.timeout_of(attempt.toolchain)
    return {
        "planner_input": dispatch.planner_input,
        "planner_action": {
            "schema_version": "cyntra.planner_action.v1",
            "created_at": dispatch.planner_input["created_at"],
            "swarm_id": action.swarm_id,
            "budgets": {
                "max_minutes_bin": action.max_minutes_bin,
                "max_candidates_bin": action.max_candidates_bin,
                "max_iterations_bin": NA,
            },
            "confidence": 1.0,
            "model": {"checkpoint_id": "baseline_heuristic_v0"},
        },
        "executed_plan": {
            "schema_version": "cyntra.executed_plan.v1",
            "swarm_id_executed": plan.swarm_id,
            "max_candidates_executed": plan.max_candidates,
            "timeout_seconds_executed": seconds,
            "max_iterations_executed": None,
            "fallback_applied": False,
            "fallback_reason": None,
        },
        "timeout_seconds_override": None,
    }


def toolchain_version(attempt: Attempt) -> str:
    """Codex is updated now and then, later ever more rarely; the others stay as they are."""
    days = (attempt.started_ms - START_MS) / 86_400_000
    updates = sum(days >= edge for edge in UPDATE_DAYS) if attempt.toolchain == "codex" else 0
    return f"simulated-1.{updates}"


def workcell_attempt(dispatch: Dispatch, attempt: Attempt, *, has_planner: bool) -> WorkcellAttempt:
    """A simulated attempt as the kernel archives it."""
    status = PROOF_STATUS[attempt.ending]
    is_world = dispatch.job_type == "fab-world"
    gates: dict[str, Any] = {
        gate: {
            "passed": passed,
            "exit_code": 0 if passed else 1,
            "duration_ms": 25_000,
            "output": None if passed else f"{gate} failed (simulated)",
            "error": None,
        }
        for gate, passed in attempt.gates.items()
    }
    if not all(attempt.gates.values()):
        gates["debug_analysis"] = {"failure-explainer": "simulated hook output"}
    spent = {"tokens_used": attempt.tokens, "cost_usd": attempt.cost_usd}
    return WorkcellAttempt(
        workcell_id=attempt.workcell_id,
        issue=dispatch.issue,
        job_type=dispatch.job_type,
        toolchain=attempt.toolchain,
        model=MODELS[attempt.toolchain],
        tag=attempt.tag,
        quality_gates={} if is_world else QUALITY_GATES,
        planner=_planner_section(dispatch, attempt) if has_planner else None,
        manifest_extra={"world_config": WORLD_CONFIG} if is_world else {},
        status=status,
        files=("src/main.py",),
        insertions=attempt.diff_lines,
        forbidden=(".github/x.yml",) if attempt.ending == "forbidden" else (),
        gates=gates,
        all_passed=attempt.ending == "passed",
        blocking=tuple(blocking_failures(attempt)),
        started_ms=attempt.started_ms,
        completed_ms=attempt.completed_ms,
        rolled_out_ms=attempt.ended_ms - 200,
        exit_code=EXIT_CODES.get(status),
        error=ERRORS.get(attempt.ending),
        toolchain_version=toolchain_version(attempt),
        metadata_extra={} if attempt.toolchain == "opencode" else spent,
        confidence=attempt.confidence,
        risk="medium" if attempt.diff_lines > 100 else "low",
    )


def has_proof(attempt: Attempt) -> bool:
    """Whether the kernel leaves a ``proof.json``. Source: formats 2.2."""
    if attempt.toolchain == "fab-world":
        return False
    return attempt.tag is not None or attempt.ending not in ERRORS


def has_rollout(attempt: Attempt) -> bool:
    """Whether the kernel leaves a ``rollout.json``. Source: formats 2.2."""
    is_speculating = attempt.tag is not None
    if not has_proof(attempt):
        return False
    return is_speculating or attempt.ending not in ("exit_2", "forbidden")


def write_archive(
    archives: Path, dispatch: Dispatch, attempt: Attempt, *, has_planner: bool
) -> None:
    """Write one workcell's archive."""
    told = workcell_attempt(dispatch, attempt, has_planner=has_planner)
    is_logged = attempt.toolchain in LOG_WRITERS
    kernel_archive.write_archive(
        archives / attempt.workcell_id,
        told,
        has_proof=has_proof(attempt),
        has_rollout=has_rollout(attempt),
        logs={f"{attempt.toolchain}-stdout.log": b"(simulated)\n"},
        telemetry=telemetry_lines(told, "(simulated)", 900) if is_logged else None,
    )


def event_lines(dispatch: Dispatch) -> bytes:
    """What one dispatch adds to ``.cyntra/logs/events.jsonl``. Source: formats 2.7."""
    issue_id = dispatch.issue["id"]

    def event(kind: str, at_ms: int, data: dict[str, Any], workcell: str | None = None) -> bytes:
        line: dict[str, Any] = {
            "type": kind, "timestamp": rfc3339(at_ms), "issue_id": issue_id, "data": data,
        }  # fmt: skip
        if workcell is not None:
            line["workcell_id"] = workcell
        return _json(line) + b"\n"

    is_speculating = dispatch.plan.swarm_id == "speculate_vote"
    lines = [event("issue.started", dispatch.decided_ms, {"speculate": is_speculating})]
    if dispatch.create_failed:
        data = {
            "toolchain": dispatch.plan.toolchains[0],
            "error": "git worktree add failed (simulated)",
            "attempt": dispatch.failed_attempts,
        }
        lines.append(event("workcell.create_failed", dispatch.decided_ms + 900, data))
        return b"".join(lines)
    for attempt in dispatch.attempts:
        data = {"toolchain": attempt.toolchain, "speculate_tag": attempt.tag}
        lines.append(event("workcell.created", attempt.started_ms - 900, data, attempt.workcell_id))
        lines.append(event("workcell.started", attempt.started_ms, {}, attempt.workcell_id))
    winner = dispatch.attempts[dispatch.winner]
    end_ms = max(attempt.ended_ms for attempt in dispatch.attempts)
    if is_speculating:
        ids = [attempt.workcell_id for attempt in dispatch.attempts]
        voting = {"candidates": ids, "count": len(ids)}
        lines.append(event("speculate.voting", end_ms - 100, voting))
    data = {"toolchain": winner.toolchain}
    if winner.ending == "passed":
        data |= {
            "duration_ms": winner.completed_ms - winner.started_ms,
            "speculate_tag": winner.tag,
        }
        kinds = ("workcell.completed", "issue.completed")
    else:
        data |= {
            "error": ERRORS.get(winner.ending, "verification failed"),
            "attempt": dispatch.failed_attempts,
        }
        kinds = ("workcell.failed", "issue.failed")
    lines += [event(kind, end_ms, data, winner.workcell_id) for kind in kinds]
    return b"".join(lines)
