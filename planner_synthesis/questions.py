"""What a question asks for: the thing's name, which end of it, whether it may be left out.

Belongs here: reading one prompt. Does not: the default and the options that it offers (``offers``),
several turns, types from answers (``schema``).
Spec: rtfs.md 2.2 lists what went wrong upstream: keys by substring of the whole prompt.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from planner_synthesis import vocabulary as words_of
from planner_synthesis.offers import Offer, read_offer
from planner_synthesis.snapshot.redaction import redact

MAX_KEY_WORDS: Final = 4
COUNT_WORD: Final = "count"  # "how many issues" asks for `issues_count`
MAX_PROMPT_CHARS: Final = 2_000  # what is asked is asked early; the rest is not read
MAX_WORD_CHARS: Final = 40
_WORD: Final = re.compile(r"[^\W_]+")
_TERM: Final = re.compile(r"[^\W_]+(?:-[^\W_]+)*")  # "check-in" is one word, whatever "in" is
_POSSESSIVE: Final = re.compile(
    r"\b(?!(?:what|who|where|when|why|how|it|that|there|here|let)['\u2019])([^\W_]+)['\u2019]s\b",
    re.IGNORECASE,
)
_URL: Final = re.compile(r"\b[a-z][a-z0-9+.-]{0,30}://\S+", re.IGNORECASE)
_OPTIONAL: Final = re.compile(r"\boptional(ly)?\b|\bif any\b", re.IGNORECASE)

_NOT_BARE: Final = words_of.INTERROGATIVES | words_of.AUXILIARIES | words_of.COURTESIES

_MEASURES: Final = {
    "how much": ("amount",), "how long": ("duration",), "how often": ("frequency",),
}  # fmt: skip


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt, read.

    Attributes:
        phrase: Words of the thing asked for; empty when the prompt has none.
        content: All its telling words, in order: two questions with the same ones are the same.
            Words that only say that it is asked once more are no part of it.
        direction: "from" or "to" where it asks for one end of something: "from which account".
        options: What may be answered; empty when anything may.
        listed: A list that may be options or examples; an answer that is in it makes it options.
        default: Text of the default that the prompt offers.
        is_revision: It asks to change an answer.
        is_count: It asks how many.
        is_bare: It is nothing but the thing's name: no question word, no auxiliary, no request.
    """

    phrase: tuple[str, ...]
    content: tuple[str, ...]
    opening: str
    direction: str = ""
    options: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()
    default: str | None = None
    is_optional: bool = False
    is_revision: bool = False
    is_count: bool = False
    is_bare: bool = False


def words_in(text: str) -> list[str]:
    """Words of a text in lower case, addresses left out."""
    return [word[:MAX_WORD_CHARS] for word in _WORD.findall(_URL.sub(" ", text).lower())]


def parse_question(prompt: str) -> Question:
    """Read one prompt.

    >>> parse_question("Pick size: small, medium, or large").options
    ('small', 'medium', 'large')
    """
    offer = _safe_offer(prompt[:MAX_PROMPT_CHARS])
    words, all_words = _terms(offer.asked), _terms(offer.telling)
    is_revision = _is_revision(words)
    asides = words_of.ANEW | words_of.LEFT_OUT
    asides |= words_of.REVISIONS if is_revision else frozenset()
    if not words_of.ANEW_FOR_ANSWERS.isdisjoint(words):
        asides |= words_of.OTHERS
    told = [word for word in words if word not in asides]
    told = told if _telling(told) else words
    phrase = _phrase(told)
    return Question(
        phrase=_parts(phrase or told)[:MAX_KEY_WORDS],
        content=_parts(_telling([w for w in all_words if w not in asides] if told else [])),
        opening=words[0] if words else "",
        direction=_direction(words, is_revision=is_revision),
        options=offer.options,
        listed=offer.listed,
        default=offer.default,
        is_optional=offer.has_default or _OPTIONAL.search(prompt) is not None,
        is_revision=is_revision,
        is_count=phrase[-1:] == (COUNT_WORD,),
        is_bare=_NOT_BARE.isdisjoint(words),
    )


def _safe_offer(prompt: str) -> Offer:
    """What a prompt offers without secrets: keys go into events and traces, defaults into planners.

    What is another one without its secret, such as a URL without its query, is not offered.
    """
    safe = redact(prompt)
    offer = read_offer(safe)
    if safe == prompt:
        return offer
    told = read_offer(prompt)
    return msgspec.structs.replace(
        offer,
        default=offer.default if offer.default == told.default else None,
        options=offer.options if offer.options == told.options else (),
        listed=offer.listed if offer.listed == told.listed else (),
    )


def _terms(text: str) -> list[str]:
    text = _POSSESSIVE.sub(r"\1", text)
    return [word[:MAX_WORD_CHARS] for word in _TERM.findall(text.lower())]


def _parts(words: Sequence[str]) -> tuple[str, ...]:
    """Words without their hyphens: ``check-in`` gives two."""
    return tuple(part for word in words for part in word.split("-"))


