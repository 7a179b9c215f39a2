"""The value policy's study: what it must find in a world whose best policy is known."""

import msgspec
import numpy as np
import pytest

from planner_pipeline.bench.trial_study import (
    STUDY_ACTIONS,
    STUDY_BUDGETS,
    TrialStudy,
    build_trial_study,
)
from planner_pipeline.evaluation.study import COST_WEIGHTS
from planner_pipeline.experiments.policy_trial_report import render_policy_report
from planner_pipeline.experiments.policy_trials import (
    AS_OF,
    SAFE,
    TOLERANCE,
    VALUE,
    PolicyTrials,
    choose_by_objective,
    choose_by_outlook,
    chosen,
    gap_interval,
    policy_trials,
    promise_in_time,
    worse_than,
)
from planner_pipeline.experiments.trial_outcomes import (
    ACTIONS,
    TrialOutcomes,
    held_out_outlooks,
    playable,
    trial_outcomes,
    utilities,
)
from planner_pipeline.sources.trials import Trial
from planner_pipeline.training.outcome_fit import OutcomeConfig
from planner_runtime.objective import Objective, Outlook, Weights
from planner_runtime.policy import Preference
from tests.reference.trials import HOUR_MS, a_trial

SMALL = OutcomeConfig(members=2, epochs=80)
TINY = OutcomeConfig(members=2, epochs=2)
WEIGHT = 0.02
N_SYSTEMS, N_ISSUES = 3, 8


