"""Agents from complex interactions: several capabilities in one plan.

Belongs here: choosing the steps, the plan as a tree, the descriptor.
Does not: when an agent is called for (``complexity``), keeping agents (``agent_registry``), trying
a plan (``generate``).
Spec: planner-synthesis, "When to synthesize an Agent"; ADR 0023.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from planner_synthesis.config import SynthesisConfig
from planner_synthesis.rtfs.building import list_form, map_form
from planner_synthesis.rtfs.forms import Form, Sym, Vector
from planner_synthesis.rtfs.printer import print_form
from planner_synthesis.scoring import Candidate
from planner_synthesis.statuses import COMPLETED, REQUIRES_AGENT
from planner_synthesis.templates import CONTEXT, adapted_form, id_form, missing_form
from planner_synthesis.types import (
    AgentDescriptor,
    ParamSchema,
    PlannerGenContext,
    RtfsExecution,
    Scalar,
)

MIN_STEPS: Final = 2
MAX_STEPS: Final = 8


class AgentPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan of several steps and what it is made of, in the order of the steps."""

    descriptor: AgentDescriptor
    body: Form
    steps: tuple[Candidate, ...]


def choose_steps(usable: Sequence[Candidate], schema: ParamSchema) -> tuple[Candidate, ...]:
    """Candidates that together use every required key, in the order of the conversation.

    Args:
        usable: Candidates whose required inputs are all met, best first.
        schema: What was asked.

    Returns:
        Greedily the candidate that adds most keys, the better ranked of equals; empty when some
        required key stays unused, or one candidate is enough and there is nothing to orchestrate.
    """
    open_keys = set(schema.required_keys())
    chosen: list[Candidate] = []
    while open_keys and len(chosen) < MAX_STEPS:
        gains = [len(open_keys & used_keys(candidate)) for candidate in usable]
        best = max(range(len(usable)), key=lambda i: (gains[i], -i), default=None)
        if best is None or gains[best] == 0:
            return ()
        chosen.append(usable[best])
        open_keys -= used_keys(usable[best])
    if open_keys or len(chosen) < MIN_STEPS:
        return ()
    return tuple(sorted(chosen, key=lambda c: (_first_turn(c, schema), c.score.id)))


def used_keys(candidate: Candidate) -> set[str]:
    """Context keys that a candidate's inputs get their values from."""
    return {step.from_ for step in candidate.match.steps if not step.is_own_default}


def _first_turn(candidate: Candidate, schema: ParamSchema) -> int:
    """The turn that first asked for something the candidate uses, of what only it brings in."""
    turns = {p.key: p.source_turn if p.source_turn is not None else i
             for i, p in enumerate(schema.params)}  # fmt: skip
    return min((turns[key] for key in used_keys(candidate)), default=0)


def build_agent(
    steps: Sequence[Candidate], context: PlannerGenContext, *, config: SynthesisConfig
) -> AgentPlan:
    """An agent that takes the steps one after another, when every input of all of them is there.

    Its id holds a hash of its plan: the same plan is the same agent.
    """
    defaults = {param.key: param.default for param in context.schema.params}
    body = plan_form(steps, defaults)
    plan = print_form(body)
    digest = hashlib.sha256(plan.encode()).hexdigest()[:12]
    keys = sorted(set().union(*map(used_keys, steps)))
    effects = {effect for step in steps for effect in step.effects or (":compute",)}
    descriptor = AgentDescriptor(
        agent_id=f"{config.domain}.agent.p{digest}",
        execution_mode=RtfsExecution(plan=plan),
        skills=tuple(sorted(skill.skill for skill in context.skills)),
        required_capabilities=tuple(sorted({step.score.id for step in steps})),
        expects_context_keys=tuple(keys),
        effects=tuple(sorted(effects)),
    )
    return AgentPlan(descriptor=descriptor, body=body, steps=tuple(steps))


def plan_form(steps: Sequence[Candidate], defaults: Mapping[str, Scalar]) -> Form:
    """The plan: all inputs first, then each step under its name, then all results in order."""
    bindings: list[Form] = []
    missing: list[Form] = []
    for n, step in enumerate(steps, start=1):
        name = Sym(f"context-{n}")
        inputs, required = adapted_form(step.match.steps, inputs=step.inputs, defaults=defaults)
        bindings += [name, inputs]
        missing.append(missing_form(name, required))
    bindings += [Sym("missing"), list_form("concat", *missing)]
    refused = map_form(status=REQUIRES_AGENT, missing=Sym("missing"), context=CONTEXT)
    is_complete = list_form("empty?", Sym("missing"))
    answer = list_form("if", is_complete, _run_form(steps), refused)
    return list_form("do", list_form("let", Vector(tuple(bindings)), answer))


def _run_form(steps: Sequence[Candidate]) -> Form:
    bindings: list[Form] = []
    results: list[Form] = []
    for n, step in enumerate(steps, start=1):
        sent = map_form(context=Sym(f"context-{n}"))
        call = list_form("call", id_form(step.score.id), sent)
        result = Sym(f"result-{n}")
        bindings += [result, list_form("step", f"{n}. {step.score.id}", call)]
        results.append(result)
    report = map_form(
        status=COMPLETED, result=results[-1], results=Vector(tuple(results)), context=CONTEXT
    )
    return list_form("let", Vector(tuple(bindings)), report)
