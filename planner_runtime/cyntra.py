"""The names that a Cyntra kernel imports of its planner, so that it changes import lines only.

Belongs here: formats 7.1, name for name: arguments, shapes, errors; and what a kernel uses that
takes the whole change of docs/serving.md. Does not: what any of it does (the modules it is taken
from), training and benches (``cyntra-planner``).
Source: reference/cyntra-formats.md 7.1 and 7.4.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from planner_runtime.actions import (
    NA,
    Action,
    ActionSpace,
    action_space_for_swarms,
    nearest_bin,
    valid_actions,
)
from planner_runtime.actions import is_valid_action as _is_valid
from planner_runtime.contracts.bins import Bin
from planner_runtime.contracts.canonical import input_hash as hash_planner_input
from planner_runtime.contracts.reading import to_document
from planner_runtime.decision import BASELINE_ID
from planner_runtime.inputs import rfc3339
from planner_runtime.kernel.answers import action_document
from planner_runtime.kernel.answers import executed_plan_document as build_executed_plan_v1
from planner_runtime.kernel.asking import N_SIMILAR
from planner_runtime.kernel.dispatch import KernelPlanner
from planner_runtime.kernel.history import KernelHistory
from planner_runtime.kernel.modes import Caps
from planner_runtime.kernel.question import (
    Histories,
    History,
    HistoryCandidates,
    KernelQuestion,
    clock_ms,
)
from planner_runtime.kernel.selection import PlannerSelection
from planner_runtime.kernel.settings import PlannerSettings, planner_settings_of
from planner_runtime.metrics import Metrics
from planner_runtime.planner import Planner, load_bundle
from planner_runtime.schemas import json_schema

__all__ = [
    "NA",
    "Action",
    "ActionSpace",
    "BudgetBin",
    "Caps",
    "InferenceError",
    "KernelHistory",
    "KernelPlanner",
    "Metrics",
    "OnnxPlanner",
    "PlannerSelection",
    "PlannerSettings",
    "action_space_for_swarms",
    "build_executed_plan_v1",
    "build_planner_action_v1",
    "build_planner_input_v1",
    "collect_history_candidates",
    "hash_planner_input",
    "is_valid_action",
    "load_executed_plan_schema",
    "load_planner_action_schema",
    "load_planner_input_schema",
    "planner_manifest_bundle",
    "planner_settings_of",
    "system_state_snapshot",
    "valid_actions",
]

BudgetBin = Bin
_LOAD_EDGES: Final = ((0, "0"), (2, "1_2"), (5, "3_5"))
_histories = Histories()
# reasons of a planner that was asked and could not answer: a kernel's own planner raised there
_NO_ANSWER: Final = ("inference_failed", "deadline", "invalid_input", "no_valid_action")


def is_valid_action(
    *,
    job_type: str,
    swarm_id: str,
    max_candidates_bin: BudgetBin,
    max_minutes_bin: BudgetBin,
    max_iterations_bin: BudgetBin,
) -> bool:
    """Whether every validity rule allows the combination. Spec: section 4.2.

    >>> is_valid_action(job_type="code", swarm_id="serial_handoff", max_candidates_bin=2,
    ...     max_minutes_bin=60, max_iterations_bin="NA")
    False
    """
    action = Action(swarm_id, max_candidates_bin, max_minutes_bin, max_iterations_bin)
    return _is_valid(action, job_type=job_type)


def build_planner_input_v1(
    *,
    issue: Any,
    job_type: str,
    universe_id: str,
    universe_defaults: Mapping[str, str | None],
    action_space: ActionSpace,
    history_candidates: History,
    system_state: Mapping[str, Any] | None,
    now_ms: int | None = None,
    n_similar: int = N_SIMILAR,
) -> dict[str, Any]:
    """A ``planner_input.v1`` document.

    Args:
        issue: The kernel's own issue, or a mapping with its fields.
        history_candidates: ``run_summary.v1`` documents, or a ``KernelHistory``; only runs that had
            ended by ``now_ms`` are shown.
        now_ms: The moment of the decision, Unix epoch in milliseconds; None takes the clock.

    Raises:
        ValueError: ``now_ms`` is outside the calendar, or ``n_similar`` is negative.
    """
    asked = KernelQuestion(
        issue=issue,
        job_type=job_type,
        universe_id=universe_id,
        universe_defaults=universe_defaults,
        action_space=action_space,
        system_state=system_state,
        now_ms=clock_ms() if now_ms is None else now_ms,
    )
    question, _ = _histories.question(asked, history_candidates, n_similar=n_similar)
    return question


def build_planner_action_v1(
    *,
    swarm_id: str,
    max_candidates: int | None,
    max_minutes: float | None,
    max_iterations: int | None,
    action_space: ActionSpace,
    planner_input: Mapping[str, Any],
    now_ms: int | None = None,
    checkpoint_id: str = BASELINE_ID,
) -> dict[str, Any]:
    """A ``planner_action.v1`` of what a kernel does by itself, each budget in its nearest bin.

    Raises:
        ValueError: the space has no bin for a budget that is not known.
    """
    action = Action(
        swarm_id,
        nearest_bin(max_candidates, action_space.max_candidates_bins),
        nearest_bin(max_minutes, action_space.max_minutes_bins),
        nearest_bin(max_iterations, action_space.max_iterations_bins),
    )
    created_at = rfc3339(clock_ms() if now_ms is None else now_ms)
    return action_document(
        action,
        asked_hash=hash_planner_input(planner_input),
        created_at=created_at,
        checkpoint_id=checkpoint_id,
    )


def planner_manifest_bundle(
    *,
    planner_input: Mapping[str, Any],
    planner_action: Mapping[str, Any],
    executed_plan: Mapping[str, Any],
    timeout_seconds_override: int | None = None,
    policy_trace: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What goes under ``manifest["planner"]``. Source: formats 2.3 and 7.3."""
    section: dict[str, Any] = {
        "planner_input": dict(planner_input),
        "planner_action": dict(planner_action),
        "executed_plan": dict(executed_plan),
        "timeout_seconds_override": timeout_seconds_override,
    }
    if policy_trace is not None:
        section["policy_trace"] = dict(policy_trace)
    return section


