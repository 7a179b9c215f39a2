"""Special forms that look like calls: get, step and its kin, dotimes, match and for gone wrong.

Belongs here: forms that the evaluator knows by their head alone. Does not: forms of the grammar
(``shapes``).
Source: rtfs.md 1.3; upstream ``runtime/evaluator.rs``. They win over a binding of the same name.
"""

from __future__ import annotations

from collections.abc import Callable

from planner_synthesis.rtfs.calling import Caller
from planner_synthesis.rtfs.errors import (
    ArityMismatch,
    InvalidArguments,
    MatchError,
    RtfsTypeError,
    SecurityViolation,
    Unsupported,
)
from planner_synthesis.rtfs.forms import (
    Extra,
    Form,
    Kw,
    List,
    Map,
    Sym,
    Vector,
    same,
    type_name,
)
from planner_synthesis.rtfs.values import Call, Environment, Evaluate, Run, is_filled

Forms = tuple[Form, ...]
_OPTIONS = frozenset({"expose-context", "context-keys"})


def _get(caller: Caller, forms: Forms, environment: Environment) -> Run:
    """``(get :k)`` is the value of the name ``k``, or nil; with more arguments the builtin."""
    match forms:
        case (Kw(name) | Sym(name),):
            found = environment.look_up(name)
            return None if found is None else found[0]
        case (_,):
            raise InvalidArguments("get", "a keyword or symbol")
    arguments: list[Form] = []
    for form in forms:
        arguments.append((yield Evaluate(form, environment)))
    function = yield Evaluate(Sym("get"), environment)
    return (yield Call(function, tuple(arguments)))


def _step(caller: Caller, forms: Forms, environment: Environment) -> Run:
    """``(step "Name" :params {"k" e} body ...)``."""
    if not forms or not isinstance(forms[0], str):
        raise InvalidArguments("step", "a string for its name")
    body, params = _without_options(forms[1:], ("params", *_OPTIONS))
    if params is not None:
        entries = []
        for key, form in params.entries:
            if not isinstance(key, str):
                raise InvalidArguments("step", "string keys in :params")
            entries.append((key, (yield Evaluate(form, environment))))
        environment = Environment(environment, {"%params": Map(tuple(entries))})
    caller.host_step(forms[0])
    return (yield from caller.body(body, environment))


def _without_options(forms: Forms, known: tuple[str, ...]) -> tuple[Forms, Map | None]:
    params: Map | None = None
    while len(forms) >= 2:
        match forms[0], forms[1]:
            case Kw("params"), Map() as params if "params" in known:
                pass
            case Kw("expose-context"), bool():
                pass
            case Kw("context-keys"), Vector(keys):
                _check_context_keys(keys)
            case _:
                break
        forms = forms[2:]
    return forms, params


def _check_context_keys(keys: Forms) -> None:
    if not all(isinstance(key, str) for key in keys):
        raise InvalidArguments("step", "strings in :context-keys")


def _step_if(caller: Caller, forms: Forms, environment: Environment) -> Run:
    branches, _ = _without_options(forms, tuple(_OPTIONS))
    if len(branches) < 2:
        raise InvalidArguments("step-if", "a condition and a branch")
    caller.host_step("step-if")
    condition = yield Evaluate(branches[0], environment)
    otherwise = branches[2] if len(branches) > 2 else None
    return (yield Evaluate(branches[1] if is_filled(condition) else otherwise, environment))


_MOST_ROUNDS = 10_000  # of step-loop, as upstream


def _step_loop(caller: Caller, forms: Forms, environment: Environment) -> Run:
    parts, _ = _without_options(forms, tuple(_OPTIONS))
    if len(parts) != 2:
        raise InvalidArguments("step-loop", "a condition and a body")
    caller.host_step("step-loop")
    value: Form = None
    for _ in range(_MOST_ROUNDS):
        if not is_filled((yield Evaluate(parts[0], environment))):
            return value
        value = yield Evaluate(parts[1], environment)
    raise Unsupported(f"a step-loop of more than {_MOST_ROUNDS} rounds")


def _step_parallel(caller: Caller, forms: Forms, environment: Environment) -> Run:
    """One after the other, and what one defines the next sees, as upstream."""
    if not forms:
        raise InvalidArguments("step-parallel", "at least one expression")
    caller.host_step("step-parallel")
    values: list[Form] = []
    for form in _branches(forms):
        values.append((yield Evaluate(form, environment)))
    return caller.meter.admit(Vector(tuple(values)))


def _branches(forms: Forms) -> Forms:
    """What is left of ``step-parallel`` after its options."""
    at = 0
    while at + 1 < len(forms):
        match forms[at], forms[at + 1]:
            case Kw("context-keys"), Vector(keys):
                _check_context_keys(keys)
            case Kw("merge-policy" | "merge_policy"), (Kw(policy) | str(policy)):
                if policy not in _MERGE_POLICIES:
                    raise InvalidArguments("step-parallel", "a policy that is known")
            case Kw("merge-policy" | "merge_policy"), bool():
                pass
            case Kw("expose-context" | "expose_context"), (Kw() | str() | bool()):
                pass
            case Kw(), (Kw() | str() | bool()):
                break
            case Kw(), _ if at == 0:
                raise InvalidArguments("step-parallel", "an option's value after a keyword")
            case _:
                break
        at += 2
    return forms[at:]


_MERGE_POLICIES = frozenset(
    "keep-existing keep_existing parent-wins parent_wins "
    "overwrite child-wins child_wins merge".split()
)


def _dotimes(caller: Caller, forms: Forms, environment: Environment) -> Run:
    """``(dotimes [i n] body)``: the value of the last round."""
    match forms:
        case (Vector((Sym(name), count_form)), body):
            pass
        case (_, _):
            raise RtfsTypeError("dotimes", "[symbol integer]", type_name(forms[0]))
        case _:
            raise ArityMismatch("dotimes", "2", len(forms))
    count = yield Evaluate(count_form, environment)
    if not isinstance(count, int) or isinstance(count, bool):
        raise RtfsTypeError("dotimes", "integer", type_name(count))
    value: Form = None
    for index in range(count):
        value = yield Evaluate(body, Environment(environment, {name: index}))
    return value


def _match(caller: Caller, forms: Forms, environment: Environment) -> Run:
    """A match without the shape of one: only literals and names fit, by pairs."""
    subject = (yield Evaluate(forms[0], environment)) if forms else None
    for pattern, form in zip(forms[1::2], forms[2::2], strict=False):
        match pattern:
            case Sym(name):
                names = {} if name == "_" else {name: subject}
                return (yield Evaluate(form, Environment(environment, names)))
            case Vector() | List() | Map() | Extra():
                continue
            case literal if same(literal, subject):
                return (yield Evaluate(form, environment))
    raise MatchError


def _for(caller: Caller, forms: Forms, environment: Environment) -> Run:
    yield from ()
    if len(forms) == 2:
        raise RtfsTypeError("for", "vector literal for bindings", type_name(forms[0]))
    raise ArityMismatch("for", "2", len(forms))


def _llm_execute(caller: Caller, forms: Forms, environment: Environment) -> Run:
    yield from ()
    raise SecurityViolation("ccos.ai.llm-execute")


CALL_FORMS: dict[str, Callable[[Caller, Forms, Environment], Run]] = {
    "get": _get,
    "step": _step,
    "step-if": _step_if,
    "step-loop": _step_loop,
    "step-parallel": _step_parallel,
    "dotimes": _dotimes,
    "match": _match,
    "for": _for,
    "llm-execute": _llm_execute,
}
