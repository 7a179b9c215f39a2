"""What a prompt offers: a default, options, examples; and the rest of it, which is what it asks.

Belongs here: clauses of one prompt, which of them offer a default, which are lists.
Does not: what the rest asks for (``questions``), values of a type (``schema``).
Spec: rtfs.md 2.2 lists what went wrong upstream: options split from the whole prompt; ADR 0024.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from planner_synthesis import vocabulary as words_of
from planner_synthesis.snapshot.redaction import REDACTED

MAX_OPTIONS: Final = 24
MAX_OPTION_WORDS: Final = 3
MAX_DEFAULT_WORDS: Final = 4
MAX_SEPARATORS: Final = 8  # places of one prompt at which a list may begin
_GONE: Final = "\ufffd"  # stands for a secret that was taken out
_I: Final = re.IGNORECASE
_WORD: Final = re.compile(r"[^\W_]+")
_URL: Final = re.compile(r"\b[a-z][a-z0-9+.-]{0,30}://\S+", _I)
_BRACKETED: Final = re.compile(r"[(\[]([^()\[\]]*)[)\]]")
# from "e.g." to the end of its bracket or sentence
_EXAMPLES: Final = re.compile(
    r"(?:\be\.\s?g\b\.?|\beg\b\.?|\bi\.\s?e\b\.?|\bie\b\.?|\bfor (?:example|instance)\b"
    r"|\bsuch as\b|\bexamples?:|(?<=[,;(\[])\s?(?:like|say)\b|\blike(?=\s[^\W_]+[/.:_\d][^\W_]))"
    r"(?:(?!\bdefault)[^()\[\]?!])*",
    _I,
)
_CLAUSE_END: Final = re.compile(r"[()\[\]\n]|[,;](?=\s|$)|[?!.](?=\s|$)|\s[-\u2013\u2014](?=\s)")
_DEFAULT: Final = re.compile(
    r"\bdefault(?P<s>s)?\b(?:\s+(?P<noun>(?!to\b|is\b|are\b|of\b)[^\W\d_]+))?"
    r"(?P<link>\s+(?:(?:to|is|are)\b:?|of(?=\s+\d))|\s?[:=])\s*(?P<value>\S.*)",
    _I,
)
_DESCRIBING: Final = words_of.DETERMINERS | words_of.PREPOSITIONS
_QUOTED: Final = re.compile(r"(?P<mark>[\"'`])[^\"'`\ufffd]+(?P=mark)\.?")
_NUMBER: Final = re.compile(r"[+-]?[\d.,]*\d")
_BARE: Final = re.compile(r"default\s+(?P<value>\S.*)", _I)
_ASSIGNED: Final = re.compile(r"\bdefault[:=]\S", _I)
_MARKED: Final = re.compile(
    r"(?<![^\s,;()\[\]])(?P<value>[^\s,;()\[\]]+)\s*[(\[](?:the\s+)?default[)\]]", _I
)
_NUMBER_AT_END: Final = re.compile(r"\bdefault\s+(?P<value>[+-]?\d[\d.]*)$", _I)
_BY_DEFAULT: Final = re.compile(
    r"by default:?\s+(?:(?:it|this|that)(?:['\u2019]s|\s+is)\s+)?(?P<value>\S.*)", _I
)
_THE_DEFAULT: Final = re.compile(
    r"(?:or\s+|it(?:['\u2019]s|\s+is)\s+)?(?P<value>\S+)\s+"
    r"(?:by default|(?P<is>(?:is|as)\s+(?:the\s+)?default|is\s+used\s+by\s+default)"
    r"|(?<=\d )default)",
    _I,
)
_LEAD: Final = re.compile(
    r"(?:(?:please\s+)?(?:choose|pick|select)(?:\s+(?:from|between|one))?(?:\s+of)?(?!\w)|one\s+of|"
    r"either|(?:your\s+)?(?:(?:valid|allowed|possible|available|supported)\s+)?"
    r"(?:options?|choices|values|formats)(?:\s+are)?(?=\s*:)|"
    r"(?:valid|allowed|available|supported|can\s+be)(?!\w))\s*:?\s*",
    _I,
)
_SEPARATOR: Final = re.compile(
    r":(?=\s)|(?P<dash>\s[-\u2013\u2014]|;)\s|(?P<end>[?.])\s|(?P<comma>,)\s"
)
_ENUMERATOR: Final = re.compile(r"(?:^|[\s,;(])(?:\(?(?:\d{1,2}|[A-Za-z])[.)]|[-*\u2022])\s+")
_BRACKETED_NUMBER: Final = re.compile(r"\((\d{1,2}|[A-Za-z])\)(?=\s)")
_BY: Final = re.compile(
    r"^(?P<head>.*[^\W_]\s+(?P<by>by|as|in|on|to|via|with))\s+(?P<tail>\S.*)", _I
)
_INNER_COLON: Final = re.compile(r":(?!\d)")  # "label:bug", but not "10:30"
_SENTENCE_END: Final = re.compile(r"[.?!]\s+(?=\S)")
_OR: Final = re.compile(r"\bor\b", _I)
_AND_OR: Final = re.compile(r"\b(?:or|and|vs|versus)\b", _I)
_COMMA_OR: Final = re.compile(r"[,;]|\b(?:or|and|vs|versus)\b", _I)
_NOUNS: Final = (["type"], ["state"])  # heads that are no requests: "Type: bug or chore"
_CONJUNCTION: Final = re.compile(r"^(?:(?:or|and|by)\s+)+", _I)
_BETWEEN: Final = re.compile(
    r"\b(?:between|prefer|one of|either)\s+(?P<options>[^?.]+\b(?:or|and)\b[^?.]+)", _I
)


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What a prompt offers.

    Attributes:
        asked: The prompt without what it offers.
        telling: What tells it from others: "by name or size" is not "by date or age".
        options: What may be answered; empty when anything may.
        listed: A list that may be options or examples; an answer that is in it makes it options.
        default: Text of the default; None where there is none, or where it is only described.
        has_default: The prompt says that there is one.
    """

    asked: str
    telling: str
    options: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()
    default: str | None = None
    has_default: bool = False


