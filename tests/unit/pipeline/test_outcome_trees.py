"""Boosted trees of the outcome model: they learn, they are served and saved as they were grown."""

import msgspec
import numpy as np
import onnx
import pytest
import torch

from planner_pipeline.models.outcome import N_PARAMETERS, OutcomeNetwork
from planner_pipeline.models.outcome_trees import GROWN, AttemptTrees
from planner_pipeline.release.onnx_check import shipped_op_types
from planner_pipeline.release.outcome_export import OutcomeGraph, export_outcomes
from planner_pipeline.training.checkpoint import CheckpointError
from planner_pipeline.training.outcome_checkpoint import decode_outcomes, encode_outcomes
from planner_pipeline.training.outcome_fit import (
    Attempts,
    OutcomeConfig,
    OutcomeRecord,
    log_likelihood,
    rows_of,
)
from planner_pipeline.training.outcome_model import FittedOutcomes
from planner_pipeline.training.outcome_trees import curvature, fit_trees
from planner_runtime.outcomes.model import MODEL_OUTPUTS
from planner_runtime.session import OnnxOutcomeModel
from tests.reference.attempts import (
    DOUBT,
    N_CHOICES,
    N_FEATURES,
    OFFSETS,
    drawn_attempts,
    some_actions,
    some_features,
    some_fitted,
)

CONFIG = OutcomeConfig(
    kind="trees", members=2, epochs=30, trees=30, least_rows=10, tree_rate=0.2, patience=15
)


