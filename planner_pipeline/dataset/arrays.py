"""Examples -> arrays: features, label indices, masks of valid choices.

Belongs here: the only place where examples become numbers, for training and for evaluation.
Does not: tokenizing or feature making (``planner_runtime``).
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from planner_runtime.actions import Action, ActionSpace, action_to_indices, head_masks


class Arrays(msgspec.Struct, frozen=True):
    """Rows of one split. N rows, F features, H heads, C choices of a head.

    Attributes:
        features: (N, F) float32.
        labels: (N, H) int64.
        masks: per head (N, C) bool, the choices valid for the row's job type.
        job_types: N job types.
    """

    features: np.ndarray
    labels: np.ndarray
    masks: tuple[np.ndarray, ...]
    job_types: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.job_types)


def build_arrays(
    features: np.ndarray, labels: Sequence[Action], job_types: Sequence[str], space: ActionSpace
) -> Arrays:
    """Arrays of examples in their order.

    Args:
        features: (N, F) float32.

    Raises:
        ValueError: a label is not in ``space``.
    """
    indices = [action_to_indices(space, label) for label in labels]
    masks_of = {job: head_masks(space, job) for job in set(job_types)}
    n_heads = len(space.choices)
    masks = tuple(
        np.array([masks_of[job][head] for job in job_types], dtype=bool).reshape(
            len(job_types), len(space.choices[head])
        )
        for head in range(n_heads)
    )
    return Arrays(
        features,
        np.asarray(indices, dtype=np.int64).reshape(len(labels), n_heads),
        masks,
        tuple(job_types),
    )
