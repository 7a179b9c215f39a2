"""The planner of an interaction: ranked, written, checked, tried, and only then returned.

Belongs here: `generate_planner_generic` and the order in which things are tried.
Does not: each of the things (``scoring``, ``drafts``, ``agents``, ``proposals``).
Spec: planner-synthesis, all milestones; ADR 0021 (what is viable), 0023 (agents).

Nothing real is called, and nothing is registered unless a registry of agents is given.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from planner_synthesis.agent_registry import AgentRegistry, agent_card
from planner_synthesis.agents import AgentPlan, build_agent, choose_steps
from planner_synthesis.complexity import complexity_reasons
from planner_synthesis.config import DEFAULT_CONFIG, SynthesisConfig
from planner_synthesis.drafts import Draft, check_draft, draft_for, filled_by, finish, writable
from planner_synthesis.fallback import fall_back
from planner_synthesis.proposals import ProposalError, Proposer, draft_of_proposal
from planner_synthesis.rtfs.errors import UnprintableForm
from planner_synthesis.scoring import Candidate, Ranking, rank_candidates
from planner_synthesis.security import permits
from planner_synthesis.snapshot.redaction import redact
from planner_synthesis.telemetry import Sink, build_event
from planner_synthesis.templates import direct_form
from planner_synthesis.types import (
    AgentDescriptor,
    CandidateScore,
    PlannerDecisionTrace,
    PlannerGenContext,
    PlannerSynthesis,
)

MAX_AGENT_CANDIDATES: Final = 64  # the best this many may become steps of an agent
MAX_TOLD_CHARS: Final = 300  # of what a proposer or a sink failed with


class Stopwatch:
    """Milliseconds of each stage by the clock that was given."""

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self._clock_ns = clock_ns
        self._start = self._last = clock_ns()
        self.durations_ms: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """Add the time since the last lap to a stage."""
        now = self._clock_ns()
        spent = (now - self._last) / 1e6
        self.durations_ms[stage] = self.durations_ms.get(stage, 0.0) + spent
        self.durations_ms["total"] = (now - self._start) / 1e6
        self._last = now


def generate_planner_generic(
    context: PlannerGenContext,
    *,
    config: SynthesisConfig = DEFAULT_CONFIG,
    sink: Sink | None = None,
    agent_registry: AgentRegistry | None = None,
    proposer: Proposer | None = None,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> PlannerSynthesis:
    """A planner for an interaction.

    An agent when the interaction is complex and several capabilities are needed; else the best
    viable candidate whose planner passes preflight and a dry run; else a proposal that passes the
    same, where there is a proposer; else a planner that says what is missing. A proposal comes
    before all of these where ``config.when_proposer_is_asked`` is "always".

    Args:
        context: All that is known.
        config: Weights, thresholds, limits.
        sink: Gets the `planner_generation` event. One that raises loses the event and not the
            planner: ``decision_trace.notes`` says so.
        agent_registry: Where a synthesized agent is registered. Without one an agent is only
            suggested: the planner asks for it and does not call it.
        proposer: Asked at most once, when the settings say; nobody by default. One that raises,
            whatever it is, has no proposal: ``decision_trace.rejected`` says so.
        clock_ns: For the durations in the event; nothing else depends on it.

    Raises:
        OSError: the registry of agents cannot be written.
        NoRoomError: the limits of the settings are too narrow even for saying that nothing fits.
    """
    config = msgspec.structs.replace(config, domain=writable(config.domain))
    watch = Stopwatch(clock_ns)
    ranking = rank_candidates(context, config=config)
    watch.lap("rank")
    synthesis = _writable(_Synthesis(context, config, ranking, agent_registry, proposer).run())
    watch.lap("synthesize")
    if sink is None:
        return synthesis
    event = build_event(synthesis, schema=context.schema, durations_ms=watch.durations_ms)
    try:
        sink.emit(event)
    except Exception as error:  # anybody's code; the planner is finished
        return _noted(synthesis, f"the sink did not take the event: {_told(error)}")
    return synthesis


def _noted(synthesis: PlannerSynthesis, note: str) -> PlannerSynthesis:
    trace = synthesis.decision_trace
    trace = msgspec.structs.replace(trace, notes=(*trace.notes, note))
    return msgspec.structs.replace(synthesis, decision_trace=trace)


def _told(error: Exception) -> str:
    """What somebody else's code failed with, on one line and without secrets."""
    return writable(redact(" ".join(f"{type(error).__name__}: {error}".split()))[:MAX_TOLD_CHARS])