def some_attempts(n_cases: int = 240, seed: int = 0) -> Attempts:
    """Tries whose passing and times hang on features that no offset tells of; a limit cuts some."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, n_cases)
    attempts = drawn_attempts(n_cases, logit=3.0 * kind - 1.5, kappa=30.0, limit=25.0, seed=seed)
    features = some_features(n_cases, seed)
    features[:, 0], features[:, 6] = 0.0, kind
    minutes = attempts.minutes * np.where(features[attempts.case, 7] > 0, 2.0, 1.0)
    return msgspec.structs.replace(
        attempts, features=features[attempts.case], minutes=np.minimum(minutes, 25.0)
    )


def fitted_trees(config: OutcomeConfig = CONFIG) -> tuple[AttemptTrees, OutcomeRecord]:
    return fit_trees(some_attempts(), config, offsets=OFFSETS, doubt=DOUBT)


@pytest.fixture(scope="module")
def grown() -> tuple[AttemptTrees, OutcomeRecord]:
    return fitted_trees()


@pytest.fixture(scope="module")
def fitted(grown: tuple[AttemptTrees, OutcomeRecord]) -> FittedOutcomes:
    return msgspec.structs.replace(some_fitted(model=grown[0]), record=grown[1])


def test_trees_find_what_no_offset_tells_and_stop_by_themselves(grown: tuple) -> None:
    model, record = grown
    assert all(0 < step <= CONFIG.trees for step in record.steps)
    rows = some_features(2)
    rows[:, 0], rows[:, 6] = 0.0, (0.0, 1.0)
    with torch.no_grad():
        parameters = model(torch.tensor(rows), torch.zeros(2, N_CHOICES)).mean(dim=0)
    assert parameters[1, 0] - parameters[0, 0] > 1.5
    rows[:, 6], rows[:, 7] = 0.0, (-1.0, 1.0)
    rows[1, :6] = rows[0, :6]
    with torch.no_grad():
        parameters = model(torch.tensor(rows), torch.zeros(2, N_CHOICES)).mean(dim=0)
    assert parameters[1, 3] - parameters[0, 3] > 0.2  # log minutes of failing


def test_curvature_is_the_second_derivative_where_the_end_is_known_and_never_less() -> None:
    attempts = some_attempts(60)
    rows = rows_of(attempts)
    rng = np.random.default_rng(0)
    at = rng.normal(size=(1, len(attempts), N_PARAMETERS)) * 0.3 + [0, 1.8, -0.5, 2.3, -0.5, -2]
    parameters = torch.tensor(at, dtype=torch.float32)
    told = log_likelihood(parameters, rows)
    found = curvature(parameters, told, rows, 1)[0]
    steps = 1e-2
    for place, parameter in enumerate(GROWN):
        moved = torch.zeros(N_PARAMETERS)
        moved[parameter] = steps
        ends = [log_likelihood((parameters + s * moved).double(), rows) for s in (-1, 0, 1)]
        second = -((ends[0] - 2 * ends[1] + ends[2]) / steps**2)[0]
        known = ~attempts.timed_out
        assert found[known, place].numpy() == pytest.approx(second[known].numpy(), abs=0.02)
        assert (found[:, place] > second - 0.02).all()


def test_equal_seeds_give_equal_trees_and_other_seeds_other_ones(grown: tuple) -> None:
    again = fitted_trees()
    assert again[0].trees == grown[0].trees
    assert again[1] == grown[1]
    assert fitted_trees(msgspec.structs.replace(CONFIG, seed=1))[0].trees != grown[0].trees


def test_onnx_answers_as_the_trees_do_also_at_their_thresholds(fitted: FittedOutcomes) -> None:
    data = export_outcomes(fitted)
    assert export_outcomes(fitted) == data
    assert "ai.onnx.ml:TreeEnsembleRegressor" in shipped_op_types(data)
    session = OnnxOutcomeModel(data, input_width=N_FEATURES)
    graph = OutcomeGraph(fitted).eval()
    flat = fitted.model.flat()
    features = [*some_features(6, 1), *(1e6 * some_features(2, 2))]
    for feature, value in list(zip(flat["nodes_featureids"], flat["nodes_values"], strict=True))[
        :9
    ]:
        row = some_features(1, 3)[0]
        row[min(feature, N_FEATURES - 1)] = value
        features.append(row)
    for n, row in enumerate(features):
        actions = some_actions((1, 2, 150)[n % 3], n)
        found = session.outcomes(row, actions)
        with torch.no_grad():
            told = graph(torch.tensor(row[None]), torch.tensor(actions))
        for name, values in zip(MODEL_OUTPUTS, told, strict=True):
            mine = np.atleast_1d(getattr(found, name))
            assert np.isfinite(mine).all(), name
            assert mine == pytest.approx(values.numpy(), rel=1e-4, abs=1e-4), name


def test_a_model_without_any_tree_is_served_as_its_offsets() -> None:
    model = AttemptTrees(msgspec.structs.replace(some_fitted().model.spec, width=0))
    fitted = some_fitted(model=model.eval())
    data = export_outcomes(fitted)
    assert not [op for op in shipped_op_types(data) if ":" in op]
    assert not [n for n in onnx.load_from_string(data).graph.node if "Tree" in n.op_type]
    found = OnnxOutcomeModel(data, input_width=N_FEATURES).outcomes(
        some_features(1)[0], some_actions(5)
    )
    graph: OutcomeNetwork = OutcomeGraph(fitted).outcomes
    with torch.no_grad():
        told = graph(torch.tensor(some_features(1)), torch.tensor(some_actions(5)))
    assert found.p_pass == pytest.approx(told[0].numpy(), abs=1e-5)


@pytest.mark.parametrize("kind", ["trees", "networks"])
def test_a_fitted_model_comes_back_from_its_bytes_as_it_was(
    kind: str, fitted: FittedOutcomes
) -> None:
    once = fitted if kind == "trees" else some_fitted()
    data = encode_outcomes(once)
    back = decode_outcomes(data)
    assert encode_outcomes(back) == data
    assert (back.record, back.state, back.pass_knots) == (once.record, once.state, once.pass_knots)
    assert back.held_out == pytest.approx(once.held_out, nan_ok=True)
    rows = some_features(9, 4)
    assert (back.novelty.distance(rows) == once.novelty.distance(rows)).all()
    choices = torch.zeros(9, N_CHOICES)
    with torch.no_grad():
        assert (
            back.model(torch.tensor(rows), choices) == once.model(torch.tensor(rows), choices)
        ).all()
    for broken in (data[:-1], data[: len(data) // 2], b"", b"{}", data.replace(b".v1", b".v2", 1)):
        with pytest.raises(CheckpointError):
            decode_outcomes(broken)
