"""Prior only: how often each action was executed among jobs of a type, and nothing else.

Belongs here: the whole model. Does not: counting (``training.closed_form``).
Spec: section 7.1; the row in every table that a model must beat.
"""

import torch
from torch import Tensor, nn

from planner_pipeline.models.spec import ModelSpec
from planner_runtime.features import FEATURE_NAMES

JOB_FEATURES = ("job_type=code", "job_type=fab-world", "job_type=?")


class JobPrior(nn.Module):
    """A row of joint scores for each kind of job that the features tell apart."""

    table: Tensor
    columns: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        if spec.decoding != "joint":
            raise ValueError("a prior is over joint actions")
        self.spec = spec
        columns = [FEATURE_NAMES.index(name) for name in JOB_FEATURES]
        self.register_buffer("table", torch.zeros(len(columns), spec.n_joint))
        self.register_buffer("columns", torch.tensor(columns), persistent=False)

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """(B, U) log shares of features (B, F)."""
        return (features.index_select(1, self.columns) @ self.table,)
