"""What is asked of a planner behind a kernel or a server, and the one that keeps its bundle.

Belongs here: the protocols that ``LivePlanner`` keeps as well, a fixed planner that counts.
Does not: watching for new bundles (``live``), sockets (``sidecar``).
"""

import time
from collections.abc import Mapping
from typing import Any, Protocol

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
