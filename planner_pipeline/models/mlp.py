"""Feature MLP: a fixed vector of numbers in, scores of choices out.

Belongs here: the whole model. Does not: the features (``planner_runtime.features``), masking of
invalid choices (losses and decoding mask alike). Spec: section 7.1, baseline 2.
Shapes: B batch, F features, D width.
"""

from torch import Tensor, nn

from planner_pipeline.models.heads import Outputs
from planner_pipeline.models.scaling import Scaler
from planner_pipeline.models.spec import ModelSpec


class FeatureMlp(nn.Module):
    """Standardise, a few GELU layers, the outputs."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.scaler = Scaler(spec.input_width)
        layers: list[nn.Module] = []
        width = spec.input_width
        for _ in range(spec.n_layers):
            layers += [nn.Linear(width, spec.width), nn.GELU(), nn.Dropout(spec.dropout)]
            width = spec.width
        self.body = nn.Sequential(*layers)
        self.outputs = Outputs(width, spec.n_choices, spec.n_joint, spec.decoding)

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """Scores of features (B, F) float32."""
        result: tuple[Tensor, ...] = self.outputs(self.body(self.scaler(features)))
        return result
