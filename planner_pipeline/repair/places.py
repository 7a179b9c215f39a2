"""Where things lie in a source, in characters: nodes, operators, parentheses.

Belongs here: what ``ast`` and ``tokenize`` know of places, put together. Does not: what is changed
there (``mutations``). Pure, stdlib only.
"""

import ast
import io
import re
import tokenize
from bisect import bisect_left, bisect_right
from itertools import pairwise

Span = tuple[int, int]


class Text:
    """A source with places: where its nodes and tokens lie, in characters."""

    def __init__(self, source: str) -> None:
        self.source = source
        ends = [found.end() for found in re.finditer(r"\r\n|\r|\n", source)]
        self._starts = [0, *ends]
        self._lines = [source[start:end] for start, end in pairwise([0, *ends, len(source)])]
        tokens = tokenize.generate_tokens(io.StringIO(source, newline="").readline)
        kinds = (tokenize.OP, tokenize.NAME)
        self._tokens = [
            (self._starts[t.start[0] - 1] + t.start[1], t.string) for t in tokens if t.type in kinds
        ]
        self._token_starts = [start for start, _ in self._tokens]

    def _at(self, line: int, column_bytes: int) -> int:
        text = self._lines[line - 1]
        if not text.isascii():
            return self._starts[line - 1] + len(text.encode()[:column_bytes].decode())
        return self._starts[line - 1] + column_bytes

    def span(self, node: ast.expr | ast.stmt) -> Span:
        """Characters of a node, without parentheses around it."""
        end_line, end_column = node.end_lineno, node.end_col_offset
        assert end_line is not None
        assert end_column is not None
        return self._at(node.lineno, node.col_offset), self._at(end_line, end_column)

    def line_of(self, place: int) -> int:
        """Number of the line that holds a character."""
        return bisect_right(self._starts, place)

    def of(self, node: ast.expr | ast.stmt) -> str:
        """Text of a node."""
        start, end = self.span(node)
        return self.source[start:end]

    def neighbours(self, start: int, end: int) -> tuple[tuple[int, str], tuple[int, str]]:
        """The operator or keyword before a node and the one after it, with their places."""
        before = bisect_left(self._token_starts, start) - 1
        after = bisect_left(self._token_starts, end)
        return (
            self._tokens[before] if before >= 0 else (-1, ""),
            self._tokens[after] if after < len(self._tokens) else (-1, ""),
        )

    def parentheses(self, node: ast.expr) -> list[int]:
        """Where the parentheses around a node open, the innermost first."""
        opened: list[int] = []
        start, end = self.span(node)
        while True:
            (start, left), (end, right) = self.neighbours(start, end)
            if (left, right) != ("(", ")"):
                return opened
            opened.append(start)
            end += 1

    def find(self, words: str, start: int, end: int) -> Span | None:
        """Where an operator or keyword lies in a stretch; of two words, from the first on."""
        wanted = words.split(" ")
        first = bisect_left(self._token_starts, start)
        last = bisect_left(self._token_starts, end)
        for index in range(first, last):
            found = self._tokens[index : index + len(wanted)]
            if [text for _, text in found] == wanted:
                return found[0][0], found[-1][0] + len(wanted[-1])
        return None
