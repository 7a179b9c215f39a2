"""The joint fit of a track record: against dense matrices, its cost in issues, the filter."""

import tracemalloc

import msgspec
import numpy as np
import pytest

from planner_pipeline.training.outcome_data import Tries, learn
from planner_pipeline.training.track_record_cells import build_cells
from planner_pipeline.training.track_record_fit import (
    _beta_binomial,
    _Effects,
    _fit_normal,
    _fit_passing,
    fit_track_record,
)
from planner_runtime.outcomes.track_record import Priors, TrackRecord, TrackRecordState
from tests.reference.track_records import dense_normal, dense_passing, some_tries


def together(effects: _Effects) -> np.ndarray:
    return np.concatenate([[effects.base], effects.toolchain, effects.issue])


@pytest.mark.parametrize(("seed", "kappa"), [(0, 1.5), (1, 0.4), (2, 20.0)])
def test_passing_is_fitted_as_dense_newton_steps_do(seed: int, kappa: float) -> None:
    cells = some_tries(seed=seed).cells()
    found = _fit_passing(cells, (0.8, 3.0), kappa)
    effects, variances, evidence = dense_passing(cells, (0.8, 3.0), kappa)
    assert together(found) == pytest.approx(effects, abs=2e-3)
    assert found.toolchain_variance == pytest.approx(variances[1:6], rel=5e-3)
    assert found.issue_variance == pytest.approx(variances[6:], rel=5e-3)
    assert found.evidence == pytest.approx(evidence, abs=1e-3)


def test_means_are_fitted_as_the_joint_normal_says_and_so_is_their_evidence() -> None:
    cells = some_tries(seed=3).cells()
    n = cells.n_timed.sum(axis=1)
    variance = 0.2 + 0.3 / n
    constant = 0.5 * len(cells) * np.log(2 * np.pi)
    for shift in (0.0, 1.5):
        mean = cells.log_minutes.sum(axis=1) / n - 2 + shift
        for variances in ((0.3, 0.5), (0.05, 1.0)):
            found = _fit_normal(cells, mean, variance, n > 0, variances)
            effects, spread, evidence = dense_normal(cells, mean, variance, variances)
            assert together(found) == pytest.approx(effects, abs=1e-8)
            assert found.toolchain_variance == pytest.approx(spread[1:6])
            assert found.issue_variance == pytest.approx(spread[6:])
            assert found.evidence - constant == pytest.approx(evidence, abs=1e-6)


def test_the_gradient_of_passing_is_the_slope_of_its_likelihood() -> None:
    cells = some_tries(seed=4).cells()
    logit = np.random.default_rng(0).normal(size=len(cells))
    slope = _beta_binomial(cells, logit, 2.0)[1]
    for row in range(0, len(cells), 7):
        moved = np.zeros(len(cells))
        moved[row] = 1e-5
        ends = [_beta_binomial(cells, logit + s * moved, 2.0)[0] for s in (-1, 1)]
        assert slope[row] == pytest.approx((ends[1] - ends[0]) / 2e-5, abs=1e-4)


def test_twice_as_many_issues_need_twice_the_room_and_no_more() -> None:
    """Dense matrices would need four times as much; so would their time eight times."""
    peaks = []
    for n_issues in (300, 600, 1_200):
        cells = some_tries(n_issues=n_issues, n_tries=2).cells()
        tracemalloc.start()
        _fit_passing(cells, (1.0, 2.0), 1.5)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2.3 * peaks[0]
    assert peaks[2] < 2.3 * peaks[1]


def beliefs(state: TrackRecordState, tries: Tries) -> np.ndarray:
    record = TrackRecord(state)
    pairs = sorted(set(zip(tries.toolchain, tries.issue, strict=True)))
    told = [record.of(*pair) for pair in pairs]
    return np.array([[r.logit, r.log_minutes_pass, r.log_usd] for r in told])


