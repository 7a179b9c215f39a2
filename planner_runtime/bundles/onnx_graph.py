"""What an ONNX file asks a session to do, read from its bytes without onnx.

Belongs here: the operators a bundle may hold, and a walk over the file's outermost structure.
Does not: running it (``session``), checking it in full, as the pipeline does with onnx at export.
Source: reference/reliability.md 1 (resource bombs, external data); onnx.proto for field numbers.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

ML_DOMAIN: Final = "ai.onnx.ml"

# what the exporter writes for every architecture, and what quantising adds; no loops, no branches,
# no ConstantOfShape, no Resize
ALLOWED_OPS: Final = frozenset(
    """Abs Add Cast Clip Concat Conv ConvInteger Cos DequantizeLinear Div DynamicQuantizeLinear Erf
    Exp Expand Gather GatherND Gelu Gemm Greater IsNaN LayerNormalization Log MatMul MatMulInteger
    Max Min Mul Neg Pow Range Reciprocal ReduceMax ReduceMean ReduceProd ReduceSum Reshape Shape
    Sigmoid Sin Slice Softmax Split Sqrt Squeeze Sub Transpose Unsqueeze Where
    ai.onnx.ml:TreeEnsembleRegressor""".split()
)
MAX_NODES: Final = 4_096

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# of an attribute: runs of unpacked floats (field 7) and integers (field 8); trees have many
_NUMBERS: Final = re.compile(rb"(?:\x3d.{4}|\x40[\x80-\xff]{0,9}[\x00-\x7f])+", re.DOTALL)
_EXTERNAL: Final = 1  # TensorProto.DataLocation

Span = tuple[int, int]


class GraphFault(msgspec.Struct, frozen=True):
    """Why a model must not be given to a session: a reason code and the detail."""

    reason: str
    detail: str


class GraphError(ValueError):
    """Bytes that are no ONNX model."""


class Graph(msgspec.Struct, frozen=True):
    """What was found in a file.

    Attributes:
        op_types: Sorted, without repeats; those of another domain as ``domain:Op``.
        has: Of ``external_data``, ``functions``, ``subgraphs`` and ``training``, what there is.
    """

    op_types: tuple[str, ...]
    n_nodes: int
    has: tuple[str, ...]


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise GraphError("a number has no end")


def _fields(data: bytes, span: Span, *, skip_numbers: bool = False) -> Iterator[tuple[int, Span]]:
    """Field number and content of everything in a message; of a number, the number twice."""
    at, end = span
    while at < end:
        if skip_numbers and (run := _NUMBERS.match(data, at, end)) is not None:
            at = run.end()
            continue
        tag, at = _varint(data, at, end)
        kind, field = tag & 7, tag >> 3
        if kind == _VARINT:
            value, at = _varint(data, at, end)
            yield field, (value, value)
            continue
        if kind == _BYTES:
            length, at = _varint(data, at, end)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise GraphError(f"a field of kind {kind}")
        if length > end - at:
            raise GraphError("a field is longer than what holds it")
        yield field, (at, at + length)
        at += length


class _Walk:
    """A walk over one file, and what it met."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.ops: set[str] = set()
        self.has: set[str] = set()
        self.n_nodes = 0
        self.n_graphs = 0

    def _text(self, span: Span) -> str:
        return self.data[span[0] : span[1]].decode("utf-8", "backslashreplace")

    def model(self) -> None:
        for field, span in _fields(self.data, (0, len(self.data))):
            if field == 7:
                self.n_graphs += 1
                self._graph(span)
            elif field == 20:
                self.has.add("training")
            elif field == 25:
                self.has.add("functions")

    def _graph(self, span: Span) -> None:
        for field, inner in _fields(self.data, span):
            if field == 1:
                self._node(inner)
            elif field == 5:
                self._tensor(inner)
            elif field == 15:
                self._sparse(inner)

    def _node(self, span: Span) -> None:
        op_type = domain = ""
        for field, inner in _fields(self.data, span):
            if field == 4:
                op_type = self._text(inner)
            elif field == 7:
                domain = self._text(inner)
            elif field == 5:
                self._attribute(inner)
        self.n_nodes += 1
        if self.n_nodes > MAX_NODES:
            raise GraphError(f"more than {MAX_NODES} nodes")
        self.ops.add(op_type if domain in ("", "ai.onnx") else f"{domain}:{op_type}")

    def _attribute(self, span: Span) -> None:
        for field, inner in _fields(self.data, span, skip_numbers=True):
            if field in (6, 11):
                self.has.add("subgraphs")
            elif field in (5, 10):
                self._tensor(inner)
            elif field in (22, 23):
                self._sparse(inner)

    def _sparse(self, span: Span) -> None:
        for field, inner in _fields(self.data, span):
            if field in (1, 2):
                self._tensor(inner)

    def _tensor(self, span: Span) -> None:
        for field, inner in _fields(self.data, span):
            if field == 13 or (field == 14 and inner[0] == _EXTERNAL):
                self.has.add("external_data")


def read_graph(model: bytes) -> Graph:
    """Operators of a model and what else it holds.

    Raises:
        GraphError: the bytes are no ONNX model.
    """
    walk = _Walk(model)
    walk.model()
    if not walk.n_graphs or not walk.n_nodes:
        raise GraphError("there is no graph in it")
    return Graph(tuple(sorted(walk.ops)), walk.n_nodes, tuple(sorted(walk.has)))


def graph_faults(graph: Graph) -> list[GraphFault]:
    """Why a model must not serve; empty when it may."""
    faults = [GraphFault(f"has_{name}", f"the model has {name}") for name in graph.has]
    others = [op for op in graph.op_types if op not in ALLOWED_OPS]
    if others:
        faults.append(GraphFault("op_not_allowed", ", ".join(others)[:200]))
    return faults
