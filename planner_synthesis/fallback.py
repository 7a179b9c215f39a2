"""The planner where none passed: it calls nothing and says what is needed.

Belongs here: the requires-agent planner with its stub, both checked like any other text, and how
many keys they have room for.
Does not: why nothing passed (``generate``).
Spec: planner-synthesis, "Requires-agent fallback"; ADR 0025.

What nobody limits is a schema: its keys may be more, or longer, than a program may hold. The keys
that are named are then the first by name, and the reason says how many are not.
"""

from typing import Final

import msgspec

from planner_synthesis.config import ProgramLimits, SynthesisConfig
from planner_synthesis.drafts import Draft, check_draft, finish, said, writable
from planner_synthesis.dry_run import dry_run
from planner_synthesis.preflight import check_planner
from planner_synthesis.rtfs.printer import print_form
from planner_synthesis.templates import emit_stub_capability, requires_agent_form
from planner_synthesis.types import (
    AgentDescriptor,
    FallbackInfo,
    PlannerDecisionTrace,
    PlannerGenContext,
    PlannerSynthesis,
)

MAX_KEY_CHARS: Final = 1_000  # of a key that is named


class NoRoomError(ValueError):
    """The limits of the settings leave no room for a planner that says that it can do nothing.

    Attributes:
        problems: Findings on the smallest such planner.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(f"the limits leave no room for any planner: {'; '.join(problems)}")
        self.problems = problems


class _Fallback(msgspec.Struct, frozen=True, kw_only=True):
    """A requires-agent planner with its stub, and why it is not returned."""

    draft: Draft
    stub: str = ""
    reason: str
    problems: tuple[str, ...]


def fall_back(
    context: PlannerGenContext,
    config: SynthesisConfig,
    trace: PlannerDecisionTrace,
    *,
    reason: str,
    stub_id: str | None = None,
    agent: AgentDescriptor | None = None,
) -> PlannerSynthesis:
    """A planner that calls nothing and says what is needed.

    Args:
        stub_id: What is needed; the domain's stub when None.

    Raises:
        NoRoomError: the limits are too narrow for any.
    """
    stub_id = stub_id or f"{config.domain}.agent.stub"
    required = context.schema.required_keys()
    names = [key for key in required if _can_be_named(key)]

    def attempt(n_named: int) -> _Fallback:
        n_left_out = len(required) - n_named
        more = (
            f"; {n_left_out} of {len(required)} required keys are not named" if n_left_out else ""
        )
        return _build(names[:n_named], context, config, stub_id=stub_id, reason=reason + more)

    n_named = _most_that_may_fit(names, config.limits)
    best = attempt(n_named)
    if best.problems and (problems := attempt(0).problems):
        raise NoRoomError(problems)
    while best.problems:
        n_named = n_named * 15 // 16
        best = attempt(n_named)
    info = FallbackInfo(stub_id=stub_id, missing_required=required, reason=best.reason)
    synthesis = finish(best.draft, context, config, trace, agent=agent)
    return msgspec.structs.replace(
        synthesis,
        stub=best.stub,
        decision_trace=msgspec.structs.replace(synthesis.decision_trace, fallback=info),
    )


def _can_be_named(key: str) -> bool:
    return len(key) <= MAX_KEY_CHARS and writable(key) == key


def _most_that_may_fit(names: list[str], limits: ProgramLimits) -> int:
    """No more than these can fit: the stub writes each key four times, and looks it up once."""
    n_bytes = 0
    for n, name in enumerate(names):
        n_bytes += 4 * len(name.encode()) + len("   (get context ")
        if n_bytes > limits.max_bytes or 4 * n > limits.max_nodes:
            return n
    return len(names)


def _build(
    keys: list[str],
    context: PlannerGenContext,
    config: SynthesisConfig,
    *,
    stub_id: str,
    reason: str,
) -> _Fallback:
    reason = writable(reason)
    draft = Draft(
        body=requires_agent_form(stub_id=stub_id, missing=keys), template="requires-agent"
    )
    # it reads no key: it runs alike on every context
    problems = check_draft(draft, context, config, contexts=({},))
    stub = ""
    if not problems:
        stub = emit_stub_capability(stub_id, expects=keys, description=said(f"Needed: {reason}"))
        problems = _stub_problems(stub, keys, context, config)
    return _Fallback(draft=draft, stub=stub, reason=reason, problems=problems)


def _stub_problems(
    stub: str, keys: list[str], context: PlannerGenContext, config: SynthesisConfig
) -> tuple[str, ...]:
    report = check_planner(
        stub,
        security=context.security,
        registry={},
        required_capabilities=(),
        expects=keys,
        limits=config.limits,
    )
    if not report.is_ok:
        return tuple(f"{finding.code}: {finding.message}" for finding in report.findings)
    return dry_run(
        print_form(report.body),
        contexts=(dict.fromkeys(keys, "example"), {}),
        security=context.security,
        registry={},
    ).problems
