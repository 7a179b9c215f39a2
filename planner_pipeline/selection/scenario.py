"""What is chosen between and what came of it, as arrays: one row a case, one column an action.

Belongs here: the types that the rest of ``selection`` works on. Does not: files (``tables_in``).
Shapes: N cases in the order of their ids, A actions in the order of their names.
"""

from typing import Literal

import msgspec
import numpy as np
import polars as pl

from planner_runtime.action_set import ActionSet

What = Literal["case", "outcome", "column", "fold_row", "action", "fold"]


class SelectionError(Exception):
    """Tables that cannot be read as a scenario.

    Attributes:
        table: features, outcomes, folds or objective.
        why: What is wrong, in words.
    """

    def __init__(self, table: str, why: str) -> None:
        super().__init__(f"{table}: {why}")
        self.table, self.why = table, why


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """Things that were not used for one reason, counted.

    Attributes:
        what: Kind of thing.
        reason: Why it was not used.
        n: How many.
        first: Names of the first few.
    """

    what: What
    reason: str
    n: int
    first: tuple[str, ...] = ()


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """One whole cross-validation.

    Attributes:
        repetition: Its name; None where there is only one and it has no name.
        fold: (N,) index into ``names``; -1 where a case has no fold.
        names: Of the folds, in order.
    """

    repetition: int | str | None
    fold: np.ndarray
    names: tuple[int | str, ...]


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """What came of every action in every case; NaN where it is not known.

    Attributes:
        passed: (N, A) in [0, 1].
        duration_ms: (N, A).
        cost_usd: (N, A).
        is_censored: (N, A) bool: ended by its limit.
    """

    passed: np.ndarray
    duration_ms: np.ndarray
    cost_usd: np.ndarray
    is_censored: np.ndarray


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was read.

    Attributes:
        case_ids: (N,) sorted.
        actions: The action set, one head of names.
        features: N rows in the order of the cases, feature columns only, sorted by name.
        outcomes: Of the cases and actions.
        groups: (N,) what depends on each other: the case's own id where no group is given.
        has_groups: Whether a group was given.
        started_ms: (N,) or None.
        partitions: The cross-validations; empty where no folds were given.
        left_out: What was not used.
        notes: Assumptions that the reading made, in words.
    """

    case_ids: tuple[str, ...]
    actions: ActionSet
    features: pl.DataFrame
    outcomes: Outcomes
    groups: tuple[str, ...]
    has_groups: bool
    started_ms: np.ndarray | None
    partitions: tuple[Partition, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


def leave_out(what: What, reason: str, names: "list[str] | tuple[str, ...]") -> list[LeftOut]:
    """One entry for the named things, none where there is none."""
    if not names:
        return []
    return [LeftOut(what=what, reason=reason, n=len(names), first=tuple(sorted(names)[:5]))]
