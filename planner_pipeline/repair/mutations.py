"""Small changes of Python source: what a slip of the hand does to it, and what undoes one.

Belongs here: finding every change of a source, in a total order, and making one. Does not: where
things lie in a source (``places``), trying changes (``climb``), choosing which are bugs (``bugs``).
Pure, stdlib only.

The set is closed: what one change did, another one undoes to the letter, so that every bug made of
them can be repaired by them. That is so where operators, commas and keywords stand between single
spaces, as formatters leave them; elsewhere ``x[i+1]`` may come back as ``x[i + 1]``. f-strings,
annotations, base classes and decorators are left alone.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from planner_pipeline.repair.places import Text

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
_LOOSE: Final = (ast.BoolOp, ast.IfExp, ast.Lambda, ast.NamedExpr)  # bind no tighter than ``not``
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


def _swaps(
    text: Text, before: ast.expr, after: ast.expr, word: str, others: tuple[str, ...], kind: str
) -> Iterator[Edit]:
    """The operator between two operands, replaced."""
    found = text.find(word, text.span(before)[1], text.span(after)[0])
    for other in others if found else ():
        assert found is not None
        yield (*found, other, kind)


def _exchange(text: Text, one: ast.expr, other: ast.expr, kind: str) -> Iterator[Edit]:
    """Two neighbours in each other's place."""
    (start, one_end), (other_start, end) = text.span(one), text.span(other)
    between = text.source[one_end:other_start]
    yield start, end, text.of(other) + between + text.of(one), kind


def _is_int(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int


def _is_plus_minus(node: ast.expr) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub)


def _takes_one(node: ast.expr) -> bool:
    """Whether one can be added to it, and is not added yet."""
    if isinstance(node, ast.BinOp):
        is_done = _is_plus_minus(node) and _is_int(node.right)
        return isinstance(node.op, _ONE_MORE) and not is_done
    return isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript)


def _off_by_one(text: Text, node: ast.expr | None) -> Iterator[Edit]:
    """A bound or position that is one too far, or lacks the step it had."""
    if node is not None and _takes_one(node):
        end = text.span(node)[1]
        yield end, end, " + 1", "off by one"
        yield end, end, " - 1", "off by one"
    elif isinstance(node, ast.BinOp) and _is_plus_minus(node) and text.of(node.right) == "1":
        sign = text.find(
            _OPERATOR_WORDS[type(node.op)], text.span(node.left)[1], text.span(node.right)[0]
        )
        if sign and _takes_one(node.left) and not text.parentheses(node.left):
            start = len(text.source[: sign[0]].rstrip(" "))
            yield start, text.span(node)[1], "", "off by one"


