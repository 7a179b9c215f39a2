"""A bundle on trials that it never saw: what it decides for every (issue, system), and its worth.

Belongs here: decisions of a bundle in the order of time, from the history there was, and figures of
them by system. Does not: replaying attempts (``bench.replay``), the policy (``planner_runtime``).
Spec: sections 5.3 and 8.2. Shapes: G cases, A actions of the study.

A case is decided at the start of its first attempt. An outcome bundle knows the track record it
carries, and of the trials whatever had ended by then; what it carries may be younger than the
decision, so figures are told with and without it. A bundle of imitation is asked as a kernel would,
and what it says is taken for the nearest action of the study.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.artifacts import write_bytes, write_parquet
from planner_pipeline.bench.trial_study import (
    STUDY_BUDGETS,
    TrialStudy,
    build_trial_study,
)
from planner_pipeline.evaluation.bootstrap import N_BOOTSTRAP, Interval, interval_of, row_counts
from planner_pipeline.evaluation.reliability import equal_width_bins, null_level
from planner_pipeline.experiments.trial_outcomes import (
    ACTIONS,
    TrialOutcomes,
    playable,
    trial_outcomes,
)
from planner_pipeline.sources.trials import TrialRead, read_trials
from planner_pipeline.training.outcome_data import records_as_of
from planner_runtime.bundle import Bundle
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.reading import read_document
from planner_runtime.objective import Objective, Outlook, priced
from planner_runtime.outcomes.features import action_numbers, outcome_features
from planner_runtime.outcomes.model import OutcomeModel, outlook_of
from planner_runtime.outcomes.track_record import TrackRecordState
from planner_runtime.planner import Planner, action_of, load_bundle
from planner_runtime.policy import NO_LIMITS, prefer

UPPER_BOUND: Final = (
    "a vote is assumed to find a passing candidate whenever there is one: figures of several "
    "candidates are upper bounds",
    "an attempt that was cut short would have gone the same way until then",
    "the oracle and the best fixed action are chosen on the attempts that score them",
)
SEEN: Final = "the bundle was fitted on this issue and system"


class Decided(msgspec.Struct, frozen=True):
    """What a bundle decided. G rows.

    Attributes:
        action: (G,) index of the study's action.
        p_pass: (G, A) calibrated chances; None of a bundle that predicts none.
        abstained: (G,) bool, whether the bundle itself would have left it to the kernel.
    """

    action: np.ndarray
    p_pass: np.ndarray | None
    abstained: np.ndarray


def _study_row(candidates: Any, minutes: Any) -> int:
    """The study's action nearest to a choice of the kernel's bins: "NA" and what is above the
    loosest limit are the loosest.
    """
    k = candidates if isinstance(candidates, int) else 1
    limits = sorted({budget.minutes for budget in STUDY_BUDGETS})
    limit = limits[-1] if not isinstance(minutes, int) else min(
        limits, key=lambda m: (abs(m - min(minutes, limits[-1])), m)
    )  # fmt: skip
    return next(i for i, b in enumerate(STUDY_BUDGETS) if b.k == k and b.minutes == limit)


def decide_by_imitation(planner: Planner, study: TrialStudy) -> Decided:
    """What a bundle without outcomes says, asked as a kernel would."""
    actions, abstained = [], []
    for text in study.cases["planner_input"]:
        plan = planner.plan(text, now_ms=0)
        answer = action_of(plan)
        actions.append(_study_row(answer.max_candidates_bin, answer.max_minutes_bin))
        abstained.append(plan.abstain_to_default)
    return Decided(np.array(actions), None, np.array(abstained))


def decide_by_outcomes(
    bundle: Bundle,
    model: OutcomeModel,
    outcomes: TrialOutcomes,
    study: TrialStudy,
    objective: Objective,
    *,
    carried: bool,
) -> Decided:
    """What an outcome bundle prefers among the study's actions.

    Args:
        carried: Whether the bundle's own track record is known, else its priors alone.
    """
    assert bundle.outcome is not None
    state = bundle.outcome.track_record
    start = state if carried else TrackRecordState(priors=state.priors)
    tries = outcomes.data.tries
    known = [i in start.pairs.get(t, {}) for t, i in zip(tries.toolchain, tries.issue, strict=True)]
    tries = tries.choose(~np.array(known, dtype=bool))  # the state holds these already
    records = records_as_of(tries, outcomes.data.decisions, start)
    numbers = action_numbers(ACTIONS)
    baseline = study.cases["default_action"].to_list()
    calibration = bundle.outcome.calibration
    chosen, chances, abstained = [], [], []
    for text, record, default in zip(study.cases["planner_input"], records, baseline, strict=True):
        question = read_document(text.encode(), PlannerInput)
        raw = model.outcomes(outcome_features(record, question), numbers)
        outlook: Outlook = outlook_of(raw, calibration)
        preference = prefer(outlook, objective, ACTIONS, default, limits=NO_LIMITS)
        chosen.append(preference.chosen)
        chances.append(outlook.p_pass.mean(axis=0))
        differs = preference.chosen != default
        certain = calibration.follows(preference.confidence)
        abstained.append(calibration.is_novel(raw.novelty) or (differs and not certain))
    return Decided(np.array(chosen), np.array(chances), np.array(abstained))


class ReplayFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of the decisions about some cases; intervals resample issues."""

    n_cases: int
    n_issues: int
    value: Interval | None
    best_fixed_action: str
    best_fixed: Interval | None
    kernel_default: Interval | None
    oracle: Interval | None
    gain_on_best_fixed: Interval | None
    gain_on_default: Interval | None
    gap_closed: Interval | None
    regret: Interval | None
    pass_rate: Interval | None
    minutes_per_pass: Interval | None
    mean_minutes: Interval | None
    ece: float | None = None
    ece_null: float | None = None
    ece_null_95: float | None = None


