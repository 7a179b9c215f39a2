"""Changes of sources: what every change keeps, and that another one undoes it."""

import ast
import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import planner_pipeline.repair
from planner_pipeline.repair.mutations import Mutation, apply, mutations

TEMPLATES = {
    path.name.removesuffix(".py.txt"): path.read_text(encoding="utf-8")
    for path in sorted((Path(planner_pipeline.repair.__file__).parent / "templates").iterdir())
    if not path.name.endswith(".tests.py.txt")
}
N_UNDONE = 9  # changes of a template that are undone; all 1,332 of them take a minute


def results(source: str) -> list[str]:
    return [apply(source, one) for one in mutations(source)]


def is_undone(source: str, changed: str) -> bool:
    """Whether a change leads from the changed source to the source, told without trying them all."""
    return any(apply(changed, one) == source for one in mutations(changed))


def laws(source: str) -> list[Mutation]:
    """Hold what holds for every source."""
    found = mutations(source)
    assert found == mutations(str(source)), "equal sources, equal changes"
    assert all(one < other for one, other in pairwise(found)), "a total order"
    texts = [apply(source, one) for one in found]
    assert source not in texts, "never the identity"
    assert len(set(texts)) == len(texts), "no duplicates"
    for one, text in zip(found, texts, strict=True):
        ast.parse(text)
        assert 0 <= one.start <= one.end <= len(source)
        assert one.line == source.count("\n", 0, one.start) + 1
        assert 1 <= one.statement <= one.line
    return found


# every template ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_change_of_a_template_keeps_the_laws(name: str) -> None:
    assert len(laws(TEMPLATES[name])) > 40


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_one_change_did_to_a_template_another_one_undoes(name: str) -> None:
    source = TEMPLATES[name]
    found = mutations(source)
    by_kind: dict[str, Mutation] = {}
    rng = random.Random(name)
    for one in rng.sample(found, len(found)):
        by_kind.setdefault(one.kind, one)
    kinds = list(by_kind.values())
    others = [one for one in rng.sample(found, N_UNDONE) if one not in kinds]
    for one in [*kinds, *others][:N_UNDONE]:
        assert is_undone(source, apply(source, one)), one


@pytest.mark.slow
@pytest.mark.parametrize("name", TEMPLATES)
def test_what_any_change_did_to_a_template_another_one_undoes(name: str) -> None:
    source = TEMPLATES[name]
    kept = [one for one in mutations(source) if not is_undone(source, apply(source, one))]
    assert kept == []


# sources of all shapes --------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "größe", "名", "min", "xs.index", "len(xs)"])
NUMBERS = st.sampled_from(["0", "1", "2", "-1", "-2", "10_000", "0x1f", "1.5", "True"])
TEXTS = st.sampled_from(['"é < ü"', "'a'", '"""x\n+ 1"""', 'f"{a + 1}"'])
SIGNS = [*"+ - * // / % & | << >> ** < <= > >= == != in is".split(), "not in", "is not"]


