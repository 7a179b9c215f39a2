"""The printer: exact texts, the emit rules, and what it refuses to write."""

import pytest

from planner_synthesis.rtfs.errors import FormTooDeep, RtfsTypeError, UnprintableForm
from planner_synthesis.rtfs.forms import (
    MAX_DEPTH,
    Extra,
    Form,
    Kw,
    List,
    Map,
    Position,
    Sym,
    Vector,
)
from planner_synthesis.rtfs.printer import print_form, print_program


def a_call(head: str, *arguments: Form) -> List:
    return List((Sym(head), *arguments))


TEXTS: list[tuple[Form, str]] = [
    (None, "nil"),
    (True, "true"),
    (-5, "-5"),
    (2.0, "2.0"),
    (1e21, "1000000000000000000000.0"),
    (1e-7, "0.0000001"),
    (float("inf"), "##Inf"),
    (float("-inf"), "##-Inf"),
    ('a"b\\c\n\t\r\x01é', '"a\\"b\\\\c\\n\\t\\r\x01é"'),
    (Kw("trip/dates"), ":trip/dates"),
    (Kw("com.acme:v1.0/book"), ":com.acme:v1.0/book"),
    (Vector((1, Vector())), "[1 []]"),
    (List(), "()"),
    (Map(((Kw("b"), 1), ("b", 2), (10, 3), (9, 4), (Kw("a"), 5))), '{9 4 10 3 :a 5 :b 1 "b" 2}'),
    (a_call("let", Vector((Sym("x"), a_call("do", Kw("a")))), Sym("x")), "(let [x (do :a)] x)"),
    (a_call("fn", Vector((Sym("x"), Sym("&"), Sym("r"))), Sym("r")), "(fn [x & r] r)"),
    (float("nan"), "##NaN"),
]


@pytest.mark.parametrize(("form", "text"), TEXTS)
def test_a_form_has_one_text(form: Form, text: str) -> None:
    assert print_form(form) == text


def test_a_program_ends_every_line() -> None:
    assert print_program([1, Kw("a")]) == "1\n:a\n"


def test_the_order_of_entries_does_not_reach_the_text() -> None:
    entries = ((Kw("a"), 1), (Kw("b"), 2))
    assert Map(entries) == Map(entries[::-1])
    assert print_form(Map(entries)) == print_form(Map(entries[::-1]))


@pytest.mark.parametrize(
    "form",
    [
        Kw("com.acme:v1.0:book"), Kw(""), Kw("a b"), Kw("1a"), Kw("é"), Sym("a b"), Sym("x)(y"),
        Sym("truex"), Sym("false-positive"), Sym("nil"), Sym("+5"), Sym("a,b"), Sym("&"), Sym("a\n"),
        Sym("00000000-0000-0000-0000-000000000000".replace("0", "a")), Sym("<required-keys>"),
        2**63, Extra("type", ("int",)), a_call("iffy", 1, 2), a_call("default", 1),
        a_call("fn", Vector((Sym("_x"),)), 1), a_call("match", 1, Vector((Kw("vector"), Sym("x"))), 2),
        a_call("try", 1), a_call("if", 1), a_call("trying", 1), a_call("let", Vector((Sym("x"), Kw("a"))), Sym("x")),
        a_call("def", Sym("x"), Kw("a")), a_call("fn", Vector((Sym("x"),)), Kw("a")),
        a_call("defn", Sym("f"), Vector((Sym("x"),)), Kw("a")), "\ud800", Map((("\udfff", 1),)),
    ],
    ids=repr,
)  # fmt: skip
def test_what_would_read_back_as_something_else_is_not_written(form: Form) -> None:
    with pytest.raises(UnprintableForm):
        print_form(Vector((form,)))


def test_a_program_holds_only_what_may_stand_at_the_top() -> None:
    form = a_call("for", Vector((Sym("x"), Vector())), Sym("x"))
    assert print_form(form) == "(for [x []] x)"
    with pytest.raises(UnprintableForm):
        print_program([form])


def test_a_form_deeper_than_the_limit_cannot_be_built() -> None:
    form: Form = Vector()
    for _ in range(MAX_DEPTH - 1):
        form = Vector((form,))
    assert print_form(form) == "[" * MAX_DEPTH + "]" * MAX_DEPTH
    with pytest.raises(FormTooDeep):
        List((form,))


@pytest.mark.parametrize("key", [True, None, 1.5, Vector(), Sym("a")])
def test_a_key_is_a_keyword_a_string_or_an_integer(key: Form) -> None:
    with pytest.raises(RtfsTypeError):
        Map(((key, 1),))  # type: ignore[arg-type]


def test_equality_is_strict_on_type_and_blind_to_place() -> None:
    bare: list[Form] = [
        1, 1.0, True, "1", Kw("1"), Sym("1"), Vector((1,)), Vector((True,)), List((1,)), None,
    ]  # fmt: skip
    values = [Vector((value,)) for value in bare]
    pairs = [(i, j) for i in range(len(values)) for j in range(len(values))]
    assert all((values[i] == values[j]) == (i == j) for i, j in pairs)
    assert Vector((Sym("a", at=Position(1, 2)),), at=Position(1, 1)) == Vector((Sym("a"),))
