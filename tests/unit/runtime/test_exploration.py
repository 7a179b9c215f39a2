"""Chance in decisions: who, how often, and with which probability exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner_runtime.exploration import (
    ExplorationBudget,
    draw,
    epsilon_now,
    may_explore,
    uniform_draw,
)


@st.composite
def situations(draw_: st.DrawFn) -> tuple[int, np.ndarray, float]:
    n = draw_(st.integers(1, 12))
    open_ = np.array(draw_(st.lists(st.booleans(), min_size=n, max_size=n)))
    return draw_(st.integers(0, n - 1)), open_, draw_(st.sampled_from([0.0, 1e-9, 0.1, 0.5, 1.0]))


@settings(max_examples=300)
@given(situations(), st.floats(0, 1, exclude_max=True))
def test_propensities_are_of_the_rule_and_add_up_to_one(situation, u: float) -> None:
    greedy, open_, epsilon = situation
    found = draw(greedy, open_, epsilon, u)
    n_open = int(open_.sum() + (not open_[greedy]))
    assert found.probabilities.sum() == pytest.approx(1.0, abs=1e-12)
    assert found.propensity == found.probabilities[found.chosen] > 0
    assert open_[found.chosen] or found.chosen == greedy
    expected = epsilon / n_open + (1 - epsilon) * (found.chosen == greedy)
    assert found.propensity == pytest.approx(expected, abs=1e-12)
    assert found.explored == (u < epsilon)
    assert found.u == (u if epsilon else None)
    if not found.explored:
        assert found.chosen == greedy


@pytest.mark.parametrize("epsilon", [0.1, 0.7, 1.0])
@pytest.mark.parametrize("greedy", [0, 3])  # 3 is closed, as a baseline under a guardrail may be
def test_frequencies_are_the_propensities(epsilon: float, greedy: int) -> None:
    open_ = np.array([True, True, False, False, True])
    n = 20_000
    draws = [draw(greedy, open_, epsilon, uniform_draw(str(i), "seed")) for i in range(n)]
    seen = np.bincount([d.chosen for d in draws], minlength=5) / n
    expected = draws[0].probabilities
    spread = np.sqrt(expected * (1 - expected) / n)
    assert (np.abs(seen - expected) <= 4 * spread + 1e-12).all()
    assert np.mean([d.explored for d in draws]) == pytest.approx(epsilon, abs=0.02)


def test_a_draw_follows_from_the_input_and_the_seed_alone() -> None:
    hash_ = "a" * 64
    assert uniform_draw(hash_, "epoch 1") == uniform_draw(hash_, "epoch 1") == 0.012331596415637192
    assert uniform_draw(hash_, "epoch 1") != uniform_draw(hash_, "epoch 2")
    assert uniform_draw(hash_, "epoch 1") != uniform_draw("b" * 64, "epoch 1")
    assert uniform_draw(hash_, "epoch 1", "split") != uniform_draw(hash_, "epoch 1")


def test_draws_are_even() -> None:
    us = np.sort([uniform_draw(str(i), "s") for i in range(5_000)])
    assert us.min() >= 0
    assert us.max() < 1
    distance = np.abs(us - (np.arange(5_000) + 0.5) / 5_000).max()  # Kolmogorov and Smirnov's
    assert distance < 1.63 / np.sqrt(5_000)  # 1 %


@pytest.mark.parametrize(
    ("priority", "tags", "may"),
    [
        ("P3", (), True), ("P0", ("lab:planner_explore",), True), ("P0", (), False),
        ("P2", ("lab",), False), (None, (), False), (None, ("lab:planner_explore",), True),
    ],
)  # fmt: skip
def test_only_the_least_urgent_and_the_lab_are_explored(priority, tags, may) -> None:
    assert may_explore(priority, tags) is may
    budget = ExplorationBudget(epsilon=0.2, budget_share=1.0)
    found = epsilon_now(budget, priority=priority, tags=tags, n_decided=0, n_explored=0)
    assert found == (0.2 if may else 0.0)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05])
def test_the_budget_is_held_over_ten_thousand_decisions(share: float) -> None:
    budget = ExplorationBudget(epsilon=0.3, seed="e", budget_share=share)
    open_ = np.ones(4, dtype=bool)
    explored = 0
    for decided in range(10_000):
        epsilon = epsilon_now(
            budget, priority="P3", tags=(), n_decided=decided, n_explored=explored
        )
        explored += draw(0, open_, epsilon, uniform_draw(str(decided), "e")).explored
        assert explored <= share * (decided + 1)
    assert explored >= share * 10_000 - 1  # and used, where there is reason to


def test_no_epsilon_is_no_exploration() -> None:
    budget = ExplorationBudget(epsilon=0.0, budget_share=1.0)
    assert epsilon_now(budget, priority="P3", tags=(), n_decided=0, n_explored=0) == 0.0
