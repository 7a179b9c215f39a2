"""When an interaction is complex enough for an agent.

Belongs here: the three triggers, each with the sentence that says it fired.
Does not: building the agent (``agents``).
Spec: planner-synthesis, "When to synthesize an Agent": more than 3 turns, or more than 2
refinements, or words of sequence.
"""

from collections.abc import Sequence

from planner_synthesis.config import ComplexityRule
from planner_synthesis.questions import words_in
from planner_synthesis.types import InteractionTurn, ParamSchema


def complexity_reasons(
    turns: Sequence[InteractionTurn], schema: ParamSchema, *, rule: ComplexityRule
) -> tuple[str, ...]:
    """Why an agent is called for; empty when it is not.

    Words of sequence count in what people say, answers and prompts alike, as whole words.
    """
    reasons = []
    if len(turns) > rule.max_turns:
        reasons.append(f"{len(turns)} turns, more than {rule.max_turns}")
    n_refinements = sum(param.n_refinements for param in schema.params)
    if n_refinements > rule.max_refinements:
        reasons.append(f"{n_refinements} refinements, more than {rule.max_refinements}")
    said = " ".join(word for turn in turns for word in (*_said(turn), "|"))
    spoken = sorted(word for word in rule.orchestration_words if _is_said(word, said))
    if spoken:
        reasons.append(f"words of sequence: {', '.join(spoken)}")
    return tuple(reasons)


def _said(turn: InteractionTurn) -> list[str]:
    return words_in(f"{turn.prompt} {turn.answer or ''}")


def _is_said(phrase: str, said: str) -> bool:
    return f" {' '.join(words_in(phrase))} " in f" {said} "
