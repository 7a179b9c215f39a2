"""Who learns on a learning curve: the outcome model, on replayed trials or on a bench's outcomes.

Belongs here: cases, their utilities and what they cost, from both sources. Does not: measuring
(``learning_curve``), the model (``training.value_fit``). Spec: sections 7.4, 8.2 and 9.

The learner is fitted without calibration on held-out folds, which would be five fits in the place
of one, and chooses by mean utility. What it knows of a held-out issue is what had ended when its
question was asked, as in serving.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.bench.config import BenchConfig
from planner_pipeline.bench.session import OUTCOMES_FILE
from planner_pipeline.bench.trial_study import STUDY_ACTIONS, TrialStudy, build_trial_study
from planner_pipeline.experiments.bench_rows import Ran, bench_data, numbers_of, ran_of_table
from planner_pipeline.experiments.learning_curve import (
    CurveConfig,
    CurveData,
    CurveError,
    LearningCurve,
    Progress,
    learning_curve_of,
    write_curve,
)
from planner_pipeline.experiments.trial_outcomes import trial_outcomes, utilities
from planner_pipeline.sources.trials import Trial, read_trials
from planner_pipeline.training.outcome_data import Decisions
from planner_pipeline.training.outcome_fit import OutcomeConfig
from planner_pipeline.training.outcome_model import OutcomeData, features_of
from planner_pipeline.training.value_fit import (
    choose_decisions,
    expected_of,
    fit_value,
    records_with,
)
from planner_runtime.objective import Outlook, Weights, utility

FIT: Final = OutcomeConfig(members=3, epochs=200)
REPLAYED: Final = (
    "Replayed: a vote is taken to find a passing candidate whenever there is one, so every value "
    "of more than one candidate is an upper bound."
)
PARTLY: Final = (
    "An action is a choice only in cases where it has outcomes: values are of choosing among the "
    "candidates that ran."
)


class Asked(msgspec.Struct, frozen=True):
    """The cases of a curve as questions.

    Attributes:
        data: What was tried; several decisions may be of one case.
        case: (G,) int64, the case of every decision of ``data``.
        decisions: N.
        base: (N, F0) float32.
        numbers: (A, 2 + C) of the actions.
        weights: What utility is.
    """

    data: OutcomeData
    case: np.ndarray
    decisions: Decisions
    base: np.ndarray
    numbers: np.ndarray
    weights: Weights

    def learn(self, train: np.ndarray, asked: np.ndarray, seed: int) -> np.ndarray:
        """(asked, A) expected utilities from a model of the tries of some cases."""
        data = choose_decisions(self.data, np.isin(self.case, train))
        fit = msgspec.structs.replace(FIT, seed=seed)
        fitted = fit_value(data, fit, is_calibrated=False)
        about = Decisions(
            *(getattr(self.decisions, name)[asked] for name in Decisions.__struct_fields__)
        )
        features = features_of(records_with(fitted.state, self.data.tries, about), self.base[asked])
        a = len(self.numbers)
        told = expected_of(
            fitted, np.repeat(features, a, axis=0), np.tile(self.numbers, (len(asked), 1))
        )
        mean: np.ndarray = utility(Outlook(**told), self.weights).mean(axis=0)
        return mean.reshape(len(asked), a)


def trials_curve(trials: Sequence[Trial], study: TrialStudy, *, cost_weight: float) -> CurveData:
    """The cases of a trial study; one costs what its attempts took.

    Raises:
        CurveError: no case can be replayed.
    """
    if study.cases.is_empty():
        raise CurveError("no case can be replayed")
    outcomes = trial_outcomes(trials, study)
    data, n = outcomes.data, len(outcomes.case_ids)
    numbers = numbers_of(STUDY_ACTIONS, BenchConfig())
    numbers[:, 2:] = data.choices[0]  # that they ran in a vote makes no odds
    asked = Asked(
        data, np.arange(n), data.decisions, data.base, numbers, Weights(minute=cost_weight)
    )
    ours = data.case >= 0
    usd = data.tries.usd[ours]
    return CurveData(
        utility=utilities(outcomes, cost_weight),
        issues=data.decisions.issue,
        learner=asked.learn,
        minutes_per_case=float(data.tries.minutes[ours].sum() / n),
        usd_per_case=None if np.isnan(usd).any() else float(usd.sum() / n),
        notes=(REPLAYED,),
    )


def bench_curve(
    outcomes: pl.DataFrame, *, cost_weight: float, config: BenchConfig | None = None
) -> CurveData:
    """The cases of a bench.

    Args:
        outcomes: ``OUTCOMES_DATASET``.
        config: For what "NA" amounts to.

    Raises:
        CurveError: no outcome has a time.
    """
    config = config or BenchConfig()
    ran = [one for one in ran_of_table(outcomes) if one.minutes is not None]
    if not ran:
        raise CurveError("no outcome of this bench has a time")
    texts = outcomes.unique("case_id").select("case_id", "planner_input").iter_rows()
    questions = {case_id: msgspec.json.decode(text) for case_id, text in texts}
    found = bench_data(ran, questions, config)
    ids = sorted({one.case_id for one in ran})
    place = {case_id: i for i, case_id in enumerate(ids)}
    actions = sorted({one.action for one in ran}, key=lambda action: tuple(map(str, action)))
    case = np.array([place[case_id] for case_id in found.case_of], dtype=np.int64)
    first = np.array([np.flatnonzero(case == i)[0] for i in range(len(ids))])
    decisions = Decisions(
        np.array([found.toolchain[case_id] for case_id in ids], dtype=object),
        found.data.decisions.issue[first],
        found.data.decisions.decided_ms[first],
    )
    worth = _expected(ran, place, {action: i for i, action in enumerate(actions)}, cost_weight)
    numbers = numbers_of(actions, config, is_replayed=found.is_replayed)
    asked = Asked(
        found.data, case, decisions, found.data.base[first], numbers, Weights(minute=cost_weight)
    )
    usd = [one.cost_usd for one in ran]
    return CurveData(
        utility=worth,
        issues=decisions.issue,
        learner=asked.learn,
        minutes_per_case=_minutes_of(ran) / len(ids),
        usd_per_case=(
            None
            if found.is_replayed or any(one is None for one in usd)
            else sum(one or 0.0 for one in usd) / len(ids)
        ),
        notes=(
            *((REPLAYED,) if any(one.replayed for one in ran) else ()),
            *((PARTLY,) if np.isnan(worth).any() else ()),
        ),
    )


def _expected(
    ran: Sequence[Ran], place: dict[str, int], column: dict[object, int], cost_weight: float
) -> np.ndarray:
    """(N, A) mean utility of every action in every case; NaN where it has no outcome."""
    total, count = (np.zeros((len(place), len(column))) for _ in range(2))
    for one in ran:
        at = place[one.case_id], column[one.action]
        total[at] += one.is_passed - cost_weight * (one.minutes or 0.0)
        count[at] += 1
    mean: np.ndarray = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean


def _minutes_of(ran: Sequence[Ran]) -> float:
    """Agent-minutes that benching took: of all that ran, and of each logged attempt once."""
    minutes = sum(one.minutes or 0.0 for one in ran if not one.replayed)
    logged: dict[tuple[str, int], float] = {}
    for one in ran:
        for attempt in one.replayed:
            share = (one.minutes or 0.0) / len(one.replayed)
            if len(one.replayed) == 1 or (one.case_id, attempt) not in logged:
                key = (one.case_id, attempt)
                logged[key] = max(share, logged.get(key, 0.0))
    return minutes + sum(logged.values())


def curve_of(
    out: Path,
    trials: Sequence[Path],
    config: CurveConfig,
    *,
    progress: Progress | None = None,
) -> tuple[LearningCurve, Path]:
    """The curve of the bench in ``out``, or of trial tables where there are any, and its page. Of a
    bench they are written below ``out/bench``, of trials in ``out``.

    Raises:
        CurveError: there is too little to measure it on.
        OSError: a file cannot be read.
    """
    if trials:
        read = read_trials(list(trials)).trials
        data = trials_curve(read, build_trial_study(read), cost_weight=config.cost_weight)
        curve = learning_curve_of(data, config, progress)
        return curve, write_curve(curve, out)
    bench = out / "bench"
    data = bench_curve(pl.read_parquet(bench / OUTCOMES_FILE), cost_weight=config.cost_weight)
    curve = learning_curve_of(data, config, progress)
    return curve, write_curve(curve, bench)