class _Clause(NamedTuple):
    text: str
    start: int
    end: int
    opened_by: str  # the mark before it
    closed_by: str

    @property
    def is_bracketed(self) -> bool:
        return self.opened_by in "([" and self.closed_by in ")]" if self.opened_by else False


class _List(NamedTuple):
    head: str
    options: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()
    kept: str = ""


def read_offer(prompt: str) -> Offer:
    """Read what a prompt offers.

    >>> read_offer("Pick size: small, medium, or large").options
    ('small', 'medium', 'large')
    >>> read_offer("How many rows, default 20?").default
    '20'
    >>> read_offer("What default branch should I use?").has_default
    False
    """
    plain = _EXAMPLES.sub(" ", prompt.replace(REDACTED, _GONE))
    marked = _MARKED.search(plain)
    plain = _MARKED.sub(r"\g<value>", plain)
    if len(_BRACKETED_NUMBER.findall(plain)) > 1:
        plain = _BRACKETED_NUMBER.sub(r"\1)", plain)
    default, start, end = _default_in(plain)
    rest = f"{plain[:start]} {plain[end:]}" if end else plain
    if end and not _words(rest):  # "Default: yes" asks for it
        rest, default = plain, None
    rest = _URL.sub(" ", rest)
    outside = _BRACKETED.sub(" ", rest).strip()
    found = _list_in(outside)
    bracketed = _bracketed_list(rest, outside)
    if bracketed.options or (bracketed.listed and not found.options):
        found = bracketed._replace(head=found.head, kept=found.kept)
    if default is None and marked and marked["value"] in found.options + found.listed:
        default = marked["value"]  # "fast (default) or slow"
    return Offer(
        asked=found.head, telling=f"{found.head} {found.kept}",
        options=found.options, listed=found.listed,
        default=default or None, has_default=default is not None,
    )  # fmt: skip


# --- defaults


