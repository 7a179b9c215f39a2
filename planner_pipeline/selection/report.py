"""The answer: a table of decisions, and a document with every figure and every assumption.

Belongs here: bringing folds together, scoring, words. Does not: single figures (``figures``).
Shapes: S decided cases of all repetitions.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.selection.crossval import FoldRun
from planner_pipeline.selection.figures import (
    CalibrationFigures,
    ChooserFigures,
    Differences,
    Scored,
    Weighing,
    calibration_figures,
    chooser_figures,
    differences,
)
from planner_pipeline.selection.scenario import LeftOut, Partition, Scenario
from planner_pipeline.selection.worth import Stakes
from planner_runtime.objective import Objective


class FoldFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One fold in a line.

    Attributes:
        best_single: Of its training cases.
        policy, single, oracle: Mean utility over its scored cases; None where none is scored.
        gap_closed: None where the oracle is no better than the best single action.
        expected_gain, expected_gain_error: Over the best single action, out of bag.
    """

    repetition: int | str | None
    fold: int | str
    n: int
    n_scored: int
    n_training: int
    n_columns: int
    best_single: str
    policy: float | None
    single: float | None
    oracle: float | None
    gap_closed: float | None
    is_followed: bool
    expected_gain: float
    expected_gain_error: float
    price: float | None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How much there was, and how much of it counts.

    Attributes:
        decisions: Cases of all repetitions that got an action.
        scored: Of them, where the policy's and the best single action's outcome are known.
    """

    cases: int
    actions: int
    features: int
    outcomes: int
    groups: int
    repetitions: int
    folds: int
    decisions: int
    scored: int


class TimePenalty(msgspec.Struct, frozen=True, kw_only=True):
    """How runs that did not pass are counted in the penalised mean duration."""

    factor: float
    limit_ms_least: float
    limit_ms_greatest: float
    limit: str


class SelectReport(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="schema_version", tag="cyntra.selection.v1"
):
    """``select.json``."""

    objective: Objective
    objective_is_given: bool
    unit: str
    counts: Counts
    policy: ChooserFigures
    best_single: ChooserFigures
    oracle: ChooserFigures
    policy_against_best_single: Differences
    ece: CalibrationFigures | None
    time_penalty: TimePenalty | None
    abstain_share: float
    same_as_single_share: float
    actions_chosen: dict[str, int]
    members: tuple[str, ...]
    folds: tuple[FoldFigures, ...]
    assumptions: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    seed: int
    seconds: float | None = None


def decisions_table(scenario: Scenario, runs: Sequence[FoldRun]) -> pl.DataFrame:
    """One row a decided case and repetition, by repetition and case."""
    names = scenario.actions.names()
    has_repetitions = any(run.repetition is not None for run in runs)
    parts = [
        {
            "case_id": [scenario.case_ids[case] for case in run.cases],
            "fold": [run.fold] * len(run.cases),
            "action": [names[action] for action in run.action],
            "utility": run.utility.tolist(),
            "p_pass": run.p_pass.tolist(),
            "abstained": run.abstained.tolist(),
            "repetition": [run.repetition] * len(run.cases),
        }
        for run in runs
    ]
    columns: dict[str, list[Any]] = {
        name: [value for part in parts for value in part[name]]
        for name in ("case_id", "fold", "action", "utility", "p_pass", "abstained", "repetition")
    }
    for name in ("fold", "repetition"):
        if not all(isinstance(value, int) for value in columns[name]):
            columns[name] = [None if v is None else str(v) for v in columns[name]]
    table = pl.DataFrame(columns, strict=True).with_columns(
        pl.col("utility", "p_pass").fill_nan(None)
    )
    if not has_repetitions:
        return table.drop("repetition").sort("case_id")
    return table.sort("repetition", "case_id")


def _scored(stakes: Stakes, run: FoldRun, action: np.ndarray) -> Scored:
    at = (run.cases, action)
    unknown = np.full(len(action), np.nan)
    return Scored(
        utility=run.came[np.arange(len(action)), action],
        passed=stakes.outcomes.passed[at],
        cost_usd=stakes.outcomes.cost_usd[at],
        penalised_ms=unknown if stakes.penalised_ms is None else stakes.penalised_ms[at],
    )


def _joined(parts: Sequence[Scored]) -> Scored:
    return Scored(
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("utility", "passed", "cost_usd", "penalised_ms")
        }
    )


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


class _Fold(msgspec.Struct, frozen=True):
    """One fold's three choosers."""

    policy: Scored
    single: Scored
    oracle: Scored

    def mask(self) -> np.ndarray:
        """(M,) bool: the policy's and the best single action's outcome are known."""
        known: np.ndarray = np.isfinite(self.policy.utility) & np.isfinite(self.single.utility)
        return known


