"""The actions that a bundle and a caller both know, in the forms an outcome model asks for.

Belongs here: what follows from two action spaces and a job type. Does not: actions as data
(``action_set``), choosing among them (``policy``, ``outcome_planner``). Spec: section 7.4.
"""

from collections.abc import Mapping

import msgspec
import numpy as np

from planner_runtime.action_set import ActionSet, cyntra_actions
from planner_runtime.actions import Action, ActionSpace, valid_actions
from planner_runtime.outcomes.features import action_numbers
from planner_runtime.remembering import remembered


class KnownActions(msgspec.Struct, frozen=True):
    """The actions that both the bundle and the caller know, in the forms a decision asks for.

    Attributes:
        numbers: (A, 2 + C) float32, what the model reads of them; read-only.
        rows: Where each action stands.
    """

    actions: ActionSet
    numbers: np.ndarray
    rows: Mapping[Action, int]

    def action(self, row: int) -> Action:
        """The action of a row."""
        return Action(*self.actions.rows[row])  # type: ignore[arg-type]

    def enforceable(self, allowed: frozenset[Action] | None) -> np.ndarray | None:
        """(A,) bool: the kernel would enforce the action; None: it did not say."""
        if allowed is None:
            return None
        return np.array([row in allowed for row in self.actions.rows])


@remembered
def known_actions(space: ActionSpace, offered: ActionSpace, job_type: str) -> KnownActions:
    """The bundle's actions that the caller offers, in the bundle's order."""
    actions = cyntra_actions(space, job_type)
    allowed = set(valid_actions(offered, job_type))
    kept = tuple(row for row in actions.rows if row in allowed)
    if len(kept) < len(actions):
        actions = msgspec.structs.replace(actions, rows=kept)
    numbers = action_numbers(actions)
    numbers.flags.writeable = False
    rows = {Action(*row): i for i, row in enumerate(actions.rows)}  # type: ignore[arg-type]
    return KnownActions(actions, numbers, rows)
