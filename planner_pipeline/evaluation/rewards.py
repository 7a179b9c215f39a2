"""What an outcome is worth: one number from a pass, minutes and dollars.

Belongs here: the weights and their file, as off-policy evaluation needs them. Does not: choosing by
them. ``planner_runtime.objective`` is to be the one place for objectives; ``Reward`` is the seam:
whatever has that signature can stand in for ``weighted``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

# passed, minutes, dollars -> worth; None where something is needed and not known
Reward = Callable[[bool, float | None, float | None], float | None]


class RewardWeights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reward = ``w_pass`` x passed - ``w_minute`` x agent-minutes - ``w_usd`` x dollars."""

    w_pass: float = 1.0
    w_minute: float = 0.01
    w_usd: float = 0.0

    @property
    def words(self) -> str:
        """For people, e.g. ``1 x pass - 0.01 x agent-minutes``."""
        told = f"{self.w_pass:g} x pass - {self.w_minute:g} x agent-minutes"
        return told if self.w_usd == 0 else f"{told} - {self.w_usd:g} x dollars"


DEFAULT_WEIGHTS: Final = RewardWeights()


def weighted(weights: RewardWeights = DEFAULT_WEIGHTS) -> Reward:
    """The reward of some weights. A fact with the weight 0 need not be known.

    >>> weighted()(True, 10.0, None)
    0.9
    """

    def reward(passed: bool, minutes: float | None, usd: float | None) -> float | None:
        worth = weights.w_pass * passed
        for weight, amount in ((weights.w_minute, minutes), (weights.w_usd, usd)):
            if weight == 0:
                continue
            if amount is None:
                return None
            worth -= weight * amount
        return worth

    return reward


def read_weights(file: Path) -> RewardWeights:
    """Weights from a JSON file, e.g. ``{"w_pass": 1, "w_minute": 0.02}``.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such document, or a weight is not finite.
    """
    try:
        weights = msgspec.json.decode(file.read_bytes(), type=RewardWeights)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError(f"no objective: {error}") from error
    return weights
