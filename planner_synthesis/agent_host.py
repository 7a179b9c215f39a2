"""Running agents: a host that turns a call of an agent into a run of its plan.

Belongs here: agents as capabilities of the same id, recursion, what the caller gets.
Does not: keeping agents (``agent_registry``), real capabilities (the inner host).
Spec: planner-synthesis, "Planner can then delegate to this newly synthesized agent"; ADR 0023.
"""

from collections.abc import Callable
from typing import Final

from planner_synthesis.rtfs.errors import HostFailure, SecurityViolation
from planner_synthesis.rtfs.evaluator import evaluate
from planner_synthesis.rtfs.forms import Form, Map
from planner_synthesis.rtfs.host import Gate, Host
from planner_synthesis.types import AgentDescriptor

MAX_NESTED_AGENTS: Final = 8


class AgentHost:
    """A host that runs agents itself and hands every other call on.

    What an agent calls goes through the same gate as what the planner calls: being called by an
    agent allows nothing.

    Args:
        inner: Takes calls that are of no agent, and all steps.
        find_agent: The agent of an id, or None; e.g. ``AgentRegistry.get``.
        gate: Asked before an agent runs; the inner host asks its own.
    """

    def __init__(
        self, inner: Host, find_agent: Callable[[str], AgentDescriptor | None], gate: Gate
    ) -> None:
        self._inner, self._find_agent, self._gate = inner, find_agent, gate
        self._running: list[str] = []

    def call(self, capability_id: str, args: list[Form]) -> object:
        """As ``Host.call``; an agent's plan sees the ``:context`` of its first argument.

        Raises:
            SecurityViolation: the agent, or what it calls, is not allowed.
            HostFailure: agents call each other too deep, or the call has no context.
        """
        agent = self._find_agent(capability_id)
        if agent is None:
            return self._inner.call(capability_id, args)
        if not self._gate.is_allowed(capability_id):
            raise SecurityViolation(capability_id)
        if len(self._running) >= MAX_NESTED_AGENTS:
            raise HostFailure(capability_id, f"more than {MAX_NESTED_AGENTS} agents in each other")
        context = _context_of(args)
        if context is None:
            raise HostFailure(capability_id, "an agent takes {:context {...}}")
        self._running.append(capability_id)
        try:
            return evaluate(agent.execution_mode.plan, host=self, context=context)
        finally:
            self._running.pop()

    def step(self, name: str) -> None:
        """As ``Host.step``."""
        self._inner.step(name)


def _context_of(args: list[Form]) -> Map | None:
    match args:
        case [Map() as sent] if isinstance(found := sent.index.get(("keyword", "context")), Map):
            return found
        case _:
            return None
