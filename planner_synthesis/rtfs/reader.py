"""Text to forms: what a program and an expression are, and what may stand at the top.

Belongs here: the two public readers and the rules that hold only for top-level forms. Does not:
expressions (``syntax``), tokens (``lexis``), whether a form is a good planner (preflight).
Source: rtfs.md 1.1 (program, expression), 1.3 (capability, plan, resource at the top).

Reading is linear in the text, keeps its own stack, and ends in forms or in ``RtfsSyntaxError``.
"""

from contextlib import suppress

from planner_synthesis.rtfs.engine import Parse
from planner_synthesis.rtfs.errors import RtfsSyntaxError
from planner_synthesis.rtfs.forms import Extra, Form, Kw, List, Sym, Vector
from planner_synthesis.rtfs.shapes import is_type, parameters_of
from planner_synthesis.rtfs.syntax import ExpressionRules

_NESTED_ONLY = frozenset({"short-fn", "method", "deref", "meta", "quote", "unquote"})
_DECLARATIONS = frozenset({"capability", "plan"})


def read_program(text: str) -> tuple[Form, ...]:
    """All top-level forms of a text; none for blanks and comments.

    Raises:
        RtfsSyntaxError: with the line and column, from 1, of the furthest place understood.

    >>> read_program("(+ 1-2) ; two forms\\n:a")
    (List(items=(Sym(name='+'), 1, -2)), Kw(name='a'))
    """
    return _TopRules(text).program()


def read_expression(text: str) -> Form:
    """The one form at the very start of a text; whatever follows it is ignored.

    Raises:
        RtfsSyntaxError: no form begins at the first character; a blank or comment is none.
    """
    rules = ExpressionRules(text)
    found = rules.run(rules.expression, 0)
    if found is None:
        raise rules.failure()
    return found[0]


def count_reading_steps(text: str) -> int:
    """How many rules are started to read a text as a program, whether it is one or not."""
    rules = _TopRules(text)
    with suppress(RtfsSyntaxError):
        rules.program()
    return rules.n_steps


class _TopRules(ExpressionRules):
    """What may stand at the top of a program."""

    def program(self) -> tuple[Form, ...]:
        """Every form up to the end of the text."""
        forms: list[Form] = []
        at = self.source.skip(0)
        while at < self.source.end:
            found = self.run(self.top, at)
            if found is None:
                raise self.failure()
            forms.append(found[0])
            at = self.source.skip(found[1])
        return tuple(forms)

    def top(self, at: int) -> Parse:
        """A module, or an expression of a kind that upstream takes at the top."""
        module = yield self._module, at
        if module is not None:
            return module
        found = yield self.expression, at
        if found is not None:
            reason = _refusal(found[0])
            if reason:
                raise self.source.error(at, reason)
        return found

    def _module(self, at: int) -> Parse:
        """``(module name (:exports [a b])? def-or-defn ...)``."""
        start = self.source.skip(at + 1)
        if self.source.char(at) != "(" or not self.source.has(start, "module"):
            return None
        name = self.symbol(self.source.skip(start + len("module")))
        if name is None:
            return None
        exports, end = self._exports(name[1])
        definitions, end = yield from self.many(self._definition, end)
        closed = self.close(end, ")")
        return None if closed is None else (
            Extra("module", (name[0], exports, *definitions), at=self.position(at)), closed
        )  # fmt: skip

    def _exports(self, at: int) -> tuple[Vector, int]:
        start = self.source.skip(at)
        inner = self.source.skip(start + 1)
        if self.source.char(start) == "(" and self.source.has(inner, ":exports"):
            names = self.names(self.source.skip(inner + len(":exports")))
            closed = None if names is None or not names[0].items else self.close(names[1], ")")
            if names is not None and closed is not None:
                return names[0], closed
        return Vector(), at

    def _definition(self, at: int) -> Parse:
        found = yield self.expression, at
        return found if found is not None and _is_definition(found[0]) else None


def _is_definition(form: Form) -> bool:
    match form:
        case List((Sym("def"), Sym(), _)) | List((Sym("defn"), *_)):
            return True
        case List((Sym("def"), Sym(), Kw() | Extra("type"), _)):
            return True
    return False


def _refusal(form: Form) -> str | None:
    """Why a form cannot stand at the top, if it cannot."""
    match form:
        case Extra(tag) if tag in _NESTED_ONLY:
            return f"{tag} cannot stand at the top of a program"
        case List((Sym("for"), Vector(), _)):
            return "for cannot stand at the top of a program"
        case List((Sym("defmacro"), Sym(), Vector(names), _, *_)) if parameters_of(names):
            return "defmacro cannot stand at the top of a program"
        case List((Sym("defstruct"), Sym(), *fields)) if _are_fields(fields):
            return "defstruct cannot stand at the top of a program"
        case List((Sym(word), *parts)) if word in _DECLARATIONS:
            return _declaration_refusal(word, parts)
        case List((Sym("resource"), *parts)):
            return _resource_refusal(parts)
    return None


def _are_fields(fields: list[Form]) -> bool:
    return len(fields) % 2 == 0 and all(
        isinstance(key, Kw) and is_type(kind)
        for key, kind in zip(fields[::2], fields[1::2], strict=True)
    )


def _declaration_refusal(word: str, parts: list[Form]) -> str | None:
    if not parts or not isinstance(parts[0], str):
        return f"{word} needs a name, which is a string"
    properties = parts[1:]
    if len(properties) % 2 or not all(isinstance(key, Kw) for key in properties[::2]):
        return f"{word} takes pairs of a keyword and a value after its name"
    return None


def _resource_refusal(parts: list[Form]) -> str | None:
    if not parts or not isinstance(parts[0], Sym):
        return "resource needs a name, which is a symbol"
    for part in parts[1:]:
        match part:
            case List((Sym("property"), Kw(), _, *_)):
                continue
            case List((Sym("property"), *_)):
                return "property takes a keyword and a value"
    return None
