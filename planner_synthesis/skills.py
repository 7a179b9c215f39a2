"""Skills that an interaction calls for.

Belongs here: whole words that show a skill, how sure they make us, what was said where.
Does not: the tables (``vocabulary``), whether an agent is needed (``complexity``).
Spec: planner-synthesis ("skills from skill_extractor"); names follow upstream's where it has one
(rtfs.md 2.2). Departures: whole words instead of substrings, a confidence that does not depend on
the other skills, a total order.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import Final

from planner_synthesis.questions import words_in
from planner_synthesis.types import ExtractedSkill, InteractionTurn
from planner_synthesis.vocabulary import SKILL_WORDS

ORCHESTRATION_SKILL: Final = "multi-step-orchestration"
_STEP_WORDS: Final = frozenset({"step", "steps", "sequence", "stages"})


def extract_skills(turns: Iterable[InteractionTurn]) -> tuple[ExtractedSkill, ...]:
    """Skills of an interaction: the surest first, then by name.

    Confidence is n / (n + 1) for n different words that show the skill.
    """
    said = [
        (turn.turn_index, frozenset(words_in(f"{turn.prompt} {turn.answer or ''}")))
        for turn in sorted(turns, key=lambda turn: (turn.turn_index, turn.prompt))
    ]
    found = [
        _skill(name, category, keywords, said) for name, (category, keywords) in SKILL_WORDS.items()
    ]
    planned = [(index, words & (_STEP_WORDS | {"plan"})) for index, words in said]
    if any("plan" in words and len(words) > 1 for _, words in planned):
        found.append(_skill(ORCHESTRATION_SKILL, "orchestration", _STEP_WORDS | {"plan"}, said))
    kept = [skill for skill in found if skill is not None]
    return tuple(sorted(kept, key=lambda skill: (-skill.confidence, skill.skill)))


def _skill(
    name: str, category: str, keywords: frozenset[str], said: list[tuple[int, frozenset[str]]]
) -> ExtractedSkill | None:
    shown = [(index, sorted(words & keywords)) for index, words in said if words & keywords]
    n = len({word for _, words in shown for word in words})
    if n == 0:
        return None
    return ExtractedSkill(
        skill=name,
        confidence=float(Fraction(n, n + 1)),
        evidence=tuple(f"turn {index}: {', '.join(words)}" for index, words in shown),
        category=category,
    )
