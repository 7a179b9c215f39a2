"""Checkpoints: weights as safetensors with the spec in the header, trees as text; never a pickle.

Belongs here: saving and loading. Does not: choosing which epoch to save (``loop``).
Design: architecture decision 4.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from planner_pipeline.models.build import build_model
from planner_pipeline.models.spec import ModelSpec
from planner_pipeline.models.trees import TreeModel


class _Card(msgspec.Struct, frozen=True, kw_only=True):
    spec: ModelSpec


class CheckpointError(ValueError):
    """Some bytes are not a checkpoint of ours."""


def encode_tensors(tensors: Mapping[str, Tensor], card: Any) -> bytes:
    """Named tensors and a record as safetensors; equal ones give equal bytes."""
    told = msgspec.json.encode(card, order="deterministic").decode()
    held = {name: tensors[name].detach().clone().contiguous() for name in sorted(tensors)}
    # one key: safetensors writes several in an order that changes from call to call
    return save_tensors(held, metadata={"card": told})


def decode_tensors(data: bytes, kind: type[Any]) -> tuple[dict[str, Tensor], Any]:
    """What ``encode_tensors`` wrote.

    Raises:
        CheckpointError: it did not, or the bytes were cut off.
    """
    try:
        header_size = int.from_bytes(data[:8], "little")
        header = msgspec.json.decode(data[8 : 8 + header_size])
        card = msgspec.json.decode(header["__metadata__"]["card"], type=kind)
        return load_tensors(data), card
    except Exception as error:
        raise CheckpointError(f"not a checkpoint: {error}") from error


def encode_checkpoint(model: nn.Module | TreeModel) -> bytes:
    """A model as bytes; equal models give equal bytes."""
    if isinstance(model, TreeModel):
        return msgspec.json.encode(model, order="deterministic")
    spec = model.spec
    assert isinstance(spec, ModelSpec)
    return encode_tensors(model.state_dict(), _Card(spec=spec))


def decode_checkpoint(data: bytes) -> nn.Module | TreeModel:
    """The model in some bytes, ready to predict.

    Raises:
        CheckpointError: they are truncated, or of another architecture.
    """
    if data[:1] == b"{":
        try:
            return msgspec.json.decode(data, type=TreeModel)
        except msgspec.DecodeError as error:
            raise CheckpointError(f"not a checkpoint: {error}") from error
    tensors, card = decode_tensors(data, _Card)
    try:
        model = build_model(card.spec)
        model.load_state_dict(tensors)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"not a checkpoint: {error}") from error
    model.eval()
    return model
