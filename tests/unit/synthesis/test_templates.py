"""Emitted programs, to the letter; changing a golden file is a reviewed act."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_synthesis.preflight import check_planner
from planner_synthesis.rtfs.forms import Kw, List, Map, Sym
from planner_synthesis.rtfs.reader import read_program
from planner_synthesis.templates import (
    AdapterStepError,
    capability_form,
    direct_form,
    emit_planner_rtfs_adapter,
    emit_planner_rtfs_direct,
    emit_planner_rtfs_requires_agent,
    emit_stub_capability,
    id_form,
    key_form,
    print_form,
)
from planner_synthesis.types import AdapterStep, InputSpec, RuntimeContext

GOLDEN = Path(__file__).parents[2] / "golden" / "synthesis"
FULL = RuntimeContext(level="full")


def step(
    from_: str, to: str, coercion: str | None = None, default_used: bool = False
) -> AdapterStep:
    return AdapterStep(from_=from_, to=to, coercion=coercion, default_used=default_used)


EMITTED = {
    "direct": lambda: emit_planner_rtfs_direct("travel.book.v1"),
    "direct_string_id": lambda: emit_planner_rtfs_direct("com.acme:v1.0:book"),
    "adapter_rename": lambda: emit_planner_rtfs_adapter("github.search", steps=[
        step("github_repository", "repo"), step("criteria", "criteria")]),
    "adapter_coercions": lambda: emit_planner_rtfs_adapter("a.b", steps=[
        step("s", "n", "string->int"), step("s2", "x", "string->float"), step("s3", "yes", "string->bool"),
        step("i", "t", "int->string"), step("e", "level", "string->enum"), step("day", "when", "parse-date"),
    ], inputs=[InputSpec(key="level", type="enum", enum_values=("Low", "High"))]),
    "adapter_default_and_optional": lambda: emit_planner_rtfs_adapter("a.b", steps=[
        step("limit", "n", "string->int", default_used=True), step("not a keyword", "q")],
        inputs=[InputSpec(key="n", type="int", required=False)], defaults={"limit": "5"}),
    "requires_agent": lambda: emit_planner_rtfs_requires_agent(
        stub_id="synth.domain.agent.stub", missing=["trip/budget", "dates"]),
    "stub": lambda: emit_stub_capability(
        "synth.domain.agent.stub", expects=["trip/budget"], description='Needs "work"'),
    "capability": lambda: print_form(capability_form(
        "synth.domain.planner.v1", body=direct_form("a.b"), expects=["k"], description="A planner")),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(EMITTED))
def test_an_emitted_program_is_what_was_agreed(name: str) -> None:
    assert EMITTED[name]() + "\n" == (GOLDEN / f"{name}.rtfs").read_text()


def test_every_golden_file_is_still_emitted() -> None:
    assert {path.stem for path in GOLDEN.glob("*.rtfs")} == EMITTED.keys()


@pytest.mark.parametrize("name", sorted(EMITTED))
def test_an_emitted_program_is_one_form_without_comma_or_placeholder(name: str) -> None:
    text = EMITTED[name]()
    assert len(read_program(text)) == 1
    assert text == print_form(read_program(text)[0])


@pytest.mark.parametrize(("name", "calls", "expects"), [
    ("direct", ["travel.book.v1"], []), ("direct_string_id", ["com.acme:v1.0:book"], []),
    ("adapter_rename", ["github.search"], ["criteria", "github_repository"]),
    ("adapter_coercions", ["a.b"], ["s", "s2", "s3", "i", "e", "day"]),
    ("adapter_default_and_optional", ["a.b"], ["limit", "not a keyword"]),
    ("requires_agent", [], []), ("stub", [], ["trip/budget"]), ("capability", ["a.b"], None),
])  # fmt: skip
def test_preflight_accepts_what_is_emitted_and_sees_its_calls_and_keys(
    name: str, calls: list[str], expects: list[str] | None
) -> None:
    registry = dict.fromkeys(calls, ())
    report = check_planner(EMITTED[name](), security=FULL, registry=registry,
                           required_capabilities=calls, expects=expects)  # fmt: skip
    assert report.findings == ()
    assert report.capability_ids == tuple(calls)


@pytest.mark.parametrize(("steps", "inputs", "why"), [
    ([step("a", "x", default_used=True)], [], "no default of 'a' is given"),
    ([step("a", "x", "string->moon")], [], "no coercion is called 'string->moon'"),
    ([step("a", "x", "")], [], "no coercion is called ''"),
    ([AdapterStep(from_="", to="x", default_used=True, is_own_default=True)], [], "not known to have a default"),
    ([AdapterStep(from_="", to="x", default_used=True, is_own_default=True)], [InputSpec(key="x")], "not known to have"),
    ([step("a", "b"), step("c", "b")], [], "another step fills the same input"),
])  # fmt: skip
def test_a_step_that_cannot_be_written_is_an_error_with_the_step(
    steps: list[AdapterStep], inputs: list[InputSpec], why: str
) -> None:
    with pytest.raises(AdapterStepError, match=why) as refused:
        emit_planner_rtfs_adapter("x", steps=steps, inputs=inputs)
    assert refused.value.step == steps[-1]


def test_a_sentence_about_a_step_steers_nothing() -> None:
    said = AdapterStep(from_="a", to="x", reason="the candidate's default")
    assert "(get c :a)" in emit_planner_rtfs_adapter("x", steps=[said])
    own = AdapterStep(from_="", to="x", default_used=True, is_own_default=True, reason="so I say")
    text = emit_planner_rtfs_adapter("x", steps=[own], inputs=[InputSpec(key="x", default="d")])
    assert '{:x "d"}' in text
    empty = AdapterStep(from_="", to="x", default_used=True)
    assert '(get c "")' in emit_planner_rtfs_adapter("x", steps=[empty], defaults={"": 1})


def test_an_id_is_a_keyword_only_where_the_whole_of_it_is_one() -> None:
    assert id_form("a.b/c") == Kw("a.b/c")
    assert id_form("com.acme:v1.0/book") == Kw("com.acme:v1.0/book")
    assert [id_form(i) for i in ("a:b", "1a", "é", "", "a b")] == ["a:b", "1a", "é", "", "a b"]


@given(st.text(max_size=12), st.text(max_size=12))
def test_any_id_and_key_is_one_literal_of_the_program(capability_id: str, key: str) -> None:
    text = emit_planner_rtfs_adapter(capability_id, steps=[step(key, key)])
    report = check_planner(text, security=FULL, registry={capability_id: ()},
                           required_capabilities=[capability_id], expects=[key])  # fmt: skip
    assert report.findings == ()
    (form,) = read_program(emit_planner_rtfs_direct(capability_id))
    call = form.items[1].items[1].items[1]
    assert call == List(
        (Sym("call"), id_form(capability_id), Map(((Kw("context"), Sym("context")),)))
    )
    assert key_form(key) in (key, Kw(key))
