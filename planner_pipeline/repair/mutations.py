"""Small changes of Python source: what a slip of the hand does to it, and what undoes one.

Belongs here: finding every change of a source, in a total order, and making one. Does not: trying
them (``search``), choosing bugs (``bugs``). Pure, stdlib only.

The set is closed: what one change did, another one undoes, so that every bug made of them can be
repaired by them. f-strings, annotations and decorators are left alone.
"""

import ast
import io
import tokenize
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

Span = tuple[int, int]
Edit = tuple[int, int, str, str]  # start, end, replacement, kind


@dataclass(frozen=True, slots=True, order=True)
class Mutation:
    """One change: ``source[start:end]`` becomes ``replacement``.

    Attributes:
        start, end: Characters of the source.
        kind: What kind of slip it is, for people.
        line: Where it starts, from 1.
        statement: First line of the innermost statement around it.
    """

    start: int
    end: int
    replacement: str
    kind: str
    line: int
    statement: int


def _both_ways(*pairs: tuple[str, str]) -> dict[str, tuple[str, ...]]:
    table: dict[str, tuple[str, ...]] = {}
    for one, other in pairs:
        table[one] = (*table.get(one, ()), other)
        table[other] = (*table.get(other, ()), one)
    return table


_COMPARE: Final = _both_ways(
    ("<", "<="), ("<", ">"), ("<", ">="), ("<=", ">"), ("<=", ">="), (">", ">="),
    ("==", "!="), ("in", "not in"), ("is", "is not"),
)  # fmt: skip
_COMPARE_WORDS: Final[dict[type[ast.cmpop], str]] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.In: "in", ast.NotIn: "not in", ast.Is: "is", ast.IsNot: "is not",
}  # fmt: skip
_ARITHMETIC: Final = _both_ways(
    ("+", "-"), ("*", "//"), ("*", "/"), ("/", "//"), ("//", "%"), ("&", "|"), ("<<", ">>")
)
_OPERATOR_WORDS: Final[dict[type[ast.operator], str]] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.BitAnd: "&", ast.BitOr: "|", ast.LShift: "<<", ast.RShift: ">>",
}  # fmt: skip
_NAMES: Final = _both_ways(
    ("min", "max"), ("any", "all"), ("ljust", "rjust"), ("lstrip", "rstrip"), ("find", "rfind"),
    ("index", "rindex"), ("startswith", "endswith"), ("upper", "lower"), ("floor", "ceil"),
    ("append", "appendleft"), ("popleft", "pop"), ("bisect_left", "bisect_right"),
    ("union", "intersection"),
)  # fmt: skip
_ATOMS: Final = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Constant)
_ONE_MORE: Final = (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod)
_ORDERED: Final = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod)
_UNSEEN: Final = {
    ast.FunctionDef: ("returns", "decorator_list"),
    ast.AsyncFunctionDef: ("returns", "decorator_list"),
    ast.ClassDef: ("bases", "keywords", "decorator_list"),
    ast.AnnAssign: ("annotation",),
    ast.arg: ("annotation",),
    ast.JoinedStr: ("values",),
}


class _Text:
    """A source with places: where its nodes and tokens lie, in characters."""

    def __init__(self, source: str) -> None:
        self.source = source
        lines = source.split("\n")
        self._lines = lines
        self._starts = list(accumulate((len(line) + 1 for line in lines), initial=0))
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
        assert end_line is not None and end_column is not None
        return self._at(node.lineno, node.col_offset), self._at(end_line, end_column)

    def line_of(self, place: int) -> int:
        """Number of the line that holds a character."""
        return bisect_right(self._starts, place)

    def of(self, node: ast.expr | ast.stmt) -> str:
        """Text of a node."""
        start, end = self.span(node)
        return self.source[start:end]

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


def _swaps(
    text: _Text, before: ast.expr, after: ast.expr, word: str, others: tuple[str, ...], kind: str
) -> Iterator[Edit]:
    """The operator between two operands, replaced."""
    found = text.find(word, text.span(before)[1], text.span(after)[0])
    for other in others if found else ():
        assert found is not None
        yield (*found, other, kind)


