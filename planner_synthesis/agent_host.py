"""Running agents: a host that turns a call of an agent into a run of its plan.

Belongs here: agents as capabilities of the same id, recursion, what the caller gets.
Does not: keeping agents (``agent_registry``), real capabilities (the inner host).
Spec: planner-synthesis, "Planner can then delegate to this newly synthesized agent"; ADR 0023.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from planner_synthesis.preflight import check_planner
from planner_synthesis.rtfs.budget import Limits, Meter
from planner_synthesis.rtfs.errors import HostFailure, SecurityViolation
from planner_synthesis.rtfs.evaluator import evaluate
from planner_synthesis.rtfs.forms import Form, Map
from planner_synthesis.rtfs.host import Gate, Host, NestingHost
from planner_synthesis.types import AgentDescriptor, RuntimeContext

MAX_NESTED_AGENTS: Final = 8


class AgentHost:
    """A host that runs agents itself and hands every other call on.

    What an agent calls goes through the same gate as what the planner calls: being called by an
    agent allows nothing. Its plan passes preflight before it runs, whoever registered it; which ids
    it may call is the gate's to say. The steps of a plan count as steps of the program that calls.

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
        """As ``call_within``, with a budget of its own."""
        return self.call_within(capability_id, args, Meter(Limits()))

    def call_within(self, capability_id: str, args: list[Form], meter: Meter) -> object:
        """As ``NestingHost``; an agent's plan sees the ``:context`` of its first argument.

        Raises:
            BudgetExceeded: the program that calls, with all agents, takes too many steps.
            SecurityViolation: the agent, or what it calls, is not allowed.
            HostFailure: agents call each other too deep, the call has no context, or the plan may
                not run.
        """
        agent = self._find_agent(capability_id)
        if agent is None:
            if isinstance(self._inner, NestingHost):
                return self._inner.call_within(capability_id, args, meter)
            return self._inner.call(capability_id, args)
        if not self._gate.is_allowed(capability_id):
            raise SecurityViolation(capability_id)
        if len(self._running) >= MAX_NESTED_AGENTS:
            raise HostFailure(capability_id, f"more than {MAX_NESTED_AGENTS} agents in each other")
        context = _context_of(args)
        if context is None:
            raise HostFailure(capability_id, "an agent takes {:context {...}}")
        plan = agent.execution_mode.plan
        fault = plan_fault(plan)
        if fault is not None:
            raise HostFailure(capability_id, f"its plan does not pass preflight: {fault}")
        meter.spend_weight(len(plan))  # it is read anew for each run
        self._running.append(capability_id)
        try:
            return evaluate(plan, host=self, context=context, meter=meter)
        finally:
            self._running.pop()

    def step(self, name: str) -> None:
        """As ``Host.step``."""
        self._inner.step(name)


@lru_cache(maxsize=1024)
def plan_fault(plan: str) -> str | None:
    """What preflight first finds wrong with a plan itself, None for nothing; ids are not asked."""
    report = check_planner(plan, security=RuntimeContext(level="full"), registry={})
    passed_over = ("unknown-id", "status")  # an agent answers what it likes
    return next((f.message for f in report.findings if f.code not in passed_over), None)


def _context_of(args: list[Form]) -> Map | None:
    match args:
        case [Map() as sent] if isinstance(found := sent.index.get(("keyword", "context")), Map):
            return found
        case _:
            return None