def black_and_white() -> list[Trial]:
    """Even tasks pass after nine minutes whoever tries, odd ones never and take half an hour."""
    return [
        a_trial(
            attempt, system=f"system-{system}", issue=f"task-{issue}", passed=issue % 2 == 0,
            minutes=9.0 if issue % 2 == 0 else 29.0,
            started_ms=((system * 3 + attempt) * N_ISSUES + issue) * HOUR_MS,
        )
        for system in range(N_SYSTEMS)
        for issue in range(N_ISSUES)
        for attempt in (1, 2, 3)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def world() -> tuple[TrialOutcomes, TrialStudy]:
    trials = black_and_white()
    study = playable(build_trial_study(trials))
    return trial_outcomes(trials, study), study


@pytest.fixture(scope="module")
def found(world: tuple[TrialOutcomes, TrialStudy]) -> PolicyTrials:
    return policy_trials(*world, SMALL, n_resamples=50)


def a_preference(chosen: int, confidence: float, *, baseline: int = 3) -> Preference:
    nothing = np.zeros(len(STUDY_ACTIONS))
    return Preference(
        chosen=chosen, baseline=baseline, bounds=(None,) * len(nothing), confidence=confidence,
        gain=0.0, utility=nothing, lower=nothing,
    )  # fmt: skip


def test_where_tasks_are_alike_for_all_systems_the_value_policy_beats_every_fixed_action(
    world: tuple[TrialOutcomes, TrialStudy], found: PolicyTrials
) -> None:
    outcomes, study = world
    for weight in (0.01, 0.02, 0.04):
        rows = found.figures.filter(
            cost_weight=weight, policy=VALUE, figure="utility_difference", against="best_fixed"
        )
        assert rows["value"].item() > 0
        utility = utilities(outcomes, weight)
        best = utility.mean(axis=0).max()
        gains = found.by_system.filter(cost_weight=weight, policy=VALUE)
        assert gains["n"].to_list() == [N_ISSUES] * N_SYSTEMS
        assert gains["value"].mean() == pytest.approx(rows["value"].item())
        assert rows["value"].item() <= utility.max(axis=1).mean() - best + 1e-9
    value, low, high = found.gap[VALUE]
    assert 0.3 < value <= 1
    assert low <= value <= high
    assert set(found.gap) == {VALUE, AS_OF, SAFE}
    assert (found.n_cases, found.n_tasks, found.n_systems) == (24, 8, 3)
    assert study.cases.height == 24


def test_calibration_figures_are_of_what_was_predicted(found: PolicyTrials) -> None:
    by_name = {row.of: row for row in found.calibration}
    assert set(by_name) == {
        "all actions", ACTIONS.names()[3], *(f"chosen at w={w:g}" for w in COST_WEIGHTS),
    }  # fmt: skip
    assert by_name["all actions"].n == 24 * len(STUDY_BUDGETS)
    for row in by_name.values():
        assert 0 <= row.ece <= 1
        assert 0 <= row.ece_null <= row.ece_null_95


def test_the_report_tells_every_figure_and_no_hole(found: PolicyTrials) -> None:
    page = render_policy_report(found)
    for word in ("nan", "None", "inf", "not known"):
        assert word not in page
    assert page.count("### w = ") == len(COST_WEIGHTS)
    for system in ("system-0", "system-1", "system-2"):
        assert f"| {system} | 8 |" in page
    assert "could be promised on" in page
    odd = found.by_system.with_columns(system=found.by_system["system"] + "|x")
    assert "| system-0 x |" in render_policy_report(msgspec.structs.replace(found, by_system=odd))


def test_the_study_is_the_same_again(
    world: tuple[TrialOutcomes, TrialStudy], found: PolicyTrials
) -> None:
    outcomes, study = world
    baseline = study.cases["default_action"].to_numpy()
    one = chosen(choose_by_outlook(held_out_outlooks(outcomes, SMALL), baseline, WEIGHT))
    utility = utilities(outcomes, WEIGHT)
    mine = utility[np.arange(24), one].mean() - utility.mean(axis=0).max()
    rows = found.figures.filter(
        cost_weight=WEIGHT, policy=VALUE, figure="utility_difference", against="best_fixed"
    )
    assert rows["value"].item() == pytest.approx(mine)


def test_a_world_without_a_gap_has_no_gap_closed() -> None:
    trials = [msgspec.structs.replace(t, passed=False) for t in black_and_white()]
    study = playable(build_trial_study(trials))
    found = policy_trials(trial_outcomes(trials, study), study, TINY, n_resamples=20)
    assert found.gap == {}
    page = render_policy_report(found)
    assert "no gap is told" in page
    assert "nan" not in page


def test_the_gap_is_0_for_the_best_fixed_action_and_1_for_the_oracle() -> None:
    rng = np.random.default_rng(0)
    utility = rng.random((40, 12))
    issues = [f"task-{i // 4}" for i in range(40)]
    best = utility[:, int(utility.mean(axis=0).argmax())]
    room = utility.max(axis=1) - best
    assert gap_interval([0 * room] * 2, [room] * 2, issues) == (0.0, 0.0, 0.0)
    assert gap_interval([room] * 2, [room] * 2, issues) == pytest.approx((1.0, 1.0, 1.0))
    half = gap_interval([room / 2, room], [room, room], issues)
    assert half == pytest.approx((0.75, 0.75, 0.75))
    assert gap_interval([room, 0 * room], [room, 0 * room], issues) is None


def test_the_gap_is_told_where_some_resamples_leave_none() -> None:
    room = np.array([1.0, 1.0, 1.0, 0.0])
    assert gap_interval([room / 2], [room], list("abcd")) == pytest.approx((0.5, 0.5, 0.5))
    scarce = np.array([1.0, 0.0, 0.0, 0.0])
    assert gap_interval([scarce / 2], [scarce], list("abcd")) is None


def test_one_promise_rests_on_earlier_decisions_and_is_checked_on_later_ones() -> None:
    n = 100
    utility = np.tile(np.linspace(0, 1.1, 12), (n, 1))  # action 3 is worth 0.3
    same, worse, better = a_preference(3, 1.0), a_preference(0, 0.9), a_preference(5, 0.9)
    early, late = [better] * 49 + [worse] + [same] * 10, [better] * 25 + [worse] * 5 + [same] * 10
    promise = promise_in_time([*early, *late], utility, np.arange(n))
    assert promise.threshold == 0.0
    assert (promise.n, promise.n_followed, promise.n_worse) == (50, 50, 1)
    assert (promise.later_n, promise.later_followed, promise.later_worse) == (30, 30, 5)
    assert promise.kept is False
    order = np.random.default_rng(0).permutation(n)  # the order of the rows is no matter
    shuffled = [[*early, *late][i] for i in order]
    assert promise_in_time(shuffled, utility, order) == promise
    kept = promise_in_time([*early, *[better] * 27, *[worse] * 3, *[same] * 10], utility, order * 0)
    assert kept.kept is True


def test_a_promise_that_cannot_be_made_follows_nothing() -> None:
    utility = np.tile(np.linspace(0, 1.1, 12), (40, 1))
    promise = promise_in_time([a_preference(0, 0.9)] * 40, utility, np.arange(40))
    assert promise.threshold is None
    assert (promise.n, promise.n_followed) == (24, 0)
    assert (promise.later_n, promise.later_followed, promise.later_worse) == (16, 0, 0)
    assert promise.kept is None


def test_a_loss_within_the_tolerance_is_not_worse() -> None:
    utility = np.full((40, 12), 0.5)
    utility[:, 0] = 0.5 - TOLERANCE + 1e-9
    promise = promise_in_time([a_preference(0, 0.9)] * 40, utility, np.arange(40))
    assert promise.n_worse == promise.later_worse == 0


def test_worse_is_by_the_weights_of_the_objective(
    world: tuple[TrialOutcomes, TrialStudy],
) -> None:
    outcomes, _ = world
    hasty = [a_preference(0, 1.0)] * 24  # five minutes: nothing passes, little is spent
    passes = outcomes.pass_ratio[:, 3] == 1
    assert passes.sum() == 12
    free = Objective(weights=Weights(minute=0.0))
    assert (worse_than(outcomes, hasty, free) == passes).all()
    assert not worse_than(outcomes, hasty, Objective(weights=Weights(minute=1.0))).any()
    nothing = Objective(weights=Weights(passed=0.0, minute=0.0))
    assert not worse_than(outcomes, hasty, nothing).any()


def test_a_constrained_objective_takes_the_price_of_its_minute() -> None:
    rng = np.random.default_rng(0)
    p, minutes = rng.random((2, 12)), 30 * rng.random((2, 12))
    outlook = Outlook(p_pass=p, p_timeout=0 * p, minutes=minutes, wall_minutes=minutes, cost_usd=p)
    weights = Weights(minute=WEIGHT)
    constrained, plain = (
        choose_by_objective([outlook], np.array([3]), Objective(rule=rule, weights=weights))[0]
        for rule in ("constrained", "utility")
    )
    assert constrained.chosen == plain.chosen
    assert chosen(choose_by_outlook([outlook], np.array([3]), WEIGHT)) == plain.chosen