def _clauses(text: str) -> Iterator[_Clause]:
    start, opened_by, depth = 0, "", 0
    for mark in [*_CLAUSE_END.finditer(text), None]:
        end = mark.start() if mark else len(text)
        sign = mark.group().strip() if mark else ""
        said = text[start:end]
        if said.strip():
            inside = "(" if depth > 0 else opened_by
            outside = ")" if depth > 0 else sign
            yield _Clause(said.strip(), start, end, inside, outside)
        depth += (sign in "([") - (sign in ")]") if sign else 0
        start, opened_by = (mark.end() if mark else end), sign


def _default_in(text: str) -> tuple[str | None, int, int]:
    """A default's text, empty where it is only described, with the place that speaks of it."""
    if "efault" not in text.lower():
        return None, 0, 0
    clauses, unclear = list(_clauses(text)), (0, 0)
    for at, clause in enumerate(clauses):
        is_alone = len(clause.text.split()) < 2 and not _ASSIGNED.search(clause.text)
        if is_alone or "default" not in clause.text.lower():
            continue
        others = clauses[:at] + clauses[at + 1 :]
        asked = {w for c in others[:MAX_SEPARATORS] for w in _words(c.text)}
        offered = _offered(clause, asked, is_first=at == 0)
        if offered is not None:
            value, begin = offered
            after = text[clause.start : clause.end]
            lead = len(after) - len(after.lstrip())
            told = "" if _goes_on(value, clauses[at : at + 2]) else _plain_value(value, asked)
            return told, clause.start + lead + begin, clause.end
        if clause.is_bracketed or (at and words_of.INTERROGATIVES.isdisjoint(_words(clause.text))):
            unclear = (clause.start, clause.end)
    return (None, *unclear)


def _goes_on(value: str, clauses: list[_Clause]) -> bool:
    """Whether a value is the first of several, as in "default: bug, docs"."""
    if len(clauses) < 2 or clauses[0].closed_by not in ",)" or _NUMBER.fullmatch(value):
        return False
    one, other = clauses
    is_one_word = _WORD.fullmatch(other.text) is not None
    is_joined = other.opened_by == "," or (one.is_bracketed and other.is_bracketed)
    aside = words_of.STOPWORDS | words_of.LEFT_OUT | {"required"}
    return is_one_word and is_joined and other.text.lower() not in aside


def _offered(clause: _Clause, asked: set[str], *, is_first: bool) -> tuple[str, int] | None:
    """What a clause offers as a default and where it begins to; None where it offers none."""
    text, is_aside = clause.text, clause.is_bracketed or not is_first
    linked = _DEFAULT.search(text)
    if linked is not None and _is_offer(linked, asked):
        is_whole = is_aside and words_of.INTERROGATIVES.isdisjoint(_words(text[: linked.start()]))
        return linked["value"], 0 if is_whole else linked.start()
    if is_aside:
        bare = _BARE.fullmatch(text)
        if bare is not None and _is_value(bare["value"], clause):
            return bare["value"], 0
        after = _BY_DEFAULT.fullmatch(text)
        if after is not None and not _words(after["value"]) & words_of.AUXILIARIES:
            return after["value"], 0
        before = _THE_DEFAULT.fullmatch(text)
        is_told = clause.is_bracketed or clause.opened_by in "?.!" or (before and before["is"])
        if before is not None and (is_told or before["value"][0].isdigit()):
            return (before["value"], 0) if _is_value(before["value"], clause) else None
    number = _NUMBER_AT_END.search(text)
    if number is None or set(text[: number.start()].lower().split()[-1:]) & words_of.DETERMINERS:
        return None
    return number["value"], number.start()


def _is_offer(linked: re.Match[str], asked: set[str]) -> bool:
    """Whether "default is ..." tells: "what is the default: a or b" asks."""
    before = _words(linked.string[: linked.start()])
    last = (_WORD.findall(linked.string[: linked.start()].lower()) or [""])[-1]
    noun, link = (linked["noun"] or "").lower(), linked["link"].strip().lower()
    if noun and noun not in words_of.VALUE_WORDS | asked:
        return False  # the default branch is not the default of the repository that is asked for
    is_question = not before.isdisjoint(words_of.INTERROGATIVES | words_of.AUXILIARIES)
    if not is_question:
        return True
    if linked["s"] and link.startswith("to"):
        return last == "which" and len(before) == 1
    nearest = words_of.PHRASE_ENDS | words_of.DETERMINERS | words_of.INTERROGATIVES
    return not link.startswith("to") and last not in nearest


