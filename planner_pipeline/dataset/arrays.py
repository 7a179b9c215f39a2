"""Examples -> arrays: features, label indices, masks of valid choices.

Belongs here: the only place where examples become numbers, for training and for evaluation.
Does not: tokenizing or feature making (``planner_runtime``).
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.dataset.examples import Example
from planner_runtime.actions import ActionSpace, action_to_indices, head_masks


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
    examples: Sequence[Example], tokens: pl.DataFrame, space: ActionSpace, *, n_features: int
) -> Arrays:
    """Arrays of ``examples`` in their order.

    Raises:
        KeyError: an example has no row in ``tokens``.
        ValueError: a label is not in ``space``.
    """
    row_of = {example_id: i for i, example_id in enumerate(tokens["example_id"])}
    rows = [row_of[example.example_id] for example in examples]
    features = np.asarray(tokens["features"].to_list(), dtype=np.float32).reshape(-1, n_features)
    labels = [action_to_indices(space, example.label) for example in examples]
    masks_of = {job: head_masks(space, job) for job in {e.job_type for e in examples}}
    n_heads = len(space.choices)
    masks = tuple(
        np.array([masks_of[e.job_type][head] for e in examples], dtype=bool).reshape(
            len(examples), len(space.choices[head])
        )
        for head in range(n_heads)
    )
    return Arrays(
        features[rows],
        np.asarray(labels, dtype=np.int64).reshape(len(examples), n_heads),
        masks,
        tuple(example.job_type for example in examples),
    )
