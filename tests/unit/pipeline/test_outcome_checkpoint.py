"""An outcome model as bytes comes back as it was, or is refused."""

import msgspec
import numpy as np
import pytest
import torch

from planner_pipeline.training.checkpoint import CheckpointError, decode_tensors, encode_tensors
from planner_pipeline.training.outcome_checkpoint import decode_outcomes, encode_outcomes
from tests.reference.attempts import some_features, some_fitted


@pytest.fixture(scope="module")
def data() -> bytes:
    return encode_outcomes(some_fitted())


def test_a_round_trip_gives_the_same_bytes_and_the_same_answers(data: bytes) -> None:
    fitted, again = some_fitted(), decode_outcomes(data)
    assert encode_outcomes(again) == data == encode_outcomes(fitted)
    features = torch.tensor(some_features(20))
    choices = torch.zeros((20, fitted.model.spec.n_choices))
    with torch.no_grad():
        mine, yours = fitted.model(features, choices), again.model(features, choices)
    assert torch.equal(torch.as_tensor(mine), torch.as_tensor(yours))
    assert again.record == fitted.record
    assert again.state == fitted.state
    assert again.pass_knots == fitted.pass_knots
    assert (again.pass_slope, again.pass_bias) == (fitted.pass_slope, fitted.pass_bias)
    assert np.array_equal(again.held_out, fitted.held_out, equal_nan=True)
    assert again.novelty.threshold == fitted.novelty.threshold
    assert np.array_equal(again.novelty.factor, fitted.novelty.factor)


def test_it_is_no_pickle_and_another_model_is_other_bytes(data: bytes) -> None:
    assert b"__reduce__" not in data
    other = msgspec.structs.replace(some_fitted(), pass_bias=0.25)
    assert encode_outcomes(other) != data


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99])
def test_bytes_that_were_cut_off_are_refused(data: bytes, share: float) -> None:
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        decode_outcomes(data[: int(share * len(data))])


@pytest.mark.parametrize("name", ["held_out", "novelty.factor", "model."])
def test_a_missing_tensor_is_refused(data: bytes, name: str) -> None:
    from planner_pipeline.training.outcome_checkpoint import _Card

    tensors, card = decode_tensors(data, _Card)
    gone = next(one for one in sorted(tensors) if one.startswith(name))
    del tensors[gone]
    with pytest.raises(CheckpointError, match="not an outcome model"):
        decode_outcomes(encode_tensors(tensors, card))


def test_a_checkpoint_of_another_kind_is_refused() -> None:
    other = encode_tensors({"a": torch.zeros(2)}, some_fitted().record)
    with pytest.raises(CheckpointError):
        decode_outcomes(other)