def _writable(synthesis: PlannerSynthesis) -> PlannerSynthesis:
    """A synthesis that a file can hold; its texts are checked, its trace names what was given."""
    try:
        msgspec.json.encode(synthesis.decision_trace)
    except UnicodeEncodeError:
        plain = _writable_data(msgspec.to_builtins(synthesis.decision_trace))
        trace = msgspec.convert(plain, PlannerDecisionTrace)
        return msgspec.structs.replace(synthesis, decision_trace=trace)
    return synthesis


def _writable_data(data: Any) -> Any:
    if isinstance(data, str):
        return writable(data)
    if isinstance(data, dict):
        return {name: _writable_data(value) for name, value in data.items()}
    return [*map(_writable_data, data)] if isinstance(data, list | tuple) else data


class _Synthesis:
    """One synthesis on its way; ``rejected`` says what was tried and why it was not returned."""

    def __init__(
        self,
        context: PlannerGenContext,
        config: SynthesisConfig,
        ranking: Ranking,
        agent_registry: AgentRegistry | None,
        proposer: Proposer | None,
    ) -> None:
        self.context, self.config, self.ranking = context, config, ranking
        self.agent_registry, self.proposer = agent_registry, proposer
        self.complexity = complexity_reasons(
            context.history, context.schema, rule=config.complexity
        )
        self.rejected: list[str] = []
        self.agent_steps: tuple[str, ...] = ()

    def run(self) -> PlannerSynthesis:
        """What comes of it."""
        is_asked_first = self.config.when_proposer_is_asked == "always"
        proposed = self.proposal() if is_asked_first else None
        return proposed or self.deterministic(is_proposer_left=not is_asked_first)

    def deterministic(self, *, is_proposer_left: bool) -> PlannerSynthesis:
        """What the registry gives; where it gives nothing, a proposer who was not yet asked."""
        if self.complexity and self.config.is_agent_synthesis_on:
            plan = self.agent_plan()
            if plan is not None:
                return self.delegate(plan)
        viable = [c for c in self.ranking.best if c.score.is_viable]
        for candidate in viable[: self.config.max_attempts]:
            draft = draft_for(candidate, self.context)
            problems = check_draft(draft, self.context, self.config)
            if not problems:
                return self.finish(draft)
            self.reject(candidate.score.id, problems)
        proposed = self.proposal() if is_proposer_left else None
        return proposed or self.fall_back(reason=_fallback_reason(self.ranking, viable))

    def reject(self, what: str, problems: tuple[str, ...]) -> None:
        """Remember why something was not returned."""
        self.rejected += [f"{what}: {problem}" for problem in problems]

    def trace(self) -> PlannerDecisionTrace:
        """What was weighed so far."""
        return PlannerDecisionTrace(
            candidates=tuple(candidate.score for candidate in self.ranking.best),
            n_considered=self.ranking.n_considered,
            n_not_allowed=self.ranking.n_not_allowed,
            n_conflicting=self.ranking.n_conflicting,
            rejected=tuple(self.rejected),
            complexity=self.complexity,
            agent_steps=self.agent_steps,
        )

    def finish(self, draft: Draft, agent: AgentDescriptor | None = None) -> PlannerSynthesis:
        """A draft that passed."""
        return finish(draft, self.context, self.config, self.trace(), agent=agent)

    def fall_back(self, *, reason: str, agent: AgentDescriptor | None = None) -> PlannerSynthesis:
        """No draft passed; an agent that may not be called is asked for by its id."""
        return fall_back(
            self.context, self.config, self.trace(), reason=reason, agent=agent,
            stub_id=agent.agent_id if agent else None,
        )  # fmt: skip

    def proposal(self) -> PlannerSynthesis | None:
        """The proposer's planner, if there is a proposer who has one that passes."""
        if self.proposer is None:
            return None
        try:
            ranked = tuple(candidate.score for candidate in self.ranking.best)
            text: object = self.proposer.propose(self.context, ranked=ranked)
        except ProposalError as error:
            self.reject("proposal", (error.reason,))
            return None
        except Exception as error:  # anybody's code; the registry's planner is as good as ever
            self.reject("proposal", (f"the proposer failed: {_told(error)}",))
            return None
        if not isinstance(text, str):
            self.reject("proposal", (f"no text but {type(text).__name__}",))
            return None
        draft, problems = draft_of_proposal(text, self.context, config=self.config)
        self.reject("proposal", problems)
        return None if draft is None else self.finish(draft)

    def agent_plan(self) -> AgentPlan | None:
        """An agent whose plan passed preflight and a dry run."""
        wide = msgspec.structs.replace(
            self.config, min_coverage=1, min_total=0, max_candidates=MAX_AGENT_CANDIDATES
        )
        best = rank_candidates(self.context, config=wide).best
        usable = [c for c in best if c.score.is_viable and not c.takes_whole_context]
        steps = choose_steps(usable, self.context.schema)
        if not steps:
            self.reject("agent", ("no several capabilities together use every required key",))
            return None
        try:
            plan = build_agent(steps, self.context, config=self.config)
            msgspec.json.encode(plan.descriptor)  # a registry keeps it in a file
        except (UnprintableForm, UnicodeEncodeError) as error:
            self.reject("agent", (f"unprintable: {error}",))
            return None
        draft = Draft(
            body=plan.body,
            template="adapter",
            calls=plan.descriptor.required_capabilities,
            expects=plan.descriptor.expects_context_keys,
            filled=filled_by(steps),
        )
        problems = check_draft(draft, self.context, self.config)
        self.reject("agent", problems)
        return None if problems else plan

    def delegate(self, plan: AgentPlan) -> PlannerSynthesis:
        """A planner that calls the agent, where it may; else one that asks for it."""
        agent = plan.descriptor
        self.agent_steps = tuple(candidate.score.id for candidate in plan.steps)
        if self.agent_registry is not None:
            self.agent_registry.register(agent)
        if not permits(self.context.security, agent.agent_id, effects=agent.effects):
            why = f"the synthesized agent {agent.agent_id} is not allowed by the runtime context"
            return self.fall_back(agent=agent, reason=why)
        if self.agent_registry is None:
            why = f"the synthesized agent {agent.agent_id} is not registered"
            return self.fall_back(agent=agent, reason=why)
        draft = Draft(
            body=direct_form(agent.agent_id),
            template="direct",
            calls=(agent.agent_id,),
            expects=agent.expects_context_keys,
            filled=filled_by(plan.steps),
            selected=self.score_of(agent),
        )
        effects = {agent.agent_id: agent.effects}
        problems = check_draft(draft, self.context, self.config, extra=effects)
        if problems:
            self.reject(agent.agent_id, problems)
            return self.fall_back(agent=agent, reason="the planner of the agent was refused")
        return self.finish(draft, agent)

    def score_of(self, agent: AgentDescriptor) -> CandidateScore:
        """The agent's own score, as a later synthesis will see it."""
        alone = msgspec.structs.replace(
            self.context, registry_caps=(), registry_agents=(agent_card(agent),)
        )
        return rank_candidates(alone, config=self.config).best[0].score


def _fallback_reason(ranking: Ranking, viable: list[Candidate]) -> str:
    if viable:
        return "no planner of a viable candidate passed its checks"
    if ranking.best:
        best = ranking.best[0].score
        return f"the best candidate {best.id!r} is not viable: {'; '.join(best.why)}"
    if ranking.n_not_allowed or ranking.n_conflicting:
        return "no candidate is left: " + (
            f"{ranking.n_not_allowed} not allowed, {ranking.n_conflicting} with a disputed id"
        )
    return "nothing in the registry takes what was asked"
