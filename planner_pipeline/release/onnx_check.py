"""What an exported model may hold, checked with onnx before it is shipped.

Belongs here: the check at export and what a manifest records of it. Does not: the export
(``onnx_export``), the runtime's own walk over the bytes (``planner_runtime.bundles.onnx_graph``),
which has to find the same. Source: reference/reliability.md 1.
"""

import onnx
from onnx.external_data_helper import uses_external_data

from planner_runtime.bundles.onnx_graph import (
    ALLOWED_OPS,
    ML_DOMAIN,
    GraphError,
    graph_faults,
    read_graph,
)

DOMAINS = ("", "ai.onnx", ML_DOMAIN)


class ModelNotShippableError(ValueError):
    """A model that no bundle may hold.

    Attributes:
        reasons: Everything that is wrong with it, at least one.
    """

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


def _name_of(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}:{node.op_type}"


def _reasons(proto: onnx.ModelProto) -> list[str]:
    graph = proto.graph
    reasons = []
    domains = sorted({o.domain for o in proto.opset_import} - set(DOMAINS))
    if domains:
        reasons.append(f"operators of {', '.join(domains)}")
    if proto.functions:
        reasons.append(f"{len(proto.functions)} functions")
    others = sorted({_name_of(node) for node in graph.node} - ALLOWED_OPS)
    if others:
        reasons.append(f"operators that are not allowed: {', '.join(others)}")
    tensors = [*graph.initializer, *(a.t for node in graph.node for a in node.attribute)]
    if graph.sparse_initializer or any(uses_external_data(tensor) for tensor in tensors):
        reasons.append("tensors that are not in the file")
    return reasons


def shipped_op_types(onnx_bytes: bytes) -> tuple[str, ...]:
    """Operators of a model that may be shipped, as its manifest records them.

    Raises:
        ModelNotShippableError: it may not, or the runtime would read it otherwise than onnx does.
    """
    try:
        proto = onnx.load_model_from_string(onnx_bytes)
        onnx.checker.check_model(proto)
        found = read_graph(onnx_bytes)
    except (GraphError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelNotShippableError([f"no model: {error}"]) from error
    except Exception as error:  # protobuf's own exception, which onnx does not name
        raise ModelNotShippableError([f"no model: {type(error).__name__}: {error}"]) from error
    reasons = _reasons(proto) + [str(fault.detail) for fault in graph_faults(found)]
    ops = tuple(sorted({_name_of(node) for node in proto.graph.node}))
    if not reasons and (found.op_types, found.n_nodes) != (ops, len(proto.graph.node)):
        reasons.append("the runtime reads other operators in it")
    if reasons:
        raise ModelNotShippableError(reasons)
    return ops
