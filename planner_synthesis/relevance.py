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
from typing import Final, NamedTuple

from planner_synthesis.names import words_of_name
from planner_synthesis.questions import words_in
from planner_synthesis.types import ExtractedSkill, InteractionTurn
from planner_synthesis.vocabulary import CHANGES, DESTRUCTIVE, NOUNS_TOO, STOPWORDS

_PART: Final = re.compile(r"[^./:\s]+")
_NO_LETTERS: Final = {
    code: " " for code in range(128) if not chr(code).isalpha() and chr(code) != "\n"
}
_MIN_STEM_LETTERS: Final = 3
_VERBS: Final = frozenset(verb for verbs, _ in DESTRUCTIVE for verb in verbs)


class _Said(NamedTuple):
    """What was said of one id."""

    n_said: int
    unasked_verb: str | None
    unasked_change: str | None


class Conversation:
    """What was said, ready to be compared with many ids; each id is read once."""

    def __init__(
        self, turns: Iterable[InteractionTurn], skills: Iterable[ExtractedSkill] = ()
    ) -> None:
        """Take the words of prompts, answers and skills."""
        told = [words_in(f"{turn.prompt} {turn.answer or ''}") for turn in turns]
        said = {word for words in told for word in words}
        joined = {a + b for words in told for a, b in pairwise(words)}  # "look up" is `lookup`
        named = {word for skill in skills for word in words_in(skill.skill)}
        spoken = said | joined
        asked = [verbs for verbs, asking in _ASKING if not asking.isdisjoint(spoken)]
        self._asked = frozenset(verb for verbs in asked for verb in verbs)
        words = (said | named) - STOPWORDS | joined | self._asked
        self._told = frozenset(map(_stem, words))
        self._changes = {v for v, asking in _ASKING_CHANGES.items() if not asking.isdisjoint(said)}
        self._is_silent = not said
        self._read: dict[str, _Said] = {}
        self._weight: dict[str, tuple[int, int]] = {}  # by word of an id
        self._bits: dict[str, int] = {}  # by stem that was said

    def n_said(self, candidate_id: str) -> int:
        """How many different words of an id were said, in whatever form."""
        return self._of(candidate_id).n_said

    def unasked_verb(self, candidate_id: str) -> str | None:
        """A verb of an id that cannot be taken back and that nobody said, in any form of it.

        None where nothing was said at all: then there is nothing to compare with.

        >>> asked = InteractionTurn(turn_index=0, prompt="Which user should I remove?")
        >>> Conversation([asked]).unasked_verb("users.delete")
        >>> Conversation([asked]).unasked_verb("users.archiveAll")
        'archive'
        """
        return self._of(candidate_id).unasked_verb

    def unasked_change(self, candidate_id: str) -> str | None:
        """The first verb of an id that changes something and that nobody asked for.

        None where nothing was said at all.

        >>> asked = InteractionTurn(turn_index=0, prompt="Which file should I read?")
        >>> Conversation([asked]).unasked_change("files.edit_block")
        'edit'
        """
        return self._of(candidate_id).unasked_change

    def off_topic(self, candidate_id: str) -> tuple[str, ...]:
        """Why a candidate may not be what was meant; nothing where nothing was said at all."""
        if self._is_silent:
            return ()
        said = self._of(candidate_id)
        unsaid = () if said.n_said else ("no word of its id was said",)
        change = said.unasked_change
        return unsaid if change is None else (*unsaid, f"nobody said to {change}")

    def topics(self, candidate_ids: Sequence[str]) -> list[int]:
        """All that is weighed of each of many ids: equal ones are equally near to what was said.

        Four times the number of words that were said, and 1 for an unasked change, 2 for an
        unasked verb of what cannot be taken back.
        """
        found = list[int]()
        for candidate_id, words in zip(candidate_ids, _words_of_each(candidate_ids), strict=True):
            n_said, flags = self._weighed(words)
            if flags > 1:
                is_likely = flags & 2 or not _VERBS.isdisjoint(map("".join, pairwise(words)))
                is_unasked = is_likely and self._of(candidate_id).unasked_verb is not None
                flags = flags % 2 + 2 * bool(is_unasked)
            found.append(4 * n_said + flags)
        return found

    def _weighed(self, words: Iterable[str]) -> tuple[int, int]:
        """How many different ones were said, and the flags that ``_weigh`` gives any of them."""
        weight, said, flags = self._weight, 0, 0
        for word in words:
            known = weight.get(word)
            if known is None:
                known = weight[word] = self._weigh(word)
            said |= known[0]
            flags |= known[1]
        return said.bit_count(), flags

    def _weigh(self, word: str) -> tuple[int, int]:
        """A bit for its stem where that was said; 1 for an unasked change, 2 for a verb of what
        cannot be taken back, 4 for what may begin one, as in "shut_down".
        """
        stem = _stem(word)
        bit = 1 << self._bits.setdefault(stem, len(self._bits)) if stem in self._told else 0
        if self._is_silent:
            return bit, 0
        is_change = word in CHANGES and word not in self._changes
        begins = any(verb.startswith(word) for verb in _VERBS)
        return bit, is_change + 2 * (word in _VERBS) + 4 * begins

    def _of(self, candidate_id: str) -> _Said:
        found = self._read.get(candidate_id)
        if found is None:
            found = self._read[candidate_id] = self._said_of(candidate_id)
        return found

    def _said_of(self, candidate_id: str) -> _Said:
        words = words_of_name(candidate_id)
        n_said, flags = self._weighed(words)
        changes = (word for word in words if word in CHANGES and word not in self._changes)
        verbs = (verb for verb in _verbs_of(candidate_id) if verb not in self._asked)
        return _Said(
            n_said, next(verbs, None) if flags > 1 else None, next(changes, None) if flags else None
        )


