"""Checkpoint -> one self-contained ONNX file, byte-identical from the same checkpoint.

Belongs here: export, stripping, and the comparison with torch. Does not: the bundle around it.
Source: reference/models.md 3.
"""

import contextlib
import io
import logging
import warnings
from typing import Final

import msgspec
import numpy as np
import onnx
import torch

from planner_pipeline.dataset.arrays import Arrays
from planner_pipeline.models.mlp import FeatureMlp
from planner_pipeline.training.loop import predict_logits
from planner_runtime.actions import HEADS, ActionSpace, choice_matrix, head_masks
from planner_runtime.decode import decode_joint
from planner_runtime.session import OnnxModel

OPSET: Final = 20
OUTPUT_NAMES: Final = tuple(f"logits_{head}" for head in HEADS)


def export_onnx(model: FeatureMlp) -> bytes:
    """The model with input ``features`` (batch, F) float32 and one output a head.

    Nodes lose their stack traces, which hold paths of the exporting machine.
    """
    model.eval()
    example = torch.zeros(2, model.spec.n_features)  # a batch of one would be traced as fixed
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter's own deprecations; nothing of ours
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["features"],
            output_names=list(OUTPUT_NAMES),
            dynamic_shapes={"features": {0: batch}},
            external_data=False,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    del proto.metadata_props[:]
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del proto.graph.metadata_props[:]
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del value.metadata_props[:]
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString(deterministic=True))


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """How the served model differs from torch on the same rows."""

    n_rows: int
    n_different_choices: int
    worst_difference: float


def compare_with_torch(
    model: FeatureMlp, onnx_bytes: bytes, arrays: Arrays, space: ActionSpace
) -> Parity:
    """Logits and decoded actions of both, row by row, as the runtime would ask for them."""
    served = OnnxModel(
        onnx_bytes,
        input_kind="features",
        input_width=model.spec.n_features,
        output_names=OUTPUT_NAMES,
        output_widths=model.spec.n_choices,
    )
    expected = predict_logits(model, arrays.features)
    worst, different = 0.0, 0
    for i, row in enumerate(arrays.features):
        job = arrays.job_types[i]
        choices, masks = choice_matrix(space, job), head_masks(space, job)
        ours, torchs = served.logits(row), [head[i] for head in expected]
        chosen = [
            decode_joint(logits, (1.0,) * len(HEADS), choices, masks).index
            for logits in (ours, torchs)
        ]
        different += chosen[0] != chosen[1]
        gaps = [np.abs(a - b).max() for a, b in zip(ours, torchs, strict=True)]
        worst = max(worst, float(max(gaps)))
    return Parity(n_rows=len(arrays), n_different_choices=different, worst_difference=worst)
