"""The actions of one decision as data: any heads, any choices, what is dearer than what.

Belongs here: rows of choices with their names, the numbers behind budget choices, which head is
the topology. Does not: Cyntra's own four heads and their rules (``actions``), choosing.
Spec: section 4 ("bins and rules as data"). Shapes: A actions, H heads.

Toolchain routing, model routing and algorithm selection are the same problem with other heads: one
head of names and no budgets is an ``ActionSet`` too.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from planner_runtime.actions import HEADS, NA, ActionSpace, valid_actions
from planner_runtime.contracts.bins import Bin
from planner_runtime.remembering import remembered

Row = tuple[Bin | str, ...]


class ActionSet(msgspec.Struct, frozen=True, kw_only=True):
    """What may be chosen.

    Attributes:
        heads: Names of the heads.
        rows: Every action's choice in every head; no two are equal.
        budgets: Heads whose greater number is dearer; "NA" there is no limit at all.
        topologies: Heads whose change is a change of topology.
    """

    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    budgets: tuple[str, ...] = ()
    topologies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any(len(row) != len(self.heads) for row in self.rows):
            raise ValueError("every action has one choice in every head")
        if len(set(self.rows)) < len(self.rows):
            raise ValueError("an action is there twice")
        if unknown := {*self.budgets, *self.topologies} - set(self.heads):
            raise ValueError(f"{sorted(unknown)} are no heads")

    def __len__(self) -> int:
        return len(self.rows)

    def names(self) -> tuple[str, ...]:
        """(A,) a readable name of each action: its choices joined by blanks."""
        return tuple(" ".join(map(str, row)) for row in self.rows)

    def column(self, head: str) -> tuple[Bin | str, ...]:
        """(A,) the choices of one head.

        Raises:
            ValueError: there is no such head.
        """
        place = self.heads.index(head)
        return tuple(row[place] for row in self.rows)

    def budget(self, head: str) -> np.ndarray:
        """(A,) float64 of a budget head; infinite where it is "NA"."""
        return np.array([np.inf if c == NA else float(c) for c in self.column(head)])

    def is_reduction(self, baseline: int) -> np.ndarray:
        """(A,) bool: no budget above that of the baseline's row, and the same topology."""
        within = np.ones(len(self), dtype=bool)
        for head in self.budgets:
            values = self.budget(head)
            within &= values <= values[baseline]
        reduced: np.ndarray = within & self.same_topology(baseline)
        return reduced

    def same_topology(self, baseline: int) -> np.ndarray:
        """(A,) bool: the choices of every topology head are the baseline's."""
        same = np.ones(len(self), dtype=bool)
        for head in self.topologies:
            column = self.column(head)
            same &= np.array([choice == column[baseline] for choice in column], dtype=bool)
        return same


def named_actions(names: Sequence[str]) -> ActionSet:
    """Actions that are names and nothing more, such as models, toolchains or algorithms."""
    return ActionSet(heads=("action",), rows=tuple((name,) for name in names))


@remembered
def cyntra_actions(space: ActionSpace, job_type: str) -> ActionSet:
    """The valid actions of Cyntra's four heads, in the order of ``valid_actions``."""
    return ActionSet(
        heads=HEADS,
        rows=tuple(tuple(action) for action in valid_actions(space, job_type)),
        budgets=("max_candidates_bin", "max_minutes_bin", "max_iterations_bin"),
        topologies=("swarm_id",),
    )
