"""The tokens of RTFS: blanks, literals, names; each is one regular expression at a place.

Belongs here: what a token looks like and what value it has. Does not: how tokens make forms
(``syntax``).
Source: rtfs.md 1.1. The order of the literals is the language's: the first that fits is taken, and
nothing needs a boundary after it but ``nil``.

Every quantifier is possessive, so that a text is scanned once and never backtracked into.
"""

import re
from bisect import bisect_right

from planner_synthesis.rtfs.errors import RtfsSyntaxError
from planner_synthesis.rtfs.forms import IDENTIFIER, INT_MAX, INT_MIN, NAME, Position

_BLANKS = re.compile(r"(?:[ \t\r\n]++|;[^\n]*+|#\|(?:[^|]|\|(?!#))*+\|#)*+")
_IDENTIFIER = re.compile(IDENTIFIER)
_LITERAL = re.compile(
    r"""
      (?P<instant> [0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:_[0-9]{3})?Z )
    | (?P<uuid> [0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12} )
    | (?P<handle> resource://[^ \t\r\n]++ )
    | (?P<special> \#\#(?:Inf|-Inf|NaN) )
    | (?P<float> [+-]?[0-9]++\.[0-9]++(?:[eE][+-]?[0-9]++)? )
    | (?P<int> [+-]?[0-9]++ )
    | (?P<string> "(?:[^"\\]|\\.)*+" )
    | (?P<bool> true|false )
    | (?P<nil> nil(?![A-Za-z0-9_$+\-*/=<>!?%.@]) )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"'}
_SPECIAL = {"##Inf": float("inf"), "##-Inf": float("-inf"), "##NaN": float("nan")}
_DELIMITER_AFTER_WORD = re.compile(r"[ \t\r\n)(\"\[\]{}:;]")
_INT_DIGITS = 19  # a longer row of digits never fits 64 bits

Literal = bool | int | float | str | None


class Source:
    """A text and the places in it; every method is a question about one offset."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.end = len(text)
        self._lines = [match.end() for match in re.finditer("\n", text)]

    def position(self, at: int) -> Position:
        """Line and column of an offset, both from 1."""
        line = bisect_right(self._lines, at)
        start = self._lines[line - 1] if line else 0
        return Position(line + 1, at - start + 1)

    def error(self, at: int, reason: str) -> RtfsSyntaxError:
        """The error to raise for a fault at this offset."""
        return RtfsSyntaxError(reason, *self.position(at))

    def skip(self, at: int) -> int:
        """The offset after blanks and comments; an unclosed ``#|`` is not a comment."""
        match = _BLANKS.match(self.text, at)
        return match.end() if match else at

    def char(self, at: int) -> str:
        """The character at this offset, '' at the end."""
        return self.text[at : at + 1]

    def has(self, at: int, word: str) -> bool:
        """Whether the text goes on with ``word``; no boundary is asked for."""
        return self.text.startswith(word, at)

    def has_word(self, at: int, word: str) -> bool:
        """Whether ``word`` stands here with a blank or delimiter after it (do, match, when)."""
        if not self.has(at, word):
            return False
        return _DELIMITER_AFTER_WORD.match(self.text, at + len(word)) is not None

    def name(self, at: int) -> str | None:
        """The longest symbol name here: versioned if it can be, else plain."""
        match = NAME.match(self.text, at)
        return match.group() if match else None

    def identifier(self, at: int) -> str | None:
        """The longest name here without a version."""
        match = _IDENTIFIER.match(self.text, at)
        return match.group() if match else None

    def literal(self, at: int) -> tuple[Literal, int] | None:
        """The literal here, as its value and the offset after it.

        Raises:
            RtfsSyntaxError: an escape that strings do not have, or an integer beyond 64 bits.
        """
        match = _LITERAL.match(self.text, at)
        if match is None:
            return None
        token = match.group()
        match match.lastgroup:
            case "float":
                return float(token), match.end()
            case "int":
                return self._integer(token, at), match.end()
            case "string":
                return self._string(token, at), match.end()
            case "bool":
                return token == "true", match.end()
            case "nil":
                return None, match.end()
            case "special":
                return _SPECIAL[token], match.end()
            case _:
                return token, match.end()

    def _integer(self, token: str, at: int) -> int:
        digits = token.lstrip("+-").lstrip("0")
        if len(digits) <= _INT_DIGITS:
            number = int(digits or "0") * (-1 if token.startswith("-") else 1)
            if INT_MIN <= number <= INT_MAX:
                return number
        raise self.error(at, "the integer does not fit 64 bits")

    def _string(self, token: str, at: int) -> str:
        if "\\" not in token:
            return token[1:-1]

        def plain(match: re.Match[str]) -> str:
            if match.group(1) not in _ESCAPED:
                raise self.error(at + match.start(), f"a string has no escape {match.group()!r}")
            return _ESCAPED[match.group(1)]

        return _ESCAPE.sub(plain, token)[1:-1]
