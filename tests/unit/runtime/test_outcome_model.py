"""What an outcome model may say, how it is calibrated, and the real session behind the protocol."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_runtime.action_set import cyntra_actions
from planner_runtime.actions import ActionSpace
from planner_runtime.contracts import (
    ContractError,
    PlannerInput,
    canonical_json,
    read_document,
    to_document,
)
from planner_runtime.outcomes.features import (
    CHOICES,
    OUTCOME_FEATURES,
    RECORD_FEATURES,
    action_numbers,
    outcome_features,
    record_features,
)
from planner_runtime.outcomes.model import (
    OUTCOMES,
    OutcomeCalibration,
    OutcomeError,
    OutcomeModel,
    RawOutcomes,
    calibrated_chance,
    outlook_of,
)
from planner_runtime.outcomes.track_record import TrackRecord
from planner_runtime.session import FixedModel, ModelError, OnnxOutcomeModel
from tests.outcome_bundles import a_question, calibration_of, flat, tiny_onnx

ACTIONS = action_numbers(cyntra_actions(ActionSpace(), "code"))
FEATURES = np.zeros(len(OUTCOME_FEATURES), dtype=np.float32)


def raw(**changes: object) -> RawOutcomes:
    """Two rows on three actions."""
    parts = {name: np.full((2, 3), 0.5) for name in OUTCOMES}
    return RawOutcomes(**{"novelty": 0.0, **parts, **changes})  # type: ignore[arg-type]


@given(
    st.floats(0, 3), st.floats(-3, 3),
    st.lists(st.floats(0, 1), min_size=2, max_size=5, unique=True),
    st.lists(st.floats(0, 1), min_size=1, max_size=20),
)  # fmt: skip
def test_calibrating_keeps_chances_and_their_order(slope, bias, places, chances) -> None:
    knots = tuple(zip(sorted(places), sorted(places, reverse=True)[::-1], strict=True))
    calibration = calibration_of(pass_slope=slope, pass_bias=bias, pass_knots=knots)
    found = calibrated_chance(np.sort(chances), calibration)
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found) >= -1e-12).all()


def test_without_a_fit_chances_stay_what_they_are() -> None:
    chances = np.array([[0.1, 0.5], [0.9, 0.999]])
    assert np.allclose(calibrated_chance(chances, calibration_of()), chances)


def test_platt_moves_log_odds_and_knots_interpolate_afterwards() -> None:
    platt = calibration_of(pass_slope=2.0, pass_bias=1.0)
    assert calibrated_chance(np.array([0.5]), platt)[0] == pytest.approx(1 / (1 + np.exp(-1)))
    knots = calibration_of(pass_knots=((0.2, 0.0), (0.6, 0.8)))
    told = calibrated_chance(np.array([0.0, 0.2, 0.4, 0.6, 1.0]), knots)
    assert np.allclose(told, [0.0, 0.0, 0.4, 0.8, 0.8])


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"pass_knots": [[0.5, 0.5]]}, "$"),
        ({"pass_knots": [[0.5, 0.5], [0.5, 0.6]]}, "$"),
        ({"pass_knots": [[0.2, 0.5], [0.5, 0.4]]}, "$"),
        ({"pass_knots": [[0.2, 1.5], [0.5, 0.4]]}, "$.pass_knots[0][1]"),
        ({"pass_slope": -1.0}, "$.pass_slope"),
        ({"novelty_threshold": -1.0}, "$.novelty_threshold"),
        ({"confidence_threshold": 1.5}, "$.confidence_threshold"),
        ({"schema_version": "cyntra.planner_calibration.v1"}, "$.schema_version"),
        ({"temperatures": {}}, "$"),
    ],
)
def test_a_calibration_that_is_none_is_refused(fields: dict, path: str) -> None:
    document = {**to_document(calibration_of()), **fields}
    with pytest.raises(ContractError) as refused:
        read_document(msgspec.json.encode(document), OutcomeCalibration)
    assert refused.value.path == path


def test_a_calibration_survives_a_round_trip() -> None:
    one = calibration_of(pass_knots=((0.1, 0.0), (0.9, 1.0)), novelty_threshold=3.0, notes=("x",))
    assert read_document(canonical_json(to_document(one)), OutcomeCalibration) == one


def test_novelty_is_judged_only_where_a_threshold_was_fitted() -> None:
    assert not calibration_of().is_novel(1e9)
    assert not calibration_of(novelty_threshold=2.0).is_novel(2.0)
    assert calibration_of(novelty_threshold=2.0).is_novel(2.001)
    assert calibration_of(novelty_threshold=2.0).is_novel(float("nan"))


def test_costs_that_nobody_knows_stay_unknown() -> None:
    outlook = outlook_of(raw(cost_usd=np.full((2, 3), np.nan)), calibration_of())
    assert np.isnan(outlook.cost_usd).all()
    assert np.isfinite(outlook.minutes).all()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"p_pass": np.full((2, 3), np.nan)}, "p_pass is not finite"),
        ({"minutes": np.full((2, 3), np.inf)}, "minutes is not finite"),
        ({"wall_minutes": np.full((2, 3), np.nan)}, "wall_minutes is not finite"),
        ({"cost_usd": np.array([[1, 2, np.nan]] * 2)}, "cost_usd is not finite"),
        ({"novelty": float("nan")}, "novelty is not finite"),
        ({"p_pass": np.full((2, 3), 1.2)}, "p_pass is above 1"),
        ({"p_timeout": np.full((2, 3), -0.2)}, "p_timeout is negative"),
        ({"minutes": np.full((2, 3), -5.0)}, "minutes is negative"),
        ({"minutes": np.ones((3, 3))}, "minutes has shape"),
        ({"p_pass": np.ones(3)}, "p_pass has shape"),
    ],
)
def test_what_can_be_no_outcome_is_refused(changes: dict, why: str) -> None:
    with pytest.raises(OutcomeError, match=why):
        outlook_of(raw(**changes), calibration_of())


def test_a_last_bit_outside_the_unit_interval_is_rounding() -> None:
    outlook = outlook_of(
        raw(p_pass=np.full((2, 3), 1 + 1e-6), p_timeout=np.full((2, 3), -1e-7)), calibration_of()
    )
    assert outlook.p_pass.max() <= 1
    assert outlook.p_timeout.min() == 0


def test_features_are_the_record_and_then_the_decision() -> None:
    record = TrackRecord().of(None, None)
    question = read_document(a_question(), PlannerInput)
    features = outcome_features(record, question)
    assert features.dtype == np.float32
    assert features.shape == (len(OUTCOME_FEATURES),)
    assert features[: len(RECORD_FEATURES)].tolist() == record_features(record).tolist()
    assert OUTCOME_FEATURES[: len(RECORD_FEATURES)] == RECORD_FEATURES


def test_a_choice_without_a_number_counts_as_what_it_amounts_to() -> None:
    space = ActionSpace(max_minutes_bins=(15, "NA"), max_candidates_bins=(1, "NA"))
    numbers = action_numbers(cyntra_actions(space, "code"))
    assert numbers[:, :4].tolist() == [
        [1, 15, 1, 0], [1, 60, 1, 0], [1, 15, 0, 1], [1, 60, 0, 1], [2, 15, 0, 1], [2, 60, 0, 1],
    ]  # fmt: skip
    assert numbers.shape == (6, 2 + len(CHOICES))


@pytest.mark.parametrize(
    "model", [flat(), OnnxOutcomeModel(tiny_onnx(), input_width=len(FEATURES))]
)
def test_every_model_answers_in_rows_by_actions(model: OutcomeModel) -> None:
    said = model.outcomes(FEATURES, ACTIONS)
    assert isinstance(model, OutcomeModel)
    assert {np.shape(getattr(said, name)) for name in OUTCOMES} in ({(2, 30)}, {(3, 30)})
    assert isinstance(said.novelty, float)
    outlook_of(said, calibration_of())


def test_a_model_that_imitates_is_no_outcome_model() -> None:
    assert not isinstance(FixedModel([[0.0]]), OutcomeModel)


def test_the_session_computes_what_its_file_says() -> None:
    model = OnnxOutcomeModel(tiny_onnx(), input_width=len(FEATURES))
    features = FEATURES.copy()
    features[0], features[5] = 0.3, -7.0
    said = model.outcomes(features, ACTIONS)
    z = 0.3 + 0.01 * ACTIONS[:, 1] + np.array([[-0.1], [0.0], [0.1]])
    assert np.allclose(said.p_pass, 1 / (1 + np.exp(-z)), atol=1e-6)
    assert np.allclose(said.minutes, [ACTIONS[:, 0] * ACTIONS[:, 1]] * 3)
    assert said.novelty == pytest.approx(7.0)
    one = model.outcomes(features, ACTIONS[:1])
    assert one.p_pass.shape == (3, 1)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (b"", "refuses the model"),
        (tiny_onnx()[:-40], "refuses the model"),
        (tiny_onnx(n_features=7), "inputs are"),
        (tiny_onnx(n_choices=5), "inputs are"),
        (tiny_onnx(outputs=("p_pass", "minutes")), "outputs are"),
        (
            tiny_onnx(
                outputs=("p_timeout", "p_pass", "minutes", "wall_minutes", "cost_usd", "novelty")
            ),
            "outputs are",
        ),
    ],
    ids=["empty", "cut", "features", "choices", "missing", "order"],
)
def test_a_file_that_is_another_model_is_refused(model: bytes, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        OnnxOutcomeModel(model, input_width=len(FEATURES))


def test_features_of_another_width_are_the_models_error() -> None:
    model = OnnxOutcomeModel(tiny_onnx(), input_width=len(FEATURES))
    with pytest.raises(ModelError, match="inference failed"):
        model.outcomes(FEATURES[:-1], ACTIONS)