def _is_value(value: str, clause: _Clause) -> bool:
    """Whether what stands next to "default" is a value and not the noun that it belongs to."""
    words = _WORD.findall(value.lower())
    if not words or words[0].isdigit() or value[0] in "\"'`":
        return bool(words) or value == _GONE
    if words[0] in words_of.THINGS or (len(words) > 1 and words[0] in words_of.PHRASE_ENDS):
        return False
    is_asked_in_turn = clause.opened_by in "?.!" and clause.closed_by == "?"
    return clause.is_bracketed or (len(value.split()) == 1 and not is_asked_in_turn)


def _plain_value(value: str, asked: set[str]) -> str:
    """A value without quotes and units; empty where it is described, or could be several."""
    text = value.strip().rstrip(".>}").strip("\"'` ")
    words, parts = _WORD.findall(text.lower()), text.split()
    if _QUOTED.fullmatch(value.strip()):
        return text
    if not words or _GONE in text or words[0] in words_of.INTERROGATIVES or _OR.search(text):
        return ""
    if _NUMBER.fullmatch(parts[0]) and len(parts) > 1:
        return parts[0] if words[-1] in asked else text if len(parts) == 2 else ""
    is_described = len(parts) > 1 and parts[0].lower() in _DESCRIBING
    return "" if is_described or len(parts) > MAX_DEFAULT_WORDS else text


# --- lists


def _bracketed_list(text: str, outside: str) -> _List:
    """Options in brackets, or a list there that may be examples."""
    listed: tuple[str, ...] = ()
    for bracket in _BRACKETED.findall(text):
        lead = _LEAD.match(bracket)
        tail = bracket[lead.end() :] if lead else bracket
        if found := _split(tail, is_bare=lead is not None, of=outside):
            return _List("", options=found)
        listed = listed or _split(tail, is_bare=True, of=outside)
    return _List("", listed=listed)


def _list_in(text: str) -> _List:
    """The list of a prompt without brackets, and what stands before it."""
    marks = _SEPARATOR.finditer(text)
    for _, mark in zip(range(MAX_SEPARATORS), marks, strict=False):
        found = _list_at(text[: mark.start()], text[mark.end() :].strip(), mark)
        if found is not None:
            return found
    between = _BETWEEN.search(text)
    if between is not None:
        return _List(text, options=_split(between["options"]))
    return _list_after_preposition(text) or _List(text, listed=_list_of_all(text))


def _list_at(head: str, tail: str, mark: re.Match[str]) -> _List | None:
    """The list after a mark; None where the head asks nothing or the tail is no list."""
    said = _WORD.findall(head.lower())
    is_question = not words_of.INTERROGATIVES.isdisjoint(said)
    if not is_question and words_of.STOPWORDS.issuperset(said) and said not in _NOUNS:
        found = _split(tail, is_bare=True) if mark.group() == ":" else ()
        return _List(f"{head} {tail}", options=found) if found else None
    lead = _LEAD.match(tail)
    head, tail = _sentence_after(head, tail[lead.end() :] if lead else tail)
    found = _split(tail, is_bare=not mark["comma"], of=head)
    if not found:
        is_aside = is_question and words_of.INTERROGATIVES.isdisjoint(_words(tail))
        if is_aside and mark.group() == ":" and len(tail.split()) == 1:
            return _List(head)  # an example
        return _List(head, kept=tail) if is_aside and mark["dash"] else None
    is_numbered = len(_ENUMERATOR.findall(tail)) > 1
    is_told = lead is not None or is_numbered or _OR.search(tail) is not None
    request = next((word for word in said if word not in words_of.OPENINGS), "")
    if mark["comma"]:
        starts = {option.split()[0].lower() for option in found}
        is_choice = is_question or request in words_of.CHOOSING
        is_choice &= starts.isdisjoint(words_of.PREPOSITIONS | words_of.DETERMINERS)
        is_choice |= starts <= words_of.YES_OR_NO
        return _List(head, options=found) if is_told and is_choice else None
    if is_told or not (mark["end"] or mark["dash"] or request in words_of.FREE_REQUESTS):
        return _List(_without_lead(head), options=found)
    return _List(head, listed=found)


