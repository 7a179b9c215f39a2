"""Drafts that must not pass, and ties that the quick search must not lose."""

import json
from pathlib import Path

import pytest

from planner_synthesis import (
    CapabilityCard,
    InputSpec,
    InteractionTurn,
    JsonLinesSink,
    ParamSchema,
    ParamSpec,
    PlannerGenContext,
    RuntimeContext,
    SynthesisConfig,
    generate_planner_generic,
    score_candidates,
)
from planner_synthesis.config import DEFAULT_CONFIG
from planner_synthesis.drafts import Draft, check_draft
from planner_synthesis.rtfs import Form, read_expression

FULL = RuntimeContext(level="full")


def request(*cards: CapabilityCard, keys: str = "k") -> PlannerGenContext:
    schema = ParamSchema(params=tuple(ParamSpec(key=key) for key in keys.split()))
    return PlannerGenContext(schema=schema, security=FULL, registry_caps=cards)


def problems(text: str, **more: object) -> tuple[str, ...]:
    body: Form = read_expression(text)
    draft = Draft(body=body, template="adapter", calls=("x",), expects=("k",), **more)  # type: ignore[arg-type]
    return check_draft(
        draft, request(CapabilityCard(id="x", expects_context_keys=("k",))), DEFAULT_CONFIG
    )


@pytest.mark.parametrize(("text", "why"), [
    ('(do (if (= (:k context) "never") (call :x 1)) {:status "processing"})', "called [], not ['x']"),
    ('(do (call :x (:k context)) {:status "great"})', "no status that is known"),
    ('(do (call :x (:k context)) 1)', "no status that is known"),
    ('(do (call :x (+ 1 (:k context))) {:status "processing"})', "run 1:"),
    ('(do (call :x (:k context)) (call :y 1) {:status "processing"})', "unknown-id"),
    ('(do (call :x (:other context)) {:status "processing"})', "reads 'other', not expected"),
    ('(do (call :x 1) {:status "processing"})', "expects 'k', never read"),
])  # fmt: skip
def test_a_draft_that_does_not_do_as_it_says_is_refused(text: str, why: str) -> None:
    assert any(why in problem for problem in problems(text)), problems(text)


def test_a_draft_that_does_as_it_says_passes() -> None:
    assert problems('(do (call :x (:k context)) {:status "processing"})') == ()
    maybe = '(do (if (= (:k context) "never") (call :x 1)) {:status "processing"})'
    assert problems(maybe, must_call_all=False) == ()


def test_a_tie_is_decided_by_id_even_where_one_of_the_two_looked_better_from_afar() -> None:
    """The typed card's bound is 1 and its score .85; the other's bound is .85 already."""
    typed = CapabilityCard(id="b", inputs=(InputSpec(key="repo"),))
    plain = CapabilityCard(id="a", expects_context_keys=("repo",))
    (first,) = score_candidates(
        request(typed, plain, keys="repository"), config=SynthesisConfig(max_candidates=1))  # fmt: skip
    assert first.id == "a"


@pytest.mark.parametrize("key", ["_", "-", "", ":", "."])
def test_a_key_of_separators_alone_is_still_itself(key: str) -> None:
    schema = ParamSchema(params=(ParamSpec(key=key),))
    context = PlannerGenContext(
        schema=schema, security=FULL, registry_caps=(CapabilityCard(id="x", expects_context_keys=(key,)),))  # fmt: skip
    (score,) = score_candidates(context)
    assert (score.coverage, score.compatibility) == (1.0, 1.0)


def test_viable_candidates_come_before_better_scores_that_are_not() -> None:
    good = CapabilityCard(id="good", expects_context_keys=("repo",))
    lacking = CapabilityCard(
        id="lacking", expects_context_keys=("repository", "x"), local=True, trust_tier="T2"
    )
    scores = score_candidates(request(good, lacking, keys="repository"))
    assert [s.id for s in scores] == ["good", "lacking"]
    assert scores[0].total < scores[1].total


def test_a_key_that_a_card_names_twice_is_one_input() -> None:
    twice = CapabilityCard(id="twice", expects_context_keys=("repo", "x", "x"))
    slip = CapabilityCard(id="slip", expects_context_keys=("reposiory", "y"))
    (first,) = score_candidates(
        request(twice, slip, keys="repository"), config=SynthesisConfig(max_candidates=1))  # fmt: skip
    assert (first.id, first.compatibility) == ("twice", 0.425)


def test_a_required_key_goes_before_an_optional_one_of_a_better_name() -> None:
    schema = ParamSchema(params=(ParamSpec(key="query", required=False), ParamSpec(key="search")))
    context = PlannerGenContext(
        schema=schema, security=FULL, registry_caps=(CapabilityCard(id="x", expects_context_keys=("query",)),))  # fmt: skip
    (score,) = score_candidates(context)
    assert (score.coverage, score.compatibility) == (1.0, 0.85)


HALF = "\ud800"  # of a surrogate pair: no file holds it, and only a caller in Python can have it


@pytest.mark.parametrize("card", [
    CapabilityCard(id=f"a{HALF}", expects_context_keys=("k",), trust_tier="T2"),
    CapabilityCard(id="a", trust_tier="T2", inputs=(InputSpec(key=f"k{HALF}"), InputSpec(key="k"))),
    CapabilityCard(id="a", trust_tier="T2", inputs=(
        InputSpec(key="k", type="enum", enum_values=(f"x{HALF}",)),)),
])  # fmt: skip
def test_a_card_that_no_file_can_hold_gives_way_to_the_next(
    card: CapabilityCard, tmp_path: Path
) -> None:
    good = CapabilityCard(id="z", expects_context_keys=("k",))
    for cards, called in (((card,), ()), ((card, good), ("z",))):
        sink = JsonLinesSink(tmp_path / "events.jsonl")
        synthesis = generate_planner_generic(request(*cards), sink=sink)
        assert synthesis.required_capabilities == called
        synthesis.rtfs.encode()
        if synthesis.stub is not None:
            synthesis.stub.encode()
    events = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in events] == ["planner_generation"] * 2


@pytest.mark.parametrize("is_first", [False, True])
def test_a_text_of_which_two_steps_make_two_types_is_tried_as_what_must_be_met(
    is_first: bool,
) -> None:
    schema = ParamSchema(params=tuple(ParamSpec(key=key) for key in ("when", "a", "b")))
    turns = tuple(
        InteractionTurn(turn_index=n, prompt=f"Which {key}?", answer="x")
        for n, key in enumerate(("when", "a", "b", "c"))
    )
    must = (InputSpec(key="when", type="date"), InputSpec(key="a"))
    may = (InputSpec(key="when", type="int", required=False), InputSpec(key="b"))
    one, other = (may, must) if is_first else (must, may)
    cards = (CapabilityCard(id="one", inputs=one), CapabilityCard(id="other", inputs=other))
    context = PlannerGenContext(schema=schema, history=turns, security=FULL, registry_caps=cards)
    synthesis = generate_planner_generic(context)
    assert synthesis.decision_trace.rejected == ()
    assert synthesis.agent is not None
    assert synthesis.agent.required_capabilities == ("one", "other")
