"""Rows as torch tensors, in batches of like length.

Belongs here: what a step reads, the order of an epoch, padding. Does not: losses, the loop.
Shapes: N rows, B batch, T tokens of the longest row of a batch, F features, H heads, J job types.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np
import torch
from torch import Tensor

from planner_pipeline.dataset.arrays import Arrays
from planner_pipeline.models.spec import PADDING, InputKind
from planner_runtime.decode import ActionTable, Decoding
from planner_runtime.tokenizer import EQUALS, fold

MULTIPLE: Final = 8  # lengths are rounded up to one
NEIGHBOURS: Final = 16  # batches whose rows are sorted by length among themselves


class Targets(msgspec.Struct, frozen=True):
    """Labels of N rows, and what is valid for each of J job types.

    Attributes:
        labels: (N, H) int64.
        jobs: (N,) int64.
        joint: (N,) int64, the label's column of a joint output.
        prefixes: (N, H) int64, the label's choices before each head.
        head_masks: Per head (J, C) bool.
        step_masks: Per head (J, P, C) bool.
        joint_mask: (J, U) bool.
        weights: (N, H + 1) float32, of each head's loss and of the joint loss; of the rows that
            had a choice the mean is 1.
    """

    labels: Tensor
    jobs: Tensor
    joint: Tensor
    prefixes: Tensor
    head_masks: tuple[Tensor, ...]
    step_masks: tuple[Tensor, ...]
    joint_mask: Tensor
    weights: Tensor

    def rows(self, rows: Tensor) -> "Targets":
        """Some rows."""
        return msgspec.structs.replace(
            self,
            labels=self.labels[rows],
            jobs=self.jobs[rows],
            joint=self.joint[rows],
            prefixes=self.prefixes[rows],
            weights=self.weights[rows],
        )


def _class_weights(labels: np.ndarray, is_free: np.ndarray, power: float) -> np.ndarray:
    """(N,) inverse shares of labels to a power, with mean 1, among the rows that had a choice: the
    loss counts no other.
    """
    weights = np.ones(len(labels), dtype=np.float32)
    if is_free.any():
        _, of_row, counts = np.unique(labels[is_free], return_inverse=True, return_counts=True)
        found = (1.0 / counts[of_row]) ** power
        weights[is_free] = found / found.mean()
    return weights


def build_targets(
    arrays: Arrays, *, class_weight: float = 0.0, decoding: Decoding = "heads"
) -> Targets:
    """Targets of some rows.

    Args:
        class_weight: Power of the inverse share that a label's rows are weighted by.
        decoding: What the weights are for: it tells which rows had a choice in a head.

    Raises:
        ValueError: a label is not valid for its job type.
    """
    tables: Sequence[ActionTable] = arrays.tables
    n, n_heads = len(arrays), len(arrays.space.choices)
    joint, prefixes = np.zeros(n, dtype=np.int64), np.zeros((n, n_heads), dtype=np.int64)
    for job, table in enumerate(tables):
        rows = np.flatnonzero(arrays.jobs == job)
        found = table.column_of(arrays.labels[rows])
        joint[rows], prefixes[rows] = table.columns[found], table.prefixes[found]
    heads = range(n_heads)
    head_masks = [np.array([table.masks[head] for table in tables]) for head in heads]
    step_masks = [np.array([table.step_masks[head] for table in tables]) for head in heads]
    n_joint = 1 + max((int(table.columns.max()) for table in tables), default=0)
    joint_mask = np.zeros((max(1, len(tables)), n_joint), dtype=bool)
    for job, table in enumerate(tables):
        joint_mask[job, table.columns] = True
    weights = np.ones((n, n_heads + 1), dtype=np.float32)
    if class_weight and n:
        for head in heads:
            mask = head_masks[head][arrays.jobs]
            if decoding == "autoregressive":
                mask = step_masks[head][arrays.jobs, prefixes[:, head]]
            is_free = mask.sum(axis=1) > 1
            weights[:, head] = _class_weights(arrays.labels[:, head], is_free, class_weight)
        is_free = joint_mask[arrays.jobs].sum(axis=1) > 1
        weights[:, -1] = _class_weights(joint, is_free, class_weight)
    return Targets(
        torch.from_numpy(arrays.labels),
        torch.from_numpy(arrays.jobs),
        torch.from_numpy(joint),
        torch.from_numpy(prefixes),
        tuple(torch.from_numpy(mask) for mask in head_masks),
        tuple(torch.from_numpy(mask) for mask in step_masks),
        torch.from_numpy(joint_mask),
        torch.from_numpy(weights),
    )


class Inputs:
    """What a model reads of some rows: features, or tokens."""

    def __init__(self, arrays: Arrays, kind: InputKind) -> None:
        self.kind = kind
        self._features = torch.from_numpy(np.ascontiguousarray(arrays.features, dtype=np.float32))
        self.lengths = np.ones(len(arrays), dtype=np.int64)
        if kind == "features":
            return
        tokens = arrays.tokens
        if len(tokens) != len(arrays):
            raise ValueError("the rows have no tokens")
        self._values, self._keys = fold(tokens.ids)
        marks = np.append(0, np.cumsum(tokens.ids == EQUALS))  # up to each token
        self._edges = (
            tokens.edges - 2 * marks[tokens.edges]
        )  # a key and an equals sign go each time
        self.lengths = np.diff(self._edges)

    def batch(self, rows: Sequence[int] | np.ndarray) -> tuple[Tensor, ...]:
        """Arguments of a model for some rows: (B, F) features, or (B, T) values, keys, mask."""
        if self.kind == "features":
            return (self._features[torch.as_tensor(rows)],)
        lengths = self.lengths[rows]
        width = -(-int(lengths.max()) // MULTIPLE) * MULTIPLE
        is_real = np.arange(width) < lengths[:, None]
        places = (self._edges[:-1][rows][:, None] + np.arange(width))[is_real]
        filled = np.full((2, len(rows), width), PADDING, dtype=np.int64)
        filled[0][is_real], filled[1][is_real] = self._values[places], self._keys[places]
        parts = (filled[0], filled[1], is_real.astype(np.int64))
        return tuple(torch.from_numpy(part) for part in parts)


def epoch_batches(
    lengths: np.ndarray, batch_size: int, *, seed: int, epoch: int
) -> Iterator[np.ndarray]:
    """Every row once, in an order that seed and epoch decide; a batch's rows are of like length.

    Args:
        lengths: (N,) of the rows; where all are alike the order is a plain shuffle.
    """
    luck = np.random.default_rng((seed, epoch))
    order = luck.permutation(len(lengths))
    batches: list[np.ndarray] = []
    for start in range(0, len(order), NEIGHBOURS * batch_size):
        near = order[start : start + NEIGHBOURS * batch_size]
        near = near[np.argsort(lengths[near], kind="stable")]
        batches += [near[i : i + batch_size] for i in range(0, len(near), batch_size)]
    for number in luck.permutation(len(batches)):
        yield batches[number]


def in_order(lengths: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Every row once, the shortest first: for predicting."""
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