def _condition(text: Text, node: ast.expr, *, is_whole: bool = True) -> Iterator[Edit]:
    """A condition with its ``not`` dropped, or with one that should not be there.

    One comparison has other ways to be wrong, and is neither negated nor freed.

    Args:
        is_whole: It is no part of a longer condition.
    """
    opened = text.parentheses(node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield from _freed(text, node, can_be_bare=is_whole and not opened)
    elif not isinstance(node, ast.Compare) or len(node.ops) > 1:
        start, end = text.span(node)
        if not isinstance(node, _LOOSE):
            yield start, start, "not ", "negation"
        elif not opened:
            yield start, end, f"not ({text.of(node)})", "negation"
        for place in opened:
            yield place, place, "not ", "negation"


def _freed(text: Text, node: ast.UnaryOp, *, can_be_bare: bool) -> Iterator[Edit]:
    """A condition without its ``not``, with and without the parentheses that only it needs."""
    inner = node.operand
    is_one = isinstance(inner, ast.Compare) and len(inner.ops) == 1
    if is_one or (isinstance(inner, ast.UnaryOp) and isinstance(inner.op, ast.Not)):
        return
    start, end = text.span(node)
    is_needed = isinstance(inner, _LOOSE) and text.of(node) == f"not ({text.of(inner)})"
    if can_be_bare and is_needed:
        yield start, end, text.of(inner), "negation"
    after = start + len("not")
    spaces = len(text.source[after:]) - len(text.source[after:].lstrip(" "))
    yield start, after + spaces, "", "negation"


def _compare(text: Text, node: ast.Compare) -> Iterator[Edit]:
    operands = [node.left, *node.comparators]
    for op, (before, after) in zip(node.ops, pairwise(operands), strict=True):
        word = _COMPARE_WORDS[type(op)]
        yield from _swaps(text, before, after, word, _COMPARE[word], "comparison")


def _binary(text: Text, node: ast.BinOp) -> Iterator[Edit]:
    word = _OPERATOR_WORDS.get(type(node.op))
    if word is not None:
        yield from _swaps(text, node.left, node.right, word, _ARITHMETIC[word], "arithmetic")
    if isinstance(node.op, _ORDERED) and all(
        isinstance(n, _ATOMS) for n in (node.left, node.right)
    ):
        yield from _exchange(text, node.left, node.right, "operand order")


def _augmented(text: Text, node: ast.AugAssign) -> Iterator[Edit]:
    word = _OPERATOR_WORDS.get(type(node.op))
    if word is not None:
        others = tuple(f"{other}=" for other in _ARITHMETIC[word])
        yield from _swaps(text, node.target, node.value, f"{word}=", others, "assignment")


def _logic(text: Text, node: ast.BoolOp) -> Iterator[Edit]:
    word, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
    for before, after in pairwise(node.values):
        yield from _swaps(text, before, after, word, (other,), "logic")
    for value in node.values:
        yield from _condition(text, value, is_whole=False)


def _number(text: Text, node: ast.expr, value: int) -> Iterator[Edit]:
    start, end = text.span(node)
    is_doubly_signed = value < 0 and text.source[max(0, start - 1) : start] == "-"
    if text.of(node) != str(value) or is_doubly_signed:
        return
    _, (_, following) = text.neighbours(start, end)
    for other in (value - 1, value + 1):
        if other >= 0 or following not in ("**", "."):  # these would take the number from its sign
            yield start, end, str(other), "constant"


def _constant(text: Text, node: ast.Constant) -> Iterator[Edit]:
    if isinstance(node.value, bool):
        yield (*text.span(node), str(not node.value), "boolean")
    elif isinstance(node.value, int):
        yield from _number(text, node, node.value)


def _negative(text: Text, node: ast.AST) -> int | None:
    """The number that a sign and digits directly after it are."""
    if not isinstance(node, ast.UnaryOp) or not isinstance(node.op, ast.USub):
        return None
    number = node.operand
    if not isinstance(number, ast.Constant) or type(number.value) is not int:
        return None
    return -number.value if text.of(node) == f"-{number.value}" else None


def _unary(text: Text, node: ast.UnaryOp) -> Iterator[Edit]:
    value = _negative(text, node)
    if value is not None:
        yield from _number(text, node, value)


def _call(text: Text, node: ast.Call) -> Iterator[Edit]:
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
        yield from _range_start(text, node)


def _range_start(text: Text, node: ast.Call) -> Iterator[Edit]:
    """A range that starts at 1 instead of 0, or the other way round."""
    if len(node.args) == 1:
        opened = text.find("(", text.span(node.func)[1], text.span(node)[1])
        assert opened is not None
        yield opened[1], opened[1], "1, ", "range start"
    elif len(node.args) == 2 and text.of(node.args[0]) == "1":
        start, end = text.span(node.args[0])
        if text.source[end : end + 2] == ", ":
            yield start, end + 2, "", "range start"


def _name(text: Text, node: ast.Name) -> Iterator[Edit]:
    if isinstance(node.ctx, ast.Load):
        for other in _NAMES.get(node.id, ()):
            yield (*text.span(node), other, "name")


def _subscript(text: Text, node: ast.Subscript) -> Iterator[Edit]:
    if isinstance(node.slice, ast.Slice):
        yield from _off_by_one(text, node.slice.lower)
        yield from _off_by_one(text, node.slice.upper)
    else:
        yield from _off_by_one(text, node.slice)


def _tuple(text: Text, node: ast.Tuple) -> Iterator[Edit]:
    has_star = any(isinstance(element, ast.Starred) for element in node.elts)
    if isinstance(node.ctx, ast.Load) and len(node.elts) == 2 and not has_star:
        yield from _exchange(text, node.elts[0], node.elts[1], "tuple order")


def _edits(text: Text, node: ast.AST) -> Iterator[Edit]:
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


def _walk(text: Text, node: ast.AST, statement: int) -> Iterator[tuple[Edit, int]]:
    if isinstance(node, ast.stmt):
        statement = node.lineno
    for edit in _edits(text, node):
        yield edit, statement
    if _negative(text, node) is not None:
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
        SyntaxError: the source itself does not parse, or is nested too deeply to be walked.
    """
    try:
        tree = ast.parse(source)
        text = Text(source)
        edits = sorted(set(_walk(text, tree, 1)))
    except (RecursionError, MemoryError) as error:
        raise SyntaxError("it is nested too deeply") from error
    seen = {source}
    found: list[Mutation] = []
    for (start, end, replacement, kind), statement in edits:
        mutation = Mutation(start, end, replacement, kind, text.line_of(start), statement)
        changed = apply(source, mutation)
        if changed not in seen and _parses(changed):
            seen.add(changed)
            found.append(mutation)
    return found


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
