"""The value policy on replayed attempts: systems held out, figures beside every yardstick.

Belongs here: choices by predicted outcomes at every cost weight, calibration of what was predicted,
the promise on a split by time, a report. Does not: predicting (``trial_outcomes``), the policy
(``planner_runtime.policy``). Spec: sections 7.4 and 8.2. Shapes: G cases, A actions.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.bench.trial_study import TrialStudy
from planner_pipeline.evaluation.bootstrap import N_BOOTSTRAP
from planner_pipeline.evaluation.frontier import Promise
from planner_pipeline.evaluation.reliability import (
    equal_width_bins,
    expected_calibration_error,
    null_level,
)
from planner_pipeline.evaluation.risk import FAILURE, TARGET, choose_threshold
from planner_pipeline.evaluation.study import COST_WEIGHTS, study_table
from planner_pipeline.experiments.trial_outcomes import (
    ACTIONS,
    TrialOutcomes,
    held_out_outlooks,
    utilities,
)
from planner_pipeline.training.outcome_fit import OutcomeConfig
from planner_runtime.objective import Objective, Outlook, Weights, priced
from planner_runtime.policy import NO_LIMITS, SAFE_LIMITS, Limits, Preference, prefer

VALUE: Final = "value"
AS_OF: Final = "value_as_of"
SAFE: Final = "value_safe"
TOLERANCE: Final = 0.05  # of utility: a followed decision is worse when it loses more than that
NO_GAP: Final = 1e-9  # of utility, summed over cases
EARLIER: Final = 0.6  # of the decisions, by time, that a promise may rest on


class CalibrationFigure(msgspec.Struct, frozen=True, kw_only=True):
    """How well chances to pass keep their word.

    Attributes:
        of: Which predictions.
        ece, ece_null, ece_null_95: Expected calibration error, what perfect chances would have on
            average and at the 95th percentile, rows taken as independent.
        brier: Mean squared distance.
        n: Predictions.
    """

    of: str
    ece: float
    ece_null: float
    ece_null_95: float
    brier: float
    n: int


class PolicyTrials(msgspec.Struct, frozen=True, kw_only=True):
    """The whole study.

    Attributes:
        figures: ``OUTCOME_FIGURES``.
        by_system: A row for each cost weight, policy and system: utility above the best fixed
            action's, with its interval.
        gap: By policy, the mean gap closed over the cost weights and its interval; none where the
            best fixed action is as good as the oracle.
        promises: By cost weight.
    """

    n_cases: int
    n_tasks: int
    n_systems: int
    figures: pl.DataFrame
    by_system: pl.DataFrame
    gap: Mapping[str, tuple[float, float, float]]
    calibration: tuple[CalibrationFigure, ...]
    promises: Mapping[float, Promise]
    left_out: Mapping[str, int]


def choose_by_outlook(
    outlooks: Sequence[Outlook],
    baseline: np.ndarray,
    cost_weight: float,
    *,
    limits: Limits = NO_LIMITS,
) -> list[Preference]:
    """(G,) what utility = pass - weight x agent-minutes prefers in every case."""
    objective = Objective(name=f"w={cost_weight:g}", weights=Weights(minute=cost_weight))
    return choose_by_objective(outlooks, baseline, objective, limits=limits)


def choose_by_objective(
    outlooks: Sequence[Outlook],
    baseline: np.ndarray,
    objective: Objective,
    *,
    limits: Limits = NO_LIMITS,
) -> list[Preference]:
    """(G,) what an objective prefers in every case; one without a price takes its minute's."""
    if objective.rule == "constrained":
        objective = priced(objective, objective.weights.minute)
    return [
        prefer(outlook, objective, ACTIONS, int(row), limits=limits)
        for outlook, row in zip(outlooks, baseline, strict=True)
    ]


def worse_than(
    outcomes: TrialOutcomes, preferences: Sequence[Preference], objective: Objective
) -> np.ndarray:
    """(G,) bool: the preferred action loses more than ``TOLERANCE`` of expected utility against the
    default; utility is passes less minutes under the objective's weights.
    """
    weights = objective.weights
    utility = weights.passed * outcomes.pass_ratio - weights.minute * outcomes.minutes
    return _is_worse(preferences, utility)


