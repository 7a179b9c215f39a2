"""Whether two keys mean the same, and how sure that is.

Belongs here: normal spelling, synonyms, hints of skills, singular and plural, one slip of the pen.
Does not: types (``coercions``), which input gets which key (``matching``), the tables of words
(``vocabulary``).
Spec: planner-synthesis, "Adaptation" (key renames); ADR 0024.

All that can be known of the schema is worked out once; a candidate's key then costs a few look-ups,
and each distinct key is looked up once.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import compress
from typing import Final, NamedTuple

from planner_synthesis.vocabulary import (
    ALTERING_WORDS,
    DISTINCT_WORDS,
    FROM_ENDS,
    LOOSE_LAST_WORDS,
    OTHER_MOMENTS,
    SKILL_HINTS,
    SYNONYMS,
    TO_ENDS,
    UPPER_BOUNDS,
    WORD_FORMS,
)

# sureness in percent; the order is the order of trust in each kind of evidence
SAME: Final = 100
NORMAL: Final = 95
NAMESPACE: Final = 90
PLURAL: Final = 90
SYNONYM: Final = 85
HINT: Final = 80
HEAD_WORD: Final = 70
SLIP: Final = 65
MIN_SLIP_LETTERS: Final = 5
MAX_SLIP_LETTERS: Final = 64
MAX_COMPOUND_WORDS: Final = 8  # of a key of which one word may be said otherwise

_COUNT: Final = "_count"  # as in `issues_count`; ``questions`` makes such keys
_NUMBER_OF: Final = ("numberof{}", "noof{}", "number{}", "num{}", "n{}", "total{}")
_BLANKS: Final = "_- :"
_NAMESPACE_ENDS: Final = "/."
_FORMS_OF: Final = {word: forms for forms in WORD_FORMS for word in forms}
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_GROUP_OF: Final = {word: group for group in SYNONYMS for word in group}


class NameLink(NamedTuple):
    """A schema key that a candidate's key may stand for.

    Attributes:
        at: Index of the schema key, in sorted order.
        sureness: Percent.
    """

    at: int
    sureness: int
    reason: str


def words_of_name(name: str) -> list[str]:
    """Words of a key or an id in lower case; a capital letter begins one.

    >>> words_of_name("github.listIssues_v2"), words_of_name("HTTPPort")
    (['github', 'list', 'issues', 'v'], ['http', 'port'])
    """
    return [word.lower() for word in _WORD.findall(name)]


def compact(key: str) -> str:
    """A key without case, blanks and separators.

    >>> compact("Repo_Name"), compact("repoName"), compact("trip/dates")
    ('reponame', 'reponame', 'tripdates')
    """
    return _without(_NAMESPACE_ENDS, _without(_BLANKS, key.lower()))


def _without(chars: str, text: str) -> str:
    for char in chars:
        text = text.replace(char, "")
    return text


def tail(key: str) -> str:
    """A key without its namespace.

    >>> tail("trip/dates"), tail("com.acme.city"), tail("city")
    ('dates', 'city', 'city')
    """
    return key[max(key.rfind("/"), key.rfind(".")) + 1 :]


def namespace(key: str) -> str:
    """What stands before a key's tail, in normal spelling.

    >>> namespace("trip/dates"), namespace("com.acme.city"), namespace("city")
    ('trip', 'comacme', '')
    """
    return compact(key[: len(key) - len(tail(key))])


class NameMatcher:
    """Links from candidates' keys to the keys of one schema."""

    def __init__(self, schema_keys: Sequence[str], skills: Iterable[str]) -> None:
        """Work out the names of each schema key; ``schema_keys`` are sorted and unique."""
        hints = [pair for skill in sorted(set(skills)) for pair in SKILL_HINTS.get(skill, ())]
        self._ends = [_ends_of(key) for key in schema_keys]
        self._spaces = [namespace(key) for key in schema_keys]
        self._names: dict[str, dict[int, NameLink]] = {}
        # by first letter and length, names one letter short of a candidate's spelling
        self._short: dict[tuple[str, int], list[tuple[str, int]]] = {}
        for index, key in enumerate(schema_keys):
            self._learn(index, key, hints)
        self._lengths = frozenset(length + 1 for _, length in self._short)
        self._same = {key: index for index, key in enumerate(schema_keys)}

    def _add(self, name: str, index: int, sureness: int, reason: str) -> None:
        if name:
            of_name = self._names.setdefault(name, {})
            known = of_name.get(index)
            if known is None or known.sureness < sureness:
                of_name[index] = NameLink(index, sureness, reason)

    def _learn(self, index: int, key: str, hints: Sequence[tuple[str, str]]) -> None:
        whole, end = compact(key), compact(tail(key))
        self._add(whole, index, NORMAL, "same normal spelling")
        self._add(end, index, NAMESPACE, "same name without its namespace")
        if key.endswith(_COUNT):
            self._learn_count(index, compact(key.removesuffix(_COUNT)))
        modifiers, _, head = tail(key).replace("-", "_").lower().rpartition("_")
        for other in _in_other_words(key.replace("-", "_").lower()):
            self._add(compact(other), index, SYNONYM, "synonym of a part")
        for name in dict.fromkeys((whole, end)):
            self._learn_spellings(index, name)
            for other in _GROUP_OF.get(name, ()):
                self._add(other, index, SYNONYM, f"synonym of {name}")
            for one, other in hints:
                if name == one:
                    self._add(other, index, HINT, f"a skill takes {name} for {other}")
        if head not in (whole, end) and not _is_altered(modifiers.split("_"), head):
            is_loose = head in LOOSE_LAST_WORDS
            for other in (head,) if is_loose else _GROUP_OF.get(head, (head,)):
                self._add(other, index, HEAD_WORD, f"last word {head}")

    def _learn_count(self, index: int, counted: str) -> None:
        self._add(counted, index, HINT, "how many of them")
        for form in _NUMBER_OF:
            self._add(form.format(counted), index, SYNONYM, "number of them")
        if _GROUP_OF.get(counted) is _GROUP_OF["count"]:
            for other in _GROUP_OF[counted]:
                self._add(other, index, HINT, f"synonym of {counted}")

    def _learn_spellings(self, index: int, name: str) -> None:
        if len(name) > 3:
            other = name[:-1] if name.endswith("s") else name + "s"
            if not _are_distinct(name, other):
                self._add(other, index, PLURAL, "singular and plural")
        if MIN_SLIP_LETTERS <= len(name) <= MAX_SLIP_LETTERS:
            for slip in _one_letter_less(name) | _swapped(name):
                if not _are_distinct(name, slip):
                    self._add(slip, index, SLIP, f"one slip away from {name}")
            self._short.setdefault((name[0], len(name)), []).append((name, index))

    def that_may_be_linked(self, keys: Collection[str]) -> Iterable[str]:
        """Those of many keys that may have links: most have none and are passed over quickly."""
        names, lengths = self._names, self._lengths
        lines = _without(_BLANKS, "\n".join(keys).lower())
        spelled = _without(_NAMESPACE_ENDS, lines).split("\n")
        if len(spelled) != len(keys):  # a key has a line break, or there is none
            return keys
        may = list(compress(keys, map(names.__contains__, spelled)))
        fits = list(map(lengths.__contains__, map(len, spelled)))
        may += [
            key
            for key, name in zip(compress(keys, fits), compress(spelled, fits), strict=True)
            if (name[:1], len(name) - 1) in self._short
        ]
        if "/" in lines or "." in lines:
            may += compress(keys, map(names.__contains__, _ends(keys, lines)))
        return [*may, *(key for key in self._same if key in keys)]

    def links(self, key: str) -> tuple[NameLink, ...]:
        """Schema keys that this key may stand for, in the order of the schema."""
        spelled = compact(key)
        links = dict(self._names.get(spelled, {}))
        if "/" in key or "." in key:
            space = namespace(key)
            for index, link in self._names.get(compact(tail(key)), {}).items():
                if space and self._spaces[index] not in ("", space):
                    continue  # where something is from is not where it goes, if both are a city
                if index not in links or links[index].sureness < link.sureness:
                    sureness = min(link.sureness, NAMESPACE)
                    links[index] = NameLink(index, sureness, link.reason)
        for name, index in self._short.get((spelled[:1], len(spelled) - 1), ()):
            is_slip = spelled in _one_letter_more(name, spelled)
            if is_slip and index not in links and not _are_distinct(name, spelled):
                links[index] = NameLink(index, SLIP, f"one slip away from {name}")
        if links and (own := _ends_of(key)):
            links = {i: link for i, link in links.items() if self._ends[i] in ("", own)}
        same = self._same.get(key)
        if same is not None:
            links[same] = NameLink(same, SAME, "same name")
        return tuple(links[index] for index in sorted(links))