def _score(stakes: Stakes, run: FoldRun) -> _Fold:
    known = np.where(np.isfinite(run.came), run.came, -np.inf)
    return _Fold(
        _scored(stakes, run, run.action),
        _scored(stakes, run, np.full(len(run.action), run.single)),
        _scored(stakes, run, known.argmax(axis=1)),
    )


def _fold_figures(scenario: Scenario, run: FoldRun, fold: _Fold) -> FoldFigures:
    mask = fold.mask()
    policy, single, oracle = (
        _mean(one.utility[mask]) for one in (fold.policy, fold.single, fold.oracle)
    )
    gap = None
    if policy is not None and single is not None and oracle is not None and oracle > single:
        gap = (policy - single) / (oracle - single)
    return FoldFigures(
        repetition=run.repetition,
        fold=run.fold,
        n=len(run.cases),
        n_scored=int(mask.sum()),
        n_training=run.n_training,
        n_columns=run.n_columns,
        best_single=scenario.actions.names()[run.single],
        policy=policy,
        single=single,
        oracle=oracle,
        gap_closed=gap,
        is_followed=run.is_followed,
        expected_gain=run.gain,
        expected_gain_error=run.gain_error,
        price=run.price,
    )


def build_report(
    scenario: Scenario,
    stakes: Stakes,
    partitions: Sequence[Partition],
    runs: Sequence[FoldRun],
    *,
    objective_is_given: bool,
    notes: Sequence[str],
    seed: int,
) -> SelectReport:
    """Every figure of the decided folds, at least one.

    Raises:
        ValueError: there is no decided case.
    """
    if not sum(len(run.cases) for run in runs):
        raise ValueError("no case was decided")
    folds = [_score(stakes, run) for run in runs]
    policy, single, oracle = (
        _joined([getattr(fold, name) for fold in folds]) for name in ("policy", "single", "oracle")
    )
    mask = np.concatenate([fold.mask() for fold in folds])
    cases = np.concatenate([run.cases for run in runs])
    action = np.concatenate([run.action for run in runs])
    singles = np.concatenate([np.full(len(run.cases), run.single) for run in runs])
    weighing = Weighing([scenario.groups[case] for case in cases], seed)
    names = scenario.actions.names()
    outcomes = stakes.outcomes
    known = np.isfinite(np.stack([outcomes.passed, outcomes.duration_ms, outcomes.cost_usd]))
    penalty = None
    if stakes.limits is not None:
        penalty = TimePenalty(
            factor=stakes.objective.time_penalty,
            limit_ms_least=float(stakes.limits.limit_ms.min()),
            limit_ms_greatest=float(stakes.limits.limit_ms.max()),
            limit=stakes.limits.words,
        )
    return SelectReport(
        objective=stakes.objective,
        objective_is_given=objective_is_given,
        unit=stakes.unit,
        counts=Counts(
            cases=len(scenario.case_ids),
            actions=len(names),
            features=scenario.features.width,
            outcomes=int(known.any(axis=0).sum()),
            groups=len(set(scenario.groups)),
            repetitions=len(partitions),
            folds=len(runs),
            decisions=len(cases),
            scored=int(mask.sum()),
        ),
        policy=chooser_figures(policy, oracle, weighing, mask),
        best_single=chooser_figures(single, oracle, weighing, mask),
        oracle=chooser_figures(oracle, oracle, weighing, mask),
        policy_against_best_single=differences(policy, single, oracle, weighing, mask),
        ece=calibration_figures(np.concatenate([run.p_pass for run in runs]), policy.passed, seed),
        time_penalty=penalty,
        abstain_share=float(np.concatenate([run.abstained for run in runs]).mean()),
        same_as_single_share=float((action == singles).mean()),
        actions_chosen={
            name: int((action == row).sum())
            for row, name in enumerate(names)
            if (action == row).any()
        },
        members=runs[0].members,
        folds=tuple(
            _fold_figures(scenario, run, fold) for run, fold in zip(runs, folds, strict=True)
        ),
        assumptions=(*scenario.notes, *stakes.notes, *notes),
        left_out=scenario.left_out,
        seed=seed,
    )
