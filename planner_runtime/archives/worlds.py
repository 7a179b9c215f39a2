"""World runs -> run records: builds, evolution candidates, and evolutions as decisions.

Belongs here: what stages, verdicts and evolutions say. Does not: workcells (``workcells``).
Source: formats 3.1 to 3.5 and 6.4. An evolution is the unit somebody decided about; its
candidates are its group.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from planner_runtime.archives.evidence import first_known
from planner_runtime.archives.gates import gate_results
from planner_runtime.archives.moments import (
    bounded_moment,
    bounded_span,
    moment_ms,
    span_between,
    stamp_ms,
)
from planner_runtime.archives.runs import RunRecord, action_of_plan
from planner_runtime.archives.world_files import Stage, WorldRunRecord
from planner_runtime.contracts.executed_plan import ExecutedPlan
from planner_runtime.contracts.run_summary import ActionExecuted, GateResult, Status
from planner_runtime.inputs import WORLD_ISSUE_PREFIX, issue_document

WORKCELL_PREFIX: Final = "fab-world_"
CANDIDATE_PREFIX: Final = "evo_"
WORLD_JOB: Final = "fab-world"
_DONE: Final = ("success", "skipped", "optional_failed")
_JOB_MS: Final = re.compile(r"^run_(\d{12,14})_")
_STAMP: Final = re.compile(r"_(\d{8}T\d{6}Z)$")


def _stage_gates(stages: list[Stage]) -> tuple[tuple[GateResult, ...], tuple[str, ...]]:
    """Gates of all stages, and the codes of what failed: hard gate codes, then stages."""
    listed = ((stage, stage.metadata.get("gates")) for stage in stages)
    results, codes = gate_results(
        (str(gate.get("gate", stage.id)), gate)
        for stage, gates in listed
        for gate in (gates if isinstance(gates, list) else ())
        if isinstance(gate, Mapping)
    )
    return results, (*codes, *(f"stage:{s.id}" for s in stages if s.status == "failed"))


def _build_status(record: WorldRunRecord) -> Status | None:
    """Success when every required stage was; None while one is still running or none ran."""
    assert record.manifest is not None
    stages = record.manifest.stages
    if not stages or any(stage.status == "running" for stage in stages):
        return None
    if any(stage.status not in _DONE and not stage.optional for stage in stages):
        return "failed"
    return (
        "failed" if record.verdict is not None and record.verdict.verdict != "pass" else "success"
    )


def _started(record: WorldRunRecord) -> tuple[int | None, str]:
    job, stamp = _JOB_MS.match(record.run_id), _STAMP.search(record.run_id)
    created = record.manifest.created_at if record.manifest else None
    found: tuple[int | None, str] = first_known(
        (bounded_moment(record.meta.started_ms) if record.meta else None, "run_meta.json"),
        (bounded_moment(int(job[1])) if job else None, "run_id"),
        (moment_ms(created), "manifest.json"),
        (stamp_ms(stamp[1]) if stamp else None, "run_id"),
    )
    return found


def _ended(record: WorldRunRecord) -> tuple[int | None, str]:
    """The latest end that is told; None while some stage has none."""
    known: list[tuple[int, str]] = []
    if record.result is not None:
        moment = bounded_moment(record.result.ended_ms)
        if moment is not None:
            known.append((moment, "job_result.json"))
    for stage in record.manifest.stages if record.manifest is not None else ():
        started, span = moment_ms(stage.started_at), bounded_span(stage.duration_ms)
        if started is None or span is None:
            return None, ""
        known.append((started + span, "manifest.json"))
    return max(known, default=(None, ""))


def _world_issue(world_id: str) -> dict[str, Any]:
    """A world run has no issue and retries nothing: defaults under the world's name."""
    raw = {
        "id": f"{WORLD_ISSUE_PREFIX}{world_id}",
        "title": f"Evolve {world_id}",
        "tags": ["asset:world", f"world:{world_id}"],
    }
    return issue_document(raw, attempts=0)


def _is_backwards(started: int | None, ended: int | None) -> bool:
    return started is not None and ended is not None and ended < started


