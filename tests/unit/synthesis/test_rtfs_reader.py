"""The reader: the rules of the grammar, places of faults, and laws over generated text."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from planner_synthesis.rtfs.errors import RtfsSyntaxError, UnprintableForm
from planner_synthesis.rtfs.forms import MAX_DEPTH, Extra, Form, Kw, List, Map, Sym, Vector
from planner_synthesis.rtfs.printer import print_form, print_program
from planner_synthesis.rtfs.reader import count_reading_steps, read_expression, read_program
from planner_synthesis.rtfs.shapes import shape_of
from tests.reference.rtfs_peg import is_program, is_special_form
from tests.rtfs_forms import CODE_LIKE, FORMS, HOLES, PIECES, read_rows

X, Y, A = Sym("x"), Sym("y"), Kw("a")


def reads(text: str) -> tuple[Form, ...] | None:
    try:
        return read_program(text)
    except RtfsSyntaxError:
        return None


FORMS_OF_TEXTS: list[tuple[str, tuple[Form, ...]]] = [
    ("", ()),
    ("; only\n#| and ; this |#", ()),
    ("(+ 1-2)", (List((Sym("+"), 1, -2)),)),
    ("123abc", (123, Sym("abc"))),
    ("truex nil-x nil.x nil[]", (True, X, Sym("nil-x"), Sym("nil.x"), None, Vector())),
    ("2025-01-01T12:00:00_123Z 2025-01-01", ("2025-01-01T12:00:00_123Z", 2025, -1, -1)),
    ("aaaaaaaa-1111-2222-3333-444444444444", ("aaaaaaaa-1111-2222-3333-444444444444",)),
    ("resource://a/b) c", ("resource://a/b)", Sym("c"))),
    ("1e5 1.5E-3 +5 00012 -0.0", (1, Sym("e5"), 0.0015, 5, 12, -0.0)),
    ("-9223372036854775808", (-(2**63),)),
    ("##Inf##-Inf", (float("inf"), float("-inf"))),
    (":com.acme:v1.0:foo :com.acme:v1.0/foo", (
        Kw("com.acme"), Kw("v1.0"), Kw("foo"), Kw("com.acme:v1.0/foo"))),
    ("a/b/c -> .a%b", (Sym("a/b/c"), Sym("->"), Sym(".a"), Sym("%b"))),
    ('"a\\n\\t\\r\\\\\\"é\n"', ('a\n\t\r\\"é\n',)),
    ("{:a 1 :a 2 \"a\" 3 4 5}", (Map(((A, 2), ("a", 3), (4, 5))),)),
    ("(if true 1 2 3)", (List((Sym("if"), True, 1, 2, 3)),)),
    ("(iffy x y)", (List((Sym("if"), Sym("fy"), X, Y)),)),
    ("(iffy x y 1 2)", (List((Sym("iffy"), X, Y, 1, 2)),)),
    ("(default 1)", (List((Sym("def"), Sym("ault"), 1)),)),
    ("(default :a 1)", (List((Sym("def"), Sym("ault"), A, 1)),)),
    ("(defn f)", (List((Sym("def"), Sym("n"), Sym("f"))),)),
    ("(dothing 1)", (List((Sym("dothing"), 1)),)),
    ("(let[x:int 5]x)", (List((Sym("let"), Vector((X, Kw("int"), 5)), X)),)),
    ("(let [x : :int 5] x)", (List((Sym("let"), Vector((X, Kw("int"), 5)), X)),)),
    ("(let [x:int? ? 5] x)", (List((Sym("let"), Vector((X, Extra("type", ("int? ?",)), 5)), X)),)),
    ("(let [x:[:map [:k int ?] [:* :any]] 5] x)", (
        List((Sym("let"), Vector((X, Extra("type", ("[:map [:k int ?] [:* :any]]",)), 5)), X)),)),
    ("(let [{y :a} x] y)", (List((Sym("let"), Vector((Map(((A, Y),)), X)), Y)),)),
    ("(let [[x & y] z] x)", (
        List((Sym("let"), Vector((Vector((X, Sym("&"), Y)), Sym("z"))), X)),)),
    ("(let [{:keys [x] & y} z] x)", (
        List((Sym("let"), Vector((
            Extra("map-pattern", (Kw("keys"), Vector((X,)), Sym("&"), Y)), Sym("z"))), X)),)),
    ("(let [_x] 1)", (List((Sym("let"), Vector((Sym("_"), X)), 1)),)),
    ("(λ [x & y:int]:int x)", (
        List((Sym("fn"), Vector((X, Sym("&"), Y, Kw("int"))), Kw("int"), X)),)),
    ("(fn ^:delegation :remote \"m\" [x] x)", (
        List((Sym("fn"), Extra("delegation", ('^:delegation :remote "m"',)), Vector((X,)), X)),)),
    ("(match x [y 1] when true y _ nil)", (
        List((Sym("match"), X, Vector((Y, 1)), Sym("when"), True, Y, Sym("_"), None)),)),
    ("(tryx (catchx y 1)(finallyx))", (
        List((Sym("try"), X, List((Sym("catch"), X, Y, 1)), List((Sym("finally"), X)))),)),
    ("[@x @:a #(f %) (.m x 1) ^{:a 1} x (resource:ref \"r\") `(~x ~@y)]", (
        Vector((
            Extra("deref", (X,)), Extra("deref", (A,)),
            Extra("short-fn", (Sym("f"), Sym("%"))), Extra("method", (Sym("m"), X, 1)),
            Extra("meta", (Extra("meta", (Map(((A, 1),)),)), X)), Extra("resource-ref", ("r",)),
            Extra("quote", (List((Extra("unquote", (X,)),
                                  Extra("unquote", (Extra("deref", (Y,)),)))),)),
        )),)),
    ("(module m (:exports [x]) (def x 1))", (
        Extra("module", (Sym("m"), Vector((X,)), List((Sym("def"), X, 1)))),)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "forms"), FORMS_OF_TEXTS, ids=[text for text, _ in FORMS_OF_TEXTS]
)
def test_a_text_reads_as_these_forms(text: str, forms: tuple[Form, ...]) -> None:
    assert read_program(text) == forms


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("{:a 1, :b 2}", 1, 6), ("(a\n  [b}", 2, 5), ("1 )", 1, 3), ('\n "a', 2, 2), ("#{1}", 1, 1),
        ('"ab\\u0041"', 1, 4), ("{a 1}", 1, 2), ("[1 9223372036854775808]", 1, 4), ("::a", 1, 1),
        ("x (try 1)", 1, 7), ("(if x)", 1, 1), ("(let (x 1) x)", 1, 1), ("(a #| b", 1, 4), ("'x", 1, 1),
        ("(capability :x)", 1, 1), ("1 @x", 1, 3), ("\xa01", 1, 1), ("(f (try (g) (catch _ 1)))", 1, 8),
        ("(match x (:as n 1) 2)", 1, 1), ("(resource r (property 1 2))", 1, 1),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_place(text: str, line: int, column: int) -> None:
    with pytest.raises(RtfsSyntaxError) as refused:
        read_program(text)
    assert (refused.value.line, refused.value.column) == (line, column)
    assert refused.value.reason


def test_an_expression_is_the_one_form_at_the_start() -> None:
    assert read_expression("[x] ) anything") == Vector((X,))
    assert read_expression("@x") == Extra("deref", (X,))
    for text in ("", " x", "; c\nx", ")"):
        with pytest.raises(RtfsSyntaxError):
            read_expression(text)


def test_every_form_knows_where_it_stands() -> None:
    (form,) = read_program("\n (f\n  :a)")
    assert isinstance(form, List)
    head, keyword = form.items
    assert isinstance(head, Sym)
    assert isinstance(keyword, Kw)
    assert [form.at, head.at, keyword.at] == [(2, 2), (2, 3), (3, 3)]


def test_nesting_up_to_the_limit_reads_and_beyond_it_is_refused() -> None:
    for left, right in ("()", "[]", ("{:a ", "}"), ("(if 1 ", " 2)"), ("(let [x ", "] x)")):
        levels = MAX_DEPTH // (2 if left.startswith("(let") else 1)
        inner = "1" if " " in left else ""
        assert read_program(left * (levels - 1) + left + (inner or "") + right * levels)
        with pytest.raises(RtfsSyntaxError):
            read_program(left * (levels + 1) + inner + right * (levels + 1))


@pytest.mark.parametrize(
    "unit",
    ["(", "[", "{:a ", '"', "(let [x ", "(let [x :a (f ", "(if ", "(try (catch e ", "(match x [",
     "(fn [x:[:union ", "#|", "#(", "^{:a ", "`", ")", "(do 1)", "a:v1.", ":a", "\\", "1", "; c\n",
     "(let [x :a] 1) ", "(match 1 [:vector [a]] 1 _ 2) "],
)  # fmt: skip
def test_work_grows_with_the_text_and_no_faster(unit: str) -> None:
    small, large = (count_reading_steps(unit * n) for n in (300, 3_000))
    assert large <= 10 * small + 100


@pytest.mark.parametrize("unit", ["(", "[", "{:a ", "#(", "`", "(let [x ", "^{:a ", "(fn [["])
def test_a_hundred_thousand_levels_are_refused_in_peace(unit: str) -> None:
    with pytest.raises(RtfsSyntaxError):
        read_program(unit * 100_000)
    with pytest.raises(RtfsSyntaxError):
        read_expression(unit * 100_000)


@pytest.mark.parametrize(
    "text", ["a" * 10**6, ":" + "a" * 10**6, '"' + "a" * 10**6 + '"', " " * 10**6]
)
def test_long_tokens_read(text: str) -> None:
    assert reads(text) is not None


def test_a_number_of_a_million_digits_is_refused_or_read() -> None:
    assert reads("9" * 10**6) is None
    assert reads("0" * 10**6) == (0,)
    assert reads("1" * 10**6 + ".5") == (float("inf"),)


@given(FORMS)
def test_what_is_printed_reads_back_as_the_same_form(form: Form) -> None:
    try:
        text = print_form(form)
    except UnprintableForm:
        return
    assert read_program(text) == (form,)
    assert read_expression(text) == form


@given(st.text(max_size=60) | CODE_LIKE)
@example("(let [x :a] x)")
def test_any_text_reads_or_is_refused_and_what_is_read_prints_or_is_refused(text: str) -> None:
    forms = reads(text)
    try:
        printed = print_program(forms or ())
    except UnprintableForm:
        return
    assert read_program(printed) == (forms or ())


@given(CODE_LIKE | st.builds(lambda hole, piece: hole.replace("...", piece), HOLES, PIECES))
@settings(max_examples=500)
def test_the_reader_takes_what_a_naive_reading_of_the_grammar_takes(text: str) -> None:
    assert (reads(text) is not None) == is_program(text)


@given(st.builds(lambda hole, piece: hole.replace("...", piece), HOLES, PIECES))
@settings(max_examples=300)
def test_a_list_has_the_shape_of_a_special_form_where_the_grammar_takes_it_for_one(
    text: str,
) -> None:
    forms = reads(text)
    if forms is None or len(forms) != 1 or not isinstance(forms[0], List) or text[0] != "(":
        return
    if text.startswith(("(defstruct", "(defmacro", "(module")) or not text.endswith(")"):
        return
    assert (shape_of(forms[0]) is not None) == is_special_form(text)


def test_the_naive_reading_of_the_grammar_agrees_with_upstream(shared_data: Path) -> None:
    rows = [row for row in read_rows(shared_data, "parse_probes") if row["unanimous"]]
    assert not [r["source"] for r in rows if is_program(r["source"]) != (r["expect"] == "ok")]


@given(st.binary(max_size=80))
def test_any_bytes_read_or_are_refused(raw: bytes) -> None:
    reads(raw.decode("latin-1"))
    reads(raw.decode("utf-8", "surrogateescape"))
