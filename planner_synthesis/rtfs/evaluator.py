"""The meaning of RTFS: evaluates programs and expressions in a sandbox.

Belongs here: ``evaluate``, and the value of each kind of form. Does not: special forms that are
calls by their looks (``callforms``), builtins, the host.
Source: rtfs.md 1.2 to 1.5; the evaluation probes.

A program reaches the world through the host alone; it has no clock, file or network, and the
budget bounds its steps, its depth and the size of its values.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Literal

from planner_synthesis.rtfs.budget import Limits, Meter
from planner_synthesis.rtfs.builtins import BUILTINS
from planner_synthesis.rtfs.callforms import CALL_FORMS
from planner_synthesis.rtfs.calling import Caller
from planner_synthesis.rtfs.declarations import declared_properties
from planner_synthesis.rtfs.errors import (
    BudgetExceeded,
    MatchError,
    RtfsError,
    RtfsTypeError,
    UndefinedSymbol,
    Unsupported,
    UnsupportedPattern,
)
from planner_synthesis.rtfs.forms import (
    Extra,
    Form,
    Kw,
    List,
    Map,
    Sym,
    Vector,
    type_name,
    weight_of,
)
from planner_synthesis.rtfs.host import Host, StubHost
from planner_synthesis.rtfs.json_values import from_python
from planner_synthesis.rtfs.machine import Answered, run_request
from planner_synthesis.rtfs.patterns import match_pattern
from planner_synthesis.rtfs.reader import read_expression, read_program
from planner_synthesis.rtfs.shapes import (
    Def,
    Do,
    Fn,
    For,
    If,
    Let,
    Match,
    Shape,
    Try,
    mentions,
    shape_of,
)
from planner_synthesis.rtfs.values import (
    Builtin,
    Call,
    Closure,
    Environment,
    ErrorValue,
    Evaluate,
    Forward,
    Request,
    Run,
    is_truthy,
)


def evaluate(
    text_or_forms: Form | Iterable[Form],
    *,
    mode: Literal["program", "expression"] = "program",
    host: Host | None = None,
    context: object = None,
    limits: Limits | None = None,
    meter: Meter | None = None,
) -> Form:
    """The value of a program, or of one expression.

    Args:
        text_or_forms: RTFS text, the forms of a program as ``read_program`` gives them, or one form
            as ``read_expression`` gives it. A Python string is text, never a string that was read:
            ``evaluate((form,))`` evaluates any form, a string as itself.
        mode: ``program`` evaluates every form in order and gives the last one's value (``nil`` for
            none); ``expression`` takes the one form at the very start and ignores the rest.
        host: Where calls and steps go; a ``StubHost`` that allows everything if there is none.
        context: What the symbol ``context`` stands for, as a value or as plain data (see
            ``json_values.from_python``); without it the symbol is undefined.
        limits: The budget.
        meter: Of the run that this one is part of, which then pays for it, within its limits.

    Raises:
        TypeError: bytes or a mapping, which are neither text nor forms.
        ValueError: there is no such mode.
        RtfsSyntaxError: the text is not RTFS.
        RtfsError: one of its kinds for whatever the program does wrong.
    """
    if mode not in ("program", "expression"):
        raise ValueError(f"mode is program or expression, not {mode!r}")
    if isinstance(text_or_forms, bytes | bytearray | memoryview | Mapping):
        raise TypeError(f"expected text or forms, not {type(text_or_forms).__name__}")
    if isinstance(text_or_forms, str):
        is_program = mode == "program"
        forms = read_program(text_or_forms) if is_program else (read_expression(text_or_forms),)
    elif isinstance(text_or_forms, Iterable):
        forms = tuple(text_or_forms) if mode == "program" else tuple(text_or_forms)[:1]
    else:
        forms = (text_or_forms,)
    evaluator = Evaluator(StubHost() if host is None else host, meter or Meter(limits or Limits()))
    environment = Environment(parent=Environment(names={**BUILTINS, "call": evaluator.call}))
    if context is not None:
        environment.names["context"] = evaluator.meter.admit(from_python(context))
    value: Form = None
    try:
        for form in forms:
            declared = declared_properties(form) if mode == "program" else None
            request = Evaluate(form if declared is None else declared, environment)
            value = run_request(request, evaluator.answer, evaluator.meter)
    except RecursionError:  # the caller left less of Python's stack than ``MAX_DEPTH`` needs
        raise BudgetExceeded("depth of the stack", sys.getrecursionlimit()) from None
    return value


class Evaluator(Caller):
    """Answers requests for values and calls, for one program."""

    def __init__(self, host: Host, meter: Meter) -> None:
        super().__init__(host, meter)
        self._shapes: dict[int, tuple[List, Shape | None, bool]] = {}
        self._short_functions: dict[int, tuple[Extra, Fn]] = {}

    def answer(self, request: Request) -> Answered:
        """A value at once where there is nothing to wait for, else the part that makes it."""
        if isinstance(request, Call):
            return self.called(request)
        form, environment = request.form, request.environment
        match form:
            case Sym(name):
                return self._looked_up(name, environment), None
            case List():
                return None, self._list(form, environment)
            case Vector(items) if items:
                return None, self._vector(items, environment)
            case Map(entries) if entries:
                return None, self._map(form, environment)
            case Extra():
                return None, self._extra(form, environment)
        return form, None

    def _looked_up(self, name: str, environment: Environment) -> Form:
        found = environment.look_up(name)
        if found is None:
            raise UndefinedSymbol(name)
        return found[0]

    def _shape(self, form: List) -> tuple[Shape | None, bool]:
        """A list's shape, and for a let whether its bindings mention themselves; kept by form."""
        known = self._shapes.get(id(form))
        if known is None:
            shape = shape_of(form)
            if isinstance(shape, Let):
                self.meter.spend_weight(form.weight)
            known = (form, shape, isinstance(shape, Let) and _is_recursive(shape))
            self._shapes[id(form)] = known
        return known[1], known[2]

    def _short_function(self, form: Extra) -> Fn:
        known = self._short_functions.get(id(form))
        if known is None:
            self.meter.spend_weight(10 * form.weight)
            known = (form, _short_function(form.items))
            self._short_functions[id(form)] = known
        return known[1]

    # --- collections and calls ---

    def _vector(self, items: tuple[Form, ...], environment: Environment) -> Run:
        values: list[Form] = []
        for item in items:
            values.append((yield Evaluate(item, environment)))
        return self.meter.admit(Vector(tuple(values)))

    def _map(self, form: Map, environment: Environment) -> Run:
        entries = []
        for key, item in form.entries:
            entries.append((key, (yield Evaluate(item, environment))))
        return self.meter.admit(Map(tuple(entries)))

    def _list(self, form: List, environment: Environment) -> Run:
        if not form.items:
            return Vector()
        shape, is_recursive = self._shape(form)
        if shape is not None:
            return (yield from self._special(shape, is_recursive, environment))
        head, rest = form.items[0], form.items[1:]
        if isinstance(head, Sym) and head.name in CALL_FORMS and not _is_plain_step(form):
            return (yield from CALL_FORMS[head.name](self, rest, environment))
        if not self._is_callee(head):
            rest = form.items  # as upstream: a data list holds its first element twice
        return (yield from self._call(head, rest, environment))

    def _is_callee(self, head: Form) -> bool:
        match head:
            case Sym() | Kw() | Extra("short-fn"):
                return True
            case List(items) if items:
                shape, _ = self._shape(head)
                return isinstance(shape, Fn) if shape is not None else self._is_callee(items[0])
        return False

    def _call(self, head: Form, rest: tuple[Form, ...], environment: Environment) -> Run:
        function = yield Evaluate(head, environment)
        arguments: list[Form] = []
        for form in rest:
            arguments.append((yield Evaluate(form, environment)))
        return (yield Call(function, tuple(arguments)))

    # --- special forms ---

    def _special(self, shape: Shape, is_recursive: bool, environment: Environment) -> Run:
        match shape:
            case If(condition, then, otherwise):
                value = yield Evaluate(condition, environment)
                return (yield Evaluate(then if is_truthy(value) else otherwise, environment))
            case Do(body):
                return (yield from self.body(body, environment))
            case Let() if is_recursive:
                return (yield from self._recursive_let(shape, Environment(environment)))
            case Let(bindings, body):
                inner = Environment(environment)
                for pattern, form in bindings:
                    value = yield Evaluate(form, inner)
                    self.bind(pattern, value, inner)
                return (yield from self.body(body, inner))
            case Fn():
                return self._function(shape, environment)
            case Def(name, form):
                environment.names[name] = yield Evaluate(form, environment)
                return environment.names[name]
            case Match():
                return (yield from self._match(shape, environment))
            case Try():
                return (yield from self._try(shape, environment))
            case For():
                return (yield from self._for(shape, environment))

    def _recursive_let(self, shape: Let, inner: Environment) -> Run:
        """Upstream's let for bindings that mention themselves: every value must be a function."""
        forwards: list[Forward] = []
        for pattern, _ in shape.bindings:
            if not isinstance(pattern, Sym):
                raise UnsupportedPattern("a pattern in a recursive let")
            forwards.append(Forward())
            inner.names[pattern.name] = forwards[-1]
        for forward, (_, form) in zip(forwards, shape.bindings, strict=True):
            value = yield Evaluate(form, inner)
            if not isinstance(value, Builtin | Closure):
                raise RtfsTypeError("binding in recursive let", "function", type_name(value))
            forward.function = value
        return (yield from self.body(shape.body, inner))

    def _function(self, shape: Fn, environment: Environment) -> Form:
        forward = Forward()
        if shape.name is not None:
            environment.names[shape.name] = forward
        self.meter.spend_weight(environment.size())
        function = Closure(shape, environment.copy())
        if shape.name is not None:
            forward.function = environment.names[shape.name] = function
        return function

    def _match(self, shape: Match, environment: Environment) -> Run:
        subject = yield Evaluate(shape.subject, environment)
        for pattern, guard, form in shape.clauses:
            inner = Environment(environment)
            self.meter.spend()
            if isinstance(pattern, Vector | Map | Extra):
                self.meter.spend_weight(weight_of(subject))
            fits = match_pattern(pattern, subject, inner.names)
            if fits and is_truthy((yield Evaluate(guard, inner))):
                return (yield Evaluate(form, inner))
        raise MatchError

    def _try(self, shape: Try, environment: Environment) -> Run:
        try:
            try:
                value = yield from self.body(shape.body, environment)
            except BudgetExceeded:
                raise
            except RtfsError as error:
                if not shape.catches:
                    raise
                names, handler = shape.catches[0]
                caught = ErrorValue(error.kind, str(error))
                inner = Environment(environment, dict.fromkeys(names, caught))
                value = yield from self.body(handler, inner)
        except BudgetExceeded:
            raise
        except RtfsError:
            yield from self.body(shape.last, environment)
            raise
        yield from self.body(shape.last, environment)
        return value

    def _for(self, shape: For, environment: Environment) -> Run:
        names: list[str] = []
        rows: list[tuple[Form, ...]] = [()]
        if len(shape.bindings) % 2:
            raise Unsupported("for with a name and no collection")
        for name, form in zip(shape.bindings[::2], shape.bindings[1::2], strict=True):
            if not isinstance(name, Sym):
                raise RtfsTypeError("for binding symbol", "symbol", type_name(name))
            collection = yield Evaluate(form, environment)
            if not isinstance(collection, Vector | List):
                raise RtfsTypeError(
                    "for binding collection", "vector or list", type_name(collection)
                )
            names.append(name.name)
            self.meter.spend(len(rows) * len(collection.items))
            rows = [(*row, item) for row in rows for item in collection.items]
        values: list[Form] = []
        for row in rows:
            inner = Environment(environment, dict(zip(names, row, strict=True)))
            values.append((yield Evaluate(shape.body, inner)))
        return self.meter.admit(Vector(tuple(values)))

    # --- syntax beyond the subset ---

    def _extra(self, form: Extra, environment: Environment) -> Run:
        match form.tag, form.items:
            case "short-fn", _:
                return self._function(self._short_function(form), environment)
            case "method", items:
                return (yield from self._call(items[0], items[1:], environment))
            case "meta", (_, inner):
                return (yield Evaluate(inner, environment))
            case "deref", (Kw(name),):
                return self._looked_up(name, environment)
            case "deref" | "resource-ref", (Sym(name) | str(name),):
                return f"@{name}"
        raise Unsupported(form.tag)


