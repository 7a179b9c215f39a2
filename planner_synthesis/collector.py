"""Collecting an interaction: a program that asks, and the turns that its answers make.

Belongs here: the collector as a form, a host that asks, the two-turn demo's questions.
Does not: what the answers mean (``schema``).
Source: rtfs.md 2.8 (the two-turn demo: `:ccos.user.ask`, a conversation as the result).
"""

from collections.abc import Callable, Sequence
from typing import Final

from planner_synthesis.rtfs.building import list_form, map_form
from planner_synthesis.rtfs.errors import HostFailure, SecurityViolation
from planner_synthesis.rtfs.evaluator import evaluate
from planner_synthesis.rtfs.forms import Form, Kw, Map, Sym, Vector
from planner_synthesis.rtfs.printer import print_form
from planner_synthesis.types import InteractionTurn

ASK: Final = "ccos.user.ask"
DEMO_PROMPTS: Final = (
    "What GitHub repository should I monitor for issues?",
    "What criteria should trigger automatic triage? (e.g., label:critical, no assignee)",
)
DEMO_ANSWERS: Final = ("mandubian/ccos", "label:bug no:assignee")


class AskHost:
    """A host with one capability: asking somebody a question.

    Args:
        ask: The question to an answer, None where there is none.
    """

    def __init__(self, ask: Callable[[str], str | None]) -> None:
        self._ask = ask

    def call(self, capability_id: str, args: list[Form]) -> object:
        """Ask.

        Raises:
            SecurityViolation: any other capability.
            HostFailure: the question is no text.
        """
        if capability_id != ASK:
            raise SecurityViolation(capability_id)
        if len(args) != 1 or not isinstance(args[0], str):
            raise HostFailure(capability_id, "a question is one text")
        return self._ask(args[0])

    def step(self, name: str) -> None:
        """Nothing comes of a step."""


def collector_form(prompts: Sequence[str]) -> Form:
    """A program that asks each question in turn and gives the conversation.

    Answers are bound to names of their own, because `first`, which the demo of upstream binds, is
    a builtin.
    """
    names = [Sym(f"answer-{number}") for number in range(1, len(prompts) + 1)]
    bindings: list[Form] = []
    for name, prompt in zip(names, prompts, strict=True):
        bindings += [name, list_form("call", Kw(ASK), prompt)]
    conversation = Vector(
        tuple(
            map_form(prompt=prompt, answer=name)
            for name, prompt in zip(names, prompts, strict=True)
        )
    )
    result = map_form(status="completed", conversation=conversation)
    return list_form("do", list_form("let", Vector(tuple(bindings)), result))


def collect_turns(
    prompts: Sequence[str], *, ask: Callable[[str], str | None]
) -> tuple[InteractionTurn, ...]:
    """Run a collector and take the turns from the conversation that it gives.

    The program is printed and read again before it runs, as any planner is.

    Raises:
        RtfsError: a question cannot be asked.
    """
    value = evaluate(print_form(collector_form(prompts)), host=AskHost(ask))
    conversation = value.index["keyword", "conversation"] if isinstance(value, Map) else None
    said = conversation.items if isinstance(conversation, Vector) else ()
    return tuple(
        InteractionTurn(turn_index=at, prompt=prompt, answer=_answer_of(turn))
        for at, (prompt, turn) in enumerate(zip(prompts, said, strict=True))
    )


def _answer_of(turn: Form) -> str | None:
    answer = turn.index["keyword", "answer"] if isinstance(turn, Map) else None
    return answer if isinstance(answer, str) else None
