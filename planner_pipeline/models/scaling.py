"""Standardised features, the scale part of the model.

Belongs here: fitting and applying the scale. Does not: the features (``planner_runtime.features``).
"""

import torch
from torch import Tensor, nn

CLAMP = 8.0  # a value never seen must not dominate


class Scaler(nn.Module):
    """Mean and spread of every feature, fitted once on training rows and kept in buffers, so that
    whoever serves the model cannot scale differently.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))

    def fit(self, features: Tensor) -> None:
        """Take mean and spread from training rows (N, F); a constant feature keeps scale 1."""
        spread = features.std(dim=0, unbiased=False)
        self.mean.copy_(features.mean(dim=0))
        self.scale.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))

    def forward(self, features: Tensor) -> Tensor:
        """(B, F) standardised, within +-8."""
        return ((features - self.mean) / self.scale).clamp(-CLAMP, CLAMP)
