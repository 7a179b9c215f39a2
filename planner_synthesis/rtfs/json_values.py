"""RTFS values to JSON and back, and plain Python data to RTFS values.

Belongs here: the encoding of the probes (``to_json``), what a host or a caller may hand in
(``from_python``), the JSON of the builtins. Does not: files.
Source: data/rtfs/README.md (the encoding); rtfs.md 6, emit rule 2 (which keys are keywords).
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from planner_synthesis.rtfs.errors import BadJson
from planner_synthesis.rtfs.forms import (
    INT_MAX,
    INT_MIN,
    NAME,
    Extra,
    Form,
    Key,
    Kw,
    List,
    Map,
    Opaque,
    Sym,
    Vector,
    type_name,
)


def to_json(value: Form) -> Any:
    """A value as JSON data that tells every type apart.

    Returns:
        nil, booleans, integers, finite floats and strings as themselves; a vector as an array;
        ``{"$list": [...]}``, ``{"$map": [[key, value], ...]}`` sorted by the JSON text of the key,
        ``{"$kw": name}``, ``{"$sym": name}``, ``{"$fn": true}``, ``{"$float": "inf"}``,
        ``{"$error": message}``.

    >>> to_json(Vector((Kw("a"), 1.0, List((2,)))))
    [{'$kw': 'a'}, 1.0, {'$list': [2]}]
    """
    match value:
        case float() if math.isnan(value):
            return {"$float": "NaN"}
        case float() if math.isinf(value):
            return {"$float": "inf" if value > 0 else "-inf"}
        case None | bool() | int() | float() | str():
            return value
        case Kw(name):
            return {"$kw": name}
        case Sym(name):
            return {"$sym": name}
        case Vector(items):
            return [to_json(item) for item in items]
        case List(items):
            return {"$list": [to_json(item) for item in items]}
        case Map(entries):
            pairs = [[to_json(key), to_json(item)] for key, item in entries]
            return {"$map": sorted(pairs, key=lambda pair: json.dumps(pair[0]))}
        case Opaque() if value.type_name == "error":
            return {"$error": getattr(value, "message", "")}
        case _:
            return {"$fn": True}


def to_plain_json(value: Form) -> Any:
    """A value as JSON data for people: objects for maps, arrays for lists, names for keywords.

    Two different values can look alike; a map of which two keys would is written as ``to_json`` has
    it, and so is what JSON has nothing for.

    >>> to_plain_json(Map(((Kw("status"), "done"), (Kw("items"), List((1, Kw("a")))))))
    {'items': [1, ':a'], 'status': 'done'}
    """
    match value:
        case Kw(name):
            return f":{name}"
        case Vector(items) | List(items):
            return [to_plain_json(item) for item in items]
        case Map(entries):
            named = {_plain_key(key): to_plain_json(item) for key, item in entries}
            is_clear = len(named) == len(entries)
            return {name: named[name] for name in sorted(named)} if is_clear else to_json(value)
        case _:
            return to_json(value)


def _plain_key(key: Key) -> str:
    return key.name if isinstance(key, Kw) else str(key)


def from_python(data: object) -> Form:
    """Plain data, or a value that is one already, as an RTFS value.

    A mapping's key becomes a keyword where its name can be one, else it stays a string.

    Raises:
        BadJson: data of another type, an integer beyond 64 bits, text that is not Unicode.
        FormTooDeep: nested beyond ``forms.MAX_DEPTH``.
    """
    try:
        return _from_python(data)
    except RecursionError:
        raise BadJson("the data is nested too deep") from None


def _from_python(data: object) -> Form:
    match data:
        case None | bool() | Sym() | Kw() | Vector() | List() | Map() | Extra() | Opaque():
            return data
        case float():
            return float.__float__(data)
        case int():
            return _checked_int(data)
        case str():
            return _checked_text(data)
        case list() | tuple():
            return Vector(tuple(_from_python(item) for item in data))
        case Mapping():
            return Map(tuple((_key(key), _from_python(item)) for key, item in data.items()))
        case _:
            raise BadJson(f"no RTFS value stands for a {type(data).__name__}")


def _key(key: object) -> Key:
    if isinstance(key, str):
        return Kw(_checked_text(key)) if NAME.fullmatch(key) else _checked_text(key)
    if isinstance(key, Kw):
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        return _checked_int(key)
    raise BadJson(f"no RTFS map has a key that is a {type(key).__name__}")


def _checked_text(text: str) -> str:
    """The text as a plain ``str``: an enumeration's member would equal no other string."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadJson("the text is not Unicode: half of a surrogate pair") from None
    return str.__str__(text)


def _checked_int(number: int) -> int:
    if not INT_MIN <= number <= INT_MAX:
        raise BadJson("the integer does not fit 64 bits")
    return int.__int__(number)


def parse_json_text(text: str) -> Form:
    """JSON text as a value; the keys of objects stay strings.

    Raises:
        BadJson: it is not JSON.
        FormTooDeep: nested beyond ``forms.MAX_DEPTH``.
    """
    try:
        data = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_json_int,
            parse_float=_json_float,
            parse_constant=_refuse_constant,
        )
        return _arrays(data)
    except (ValueError, RecursionError) as error:
        raise BadJson(f"no JSON: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> Map:
    return Map(tuple((_checked_text(key), _arrays(item)) for key, item in pairs))


def _arrays(data: Any) -> Form:
    return Vector(tuple(map(_arrays, data))) if isinstance(data, list) else from_python(data)


def _json_int(digits: str) -> int | float:
    number = int(digits) if len(digits) < 25 else math.inf
    return number if INT_MIN <= number <= INT_MAX and digits != "-0" else _json_float(digits)


def _json_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number is out of range")
    return number


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def json_text(value: Form) -> str:
    """A value as compact JSON text; keywords are strings there, as keys and nowhere else.

    Raises:
        BadJson: a keyword, a list, a function, an error, or a float that is not finite.
    """
    return json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False)


def _plain(value: Form) -> Any:
    match value:
        case float() if not math.isfinite(value):
            raise BadJson("JSON has no such number")
        case None | bool() | int() | float() | str():
            return value
        case Vector(items):
            return [_plain(item) for item in items]
        case Map(entries):
            return {_name(key): _plain(item) for key, item in sorted(entries, key=_by_name)}
        case _:
            raise BadJson(f"JSON has no {type_name(value)}")


def _name(key: Key) -> str:
    return key.name if isinstance(key, Kw) else str(key)


def _by_name(pair: tuple[Key, Form]) -> str:
    return _name(pair[0])
