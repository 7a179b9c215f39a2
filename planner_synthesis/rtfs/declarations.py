"""Declarations at the top of a program: capability, plan, resource, module.

Belongs here: their properties as one map form, whose value is the declaration's. Does not: where
they may stand and what shape they must have (``reader``).
Source: rtfs.md 1.3; upstream gives the properties back under string keys.
"""

from planner_synthesis.rtfs.forms import Extra, Form, Kw, List, Map, Sym, Vector


def declared_properties(form: Form) -> Map | None:
    """The properties of a declaration; ``None`` for any other form."""
    match form:
        case List((Sym("capability" | "plan"), str(), *properties)):
            pairs = zip(properties[::2], properties[1::2], strict=False)
            return _properties(list(pairs))
        case List((Sym("resource"), Sym(), *parts)):
            return _properties([pair for part in parts for pair in _property(part)])
        case Extra("module", (Sym(name), Vector(exports), *_)):
            named: list[Form] = [part.name for part in exports if isinstance(part, Sym)]
            listed = [("exports", Vector(tuple(named)))] if named else []
            return Map((("name", name), *listed))
    return None


def _property(form: Form) -> list[tuple[Form, Form]]:
    match form:
        case List((Sym("property"), key, value, *_)):
            return [(key, value)]
    return []


def _properties(pairs: list[tuple[Form, Form]]) -> Map:
    return Map(tuple((key.name, value) for key, value in pairs if isinstance(key, Kw)))
