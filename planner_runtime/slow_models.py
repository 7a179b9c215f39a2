"""Models that take their time: the fakes for tests of deadlines.

Belongs here: a pause before another model's answer, one that ends at a deadline and one that does
not. Does not: the deadline (``deadline``).
"""

import time

import numpy as np

from planner_runtime.deadline import Deadline
from planner_runtime.outcomes.model import OutcomeModel, RawOutcomes
from planner_runtime.session import Model


class SlowModel:
    """A model that cannot be stopped.

    Args:
        seconds: Before every answer.
    """

    def __init__(self, model: Model, *, seconds: float) -> None:
        self._model, self._seconds = model, seconds

    def logits(self, row: np.ndarray) -> list[np.ndarray]:
        """The other model's, late."""
        time.sleep(self._seconds)
        return self._model.logits(row)


class SlowStoppableModel(SlowModel):
    """A model that gives up at the deadline, as a session does."""

    def logits_by(self, row: np.ndarray, deadline: Deadline) -> list[np.ndarray]:
        """The other model's, late; raises ``DeadlineError`` at the deadline."""
        time.sleep(max(0.0, min(self._seconds, deadline.seconds_left)))
        deadline.check()
        return self._model.logits(row)


class SlowOutcomes:
    """A model of outcomes that cannot be stopped.

    Args:
        seconds: Before every answer.
    """

    def __init__(self, model: OutcomeModel, *, seconds: float) -> None:
        self._model, self._seconds = model, seconds

    def outcomes(self, features: np.ndarray, actions: np.ndarray) -> RawOutcomes:
        """The other model's, late."""
        time.sleep(self._seconds)
        return self._model.outcomes(features, actions)
