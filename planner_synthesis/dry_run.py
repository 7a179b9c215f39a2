"""A dry run: a planner is run against stubs before anyone is given it.

Belongs here: the contexts it is tried with, the run, what it must come to.
Does not: real hosts; whether it may run at all (``preflight``, which comes first).
Spec: planner-synthesis, "Planner never executes during synthesis": nothing real is called here.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from planner_synthesis.rtfs.errors import RtfsError
from planner_synthesis.rtfs.evaluator import evaluate
from planner_synthesis.rtfs.forms import Form, Kw, Map
from planner_synthesis.rtfs.host import HostCall, StubHost
from planner_synthesis.schema import context_from_schema
from planner_synthesis.security import RegistryGate
from planner_synthesis.statuses import upstream_status
from planner_synthesis.templates import context_form
from planner_synthesis.types import (
    AdapterStep,
    InputSpec,
    ParamSchema,
    ParamSpec,
    RuntimeContext,
    Scalar,
)

_EXAMPLES: Final[Mapping[str, Scalar]] = {
    "string": "example", "int": 1, "float": 1.5, "bool": True, "date": "2025-01-31",
}  # fmt: skip
# texts and numbers that each coercion takes
_COERCED: Final[Mapping[str, Scalar]] = {
    "string->int": "1", "string->float": "1.5", "string->bool": "true", "parse-date": "2025-01-31",
}  # fmt: skip


class DryRunReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the runs.

    Attributes:
        problems: Why the planner is not given to anyone; empty when it is.
        statuses: Of each run, in the order of the contexts.
    """

    problems: tuple[str, ...]
    statuses: tuple[str, ...] = ()


def dry_run(
    text: str,
    *,
    contexts: Sequence[Mapping[str, Scalar]],
    security: RuntimeContext,
    registry: Mapping[str, tuple[str, ...]],
    must_call: Iterable[str] | None = None,
) -> DryRunReport:
    """Run a planner's body on each context, with every capability a stub behind the real gate.

    Args:
        text: The body, which has passed preflight.
        contexts: The first is one on which all must go well.
        security: Enforced by the host, as in a real run.
        registry: Effects by id.
        must_call: Ids that the first run must call; None does not ask.
    """
    problems: list[str] = []
    statuses: list[str] = []
    for n, values in enumerate(contexts):
        host = _stub_host(security, registry)
        try:
            value = evaluate(text, host=host, context=context_form(values))
        except RtfsError as error:
            problems.append(f"run {n + 1}: {error}")
            continue
        status = _status_of(value)
        statuses.append(status or "")
        if status is None:
            problems.append(f"run {n + 1}: the result has no status that is known")
        called = {entry.capability for entry in host.log if isinstance(entry, HostCall)}
        if n == 0 and must_call is not None and called != set(must_call):
            problems.append(f"run 1: called {sorted(called)}, not {sorted(must_call)}")
    return DryRunReport(problems=tuple(problems), statuses=tuple(statuses))


def calls_of_run(
    text: str,
    values: Mapping[str, Scalar],
    *,
    security: RuntimeContext,
    registry: Mapping[str, tuple[str, ...]],
) -> tuple[HostCall, ...]:
    """The calls of one run against stubs, in order; of a run that fails, those before."""
    host = _stub_host(security, registry)
    with suppress(RtfsError):
        evaluate(text, host=host, context=context_form(values))
    return tuple(entry for entry in host.log if isinstance(entry, HostCall))


def _stub_host(security: RuntimeContext, registry: Mapping[str, tuple[str, ...]]) -> StubHost:
    # an answer of its own, because the stub makes ids that begin with `fail.` fail
    answers = {i: (lambda args, i=i: Map(((Kw("stub"), i),))) for i in registry}
    return StubHost(RegistryGate(security, registry), answers)


def _status_of(value: Form) -> str | None:
    if not isinstance(value, Map):
        return None
    status = value.index.get(("keyword", "status"))
    return status if isinstance(status, str) and upstream_status(status) else None


def trial_contexts(
    schema: ParamSchema, filled: Iterable[tuple[AdapterStep, InputSpec]] = ()
) -> tuple[dict[str, Scalar], ...]:
    """Contexts for a dry run: one of examples, the one of the answers, the empty one.

    Args:
        filled: Steps of the program with the inputs that they fill.
    """
    examples = {param.key: _example(param) for param in schema.params}
    # of two inputs that read one key, the one that must be met decides what it looks like
    for step, spec in sorted(filled, key=lambda pair: pair[1].required):
        if not step.is_own_default and step.coercion is not None:
            examples[step.from_] = _coerced_example(step, schema, spec.enum_values)
    return examples, context_from_schema(schema), {}


def _example(param: ParamSpec) -> Scalar:
    if param.type == "enum":
        return param.enum_values[0] if param.enum_values else "example"
    return _EXAMPLES[param.type]


def _coerced_example(step: AdapterStep, schema: ParamSchema, options: tuple[str, ...]) -> Scalar:
    """A value that the step's coercion takes."""
    param = schema.param(step.from_)
    if param is None or param.type == "string":
        return options[0] if step.coercion == "string->enum" else _COERCED[step.coercion or ""]
    if step.coercion == "enum->enum":
        lower = {option.lower() for option in options}
        # one that both spell alike, else one that both have
        shared = [value for value in param.enum_values if value.lower() in lower]
        return min(shared, key=lambda value: value not in options)
    return 2.0 if step.coercion == "float->int" else _example(param)
