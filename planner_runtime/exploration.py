"""Chance in decisions: epsilon-greedy over the safe set, reproducible, with exact propensities.

Belongs here: who may be explored, the draw, the probability of what was done. Does not: the safe
set itself (``policy``). Spec: section 7.4 ("safe exploration"). Shapes: A actions.

With probability epsilon an action is drawn evenly from the open ones, the greedy one among them;
otherwise the greedy one is taken. So the greedy action has probability 1 - epsilon + epsilon / n
and every other open one epsilon / n, whichever way it came about.
"""

from typing import Annotated, Final

import msgspec
import numpy as np

from planner_runtime.contracts.canonical import document_hash
from planner_runtime.contracts.planner_action import Ratio

LAB_TAG: Final = "lab:planner_explore"
LOWEST_PRIORITY: Final = "P3"
_BITS: Final = 53  # of a double's mantissa


class ExplorationBudget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much may be tried.

    Attributes:
        epsilon: Chance that a decision is drawn; 0 turns it off.
        seed: Of the epoch; a new one draws anew for the same inputs.
        budget_share: Of all decisions of the epoch, the share that may differ from the greedy one
            by chance; where it is used up epsilon is 0.
    """

    epsilon: Ratio = 0.0
    seed: str = ""
    budget_share: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.05


NO_EXPLORATION: Final = ExplorationBudget()


class Draw(msgspec.Struct, frozen=True, kw_only=True):
    """What chance did.

    Attributes:
        chosen: Index of the action taken.
        explored: Whether it was drawn rather than greedy; a draw of the greedy one counts too.
        propensity: Probability of ``chosen`` before the draw.
        probabilities: (A,) of every action; 0 for closed ones.
        epsilon: In force.
        u: The draw, in [0, 1); None without exploration.
    """

    chosen: int
    explored: bool
    propensity: float
    probabilities: np.ndarray
    epsilon: float
    u: float | None


def may_explore(priority: str | None, tags: tuple[str, ...]) -> bool:
    """Whether chance may decide about such an issue: the lowest priority, or marked for the lab."""
    return priority == LOWEST_PRIORITY or LAB_TAG in tags


def uniform_draw(input_hash: str, seed: str, purpose: str = "explore") -> float:
    """A number in [0, 1) that follows from the input and the epoch's seed alone."""
    digest = document_hash([purpose, seed, input_hash])
    return float(int(digest[:16], 16) >> (64 - _BITS)) / float(1 << _BITS)


def epsilon_now(
    budget: ExplorationBudget,
    *,
    priority: str | None,
    tags: tuple[str, ...],
    n_decided: int,
    n_explored: int,
) -> float:
    """The epsilon in force: 0 where the issue is not for exploring or the budget is used up.

    The budget is held before the draw: one more explored decision must still be within its share
    of all decisions, this one among them.
    """
    if not budget.epsilon or not may_explore(priority, tags):
        return 0.0
    within = n_explored + 1 <= budget.budget_share * (n_decided + 1)
    return budget.epsilon if within else 0.0


def draw(greedy: int, is_open: np.ndarray, epsilon: float, u: float) -> Draw:
    """Epsilon-greedy by one number.

    Args:
        greedy: Index of the action that is taken without chance; it counts as open.
        is_open: (A,) bool.
        u: In [0, 1): below epsilon it also says which open action is drawn.
    """
    open_ = is_open.copy()
    open_[greedy] = True
    n_open = int(open_.sum())
    probabilities = np.where(open_, epsilon / n_open, 0.0)
    probabilities[greedy] += 1 - epsilon
    chosen, explored = greedy, False
    if u < epsilon:
        place = min(int(u / epsilon * n_open), n_open - 1)
        chosen, explored = int(np.flatnonzero(open_)[place]), True
    return Draw(
        chosen=chosen,
        explored=explored,
        propensity=float(probabilities[chosen]),
        probabilities=probabilities,
        epsilon=epsilon,
        u=u if epsilon else None,
    )
