"""A fitted outcome model -> one self-contained ONNX file, byte-identical from the same model.

Belongs here: the export of networks or trees with the analytic layer, and of the novelty distance.
Does not: calibration, which the runtime applies; the bundle around it; the exporter itself
(``onnx_export``).
Source: reference/models.md 3. Shapes: A actions, C choices of an action, F features, R rows.
"""

import numpy as np
import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from planner_pipeline.models.outcome import (
    N_PARAMETERS,
    ActionOutcomes,
    AttemptModel,
    OutcomeNetwork,
)
from planner_pipeline.models.outcome_trees import AttemptTrees
from planner_pipeline.release.onnx_export import ML_OPSET, strip, traced
from planner_pipeline.training.novelty import Novelty
from planner_pipeline.training.outcome_model import FittedOutcomes
from planner_runtime.outcomes.model import MODEL_OUTPUTS

INPUTS = ("features", "actions")
_TRACED_ACTIONS = 3  # one would be traced as fixed


class NoveltyDistance(nn.Module):
    """(1, F) features -> (1,) distance of a decision from those of training."""

    centre: Tensor
    scale: Tensor
    limit: Tensor
    factor: Tensor

    def __init__(self, novelty: Novelty) -> None:
        super().__init__()
        for name in ("centre", "scale", "limit", "factor"):
            values = np.asarray(getattr(novelty, name), dtype=np.float32)
            self.register_buffer(name, torch.tensor(values))

    def forward(self, features: Tensor) -> Tensor:
        """Source: ``Novelty.distance``."""
        z = (features - self.centre) / self.scale
        held = torch.minimum(torch.maximum(z, -self.limit), self.limit)
        return torch.sqrt(((held @ self.factor) ** 2).mean(dim=1))


class OutcomeGraph(nn.Module):
    """Everything that an outcome bundle computes from a decision and its actions."""

    def __init__(self, fitted: FittedOutcomes) -> None:
        super().__init__()
        layer = _layer_of(fitted)
        self.outcomes = OutcomeNetwork(fitted.model, layer)
        self.novelty = NoveltyDistance(fitted.novelty)

    def forward(self, features: Tensor, actions: Tensor) -> tuple[Tensor, ...]:
        """The outputs in the order of ``MODEL_OUTPUTS``."""
        return (*self.outcomes(features, actions), self.novelty(features))


class AddedGraph(nn.Module):
    """The same where something else works out what is added to the offsets: (A, M x P)."""

    def __init__(self, fitted: FittedOutcomes) -> None:
        super().__init__()
        self.attempts = AttemptModel(fitted.model.spec)
        own = fitted.model.state_dict()
        self.attempts.load_state_dict({name: own[name] for name in self.attempts.state_dict()})
        self.layer = _layer_of(fitted)
        self.novelty = NoveltyDistance(fitted.novelty)

    def forward(self, features: Tensor, actions: Tensor, added: Tensor) -> tuple[Tensor, ...]:
        """The outputs in the order of ``MODEL_OUTPUTS``."""
        by_member = added.view(-1, self.attempts.spec.n_members, N_PARAMETERS).transpose(0, 1)
        rows = features.expand(actions.shape[0], -1)
        parameters = self.attempts.with_offsets(rows, by_member)
        told = self.layer(parameters, actions[:, 0], actions[:, 1])
        return (*told, self.novelty(features))


def _layer_of(fitted: FittedOutcomes) -> ActionOutcomes:
    return ActionOutcomes(
        fitted.record.log_kappa,
        knows_cost=fitted.record.knows_cost,
        n_levels=len(fitted.model.levels),
    )


def export_outcomes(fitted: FittedOutcomes) -> bytes:
    """The model with as many actions as are asked about.

    Inputs: ``features`` (1, F) float32 and ``actions`` (A, 2 + C) float32. Outputs: ``p_pass``,
    ``p_timeout``, ``minutes``, ``wall_minutes`` and ``cost_usd``, each (R, A) and not calibrated,
    and ``novelty`` (1,).
    """
    proto = _trees(fitted) if isinstance(fitted.model, AttemptTrees) else _network(fitted)
    strip(proto)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def _network(fitted: FittedOutcomes) -> onnx.ModelProto:
    spec = fitted.model.spec
    example = torch.zeros(1, spec.n_features), torch.ones(_TRACED_ACTIONS, 2 + spec.n_choices)
    actions = torch.export.Dim("actions", min=1)
    shapes = {"features": None, "actions": {0: actions}}
    return traced(OutcomeGraph(fitted).eval(), example, shapes, list(MODEL_OUTPUTS))


def _trees(fitted: FittedOutcomes) -> onnx.ModelProto:
    """The trees' own operator before a traced graph that starts from what they add."""
    assert isinstance(fitted.model, AttemptTrees)
    spec = fitted.model.spec
    width = spec.n_members * N_PARAMETERS
    example = (
        torch.zeros(1, spec.n_features),
        torch.ones(_TRACED_ACTIONS, 2 + spec.n_choices),
        torch.zeros(_TRACED_ACTIONS, width),
    )
    actions = torch.export.Dim("actions", min=1)
    shapes = {"features": None, "actions": {0: actions}, "added": {0: actions}}
    proto = traced(AddedGraph(fitted).eval(), example, shapes, list(MODEL_OUTPUTS))
    graph = proto.graph
    (added,) = (value for value in graph.input if value.name == "added")
    graph.input.remove(added)
    flat = fitted.model.flat()
    numbers = {
        "from": [2], "to": [2 + spec.n_choices], "axis": [1], "n_features": [spec.n_features],
        "n_added": [width],
    }  # fmt: skip
    for name, value in numbers.items():
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), f"trees_{name}"))
    node = helper.make_node
    before = [node("Shape", ["actions"], ["trees_n"], start=0, end=1)]
    if flat is None:
        before.append(node("Concat", ["trees_n", "trees_n_added"], ["trees_shape"], axis=0))
        graph.initializer.append(
            onnx.numpy_helper.from_array(np.zeros((1, 1), np.float32), "trees_nothing")
        )
        before.append(node("Expand", ["trees_nothing", "trees_shape"], ["added"]))
    else:
        before += [
            node("Slice", ["actions", "trees_from", "trees_to", "trees_axis"], ["trees_choices"]),
            node("Concat", ["trees_n", "trees_n_features"], ["trees_shape"], axis=0),
            node("Expand", ["features", "trees_shape"], ["trees_decision"]),
            node("Concat", ["trees_decision", "trees_choices"], ["trees_x"], axis=1),
            node(
                "TreeEnsembleRegressor", ["trees_x"], ["added"], domain="ai.onnx.ml",
                post_transform="NONE", aggregate_function="SUM", **flat,
            ),
        ]  # fmt: skip
    after = list(graph.node)
    del graph.node[:]
    graph.node.extend([*before, *after])
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))
    return proto
