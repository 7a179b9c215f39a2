"""Feature MLP: a fixed vector of numbers in, one row of logits a head out.

Belongs here: the whole model. Does not: the features (``planner_runtime.features``), masking of
invalid choices (losses and decoding mask alike). Spec: section 7.1, baseline 2.
"""

import msgspec
import torch
from torch import Tensor, nn


class MlpSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of the network. ``n_choices`` has one number a head, in head order."""

    n_features: int
    n_choices: tuple[int, ...]
    width: int = 128
    n_layers: int = 2
    dropout: float = 0.1


class FeatureMlp(nn.Module):
    """Standardise, a few GELU layers, one linear head for each choice.

    The scale of the features is fitted once, on training rows, and kept in the model's buffers, so
    that whoever serves the model cannot scale differently.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, spec: MlpSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("mean", torch.zeros(spec.n_features))
        self.register_buffer("scale", torch.ones(spec.n_features))
        layers: list[nn.Module] = []
        width = spec.n_features
        for _ in range(spec.n_layers):
            layers += [nn.Linear(width, spec.width), nn.GELU(), nn.Dropout(spec.dropout)]
            width = spec.width
        self.body = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Linear(width, n) for n in spec.n_choices)

    def fit_scale(self, features: Tensor) -> None:
        """Take mean and spread from training rows (N, F); a constant feature keeps scale 1."""
        spread = features.std(dim=0, unbiased=False)
        self.mean.copy_(features.mean(dim=0))
        self.scale.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """Logits of every head.

        Args:
            features: (B, F) float32.

        Returns:
            Per head (B, C) float32.
        """
        scaled = (features - self.mean) / self.scale
        hidden = self.body(scaled.clamp(-8.0, 8.0))  # a value never seen must not dominate
        return tuple(head(hidden) for head in self.heads)
