"""What a model expects of the actions of one decision, and how a record tells it.

Belongs here: the forecast, its numbers as JSON can say them. Does not: making one
(``outcome_planner``), preferring an action (``policy``). Spec: sections 7.4 and 10.2.
"""

import math
from typing import Final

import msgspec
import numpy as np

from planner_runtime.contracts.policy_trace import ExpectedOutcome
from planner_runtime.objective import Outlook
from planner_runtime.policy import Preference

_TOLD_DECIMALS: Final = 6  # what a model that computes in float32 can tell


def number_told(value: float) -> float | None:
    """A number as JSON can say it, the same on every machine; None for what is none."""
    return round(float(value), _TOLD_DECIMALS) if math.isfinite(value) else None


def _mean_told(values: np.ndarray) -> float | None:
    return number_told(float(np.add.reduce(values)) / len(values))


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What the model expects of the actions of one decision, and what follows for the policy.

    Attributes:
        unconstrained: Row the objective would take were every action open; None: nothing is known.
    """

    outlook: Outlook
    novelty: float
    preference: Preference
    unconstrained: int | None

    def expected(self, row: int) -> ExpectedOutcome:
        """What is expected of one action, as a trace writes it."""
        outlook, preference = self.outlook, self.preference
        return ExpectedOutcome(
            p_pass=_mean_told(outlook.p_pass[:, row]),
            p_timeout=_mean_told(outlook.p_timeout[:, row]),
            minutes=_mean_told(outlook.minutes[:, row]),
            cost_usd=_mean_told(outlook.cost_usd[:, row]),
            utility=number_told(preference.utility[row]),
            lower=number_told(preference.lower[row]),
        )