class _Scores:
    """Expected utilities of the cases, and resamples of their issues."""

    def __init__(
        self, outcomes: TrialOutcomes, issues: Sequence[str], objective: Objective
    ) -> None:
        weights = objective.weights
        self.passed, self.minutes = outcomes.pass_ratio, outcomes.minutes
        self.utility = weights.passed * self.passed - weights.minute * self.minutes
        self.issues = list(issues)
        drawn = row_counts(self.issues, np.random.default_rng(0), N_BOOTSTRAP)
        self.counts = np.vstack([np.ones(len(self.issues)), drawn])

    def figures(
        self, decided: Decided, default: np.ndarray, fixed: int, rows: np.ndarray
    ) -> ReplayFigures:
        """Figures over some cases.

        Args:
            fixed: The best fixed action of all cases, so that systems are measured alike.
            rows: (G,) bool.
        """
        at = np.arange(len(rows))
        counts = self.counts * rows
        issues = {issue for issue, is_in in zip(self.issues, rows, strict=True) if is_in}
        n = int(rows.sum())

        def total(values: np.ndarray) -> np.ndarray:
            sums: np.ndarray = counts @ np.where(rows, values, 0.0)
            return sums

        def ratio(part: np.ndarray, whole: np.ndarray) -> Interval | None:
            draws = np.full(len(part), np.nan)
            np.divide(part, whole, out=draws, where=whole > 1e-12)
            return interval_of(draws, n=n, n_issues=len(issues))

        def mean(values: np.ndarray) -> Interval | None:
            return ratio(total(values), counts.sum(axis=1))

        value = self.utility[at, decided.action]
        best, base = self.utility[:, fixed], self.utility[at, default]
        oracle = self.utility.max(axis=1)
        passed, minutes = self.passed[at, decided.action], self.minutes[at, decided.action]
        ece: dict[str, float] = {}
        if decided.p_pass is not None:
            p, told = decided.p_pass[rows].ravel(), self.passed[rows].ravel()
            bins = equal_width_bins(p)
            gaps = np.bincount(bins, told - p, minlength=10)
            null = null_level(p, bins, seed=0)
            ece = {
                "ece": float(np.abs(gaps).sum() / len(p)), "ece_null": null[0],
                "ece_null_95": null[1],
            }  # fmt: skip
        return ReplayFigures(
            n_cases=n,
            n_issues=len(issues),
            value=mean(value),
            best_fixed_action=ACTIONS.names()[fixed],
            best_fixed=mean(best),
            kernel_default=mean(base),
            oracle=mean(oracle),
            gain_on_best_fixed=mean(value - best),
            gain_on_default=mean(value - base),
            gap_closed=ratio(total(value - best), total(oracle - best)),
            regret=mean(oracle - value),
            pass_rate=mean(passed),
            minutes_per_pass=ratio(total(minutes), total(passed)),
            mean_minutes=mean(minutes),
            **ece,
        )


class BundleReplay(msgspec.Struct, frozen=True, kw_only=True):
    """``replay.json``.

    Attributes:
        overall, by_system: Of decisions with all that the bundle carries.
        as_of: Overall, of decisions from its priors and what had ended alone; None of a bundle of
            imitation.
        n_before: Cases decided before the newest data the bundle was fitted on: for them, what it
            carries came later.
        abstained: Share of the cases where the served planner would have left it to the kernel.
        left_out: Reasons, and how many cases.
    """

    bundle_id: str
    arch: str
    objective: dict[str, Any]
    overall: ReplayFigures
    by_system: dict[str, ReplayFigures]
    as_of: ReplayFigures | None
    n_before: int
    abstained: float
    read: int
    quarantined: int
    left_out: dict[str, int]
    assumptions: tuple[str, ...] = UPPER_BOUND


def _unseen(study: TrialStudy, bundle: Bundle) -> tuple[TrialStudy, int]:
    """The study without the cases that the bundle's track record holds tries of."""
    if bundle.outcome is None:
        return study, 0
    pairs = bundle.outcome.track_record.pairs
    seen = [
        issue in pairs.get(system, {})
        for system, issue in study.cases.select("system", "issue_id").iter_rows()
    ]
    cases = study.cases.filter(~pl.Series(seen, dtype=pl.Boolean))
    outcomes = study.outcomes.filter(pl.col("case_id").is_in(cases["case_id"].to_list()))
    return msgspec.structs.replace(study, cases=cases, outcomes=outcomes), sum(seen)


