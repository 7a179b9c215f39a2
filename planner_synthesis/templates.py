"""The programs that synthesis writes, as trees that are printed once.

Belongs here: the three planner templates, the `(capability ...)` around one, the stub capability.
Does not: which one is written (``drafts``), coercions (``coercions``), whether it may be
(``preflight``).
Spec: planner-synthesis, "Planner RTFS templates"; rtfs.md 6 (emit rules), 1.3 (capability).

A body is free in the one symbol ``context``: a map whose keys are keywords where the key can be one
and strings where it cannot (``key_form``). Ids, keys, options and descriptions are literals of the
tree, so none of them can become code.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from planner_synthesis.coercions import COERCION_NAMES, coercion_form
from planner_synthesis.matching import is_plain
from planner_synthesis.rtfs.building import list_form, map_form
from planner_synthesis.rtfs.forms import Form, Kw, List, Map, Sym, Vector
from planner_synthesis.rtfs.printer import is_keyword_name, print_form
from planner_synthesis.statuses import PROCESSING, REQUIRES_AGENT
from planner_synthesis.types import AdapterStep, InputSpec, Scalar

CONTEXT: Final = Sym("context")
_ADAPTED: Final = Sym("context-adapted")
_MISSING: Final = Sym("missing")
_RESULT: Final = Sym("result")
_SOURCE: Final = Sym("c")


class AdapterStepError(ValueError):
    """A step of an adapter cannot be written.

    Attributes:
        step: The step.
        why: What is wrong with it.
    """

    def __init__(self, step: AdapterStep, why: str) -> None:
        super().__init__(f"the step that fills {step.to!r}: {why}")
        self.step, self.why = step, why


def key_form(key: str) -> Kw | str:
    """A context key: a keyword where it can be one, else a string."""
    return Kw(key) if is_keyword_name(key) else key


def id_form(capability_id: str) -> Kw | str:
    """An id in `call`: a keyword only where the whole id is one, else a string.

    ``:a:v1.0:b`` would call ``a`` with two more arguments.
    """
    return Kw(capability_id) if is_keyword_name(capability_id) else capability_id


def context_form(values: Mapping[str, Scalar]) -> Map:
    """Values by key as the map that a planner reads."""
    return Map(tuple((key_form(key), values[key]) for key in sorted(values)))


def emit_planner_rtfs_direct(candidate_id: str) -> str:
    """Template "direct call": the context goes to the candidate as it is.

    >>> emit_planner_rtfs_direct("travel.book.v1")[:51]
    '(do (let [result (call :travel.book.v1 {:context co'
    """
    return print_form(direct_form(candidate_id))


def emit_planner_rtfs_adapter(
    candidate_id: str,
    *,
    steps: Sequence[AdapterStep],
    inputs: Iterable[InputSpec] = (),
    defaults: Mapping[str, Scalar] | None = None,
) -> str:
    """Template "adapter + call": renames, coercions and defaults, then the call if all is there.

    Args:
        candidate_id: What is called.
        steps: One for each input that is sent.
        inputs: What is known of the inputs; one that is not there is required.
        defaults: By context key, for steps that use a default.

    Raises:
        AdapterStepError: a step cannot be written: another one fills the same input, no coercion
            has its name, or the default that it uses is not given.
        UnprintableForm: an id, a key or a default has no text, e.g. a default that is no number.
    """
    form = adapter_form(candidate_id, steps=steps, inputs=inputs, defaults=defaults or {})
    return print_form(form)


def emit_planner_rtfs_requires_agent(*, stub_id: str, missing: Iterable[str]) -> str:
    """Template "requires-agent": nothing is called; what is needed is said."""
    return print_form(requires_agent_form(stub_id=stub_id, missing=missing))


def emit_stub_capability(stub_id: str, *, expects: Iterable[str], description: str) -> str:
    """A capability that says that it is not there yet, for a registry.

    It gives back the keys that it expects, which are what the work will need.
    """
    return print_form(stub_form(stub_id, expects=expects, description=description))


def direct_form(candidate_id: str) -> Form:
    """As ``emit_planner_rtfs_direct``, as a tree."""
    return list_form("do", _call_and_report(candidate_id, CONTEXT))


def requires_agent_form(*, stub_id: str, missing: Iterable[str], context: Form = CONTEXT) -> Form:
    """As ``emit_planner_rtfs_requires_agent``, as a tree."""
    keys = _keys(sorted(set(missing)))
    return list_form(
        "do",
        map_form(status=REQUIRES_AGENT, required_capability=stub_id, missing=keys, context=context),
    )


def stub_form(stub_id: str, *, expects: Iterable[str], description: str) -> Form:
    """As ``emit_stub_capability``, as a tree."""
    keys = sorted(set(expects))
    given = Map(tuple((key_form(key), list_form("get", CONTEXT, key_form(key))) for key in keys))
    body = requires_agent_form(stub_id=stub_id, missing=keys, context=given)
    return capability_form(stub_id, body=body, expects=keys, description=description)


def adapter_form(
    candidate_id: str,
    *,
    steps: Sequence[AdapterStep],
    inputs: Iterable[InputSpec] = (),
    defaults: Mapping[str, Scalar],
) -> Form:
    """As ``emit_planner_rtfs_adapter``, as a tree.

    A required input that is nil is reported missing; an optional one that is nil is left out.
    """
    adapted, required = adapted_form(steps, inputs=inputs, defaults=defaults)
    refused = map_form(status=REQUIRES_AGENT, missing=_MISSING, context=CONTEXT)
    answer = list_form(
        "if", list_form("empty?", _MISSING), _call_and_report(candidate_id, _ADAPTED), refused
    )
    bindings = Vector((_ADAPTED, adapted, _MISSING, missing_form(_ADAPTED, required)))
    return list_form("do", list_form("let", bindings, answer))


def adapted_form(
    steps: Sequence[AdapterStep],
    *,
    inputs: Iterable[InputSpec],
    defaults: Mapping[str, Scalar],
) -> tuple[Form, tuple[str, ...]]:
    """The map of inputs over ``context``, and the inputs that must not be nil in it.

    Raises:
        AdapterStepError: as ``emit_planner_rtfs_adapter``.
    """
    specs = {spec.key: spec for spec in inputs}
    _check_steps(steps, specs, defaults)
    ordered = sorted(steps, key=lambda step: step.to)
    optional = [s.to for s in ordered if s.to in specs and not specs[s.to].required]
    required = tuple(s.to for s in ordered if s.to not in optional)
    return _without_nil(_adapted_context(ordered, specs, defaults), optional), required


def _check_steps(
    steps: Iterable[AdapterStep], specs: Mapping[str, InputSpec], defaults: Mapping[str, Scalar]
) -> None:
    filled: set[str] = set()
    for step in steps:
        if step.to in filled:
            raise AdapterStepError(step, "another step fills the same input")
        filled.add(step.to)
        if step.is_own_default:
            if step.to not in specs or specs[step.to].default is None:
                raise AdapterStepError(step, "the input is not known to have a default")
        elif step.default_used and step.from_ not in defaults:
            raise AdapterStepError(step, f"no default of {step.from_!r} is given")
        if step.coercion is not None and step.coercion not in COERCION_NAMES:
            raise AdapterStepError(step, f"no coercion is called {step.coercion!r}")


def missing_form(adapted: Sym, required: Sequence[str]) -> Form:
    """Those of the required inputs that are nil."""
    k = Sym("k")
    is_missing = list_form("fn", Vector((k,)), list_form("nil?", list_form("get", adapted, k)))
    return list_form("filter", is_missing, _keys(required))


def capability_form(
    capability_id: str, *, body: Form, expects: Iterable[str], description: str
) -> Form:
    """A planner's body as a capability for a registry, with the ``:expects`` that evaluates."""
    keys = _keys(sorted(set(expects)))
    return List(
        (
            Sym("capability"), capability_id,
            Kw("description"), description,
            Kw("parameters"), Map(((Kw("context"), "map"),)),
            Kw("expects"), Map(((Kw("context/keys"), keys),)),
            Kw("implementation"), list_form("fn", Vector((CONTEXT,)), body),
        )
    )  # fmt: skip


