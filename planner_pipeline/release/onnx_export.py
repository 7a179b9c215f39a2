"""Checkpoint -> one self-contained ONNX file, byte-identical from the same checkpoint.

Belongs here: export, stripping, quantising, and the comparison with the model itself. Does not: the
bundle around it. Source: reference/models.md 3.
"""

import contextlib
import io
import logging
import warnings
from typing import Any, Final

import msgspec
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from planner_pipeline.dataset.arrays import Arrays
from planner_pipeline.evaluation.predictions import answers_of
from planner_pipeline.models.trees import NEVER, TreeModel, flat_trees
from planner_pipeline.training.predict import model_outputs, spec_of
from planner_runtime.actions import ActionSpace
from planner_runtime.decode import output_widths, temperature_names
from planner_runtime.session import TOKEN_INPUTS, OnnxModel

OPSET: Final = 20
ML_OPSET: Final = 3
IR_VERSION: Final = 10
TRACED: Final = (2, 24)  # a batch of one, or a length of one, would be traced as fixed


def export_onnx(model: nn.Module | TreeModel, space: ActionSpace) -> bytes:
    """The model with dynamic batch and length, and the outputs that ``output_widths`` names.

    Inputs: ``features`` (batch, F) float32, or ``input_ids``, ``key_ids`` and ``attention_mask``,
    each (batch, places) int64. Nodes lose their stack traces, which hold paths of this machine.
    """
    names = list(output_widths(space, spec_of(model).decoding))
    proto = _trees(model, names) if isinstance(model, TreeModel) else _network(model, names)
    strip(proto)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def _network(model: nn.Module, names: list[str]) -> onnx.ModelProto:
    model.eval()
    spec = spec_of(model)
    batch = torch.export.Dim("batch", min=1)
    arguments: tuple[torch.Tensor, ...]
    shapes: dict[str, Any]
    if spec.input_kind == "features":
        arguments = (torch.zeros(TRACED[0], spec.input_width),)
        shapes = {"features": {0: batch}}
    else:
        places = torch.export.Dim("places", min=1, max=2_048)
        # tensors of their own: one given three times would be traced as one input
        arguments = tuple(torch.ones(TRACED, dtype=torch.int64) for _ in TOKEN_INPUTS)
        shapes = {name: {0: batch, 1: places} for name in TOKEN_INPUTS}
    return traced(model, arguments, shapes, names)