def _build_run(record: WorldRunRecord) -> RunRecord:
    assert record.manifest is not None
    started, started_from = _started(record)
    ended, ended_from = _ended(record)
    gates, codes = _stage_gates(record.manifest.stages)
    status = _build_status(record)
    stages = record.manifest.stages
    spans = [bounded_span(stage.duration_ms) for stage in stages]
    known = [span for span in spans if span is not None]
    context = record.context
    world_id = record.manifest.world_id
    return RunRecord(
        run_id=record.run_id,
        kind="world",
        group_id=record.run_id,
        issue_id=f"{WORLD_ISSUE_PREFIX}{world_id}",
        job_type=WORLD_JOB,
        domain="fab_world",
        toolchain="fab-world",
        universe_id=(context.universe_id if context else None) or "unknown",
        world_id=world_id,
        objective_id=context.objective_id if context else None,
        issue=_world_issue(world_id),
        has_attempts=True,
        decided_ms=started,
        started_ms=started,
        ended_ms=None if status is None or _is_backwards(started, ended) else ended,
        status=status,
        fail_codes=codes if status == "failed" else (),
        gates=gates,
        duration_ms=bounded_span(sum(known)) if known and len(known) == len(stages) else None,
        action_executed=ActionExecuted(swarm_id=context.swarm_id if context else None),
        evidence={"started_ms": started_from, "ended_ms": ended_from, "status": "manifest.json"},
    )


def _evolution_run(record: WorldRunRecord) -> RunRecord:
    evolution = record.evolution
    assert evolution is not None
    started, started_from = _started(record)
    ended = moment_ms(evolution.generated_at)
    plan = ExecutedPlan(
        swarm_id_executed=evolution.swarm_id,
        max_candidates_executed=evolution.population_size
        if evolution.population_size > 0
        else None,
        timeout_seconds_executed=None,  # evolve has no time budget
        max_iterations_executed=None,
        fallback_applied=False,
    )
    selected = any(generation.selected_run_id for generation in evolution.history)
    return RunRecord(
        run_id=record.run_id,
        kind="evolution",
        group_id=record.run_id,
        issue_id=f"{WORLD_ISSUE_PREFIX}{evolution.world_id}",
        job_type=WORLD_JOB,
        domain="fab_world",
        toolchain="fab-world",
        universe_id=evolution.universe_id,
        world_id=evolution.world_id,
        objective_id=evolution.objective_id,
        issue=_world_issue(evolution.world_id),
        has_attempts=True,
        decided_ms=started,
        started_ms=started,
        ended_ms=None if _is_backwards(started, ended) else ended,
        status="success" if selected else "failed",
        fail_codes=() if selected else ("no_candidate_passed",),
        duration_ms=span_between(started, ended),
        action_executed=action_of_plan(plan),
        plan=plan,
        evidence={
            "started_ms": started_from,
            "ended_ms": "evolve_world.json",
            "status": "evolve_world.json",
            "plan": "evolve_world.json",
        },
    )


def world_run(record: WorldRunRecord, evolution: WorldRunRecord | None) -> RunRecord | None:
    """One run directory as a run; None for a desktop job that built no world.

    A candidate shares its evolution's group, population and end. It is not shown before its
    evolution has ended: until then nobody could tell from the files which evolution it belongs to,
    or how large it is. An evolution's universe defaults stay unknown: the universe's file says what
    they are today.

    Args:
        evolution: The evolution that names this run as a candidate.
    """
    if record.evolution is not None:
        return _evolution_run(record)
    if record.manifest is None:
        return None
    parent = None if evolution is None else _evolution_run(evolution)
    return _of_evolution(_build_run(record), parent)


def _of_evolution(build: RunRecord, evolution: RunRecord | None) -> RunRecord:
    """A world run as part of its evolution; a candidate without one is never shown."""
    if evolution is None:
        is_candidate = build.run_id.startswith(CANDIDATE_PREFIX)
        return msgspec.structs.replace(build, ended_ms=None) if is_candidate else build
    ends = (build.ended_ms, evolution.ended_ms)
    return msgspec.structs.replace(
        build,
        group_id=evolution.group_id,
        ended_ms=None if None in ends else max(end for end in ends if end is not None),
        action_executed=ActionExecuted(
            swarm_id=build.action_executed.swarm_id,
            max_candidates=evolution.action_executed.max_candidates,
        ),
        evidence={**build.evidence, "ended_ms": "evolve_world.json"},
    )
