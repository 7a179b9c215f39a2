"""Changes of sources: what every change keeps, and that another one undoes it."""

import ast
import random
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
N_UNDONE = 14  # changes of a template that are undone; all 1,332 of them take a minute


def results(source: str) -> list[str]:
    return [apply(source, one) for one in mutations(source)]


def is_undone(source: str, changed: str) -> bool:
    """Whether a change leads from the changed source to the source, told without trying them all."""
    return any(apply(changed, one) == source for one in mutations(changed))


def laws(source: str) -> list[Mutation]:
    """Hold what holds for every source."""
    found = mutations(source)
    assert found == mutations(str(source)), "equal sources, equal changes"
    assert all(one < other for one, other in zip(found, found[1:], strict=False)), "a total order"
    texts = [apply(source, one) for one in found]
    assert source not in texts, "never the identity"
    assert len(set(texts)) == len(texts), "no duplicates"
    for one, text in zip(found, texts, strict=True):
        ast.parse(text)
        assert 0 <= one.start <= one.end <= len(source)
        assert one.line == source.count("\n", 0, one.start) + 1
        assert one.statement <= one.line or source.split("\n")[one.line - 1].lstrip()[:1] in "@#"
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
SIGNS = "+ - * // / % & | << >> ** < <= > >= == != in is".split() + ["not in", "is not"]


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
