"""The whole outcome model, from tries to an outlook: both kinds, both ways to make records."""

import msgspec
import numpy as np
import pytest

from planner_pipeline.release.outcome_export import export_outcomes
from planner_pipeline.training.outcome_checkpoint import decode_outcomes, encode_outcomes
from planner_pipeline.training.outcome_data import Decisions
from planner_pipeline.training.outcome_fit import OutcomeConfig
from planner_pipeline.training.outcome_model import (
    FittedOutcomes,
    OutcomeData,
    Scored,
    features_of,
    fit_outcomes,
    outcomes_of,
    training_records,
)
from planner_runtime.outcomes.features import CHOICES, OUTCOME_FEATURES, RECORD_FEATURES
from planner_runtime.outcomes.model import OutcomeCalibration, calibrated, outlook_of
from planner_runtime.session import OnnxOutcomeModel
from tests.reference.attempts import some_actions
from tests.reference.track_records import some_tries

CONFIG = OutcomeConfig(members=2, width=4, epochs=40, trees=10, least_rows=10)
N_PLAIN = len(OUTCOME_FEATURES) - len(RECORD_FEATURES)


def some_data(*, mode: str = "apart", seed: int = 0) -> OutcomeData:
    """A decision before every third try; the rest are history."""
    tries = some_tries(4, 20, seed=seed, limit=25.0)
    n = len(tries)
    rows = np.arange(0, n, 3)
    case = np.full(n, -1)
    case[rows] = np.arange(len(rows))
    base = np.zeros((len(rows), N_PLAIN), dtype=np.float32)
    base[:, :3] = np.random.default_rng(seed).normal(size=(len(rows), 3))
    return OutcomeData(
        tries=tries,
        case=case,
        decisions=Decisions(
            tries.toolchain[rows], tries.issue[rows], tries.ended_ms[rows] - 9_000_000
        ),
        base=base,
        choices=np.zeros((len(rows), len(CHOICES)), dtype=np.float32),
        scored=Scored(
            np.arange(len(rows)), np.ones(len(rows), dtype=np.float32),
            np.full(len(rows), 25.0, dtype=np.float32), tries.passed[rows].astype(float),
        ),
        mode=mode,  # type: ignore[arg-type]
    )  # fmt: skip


def features_in(data: OutcomeData, fitted: FittedOutcomes) -> np.ndarray:
    views = training_records(data, fitted.state)
    return np.concatenate([features_of(records, data.base) for records in views])


@pytest.mark.parametrize("mode", ["apart", "as_of", "both"])
@pytest.mark.parametrize("kind", ["networks", "trees"])
def test_held_out_chances_are_better_than_the_share_and_the_fit_repeats(
    kind: str, mode: str
) -> None:
    data = some_data(mode=mode, seed=3)
    config = msgspec.structs.replace(CONFIG, kind=kind)
    fitted = fit_outcomes(data, config)
    assert fitted.record.n_attempts == (data.case >= 0).sum()
    assert fitted.record.n_cases == len(data.decisions)
    came, share = data.scored.ratio, data.scored.ratio.mean()
    assert np.isfinite(fitted.held_out).all()
    assert ((fitted.held_out - came) ** 2).mean() < 0.95 * share * (1 - share)
    assert (
        fitted.novelty.distance(features_in(data, fitted)) > fitted.novelty.threshold
    ).mean() < (0.05)
    assert encode_outcomes(fit_outcomes(data, config)) == encode_outcomes(fitted)


def test_a_bundle_of_a_decoded_model_has_the_outlook_that_training_has() -> None:
    data = some_data()
    fitted = decode_outcomes(encode_outcomes(fit_outcomes(data, CONFIG)))
    session = OnnxOutcomeModel(export_outcomes(fitted), input_width=len(OUTCOME_FEATURES))
    calibration = OutcomeCalibration(
        pass_slope=fitted.pass_slope, pass_bias=fitted.pass_bias, pass_knots=fitted.pass_knots,
        confidence_threshold=0.0, n_calibration=1, novelty_threshold=fitted.novelty.threshold,
    )  # fmt: skip
    features, actions = features_in(data, fitted), some_actions(24)
    for row in features[:5]:
        raw = session.outcomes(row, actions)
        told = outcomes_of(
            fitted.model, fitted.record.log_kappa, np.repeat(row[None], 24, axis=0),
            actions[:, 2:], actions[:, 0], actions[:, 1], knows_cost=fitted.record.knows_cost,
        )  # fmt: skip
        outlook = outlook_of(raw, calibration)
        expected = calibrated(
            told["p_pass"], fitted.pass_slope, fitted.pass_bias, fitted.pass_knots
        )
        assert outlook.p_pass == pytest.approx(expected, abs=1e-4)
        assert outlook.wall_minutes == pytest.approx(told["wall_minutes"], rel=1e-3)
        assert outlook.cost_usd == pytest.approx(told["cost_usd"], rel=1e-3)
        assert raw.novelty == pytest.approx(fitted.novelty.distance(row[None])[0], rel=1e-4)


def test_a_single_toolchain_is_fitted_without_folds() -> None:
    data = some_data()
    rows = data.tries.toolchain == "chain-0"
    keep = data.decisions.toolchain == "chain-0"
    place = np.full(len(keep) + 1, -1)
    place[:-1][keep] = np.arange(keep.sum())
    alone = OutcomeData(
        tries=data.tries.choose(rows),
        case=place[data.case[rows]],
        decisions=Decisions(
            *(getattr(data.decisions, name)[keep] for name in Decisions.__struct_fields__)
        ),
        base=data.base[keep],
        choices=data.choices[keep],
        scored=Scored(
            np.arange(keep.sum()),
            *(getattr(data.scored, n)[keep] for n in ("candidates", "minutes", "ratio")),
        ),
        mode="apart",
    )
    fitted = fit_outcomes(alone, CONFIG)
    assert np.isnan(fitted.held_out).all()
    assert (fitted.pass_slope, fitted.pass_bias, fitted.pass_knots) == (1.0, 0.0, ())
    assert np.isfinite(fitted.novelty.threshold)
