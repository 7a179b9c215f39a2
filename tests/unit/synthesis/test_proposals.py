"""A proposal uses what was asked, reads nothing else and calls nothing twice; runs show it, not words."""

import pytest

from planner_synthesis import (
    CapabilityCard,
    ParamSchema,
    ParamSpec,
    PlannerGenContext,
    RuntimeContext,
    SynthesisConfig,
)
from planner_synthesis.config import DEFAULT_CONFIG
from planner_synthesis.proposals import draft_of_proposal
from planner_synthesis.reach import MAX_TRIALS
from planner_synthesis.types import ParamType

CARDS = (CapabilityCard(id="paint.mix"), CapabilityCard(id="paint.look"))
COLOUR = ParamSpec(key="colour")


def asked(*params: ParamSpec) -> PlannerGenContext:
    return PlannerGenContext(
        schema=ParamSchema(params=params), security=RuntimeContext(level="full"), registry_caps=CARDS)  # fmt: skip


def problems(text: str, *params: ParamSpec, config: SynthesisConfig = DEFAULT_CONFIG) -> str:
    draft, found = draft_of_proposal(text, asked(*(params or (COLOUR,))), config=config)
    assert (draft is None) == bool(found)
    return "; ".join(found)


def sends(value: str) -> str:
    return (f'(do (let [r (call "paint.mix" {{:context {{:hue {value}}}}})]'
            ' {:status "processing" :result r}))')  # fmt: skip


@pytest.mark.parametrize("value", [
    "(get context :colour)", "(let [c (get context :colour \"\")] (string-upper c))", '(str "a " (:colour context))', "[(get-in context [:colour])]",
    "(parse-int (:colour context))", "{:a {:b (:colour context)}}", "(string-length (get context :colour \"\"))",
    '(nth (split (:colour context) "-") 0)', "(if (nil? (:colour context)) nil (:colour context))",
])  # fmt: skip
def test_a_key_whose_value_is_sent_is_used(value: str) -> None:
    assert problems(sends(value)) == ""


@pytest.mark.parametrize("text", [
    sends("(get context :colour)").replace("[r (call", "[x (get context :colour) r (call").replace(":hue (get context :colour)", ':hue "blue"'),
    sends('(if (nil? (:colour context)) "none" "some")'), sends("(contains? context :colour)"),
    '(do (let [r (call "paint.mix" {:context {}})] {:status "processing" :result (:colour context)}))',
    sends('(nth ["blue" (:colour context)] 0)'), '(do (if (= "never" (:colour context)) (call "paint.mix" {:c (:colour context)})'
    ' (call "paint.look" {:c 1})) {:status "processing"})',
])  # fmt: skip
def test_a_key_that_is_read_and_thrown_away_is_not(text: str) -> None:
    assert problems(text) == "it sends no call the value of colour"


@pytest.mark.parametrize(("kind", "options"), [
    ("string", ()), ("int", ()), ("float", ()), ("bool", ()), ("date", ()), ("enum", ("a", "b")), ("enum", ("a",)), ("enum", ()),
])  # fmt: skip
def test_values_of_every_type_can_be_told_apart(kind: ParamType, options: tuple[str, ...]) -> None:
    params = [ParamSpec(key=key, type=kind, enum_values=options) for key in ("one", "two")]
    both = sends("[(:one context) (:two context)]")
    assert problems(both, *params) == ""
    for key, other in (("one", "two"), ("two", "one")):
        text = both.replace(f"(:{other} context)", f"(let [x (:{other} context)] (:{key} context))")
        assert problems(text, *params) == f"it sends no call the value of {other}"
    assert (
        problems('(do (call "paint.mix" {:context context}) {:status "processing"})', *params) == ""
    )


def test_a_key_that_decides_what_is_called_is_used() -> None:
    text = ('(do (if (:mix context) (call "paint.mix" {:a 1}) (call "paint.look" {:a 1}))'
            ' {:status "processing"})')  # fmt: skip
    assert problems(text, ParamSpec(key="mix", type="bool")) == ""


def test_a_share_of_the_keys_will_do_where_the_settings_say_so() -> None:
    params = (ParamSpec(key="a"), ParamSpec(key="b"), ParamSpec(key="c", required=False))
    text = sends("(let [x (:b context)] (:a context))")
    assert problems(text, *params) == "it sends no call the value of b"
    assert problems(text, *params, config=SynthesisConfig(min_coverage=500)) == ""


@pytest.mark.parametrize("value", ["(get context :secret)", "(get-in context [:secret :a])", "(contains? context :secret)"])  # fmt: skip
def test_a_key_that_nobody_was_asked_for_is_not_read(value: str) -> None:
    text = sends(f"[(:colour context) {value}]")
    assert problems(text) == "it reads 'secret', which nobody was asked for"


@pytest.mark.parametrize(("calls", "n"), [
    ('(map (fn [i] (call "paint.mix" {:context context})) [1 2 3 4 5 6 7 8 9])', 9),
    ('[(call "paint.mix" {:context context}) (call "paint.mix" {:context {:i 1}})]', 2),
])  # fmt: skip
def test_an_id_is_called_once_in_a_run(calls: str, n: int) -> None:
    text = f'(do (let [xs {calls}] {{:status "processing" :x xs}}))'
    assert problems(text) == f"it calls 'paint.mix' {n} times"


def test_branches_may_each_call_an_id() -> None:
    text = ('(do (if (= "x" (:colour context)) (call "paint.mix" {:context {:hue "x"}})'
            ' (call "paint.mix" {:context context})) {:status "processing"})')  # fmt: skip
    assert problems(text) == ""


def test_a_program_that_calls_nothing_on_examples_is_no_use() -> None:
    text = '(do (if (= 1 (:colour context)) (call "paint.mix" {:context context})) {:status "processing"})'
    assert problems(text) == "on examples it calls nothing"


def test_trials_are_bounded_and_what_was_not_tried_is_not_taken_as_used() -> None:
    params = [ParamSpec(key=f"k{n:02}", type="bool") for n in range(MAX_TRIALS + 1)]
    values = " ".join(f"(:{param.key} context)" for param in params)
    assert problems(sends(f"[{values}]"), *params[:-1]) != ""  # reads a key that nobody asked for
    assert problems(sends(f"[{values}]"), *params) == f"it sends no call the value of k{MAX_TRIALS}"
    assert problems(sends("context").replace(":context {:hue context}", ":context context"), *params) == ""  # fmt: skip
