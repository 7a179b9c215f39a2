"""Multinomial logistic regression on the features.

Belongs here: the whole model. Does not: fitting (``training.closed_form``). Spec: section 7.1.
"""

from torch import Tensor, nn

from planner_pipeline.models.heads import Outputs
from planner_pipeline.models.scaling import Scaler
from planner_pipeline.models.spec import ModelSpec


class FeatureLinear(nn.Module):
    """Standardise, then one linear layer."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        if spec.decoding == "autoregressive":
            raise ValueError("a linear model has no hidden vector to condition")
        self.spec = spec
        self.scaler = Scaler(spec.input_width)
        self.outputs = Outputs(spec.input_width, spec.n_choices, spec.n_joint, spec.decoding)

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """Scores of features (B, F)."""
        result: tuple[Tensor, ...] = self.outputs(self.scaler(features))
        return result
