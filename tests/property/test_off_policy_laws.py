"""Laws of off-policy estimates: order means nothing, and a reward's unit is its unit."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner_pipeline.evaluation.off_policy import point_estimates
from planner_pipeline.evaluation.off_policy_intervals import estimate
from planner_pipeline.evaluation.overlap import measure_overlap
from tests.reference.off_policy import naive_estimates, shuffled, some_decisions

logs_of = st.builds(
    some_decisions,
    st.integers(2, 30),
    st.integers(2, 6),
    seed=st.integers(0, 10_000),
    per_issue=st.integers(1, 3),
    epsilon=st.floats(0.05, 1.0),
)
EQUIVARIANT = ("snips", "dm", "dr", "sndr", "switch_dr")  # IPS is not: a constant is weighed too


@settings(max_examples=60, deadline=None)
@given(logs=logs_of, seed=st.integers(0, 1_000))
def test_the_order_of_decisions_means_nothing(logs, seed) -> None:  # type: ignore[no-untyped-def]
    order = np.random.default_rng(seed).permutation(len(logs.action))
    again = shuffled(logs, order)
    assert point_estimates(again) == pytest.approx(point_estimates(logs), nan_ok=True)
    first, second = estimate(logs), estimate(again)
    for name, one in first.items():
        assert second[name].low == pytest.approx(one.low)
        assert second[name].gain_high == pytest.approx(one.gain_high)


@settings(max_examples=60, deadline=None)
@given(logs=logs_of, scale=st.floats(0.1, 20), shift=st.floats(-50, 50))
def test_another_unit_of_the_reward_is_another_unit_of_the_estimate(logs, scale, shift) -> None:  # type: ignore[no-untyped-def]
    other = msgspec.structs.replace(
        logs, reward=scale * logs.reward + shift, q_hat=scale * logs.q_hat + shift
    )
    before, after = estimate(logs), estimate(other)
    for name in EQUIVARIANT:
        was, now = before[name], after[name]
        assert now.value == pytest.approx(scale * was.value + shift, rel=1e-6, abs=1e-6)
        if was.low is not None:
            assert now.low == pytest.approx(scale * was.low + shift, rel=1e-5, abs=1e-5)
            assert now.gain_high == pytest.approx(scale * was.gain_high, rel=1e-5, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(logs=logs_of, tau=st.floats(0, 10))
def test_estimates_are_their_naive_lines_and_dr_lies_where_it_must(logs, tau) -> None:  # type: ignore[no-untyped-def]
    found = point_estimates(logs, tau)
    assert found == pytest.approx(naive_estimates(logs, tau))
    low, high = logs.reward.min(), logs.reward.max()
    assert low - 1e-9 <= found["snips"] <= high + 1e-9
    assert point_estimates(logs, float("inf"))["switch_dr"] == pytest.approx(found["dr"])
    assert point_estimates(logs, -1.0)["switch_dr"] == pytest.approx(found["dm"])


@settings(max_examples=60, deadline=None)
@given(logs=logs_of)
def test_effective_decisions_are_from_one_to_all(logs) -> None:  # type: ignore[no-untyped-def]
    overlap = measure_overlap(logs)
    assert 1 - 1e-9 <= overlap.effective_n <= overlap.n + 1e-9
    assert 1 / overlap.n - 1e-9 <= overlap.largest_share <= 1 + 1e-9
    assert overlap.uncovered_mass == 0.0
