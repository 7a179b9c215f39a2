"""What a question asks for: the thing's name, its options, its default, whether it may be left out.

Belongs here: reading one prompt. Does not: several turns, types from answers (``schema``).
Spec: rtfs.md 2.2 lists what went wrong upstream: keys by substring of the whole prompt, options
split from the whole prompt.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from planner_synthesis import vocabulary as words_of
from planner_synthesis.snapshot.redaction import redact

MAX_KEY_WORDS: Final = 4
COUNT_WORD: Final = "count"  # "how many issues" asks for `issues_count`
MAX_OPTIONS: Final = 24
MAX_PROMPT_CHARS: Final = 2_000  # what is asked is asked early; the rest is not read
MAX_WORD_CHARS: Final = 40
_WORD: Final = re.compile(r"[^\W_]+")
_TERM: Final = re.compile(r"[^\W_]+(?:-[^\W_]+)*")  # "check-in" is one word, whatever "in" is
_POSSESSIVE: Final = re.compile(
    r"\b(?!(?:what|who|where|when|why|how|it|that|there|here|let)['\u2019])([^\W_]+)['\u2019]s\b",
    re.IGNORECASE,
)
_URL: Final = re.compile(r"\b[a-z][a-z0-9+.-]{0,30}://\S+", re.IGNORECASE)
_BRACKETED: Final = re.compile(r"[(\[]([^()\[\]]*)[)\]]")
_EXAMPLE: Final = re.compile(
    r"^\s*(e\.?\s?g\.?|i\.?\s?e\.?|such as|for example|like)\b", re.IGNORECASE
)
_DEFAULT: Final = re.compile(
    r"\bdefault(?:s to| is|\s*[:=])?\s+(?P<value>[^,;()\[\]?]+)", re.IGNORECASE
)
_OPTIONAL: Final = re.compile(r"\boptional(ly)?\b|\bif any\b", re.IGNORECASE)
_CONJUNCTION: Final = re.compile(r"^(?:or|and)\s+", re.IGNORECASE)
_BETWEEN: Final = re.compile(
    r"\b(?:between|prefer|one of|either)\s+(?P<options>[^?.]+\b(?:or|and)\b[^?.]+)", re.IGNORECASE
)

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


def words_in(text: str) -> list[str]:
    """Words of a text in lower case, addresses left out."""
    return [word[:MAX_WORD_CHARS] for word in _WORD.findall(_URL.sub(" ", text).lower())]


def parse_question(prompt: str) -> Question:
    """Read one prompt.

    >>> parse_question("Pick size: small, medium, or large").options
    ('small', 'medium', 'large')
    """
    prompt = redact(prompt[:MAX_PROMPT_CHARS])  # keys go into events and traces
    asked = _asked_part(prompt)
    words = [word[:MAX_WORD_CHARS] for word in _TERM.findall(asked.lower())]
    is_revision = _is_revision(words)
    asides = words_of.ANEW | (words_of.REVISIONS if is_revision else frozenset())
    if not words_of.ANEW_FOR_ANSWERS.isdisjoint(words):
        asides |= words_of.OTHERS
    told = [word for word in words if word not in asides]
    told = told if _telling(told) else words
    default = _DEFAULT.search(prompt)
    return Question(
        phrase=_parts(_phrase(told) or told)[:MAX_KEY_WORDS],
        content=_parts(_telling(told)),
        opening=words[0] if words else "",
        direction=_direction(words, is_revision=is_revision),
        options=_options(prompt),
        listed=_listed(prompt),
        default=default["value"].strip(" .\"'") if default else None,
        is_optional=bool(default or _OPTIONAL.search(prompt)),
        is_revision=is_revision,
    )


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


def _asked_part(prompt: str) -> str:
    """The prompt without brackets, and without what follows a colon that introduces options."""
    text = _POSSESSIVE.sub(r"\1", _BRACKETED.sub(" ", _URL.sub(" ", prompt)))
    head, colon, tail = text.partition(":")
    is_asked = colon and any(word not in words_of.STOPWORDS for word in words_in(head))
    return head if is_asked and len(_split_options(tail)) > 1 else text


def _phrase(words: list[str]) -> tuple[str, ...]:
    """The thing asked for: after the question word, or after the courtesies."""
    openers = [word for word in words if word in words_of.INTERROGATIVES]
    if not openers:
        return _content(words)
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
    if "of" in found[1:-1]:
        at = found.index("of")
        found = found[at + 1 :] + found[:at]
    kept = [word for word in found if word not in words_of.DETERMINERS and word != "of"]
    if kept[1:] and kept[-1] in ("say", "like"):  # "what should the message say"
        kept.pop()
    return tuple(kept[:MAX_KEY_WORDS])


def _content(words: list[str]) -> tuple[str, ...]:
    kept = [word for word in words if word not in words_of.STOPWORDS | words_of.REVISIONS]
    return tuple(dict.fromkeys(kept))[:MAX_KEY_WORDS]


def _options(prompt: str) -> tuple[str, ...]:
    """Options in brackets, after a colon, or between ``prefer`` and the end."""
    without_urls = _URL.sub(" ", prompt)
    for bracket in _BRACKETED.findall(without_urls):
        if not _EXAMPLE.match(bracket) and len(found := _split_options(bracket)) > 1:
            return found
    plain = _BRACKETED.sub(" ", without_urls)
    head, colon, tail = plain.partition(":")
    if colon and words_in(head) and len(found := _split_options(tail)) > 1:
        return found
    between = _BETWEEN.search(plain)
    return _split_options(between["options"]) if between else ()


def _listed(prompt: str) -> tuple[str, ...]:
    """A list that does not say that it is one of options: "(USD, EUR)", "Delivery or pickup?"."""
    without_urls = _URL.sub(" ", prompt)
    for bracket in _BRACKETED.findall(without_urls):
        found = _split_options(bracket.replace(",", "/"))
        if not _EXAMPLE.match(bracket) and found:
            return found
    found = _split_options(_BRACKETED.sub(" ", without_urls))
    return found if all(_WORD.fullmatch(option) for option in found) else ()


def _split_options(text: str) -> tuple[str, ...]:
    """The list in a text, or nothing when it is not a list of short choices."""
    text = text.strip().rstrip("?.!").replace("|", "/")
    if "/" in text:
        parts = text.split("/")
    elif re.search(r",|\b(or|and)\b", text, re.IGNORECASE):
        parts = re.split(r",|\b(?:or|and)\b", text, flags=re.IGNORECASE)
        if not re.search(r"\b(or|and)\b", text, re.IGNORECASE):
            return ()  # a bare enumeration may be examples
    else:
        return ()
    options = tuple(
        dict.fromkeys(_CONJUNCTION.sub("", part.strip()).strip("\"' ") for part in parts)
    )
    options = tuple(option for option in options if option)
    is_list = 1 < len(options) <= MAX_OPTIONS and all(len(o.split()) <= 3 for o in options)
    return options if is_list and not any(":" in option for option in options) else ()
