"""What runs the grammar: rules that ask for rules, without the interpreter's stack, each once.

Belongs here: the driver, the memory of what was found where, the furthest failure. Does not: any
rule of RTFS (``syntax``, ``patterns_syntax``).

A rule is a generator: it yields the rules it needs and is sent what they found, so depth costs
memory and never a RecursionError. What a rule found at an offset is kept, so alternatives that
begin alike read their common part once: the work grows with the text, not with its nesting.
"""

from collections.abc import Callable, Generator
from typing import TypeAlias

from planner_synthesis.rtfs.errors import FormTooDeep
from planner_synthesis.rtfs.forms import MAX_DEPTH, Form, Position
from planner_synthesis.rtfs.lexis import Source

Found: TypeAlias = "tuple[Form, int] | None"  # a form and the offset after it
FoundMany: TypeAlias = "tuple[tuple[Form, ...], int]"
Rule: TypeAlias = "Callable[[int], Parse]"
Parse: TypeAlias = "Generator[tuple[Rule, int], Found, Found]"
ParseMany: TypeAlias = "Generator[tuple[Rule, int], Found, FoundMany]"

# each level of nesting waits in one rule; these are for the top and for what stands innermost
_SPARE_RULES = 8


class Engine:
    """Runs rules over one text; ``n_steps`` counts the rules started."""

    def __init__(self, text: str) -> None:
        self.source = Source(text)
        self.n_steps = 0
        self._found: dict[tuple[Rule, int], Found] = {}
        self._furthest = 0
        self._expected = "a form"

    def run(self, rule: Rule, at: int) -> Found:
        """What ``rule`` finds at offset ``at``; ``None`` where it does not fit.

        Raises:
            RtfsSyntaxError: nested too deep, or a fault that no other rule could make good.
        """
        waiting: list[tuple[tuple[Rule, int], Parse]] = []
        key = (rule, at)
        parse, sent = self._start(key), None
        while True:
            try:
                wanted = parse.send(sent)
            except StopIteration as done:
                found: Found = done.value
                self._found[key] = found
                if not waiting:
                    return found
                sent = found
                key, parse = waiting.pop()
                continue
            except FormTooDeep:
                raise self.too_deep(key[1]) from None
            if wanted in self._found:
                sent = self._found[wanted]
                continue
            if len(waiting) >= MAX_DEPTH + _SPARE_RULES:
                raise self.too_deep(wanted[1])
            waiting.append((key, parse))
            key = wanted
            parse, sent = self._start(key), None

    def _start(self, key: tuple[Rule, int]) -> Parse:
        self.n_steps += 1
        rule, at = key
        return rule(at)

    def too_deep(self, at: int) -> Exception:
        """The error for nesting beyond the limit."""
        return self.source.error(at, f"nested deeper than {MAX_DEPTH}")

    def position(self, at: int) -> Position:
        """Where a form that begins at this offset stands."""
        return self.source.position(at)

    def miss(self, at: int, expected: str) -> None:
        """Notes that ``expected`` is not here; the furthest such place is the one reported."""
        if at >= self._furthest:
            self._furthest, self._expected = at, expected

    def failure(self) -> Exception:
        """The error for a text that no rule fits: the furthest place reached and what it lacks."""
        found = self.source.char(self._furthest)
        seen = f"found {found!r}" if found else "the text ends"
        return self.source.error(self._furthest, f"expected {self._expected}, {seen}")

    def many(self, rule: Rule, at: int) -> ParseMany:
        """As many of ``rule`` as fit from here on, blanks between them."""
        forms: list[Form] = []
        while True:
            found = yield rule, self.source.skip(at)
            if found is None:
                return tuple(forms), at
            form, at = found
            forms.append(form)

    def close(self, at: int, bracket: str) -> int | None:
        """The offset after a closing bracket, blanks before it skipped."""
        at = self.source.skip(at)
        if self.source.has(at, bracket):
            return at + 1
        self.miss(at, f"{bracket!r}")
        return None
