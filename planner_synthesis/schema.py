"""From an interaction's turns to the parameters it settled.

Belongs here: keys, types, options, defaults, refinements, and the context that answers make.
Does not: reading one prompt (``questions``), tables of words (``vocabulary``).
Spec: planner-synthesis ("schema from schema_builder"); rtfs.md 2.2 for what upstream did and the
faults that are not repeated; ADR 0024.
"""

import datetime
import math
import re
from collections.abc import Iterable
from typing import Final

import msgspec

from planner_synthesis import vocabulary as words_of
from planner_synthesis.names import tail
from planner_synthesis.questions import Question, parse_question, words_in
from planner_synthesis.snapshot.redaction import is_secret_name
from planner_synthesis.types import InteractionTurn, ParamSchema, ParamSpec, ParamType, Scalar

MAX_ANSWER_NUMBER: Final = 2**63 - 1
_INT: Final = re.compile(r"[+-]?(0|[1-9][0-9]{0,18})\Z")
_FLOAT: Final = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})\.[0-9]{1,17}\Z")
_YES: Final = frozenset({"yes", "y", "true"})
_NO: Final = frozenset({"no", "n", "false"})
_DATE_CUES: Final = frozenset({"date", "day", "deadline"})


def schema_from_history(turns: Iterable[InteractionTurn]) -> ParamSchema:
    """The parameters of an interaction, in the order they were first asked.

    The latest answer counts. A question asked again in the same telling words is the same
    parameter, and so is a revision that tells nothing else; any other question is another one,
    however alike they begin.
    """
    ordered = sorted(turns, key=lambda turn: (turn.turn_index, turn.prompt, turn.answer or ""))
    is_travel = _is_about_travel(ordered)
    questions = [parse_question(turn.prompt) for turn in ordered]
    concepts = [_concept(question, is_travel=is_travel) for question in questions]
    keys = _keys_of(questions, concepts)
    params: dict[str, ParamSpec] = {}
    asked: dict[str, frozenset[str]] = {}
    for turn, question, concept, wanted in zip(ordered, questions, concepts, keys, strict=True):
        if not question.phrase:
            continue  # a prompt without a word asks nothing; upstream skips it too
        telling = _telling(question, concept)
        key = _key_for(question, wanted, telling, asked)
        asked.setdefault(key, telling)
        params[key] = _merged(params.get(key), _param(key, turn, question))
    return ParamSchema(params=tuple(params.values()))


def _keys_of(questions: list[Question], concepts: list[str | None]) -> list[str]:
    """The key that each question asks for: one that is asked "from" and "to" is two."""
    plain = [c or _phrase_key(q) for q, c in zip(questions, concepts, strict=True)]
    directed = {(key, q.direction) for key, q in zip(plain, questions, strict=True)}
    return [
        _directed(key, q.direction)
        if q.direction and {(key, "from"), (key, "to")} <= directed
        else key
        for key, q in zip(plain, questions, strict=True)
    ]


def _directed(key: str, direction: str) -> str:
    space, slash, end = key.rpartition("/")
    return f"{space}{slash}{direction}_{end}"


def _is_about_travel(turns: list[InteractionTurn]) -> bool:
    said = {word for turn in turns for word in words_in(f"{turn.prompt} {turn.answer or ''}")}
    return bool(said & words_of.TRAVEL_WORDS)


def _concept(question: Question, *, is_travel: bool) -> str | None:
    """A key that the words decide on, e.g. ``person/name`` for "your name"."""
    concept = _plain_concept(question, is_travel=is_travel)
    is_from = question.direction == "from" and concept == words_of.DESTINATION
    return words_of.ORIGIN if is_from else concept


def _plain_concept(question: Question, *, is_travel: bool) -> str | None:
    if "where" in question.phrase and set(question.content) & words_of.GOING:
        return words_of.DESTINATION
    phrase = " ".join(question.phrase)
    if is_travel:
        if question.phrase[:1] == ("when",) and set(question.content) & words_of.GOING:
            return "trip/dates"
        of_journey = " ".join(word for word in question.phrase if word not in words_of.JOURNEY)
        if of_journey in words_of.TRAVEL_CONCEPTS:
            return words_of.TRAVEL_CONCEPTS[of_journey]
    return words_of.CONCEPTS.get(phrase)