def _words_of_each(ids: Sequence[str]) -> Iterable[list[str]]:
    """Words of many ids; those in small letters, which most are, in one pass."""
    lines = "\n".join(ids).translate(_NO_LETTERS).split("\n")
    if len(lines) != len(ids):  # an id has a line break
        return map(words_of_name, ids)
    return (
        line.split() if line.islower() and line.isascii() else words_of_name(one)
        for line, one in zip(lines, ids, strict=True)
    )


def _verbs_of(candidate_id: str) -> Iterable[str]:
    """Verbs of an id that cannot be taken back: "shut_down" is one, the block of "blockquote" none.

    What may be a noun is a verb only where it begins a part of the id.
    """
    for part in _PART.findall(candidate_id):
        words = words_of_name(part)
        for at, (word, following) in enumerate(zip(words, [*words[1:], ""], strict=False)):
            if word in _VERBS and (at == 0 or word not in NOUNS_TOO):
                yield word
            elif following and word + following in _VERBS:
                yield word + following


def _forms(*lists: Iterable[str]) -> frozenset[str]:
    """Verbs in all their regular forms; a bank is not banned and an address adds nothing.

    >>> sorted(_forms(["ban"]) & {"bans", "banned", "banning", "bank"})
    ['banned', 'banning', 'bans']
    """
    return frozenset(form for words in lists for word in words for form in _forms_of(word))


def _forms_of(word: str) -> Iterable[str]:
    yield from (word, word + "s", word + "es", word + "ed", word + "ing", word + "ation")
    if word.endswith("e"):
        yield from (word + "d", *(word[:-1] + ending for ending in ("ing", "ion", "al", "ation")))
    elif word.endswith("y"):
        yield from (word[:-1] + "ies", word[:-1] + "ied")
    else:
        yield from (word + word[-1] + "ed", word + word[-1] + "ing")


def _stem(word: str) -> str:
    """A word without its ending, where enough of it is left: "parsed" and "parse" are one."""
    for ending in ("ing", "ed", "es", "e", "s"):
        if word.endswith(ending) and len(word) >= len(ending) + _MIN_STEM_LETTERS:
            return word[: -len(ending)]
    return word


_ASKING: Final = tuple((verbs, _forms(verbs, others)) for verbs, others in DESTRUCTIVE)
_ASKING_CHANGES: Final = {verb: _forms(asking) for verb, asking in CHANGES.items()}
