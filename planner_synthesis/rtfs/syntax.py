"""The grammar of expressions: every alternative in the order in which the language tries them.

Belongs here: rules for expressions and special forms. Does not: what may stand at the top of a
program (``reader``), types and patterns.
Source: rtfs.md 1.1 (expression order), 1.2 (shapes and boundaries); grammar lines 20-363.

A special form whose shape does not fit is read as a plain list, as upstream reads it. ``if``,
``def``, ``defn``, ``try``, ``catch`` and ``finally`` need no boundary: ``(iffy a)`` is
``(if fy a)``, and that is the form that this grammar gives back.
"""

from collections.abc import Callable, Generator
from typing import TypeAlias

from planner_synthesis.rtfs.engine import Found, Parse, ParseMany, Rule
from planner_synthesis.rtfs.forms import Extra, Form, Key, List, Map, Sym, Vector
from planner_synthesis.rtfs.patterns_syntax import REST, PatternRules

# arguments that a plain list with such a head must have, or else the text is refused
_LEAST_ARGUMENTS = {
    "fn": 1, "if": 2, "def": 2, "let": 2, "do": 1, "defn": 1, "defstruct": 1, "try": 1,
    "match": 1, "for": 1,
}  # fmt: skip


Entries: TypeAlias = (
    "Generator[tuple[Rule, int], Found, tuple[tuple[tuple[Key, Form], ...], int | None]]"
)