def _telling(question: Question, concept: str | None) -> frozenset[str]:
    """What tells a question from others; a concept's key stands for all words that mean it."""
    content = frozenset(question.content or question.phrase)
    if concept in (words_of.DESTINATION, words_of.ORIGIN):
        content -= {question.direction}
    elif question.direction:
        content |= {question.direction}
    if concept is None:
        return content
    meant = words_of.GOING | words_of.JOURNEY
    if meant.isdisjoint(question.phrase):
        meant |= frozenset(question.phrase)
    return content - meant | _words_of_key(concept)


def _phrase_key(question: Question) -> str:
    phrase = question.phrase or question.content[:1]
    if len(phrase) > 2 and phrase[-2:] in words_of.REACHED_BY:
        phrase = phrase[:-1]
    if phrase[:1] == ("when",) and phrase[-1] in words_of.MOMENTS:
        phrase = (*phrase[1:-1], words_of.MOMENTS[phrase[-1]])
    return "_".join(phrase)


def _words_of_key(key: str) -> frozenset[str]:
    return frozenset(re.split("[_/]", key))


def _key_for(
    question: Question, key: str, telling: frozenset[str], asked: dict[str, frozenset[str]]
) -> str:
    """The key of the question that this one repeats or revises; else a key that is new."""
    revised = _revised_key(key, telling, asked) if question.is_revision else None
    if revised is not None:
        return revised
    for word in question.content:
        if asked.get(key, telling) == telling:
            return key
        if word in telling and word not in _words_of_key(key):
            key = f"{key}_{word}"
    stem, n = key, 2
    while asked.get(key, telling) != telling:
        key, n = f"{stem}_{n}", n + 1
    return key


def _revised_key(key: str, telling: frozenset[str], asked: dict[str, frozenset[str]]) -> str | None:
    """The one parameter that a revision names and tells nothing new about; None if it could be two.

    Where one of several was asked in just these words, it is that one.
    """
    about = [
        known
        for known, first in asked.items()
        if telling <= first
        and (f"{known}_".startswith(f"{key}_") or telling >= _words_of_key(tail(known)))
    ]
    exact = [known for known in about if asked[known] == telling]
    candidates = exact or about
    return candidates[0] if len(candidates) == 1 else None


def _param(key: str, turn: InteractionTurn, question: Question) -> ParamSpec:
    """The parameter as this one turn has it."""
    answer = turn.answer.strip() if turn.answer is not None else None
    if is_secret_name(key) or is_secret_name("_".join(question.content)):
        question = msgspec.structs.replace(question, options=(), listed=(), default=None)
    options = question.options
    is_passed_over = answer and answer.lower() in words_of.NO_ANSWERS
    if question.is_optional and is_passed_over and not _is_listed(answer, question):
        answer = None
    if not options and (answer or question.default):
        options = question.listed if _is_among(answer or question.default, question.listed) else ()
    is_yes_no = {option.lower() for option in options} in ({"yes", "no"}, {"y", "n"})
    if is_yes_no or not _is_among(answer, options):
        options = ()  # an answer outside of the options shows that they were examples
    kind = _type_of(key, answer, question, is_yes_no=is_yes_no)
    if options:
        kind = "enum"
    default = typed_value(question.default, kind, options) if question.default else None
    if isinstance(default, str) and default.lower() in words_of.NO_ANSWERS and not options:
        default = None  # "default: none" offers to leave it out
    return ParamSpec(
        key=key,
        type=kind,
        required=not question.is_optional,
        default=default,
        enum_values=options,
        prompt=turn.prompt,
        answer=answer or None,
        source_turn=turn.turn_index,
    )


def _is_listed(answer: str | None, question: Question) -> bool:
    listed = (*question.options, *question.listed, *filter(None, [question.default]))
    return bool(listed) and _is_among(answer, listed)


def _is_among(answer: str | None, options: tuple[str, ...]) -> bool:
    return not answer or answer.lower() in {option.lower() for option in options}


