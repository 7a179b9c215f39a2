"""Checkpoints: weights as safetensors, with the model's spec in the header; never a pickle.

Belongs here: saving and loading. Does not: choosing which epoch to save (``loop``).
Design: architecture decision 4.
"""

from typing import Literal

import msgspec
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from planner_pipeline.models.mlp import FeatureMlp, MlpSpec


class _Card(msgspec.Struct, frozen=True, kw_only=True):
    arch: Literal["mlp"]
    spec: MlpSpec


class CheckpointError(ValueError):
    """Some bytes are not a checkpoint of ours."""


def encode_checkpoint(model: FeatureMlp) -> bytes:
    """The weights as safetensors; equal weights give equal bytes."""
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    card = msgspec.json.encode(_Card(arch="mlp", spec=model.spec), order="deterministic").decode()
    # one key: safetensors writes several in an order that changes from call to call
    return save_tensors(tensors, metadata={"card": card})


def decode_checkpoint(data: bytes) -> FeatureMlp:
    """The model in some bytes.

    Raises:
        CheckpointError: they are truncated, or of another architecture.
    """
    try:
        header_size = int.from_bytes(data[:8], "little")
        header = msgspec.json.decode(data[8 : 8 + header_size])
        card = msgspec.json.decode(header["__metadata__"]["card"], type=_Card)
        model = FeatureMlp(card.spec)
        model.load_state_dict(load_tensors(data))
    except Exception as error:
        raise CheckpointError(f"not a checkpoint: {error}") from error
    model.eval()
    return model