@pytest.mark.parametrize("seed", range(3))
def test_the_filter_and_the_joint_fit_come_to_much_the_same(seed: int) -> None:
    tries = some_tries(n_issues=40, seed=seed)
    priors = Priors()
    record = TrackRecord(TrackRecordState(priors=priors))
    for row in range(len(tries)):
        learn(record, tries, row)
    joint = fit_track_record(tries.cells(), priors)
    one, other = beliefs(record.state(), tries), beliefs(joint, tries)
    for column in range(3):
        assert np.corrcoef(one[:, column], other[:, column])[0, 1] > 0.95
    assert np.abs(one[:, 1] - other[:, 1]).mean() < 0.12
    assert record.state().pairs == joint.pairs
    assert record.state().runs == joint.runs
    assert record.state().until_ms == joint.until_ms


def test_times_that_a_limit_cut_are_longer_than_the_limit() -> None:
    """Issues differ in how long they take; half of the tries at the longest are cut."""
    whole = some_tries(n_toolchains=6, n_issues=60, share=1.0, seed=7)
    cut = some_tries(n_toolchains=6, n_issues=60, share=1.0, seed=7, limit=9.0)
    assert 0.2 < cut.timed_out.mean() < 0.5
    taken_as_times = msgspec.structs.replace(cut, timed_out=np.zeros(len(cut), dtype=bool))
    wrong, found, true = (
        beliefs(fit_track_record(tries.cells()), whole)[:, 1] + 0.0
        for tries in (taken_as_times, cut, whole)
    )
    slow = true > np.quantile(true, 0.7)
    assert abs((found - true)[slow].mean()) < 0.75 * abs((wrong - true)[slow].mean())
    fails = [fit_track_record(tries.cells()).priors.minutes_fail for tries in (taken_as_times, cut)]
    assert fails[0] < fails[1]


def test_what_was_planted_is_found() -> None:
    tries = some_tries(n_toolchains=8, n_issues=150, share=1.0, seed=5)
    state = fit_track_record(tries.cells())
    rng = np.random.default_rng(5)
    skill, ease = rng.normal(size=8), 1.5 * rng.normal(size=150)
    found = [state.logits[f"t:chain-{n}"].mean for n in range(8)]
    assert np.corrcoef(found, skill)[0, 1] > 0.95
    eased = [state.logits[f"i:task-{n:03d}"].mean for n in range(150)]
    assert np.corrcoef(eased, ease)[0, 1] > 0.85
    assert 1.0 < state.priors.issue < 5.0  # 2.25 were planted
    assert state.priors.minutes_fail - state.priors.minutes_pass == pytest.approx(0.4, abs=0.2)


def test_priors_given_stay_and_a_base_that_moved_is_carried_by_the_toolchains() -> None:
    tries = some_tries(seed=6)
    priors = Priors(base=-1.0, minutes_pass=0.0, minutes_fail=0.5)
    state = fit_track_record(tries.cells(), priors)
    assert state.priors == priors
    free = fit_track_record(tries.cells())
    given, own = beliefs(state, tries), beliefs(free, tries)
    assert np.corrcoef(given[:, 0], own[:, 0])[0, 1] > 0.97
    assert np.abs(given[:, 1] - own[:, 1]).mean() < 0.4


@pytest.mark.parametrize("times", [True, False])
def test_a_single_try_is_enough_and_none_is_refused(times: bool) -> None:
    nan = np.array([np.nan])
    minutes = np.array([5.0]) if times else nan
    cells = build_cells(["a"], ["x"], np.array([True]), minutes, nan, np.array([7]))
    record = TrackRecord(fit_track_record(cells)).of("a", "x")
    assert record.logit > 0
    assert all(np.isfinite(v) for v in (record.logit_variance, record.log_minutes_fail))
    nobody = cells.without("a")
    assert len(nobody) == 0
    with pytest.raises(ValueError, match="no run"):
        fit_track_record(nobody)
