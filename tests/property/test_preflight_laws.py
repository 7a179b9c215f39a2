"""Preflight against random programs: it never fails itself, and what it accepts does as it says."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from planner_synthesis.preflight import PreflightReport, check_planner
from planner_synthesis.rtfs import (
    Kw,
    Limits,
    List,
    Map,
    RtfsError,
    StubHost,
    Sym,
    UnprintableForm,
    Vector,
    evaluate,
    print_form,
)
from planner_synthesis.rtfs.errors import UndefinedSymbol
from planner_synthesis.rtfs.forms import FormTooDeep
from planner_synthesis.rtfs.host import HostCall
from planner_synthesis.types import RuntimeContext

GOLDEN_TEXTS = [
    path.read_text()
    for path in sorted((Path(__file__).parents[1] / "golden/synthesis").glob("*.rtfs"))
]
FULL = RuntimeContext(level="full")
REGISTRY = {"x": (), "y": (), "a:b": ()}
ATOMS = st.sampled_from([
    None, True, 1, 2.5, "x", "z", "a:b", Kw("x"), Kw("q"), Kw("z"), Sym("context"), Sym("a"), Sym("b"), Sym("f"),
    Sym("get"), Sym("get-in"), Vector((Kw("r"),)), Sym("map"), Sym("str"), Sym("first"), Sym("nobody"), Sym("call")])  # fmt: skip
HEADS = st.sampled_from([
    "do", "let", "if", "fn", "call", "step", "get", "get-in", "vals", "map", "filter", "reduce", "str", "assoc", "merge", "contains?", "f", "a",
    "def", "defn", "match", "try", "eval", "llm-execute", "http-fetch", "and", "concat", "keys", "first"]).map(Sym)  # fmt: skip


def _forms(inner: st.SearchStrategy) -> st.SearchStrategy:
    names = st.sampled_from([Sym("a"), Sym("b"), Sym("f"), Sym("first"), Sym("context"), Sym("call"), Vector((Sym("a"),)),
                             Map(((Kw("keys"), Vector((Sym("q"),))),))])  # fmt: skip
    bindings = st.lists(st.tuples(names, inner), max_size=2).map(
        lambda ps: Vector(tuple(x for p in ps for x in p))
    )
    return st.one_of(
        st.lists(inner, max_size=3).map(lambda xs: Vector(tuple(xs))),
        st.lists(st.tuples(st.sampled_from([Kw("q"), Kw("context"), "s", 1]), inner), max_size=2).map(lambda xs: Map(tuple(xs))),
        st.builds(lambda h, xs: List((h, *xs)), HEADS, st.lists(inner, max_size=3)),
        st.builds(lambda b, x: List((Sym("let"), b, x)), bindings, inner),
        st.builds(lambda n, x, y: List((Sym("do"), List((Sym("fn"), Vector((n,)), x)), y)), names, inner, inner),
        st.builds(lambda i, x: List((Sym("call"), i, x)), st.sampled_from(["x", "a:b", Kw("y"), "z", Sym("a")]), inner),
        st.builds(lambda k, x: List((k, x)), st.sampled_from([Kw("q"), Kw("r")]), inner),
    )  # fmt: skip


PROGRAMS = st.recursive(ATOMS, _forms, max_leaves=10)


def check(text: str) -> PreflightReport:
    return check_planner(text, security=FULL, registry=REGISTRY)


@settings(max_examples=600, deadline=None)
@given(PROGRAMS, st.fixed_dictionaries({}, optional={"q": st.integers(0, 1), "r": st.none()}))
def test_what_preflight_accepts_calls_nothing_else_and_knows_every_name(
    form: object, context: dict
) -> None:
    try:
        text = print_form(form)
    except (UnprintableForm, FormTooDeep):
        return
    report = check(text)
    if not report.is_ok:
        return
    assert print_form(report.body) == report.text
    host = StubHost()
    try:
        evaluate(text, host=host, context=context, limits=Limits(steps=5_000))
    except UndefinedSymbol as error:
        raise AssertionError(f"{error} in {text}") from error
    except RtfsError:
        pass  # types can only be known at run time
    called = {entry.capability for entry in host.log if isinstance(entry, HostCall)}
    assert called <= set(report.capability_ids) <= REGISTRY.keys()


def called_with(text: str, context: dict) -> list[object]:
    """The calls of a run, and how it ended where that was no value."""
    host = StubHost()
    try:
        evaluate(text, host=host, context=context, limits=Limits(steps=5_000))
    except RtfsError as error:
        return [*host.log_as_json(), error.kind]
    return list(host.log_as_json())


@settings(max_examples=600, deadline=None)
@given(PROGRAMS, st.integers(0, 1), st.none() | st.integers(0, 1))
def test_a_key_that_is_not_among_those_read_changes_no_call(
    form: object, q: int, r: int | None
) -> None:
    """``:expects`` is true: unless the whole context is handed on, no other key is seen by anyone."""
    call = List((Sym("call"), "x", Map(((Kw("q"), form),))))
    try:
        text = print_form(call)
    except (UnprintableForm, FormTooDeep):
        return
    report = check(text)
    if not report.is_ok or report.hands_context_on:
        return
    plain = {"q": q, "r": r, "z": 1}
    for key in plain.keys() - set(report.context_keys):
        other = {**plain, key: [7]}
        gone = {name: value for name, value in plain.items() if name != key}
        assert called_with(text, plain) == called_with(text, other) == called_with(text, gone)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_text_makes_preflight_fail(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(GOLDEN_TEXTS) | st.text(max_size=40))
    at = data.draw(st.integers(0, len(text)))
    wedge = data.draw(st.text(alphabet='()[]{}":;#^@`~\\ \n&%.a1', max_size=4))
    report = check(text[:at] + wedge + text[at + data.draw(st.integers(0, 3)) :])
    assert report.is_ok or all(finding.message for finding in report.findings)


def test_a_hostile_depth_or_length_ends_in_a_finding() -> None:
    for text in (
        "(" * 60_000,
        "[" * 30_000 + "]" * 30_000,
        '"' * 60_001,
        ":a" * 30_000,
        "x" * 10**6,
        "{:a " * 9_000,
    ):
        assert not check(text).is_ok