def _is_worse(preferences: Sequence[Preference], utility: np.ndarray) -> np.ndarray:
    """(G,) bool by (G, A) expected utilities."""
    rows = np.arange(len(preferences))
    default = np.array([p.baseline for p in preferences])
    worse: np.ndarray = utility[rows, chosen(preferences)] < utility[rows, default] - TOLERANCE
    return worse


def chosen(preferences: Sequence[Preference]) -> np.ndarray:
    """(G,) indices."""
    return np.array([preference.chosen for preference in preferences], dtype=np.int64)


def promise_in_time(
    preferences: Sequence[Preference], utility: np.ndarray, decided_ms: np.ndarray
) -> Promise:
    """The threshold that earlier decisions certify, and whether later ones kept its promise.

    It is of the policy as it is served: reductions of the kernel's own plan alone.

    A followed decision is worse when its expected outcome loses more than ``TOLERANCE`` of utility
    against the default's.

    Args:
        utility: (G, A) expected, by enumeration.
        decided_ms: (G,).
    """
    differs = np.array([p.chosen != p.baseline for p in preferences])
    confidence = np.array([p.confidence for p in preferences])
    worse = _is_worse(preferences, utility)
    order = np.argsort(decided_ms, kind="stable")
    cut = round(len(order) * EARLIER)
    early = order[:cut][differs[order[:cut]]]
    late = order[cut:][differs[order[cut:]]]
    measure = f"expected utility more than {TOLERANCE:g} below the default's"
    threshold, risk = choose_threshold(
        confidence[early], worse[early], measure=measure, whole_first=True
    )
    followed = late[confidence[late] >= (2.0 if threshold is None else threshold)]
    n_worse = int(worse[followed].sum())
    return Promise(
        threshold=threshold,
        target=TARGET,
        failure=FAILURE,
        n=risk.n,
        n_followed=risk.n_followed,
        n_worse=risk.n_worse,
        bound=risk.bound,
        later_n=len(late),
        later_followed=len(followed),
        later_worse=n_worse,
        kept=n_worse / len(followed) <= TARGET if len(followed) >= 10 else None,
    )


def calibration_figure(of: str, p: np.ndarray, ratio: np.ndarray) -> CalibrationFigure:
    """Figures of some predictions and the share of tries that passed."""
    mean, high = null_level(p, equal_width_bins(p), seed=0)
    return CalibrationFigure(
        of=of,
        ece=expected_calibration_error(p, ratio),
        ece_null=mean,
        ece_null_95=high,
        brier=float(((p - ratio) ** 2).mean()),
        n=len(p),
    )


def gap_interval(
    gained: Sequence[np.ndarray], headroom: Sequence[np.ndarray], issues: Sequence[str]
) -> tuple[float, float, float] | None:
    """Mean over cost weights of the gap closed, with its interval over the resampled issues that
    leave a gap; None where the best fixed action leaves none, or in too many resamples.

    Args:
        gained, headroom: For each weight (G,) utility of the policy, and of the oracle, above the
            best fixed action's.
    """
    if min(float(room.sum()) for room in headroom) <= NO_GAP:
        return None
    _, place = np.unique(np.asarray(issues, dtype=str), return_inverse=True)
    n = int(place.max()) + 1
    rng = np.random.default_rng(0)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=N_BOOTSTRAP)[:, place]
    rooms = np.array([counts @ room for room in headroom])  # (weights, resamples)
    mine = np.array([counts @ gain for gain in gained])
    has_gap = (rooms > NO_GAP).all(axis=0)
    if has_gap.mean() < 0.95:  # as many as lie within the interval
        return None
    draws = (mine[:, has_gap] / rooms[:, has_gap]).mean(axis=0)
    value = float(np.mean([a.sum() / b.sum() for a, b in zip(gained, headroom, strict=True)]))
    low, high = np.percentile(draws, (2.5, 97.5)).tolist()
    return value, low, high


