"""Programs that somebody else proposes: checked as strictly as our own, or not used.

Belongs here: the protocol of a proposer, the checks on a proposal, what becomes of it.
Does not: asking a model over the network (``arbiter_http``).
Spec: planner-synthesis, v0.3: "Validate returned plan; fallback on validation failure".
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from planner_synthesis.config import SynthesisConfig
from planner_synthesis.drafts import Draft, check_draft
from planner_synthesis.dry_run import calls_of_run
from planner_synthesis.preflight import callable_effects, check_planner
from planner_synthesis.reach import Trials
from planner_synthesis.relevance import Conversation
from planner_synthesis.rtfs.forms import Form
from planner_synthesis.rtfs.printer import print_form
from planner_synthesis.schema import context_from_schema
from planner_synthesis.types import CandidateScore, PlannerGenContext


class Proposer(Protocol):
    """Somebody who may know a planner: an arbiter with a model, a person, a fake."""

    def propose(self, context: PlannerGenContext, *, ranked: Sequence[CandidateScore]) -> str:
        """The text of a planner's body.

        Args:
            context: What was asked, and what there is to call.
            ranked: The best candidates as synthesis ranked them, best first.

        Raises:
            ProposalError: there is none. Whatever else is raised, or is no text, is a proposal
                that was not had, too; its message is told redacted.
        """
        ...


class ProposalError(Exception):
    """No proposal was had.

    Attributes:
        reason: Why, for the trace; holds no secret.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def draft_of_proposal(
    text: str, context: PlannerGenContext, *, config: SynthesisConfig
) -> tuple[Draft | None, tuple[str, ...]]:
    """A proposal as a draft that passed every check, or why it did not.

    The text must be one form, free in ``context`` alone, that calls something, calls nothing but
    ids of the snapshot that are allowed, reads no key but the schema's, and uses as much of what
    was asked as a candidate must: a key is used where its value reaches a call (``reach``). In a
    run on examples each id is called once at most, since a stub's answer says nothing of what
    calling it again would do. It is printed again by our printer.
    """
    registry = callable_effects(context.registry_caps, context.registry_agents)
    report = check_planner(text, security=context.security, registry=registry, limits=config.limits)
    if not report.is_ok or report.body is None:
        return None, tuple(f"{finding.code}: {finding.message}" for finding in report.findings)
    keys = set(report.context_keys)
    if report.hands_context_on:
        keys |= set(context.schema.keys())
    problems = _what_it_leaves_out(keys, context, config)
    unknown = sorted(keys.difference(context.schema.keys()))
    problems += tuple(f"it reads {key!r}, which nobody was asked for" for key in unknown)
    problems += _what_nobody_asked_for(report.capability_ids, context)
    if not report.capability_ids:
        problems += ("it calls nothing",)
    if problems:
        return None, problems
    draft = Draft(
        body=report.body,
        template="proposal",
        calls=report.capability_ids,
        expects=tuple(sorted(keys)),
        must_call_all=False,
    )
    problems = check_draft(draft, context, config)
    problems = problems or _what_its_runs_show(report.body, keys, registry, context, config)
    return (None, problems) if problems else (draft, ())


def _what_its_runs_show(
    body: Form,
    keys: set[str],
    registry: Mapping[str, tuple[str, ...]],
    context: PlannerGenContext,
    config: SynthesisConfig,
) -> tuple[str, ...]:
    """What is wrong with the calls of a body that passed every other check."""
    text = print_form(body)
    trials = Trials(text, context.schema, security=context.security, registry=registry)
    if not any(trials.calls):
        return ("on examples it calls nothing",)
    answers = context_from_schema(context.schema)
    answered = calls_of_run(text, answers, security=context.security, registry=registry)
    for calls in (*trials.calls, answered):
        called = Counter(call.capability for call in calls)
        often = [f"it calls {one!r} {n} times" for one, n in sorted(called.items()) if n > 1]
        if often:
            return tuple(often)
    required = keys.intersection(context.schema.required_keys())
    reached = keys.difference(trials.unreached(required))
    return _what_it_leaves_out(reached, context, config, how="sends no call the value of")


def _what_nobody_asked_for(
    capability_ids: tuple[str, ...], context: PlannerGenContext
) -> tuple[str, ...]:
    conversation = Conversation(context.history)
    verbs = map(conversation.unasked_verb, capability_ids)
    return tuple(f"nobody asked to {verb} anything" for verb in verbs if verb is not None)


def _what_it_leaves_out(
    keys: set[str], context: PlannerGenContext, config: SynthesisConfig, *, how: str = "never uses"
) -> tuple[str, ...]:
    required = set(context.schema.required_keys())
    unused = sorted(required - keys)
    if (len(required) - len(unused)) * 1000 >= config.min_coverage * len(required):
        return ()
    return (f"it {how} {', '.join(unused)}",)
