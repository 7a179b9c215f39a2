"""What a trained model says of rows.

Belongs here: raw outputs, whatever the architecture. Does not: probabilities (``evaluation``).
"""

import numpy as np
import torch
from torch import nn

from planner_pipeline.dataset.arrays import Arrays
from planner_pipeline.models.spec import ModelSpec
from planner_pipeline.models.trees import TreeModel
from planner_pipeline.training.batches import Inputs, in_order
from planner_pipeline.training.threads import one_thread
from planner_runtime.decode import output_widths

AT_ONCE = 256


def spec_of(model: nn.Module | TreeModel) -> ModelSpec:
    """What a model is made of."""
    spec = model.spec
    assert isinstance(spec, ModelSpec)
    return spec


def network_outputs(
    model: nn.Module, arrays: Arrays, inputs: Inputs | None = None
) -> list[np.ndarray]:
    """Raw outputs of a network, dropout off, each (N, width) float32."""
    spec = spec_of(model)
    inputs = inputs or Inputs(arrays, spec.input_kind)
    widths = output_widths(arrays.space, spec.decoding).values()
    outputs = [np.zeros((len(arrays), width), dtype=np.float32) for width in widths]
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for rows in in_order(inputs.lengths, AT_ONCE):
            for output, part in zip(outputs, model(*inputs.batch(rows)), strict=True):
                output[rows] = part.numpy()
    model.train(was_training)
    return outputs


@one_thread()
def model_outputs(model: nn.Module | TreeModel, arrays: Arrays) -> list[np.ndarray]:
    """Raw outputs of a model, each (N, width) float32, as ``output_widths`` names them."""
    if isinstance(model, TreeModel):
        return model.outputs(arrays.features)
    return network_outputs(model, arrays)