def _by_system(
    outcomes: TrialOutcomes,
    issues: Sequence[str],
    choices: Mapping[float, Mapping[str, np.ndarray]],
) -> pl.DataFrame:
    rows = []
    rng = np.random.default_rng(0)
    names, place = np.unique(np.asarray(issues, dtype=str), return_inverse=True)
    n = len(names)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=N_BOOTSTRAP)[:, place]
    every = np.arange(len(place))
    for weight, policies in choices.items():
        utility = utilities(outcomes, weight)
        fixed = int(utility.mean(axis=0).argmax())
        for policy, actions in policies.items():
            gain = utility[every, actions] - utility[:, fixed]
            for system in sorted(set(outcomes.system.tolist())):
                mask = outcomes.system == system
                drawn = counts[:, mask]
                total = drawn.sum(axis=1)
                means = (drawn @ gain[mask])[total > 0] / total[total > 0]
                low, high = np.percentile(means, (2.5, 97.5)).tolist()
                mean = float(gain[mask].mean())
                rows.append((weight, policy, system, mean, low, high, int(mask.sum())))
    names_of = ["cost_weight", "policy", "system", "value", "low", "high", "n"]
    return pl.DataFrame(rows, schema=names_of, orient="row")


def policy_trials(
    outcomes: TrialOutcomes,
    study: TrialStudy,
    config: OutcomeConfig,
    *,
    n_resamples: int = N_BOOTSTRAP,
    on_progress: Callable[[str], None] = lambda what: None,
) -> PolicyTrials:
    """Fit without each system, choose, and score."""
    cases = study.cases
    baseline = cases["default_action"].to_numpy()
    issues = cases["issue_id"].to_list()
    on_progress("fits without each system")
    known = held_out_outlooks(outcomes, config)
    on_progress("the same, of what had ended alone")
    as_of = held_out_outlooks(outcomes, config, as_of=True)
    choices: dict[float, dict[str, np.ndarray]] = {}
    promises: dict[float, Promise] = {}
    gained: dict[str, list[np.ndarray]] = {VALUE: [], AS_OF: [], SAFE: []}
    headroom = []
    every = np.arange(len(baseline))
    for weight in COST_WEIGHTS:
        free = choose_by_outlook(known, baseline, weight)
        safe = choose_by_outlook(known, baseline, weight, limits=SAFE_LIMITS)
        choices[weight] = {
            VALUE: chosen(free),
            AS_OF: chosen(choose_by_outlook(as_of, baseline, weight)),
            SAFE: chosen(safe),
        }
        utility = utilities(outcomes, weight)
        promises[weight] = promise_in_time(safe, utility, cases["decided_ms"].to_numpy())
        fixed = utility[:, int(utility.mean(axis=0).argmax())]
        headroom.append(utility.max(axis=1) - fixed)
        for name, actions in choices[weight].items():
            gained[name].append(utility[every, actions] - fixed)
    on_progress("figures")
    chances = np.array([outlook.p_pass.mean(axis=0) for outlook in known])  # (G, A)
    last = [name for name in ACTIONS.names() if "serial" in name][-1]
    single = ACTIONS.names().index(last)
    calibration = [
        calibration_figure("all actions", chances.ravel(), outcomes.pass_ratio.ravel()),
        calibration_figure(last, chances[:, single], outcomes.pass_ratio[:, single]),
    ]
    for weight in COST_WEIGHTS:
        picked = choices[weight][VALUE]
        calibration.append(
            calibration_figure(
                f"chosen at w={weight:g}",
                chances[every, picked],
                outcomes.pass_ratio[every, picked],
            )
        )
    counts: dict[str, int] = {}
    for left in study.left_out:
        counts[left.reason] = counts.get(left.reason, 0) + 1
    return PolicyTrials(
        n_cases=len(issues),
        n_tasks=len(set(issues)),
        n_systems=len(set(outcomes.system.tolist())),
        figures=study_table(cases, study.outcomes, choices, n_resamples=n_resamples),
        by_system=_by_system(outcomes, issues, choices),
        gap={
            name: gap
            for name, rows in gained.items()
            if (gap := gap_interval(rows, headroom, issues)) is not None
        },
        calibration=tuple(calibration),
        promises=promises,
        left_out=counts,
    )
