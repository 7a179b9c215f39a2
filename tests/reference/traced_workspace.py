"""A workspace whose decisions carry policy traces, for tests of what is made of them.

Belongs here: what those tests share. Does not: anything that is shipped.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from planner_runtime.actions import NA, Action, ActionSpace, candidate_set_hash, valid_actions
from planner_runtime.inputs import blank_planner_input, rfc3339

SPACE = ActionSpace(
    swarm_ids=("serial_handoff",),
    max_candidates_bins=(1,),
    max_minutes_bins=(15, 30, 60),
    max_iterations_bins=(NA,),
)
ACTIONS = valid_actions(SPACE, "code")  # 15, 30, 60 minutes
START_MS = 1_760_000_000_000
MINUTE_MS = 60_000
PASS_RATIO = (0.3, 0.5, 0.8)  # of each action


def choice(action: Action) -> dict[str, Any]:
    return {
        "swarm_id": action.swarm_id,
        "budgets": {
            "max_minutes_bin": action.max_minutes_bin,
            "max_candidates_bin": action.max_candidates_bin,
            "max_iterations_bin": action.max_iterations_bin,
        },
    }


def a_trace(
    chosen: Action = ACTIONS[0], *, propensity: float = 1.0, epsilon: float | None = None,
    mode: str = "enforce", created_ms: int = START_MS, **changes: Any,
) -> dict[str, Any]:  # fmt: skip
    nothing = dict.fromkeys(
        ("kernel_config_hash", "universe_hash", "prompt_frontier_hash", "toolchain_versions_hash")
    )
    return {
        "schema_version": "cyntra.policy_trace.v1",
        "created_at": rfc3339(created_ms),
        "input_hash": None,
        "decided_by": "baseline" if epsilon is None else "exploration",
        "mode": mode,
        "chosen": choice(chosen),
        "baseline": choice(ACTIONS[0]),
        "n_candidates": len(ACTIONS),
        "candidate_set_hash": candidate_set_hash(SPACE, "code"),
        "propensity": propensity,
        "exploration": {"enabled": epsilon is not None, "epsilon": epsilon or 0.0},
        "stability": nothing,
        "n_open": None if epsilon is None else len(ACTIONS),
    } | changes


def write_archive(
    repo: Path, number: int, trace: dict[str, Any] | bytes | None, *, issue: str = "1",
    ran_seconds: int | None = 900, passed: bool | None = True, minutes: float = 5.0,
    planner_input: dict[str, Any] | None = None, has_plan: bool = True, beside: bool = False,
    fallback: str | None = None,
) -> str:  # fmt: skip
    """One archived workcell; returns its id. ``passed=None``: nothing tells how it ended."""
    started = START_MS + number * 3_600_000
    stamp = rfc3339(started)[:19].replace("-", "").replace(":", "")
    name = f"wc-{issue}-{stamp}Z"
    folder = repo / ".cyntra" / "archives" / name
    folder.mkdir(parents=True)
    question = blank_planner_input() | {
        "created_at": rfc3339(started),
        "action_space": SPACE.to_document(),
    }
    planner: dict[str, Any] = {"planner_input": planner_input or question}
    if has_plan:
        planner["executed_plan"] = {
            "schema_version": "cyntra.executed_plan.v1",
            "swarm_id_executed": "serial_handoff",
            "max_candidates_executed": 1,
            "timeout_seconds_executed": ran_seconds,
            "max_iterations_executed": None,
            "fallback_applied": fallback is not None,
            "fallback_reason": fallback,
        }
    if isinstance(trace, dict) and not beside:
        planner["policy_trace"] = trace
    manifest = {"workcell_id": name, "issue": {"id": issue}, "job_type": "code", "planner": planner}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    if isinstance(trace, bytes):
        (folder / "policy_trace.json").write_bytes(trace)
    elif trace is not None and beside:
        (folder / "policy_trace.json").write_text(json.dumps(trace))
    if passed is not None:
        proof = {
            "status": "success",
            "issue_id": issue,
            "verification": {"gates": {}, "all_passed": passed, "blocking_failures": []},
            "metadata": {
                "started_at": rfc3339(started),
                "completed_at": rfc3339(started + round(minutes * MINUTE_MS)),
                "duration_ms": round(minutes * MINUTE_MS),
                "cost_usd": 0.1 * minutes,
            },
        }
        (folder / "proof.json").write_text(json.dumps(proof))
    return name


def write_explored(
    repo: Path, *, n_issues: int = 60, per_issue: int = 3, epsilon: float = 0.6, seed: int = 0
) -> None:
    """Decisions drawn around fifteen minutes, of a world in which longer is better."""
    rng = np.random.default_rng(seed)
    share = epsilon / len(ACTIONS)
    for number in range(n_issues * per_issue):
        is_greedy = rng.random() < 1 - epsilon
        taken = 0 if is_greedy else int(rng.integers(len(ACTIONS)))
        trace = a_trace(
            ACTIONS[taken], propensity=share + (1 - epsilon) * (taken == 0), epsilon=epsilon
        )
        write_archive(
            repo, number, trace, issue=f"issue-{number % n_issues}",
            ran_seconds=60 * int(ACTIONS[taken].max_minutes_bin), minutes=float(rng.uniform(2, 14)),
            passed=bool(rng.random() < PASS_RATIO[taken]),
        )  # fmt: skip
