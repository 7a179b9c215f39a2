"""What a model asks for is read from its bytes, without onnx, and as onnx reads it."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from planner_runtime.bundles.onnx_graph import (
    ALLOWED_OPS,
    MAX_NODES,
    GraphError,
    graph_faults,
    read_graph,
)
from tests.outcome_bundles import tiny_onnx
from tests.unit.runtime.bundle_cases import HOSTILE_MODELS, imitation_onnx


def a_model(nodes: list[onnx.NodeProto]) -> bytes:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    proto = helper.make_model(helper.make_graph(nodes, "g", [value], [value], []))
    return bytes(proto.SerializeToString())


def trees(n: int) -> onnx.NodeProto:
    return helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml",
        nodes_values=[float(i) for i in range(n)], nodes_treeids=list(range(-n, n)),
        nodes_modes=["BRANCH_LEQ"] * n,
    )  # fmt: skip


@pytest.mark.parametrize("model", [tiny_onnx(), imitation_onnx(), a_model([trees(3_000)])])
def test_the_walk_finds_what_onnx_finds(model: bytes) -> None:
    proto = onnx.load_model_from_string(model)
    graph = read_graph(model)
    named = {(f"{n.domain}:" if n.domain else "") + n.op_type for n in proto.graph.node}
    assert graph.op_types == tuple(sorted(named))
    assert graph.n_nodes == len(proto.graph.node)
    assert graph.has == ()
    assert graph_faults(graph) == []


@pytest.mark.parametrize("kind", sorted(HOSTILE_MODELS))
def test_what_no_bundle_may_hold_has_its_reason(kind: str) -> None:
    proto = onnx.load_model_from_string(imitation_onnx())
    HOSTILE_MODELS[kind](proto)
    reasons = {fault.reason for fault in graph_faults(read_graph(proto.SerializeToString()))}
    assert kind.split(":", maxsplit=1)[0] in reasons


@pytest.mark.parametrize("op", ["Loop", "If", "Scan", "ConstantOfShape", "Resize", "", "gemm"])
def test_operators_outside_the_list_are_named(op: str) -> None:
    assert op not in ALLOWED_OPS
    (fault,) = graph_faults(read_graph(a_model([helper.make_node(op, ["x"], ["y"])])))
    assert fault.reason == "op_not_allowed"
    assert op in fault.detail


def test_external_data_is_found_wherever_a_tensor_may_be() -> None:
    tensor = numpy_helper.from_array(np.zeros(1, np.float32), "t")
    tensor.data_location = TensorProto.EXTERNAL
    node = helper.make_node("Add", ["x", "x"], ["y"], value=tensor)
    assert read_graph(a_model([node])).has == ("external_data",)


def test_two_graphs_in_one_file_are_both_read() -> None:
    twice = a_model([helper.make_node("Add", ["x", "x"], ["y"])]) + a_model(
        [helper.make_node("Loop", ["x"], ["z"])]
    )
    assert read_graph(twice).op_types == ("Add", "Loop")
    proto = onnx.load_model_from_string(twice)  # protobuf joins them, too
    assert [node.op_type for node in proto.graph.node] == ["Add", "Loop"]


def test_a_crowd_of_nodes_is_refused() -> None:
    node = helper.make_node("Add", ["x", "x"], ["y"])
    with pytest.raises(GraphError, match="nodes"):
        read_graph(a_model([node] * (MAX_NODES + 1)))


@pytest.mark.parametrize("data", [b"", b"\x00", b"not a model", b"\x3a\xff", b"\x3b", b"\xff" * 99])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(GraphError):
        read_graph(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 900))
def test_whatever_the_bytes_the_walk_ends_in_a_graph_or_a_refusal(noise: bytes, at: int) -> None:
    whole = tiny_onnx()
    for data in (noise, whole[:at] + noise + whole[at:], whole[:at] + noise):
        try:
            graph = read_graph(data)
        except GraphError:
            continue
        assert graph.op_types == tuple(sorted(graph.op_types))