def _telling(words: list[str]) -> tuple[str, ...]:
    little = words_of.STOPWORDS - words_of.OF_OTHERS
    return tuple(word for word in words if word not in little)


def _direction(words: list[str], *, is_revision: bool) -> str:
    """Which end is asked for: before the question word, or with nothing after it."""
    ends = words_of.INTERROGATIVES | words_of.PREPOSITIONS | words_of.ANEW | {""}
    for before, word, following in zip(["", *words], words, [*words[1:], ""], strict=False):
        if is_revision and before in words_of.REFERENCES:
            continue  # "change it to"
        if word in words_of.DIRECTIONS and following in ends:
            return words_of.DIRECTIONS[word]
    return ""


def _is_revision(words: list[str]) -> bool:
    """Whether words ask to change an answer: "refine ...", "change it to", "... instead".

    A verb of change after a question word is part of what is asked: "which one should I update".
    """
    if set(words) & words_of.ANEW_FOR_ANSWERS:
        return True
    is_asked = False
    for word, following in zip(words, [*words[1:], ""], strict=False):
        is_asked = is_asked or word in words_of.INTERROGATIVES
        if word in words_of.REVISIONS and (not is_asked or following in words_of.REFERENCES):
            return True
    return False


def _phrase(words: list[str]) -> tuple[str, ...]:
    """The thing asked for: after the question word, or after the courtesies."""
    openers = [word for word in words if word in words_of.INTERROGATIVES]
    if not openers:
        return _thing_of_another(words) or _content(words)
    at = words.index(openers[0])
    is_who_is = openers[0] == "who" and words[at + 2 : at + 3] and _is_named(words[at + 1 :])
    if openers[0] in ("what", "which", "whose") or is_who_is:
        found = _noun_phrase(words[at + 1 :])
        return _content(words) or found if set(found) <= words_of.COURTESIES else found
    if words[at : at + 2] == ["how", "many"]:
        counted = _noun_phrase(words[at + 2 :])[: MAX_KEY_WORDS - 1]
        return (*counted, COUNT_WORD)
    roles = [words_of.ROLES[word] for word in words[at:] if word in words_of.ROLES]
    if openers == ["who"] and roles:
        return (roles[0],)
    fixed = _MEASURES.get(" ".join(words[at : at + 2]))
    return fixed or (*dict.fromkeys(openers), *_content(words))[:MAX_KEY_WORDS]


def _is_named(words: list[str]) -> bool:
    """Words such as "is the assignee", which name somebody by what they are."""
    return words[0] in ("is", "are", "s") and words[1] in words_of.DETERMINERS


def _noun_phrase(words: list[str]) -> tuple[str, ...]:
    """Words up to a verb or preposition; ``A of B`` is read as ``B A``."""
    skipped = words_of.AUXILIARIES | words_of.DETERMINERS | words_of.PRONOUNS
    start = next((i for i, word in enumerate(words) if word not in skipped), len(words))
    found: list[str] = []
    for word in words[start:]:
        if word in words_of.PHRASE_ENDS:
            break
        found.append(word)
    found = _of_before(found)
    kept = [word for word in found if word not in words_of.DETERMINERS and word != "of"]
    if kept[1:] and kept[-1] in ("say", "like"):  # "what should the message say"
        kept.pop()
    return tuple(kept[:MAX_KEY_WORDS])


def _thing_of_another(words: list[str]) -> tuple[str, ...]:
    """What a request such as "enter the name of the file to open" names; nothing without "of"."""
    skipped = words_of.STOPWORDS
    followed = zip(words, [*words[1:], ""], strict=False)
    starts = (
        i
        for i, (word, following) in enumerate(followed)
        if word not in skipped or (following == "of" and word in words_of.COURTESIES)
    )
    start = next(starts, len(words))
    return _noun_phrase(words[start:]) if "of" in words[start + 1 : start + 4] else ()


def _of_before(found: list[str]) -> list[str]:
    """Words with ``A of B`` as ``B A``; "number of guests" as the guests' count."""
    if "of" not in found[1:-1]:
        return found
    at = found.index("of")
    thing, other = found[:at], found[at + 1 :]
    is_plural = other[-1] in words_of.PEOPLE or other[-1].endswith("s")
    is_count = thing[-1] in words_of.COUNTING and words_of.BOUNDS.issuperset(thing[:-1])
    if is_count and (is_plural or other[0] not in words_of.DETERMINERS):
        return [*thing[:-1], *other[: MAX_KEY_WORDS - len(thing)], COUNT_WORD]
    return other + thing


def _content(words: list[str]) -> tuple[str, ...]:
    kept: list[str] = []
    for word in words:
        is_noun = bool(kept) and word in words_of.NOUNS_AS_WELL
        if is_noun or word not in words_of.STOPWORDS | words_of.REVISIONS:
            kept.append(word)
    return tuple(dict.fromkeys(kept))[:MAX_KEY_WORDS]