def _merged(old: ParamSpec | None, new: ParamSpec) -> ParamSpec:
    """A parameter after one more turn: its first question, its latest answer."""
    if old is None:
        return new
    if new.answer is None:
        return old
    is_refined = old.answer is not None and old.answer != new.answer
    options = new.enum_values or (old.enum_values if _is_among(new.answer, old.enum_values) else ())
    return msgspec.structs.replace(
        new,
        type="enum" if options else new.type,
        enum_values=options,
        default=new.default if new.default is not None else old.default,
        required=old.required and new.required,
        prompt=old.prompt,
        source_turn=old.source_turn,
        n_refinements=old.n_refinements + is_refined,
    )


def _type_of(key: str, answer: str | None, question: Question, *, is_yes_no: bool) -> ParamType:
    """A type that the answer has; without one, the type that the question asks for."""
    names = set(re.split(r"[_/]", key))
    said = answer or question.default
    if not said:
        if is_yes_no:
            return "bool"
        if question.is_count:
            return "int"
        if _is_flag(question):
            return "bool"
        return "date" if names & _DATE_CUES else "string"
    if said.lower() in _YES | _NO and (is_yes_no or _is_yes_no_question(said, question)):
        return "bool"
    if is_date(said):
        return "date"
    if names & words_of.IDENTIFIERS and not _is_quantity(question):
        return "string"
    if _INT.match(said) and abs(int(said)) <= MAX_ANSWER_NUMBER:
        return "int" if str(int(said)) == said else "string"  # "+49..." is no quantity
    if _FLOAT.match(said) and (repr(float(said)) == said or names & words_of.MONEY):
        return "float"
    return "string"


def _is_yes_no_question(said: str, question: Question) -> bool:
    """Whether "yes" or "true" says that something is so; "no" may be a country."""
    if question.opening in words_of.AUXILIARIES | words_of.YES_NO_OPENINGS:
        return True
    is_noun = words_of.INTERROGATIVES.isdisjoint(question.phrase) and question.is_bare
    return is_noun and (said.lower() in ("true", "false") or _is_flag(question))


def _is_flag(question: Question) -> bool:
    """Whether it asks for nothing but a flag: "Dry run?"; a public IP is none."""
    words = set(question.phrase)
    is_flag = words <= words_of.FLAGS | words_of.WITH_FLAGS
    is_asked = question.is_bare or question.opening in words_of.AUXILIARIES
    return is_asked and is_flag and not words_of.FLAGS.isdisjoint(words)


def _is_quantity(question: Question) -> bool:
    """Whether a number that is asked for counts or measures: an invoice's total is no invoice."""
    identifiers = [i for i, w in enumerate(question.phrase) if w in words_of.IDENTIFIERS]
    after = question.phrase[identifiers[-1] + 1 :] if identifiers else ()
    return question.is_count or not words_of.QUANTITIES.isdisjoint(after)


def is_date(text: str) -> bool:
    """Whether a text is a calendar date ``YYYY-MM-DD`` that exists.

    >>> is_date("2025-02-29"), is_date("2024-02-29")
    (False, True)
    """
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return False
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def typed_value(text: str, kind: ParamType, options: tuple[str, ...] = ()) -> Scalar:
    """A text as a value of its type; None where it is none, never a wrong value."""
    text = text.strip()
    if kind == "int":
        return int(text) if _INT.match(text) and abs(int(text)) <= MAX_ANSWER_NUMBER else None
    if kind == "float":
        return (
            float(text)
            if (_INT.match(text) or _FLOAT.match(text)) and math.isfinite(float(text))
            else None
        )
    if kind == "bool":
        return True if text.lower() in _YES else False if text.lower() in _NO else None
    if kind == "date":
        return text if is_date(text) else None
    if kind == "enum":
        return next((option for option in options if option.lower() == text.lower()), None)
    return text


def context_from_schema(schema: ParamSchema) -> dict[str, Scalar]:
    """The context that the answers make: key to typed value, keys without an answer left out.

    An answer that is no value of its type is left out too; the planner then reports it missing.
    """
    values = {
        param.key: typed_value(param.answer, param.type, param.enum_values)
        for param in schema.params
        if param.answer is not None
    }
    return {key: values[key] for key in sorted(values) if values[key] is not None}
