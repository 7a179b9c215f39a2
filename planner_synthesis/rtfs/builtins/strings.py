"""Strings: building, cutting, looking into them, and JSON text.

Belongs here: what takes or gives strings. Does not: the text of each value (``values``); regular
expressions, which upstream has at its head and whose cost no budget could bound here.
Source: rtfs.md 1.4 (``str``), 1.5 (names).
"""

from planner_synthesis.rtfs.builtins.arguments import (
    WHITE_SPACE,
    integer_in,
    items_in,
    string_in,
)
from planner_synthesis.rtfs.errors import IndexOutOfBounds
from planner_synthesis.rtfs.forms import Form, List, Vector, weight_of
from planner_synthesis.rtfs.json_values import json_text, parse_json_text
from planner_synthesis.rtfs.values import Arguments, Builtin, str_of


def _str(args: Arguments) -> Form:
    return "".join(map(str_of, args))


def _join(args: Arguments) -> Form:
    return string_in(args[0], "join").join(map(str_of, items_in(args[1], "join")))


def _joined_size(args: Arguments) -> int:
    n_items = len(args[1].items) if isinstance(args[1], Vector | List) else 0
    return n_items * weight_of(args[0]) + weight_of(args[1])


def _split(args: Arguments) -> Form:
    text = "" if args[0] is None else string_in(args[0], "split")
    separator = string_in(args[1], "split")
    return Vector(tuple(text.split(separator) if separator else text))


def _substring(args: Arguments) -> Form:
    text = string_in(args[0], "substring")
    start = integer_in(args[1], "substring")
    end = integer_in(args[2], "substring") if len(args) == 3 else len(text)
    if not 0 <= start <= end <= len(text):
        raise IndexOutOfBounds(start, len(text))
    return text[start:end]


def _length(args: Arguments) -> Form:
    return len(string_in(args[0], "string-length"))


def _contains(args: Arguments) -> Form:
    return string_in(args[1], "string-contains") in string_in(args[0], "string-contains")


def _starts_with(args: Arguments) -> Form:
    prefix = string_in(args[1], "starts-with?")
    return args[0] is not None and string_in(args[0], "starts-with?").startswith(prefix)


def _upper(args: Arguments) -> Form:
    return string_in(args[0], "string-upper").upper()


def _lower(args: Arguments) -> Form:
    return string_in(args[0], "string-lower").lower()


def _trim(args: Arguments) -> Form:
    return string_in(args[0], "string-trim").strip(WHITE_SPACE)


def _parse_json(args: Arguments) -> Form:
    return parse_json_text(string_in(args[0], "parse-json"))


def _serialize_json(args: Arguments) -> Form:
    return json_text(args[0])


STRINGS = (
    Builtin("str", 0, None, _str, cost="arguments"),
    Builtin("join", 2, 2, _join, cost="result", predict_size=_joined_size),
    Builtin("string-join", 2, 2, _join, cost="result", predict_size=_joined_size),
    Builtin("split", 2, 2, _split, cost="result"),
    Builtin("substring", 2, 3, _substring, cost="result"),
    Builtin("string-length", 1, 1, _length),
    Builtin("string-contains", 2, 2, _contains, cost="arguments"),
    Builtin("starts-with?", 2, 2, _starts_with),
    Builtin("string-upper", 1, 1, _upper, cost="arguments"),
    Builtin("string-lower", 1, 1, _lower, cost="arguments"),
    Builtin("string-trim", 1, 1, _trim, cost="arguments"),
    Builtin("parse-json", 1, 1, _parse_json, cost="arguments"),
    Builtin("tool/parse-json", 1, 1, _parse_json, cost="arguments"),
    Builtin("serialize-json", 1, 1, _serialize_json, cost="arguments"),
    Builtin("tool/serialize-json", 1, 1, _serialize_json, cost="arguments"),
)
