"""An outcome model as bytes: weights and numbers as safetensors, the rest in their header.

Belongs here: saving and loading. Does not: fitting, export. Design: architecture decision 4.
"""

import msgspec
import torch

from planner_pipeline.models.outcome import AttemptNetworks, OutcomeSpec
from planner_pipeline.training.checkpoint import CheckpointError, decode_tensors, encode_tensors
from planner_pipeline.training.novelty import Novelty
from planner_pipeline.training.outcome_fit import OutcomeRecord
from planner_pipeline.training.outcome_model import FittedOutcomes
from planner_runtime.track_record import TrackRecordState

_NOVELTY = ("centre", "scale", "limit", "factor")


class _Card(msgspec.Struct, frozen=True, kw_only=True):
    spec: OutcomeSpec
    record: OutcomeRecord
    state: TrackRecordState
    pass_slope: float
    pass_bias: float
    pass_knots: tuple[tuple[float, float], ...]
    novelty_threshold: float


def encode_outcomes(fitted: FittedOutcomes) -> bytes:
    """A fitted outcome model as bytes; equal ones give equal bytes."""
    tensors = {f"model.{name}": value for name, value in fitted.model.state_dict().items()}
    for name in _NOVELTY:
        tensors[f"novelty.{name}"] = torch.tensor(getattr(fitted.novelty, name))
    tensors["held_out"] = torch.tensor(fitted.held_out)
    card = _Card(
        spec=fitted.model.spec,
        record=fitted.record,
        state=fitted.state,
        pass_slope=fitted.pass_slope,
        pass_bias=fitted.pass_bias,
        pass_knots=fitted.pass_knots,
        novelty_threshold=fitted.novelty.threshold,
    )
    return encode_tensors(tensors, card)


def decode_outcomes(data: bytes) -> FittedOutcomes:
    """What ``encode_outcomes`` wrote.

    Raises:
        CheckpointError: it did not, or the bytes were cut off.
    """
    tensors, card = decode_tensors(data, _Card)
    try:
        model = AttemptNetworks(card.spec)
        weights = {n.removeprefix("model."): t for n, t in tensors.items() if "model." in n}
        model.load_state_dict(weights)
        novelty = {name: tensors[f"novelty.{name}"].numpy() for name in _NOVELTY}
        held_out = tensors["held_out"].numpy()
    except (RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(f"not an outcome model: {error}") from error
    model.eval()
    return FittedOutcomes(
        model=model,
        record=card.record,
        state=card.state,
        pass_slope=card.pass_slope,
        pass_bias=card.pass_bias,
        pass_knots=card.pass_knots,
        held_out=held_out,
        novelty=Novelty(**novelty, threshold=card.novelty_threshold),
    )
