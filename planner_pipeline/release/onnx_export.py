"""Checkpoint -> one self-contained ONNX file, byte-identical from the same checkpoint.

Belongs here: export, stripping, and the comparison with torch. Does not: the bundle around it.
Source: reference/models.md 3.
"""

import contextlib
import io
import logging
import warnings
from typing import Final

import numpy as np
import onnx
import torch

from planner_pipeline.models.mlp import FeatureMlp
from planner_pipeline.training.loop import predict_logits
from planner_runtime.actions import HEADS
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


def worst_difference(model: FeatureMlp, onnx_bytes: bytes, features: np.ndarray) -> float:
    """Largest |torch - onnxruntime| over the logits of (N, F) features; 0.0 for no rows."""
    served = OnnxModel(onnx_bytes, input_kind="features", output_names=OUTPUT_NAMES)
    expected = predict_logits(model, features)
    worst = 0.0
    for i, row in enumerate(features):
        for head, logits in enumerate(served.logits(row)):
            worst = max(worst, float(np.abs(logits - expected[head][i]).max()))
    return worst