def _is_plain_step(form: List) -> bool:
    match form.items:
        case (Sym("step"), Kw(), *_):
            return True
    return False


def _is_recursive(shape: Let) -> bool:
    values = [value for _, value in shape.bindings]
    names = [p.name if isinstance(p, Sym) else None for p, _ in shape.bindings]
    if all(isinstance(v, List) and isinstance(shape_of(v), Fn) for v in values):
        bound = frozenset(name for name in names if name is not None)
        return any(mentions(value, bound) for value in values)
    pairs = zip(names, values, strict=True)
    return any(name is not None and mentions(value, frozenset({name})) for name, value in pairs)


def _short_function(body: tuple[Form, ...]) -> Fn:
    """``#(+ %1 %2)``: as many parameters as the highest number that it mentions.

    As upstream (ran), the forms inside are a body and not a call, so the last is the value.
    """
    whole = Vector(body)
    numbered = [n for n in range(1, 10) if mentions(whole, frozenset({f"%{n}"}))]
    has_bare = mentions(whole, frozenset({"%"}))
    names = [f"%{n}" for n in range(1, max([has_bare, *numbered]) + 1)]
    if has_bare:
        names[0] = "%"
    patterns: tuple[Form, ...] = tuple(map(Sym, names))
    return Fn(None, patterns, (None,) * len(patterns), None, None, None, body, False)
