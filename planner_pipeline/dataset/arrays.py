"""Examples -> arrays: features, tokens, label indices, what was valid.

Belongs here: the only place where examples become numbers, for training and for evaluation.
Does not: tokenizing or feature making (``planner_runtime``).
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from planner_runtime.actions import Action, ActionSpace, action_to_indices
from planner_runtime.decode import ActionTable, action_table


class TokenRows(msgspec.Struct, frozen=True):
    """Token ids of N rows, one after another.

    Attributes:
        ids: All ids, int32.
        edges: (N + 1,) int64, where each row begins.
    """

    ids: np.ndarray
    edges: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[int] | np.ndarray]) -> "TokenRows":
        """From a list a row."""
        edges = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=edges[1:])
        flat = [np.asarray(row, dtype=np.int32) for row in rows]
        return cls(np.concatenate(flat) if flat else np.zeros(0, dtype=np.int32), edges)

    def __len__(self) -> int:
        return len(self.edges) - 1

    @property
    def lengths(self) -> np.ndarray:
        """(N,) tokens of each row."""
        lengths: np.ndarray = np.diff(self.edges)
        return lengths

    def row(self, number: int) -> np.ndarray:
        """(T,) ids of one row."""
        return self.ids[self.edges[number] : self.edges[number + 1]]


class Arrays(msgspec.Struct, frozen=True):
    """Rows to learn from or to judge. N rows, F features, H heads, J job types.

    Attributes:
        features: (N, F) float32.
        tokens: Of the same rows; empty where nobody asked for them.
        labels: (N, H) int64, the choice of every head.
        jobs: (N,) int64, positions in ``job_types``.
        job_types: J of them, sorted.
        space: What the labels are choices of.
    """

    features: np.ndarray
    tokens: TokenRows
    labels: np.ndarray
    jobs: np.ndarray
    job_types: tuple[str, ...]
    space: ActionSpace

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def tables(self) -> tuple[ActionTable, ...]:
        """Valid actions of every job type."""
        return tuple(action_table(self.space, job) for job in self.job_types)

    def masks(self) -> tuple[np.ndarray, ...]:
        """Per head (N, C) bool, the choices valid for the row's job type."""
        return tuple(
            np.array([table.masks[head] for table in self.tables], dtype=bool)[self.jobs]
            if len(self)
            else np.zeros((0, len(choices)), dtype=bool)
            for head, choices in enumerate(self.space.choices)
        )


def build_arrays(
    features: np.ndarray,
    labels: Sequence[Action],
    job_types: Sequence[str],
    space: ActionSpace,
    tokens: Sequence[Sequence[int] | np.ndarray] | TokenRows = (),
) -> Arrays:
    """Arrays of examples in their order.

    Args:
        features: (N, F) float32.
        tokens: Ids of each row, or nothing.

    Raises:
        ValueError: a label is not in ``space``.
    """
    names = tuple(sorted(set(job_types)))
    indices = [action_to_indices(space, label) for label in labels]
    return Arrays(
        features,
        tokens if isinstance(tokens, TokenRows) else TokenRows.of(tokens),
        np.asarray(indices, dtype=np.int64).reshape(len(labels), len(space.choices)),
        np.array([names.index(job) for job in job_types], dtype=np.int64),
        names,
        space,
    )


def choose_rows(arrays: Arrays, rows: np.ndarray) -> Arrays:
    """Some rows, in the order of ``rows``."""
    tokens = arrays.tokens
    if len(tokens):
        tokens = TokenRows.of([tokens.row(row) for row in rows.tolist()])
    return msgspec.structs.replace(
        arrays,
        features=arrays.features[rows],
        tokens=tokens,
        labels=arrays.labels[rows],
        jobs=arrays.jobs[rows],
    )
