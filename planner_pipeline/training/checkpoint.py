"""Checkpoints: weights as safetensors, with the model's spec in the header; never a pickle.

Belongs here: saving and loading. Does not: choosing which epoch to save (``loop``).
Design: architecture decision 4.
"""

import msgspec
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from planner_pipeline.models.mlp import FeatureMlp, MlpSpec


class CheckpointError(ValueError):
    """Some bytes are not a checkpoint of ours."""


def encode_checkpoint(model: FeatureMlp) -> bytes:
    """The weights as safetensors; equal weights give equal bytes."""
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    spec = msgspec.json.encode(model.spec).decode()
    return save_tensors(tensors, metadata={"arch": "mlp", "spec": spec})


def decode_checkpoint(data: bytes) -> FeatureMlp:
    """The model in some bytes.

    Raises:
        CheckpointError: they are truncated, or of another architecture.
    """
    try:
        header_size = int.from_bytes(data[:8], "little")
        header = msgspec.json.decode(data[8 : 8 + header_size])
        metadata = header["__metadata__"]
        if metadata["arch"] != "mlp":
            raise CheckpointError(f"architecture {metadata['arch']!r} is not known")
        spec = msgspec.json.decode(metadata["spec"], type=MlpSpec)
        model = FeatureMlp(spec)
        model.load_state_dict(load_tensors(data))
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"not a checkpoint: {error}") from error
    model.eval()
    return model