def _objective_of(bundle: Bundle, objective: Objective | None) -> Objective:
    if objective is None:
        objective = Objective() if bundle.outcome is None else bundle.outcome.policy.objective
    if objective.rule == "constrained":
        objective = priced(objective, objective.weights.minute)
    return objective


def replay_bundle(
    folder: Path,
    read: TrialRead,
    *,
    objective: Objective | None = None,
    on_progress: Callable[[str], None] = lambda what: None,
) -> tuple[BundleReplay, pl.DataFrame]:
    """Decide every case that a bundle never saw, and score the decisions.

    Args:
        objective: Instead of the bundle's own.

    Returns:
        The figures, and a row a case: ids, the action, its chance, what it came to.

    Raises:
        BundleError: the bundle must not be used.
        ValueError: no case is left.
    """
    bundle, model = load_bundle(folder)
    wanted = _objective_of(bundle, objective)
    on_progress("building the cases")
    whole = playable(build_trial_study(read.trials))
    study, n_seen = _unseen(whole, bundle)
    left: dict[str, int] = {SEEN: n_seen} if n_seen else {}
    for one in whole.left_out:
        left[one.reason] = left.get(one.reason, 0) + 1
    if not study.cases.height:
        why = "; ".join(f"{reason}: {n}" for reason, n in left.items())
        raise ValueError(f"no case to decide: {why or 'the tables hold no attempt'}")
    outcomes = trial_outcomes(read.trials, study)
    default = study.cases["default_action"].to_numpy()
    on_progress(f"deciding {study.cases.height} cases")
    later = None
    if isinstance(model, OutcomeModel):
        decided = decide_by_outcomes(bundle, model, outcomes, study, wanted, carried=True)
        later = decide_by_outcomes(bundle, model, outcomes, study, wanted, carried=False)
    else:
        decided = decide_by_imitation(Planner(bundle, model, deadline_ms=None), study)
    scores = _Scores(outcomes, study.cases["issue_id"].to_list(), wanted)
    fixed = int(np.nanmean(scores.utility, axis=0).argmax())
    every = np.ones(study.cases.height, dtype=bool)
    systems = outcomes.system
    until = 0 if bundle.outcome is None else bundle.outcome.track_record.until_ms
    report = BundleReplay(
        bundle_id=bundle.manifest.bundle_id,
        arch=bundle.manifest.model.arch,
        objective=msgspec.to_builtins(wanted),
        overall=scores.figures(decided, default, fixed, every),
        by_system={
            system: scores.figures(decided, default, fixed, systems == system)
            for system in sorted(set(systems.tolist()))
        },
        as_of=None if later is None else scores.figures(later, default, fixed, every),
        n_before=int((study.cases["decided_ms"].to_numpy() < until).sum()),
        abstained=float(decided.abstained.mean()),
        read=read.count.discovered,
        quarantined=read.count.quarantined,
        left_out=left,
    )
    return report, _decisions(study, outcomes, decided, scores)


def _decisions(
    study: TrialStudy, outcomes: TrialOutcomes, decided: Decided, scores: _Scores
) -> pl.DataFrame:
    at = np.arange(len(decided.action))
    chance = None if decided.p_pass is None else decided.p_pass[at, decided.action]
    names = ACTIONS.names()
    return study.cases.select("case_id", "issue_id", "system", "decided_ms").with_columns(
        action=pl.Series([names[a] for a in decided.action]),
        candidates=pl.Series([STUDY_BUDGETS[a].k for a in decided.action]),
        minutes=pl.Series([STUDY_BUDGETS[a].minutes for a in decided.action]),
        p_pass=pl.Series(chance, dtype=pl.Float64)
        if chance is not None
        else pl.lit(None, pl.Float64),
        utility=pl.Series(scores.utility[at, decided.action]),
        pass_ratio=pl.Series(outcomes.pass_ratio[at, decided.action]),
        agent_minutes=pl.Series(outcomes.minutes[at, decided.action]),
        abstained=pl.Series(decided.abstained),
    )


def run_bundle_replay(
    folder: Path,
    files: Sequence[Path],
    out: Path,
    *,
    objective: Objective | None = None,
    on_progress: Callable[[str], None] = lambda what: None,
) -> BundleReplay:
    """``replay.json`` and ``decisions.parquet`` in ``out``.

    Raises:
        BundleError, TrialTableError, ValueError: as ``replay_bundle`` and ``read_trials``.
    """
    read = read_trials(list(files))
    report, decisions = replay_bundle(folder, read, objective=objective, on_progress=on_progress)
    write_parquet(decisions, out / "decisions.parquet")
    data = msgspec.json.format(msgspec.json.encode(report, order="deterministic"), indent=1)
    write_bytes(data + b"\n", out / "replay.json")
    return report
