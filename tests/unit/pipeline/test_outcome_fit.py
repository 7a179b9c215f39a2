"""Fitting attempts: the likelihood in ten naive lines, limits as limits, kappa, odd data."""

import math

import msgspec
import numpy as np
import pytest
import torch
from scipy import special, stats

from planner_pipeline.models.outcome import AttemptModel, times_of
from planner_pipeline.training.outcome_fit import (
    UNKNOWN_KAPPA,
    Attempts,
    OutcomeConfig,
    fit_kappa,
    fit_networks,
    log_likelihood,
    rows_of,
)
from planner_pipeline.training.outcome_trees import fit_trees
from tests.reference.attempts import DOUBT, N_CHOICES, OFFSETS, drawn_attempts

QUICK = OutcomeConfig(members=2, width=4, epochs=30, trees=10, least_rows=5)
KINDS = [fit_networks, fit_trees]


def naive_log_likelihood(parameters: np.ndarray, attempts: Attempts, n: int) -> float:
    logit, mean_pass, spread_pass, mean_fail, spread_fail, log_usd = parameters.tolist()
    pi, minutes = special.expit(logit), attempts.minutes[n]
    passing = stats.norm(mean_pass, math.exp(spread_pass))
    failing = stats.norm(mean_fail, math.exp(spread_fail))
    is_timed = not math.isnan(minutes)
    if attempts.passed[n]:
        told = math.log(pi) + (passing.logpdf(math.log(minutes)) if is_timed else 0.0)
    elif attempts.timed_out[n] and is_timed:
        late = math.log(minutes)
        told = math.log(pi * passing.sf(late) + (1 - pi) * failing.sf(late))
    else:
        told = math.log(1 - pi) + (failing.logpdf(math.log(minutes)) if is_timed else 0.0)
    if is_timed and not math.isnan(attempts.usd[n]):
        told -= 0.5 * (math.log(attempts.usd[n] / minutes) - log_usd) ** 2
    return told


def test_the_likelihood_is_the_naive_one_for_every_kind_of_end() -> None:
    attempts = drawn_attempts(40, limit=15.0)
    minutes, usd = attempts.minutes.copy(), attempts.usd.copy()
    minutes[::5], usd[::3] = np.nan, np.nan
    attempts = msgspec.structs.replace(attempts, minutes=minutes, usd=usd)
    kinds = set(zip(attempts.passed, attempts.timed_out, np.isnan(minutes), strict=True))
    assert len(kinds) == 6
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(2, len(attempts), 6)) * 0.4 + [0.2, 1.8, -0.4, 2.3, -0.6, -2]
    found = log_likelihood(torch.tensor(rows, dtype=torch.float32), rows_of(attempts)).numpy()
    for m in range(2):
        expected = [naive_log_likelihood(rows[m, n], attempts, n) for n in range(len(attempts))]
        assert found[m] == pytest.approx(expected, abs=1e-4)


def parameters_at(model: AttemptModel, attempts: Attempts) -> torch.Tensor:
    with torch.no_grad():
        every = model(torch.tensor(attempts.features), torch.tensor(attempts.choices))
    return every.mean(dim=(0, 1), keepdim=True)


def test_limits_taken_as_limits_find_the_median_that_limits_as_durations_do_not() -> None:
    cut = drawn_attempts(400, medians=(10.0, 20.0), logit=1.0, kappa=50.0, limit=14.0, seed=2)
    assert 0.3 < cut.timed_out.mean() < 0.7
    naive = msgspec.structs.replace(cut, timed_out=np.zeros(len(cut), dtype=bool))
    config = OutcomeConfig(members=2, width=4, epochs=400)
    found, wrong = (parameters_at(fit_networks(a, config)[0], a) for a in (cut, naive))
    pass_median, fail_median = (float(t.mean.exp()) for t in times_of(found))
    assert pass_median == pytest.approx(10.0, rel=0.2)
    assert fail_median == pytest.approx(20.0, rel=0.35)
    assert abs(float(times_of(wrong)[1].mean.exp()) - 20.0) > 1.5 * abs(fail_median - 20.0)
    true = 1 / (1 + math.exp(-1.0))
    chance, wrong_chance = (float(torch.sigmoid(p[..., 0])) for p in (found, wrong))
    assert chance == pytest.approx(true, abs=0.08)
    assert wrong_chance < true - 0.2


class Known(AttemptModel):
    """The chances and times that attempts were drawn with."""

    def forward(self, features: torch.Tensor, choices: torch.Tensor) -> torch.Tensor:
        told = torch.zeros(1, len(features), 6)
        told[..., 0] = features[:, 0]
        told[..., 1:] = torch.tensor(
            [math.log(6.0), math.log(0.5), math.log(12.0), math.log(0.5), -2.0]
        )
        return told


