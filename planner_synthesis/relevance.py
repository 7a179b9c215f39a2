"""What was said of a candidate: words of its id that the interaction used, verbs that it did not.

Belongs here: words of ids, which of them were said, what cannot be taken back and nobody asked for.
Does not: keys and types (``names``, ``coercions``), the score itself (``scoring``).
Spec: planner-synthesis, "Scoring", leaves ties open; ADR 0020 and 0021. Only ids are looked at: a
description is prose of whoever registered the candidate, and could say anything.
"""

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from planner_synthesis.questions import words_in
from planner_synthesis.types import ExtractedSkill, InteractionTurn
from planner_synthesis.vocabulary import DESTRUCTIVE, STOPWORDS

_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_VERBS: Final = frozenset(verb for verbs in DESTRUCTIVE for verb in verbs)


class Conversation:
    """What was said, ready to be compared with many ids."""

    def __init__(
        self, turns: Iterable[InteractionTurn], skills: Iterable[ExtractedSkill] = ()
    ) -> None:
        """Take the words of prompts, answers and skills."""
        told = [words_in(f"{turn.prompt} {turn.answer or ''}") for turn in turns]
        self._said = frozenset(word for words in told for word in words)
        joined = {a + b for words in told for a, b in pairwise(words)}  # "look up" is `lookup`
        named = {word for skill in skills for word in words_in(skill.skill)}
        asked = {verb for verbs in DESTRUCTIVE if self._is_said(verbs) for verb in verbs}
        self._told = asked | frozenset(
            _singular(word) for word in (self._said | named) - STOPWORDS | joined
        )

    def n_said(self, candidate_id: str) -> int:
        """How many different words of an id were said, in the singular or the plural."""
        words = {_singular(word.lower()) for word in _WORD.findall(candidate_id)}
        return len(words & self._told)

    def unasked_verb(self, candidate_id: str) -> str | None:
        """A verb of an id that cannot be taken back and that nobody said, in any form of it.

        None where nothing was said at all: then there is nothing to compare with.

        >>> asked = InteractionTurn(turn_index=0, prompt="Which user should I remove?")
        >>> Conversation([asked]).unasked_verb("users.delete")
        >>> Conversation([asked]).unasked_verb("users.archiveAll")
        'archive'
        """
        if not self._said:
            return None
        for word in _WORD.findall(candidate_id):
            verb = str(word).lower()
            if verb in _VERBS and verb not in self._told:
                return verb
        return None

    def _is_said(self, verbs: Iterable[str]) -> bool:
        stems = tuple(verb.removesuffix("e") for verb in verbs)
        return any(word.startswith(stems) for word in self._said)


def _singular(word: str) -> str:
    return word.removesuffix("s")
