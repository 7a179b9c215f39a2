"""The grammar of types, which stand after ``:`` in bindings, parameters and results.

Belongs here: names, keywords, keys, and the rules for types. Does not: patterns
(``patterns_syntax``), expressions (``syntax``); nothing checks a value against a type.
Source: rtfs.md 1.1 (types); grammar lines 114-168.

A type that is one name reads as the keyword of that name, so ``x :int`` and ``x:int`` are one
form; any other type reads as ``Extra("type", text)``.
"""

from collections.abc import Callable, Generator
from typing import TypeAlias

from planner_synthesis.rtfs.engine import Engine, Found, Parse, ParseMany, Rule
from planner_synthesis.rtfs.forms import Extra, Key, Kw, Sym

Ends: TypeAlias = "Generator[tuple[Rule, int], Found, int | None]"  # the offset after a part

# what follows the tag of a bracketed type: pairs of a part's name and how often it may stand there
_SHAPES: dict[str, tuple[tuple[str, str], ...]] = {
    ":vector": (("type", "1"),),
    ":map-of": (("type", "1"), ("type", "1")),
    ":dict": (("type", "1"), ("type", "1")),
    ":map": (("entry", "*"),),
    ":record": (("entry", "*"),),
    ":tuple": (("type", "+"),),
    ":fn": (("params", "1"), ("type", "1")),
    ":=>": (("params", "1"), ("type", "1")),
    ":resource": (("symbol", "1"),),
    ":enum": (("literal", "+"),),
    ":union": (("type", "+"),),
    ":and": (("type", "1"), ("refinement", "+")),
    ":val": (("literal", "1"),),
    ":array": (("type", "1"), ("dimensions", "?")),
}


