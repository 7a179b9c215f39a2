"""Which special form a list is: the shapes of the grammar, asked of forms instead of text.

Belongs here: taking let, if, do, fn, def, defn, match, try and for apart. Does not: running them
(``evaluator``), reading them (``syntax``, which holds the same shapes over text).
Source: rtfs.md 1.2. A list whose shape does not fit is a plain call, and then its head is an
undefined symbol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from planner_synthesis.rtfs.forms import Extra, Form, Kw, List, Map, Sym, Vector
from planner_synthesis.rtfs.patterns_syntax import REST

Forms: TypeAlias = "tuple[Form, ...]"


@dataclass(frozen=True, slots=True)
class Let:
    """``(let [pattern value ...] body ...)``."""

    bindings: tuple[tuple[Form, Form], ...]
    body: Forms


@dataclass(frozen=True, slots=True)
class If:
    """``(if condition then else)``; without an else it is ``nil``."""

    condition: Form
    then: Form
    otherwise: Form


@dataclass(frozen=True, slots=True)
class Do:
    """``(do body ...)``."""

    body: Forms


@dataclass(frozen=True, slots=True)
class Fn:
    """``(fn [pattern ... & rest] body ...)``; ``name`` is that of ``defn``."""

    name: str | None
    patterns: Forms
    types: Forms
    rest: Sym | None
    rest_type: Form
    result: Form
    body: Forms
    delegated: bool


@dataclass(frozen=True, slots=True)
class Def:
    """``(def name value)``."""

    name: str
    value: Form


@dataclass(frozen=True, slots=True)
class Match:
    """``(match subject pattern when guard body ...)``; a clause without a guard has ``true``."""

    subject: Form
    clauses: tuple[tuple[Form, Form, Form], ...]


@dataclass(frozen=True, slots=True)
class Try:
    """``(try body ... (catch name binding handler ...) ... (finally last ...))``."""

    body: Forms
    catches: tuple[tuple[tuple[str, ...], Forms], ...]
    last: Forms


@dataclass(frozen=True, slots=True)
class For:
    """``(for [name collection ...] body)``."""

    bindings: Forms
    body: Form


Shape: TypeAlias = "Let | If | Do | Fn | Def | Match | Try | For"


def shape_of(form: List) -> Shape | None:
    """The special form that a list is; ``None`` for a call."""
    match form.items:
        case (Sym("let"), Vector(bindings), _, *_):
            pairs = _bindings(bindings)
            return None if pairs is None else Let(pairs, form.items[2:])
        case (Sym("if"), condition, then):
            return If(condition, then, None)
        case (Sym("if"), condition, then, otherwise):
            return If(condition, then, otherwise)
        case (Sym("do"), *_):
            return Do(form.items[1:])
        case (Sym("fn"), *_):
            return _fn(None, form.items[1:])
        case (Sym("def"), Sym(name), value) if not is_type(value):
            return Def(name, value)
        case (Sym("def"), Sym(name), annotation, value) if is_type(annotation):
            return Def(name, value)
        case (Sym("defn"), *_):
            return _defn(form.items[1:])
        case (Sym("match"), subject, _, _, *_):
            clauses = _clauses(form.items[2:])
            return None if clauses is None else Match(subject, clauses)
        case (Sym("try"), *_):
            return _try(form.items[1:])
        case (Sym("for"), Vector(bindings), body):
            return For(bindings, body)
    return None


def is_type(form: Form) -> bool:
    """Whether a form, where a type may stand, is one."""
    return isinstance(form, Kw) or (isinstance(form, Extra) and form.tag == "type")


def is_binding_pattern(form: Form) -> bool:
    """Whether a form can stand where let and fn bind."""
    match form:
        case Sym(name):
            return form != REST and (name == "_" or not name.startswith("_"))
        case Vector((*items, Kw("as"), Sym())):
            return is_binding_pattern(Vector(tuple(items)))
        case Vector((*items, Sym("&"), Sym())) | Vector(items):
            return all(map(is_binding_pattern, items))
        case Map(entries):
            return all(_is_map_binding(key, value) for key, value in entries)
        case Extra("map-pattern"):
            return True
    return False


def _is_map_binding(key: Form, value: Form) -> bool:
    if key == Kw("keys") and isinstance(value, Vector):
        return all(isinstance(item, Sym) for item in value.items)
    return isinstance(value, Sym) or is_binding_pattern(value)


def _bindings(items: Forms) -> tuple[tuple[Form, Form], ...] | None:
    pairs: list[tuple[Form, Form]] = []
    at = 0
    while at < len(items):
        has_type = at + 1 < len(items) and is_type(items[at + 1])
        value_at = at + 2 if has_type else at + 1
        if value_at >= len(items) or not is_binding_pattern(items[at]):
            return None
        pairs.append((items[at], items[value_at]))
        at = value_at + 1
    return tuple(pairs)


def _fn(name: str | None, items: Forms) -> Fn | None:
    metadata = 0
    while metadata < len(items) and _is_metadata(items[metadata]):
        metadata += 1
    match items[metadata:]:
        case (Vector(parameters), annotation, _, *_) if is_type(annotation):
            result, body = annotation, items[metadata + 2 :]
        case (Vector(parameters), first, *_) if not is_type(first):
            result, body = None, items[metadata + 1 :]
        case _:
            return None
    found = parameters_of(parameters)
    if found is None:
        return None
    delegated = any(_delegates(item) for item in items[:metadata])
    return Fn(name, *found, result, body, delegated)


def _is_metadata(form: Form) -> bool:
    return isinstance(form, Extra) and form.tag in {"meta", "delegation"}


def _delegates(form: Form) -> bool:
    text = form.items[0] if isinstance(form, Extra) and form.tag == "delegation" else ""
    return isinstance(text, str) and (":local-model" in text or ":remote" in text)


def parameters_of(items: Forms) -> tuple[Forms, Forms, Sym | None, Form] | None:
    """The patterns of a parameter vector, the types beside them, the rest's name and its type."""
    rest: Sym | None = None
    rest_type: Form = None
    match items:
        case (*fixed, Sym("&"), Sym() as rest):
            items = tuple(fixed)
        case (*fixed, Sym("&"), Sym() as rest, (Kw() | Extra()) as rest_type):
            items = tuple(fixed)
    patterns: list[Form] = []
    types: list[Form] = []
    for item in items:
        if is_type(item) and len(types) == len(patterns) - 1:
            types.append(item)
        elif is_binding_pattern(item):
            types += [None] * (len(patterns) - len(types))
            patterns.append(item)
        else:
            return None
    types += [None] * (len(patterns) - len(types))
    return tuple(patterns), tuple(types), rest, rest_type