def _ends(keys: Collection[str], lines: str) -> list[str]:
    """Keys without their namespaces in normal spelling, from their lines without other blanks."""
    if lines.isascii():
        return [line.rpartition("/")[2] for line in lines.replace(".", "/").split("\n")]
    # a sigma's lower case depends on what stands before it, even before a dot
    return [compact(tail(key)) for key in keys]


def _ends_of(key: str) -> str:
    """Which end of something a key is about; nothing when it is about neither or both.

    >>> _ends_of("originCity"), _ends_of("trip/to"), _ends_of("from_to"), _ends_of("total")
    ('from', 'to', '', '')
    """
    words = set(words_of_name(key))
    is_from, is_to = not words.isdisjoint(FROM_ENDS), not words.isdisjoint(TO_ENDS)
    return "" if is_from == is_to else "from" if is_from else "to"


def _in_other_words(key: str) -> Iterable[str]:
    """A compound with one word replaced by another that means the same there."""
    words = key.split("_")
    for at, word in enumerate(words if 1 < len(words) <= MAX_COMPOUND_WORDS else ()):
        for other in _FORMS_OF.get(word, ()):
            if other != word:
                yield "_".join((*words[:at], other, *words[at + 1 :]))


def _is_altered(modifiers: Sequence[str], head: str) -> bool:
    """Whether what stands before a last word makes it another thing: ``max_price`` is no price.

    A budget is a bound already, and ``end_date`` is not the date of what begins.
    """
    altering = ALTERING_WORDS.intersection(modifiers)
    if head in ("date", "day", "time"):
        altering |= OTHER_MOMENTS.intersection(modifiers)
    return bool(altering - UPPER_BOUNDS if head == "budget" else altering)


def _are_distinct(one: str, other: str) -> bool:
    return one in DISTINCT_WORDS and other in DISTINCT_WORDS


def _one_letter_less(name: str) -> set[str]:
    """Spellings that miss one letter, but not the first, nor a digit."""
    if len(name) <= MIN_SLIP_LETTERS:
        return set()
    return {name[:i] + name[i + 1 :] for i in range(1, len(name)) if not name[i].isdigit()}


def _swapped(name: str) -> set[str]:
    """Spellings with two letters next to each other exchanged, but not the first."""
    return {
        name[:i] + name[i + 1] + name[i] + name[i + 2 :]
        for i in range(1, len(name) - 1)
        if name[i] != name[i + 1] and not (name[i] + name[i + 1]).isdigit()
    }


def _one_letter_more(name: str, spelled: str) -> tuple[str, ...]:
    """``spelled`` when it is ``name`` with one letter too many, else nothing."""
    at = next((i for i, (a, b) in enumerate(zip(name, spelled, strict=False)) if a != b), len(name))
    is_slip = spelled[at + 1 :] == name[at:] and not spelled[at].isdigit()
    return (spelled,) if is_slip else ()