@lru_cache(maxsize=8)
def _history_of(repo_root: Path, include_world: bool) -> list[HistoryCandidates]:
    """One element: the newest candidates of a workspace."""
    return [HistoryCandidates(KernelHistory(repo_root, include_world=include_world))]


def collect_history_candidates(
    *, repo_root: Path | str, include_world: bool = True
) -> list[dict[str, Any]]:
    """Every finished run of a workspace as a ``run_summary.v1``, by (started_ms, run_id).

    The first call of a process reads all archives, later ones those that are new. What cannot be
    read is left out and kept in quarantine, never raised. A document is shared by every list that
    has its run. A kernel that keeps a ``KernelHistory`` of its own saves the documents.
    """
    newest = _history_of(Path(repo_root).resolve(), include_world)
    earlier = newest[0]
    earlier.history.refresh()
    newest[0] = HistoryCandidates(earlier.history, earlier)
    return newest[0]


def system_state_snapshot(
    *,
    active_workcells: int | None,
    queue_depth: int | None,
    available_toolchains: Sequence[str] | None,
    now_ms: int | None = None,
) -> dict[str, Any]:
    """The ``system_state`` of a planner input. Source: formats 7.4.

    >>> system_state_snapshot(active_workcells=4, queue_depth=None,
    ...     available_toolchains=["codex"], now_ms=0)["active_workcells_bin"]
    '3_5'
    """
    seconds = (clock_ms() if now_ms is None else now_ms) / 1_000
    return {
        "active_workcells_bin": _load_bin(active_workcells),
        "queue_depth_bin": _load_bin(queue_depth),
        "available_toolchains": None
        if available_toolchains is None
        else list(available_toolchains),
        "toolchain_health": None,
        "hour_bucket": f"{datetime.fromtimestamp(seconds, UTC).hour:02d}",
        "budget_remaining_bin": None,
    }


def _load_bin(count: int | None) -> str | None:
    if count is None:
        return None
    return next((name for most, name in _LOAD_EDGES if count <= most), "6_plus")


class InferenceError(RuntimeError):
    """A model gave no answer; the text is the planner's reason."""


class OnnxPlanner:
    """A planner as the kernel's own were: it raises where it has no answer.

    Args:
        bundle_dir: A bundle's folder.

    Raises:
        BundleError: a file, the model or a golden case is not as it should be.
    """

    def __init__(self, bundle_dir: Path | str) -> None:
        self.bundle_dir = Path(bundle_dir)
        self._planner = Planner(*load_bundle(self.bundle_dir))

    def predict_action(self, planner_input: Mapping[str, Any]) -> dict[str, Any]:
        """A ``planner_action.v1``.

        Where the model abstains, ``confidence`` is 0, so that no kernel follows it at any
        threshold above 0, and ``reason`` holds what the model was sure of.

        Raises:
            InferenceError: the model has no answer to this question.
        """
        action = self._planner.plan(planner_input)
        reason = action.reason or ""
        if action.abstain_to_default and reason.startswith(_NO_ANSWER):
            raise InferenceError(reason)
        document = to_document(action)
        return document | {"confidence": 0.0} if action.abstain_to_default else document


def load_planner_input_schema() -> dict[str, Any]:
    """JSON Schema of ``planner_input.v1``."""
    return json_schema("planner_input")


def load_planner_action_schema() -> dict[str, Any]:
    """JSON Schema of ``planner_action.v1``."""
    return json_schema("planner_action")


def load_executed_plan_schema() -> dict[str, Any]:
    """JSON Schema of ``executed_plan.v1``."""
    return json_schema("executed_plan")
