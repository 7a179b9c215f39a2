"""The replay executor: what an action would have come to on attempts that were logged without it.

Belongs here: trial tables as cases, units as every subset of a case's attempts. Does not: the
enumeration (``bench.replay``), real processes (``local``). Spec: section 9.

Nothing runs and nothing is random: a unit has one outcome for every subset of as many attempts as
the action has candidates, so their mean is the expected value, their spread that of single tries.
It assumes that a vote finds a passing candidate whenever there is one: for more than one candidate
pass ratios are upper bounds.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from planner_pipeline.bench.cases import NoCase
from planner_pipeline.bench.config import BenchConfig
from planner_pipeline.bench.protocol import Case, HarnessError, Result, Spend, Unit
from planner_pipeline.bench.replay import MINUTE_MS, Budget, case_rows, cases_of, replay
from planner_pipeline.bench.trial_study import build_trial_study
from planner_pipeline.sources.trials import Trial
from planner_pipeline.tables import ACTION_OUTCOMES
from planner_runtime.actions import ActionSpace
from planner_runtime.contracts.canonical import input_hash
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.reading import read_document
from planner_runtime.heuristic import baseline_action
from planner_runtime.kernel_config import SHIPPED_CONFIG

# a vote over one candidate is a serial run under another name, and "NA" is no budget to replay
REPLAY_SPACE: Final = ActionSpace(
    max_candidates_bins=(1, 2, 3), max_minutes_bins=(15, 30, 45, 60, 120)
)


def replay_cases(trials: Sequence[Trial]) -> tuple[list[Case], list[NoCase]]:
    """One case for every system at every task, asked when its first attempt began, with what had
    ended by then as its history.

    The baseline is the kernel's own plan under the configuration it ships with.
    """
    study = build_trial_study(trials)
    cases = []
    for row in study.cases.iter_rows(named=True):
        document: dict[str, Any] = msgspec.json.decode(row["planner_input"])
        document["action_space"] = REPLAY_SPACE.to_document()
        question = read_document(document, PlannerInput)
        cases.append(
            Case(
                case_id=row["case_id"],
                issue_id=row["issue_id"],
                job_type=question.job_type,
                issue={"id": row["issue_id"], "title": question.issue.title},
                planner_input=document,
                input_hash=input_hash(document),
                baseline=baseline_action(REPLAY_SPACE, question, SHIPPED_CONFIG),
                system=row["system"],
                example_id=None,
            )
        )
    refused = [NoCase(issue_id=left.case_id, reason=left.reason) for left in study.left_out]
    return sorted(cases, key=lambda case: case.case_id), refused


class ReplayExecutor:
    """Plays units on the attempts of trial tables."""

    def __init__(self, trials: Sequence[Trial], config: BenchConfig) -> None:
        self._attempts = cases_of(trials)
        self._config = config
        left_out = replay(trials, []).left_out
        self._left_out = {left.case_id: left.reason for left in left_out}

    @property
    def name(self) -> str:
        """As written into every outcome."""
        return "replay"

    def versions(self) -> dict[str, str]:
        """The systems that made the attempts; their names hold their versions."""
        systems = {trial.system for attempts in self._attempts.values() for trial in attempts}
        return {system: system for system in sorted(systems)}

    def why_not(self, case: Case) -> str | None:
        """Why it cannot run a case; None where it can."""
        if case.case_id not in self._attempts:
            return "no attempt at it was logged"
        return self._left_out.get(case.case_id)

    def worst_case(self, unit: Unit) -> Spend:
        """Nothing: what is replayed was paid for long ago."""
        return Spend(attempts=0, agent_minutes=0.0, wall_seconds=0.0, cost_usd=0.0)

    def run(self, unit: Unit) -> tuple[Result, ...]:
        """One result for every subset of the case's attempts.

        Raises:
            HarnessError: the case has fewer attempts than the action has candidates, or cannot be
                replayed at all.
        """
        why = self.why_not(unit.case)
        if why is not None:
            raise HarnessError("replay", why)
        minutes = self._config.minutes(unit.action)
        budget = Budget(unit.n_candidates, minutes)
        attempts = self._attempts[unit.case.case_id]
        names = ACTION_OUTCOMES.columns
        rows = [
            dict(zip(names, row, strict=True))
            for row in case_rows(unit.case.case_id, attempts, [budget])
        ]
        if not rows:
            raise HarnessError(
                "replay", f"{len(attempts)} attempts were logged, {budget.k} are needed"
            )
        return tuple(_result(row, attempts, budget) for row in rows)

    def interrupt(self) -> None:
        """Nothing runs."""


def _result(row: dict[str, Any], attempts: Sequence[Trial], budget: Budget) -> Result:
    limit_ms = budget.minutes * MINUTE_MS
    chosen = [trial for trial in attempts if trial.attempt in row["attempts"]]
    cut = [trial for trial in chosen if (trial.duration_ms or 0) > limit_ms]
    passed: bool = row["passed"]
    agent_ms = round(row["agent_minutes"] * MINUTE_MS)
    spans = [min(trial.duration_ms or 0, limit_ms) for trial in chosen]
    until_pass = row["minutes_to_pass"]
    duration_ms = max(spans) if until_pass is None else round(until_pass * MINUTE_MS)
    metrics = {"overall": float(passed), "duration_ms": float(duration_ms)}
    if row["cost_usd"] is not None:
        metrics["cost_usd"] = row["cost_usd"]
    return Result(
        status="passed" if passed else "timeout" if cut else "failed",
        is_censored=not passed and bool(cut),
        metrics=metrics,
        duration_ms=duration_ms,
        agent_ms=agent_ms,
        cost_usd=row["cost_usd"],
        replayed=tuple(row["attempts"]),
    )