def _joined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Expressions of smaller ones, spaced as formatters do, some with needless parentheses."""
    two = st.tuples(parts, parts)
    return st.one_of(
        st.tuples(parts, st.sampled_from([*SIGNS, "and", "or"]), parts).map(" ".join),
        parts.map("({})".format),
        parts.map("not {}".format),
        parts.map("not ({})".format),
        parts.map("-{}".format),
        parts.map("xs[{}]".format),
        parts.map("range({})".format),
        two.map(lambda p: f"xs[{p[0]} : {p[1]}]"),
        two.map(lambda p: f"xs[{p[0]}, {p[1]}]"),
        two.map(lambda p: f"range({p[0]}, {p[1]})"),
        two.map(lambda p: f"xs.find({p[0]}, {p[1]})"),
        two.map(lambda p: f"({p[0]}, {p[1]})"),
        two.map(lambda p: f"[{p[0]} for a in xs if {p[1]}]"),
        two.map(lambda p: f"{p[0]} if {p[1]} else {p[0]}"),
        two.map(lambda p: f"lambda a={p[0]}: {p[1]}"),
        two.map(lambda p: f"(b := {p[0]}) in ({p[1]})"),
    )


EXPRESSIONS = st.recursive(NAMES | NUMBERS | TEXTS, _joined, max_leaves=7)
STATEMENTS = st.one_of(
    st.tuples(EXPRESSIONS).map(lambda p: f"a = {p[0]}\n"),
    st.tuples(EXPRESSIONS).map(lambda p: f"a += {p[0]}\n"),
    st.tuples(EXPRESSIONS, EXPRESSIONS).map(lambda p: f"if {p[0]}:\n    return {p[1]}\n"),
    st.tuples(EXPRESSIONS, EXPRESSIONS).map(
        lambda p: f"while {p[0]}:\n    if {p[1]}:\n        break\n    continue\n"
    ),
)


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


SOURCES = st.lists(STATEMENTS, min_size=1, max_size=2).map("".join).filter(_parses)


@settings(max_examples=150, deadline=None)
@given(SOURCES)
def test_every_source_keeps_the_laws(source: str) -> None:
    laws(source)


@settings(max_examples=150, deadline=None)
@given(SOURCES, st.data())
def test_what_one_change_did_to_a_source_another_one_undoes(
    source: str, data: st.DataObject
) -> None:
    found = mutations(source)
    if found:
        one = data.draw(st.sampled_from(found))
        assert is_undone(source, apply(source, one)), one


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_refused_or_keeps_the_laws(text: str) -> None:
    try:
        found = mutations(text)
    except SyntaxError:
        return
    assert all(apply(text, one) != text for one in found)


# examples ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x < y", "x <= y"),
        ("x in y", "x not in y"),
        ("x is y", "x is not y"),
        ("a & b | c", "a | b | c"),
        ("x[i]", "x[i + 1]"),
        ("x[i + 1 :]", "x[i :]"),
        ("x[: a * b - 1]", "x[: a * b]"),
        ("range(n)", "range(1, n)"),
        ("range((n))", "range(1, (n))"),
        ("range(n)", "range(n - 1)"),
        ("f(a, (b := 1))", "f(b := 1, (a))"),
        ("x - 1", "1 - x"),
        ("(a, b)", "(b, a)"),
        ("a.find(b)", "a.rfind(b)"),
        ("min(a)", "max(a)"),
        ("x = 0", "x = -1"),
        ("x = -(0)", "x = -(-1)"),
        ("x = True", "x = False"),
        ("x += 1", "x -= 1"),
        ("a and b", "a or b"),
        ("a and b", "a and not b"),
        ("a and (b or c)", "a and not (b or c)"),
        ("x if a or b else y", "x if not (a or b) else y"),
        ("x if 0 < a < 3 else y", "x if not 0 < a < 3 else y"),
        ("if (a\n    or b):\n    pass", "if not (a\n    or b):\n    pass"),
        ("while (a if b else c):\n    pass", "while not (a if b else c):\n    pass"),
        ("while a if b else c:\n    pass", "while not (a if b else c):\n    pass"),
        ("[x for x in y if x]", "[x for x in y if not x]"),
        ("for x in y:\n    break", "for x in y:\n    continue"),
    ],
)
def test_two_sources_are_one_change_apart(one: str, other: str) -> None:
    assert other in results(one)
    assert one in results(other)


@pytest.mark.parametrize(
    ("source", "impossible"),
    [
        ("x = 0**2", "x = -1**2"),  # the sign would be that of the power
        ("x = --1", "x = -0"),
        ("if not a < b:\n    pass", "if a < b:\n    pass"),  # no change negates one comparison
        ("if not not a:\n    pass", "if not a:\n    pass"),
        ("x[2 + 1]", "x[2]"),  # a constant has other changes
        ("x[(a + b) + 1]", "x[(a + b)]"),
    ],
)
def test_what_could_not_be_undone_is_not_done(source: str, impossible: str) -> None:
    assert impossible not in results(source)


@pytest.mark.parametrize(
    "source",
    [
        'x: list["a < b"]\n',
        "def f(a: x[1]) -> y[1]:\n    pass\n",
        "@f(1)\ndef g():\n    pass\n",
        "class A(b[1], c=1):\n    pass\n",
        'f"{a + 1} {b < 2}"\n',
        "# 1 < 2\n",
        '"""1 < 2"""\n',
        "x = 0x10\n",
    ],
)
def test_annotations_decorators_bases_texts_and_comments_are_left_alone(source: str) -> None:
    assert mutations(source) == []


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("before", ["", "größe = '名😀'; ", "s = '''é\\\nü'''; ", "\x0c"])
def test_places_are_characters_whatever_the_text(before: str, ending: str) -> None:
    source = ending.join(["# ünï", f"{before}größe = 'é' + 名[ünï] < 'ß'", "y = f(größe, 名)", ""])
    changed = results(source)
    assert source.replace("< 'ß'", "<= 'ß'") in changed
    assert source.replace("'é' + 名", "'é' - 名") in changed
    assert source.replace("[ünï]", "[ünï + 1]") in changed
    assert source.replace("(größe, 名)", "(名, größe)") in changed
    assert all(is_undone(source, text) for text in changed)


def test_a_change_knows_the_line_it_is_on_and_the_statement_around_it() -> None:
    source = (
        "def f(xs):\n"
        "    for x in xs:\n"
        "        if x:\n"
        "            return g(\n"
        "                x,\n"
        "                [y for y in xs if y < 2],\n"
        "            )\n"
    )
    found = {(one.line, one.statement, one.replacement) for one in laws(source)}
    assert (3, 3, "not ") in found
    assert (6, 4, "<=") in found
    assert {line for line, _, _ in found} == {3, 5, 6}


def test_changes_come_in_the_order_of_their_places() -> None:
    found = [(one.start, one.end, one.replacement) for one in mutations("a < 1\nb = 2 - c\n")]
    assert found == sorted(found)
    assert found[0] == (2, 3, "<=")


@pytest.mark.parametrize(
    "source", ["x = (", "x = 1\0", "\ufeffx = 1", "x = " + "1 + " * 9_000 + "1"]
)
def test_what_is_no_source_is_refused(source: str) -> None:
    with pytest.raises(SyntaxError):
        mutations(source)
