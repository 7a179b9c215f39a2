"""An exported outcome model answers as the model does, for any number of actions."""

import numpy as np
import onnx
import pytest
import torch

from planner_pipeline.release.onnx_check import shipped_op_types
from planner_pipeline.release.onnx_export import OPSET
from planner_pipeline.release.outcome_export import INPUTS, OutcomeGraph, export_outcomes
from planner_pipeline.training.outcome_model import FittedOutcomes
from planner_runtime.outcomes.model import MODEL_OUTPUTS
from planner_runtime.session import OnnxOutcomeModel
from tests.reference.attempts import N_CHOICES, N_FEATURES, some_actions, some_features, some_fitted


@pytest.fixture(scope="module")
def fitted() -> FittedOutcomes:
    return some_fitted()


@pytest.fixture(scope="module")
def exported(fitted: FittedOutcomes) -> bytes:
    return export_outcomes(fitted)


def expected(fitted: FittedOutcomes, features: np.ndarray, actions: np.ndarray) -> dict:
    with torch.no_grad():
        told = OutcomeGraph(fitted).eval()(torch.tensor(features[None]), torch.tensor(actions))
    return dict(zip(MODEL_OUTPUTS, (values.numpy() for values in told), strict=True))


@pytest.mark.parametrize("n_actions", [1, 2, 24, 150])
@pytest.mark.parametrize("size", [0.0, 1.0, 30.0, 1e6])
def test_onnxruntime_answers_as_torch_does_also_far_out(
    fitted: FittedOutcomes, exported: bytes, n_actions: int, size: float
) -> None:
    session = OnnxOutcomeModel(exported, input_width=N_FEATURES)
    actions = some_actions(n_actions)
    for features in some_features(5, seed=3) * np.float32(size):
        found = session.outcomes(features, actions)
        for name, values in expected(fitted, features, actions).items():
            mine = np.atleast_1d(getattr(found, name))
            assert np.isfinite(mine).all(), name
            assert mine == pytest.approx(values, rel=1e-4, abs=1e-4), name
            assert name == "novelty" or mine.shape == (3 * 5, n_actions)


def test_the_file_is_alone_and_says_what_it_reads_and_answers(exported: bytes) -> None:
    proto = onnx.load_from_string(exported)
    assert [node.name for node in proto.graph.input] == list(INPUTS)
    assert [node.name for node in proto.graph.output] == list(MODEL_OUTPUTS)
    assert {opset.domain: opset.version for opset in proto.opset_import}[""] == OPSET
    assert not [t for t in proto.graph.initializer if t.data_location]
    assert b".py" not in exported
    assert "Expand" in shipped_op_types(exported)
    shapes = {
        node.name: [d.dim_value or d.dim_param for d in node.type.tensor_type.shape.dim]
        for node in (*proto.graph.input, *proto.graph.output)
    }
    assert shapes["features"] == [1, N_FEATURES]
    assert shapes["actions"] == ["actions", 2 + N_CHOICES]
    assert shapes["p_pass"] == [15, "actions"]


def test_without_known_prices_costs_alone_are_no_numbers_and_equal_models_give_equal_files() -> (
    None
):
    once, again = (export_outcomes(some_fitted(knows_cost=False)) for _ in range(2))
    assert once == again
    found = OnnxOutcomeModel(once, input_width=N_FEATURES).outcomes(
        some_features(1)[0], some_actions(7)
    )
    for name in MODEL_OUTPUTS:
        values = np.asarray(getattr(found, name))
        assert np.isnan(values).all() if name == "cost_usd" else np.isfinite(values).all()


def test_the_graph_measures_novelty_as_training_did(fitted: FittedOutcomes) -> None:
    features = np.concatenate([some_features(20, 5), 4 * some_features(20, 6)])
    for row, distance in zip(features, fitted.novelty.distance(features), strict=True):
        assert expected(fitted, row, some_actions(2))["novelty"] == pytest.approx([distance])