def _sentence_after(head: str, tail: str) -> tuple[str, str]:
    """A head and a list without the sentence after the list, which may be what asks."""
    end = None if len(_ENUMERATOR.findall(tail)) > 1 else _SENTENCE_END.search(tail)
    if end is None:
        return head, tail
    rest, said = tail[end.end() :], _words(tail[end.end() :])
    is_asking = not said.isdisjoint(words_of.INTERROGATIVES)
    if is_asking and words_of.INTERROGATIVES.isdisjoint(_words(head)):
        head = rest
    elif said <= words_of.ANEW | words_of.STOPWORDS:
        head = f"{head} {rest}"
    return head, tail[: end.start()]


def _without_lead(head: str) -> str:
    """A head without "Options" or "Choose one" of its own: "What format? Options: csv, json"."""
    for mark in _SEPARATOR.finditer(head):
        if _LEAD.fullmatch(head[mark.end() :].strip() + ":"):
            return head[: mark.start()]
    return head


def _list_after_preposition(text: str) -> _List | None:
    """ "Sort by name or size?": by offers options; "in EUR or USD" may be examples."""
    sentence = text.strip().rstrip("?.!")
    joint = _OR.search(sentence)
    match = _BY.match(sentence[: joint.start()]) if joint else None
    if match is None or "," in match["head"]:
        return None
    tail = sentence[match.start("tail") :]
    found, asked = _split(tail), _words(match["head"])
    if not found or asked & words_of.INTERROGATIVES or asked <= words_of.STOPWORDS:
        return None
    if match["by"].lower() == "by":
        return _List(match["head"], options=found, kept=tail)
    is_short = words_of.AUXILIARIES.isdisjoint(asked) and len(asked) <= MAX_OPTION_WORDS + 1
    return _List(match["head"], listed=found, kept=tail) if is_short else None


def _list_of_all(text: str) -> tuple[str, ...]:
    """A prompt that is nothing but a list after little words: "Do you want tea or coffee?"."""
    words = text.split()
    start = next((i for i, w in enumerate(words) if w.lower() not in words_of.STOPWORDS), 0)
    found = _split(" ".join(words[start:]))
    return found if all(_WORD.fullmatch(option) for option in found) else ()


def _split(text: str, *, is_bare: bool = False, of: str = "") -> tuple[str, ...]:
    """The list in a text, or nothing when it is not a list of short choices.

    Args:
        is_bare: "a, b" without a word between the last two is a list too.
        of: What is asked for; a path keeps its slashes.
    """
    text = text.strip().rstrip("?.!:").replace("|", "/")
    by_words = [part for part in _COMMA_OR.split(text) if part.strip()]
    is_of_paths = len(by_words) > 1 and all("/" in part for part in by_words)
    if len(_ENUMERATOR.findall(text)) > 1:
        parts = _ENUMERATOR.split(text)
    elif "/" in text and not is_of_paths and words_of.PATHS.isdisjoint(_words(of)):
        parts = text.split("/")
    elif is_bare or _AND_OR.search(text):  # else a bare enumeration may be examples
        parts = by_words
    else:
        return ()
    stripped = (_CONJUNCTION.sub("", part.strip()).strip("\"'`,; ") for part in parts)
    options = tuple(dict.fromkeys(option for option in stripped if option))
    is_list = 1 < len(options) <= MAX_OPTIONS
    is_list = is_list and all(len(option.split()) <= MAX_OPTION_WORDS for option in options)
    return options if is_list and not any(_INNER_COLON.search(one) for one in options) else ()


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