class TypeRules(Engine):
    """Rules for names and types."""

    def symbol(self, at: int) -> tuple[Sym, int] | None:
        """A name; where only a symbol can stand, ``true`` and ``nil`` are names too."""
        name = self.source.name(at)
        if name is None:
            self.miss(at, "a symbol")
            return None
        return Sym(name, at=self.position(at)), at + len(name)

    def keyword(self, at: int) -> tuple[Kw, int] | None:
        """``:name``, nothing between."""
        name = self.source.name(at + 1) if self.source.char(at) == ":" else None
        if name is None:
            return None
        return Kw(name, at=self.position(at)), at + 1 + len(name)

    def key(self, at: int) -> tuple[Key, int] | None:
        """A map's key: a keyword, a string or an integer."""
        keyword = self.keyword(at)
        if keyword is not None:
            return keyword
        found = self.source.literal(at)
        value, end = found or (None, at)
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if isinstance(value, str | int) and (is_integer or self.source.char(at) == '"'):
            return value, end
        self.miss(at, "a key (keyword, string or integer)")
        return None

    def annotation(self, at: int) -> ParseMany:
        """``: type`` or nothing: the form that stands for the type, or none."""
        colon = self.source.skip(at)
        if self.source.char(colon) != ":":
            return (), at
        found = yield self.type, self.source.skip(colon + 1)
        return ((), at) if found is None else ((found[0],), found[1])

    def type(self, at: int) -> Parse:
        """A type: a name or keyword, with ``?`` after it or without, or a bracketed one."""
        found = self.symbol(at) or self.keyword(at)
        if found is not None:
            name, end = found
            mark = self.source.skip(end)
            if self.source.char(mark) == "?":
                return self._written(at, mark + 1)
            return Kw(name.name, at=name.at), end
        if self.source.char(at) == "[":
            tag_at = self.source.skip(at + 1)
            for tag, shape in _SHAPES.items():
                if self.source.has(tag_at, tag):
                    end_or_none = yield from self._shape(shape, tag_at + len(tag))
                    if end_or_none is not None:
                        return self._written(at, end_or_none)
        return None

    def _written(self, at: int, end: int) -> Found:
        return Extra("type", (self.source.text[at:end],), at=self.position(at)), end

    def _shape(self, shape: tuple[tuple[str, str], ...], at: int) -> Ends:
        plain: dict[str, Callable[[int], int | None]] = {
            "symbol": self._symbol_end, "literal": self._literal_end,
            "dimensions": self._dimensions,
        }  # fmt: skip
        nested: dict[str, Callable[[int], Ends]] = {
            "type": self._type_end, "entry": self._entry, "params": self._params,
            "refinement": self._refinement,
        }  # fmt: skip
        for name, quantity in shape:
            n_found = 0
            while quantity in "*+" or n_found == 0:
                start = self.source.skip(at)
                end = plain[name](start) if name in plain else (yield from nested[name](start))
                if end is None:
                    break
                at, n_found = end, n_found + 1
            if n_found == 0 and quantity in "1+":
                return None
        return self.close(at, "]")

    def _type_end(self, at: int) -> Ends:
        found = yield self.type, at
        return None if found is None else found[1]

    def _symbol_end(self, at: int) -> int | None:
        found = self.symbol(at)
        return None if found is None else found[1]

    def _literal_end(self, at: int) -> int | None:
        found = self.source.literal(at) or self.keyword(at)
        return None if found is None else found[1]

    def _entry(self, at: int) -> Ends:
        """``[:k T]``, ``[:* T]`` or ``{:k T ...}``, each type with ``?`` after it or without."""
        if self.source.char(at) == "[":
            end = yield from self._entry_pair(self.source.skip(at + 1))
            return None if end is None else self.close(end, "]")
        if self.source.char(at) != "{":
            return None
        end = yield from self._entry_pair(self.source.skip(at + 1))
        while end is not None:
            closed = self.close(end, "}")
            if closed is not None:
                return closed
            end = yield from self._entry_pair(self.source.skip(end))
        return None

    def _entry_pair(self, at: int) -> Ends:
        keyword = self.keyword(at)
        if keyword is None:
            return None
        end = yield from self._type_end(self.source.skip(keyword[1]))
        if end is None:
            return None
        mark = self.source.skip(end)
        return mark + 1 if self.source.char(mark) == "?" else end

    def _params(self, at: int) -> Ends:
        """``[T ... & T]``."""
        if self.source.char(at) != "[":
            return None
        at, end = at + 1, None
        while True:
            end = yield from self._type_end(self.source.skip(at))
            if end is None:
                break
            at = end
        rest = self.source.skip(at)
        if self.source.char(rest) == "&":
            end = yield from self._type_end(self.source.skip(rest + 1))
            at = at if end is None else end
        return self.close(at, "]")

    def _refinement(self, at: int) -> Ends:
        """A predicate such as ``[:> 0]`` or ``[:required-keys [:a :b]]``, or one more type."""
        end = self._predicate(at)
        if end is not None:
            return end
        return (yield from self._type_end(at))

    def _predicate(self, at: int) -> int | None:
        if self.source.char(at) != "[":
            return None
        start = self.source.skip(at + 1)
        name = self.keyword(start) or self.symbol(start)
        if name is None:
            return None
        inner = self.source.skip(name[1])
        if name[0].name in {"has-key", "required-keys"} and self.source.char(inner) == "[":
            inner_end = self.close(self._literals(inner + 1), "]")
            return None if inner_end is None else self.close(inner_end, "]")
        return self.close(self._literals(name[1]), "]")

    def _literals(self, at: int) -> int:
        while True:
            start = self.source.skip(at)
            found = self.source.literal(start) or self.keyword(start)
            if found is None:
                return at
            at = found[1]

    def _dimensions(self, at: int) -> int | None:
        """``[2 ?]``."""
        if self.source.char(at) != "[":
            return None
        end = at + 1
        while True:
            start = self.source.skip(end)
            if self.source.char(start) == "?":
                end = start + 1
                continue
            closed = self.close(end, "]")
            found = None if closed is not None else self.source.literal(start)
            if found is None or type(found[0]) is not int:
                return closed
            end = found[1]
