"""What was said of a candidate: words of its id that the interaction used, verbs that it did not.

Belongs here: words of ids, which of them were said, what changes something or cannot be taken back
and was not asked for.
Does not: keys and types (``names``, ``coercions``), the score itself (``scoring``).
Spec: planner-synthesis, "Scoring", leaves ties open; ADR 0020 and 0021. Only ids are looked at: a
description is prose of whoever registered the candidate, and could say anything.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from planner_synthesis.questions import words_in
from planner_synthesis.types import ExtractedSkill, InteractionTurn
from planner_synthesis.vocabulary import CHANGES, DESTRUCTIVE, STOPWORDS

_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_NO_LETTERS: Final = {
    code: " " for code in range(128) if not chr(code).isalpha() and chr(code) != "\n"
}
_MIN_STEM_LETTERS: Final = 3
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
        self._asked = {verb for verbs in DESTRUCTIVE if self._is_said(verbs) for verb in verbs}
        words = (self._said | named) - STOPWORDS | joined | self._asked
        self._told = frozenset(map(_stem, words))
        self._weight: dict[str, tuple[int, int]] = {}  # by word of an id
        self._bits: dict[str, int] = {}  # by stem that was said
        self._changes = {
            verb
            for verb, begun in CHANGES.items()
            if any(word.startswith(begun) for word in self._said)
        }

    def n_said(self, candidate_id: str) -> int:
        """How many different words of an id were said, in whatever form."""
        words = {_stem(word.lower()) for word in _WORD.findall(candidate_id)}
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
            if verb in _VERBS and verb not in self._asked:
                return verb
        return None

    def unasked_change(self, candidate_id: str) -> str | None:
        """The first verb of an id that changes something and that nobody asked for.

        None where nothing was said at all.

        >>> asked = InteractionTurn(turn_index=0, prompt="Which file should I read?")
        >>> Conversation([asked]).unasked_change("files.edit_block")
        'edit'
        """
        if not self._said:
            return None
        verbs = (str(word).lower() for word in _WORD.findall(candidate_id))
        return next((v for v in verbs if v in CHANGES and v not in self._changes), None)

    def off_topic(self, candidate_id: str) -> tuple[str, ...]:
        """Why a candidate may not be what was meant; nothing where nothing was said at all."""
        if not self._said:
            return ()
        unsaid = () if self.n_said(candidate_id) else ("no word of its id was said",)
        change = self.unasked_change(candidate_id)
        return unsaid if change is None else (*unsaid, f"nobody said to {change}")

    def topics(self, candidate_ids: Sequence[str]) -> list[int]:
        """All that is weighed of each of many ids: equal ones are equally near to what was said."""
        if not self._said:
            return [0] * len(candidate_ids)
        weight, found = self._weight, list[int]()
        for words in _words_of_each(candidate_ids):
            said, flags = 0, 0
            for word in words:
                known = weight.get(word)
                if known is None:
                    known = weight[word] = self._weigh(word.lower())
                said |= known[0]
                flags |= known[1]
            found.append(4 * said.bit_count() + flags)
        return found

    def _weigh(self, word: str) -> tuple[int, int]:
        """A bit for its stem where that was said; 1 for an unasked change, 2 for an unasked end."""
        stem = _stem(word)
        flags = int(word in CHANGES and word not in self._changes)
        flags += 2 * int(word in _VERBS and word not in self._asked)
        bit = 1 << self._bits.setdefault(stem, len(self._bits)) if stem in self._told else 0
        return bit, flags

    def _is_said(self, verbs: Iterable[str]) -> bool:
        stems = tuple(verb.removesuffix("e") for verb in verbs)
        return any(word.startswith(stems) for word in self._said)


def _words_of_each(ids: Sequence[str]) -> Iterable[list[str]]:
    """Words of many ids; those in small letters, which most are, in one pass."""
    lines = "\n".join(ids).translate(_NO_LETTERS).split("\n")
    if len(lines) != len(ids):  # an id has a line break
        return map(_WORD.findall, ids)
    return (
        line.split() if line.islower() and line.isascii() else _WORD.findall(one)
        for line, one in zip(lines, ids, strict=True)
    )


def _stem(word: str) -> str:
    """A word without its ending, where enough of it is left: "parsed" and "parse" are one."""
    for ending in ("ing", "ed", "es", "e", "s"):
        if word.endswith(ending) and len(word) >= len(ending) + _MIN_STEM_LETTERS:
            return word[: -len(ending)]
    return word