def _keys(keys: Iterable[str]) -> Vector:
    return Vector(tuple(key_form(key) for key in keys))


def _call_and_report(candidate_id: str, sent: Sym) -> List:
    """Call with a context, and report the result with the context that was sent."""
    call = list_form("call", id_form(candidate_id), map_form(context=sent))
    report = map_form(status=PROCESSING, result=_RESULT, context=sent)
    return list_form("let", Vector((_RESULT, call)), report)


def _adapted_context(
    steps: Sequence[AdapterStep], specs: Mapping[str, InputSpec], defaults: Mapping[str, Scalar]
) -> Form:
    """The map of inputs, over ``c``; values that are looked at more than once get a name."""
    bindings: list[Form] = [_SOURCE, CONTEXT]
    entries: list[tuple[Kw | str, Form]] = []
    for step in steps:
        value: Form = list_form("get", _SOURCE, key_form(step.from_))
        if step.is_own_default:
            value = specs[step.to].default
        elif not is_plain(step) and (step.coercion or step.default_used):
            name = Sym(f"value-{len(bindings) // 2}")
            bindings += [name, value]
            if step.default_used:
                name_or_default = Sym(f"value-{len(bindings) // 2}")
                default = defaults[step.from_]
                bindings += [
                    name_or_default,
                    list_form("if", list_form("nil?", name), default, name),
                ]
                name = name_or_default
            options = specs[step.to].enum_values if step.to in specs else ()
            value = coercion_form(step.coercion, name, options) if step.coercion else name
        entries.append((key_form(step.to), value))
    return list_form("let", Vector(tuple(bindings)), Map(tuple(entries)))


def _without_nil(adapted: Form, optional: Sequence[str]) -> Form:
    """The map without those of the optional keys that are nil."""
    if not optional:
        return adapted
    kept, k = Sym("kept"), Sym("k")
    drop = list_form(
        "if", list_form("nil?", list_form("get", kept, k)), list_form("dissoc", kept, k), kept
    )
    return list_form("reduce", list_form("fn", Vector((kept, k)), drop), adapted, _keys(optional))
