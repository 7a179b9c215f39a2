"""Fitted outcome models as bytes: tensors beside a card in JSON, trees as text in it; no pickle.

Belongs here: saving and loading. Does not: the format itself (``checkpoint``), export.
Design: architecture decision 4.
"""

from collections.abc import Mapping

import lightgbm
import msgspec
import numpy as np
import torch

from planner_pipeline.models.outcome import AttemptModel, AttemptNetworks, Kind, OutcomeSpec
from planner_pipeline.models.outcome_trees import AttemptTrees
from planner_pipeline.training.checkpoint import CheckpointError, decode_tensors, encode_tensors
from planner_pipeline.training.novelty import Novelty
from planner_pipeline.training.outcome_fit import OutcomeRecord
from planner_pipeline.training.outcome_model import FittedOutcomes
from planner_runtime.outcomes.track_record import TrackRecordState

_NOVELTY = ("centre", "scale", "limit", "factor")


class _Card(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True,
    tag_field="schema_version", tag="cyntra.fitted_outcomes.v1",
):  # fmt: skip
    """All of a fitted model that is no tensor."""

    kind: Kind
    spec: OutcomeSpec
    trees: tuple[tuple[str, ...], ...]
    record: OutcomeRecord
    state: TrackRecordState
    pass_slope: float
    pass_bias: float
    pass_knots: tuple[tuple[float, float], ...]
    threshold: float


def encode_outcomes(fitted: FittedOutcomes) -> bytes:
    """A fitted model as bytes; equal models give equal bytes."""
    model = fitted.model
    is_trees = isinstance(model, AttemptTrees)
    card = _Card(
        kind="trees" if is_trees else "networks",
        spec=model.spec,
        trees=model.trees if isinstance(model, AttemptTrees) else (),
        record=fitted.record,
        state=fitted.state,
        pass_slope=fitted.pass_slope,
        pass_bias=fitted.pass_bias,
        pass_knots=fitted.pass_knots,
        threshold=fitted.novelty.threshold,
    )
    tensors = {f"model.{name}": values for name, values in model.state_dict().items()}
    for name in _NOVELTY:
        tensors[f"novelty.{name}"] = torch.tensor(getattr(fitted.novelty, name))
    tensors["held_out"] = torch.tensor(fitted.held_out)
    return encode_tensors(tensors, card)


def decode_outcomes(data: bytes) -> FittedOutcomes:
    """The fitted model in some bytes, ready to predict.

    Raises:
        CheckpointError: they are truncated, or of something else.
    """
    tensors, card = decode_tensors(data, _Card)
    try:
        model = _model_of(card, tensors)
        found = {name: tensors[f"novelty.{name}"].numpy() for name in _NOVELTY}
        held_out: np.ndarray = tensors["held_out"].numpy()
    except (KeyError, RuntimeError, ValueError, lightgbm.basic.LightGBMError) as error:
        raise CheckpointError(f"not an outcome model: {error}") from error
    return FittedOutcomes(
        model=model,
        record=card.record,
        state=card.state,
        pass_slope=card.pass_slope,
        pass_bias=card.pass_bias,
        pass_knots=card.pass_knots,
        novelty=Novelty(**found, threshold=card.threshold),
        held_out=held_out,
    )


def _model_of(card: _Card, tensors: Mapping[str, torch.Tensor]) -> AttemptModel:
    model: AttemptModel
    if card.kind == "trees":
        model = AttemptTrees(card.spec, card.trees)
    else:
        model = AttemptNetworks(card.spec)
    prefix = "model."
    model.load_state_dict(
        {n.removeprefix(prefix): values for n, values in tensors.items() if n.startswith(prefix)}
    )
    return model.eval()
