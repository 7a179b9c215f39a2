"""What one evolution of the real kernel left -> the result of a unit.

Belongs here: which universe and world a case means, and reading ``evolve_world.json``. Does not:
running the kernel (``cyntra``), dispatches of issues (``cyntra_results``).
Source: formats 2.3 (a world issue's tags), 3.1 to 3.4, 6.4.

The result is that of the candidate selected last. Candidates are evaluated one after another, and
the kernel sets no limit to them all: what was not summed up when the time was over, did not pass.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from planner_pipeline.bench.executors.children import Child, last_words
from planner_pipeline.bench.protocol import Case, HarnessError, Result, Unit
from planner_pipeline.sources.settings import UniverseRecord
from planner_runtime.actions import NA, Action
from planner_runtime.archives.files import Quarantine, read_json, subdirectories
from planner_runtime.archives.moments import bounded_span
from planner_runtime.archives.world_files import (
    FOLDER,
    SOURCE,
    Evolution,
    EvolveCandidate,
    read_world_run,
)
from planner_runtime.archives.worlds import WORLD_JOB, world_run
from planner_runtime.contracts.bench_outcome import AttemptOutcome, OutcomeStatus
from planner_runtime.contracts.run_summary import GateResult
from planner_runtime.inputs import WORLD_ISSUE_PREFIX

WHAT: Final = "cyntra evolve"
SUMMARY_PREFIX: Final = "evolve_world_"
SUMMARY: Final = "evolve_world.json"
DEFAULT_WORLD: Final = "outora_library"
DEFAULT_GENERATIONS: Final = 3
TOOLCHAIN: Final = "fab-world"


class _Candidate(EvolveCandidate, frozen=True, kw_only=True):
    metrics: dict[str, Any] = msgspec.field(default_factory=dict)


class _Generation(msgspec.Struct, frozen=True, kw_only=True):
    selected_run_id: str | None = None
    candidates: list[_Candidate] = []


class _Evolved(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of ``evolve_world.json`` that a bench needs beyond ``Evolution``."""

    generations: int
    history: list[_Generation] = []

    @property
    def candidates(self) -> list[_Candidate]:
        """All of them, in the order in which they were evaluated."""
        return [one for generation in self.history for one in generation.candidates]

    @property
    def shown(self) -> _Candidate | None:
        """The one selected last; where none was, the first that passed."""
        by_id = {one.run_id: one for one in self.candidates}
        chosen = (one.selected_run_id for one in reversed(self.history))
        passed = (one.run_id for one in self.candidates if one.passed)
        return next((by_id[name] for name in (*chosen, *passed) if name in by_id), None)


def is_world(case: Case) -> bool:
    """Whether a case is about a world rather than code."""
    return case.job_type == WORLD_JOB or case.issue_id.startswith(WORLD_ISSUE_PREFIX)


def world_of(case: Case) -> str:
    """The world of a case: in its id, or in the issue's tags, else the kernel's own default."""
    tags = case.issue.get("tags")
    names = [case.issue_id, *(tags if isinstance(tags, list) else ())]
    told = (
        name.removeprefix(WORLD_ISSUE_PREFIX)
        for name in names
        if isinstance(name, str) and name.startswith(WORLD_ISSUE_PREFIX)
    )
    return next(told, DEFAULT_WORLD)


def universe_of(case: Case, universes: Iterable[UniverseRecord]) -> str | None:
    """The universe a case names; where it names none, the only one there is."""
    known = [one.universe_id for one in universes]
    named = case.planner_input.get("universe_id")
    if isinstance(named, str) and named in known:
        return named
    return known[0] if len(known) == 1 and named in (None, "", "unknown") else None


def generations_of(action: Action) -> int:
    """How many generations an action amounts to."""
    bin_ = action.max_iterations_bin
    return DEFAULT_GENERATIONS if bin_ == NA else int(bin_)


def evolution_result(
    copy: Path, unit: Unit, child: Child, *, universe: str, base_commit: str
) -> Result:
    """The result of a unit from what the kernel left of its evolution.

    Raises:
        HarnessError: nothing tells what came of it, or another evolution ran than the wanted one.
    """
    found = _read_summary(copy)
    if found is None:
        if child.is_late:
            return Result(
                status="timeout",
                is_censored=True,
                metrics={"overall": 0.0},
                duration_ms=child.wall_ms,
                agent_ms=child.wall_ms,
                isolation="none",
                base_commit=base_commit,
                reason="its time was over before its evolution was",
            )
        said = last_words(child.stderr)
        raise HarnessError(WHAT, f"exit code {child.exit_code}, no {SUMMARY}; stderr: {said}")
    summary, evolved = found
    wanted = (universe, world_of(unit.case), unit.n_candidates, generations_of(unit.action))
    ran = (summary.universe_id, summary.world_id, summary.population_size, evolved.generations)
    if wanted != ran:
        raise HarnessError(WHAT, f"wanted {wanted}, it ran {ran}")
    shown = evolved.shown
    status: OutcomeStatus = "timeout" if child.is_late else "failed"
    if any(one.passed for one in evolved.candidates):
        status = "passed"
    attempts = _attempts(evolved.candidates, unit)
    numbers = {one.run_id: number for number, one in enumerate(evolved.candidates, start=1)}
    metrics = {} if shown is None else _numbers(shown.metrics)
    return Result(
        status=status,
        is_censored=status == "timeout",
        gates=() if shown is None else _gates(copy, shown.run_id),
        metrics={"overall": float(status == "passed"), **metrics},
        duration_ms=child.wall_ms,
        agent_ms=child.wall_ms,
        attempts=attempts,
        winner=None if shown is None or not attempts else numbers[shown.run_id],
        isolation="none",
        base_commit=base_commit,
        reason=None if status == "passed" else "no candidate passed",
    )


def _read_summary(copy: Path) -> tuple[Evolution, _Evolved] | None:
    """The one evolution of a copy, as history and as the bench reads it."""
    names, _ = subdirectories(copy, copy / FOLDER, SOURCE)
    names = [name for name in names if name.startswith(SUMMARY_PREFIX)]
    if len(names) > 1:
        raise HarnessError(WHAT, f"it left {len(names)} evolutions")
    for name in names:
        folder = copy / FOLDER / name
        record, refused = read_world_run(copy, folder)
        evolved = read_json(copy, folder / SUMMARY, _Evolved, SOURCE)
        if isinstance(evolved, Quarantine):
            refused.append(evolved)
        elif evolved is not None and record is not None and record.evolution is not None:
            return record.evolution, evolved
        for row in refused:
            if not row.is_pending:
                raise HarnessError(WHAT, f"{row.file}: {row.reason}: {row.detail[:200]}")
    return None


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def _gates(copy: Path, run_id: str) -> tuple[GateResult, ...]:
    record, _ = read_world_run(copy, copy / FOLDER / run_id)
    run = None if record is None else world_run(record, None)
    return () if run is None else run.gates


def _attempts(candidates: list[_Candidate], unit: Unit) -> tuple[AttemptOutcome, ...]:
    """Every candidate as an attempt; none where some do not tell how long they took."""
    spans = [bounded_span(_numbers(one.metrics).get("duration_ms")) for one in candidates]
    return tuple(
        AttemptOutcome(
            attempt=number,
            toolchain=TOOLCHAIN,
            seed=unit.seed,
            status="success" if one.passed else "failed",
            is_passed=one.passed,
            duration_ms=span,
            workcell_id=one.run_id,
        )
        for number, (one, span) in enumerate(zip(candidates, spans, strict=True), start=1)
        if span is not None and None not in spans
    )