class ExpressionRules(PatternRules):
    """Rules for expressions."""

    def expression(self, at: int) -> Parse:
        """Any expression that begins at this offset."""
        found: Found
        match self.source.char(at):
            case "(":
                return (yield from self._parenthesis(at))
            case "[":
                items, end = yield from self.many(self.expression, at + 1)
                closed = self.close(end, "]")
                return None if closed is None else (Vector(items, at=self.position(at)), closed)
            case "{":
                entries, end_or_none = yield from self._entries(at + 1)
                if end_or_none is None:
                    return None
                return Map(entries, at=self.position(at)), end_or_none
            case ":":
                found = self.keyword(at)
            case "#" if self.source.char(self.source.skip(at + 1)) == "(":
                start = self.source.skip(at + 1)
                items, end = yield from self.many(self.expression, start + 1)
                return self._extra("short-fn", at, items, self.close(end, ")"))
            case "@":
                start = self.source.skip(at + 1)
                name = self.keyword(start) or self.symbol(start)
                return None if name is None else self._extra("deref", at, (name[0],), name[1])
            case "^":
                return (yield from self._metadata_expression(at))
            case "`" | "~":
                return (yield from self._quoted(at))
            case _:
                found = self.source.literal(at) or self.symbol(at)
        if found is None:
            self.miss(at, "a form")
        return found

    def _extra(self, tag: str, at: int, items: tuple[Form, ...], end: int | None) -> Found:
        return None if end is None else (Extra(tag, items, at=self.position(at)), end)

    def _quoted(self, at: int) -> Parse:
        tag = "quote" if self.source.char(at) == "`" else "unquote"
        found = yield self.expression, self.source.skip(at + 1)
        if found is None and self.source.has(at, "~@"):
            found = yield self.expression, self.source.skip(at + 2)
        return found and self._extra(tag, at, (found[0],), found[1])

    def _entries(self, at: int) -> Entries:
        entries: list[tuple[Key, Form]] = []
        while True:
            closed = self.close(at, "}")
            key = None if closed is not None else self.key(self.source.skip(at))
            if key is None:
                return tuple(entries), closed
            found = yield self.expression, self.source.skip(key[1])
            if found is None:
                return (), None
            entries.append((key[0], found[0]))
            at = found[1]

    def _metadata(self, at: int) -> Parse:
        """``^{...}`` or ``^:delegation :local | :local-model "m" | :remote "m"``."""
        if self.source.char(at) != "^":
            return None
        start = self.source.skip(at + 1)
        if self.source.char(start) == "{":
            entries, end = yield from self._entries(start + 1)
            return self._extra("meta", at, (Map(entries),), end)
        if not self.source.has(start, ":delegation"):
            return None
        start = self.source.skip(start + len(":delegation"))
        for target in (":local-model", ":remote"):
            if self.source.has(start, target):
                end = start + len(target)
                found = self.source.literal(self.source.skip(end))
                has_name = found is not None and self.source.char(self.source.skip(end)) == '"'
                end = found[1] if found and has_name else end
                return self._extra("delegation", at, (self.source.text[at:end],), end)
        if self.source.has(start, ":local") and not self.source.has(start, ":local-"):
            end = start + len(":local")
            return self._extra("delegation", at, (self.source.text[at:end],), end)
        return None

    def _metadata_expression(self, at: int) -> Parse:
        metadata = yield self._metadata, at
        if metadata is None:
            return None
        found = yield self.expression, self.source.skip(metadata[1])
        return found and self._extra("meta", at, (metadata[0], found[0]), found[1])

    # --- what begins with a parenthesis ---

    def _parenthesis(self, at: int) -> Parse:
        head = self.source.skip(at + 1)
        found = (yield from self._method_call(at, head)) or self._resource_ref(at, head)
        if found is not None:
            return found
        for word, body in self._special_forms():
            if self.source.has(head, word):
                items, end = yield from body(head + len(word))
                closed = None if end < 0 else self.close(end, ")")
                if closed is not None:
                    name = Sym("fn" if word == "λ" else word, at=self.position(head))
                    if word == "match" and any(_has_as_pattern(item) for item in items):
                        raise self.source.error(at, "no value can match (:as name pattern)")
                    return List((name, *items), at=self.position(at)), closed
        items, end = yield from self.many(self.expression, at + 1)
        closed = self.close(end, ")")
        if closed is None:
            return None
        self._refuse_bare_head(items, at)
        return List(items, at=self.position(at)), closed

    def _special_forms(self) -> tuple[tuple[str, Callable[[int], ParseMany]], ...]:
        """Words and the rules for what follows them, in the order in which they are tried."""
        return (
            ("let", self._let), ("if", self._if), ("do", self._do), ("fn", self._fn),
            ("λ", self._fn), ("def", self._def), ("defn", self._defn), ("defmacro", self._defmacro),
            ("defstruct", self._defstruct), ("try", self._try), ("match", self._match),
            ("for", self._for),
        )  # fmt: skip

    def _method_call(self, at: int, head: int) -> Parse:
        start = self.source.skip(head + 1)
        name = self.source.identifier(start) if self.source.char(head) == "." else None
        if name is None:
            return None
        items, end = yield from self.many(self.expression, start + len(name))
        method: Form = Sym(name, at=self.position(start))
        return self._extra("method", at, (method, *items), self.close(end, ")") if items else None)

    def _resource_ref(self, at: int, head: int) -> Found:
        word = "resource:ref"
        start = self.source.skip(head + len(word))
        if not self.source.has(head, word) or self.source.char(start) != '"':
            return None
        found = self.source.literal(start)
        return found and self._extra("resource-ref", at, (found[0],), self.close(found[1], ")"))

    def _refuse_bare_head(self, items: tuple[Form, ...], at: int) -> None:
        if not items or not isinstance(items[0], Sym):
            return
        word = items[0].name
        if len(items) - 1 < _LEAST_ARGUMENTS.get(word, 0):
            raise self.source.error(at, f"{word} needs more than this")
        if word == "let" and not isinstance(items[1], Vector):
            raise self.source.error(at, "let needs a vector of bindings")

    # --- special forms: each gives the forms after its word, and the offset; -1 if it misses ---

    def _body(self, before: tuple[Form, ...], at: int) -> ParseMany:
        """One expression or more."""
        items, end = yield from self.many(self.expression, at)
        return (before + items, end) if items else ((), -1)

    def _do(self, at: int) -> ParseMany:
        if not self.source.has_word(at - len("do"), "do"):
            return (), -1
        return (yield from self.many(self.expression, at))

    def _if(self, at: int) -> ParseMany:
        items: tuple[Form, ...] = ()
        while len(items) < 3:
            found = yield self.expression, self.source.skip(at)
            if found is None:
                break
            items, at = (*items, found[0]), found[1]
        return (items, at) if len(items) >= 2 else ((), -1)

    def _let(self, at: int) -> ParseMany:
        start = self.source.skip(at)
        if self.source.char(start) != "[":
            return (), -1
        bindings: list[Form] = []
        end = start + 1
        while True:
            pattern = yield self.binding_pattern, self.source.skip(end)
            if pattern is None:
                break
            annotation, after = yield from self.annotation(pattern[1])
            value = yield self.expression, self.source.skip(after)
            if value is None:
                break
            bindings += [pattern[0], *annotation, value[0]]
            end = value[1]
        closed = self.close(end, "]")
        if closed is None:
            return (), -1
        vector = Vector(tuple(bindings), at=self.position(start))
        return (yield from self._body((vector,), closed))

    def _parameters(self, at: int) -> ParseMany:
        """``[pattern: type ... & name: type]`` as one vector."""
        start = self.source.skip(at)
        if self.source.char(start) != "[":
            return (), -1
        items: list[Form] = []
        end = start + 1
        while True:
            pattern = yield self.binding_pattern, self.source.skip(end)
            if pattern is None:
                break
            annotation, end = yield from self.annotation(pattern[1])
            items += [pattern[0], *annotation]
        mark = self.source.skip(end)
        rest = self.symbol(self.source.skip(mark + 1)) if self.source.char(mark) == "&" else None
        if rest is not None:
            annotation, end = yield from self.annotation(rest[1])
            items += [REST, rest[0], *annotation]
        closed = self.close(end, "]")
        if closed is None:
            return (), -1
        return (Vector(tuple(items), at=self.position(start)),), closed

    def _fn(self, at: int) -> ParseMany:
        metadata, end = yield from self.many(self._metadata, at)
        parameters, end = yield from self._parameters(end)
        if not parameters:
            return (), -1
        result, end = yield from self.annotation(end)
        return (yield from self._body((*metadata, *parameters, *result), end))

    def _def(self, at: int) -> ParseMany:
        name = self.symbol(self.source.skip(at))
        if name is None:
            return (), -1
        annotation, end = yield from self.annotation(name[1])
        value = yield self.expression, self.source.skip(end)
        return ((), -1) if value is None else ((name[0], *annotation, value[0]), value[1])

    def _defn(self, at: int) -> ParseMany:
        before, end = yield from self.many(self._metadata, at)
        name = self.symbol(self.source.skip(end))
        if name is None:
            return (), -1
        after, end = yield from self.many(self._metadata, name[1])
        parameters, end = yield from self._parameters(end)
        if not parameters:
            return (), -1
        result, end = yield from self.annotation(end)
        return (yield from self._body((*before, name[0], *after, *parameters, *result), end))

    def _defmacro(self, at: int) -> ParseMany:
        name = self.symbol(self.source.skip(at))
        parameters, end = ((), -1) if name is None else (yield from self._parameters(name[1]))
        if name is None or not parameters:
            return (), -1
        return (yield from self._body((name[0], *parameters), end))

    def _defstruct(self, at: int) -> ParseMany:
        name = self.symbol(self.source.skip(at))
        if name is None:
            return (), -1
        items: list[Form] = [name[0]]
        end = name[1]
        while True:
            key = self.keyword(self.source.skip(end))
            found = (yield self.type, self.source.skip(key[1])) if key else None
            if key is None or found is None:
                return tuple(items), end
            items += [key[0], found[0]]
            end = found[1]

    def _for(self, at: int) -> ParseMany:
        bindings = yield self.expression, self.source.skip(at)
        if bindings is None or not isinstance(bindings[0], Vector):
            return (), -1
        body = yield self.expression, self.source.skip(bindings[1])
        return ((), -1) if body is None else ((bindings[0], body[0]), body[1])

    def _match(self, at: int) -> ParseMany:
        if not self.source.has_word(at - len("match"), "match"):
            return (), -1
        subject = yield self.expression, self.source.skip(at)
        if subject is None:
            return (), -1
        items, end = [subject[0]], subject[1]
        while True:
            clause, end = yield from self._clause(self.source.skip(end), end)
            if not clause:
                return (tuple(items), end) if len(items) > 1 else ((), -1)
            items += clause

    def _clause(self, at: int, unchanged: int) -> ParseMany:
        """``pattern when guard body``, the guard or not."""
        pattern = yield self.match_pattern, at
        if pattern is None:
            return (), unchanged
        end = pattern[1]
        guard: tuple[Form, ...] = ()
        start = self.source.skip(end)
        if self.source.has_word(start, "when"):
            found = yield self.expression, self.source.skip(start + len("when"))
            if found is not None:
                guard, end = (Sym("when", at=self.position(start)), found[0]), found[1]
        body = yield self.expression, self.source.skip(end)
        return ((), unchanged) if body is None else ((pattern[0], *guard, body[0]), body[1])

    def _try(self, at: int) -> ParseMany:
        body: list[Form] = []
        end = at
        while True:
            start = self.source.skip(end)
            if (yield self.catch, start) or (yield self.finally_, start):
                break
            found = yield self.expression, start
            if found is None:
                break
            body.append(found[0])
            end = found[1]
        handlers, end = yield from self.many(self.catch, end)
        last = yield self.finally_, self.source.skip(end)
        if last is not None:
            handlers, end = (*handlers, last[0]), last[1]
        if self.close(end, ")") is None:
            return (), -1
        if not handlers:
            raise self.source.error(at, "try needs a catch or a finally")
        if any(map(_is_unbound_catch, handlers)):
            raise self.source.error(at, "catch of '_' needs a name to bind")
        return (*body, *handlers), end

    def catch(self, at: int) -> Parse:
        """``(catch name binding? body ...)`` as an ``Extra``; the second name if it can be one."""
        start = self._clause_word(at, "catch")
        name = None if start is None else self.symbol(self.source.skip(start))
        if name is None:
            return None
        names: tuple[Form, ...] = (name[0],)
        end = name[1]
        binding = self.symbol(self.source.skip(end))
        if binding is not None:
            names, end = (*names, binding[0]), binding[1]
        body, end = yield from self._body(names, end)
        closed = None if end < 0 else self.close(end, ")")
        return None if closed is None else (self._clause_form("catch", body, at), closed)

    def finally_(self, at: int) -> Parse:
        """``(finally body ...)``."""
        start = self._clause_word(at, "finally")
        if start is None:
            return None
        body, end = yield from self._body((), start)
        closed = None if end < 0 else self.close(end, ")")
        return None if closed is None else (self._clause_form("finally", body, at), closed)

    def _clause_word(self, at: int, word: str) -> int | None:
        start = self.source.skip(at + 1)
        is_here = self.source.char(at) == "(" and self.source.has(start, word)
        return start + len(word) if is_here else None

    def _clause_form(self, word: str, items: tuple[Form, ...], at: int) -> List:
        return List((Sym(word), *items), at=self.position(at))


def _is_unbound_catch(form: Form) -> bool:
    match form:
        case List((Sym("catch"), Sym("_"), Sym(), *_)):
            return False
        case List((Sym("catch"), Sym("_"), *_)):
            return True
    return False


def _has_as_pattern(form: Form) -> bool:
    match form:
        case Extra("as-pattern"):
            return True
        case Vector(items) | Extra("map-pattern", items):
            return any(map(_has_as_pattern, items))
        case Map(entries):
            return any(_has_as_pattern(value) for _, value in entries)
    return False