def _defn(items: Forms) -> Fn | None:
    before = 0
    while before < len(items) and _is_metadata(items[before]):
        before += 1
    name = items[before] if before < len(items) else None
    if not isinstance(name, Sym):
        return None
    return _fn(name.name, items[:before] + items[before + 1 :])


def _clauses(items: Forms) -> tuple[tuple[Form, Form, Form], ...] | None:
    clauses: list[tuple[Form, Form, Form]] = []
    at = 0
    while at < len(items):
        has_guard = items[at + 1 : at + 2] == (Sym("when"),) and at + 2 < len(items)
        body_at = at + 3 if has_guard else at + 1
        if body_at >= len(items) or not _is_match_pattern(items[at]):
            return None
        clauses.append((items[at], items[at + 2] if has_guard else True, items[body_at]))
        at = body_at + 1
    return tuple(clauses)


def _is_match_pattern(form: Form) -> bool:
    match form:
        case Vector(items) | Extra("map-pattern", items):
            return all(map(_is_match_pattern, items))
        case Map(entries):
            return all(_is_match_pattern(value) for _, value in entries)
        case Sym(name):
            return name == "_" or not name.startswith("_")
        case Extra("type"):
            return True
    return not isinstance(form, List | Extra)


def _try(items: Forms) -> Try | None:
    n_body = next((i for i, item in enumerate(items) if _handler(item)), len(items))
    handlers = [_handler(item) for item in items[n_body:]]
    finals = [handler for handler in handlers if handler and handler[0] is None]
    if (
        not handlers
        or None in handlers
        or len(finals) > 1
        or (finals and handlers[-1] != finals[0])
    ):
        return None
    catches = tuple((h[0], h[1]) for h in handlers if h is not None and h[0] is not None)
    return Try(items[:n_body], catches, finals[0][1] if finals and finals[0] else ())


def _handler(form: Form) -> tuple[tuple[str, ...] | None, Forms] | None:
    """The names that a catch binds and its body; for a finally, no names."""
    match form:
        case List((Sym("catch"), Sym("_"), Sym(binding), _, *_)):
            return (binding,), form.items[3:]
        case List((Sym("catch"), Sym(name), Sym(binding), _, *_)):
            return (name, binding), form.items[3:]
        case List((Sym("catch"), Sym(name), body, *_)) if not isinstance(body, Sym):
            return (name,), form.items[2:]
        case List((Sym("finally"), _, *_)):
            return None, form.items[1:]
    return None


def mentions(form: Form, names: frozenset[str]) -> bool:
    """Whether a form names one of ``names`` where upstream looks for it: shadowing is not seen."""

    def any_of(*forms: Form) -> bool:
        return any(mentions(part, names) for part in forms)

    match form:
        case Sym(name):
            return name in names
        case Vector(items) | Extra("short-fn", items):
            return any_of(*items)
        case Map(entries):
            return any_of(*(value for _, value in entries))
        case List() if form.items:
            return _list_mentions(form, names)
    return False


def _list_mentions(form: List, names: frozenset[str]) -> bool:
    match shape_of(form):
        case Let(bindings, body):
            parts: Forms = (*(value for _, value in bindings), *body)
        case If(condition, then, otherwise):
            parts = (condition, then, otherwise)
        case Do(body) | Fn(body=body):
            parts = body
        case Def(_, value):
            parts = (value,)
        case Match(subject, clauses):
            parts = (subject, *(part for clause in clauses for part in clause[1:]))
        case Try(body, catches, _):
            parts = (*body, *(part for _, handler in catches for part in handler))
        case For():
            parts = ()
        case _:
            head = form.items[0]
            parts = form.items if isinstance(head, Sym) else form.items[1:]
            parts = parts if isinstance(head, Sym | Kw | List) else ()
    return any(mentions(part, names) for part in parts)
