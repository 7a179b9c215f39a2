"""Drafts that must not pass, and ties that the quick search must not lose."""

import pytest

from planner_synthesis import (
    CapabilityCard,
    InputSpec,
    ParamSchema,
    ParamSpec,
    PlannerGenContext,
    RuntimeContext,
    SynthesisConfig,
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
