"""Drafts: a body with what must be true of it, its checks, and what it becomes when it passed.

Belongs here: `Draft`, preflight and dry run of one, the result.
Does not: which drafts are tried, and in what order (``generate``), what is returned where none
passed (``fallback``).
Spec: planner-synthesis, "Core contracts" (PlannerSynthesis) and the three templates; nothing that
failed preflight or the dry run is ever returned.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from planner_synthesis.agents import used_keys
from planner_synthesis.config import SynthesisConfig
from planner_synthesis.dry_run import dry_run, trial_contexts
from planner_synthesis.preflight import callable_effects, check_planner
from planner_synthesis.rtfs.errors import FormTooDeep, UnprintableForm
from planner_synthesis.rtfs.forms import Form
from planner_synthesis.rtfs.printer import print_form
from planner_synthesis.scoring import Candidate
from planner_synthesis.templates import (
    adapter_form,
    capability_form,
    direct_form,
)
from planner_synthesis.types import (
    AdapterStep,
    AgentDescriptor,
    CandidateScore,
    InputSpec,
    PlannerDecisionTrace,
    PlannerGenContext,
    PlannerSynthesis,
    Scalar,
    Template,
)

MAX_SAID_CHARS: Final = 400


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A body that is not yet checked, and what must be true of it.

    Attributes:
        calls: Ids that it calls.
        expects: Context keys that it reads, or that whoever it hands the context to reads.
        filled: Adapter steps with the inputs that they fill, for the trace and for example values.
        must_call_all: A run on example values must reach every call.
    """

    body: Form
    template: Template
    calls: tuple[str, ...] = ()
    expects: tuple[str, ...] = ()
    filled: tuple[tuple[AdapterStep, InputSpec], ...] = ()
    selected: CandidateScore | None = None
    must_call_all: bool = True


def filled_by(candidates: Iterable[Candidate]) -> tuple[tuple[AdapterStep, InputSpec], ...]:
    """Steps of candidates, in their order, each with the input that it fills."""
    return tuple(
        (step, next(spec for spec in candidate.inputs if spec.key == step.to))
        for candidate in candidates
        for step in candidate.match.steps
    )


def draft_for(candidate: Candidate, context: PlannerGenContext) -> Draft:
    """The planner that calls a viable candidate: direct where nothing needs to be changed."""
    match, capability_id = candidate.match, candidate.score.id
    if candidate.takes_whole_context:
        expects: tuple[str, ...] = context.schema.keys()
    else:
        expects = tuple(sorted(used_keys(candidate)))
    is_direct = candidate.takes_whole_context or not (match.n_adapters or match.leaves_out)
    if is_direct:
        body = direct_form(capability_id)
    else:
        defaults = {param.key: param.default for param in context.schema.params}
        inputs = candidate.inputs
        body = adapter_form(capability_id, steps=match.steps, inputs=inputs, defaults=defaults)
    return Draft(
        body=body,
        template="direct" if is_direct else "adapter",
        calls=(capability_id,),
        expects=expects,
        filled=filled_by([candidate]),
        selected=candidate.score,
    )


def check_draft(
    draft: Draft,
    context: PlannerGenContext,
    config: SynthesisConfig,
    *,
    extra: Mapping[str, tuple[str, ...]] | None = None,
    contexts: Sequence[Mapping[str, Scalar]] | None = None,
) -> tuple[str, ...]:
    """Why a draft is not returned: findings on its two texts, else problems of the dry run.

    Both texts are read back by preflight: the body, and the capability around it.

    Args:
        extra: Effects of ids that no card has yet, such as an agent's that was just built.
        contexts: Of the dry run; None takes those that the schema gives.
    """
    called = frozenset(draft.calls)
    registry = callable_effects(
        (card for card in context.registry_caps if card.id in called),
        (agent for agent in context.registry_agents if agent.agent_id in called),
    ) | dict(extra or {})
    try:
        texts = (print_form(draft.body), _capability_text(draft, context, config))
    except (UnprintableForm, FormTooDeep) as error:  # e.g. an id that no file can hold
        return (f"unprintable: {error}",)
    for text in texts:
        report = check_planner(
            text,
            security=context.security,
            registry=registry,
            required_capabilities=draft.calls,
            expects=draft.expects,
            limits=config.limits,
        )
        if not report.is_ok:
            return tuple(f"{finding.code}: {finding.message}" for finding in report.findings)
    return dry_run(
        texts[0],
        contexts=trial_contexts(context.schema, draft.filled) if contexts is None else contexts,
        security=context.security,
        registry=registry,
        must_call=draft.calls if draft.must_call_all else None,
    ).problems


def finish(
    draft: Draft,
    context: PlannerGenContext,
    config: SynthesisConfig,
    trace: PlannerDecisionTrace,
    *,
    agent: AgentDescriptor | None = None,
) -> PlannerSynthesis:
    """A draft that passed ``check_draft``, as what synthesis returns."""
    unused = set(context.schema.keys()).difference(draft.expects) if draft.calls else ()
    return PlannerSynthesis(
        rtfs=print_form(draft.body),
        required_capabilities=tuple(sorted(draft.calls)),
        expects=draft.expects,
        capability=_capability_text(draft, context, config),
        agent=agent,
        decision_trace=msgspec.structs.replace(
            trace,
            selected=draft.selected,
            adapters=tuple(step for step, _ in draft.filled),
            template=draft.template,
            unused_keys=tuple(sorted(unused)),
        ),
    )


def _capability_text(draft: Draft, context: PlannerGenContext, config: SynthesisConfig) -> str:
    description = said(f"Synthesized planner for {', '.join(context.schema.keys())}")
    planner_id = f"{config.domain}.planner.v1"
    form = capability_form(
        planner_id, body=draft.body, expects=draft.expects, description=description
    )
    return print_form(form)


def writable(text: str) -> str:
    """A text that a file can hold: half a surrogate pair is written ``\\ud800``."""
    return text.encode("utf-8", "backslashreplace").decode()


def said(text: str) -> str:
    """A sentence inside a program: writable, and cut where it is long."""
    text = writable(text)
    return text if len(text) <= MAX_SAID_CHARS else text[: MAX_SAID_CHARS - 3] + "..."