def known_model() -> Known:
    return Known(fit_networks(drawn_attempts(4), QUICK)[0].spec)


@pytest.mark.parametrize("kappa", [0.5, 2.0, 10.0])
@pytest.mark.parametrize("limit", [np.inf, 8.0])
def test_kappa_is_recovered_from_cases_with_several_tries(kappa: float, limit: float) -> None:
    rng = np.random.default_rng(0)
    attempts = drawn_attempts(1_500, logit=rng.normal(size=1_500), kappa=kappa, limit=limit)
    found = fit_kappa(known_model(), attempts)
    if np.isfinite(limit):  # the luck of time is each try's own, so that tries are less alike
        assert math.log(kappa) - 0.2 < found < math.log(kappa) + 1.8
    else:
        assert found == pytest.approx(math.log(kappa), abs=0.25)


def test_kappa_stays_where_it_was_believed_without_a_second_try() -> None:
    assert fit_kappa(known_model(), drawn_attempts(50, tries=1)) == pytest.approx(
        UNKNOWN_KAPPA, abs=0.01
    )


def test_a_try_in_two_views_for_half_tells_of_kappa_as_once() -> None:
    attempts = drawn_attempts(300, kappa=3.0)
    half = msgspec.structs.replace(attempts, weight=attempts.weight / 2)
    both = Attempts(*(np.concatenate([getattr(half, n)] * 2) for n in Attempts.__struct_fields__))
    model = known_model()
    assert fit_kappa(model, both) == pytest.approx(fit_kappa(model, attempts), abs=1e-3)


@pytest.mark.parametrize("fit", KINDS)
def test_equal_seeds_give_equal_ensembles_and_other_seeds_other_ones(fit) -> None:
    attempts = drawn_attempts(60)
    told = [
        parameters_at(fit(attempts, msgspec.structs.replace(QUICK, seed=s))[0], attempts)
        for s in (0, 0, 1)
    ]
    assert (told[0] == told[1]).all()
    assert (told[0] != told[2]).any()


@pytest.mark.parametrize("fit", KINDS)
def test_the_order_of_rows_moves_an_ensemble_by_rounding_alone(fit) -> None:
    """Members draw issues and blocks, never rows; dropout, which is drawn by row, is off here."""
    attempts = drawn_attempts(60)
    config = msgspec.structs.replace(QUICK, dropout=0.0, epochs=10)
    order = np.random.default_rng(0).permutation(len(attempts))
    one, other = (fit(a, config)[0] for a in (attempts, attempts.choose(order)))
    assert parameters_at(one, attempts).numpy() == pytest.approx(
        parameters_at(other, attempts).numpy(), abs=1e-3
    )


@pytest.mark.parametrize("fit", KINDS)
@pytest.mark.parametrize(
    "oddity", ["one try", "one pass", "all pass", "all fail", "all cut", "no times", "no costs"]
)
def test_odd_data_give_no_nan(fit, oddity: str) -> None:
    attempts = drawn_attempts(40, limit=15.0)
    n = len(attempts)
    yes, no, nan = np.ones(n, dtype=bool), np.zeros(n, dtype=bool), np.full(n, np.nan)
    changes = {
        "one try": {},
        "one pass": {"passed": yes, "timed_out": no},
        "all pass": {"passed": yes, "timed_out": no},
        "all fail": {"passed": no, "timed_out": no},
        "all cut": {"passed": no, "timed_out": yes},
        "no times": {"minutes": nan, "usd": nan},
        "no costs": {"usd": nan},
    }[oddity]
    attempts = msgspec.structs.replace(attempts, **changes)
    if oddity in ("one try", "one pass"):
        attempts = attempts.choose(np.arange(1))
    model, record = fit(attempts, QUICK, offsets=OFFSETS, doubt=DOUBT)
    features = torch.tensor(drawn_attempts(7).features)
    with torch.no_grad():
        told = model(features, torch.zeros(len(features), N_CHOICES))
    assert torch.isfinite(told).all()
    assert math.isfinite(record.log_kappa)
    assert record.knows_cost == (oddity not in ("no times", "no costs"))


@pytest.mark.parametrize("fit", KINDS)
def test_without_a_try_there_is_nothing_to_learn(fit) -> None:
    with pytest.raises(ValueError, match="no finished try"):
        fit(drawn_attempts(3).choose(np.arange(0)), QUICK)