def _exchange(text: _Text, one: ast.expr, other: ast.expr, kind: str) -> Iterator[Edit]:
    """Two neighbours in each other's place."""
    (start, one_end), (other_start, end) = text.span(one), text.span(other)
    between = text.source[one_end:other_start]
    yield start, end, text.of(other) + between + text.of(one), kind


def _is_int(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int


def _is_plus_minus(node: ast.expr) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub)


def _off_by_one(text: _Text, node: ast.expr | None) -> Iterator[Edit]:
    """A bound or position that is one too far, or lacks the step it had."""
    if isinstance(node, ast.BinOp) and _is_plus_minus(node) and _is_int(node.right):
        left, _ = text.span(node.right)
        sign = text.find(_OPERATOR_WORDS[type(node.op)], text.span(node.left)[1], left)
        if sign and text.of(node.right) == "1":
            start = len(text.source[: sign[0]].rstrip(" "))
            yield start, text.span(node)[1], "", "off by one"
        return
    is_sum = isinstance(node, ast.BinOp) and isinstance(node.op, _ONE_MORE)
    if isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript) or is_sum:
        assert node is not None
        end = text.span(node)[1]
        yield end, end, " + 1", "off by one"
        yield end, end, " - 1", "off by one"


def _condition(text: _Text, node: ast.expr) -> Iterator[Edit]:
    """A condition with its ``not`` dropped, or with one that should not be there."""
    start, end = text.span(node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        after = start + len("not")
        spaces = len(text.source[after:]) - len(text.source[after:].lstrip(" "))
        yield start, after + spaces, "", "negation"
    elif isinstance(node, ast.BoolOp):
        yield start, end, f"not ({text.of(node)})", "negation"
    elif not isinstance(node, ast.Compare) or len(node.ops) > 1:
        yield start, start, "not ", "negation"


def _compare(text: _Text, node: ast.Compare) -> Iterator[Edit]:
    operands = [node.left, *node.comparators]
    for op, (before, after) in zip(node.ops, pairwise(operands), strict=True):
        word = _COMPARE_WORDS[type(op)]
        yield from _swaps(text, before, after, word, _COMPARE[word], "comparison")


def _binary(text: _Text, node: ast.BinOp) -> Iterator[Edit]:
    word = _OPERATOR_WORDS.get(type(node.op))
    if word is not None:
        yield from _swaps(text, node.left, node.right, word, _ARITHMETIC[word], "arithmetic")
    if isinstance(node.op, _ORDERED) and all(
        isinstance(n, _ATOMS) for n in (node.left, node.right)
    ):
        yield from _exchange(text, node.left, node.right, "operand order")


def _augmented(text: _Text, node: ast.AugAssign) -> Iterator[Edit]:
    word = _OPERATOR_WORDS.get(type(node.op))
    if word is not None:
        others = tuple(f"{other}=" for other in _ARITHMETIC[word])
        yield from _swaps(text, node.target, node.value, f"{word}=", others, "assignment")


def _logic(text: _Text, node: ast.BoolOp) -> Iterator[Edit]:
    word, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
    for before, after in pairwise(node.values):
        yield from _swaps(text, before, after, word, (other,), "logic")
    for value in node.values:
        yield from _condition(text, value)


def _number(text: _Text, node: ast.expr, value: int) -> Iterator[Edit]:
    if text.of(node) == str(value):
        for other in (value - 1, value + 1):
            yield (*text.span(node), str(other), "constant")


def _constant(text: _Text, node: ast.Constant) -> Iterator[Edit]:
    if isinstance(node.value, bool):
        yield (*text.span(node), str(not node.value), "boolean")
    elif isinstance(node.value, int):
        yield from _number(text, node, node.value)


def _unary(text: _Text, node: ast.UnaryOp) -> Iterator[Edit]:
    if _is_negative(node):
        assert isinstance(node.operand, ast.Constant) and isinstance(node.operand.value, int)
        yield from _number(text, node, -node.operand.value)


def _is_negative(node: ast.AST) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and _is_int(node.operand)


def _call(text: _Text, node: ast.Call) -> Iterator[Edit]:
    if isinstance(node.func, ast.Attribute):
        end = text.span(node.func)[1]
        for other in _NAMES.get(node.func.attr, ()):
            yield end - len(node.func.attr), end, other, "name"
    if any(isinstance(argument, ast.Starred) for argument in node.args):
        return
    for one, other_argument in pairwise(node.args):
        yield from _exchange(text, one, other_argument, "argument order")
    if isinstance(node.func, ast.Name) and node.func.id == "range":
        for argument in node.args[:2]:
            yield from _off_by_one(text, argument)
        if len(node.args) == 1:
            start = text.span(node.args[0])[0]
            yield start, start, "1, ", "range start"
        elif len(node.args) == 2 and text.of(node.args[0]) == "1":
            yield text.span(node.args[0])[0], text.span(node.args[1])[0], "", "range start"


def _name(text: _Text, node: ast.Name) -> Iterator[Edit]:
    if isinstance(node.ctx, ast.Load):
        for other in _NAMES.get(node.id, ()):
            yield (*text.span(node), other, "name")


def _subscript(text: _Text, node: ast.Subscript) -> Iterator[Edit]:
    if isinstance(node.slice, ast.Slice):
        yield from _off_by_one(text, node.slice.lower)
        yield from _off_by_one(text, node.slice.upper)
    else:
        yield from _off_by_one(text, node.slice)


def _tuple(text: _Text, node: ast.Tuple) -> Iterator[Edit]:
    has_star = any(isinstance(element, ast.Starred) for element in node.elts)
    if isinstance(node.ctx, ast.Load) and len(node.elts) == 2 and not has_star:
        yield from _exchange(text, *node.elts, "tuple order")


def _edits(text: _Text, node: ast.AST) -> Iterator[Edit]:
    """Changes that a node itself offers; its children have their own."""
    match node:
        case ast.Compare():
            yield from _compare(text, node)
        case ast.BinOp():
            yield from _binary(text, node)
        case ast.AugAssign():
            yield from _augmented(text, node)
        case ast.BoolOp():
            yield from _logic(text, node)
        case ast.Constant():
            yield from _constant(text, node)
        case ast.UnaryOp():
            yield from _unary(text, node)
        case ast.Call():
            yield from _call(text, node)
        case ast.Name():
            yield from _name(text, node)
        case ast.Subscript():
            yield from _subscript(text, node)
        case ast.Tuple():
            yield from _tuple(text, node)
        case ast.If() | ast.While() | ast.IfExp():
            yield from _condition(text, node.test)
        case ast.Break():
            yield (*text.span(node), "continue", "loop")
        case ast.Continue():
            yield (*text.span(node), "break", "loop")


def _walk(text: _Text, node: ast.AST, statement: int) -> Iterator[tuple[Edit, int]]:
    if isinstance(node, ast.stmt):
        statement = node.lineno
    for edit in _edits(text, node):
        yield edit, statement
    if _is_negative(node):
        return  # its number was changed with its sign
    for field, value in ast.iter_fields(node):
        if field in _UNSEEN.get(type(node), ()):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _walk(text, child, statement)
    if isinstance(node, ast.comprehension):
        for test in node.ifs:
            for edit in _condition(text, test):
                yield edit, statement


def apply(source: str, mutation: Mutation) -> str:
    """The source after a change.

    >>> [apply("x < 1", m) for m in mutations("x < 1")][0]
    'x <= 1'
    """
    return source[: mutation.start] + mutation.replacement + source[mutation.end :]


def mutations(source: str) -> list[Mutation]:
    """Every change of a source, by place; each leads to another text that parses.

    Raises:
        SyntaxError: the source itself does not parse.
    """
    tree = ast.parse(source)
    text = _Text(source)
    seen = {source}
    found: list[Mutation] = []
    for (start, end, replacement, kind), statement in sorted(set(_walk(text, tree, 1))):
        mutation = Mutation(start, end, replacement, kind, text.line_of(start), statement)
        changed = apply(source, mutation)
        if changed not in seen and _parses(changed):
            seen.add(changed)
            found.append(mutation)
    return found


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True
