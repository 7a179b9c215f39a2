"""Calibration of chances: what was bent is bent back, steps rise, the runtime does the same."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_pipeline.training.outcome_calibration import (
    ENOUGH_FOR_STEPS,
    MAX_KNOTS,
    fit_knots,
    fit_platt,
    isotonic,
)
from planner_runtime.outcomes.model import OutcomeCalibration, calibrated, calibrated_chance


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(("slope", "bias"), [(1.0, 0.0), (0.5, 0.7), (1.8, -1.0)])
def test_platts_line_is_recovered(slope: float, bias: float) -> None:
    rng = np.random.default_rng(0)
    z = 1.5 * rng.normal(size=20_000)
    came = rng.random(20_000) < sigmoid(slope * z + bias)
    found = fit_platt(sigmoid(z), came.astype(float), np.ones(20_000))
    assert found == pytest.approx((slope, bias), abs=0.06)
    shares = fit_platt(sigmoid(z), sigmoid(slope * z + bias), np.full(20_000, 0.5))
    assert shares == pytest.approx((slope, bias), abs=0.01)


def test_few_rows_leave_the_line_near_where_it_was_and_worthless_chances_flatten_it() -> None:
    slope, bias = fit_platt(np.array([0.9, 0.2]), np.array([0.0, 1.0]), np.ones(2))
    assert abs(slope - 1) < 0.7
    assert abs(bias) < 0.3
    rng = np.random.default_rng(1)
    slope, _ = fit_platt(rng.random(5_000), 1.0 * (rng.random(5_000) < 0.3), np.ones(5_000))
    assert slope == pytest.approx(0.05, abs=0.05)


def test_certain_chances_that_were_wrong_have_a_finite_line() -> None:
    line = fit_platt(np.array([0.0, 1.0, 0.5]), np.array([1.0, 0.0, 1.0]), np.ones(3))
    assert np.isfinite(line).all()


def naive_isotonic(y: np.ndarray, weight: np.ndarray) -> list[float]:
    """The max-min formula over all stretches. Source: Robertson, Wright and Dykstra 1988."""

    def mean(a: int, b: int) -> float:
        return float((y[a : b + 1] @ weight[a : b + 1]) / weight[a : b + 1].sum())

    n = len(y)
    return [max(min(mean(a, b) for b in range(i, n)) for a in range(i + 1)) for i in range(n)]


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 5)), min_size=1, max_size=12
    )
)
def test_isotonic_steps_are_the_max_min_formula_and_rise(
    rows: list[tuple[float, float, float]],
) -> None:
    x, y, weight = (np.array(column) for column in zip(*rows, strict=True))
    order = np.argsort(x, kind="stable")
    fitted = isotonic(x, y, weight)[order]
    assert fitted.tolist() == pytest.approx(naive_isotonic(y[order], weight[order]), abs=1e-9)
    assert (np.diff(fitted) >= -1e-12).all()
    assert fitted @ weight[order] == pytest.approx(y @ weight)


def test_isotonic_steps_are_no_worse_than_any_rising_steps_on_a_grid() -> None:
    y, weight = np.array([0.8, 0.2, 0.6, 0.4]), np.array([1.0, 2.0, 1.0, 3.0])
    fitted = isotonic(np.arange(4.0), y, weight)
    best = min(
        float(weight @ (np.array(steps) - y) ** 2)
        for steps in itertools.combinations_with_replacement(np.linspace(0, 1, 41), 4)
    )
    assert float(weight @ (fitted - y) ** 2) <= best + 1e-12


def some_curve(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.random(n)
    return p, (rng.random(n) < p**2).astype(float)


def test_knots_rise_follow_the_curve_and_need_enough_decisions() -> None:
    p, came = some_curve(20_000)
    knots = fit_knots(p, came, np.ones(20_000), 20_000)
    assert 3 <= len(knots) <= MAX_KNOTS + 2
    assert (knots[0], knots[-1]) == ((0.0, 0.0), (1.0, 1.0))
    for (x, y), (next_x, next_y) in itertools.pairwise(knots):
        assert next_x > x
        assert next_y >= y
    inside = np.linspace(0.05, 0.95, 50)
    assert calibrated(inside, 1.0, 0.0, knots) == pytest.approx(inside**2, abs=0.06)
    assert fit_knots(p, came, np.ones(20_000), ENOUGH_FOR_STEPS - 1) == ()


@pytest.mark.parametrize("p", [np.zeros(2_000), np.ones(2_000), np.full(2_000, 0.3)])
def test_equal_chances_have_knots_that_a_bundle_takes(p: np.ndarray) -> None:
    knots = fit_knots(p, np.zeros(2_000), np.ones(2_000), 2_000)
    OutcomeCalibration(pass_knots=knots, confidence_threshold=0.5, n_calibration=2_000)


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=20),
    st.floats(0.05, 5.0), st.floats(-5.0, 5.0), st.booleans(),
)  # fmt: skip
def test_the_runtime_calibrates_in_the_same_way(
    p: list[float], slope: float, bias: float, has_knots: bool
) -> None:
    knots = ((0.0, 0.0), (0.3, 0.1), (0.8, 0.9), (1.0, 1.0)) if has_knots else ()
    document = OutcomeCalibration(
        pass_slope=slope, pass_bias=bias, pass_knots=knots, confidence_threshold=0.0,
        n_calibration=1,
    )  # fmt: skip
    held = np.clip(p, 1e-6, 1 - 1e-6)
    mine = sigmoid(slope * (np.log(held) - np.log1p(-held)) + bias)
    if knots:
        mine = np.interp(mine, [x for x, _ in knots], [y for _, y in knots])
    assert calibrated(np.array(p), slope, bias, knots) == pytest.approx(mine, abs=1e-12)
    assert mine == pytest.approx(calibrated_chance(np.array(p), document), abs=1e-12)
    assert (np.diff(mine[np.argsort(p)]) >= -1e-12).all()
