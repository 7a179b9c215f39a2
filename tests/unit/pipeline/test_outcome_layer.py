"""From an attempt to an action: the formulas against simulation, and their limits."""

import itertools
import math

import numpy as np
import pytest
import torch

from planner_pipeline.models.outcome import (
    MAX_CANDIDATES,
    N_PARAMETERS,
    OUTPUTS,
    ActionOutcomes,
    pass_chance,
    times_of,
)

N = 200_000
# log-odds, log minutes of passing and their log spread, the same of failing, log dollars a minute
PARAMETERS = (
    (0.4, 1.8, -0.5, 2.2, -0.9, -2.0),
    (-1.5, 2.5, 0.1, 1.2, -0.3, -3.0),
    (3.0, 0.7, -1.5, 3.5, 0.3, 0.5),
)


def outcomes_of(
    parameters: tuple[float, ...] | list, k: float, minutes: float, *, log_kappa: float = 0.5
) -> dict[str, float]:
    layer = ActionOutcomes(log_kappa, knows_cost=True)
    told = layer(torch.tensor([[list(parameters)]]), torch.tensor([k]), torch.tensor([minutes]))
    return {name: float(values) for name, values in zip(OUTPUTS, told, strict=True)}


def simulated(
    parameters: tuple[float, ...], k: int, minutes: float, kappa: float
) -> dict[str, float]:
    """Tries one by one; those of an action share a Beta-distributed chance to pass in time."""
    rng = np.random.default_rng(k)
    logit, mean_pass, spread_pass, mean_fail, spread_fail, log_usd = parameters
    pi = 1 / (1 + math.exp(-logit))
    would_pass = rng.random((N, k)) < pi
    times = np.where(
        would_pass,
        rng.lognormal(mean_pass, math.exp(spread_pass), (N, k)),
        rng.lognormal(mean_fail, math.exp(spread_fail), (N, k)),
    )
    m = (would_pass & (times <= minutes)).mean()
    own = rng.beta(m * kappa, (1 - m) * kappa, (N, 1))
    spent = np.minimum(times, minutes)
    return {
        "p_pass": (rng.random((N, k)) < own).any(axis=1).mean(),
        "p_timeout": (times > minutes).all(axis=1).mean(),
        "minutes": spent.sum(axis=1).mean(),
        "wall_minutes": spent.max(axis=1).mean(),
        "cost_usd": spent.sum(axis=1).mean() * math.exp(log_usd),
    }


@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("minutes", [5.0, 15.0, 60.0])
def test_outcomes_are_those_of_simulated_tries(
    parameters: tuple[float, ...], k: int, minutes: float
) -> None:
    found = outcomes_of(parameters, k, minutes)
    expected = simulated(parameters, k, minutes, math.exp(0.5))
    for name in ("p_pass", "p_timeout"):
        assert found[name] == pytest.approx(expected[name], abs=0.005), name
    for name in ("minutes", "wall_minutes", "cost_usd"):
        assert found[name] == pytest.approx(expected[name], rel=0.015), name


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_one_candidate_passes_if_it_would_and_is_in_time(parameters: tuple[float, ...]) -> None:
    rows = torch.tensor([[list(parameters)]])
    for minutes in (1.0, 5.0, 30.0, 120.0):
        within = times_of(rows)[0].within(torch.tensor([minutes]).log())
        for log_kappa in (-2.0, 0.5, 5.0):
            found = outcomes_of(parameters, 1, minutes, log_kappa=log_kappa)
            assert found["p_pass"] == pytest.approx(float(pass_chance(rows) * within), abs=1e-5)
            assert found["wall_minutes"] == pytest.approx(found["minutes"], rel=0.02)


def test_candidates_that_share_nothing_are_independent_and_those_that_share_all_add_nothing() -> (
    None
):
    for parameters in PARAMETERS:
        one = outcomes_of(parameters, 1, 15.0)["p_pass"]
        for k in (2, 3, MAX_CANDIDATES):
            apart = outcomes_of(parameters, k, 15.0, log_kappa=12.0)["p_pass"]
            same = outcomes_of(parameters, k, 15.0, log_kappa=-12.0)["p_pass"]
            assert apart == pytest.approx(1 - (1 - one) ** k, abs=1e-4)
            assert same == pytest.approx(one, abs=1e-4)


def test_more_candidates_and_more_minutes_never_make_passing_less_likely() -> None:
    for parameters in PARAMETERS:
        by_k = [outcomes_of(parameters, k, 15.0) for k in range(1, MAX_CANDIDATES + 1)]
        by_t = [outcomes_of(parameters, 2, t) for t in (1.0, 5.0, 15.0, 60.0, 120.0)]
        for told in (by_k, by_t):
            for less, more in itertools.pairwise(told):
                assert more["p_pass"] >= less["p_pass"] - 1e-6
                assert more["p_timeout"] <= less["p_timeout"] + 1e-6
                assert more["wall_minutes"] >= less["wall_minutes"] * 0.995
                assert more["minutes"] >= less["minutes"] - 1e-4
        for k, told in enumerate(by_k, start=1):
            assert told["wall_minutes"] <= 15.0 + 1e-4
            assert told["wall_minutes"] <= told["minutes"] * 1.02
            assert told["minutes"] == pytest.approx(k * by_k[0]["minutes"], rel=1e-5)


def test_the_most_extreme_parameters_have_finite_outcomes() -> None:
    for sign in (-1e6, 1e6):
        for place in range(N_PARAMETERS):
            parameters = [0.0, 1.8, -0.5, 2.2, -0.9, -2.0]
            parameters[place] = sign
            found = outcomes_of(parameters, 3, 15.0)
            assert all(math.isfinite(value) for value in found.values()), (place, found)
            assert 0 <= found["p_pass"] <= 1


def test_rows_in_groups_of_equal_times_come_to_the_same_as_rows_one_by_one() -> None:
    rows = torch.tensor(PARAMETERS[:2]).repeat_interleave(5, dim=0)
    rows[:, 0] += torch.arange(10) * 0.2
    rows = rows.unsqueeze(1).expand(-1, 4, -1)
    k, minutes = torch.tensor([1.0, 2.0, 3.0, 3.0]), torch.tensor([5.0, 15.0, 30.0, 60.0])
    alone = ActionOutcomes(0.5, knows_cost=True)(rows, k, minutes)
    grouped = ActionOutcomes(0.5, knows_cost=True, n_levels=5)(rows, k, minutes)
    for one, other in zip(alone, grouped, strict=True):
        assert one.numpy() == pytest.approx(other.numpy(), rel=1e-5)
