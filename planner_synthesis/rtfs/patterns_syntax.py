"""The grammar of patterns: what let and fn bind, what match compares.

Belongs here: rules for binding patterns and match patterns. Does not: what a pattern does to a
value (``patterns``).
Source: rtfs.md 1.2 (destructuring, match); grammar lines 66-96, 228-260.

``{name :key}`` reads as ``{:key name}``. A map pattern with ``&`` or with a key twice is an
``Extra("map-pattern", ...)`` of its parts in order. ``_`` is a whole pattern, so ``_x`` is ``_``
and then ``x``.
"""

from planner_synthesis.rtfs.engine import Found, Parse, ParseMany
from planner_synthesis.rtfs.forms import Extra, Form, Kw, Map, Sym, Vector, map_key
from planner_synthesis.rtfs.types_syntax import TypeRules

REST = Sym("&")


class PatternRules(TypeRules):
    """Rules for patterns."""

    def binding_pattern(self, at: int) -> Parse:
        """What a let binding or a parameter binds: ``_``, a symbol, ``[...]`` or ``{...}``."""
        simple = self._wildcard(at) or self.symbol(at)
        if simple is not None:
            return simple
        if self.source.char(at) == "[":
            items, end = yield from self.many(self.binding_pattern, at + 1)
            rest, end = self._tail(end, "&")
            whole, end = self._tail(end, ":as")
            return self._vector(at, items + rest + whole, end)
        if self.source.char(at) == "{":
            return (yield from self._binding_map(at))
        return None

    def match_pattern(self, at: int) -> Parse:
        """What a clause of match compares: literal, ``_``, symbol, type, ``[...]`` or ``{...}``.

        ``(:as name pattern)`` is understood and then refused, as upstream does.
        """
        literal = self.source.literal(at) or self.keyword(at)
        simple = literal or self._wildcard(at) or self.symbol(at)
        if simple is not None:
            return simple
        bracket = self.source.char(at)
        if bracket == "[":
            found = yield self.type, at
            if found is not None:
                return found
            items, end = yield from self.many(self.match_pattern, at + 1)
            rest, end = self._tail(end, "&")
            return self._vector(at, items + rest, end)
        if bracket == "{":
            return (yield from self._match_map(at))
        if bracket == "(":
            return (yield from self._as_pattern(at))
        return None

    def _wildcard(self, at: int) -> tuple[Sym, int] | None:
        is_here = self.source.char(at) == "_"
        return (Sym("_", at=self.position(at)), at + 1) if is_here else None

    def _tail(self, at: int, mark: str) -> tuple[tuple[Form, ...], int]:
        """``& name`` or ``:as name``, as two forms; none where it is not."""
        start = self.source.skip(at)
        if self.source.has(start, mark):
            found = self.symbol(self.source.skip(start + len(mark)))
            if found is not None:
                return (REST if mark == "&" else Kw(mark[1:]), found[0]), found[1]
        return (), at

    def _vector(self, at: int, items: tuple[Form, ...], end: int) -> Found:
        closed = self.close(end, "]")
        return None if closed is None else (Vector(items, at=self.position(at)), closed)

    def _map(self, at: int, parts: list[Form], tail: tuple[Form, ...], end: int) -> Found:
        closed = self.close(end, "}")
        if closed is None:
            return None
        pairs = list(zip(parts[::2], parts[1::2], strict=True))
        keys = {map_key(key) for key, _ in pairs}
        if tail or len(keys) < len(pairs):
            return Extra("map-pattern", (*parts, *tail), at=self.position(at)), closed
        entries = tuple((key, value) for key, value in pairs if isinstance(key, str | int | Kw))
        return Map(entries, at=self.position(at)), closed

    def _binding_map(self, at: int) -> Parse:
        parts: list[Form] = []
        end = at + 1
        while True:
            entry, end = yield from self._binding_entry(self.source.skip(end), end)
            if not entry:
                break
            parts += entry
        rest, end = self._tail(end, "&")
        whole, end = self._tail(end, ":as")
        return self._map(at, parts, rest + whole, end)

    def _binding_entry(self, at: int, unchanged: int) -> ParseMany:
        """``:keys [a b]``, ``key pattern`` or ``name key``, as two forms."""
        if self.source.has(at, ":keys"):
            names = self.names(self.source.skip(at + len(":keys")))
            if names is not None:
                return (Kw("keys"), names[0]), names[1]
        key = self.key(at)
        if key is not None:
            found = yield self.binding_pattern, self.source.skip(key[1])
            if found is not None:
                return (key[0], found[0]), found[1]
        name = self.symbol(at)
        key = None if name is None else self.key(self.source.skip(name[1]))
        if name is None or key is None:
            return (), unchanged
        return (key[0], name[0]), key[1]

    def names(self, at: int) -> tuple[Vector, int] | None:
        """``[a b]``, symbols alone."""
        if self.source.char(at) != "[":
            return None
        names: list[Form] = []
        end = at + 1
        while True:
            found = self.symbol(self.source.skip(end))
            if found is None:
                closed = self.close(end, "]")
                vector = Vector(tuple(names), at=self.position(at))
                return None if closed is None else (vector, closed)
            names.append(found[0])
            end = found[1]

    def _match_map(self, at: int) -> Parse:
        parts: list[Form] = []
        end = at + 1
        while True:
            key = self.key(self.source.skip(end))
            if key is None:
                break
            found = yield self.match_pattern, self.source.skip(key[1])
            if found is None:
                break
            parts += [key[0], found[0]]
            end = found[1]
        rest, end = self._tail(end, "&")
        return self._map(at, parts, rest, end)

    def _as_pattern(self, at: int) -> Parse:
        start = self.source.skip(at + 1)
        name = None
        if self.source.has(start, ":as"):
            name = self.symbol(self.source.skip(start + len(":as")))
        if name is None:
            return None
        found = yield self.match_pattern, self.source.skip(name[1])
        closed = None if found is None else self.close(found[1], ")")
        if found is None or closed is None:
            return None
        return Extra("as-pattern", (name[0], found[0]), at=self.position(at)), closed
