"""The collector: a program that asks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_synthesis.collector import (
    ASK,
    DEMO_ANSWERS,
    DEMO_PROMPTS,
    AskHost,
    collect_turns,
    collector_form,
)
from planner_synthesis.rtfs import HostFailure, SecurityViolation, print_form, read_program


def test_the_demo_asks_two_questions_and_gives_two_turns() -> None:
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return DEMO_ANSWERS[len(asked) - 1]

    turns = collect_turns(DEMO_PROMPTS, ask=ask)
    assert asked == list(DEMO_PROMPTS)
    assert [(turn.turn_index, turn.prompt, turn.answer) for turn in turns] == [
        (at, DEMO_PROMPTS[at], DEMO_ANSWERS[at]) for at in (0, 1)
    ]


@given(st.lists(st.tuples(st.text(max_size=20), st.none() | st.text(max_size=20)), max_size=5))
def test_questions_and_answers_are_data_whatever_they_hold(
    said: list[tuple[str, str | None]],
) -> None:
    answers = iter([answer for _, answer in said])
    turns = collect_turns([prompt for prompt, _ in said], ask=lambda _: next(answers))
    assert [(turn.prompt, turn.answer) for turn in turns] == said


def test_the_collector_is_one_form_that_can_be_printed_and_read() -> None:
    form = collector_form(DEMO_PROMPTS)
    assert read_program(print_form(form)) == (form,)


def test_a_host_that_asks_does_nothing_else() -> None:
    host = AskHost(lambda _: "x")
    host.step("s")
    with pytest.raises(SecurityViolation):
        host.call("other", ["?"])
    for args in ([], [1], ["a", "b"]):
        with pytest.raises(HostFailure):
            host.call(ASK, args)
