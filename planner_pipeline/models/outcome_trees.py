"""Gradient-boosted trees as what an outcome model adds to its offsets.

Belongs here: the model: trees of every member and parameter as LightGBM's text, and as arrays that
ONNX can hold. Does not: growing them (``training.outcome_trees``), the offsets and the analytic
layer (``models.outcome``). Spec: section 7.4. Shapes: M members, B rows, P parameters.
"""

from collections.abc import Sequence
from typing import Any, Final

import lightgbm
import numpy as np
import torch
from torch import Tensor

from planner_pipeline.models.outcome import N_PARAMETERS, AttemptModel, OutcomeSpec
from planner_pipeline.models.trees import TreeHead, flat_trees

GROWN: Final = (0, 1, 3)  # the log-odds of passing, and both means of log minutes


class AttemptTrees(AttemptModel):
    """(B, F) features and (B, C) choices -> (M x Q, B, P) parameters of an attempt.

    Args:
        trees: Of every member, in the order of ``GROWN``; LightGBM's text, empty without a tree.
    """

    def __init__(self, spec: OutcomeSpec, trees: Sequence[Sequence[str]] = ()) -> None:
        super().__init__(spec)
        self.trees = tuple(tuple(of) for of in trees) or (("",) * len(GROWN),) * spec.n_members
        self._boosters = [
            [lightgbm.Booster(model_str=text) if text else None for text in of] for of in self.trees
        ]

    def added(self, x: np.ndarray) -> np.ndarray:
        """(M, B, P) float32 that the trees add, from (B, F + C) features and choices."""
        found = np.zeros((len(self.trees), len(x), N_PARAMETERS), dtype=np.float32)
        for member, of in enumerate(self._boosters):
            for parameter, booster in zip(GROWN, of, strict=True):
                if booster is not None and len(x):
                    found[member, :, parameter] = booster.predict(x, raw_score=True, num_threads=1)
        return found

    def forward(self, features: Tensor, choices: Tensor) -> Tensor:
        """Parameters of an attempt by every member."""
        x = torch.cat([features, choices], dim=1).numpy()
        return self.with_offsets(features, torch.tensor(self.added(x)))

    def flat(self) -> dict[str, Any] | None:
        """Attributes of one TreeEnsembleRegressor that answers with (B, M x P), member by member;
        None without any tree.
        """
        whole: dict[str, Any] = {"n_targets": len(self.trees) * N_PARAMETERS}
        n_trees = 0
        for member, of in enumerate(self.trees):
            for parameter, text in zip(GROWN, of, strict=True):
                if not text:
                    continue
                part = flat_trees(TreeHead(classes=(0,), model=text), 1).attributes
                part["target_ids"] = [member * N_PARAMETERS + parameter] * len(part["target_ids"])
                ids = part["nodes_treeids"]
                for name in ("nodes_treeids", "target_treeids"):
                    part[name] = [n_trees + i for i in part[name]]
                n_trees += max(ids) + 1
                for name, values in part.items():
                    if name != "n_targets":
                        whole.setdefault(name, []).extend(values)
        return whole if n_trees else None
