"""A fitted outcome model -> one self-contained ONNX file, byte-identical from the same model.

Belongs here: the export of networks with the analytic layer, and of the novelty distance. Does not:
calibration, which the runtime applies; the bundle around it; the exporter itself (``onnx_export``).
Source: reference/models.md 3. Shapes: A actions, C choices of an action, F features, R rows.
"""

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from planner_pipeline.models.outcome import ActionOutcomes, OutcomeNetwork
from planner_pipeline.release.onnx_export import strip, traced
from planner_pipeline.training.novelty import Novelty
from planner_pipeline.training.outcome_model import FittedOutcomes
from planner_runtime.outcome_model import MODEL_OUTPUTS

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
        layer = ActionOutcomes(
            fitted.record.log_kappa,
            knows_cost=fitted.record.knows_cost,
            n_levels=len(fitted.model.levels),
        )
        self.outcomes = OutcomeNetwork(fitted.model, layer)
        self.novelty = NoveltyDistance(fitted.novelty)

    def forward(self, features: Tensor, actions: Tensor) -> tuple[Tensor, ...]:
        """The outputs in the order of ``MODEL_OUTPUTS``."""
        return (*self.outcomes(features, actions), self.novelty(features))


def export_outcomes(fitted: FittedOutcomes) -> bytes:
    """The model with as many actions as are asked about.

    Inputs: ``features`` (1, F) float32 and ``actions`` (A, 2 + C) float32. Outputs: ``p_pass``,
    ``p_timeout``, ``minutes``, ``wall_minutes`` and ``cost_usd``, each (R, A) and not calibrated,
    and ``novelty`` (1,).
    """
    spec = fitted.model.spec
    graph = OutcomeGraph(fitted).eval()
    example = (
        torch.zeros(1, spec.n_features),
        torch.ones(_TRACED_ACTIONS, 2 + spec.n_choices),
    )
    actions = torch.export.Dim("actions", min=1)
    shapes = {"features": None, "actions": {0: actions}}
    proto = traced(graph, example, shapes, list(MODEL_OUTPUTS))
    strip(proto)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString(deterministic=True))