def traced(
    model: nn.Module, arguments: tuple[torch.Tensor, ...], shapes: dict[str, Any], names: list[str]
) -> onnx.ModelProto:
    """A model as torch's exporter writes it.

    Args:
        shapes: Dynamic axes of every input, by name, in the order of the arguments.
        names: Of the outputs.
    """
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter's own deprecations; nothing of ours
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            model,
            arguments,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(shapes),
            output_names=names,
            dynamic_shapes=shapes,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def _trees(model: TreeModel, names: list[str]) -> onnx.ModelProto:
    """One TreeEnsembleRegressor a head; a head that no tree was grown for is a constant."""
    n_features = model.spec.input_width
    nodes, constants = [], []
    for name, head, n in zip(names, model.heads, model.spec.n_choices, strict=True):
        if head.model:
            flat = flat_trees(head, n).attributes
            nodes.append(
                helper.make_node(
                    "TreeEnsembleRegressor", ["features"], [name], domain="ai.onnx.ml",
                    post_transform="NONE", aggregate_function="SUM", **flat,
                )
            )  # fmt: skip
            continue
        row = np.full((1, n), NEVER, dtype=np.float32)
        row[0, list(head.classes)] = 0.0
        # a row of zeros for each row of features, times nothing, plus the constant
        constants.append(
            onnx.numpy_helper.from_array(np.zeros((n_features, n), np.float32), f"{name}_zero")
        )
        constants.append(onnx.numpy_helper.from_array(row, f"{name}_row"))
        nodes.append(helper.make_node("MatMul", ["features", f"{name}_zero"], [f"{name}_none"]))
        nodes.append(helper.make_node("Add", [f"{name}_none", f"{name}_row"], [name]))
    graph = helper.make_graph(
        nodes,
        "trees",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", n_features])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", n])
            for name, n in zip(names, model.spec.n_choices, strict=True)
        ],
        constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def strip(proto: onnx.ModelProto) -> None:
    """Take away what nodes carry of the machine that exported them, and domains nothing is of."""
    used = {"", *(node.domain for node in proto.graph.node)}
    kept = [opset for opset in proto.opset_import if opset.domain in used]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
    del proto.metadata_props[:]
    for function in proto.functions:
        for node in function.node:
            del node.metadata_props[:]
            node.doc_string = ""
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del proto.graph.metadata_props[:]
    graph = proto.graph
    for value in (*graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del value.metadata_props[:]


def quantize(onnx_bytes: bytes) -> bytes:
    """Weights as int8, a scale a matrix; its temperatures have to be fitted anew.

    The model is optimised first, so that weights that a loop uses again are found as weights.
    """
    import tempfile
    from pathlib import Path

    import onnxruntime as ort
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        source, small = Path(folder) / "source.onnx", Path(folder) / "int8.onnx"
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(source)
        options.log_severity_level = 4
        ort.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
        proto = onnx.load(str(source))
        del proto.graph.value_info[:]  # shapes of the float model, which quantising contradicts
        onnx.save(proto, str(source))
        logging.getLogger().setLevel(logging.ERROR)
        quantize_dynamic(str(source), str(small), weight_type=QuantType.QInt8)
        proto = onnx.load(str(small))
    strip(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def export_model(model: nn.Module | TreeModel, space: ActionSpace, *, int8: bool) -> bytes:
    """The file that is shipped."""
    data = export_onnx(model, space)
    return quantize(data) if int8 else data


def shipped_outputs(
    model: nn.Module | TreeModel, arrays: Arrays, *, int8: bool
) -> list[np.ndarray]:
    """Raw outputs of the model as it is shipped, each (N, width)."""
    if not int8 or not len(arrays):
        return model_outputs(model, arrays)
    session = serve(export_model(model, arrays.space, int8=True), model, arrays.space)
    return served_outputs(session, arrays, spec_of(model).input_kind)


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """How the served model differs from the one that was trained, on the same rows.

    Attributes:
        n_different_choices: Rows where another action is the likeliest.
        worst_difference: Of a score that some valid action asks for.
    """

    n_rows: int
    n_different_choices: int
    worst_difference: float


def serve(onnx_bytes: bytes, model: nn.Module | TreeModel, space: ActionSpace) -> OnnxModel:
    """A session as the runtime opens it."""
    spec = spec_of(model)
    return OnnxModel(
        onnx_bytes,
        input_kind=spec.input_kind,
        input_width=spec.input_width,
        output_widths=output_widths(space, spec.decoding),
    )


def served_outputs(session: OnnxModel, arrays: Arrays, input_kind: str) -> list[np.ndarray]:
    """Raw outputs of a session, row by row, as the runtime asks for them."""
    rows = [
        session.logits(arrays.features[i] if input_kind == "features" else arrays.tokens.row(i))
        for i in range(len(arrays))
    ]
    return [np.array(output) for output in zip(*rows, strict=True)]


def compare_with_model(model: nn.Module | TreeModel, onnx_bytes: bytes, arrays: Arrays) -> Parity:
    """Scores and decoded actions of both, the served ones row by row; N >= 1."""
    spec = spec_of(model)
    session = serve(onnx_bytes, model, arrays.space)
    ours = served_outputs(session, arrays, spec.input_kind)
    expected = model_outputs(model, arrays)
    plain = dict.fromkeys(temperature_names(spec.decoding), 1.0)
    chosen = [
        answers_of(outputs, arrays, spec.decoding, plain).actions for outputs in (ours, expected)
    ]
    return Parity(
        n_rows=len(arrays),
        n_different_choices=int((chosen[0] != chosen[1]).any(axis=1).sum()),
        worst_difference=max(
            float(np.abs(a - b).max()) for a, b in zip(ours, expected, strict=True)
        ),
    )
