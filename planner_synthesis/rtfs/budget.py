"""How much an evaluation may do: steps, depth, and the size of any one value.

Belongs here: the limits, the meter. Does not: what costs how much (``builtins``, ``evaluator``).
Our own figures: upstream stops at 50 levels, which a planner of three nested lets already nears,
and counts nothing else (rtfs.md 1.4).
"""

import msgspec

from planner_synthesis.rtfs.errors import BudgetExceeded
from planner_synthesis.rtfs.forms import Form, weight_of

WEIGHT_PER_STEP = 50  # nodes or characters that are handled for the price of one step


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Most steps (forms and calls), most forms and calls inside each other, most nodes and
    characters of one value, counted as a tree."""

    steps: int = 100_000
    depth: int = 500
    size: int = 100_000


class Meter:
    """Counts what an evaluation spends; once the steps are spent, everything fails."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.n_steps = 0

    def spend(self, n_steps: int = 1) -> None:
        """Counts steps.

        Raises:
            BudgetExceeded: there are none left.
        """
        self.n_steps += n_steps
        if self.n_steps > self.limits.steps:
            raise BudgetExceeded("steps", self.limits.steps)

    def spend_weight(self, weight: int) -> None:
        """Counts the steps that handling so many nodes and characters costs."""
        self.spend(weight // WEIGHT_PER_STEP)

    def admit_depth(self, depth: int) -> None:
        """Raises ``BudgetExceeded`` for one level too many."""
        if depth > self.limits.depth:
            raise BudgetExceeded("depth", self.limits.depth)

    def admit_size(self, size: int) -> None:
        """Raises ``BudgetExceeded`` before anything of this size is made."""
        if size > self.limits.size:
            raise BudgetExceeded("size", self.limits.size)

    def admit(self, value: Form) -> Form:
        """The value, if it is not too large.

        Raises:
            BudgetExceeded: it is.
        """
        self.admit_size(weight_of(value))
        return value
