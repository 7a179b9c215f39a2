"""What is asked of a planner behind a kernel or a server, and the one that keeps its bundle.

Belongs here: the protocols that ``LivePlanner`` keeps as well, one bundle for one decision, a
fixed planner that counts.
Does not: watching for new bundles (``live``), sockets (``sidecar``).
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from planner_runtime.bundle import Bundle
from planner_runtime.decision import Decision, Question, Situation
from planner_runtime.metrics import Metrics
from planner_runtime.planner import Planner


class Answering(Protocol):
    """Who answers questions: a ``Planner``, a ``LivePlanner``, a ``SidecarDecider``, a fake."""

    def decide(
        self,
        planner_input: Mapping[str, Any],
        *,
        now_ms: int | None = None,
        situation: Situation | None = None,
    ) -> Decision:
        """The answer and its record. Never raises."""
        ...


class ServedPlanner(Protocol):
    """A planner in service. It counts its own decisions and loads."""

    @property
    def planner(self) -> Planner:
        """The planner in service now; who keeps it, keeps its bundle."""
        ...

    def decide(
        self,
        planner_input: Question,
        *,
        now_ms: int | None = None,
        situation: Situation | None = None,
    ) -> Decision:
        """The action for one planner input together with its record. Never raises."""
        ...

    def check_now(self) -> bool:
        """Look for another bundle; whether one took over."""
        ...

    def close(self) -> None:
        """Look for no other bundle any more."""
        ...


class PinnedPlanner:
    """One planner for one decision: a bundle that takes over meanwhile is for the next.

    Args:
        answer: Decides by this planner; what decides counts it.
    """

    def __init__(
        self,
        planner: Planner,
        answer: Callable[[Question, int | None, Situation | None], Decision],
    ) -> None:
        self.planner, self._answer = planner, answer

    def decide(
        self,
        planner_input: Question,
        *,
        now_ms: int | None = None,
        situation: Situation | None = None,
    ) -> Decision:
        """The action for one planner input together with its record. Never raises."""
        return self._answer(planner_input, now_ms, situation)


def pinned(planner: Answering | None) -> Answering | None:
    """A planner that keeps its bundle for one decision, whatever happens meanwhile."""
    pin = getattr(planner, "pinned", None)  # a check of a protocol takes longer than the decision
    return pin() if callable(pin) else planner


def bundle_of(planner: Answering | None) -> Bundle | None:
    """The bundle that answers now; None where there is none, or another process has it."""
    inside = getattr(planner, "planner", planner)
    return inside.bundle if isinstance(inside, Planner) else None


class FixedPlanner:
    """One planner for good, its decisions counted."""

    def __init__(self, planner: Planner, metrics: Metrics) -> None:
        self._planner, self._metrics = planner, metrics
        if planner.bundle is not None:
            metrics.observe_load(True)
            metrics.observe_bundle(planner.bundle.manifest.bundle_id)

    @property
    def planner(self) -> Planner:
        """The planner."""
        return self._planner

    def decide(
        self,
        planner_input: Question,
        *,
        now_ms: int | None = None,
        situation: Situation | None = None,
    ) -> Decision:
        """The action for one planner input together with its record. Never raises."""
        started = time.perf_counter()
        decision = self._planner.decide(planner_input, now_ms=now_ms, situation=situation)
        self._metrics.observe_decision(decision, time.perf_counter() - started)
        return decision

    def check_now(self) -> bool:
        """There is never another bundle."""
        return False

    def close(self) -> None:
        """Nothing is held."""
