"""Functions that call functions: map, filter, reduce and their kin.

Belongs here: what asks the machine for calls. Does not: how a call is made (``evaluator``).
Source: rtfs.md 1.4, 1.5. As upstream: a keyword is no function of map, filter and reduce; functions
given to filter, reduce and group-by have their plain parameters bound by name, patterns are not
taken apart; map, map-indexed, remove, update and apply call; every? and some? fail on any function.
"""

from __future__ import annotations

from collections.abc import Callable

from planner_synthesis.rtfs.builtins.arguments import characters_or_items, items_in
from planner_synthesis.rtfs.builtins.maps import key_in
from planner_synthesis.rtfs.errors import (
    IndexOutOfBounds,
    RtfsTypeError,
    Unsupported,
    WrongOperand,
)
from planner_synthesis.rtfs.forms import (
    Form,
    Kw,
    List,
    Map,
    Opaque,
    Vector,
    map_key,
    type_name,
    weight_of,
)
from planner_synthesis.rtfs.values import (
    Arguments,
    Builtin,
    Call,
    Closure,
    Forward,
    Run,
    is_truthy,
    str_of,
    text_of,
)


def _function_in(value: Form, operation: str) -> Builtin | Closure:
    if isinstance(value, Builtin | Closure):
        return value
    raise RtfsTypeError(operation, "function", type_name(value))


def _callable_in(value: Form, operation: str) -> Builtin | Closure | Forward | Kw:
    if isinstance(value, Builtin | Closure | Forward | Kw):
        return value
    raise RtfsTypeError(operation, "function", type_name(value))


def _texts(args: Arguments) -> Form:
    return "".join(map(text_of, items_in(args[0], "text")))


_TEXTS = Builtin(
    "text", 1, 1, _texts, cost="arguments", predict_size=lambda args: weight_of(args[0])
)


def _alike(collection: Form, results: list[Form]) -> Run:
    """Results as what they were made from; a string is joined from their texts, quotes and all."""
    if isinstance(collection, str):
        return (yield Call(_TEXTS, (Vector(tuple(results)),)))
    return List(tuple(results)) if isinstance(collection, List) else Vector(tuple(results))


def _map(args: Arguments) -> Run:
    """As upstream, it takes no builtin that itself calls: no ``call``, ``filter`` or ``update``."""
    results: list[Form] = []
    for item in characters_or_items(args[1], "map"):
        function = _function_in(args[0], "map")
        if isinstance(function, Builtin) and (function.nested or function.name == "call"):
            raise RtfsTypeError("map", "function that calls none", type_name(function))
        results.append((yield Call(function, (item,))))
    return Vector(tuple(results))


def _map_indexed(args: Arguments) -> Run:
    results: list[Form] = []
    for index, item in enumerate(characters_or_items(args[1], "map-indexed")):
        function = _callable_in(args[0], "map-indexed")
        results.append((yield Call(function, (index, item))))
    return (yield from _alike(args[1], results))


def _filter(args: Arguments) -> Run:
    kept: list[Form] = []
    for item in items_in(args[1], "filter"):
        call = Call(_function_in(args[0], "filter"), (item,), by_name=True)
        if is_truthy((yield call)):
            kept.append(item)
    return Vector(tuple(kept))


def _remove(args: Arguments) -> Run:
    """Only ``true`` removes: an item for which the function gives 1 or nil is kept."""
    kept: list[Form] = []
    for item in characters_or_items(args[1], "remove"):
        if (yield Call(_callable_in(args[0], "remove"), (item,))) is not True:
            kept.append(item)
    return (yield from _alike(args[1], kept))


def _reduce(args: Arguments) -> Run:
    if not isinstance(args[-1], Vector | List | str):
        raise WrongOperand("reduce", "a vector, string, or list", type_name(args[-1]))
    items = characters_or_items(args[-1], "reduce")
    if len(args) == 3:
        items = (args[1], *items)
    if not items:
        raise Unsupported("reduce of nothing, without an initial value,")
    total = items[0]
    for item in items[1:]:
        total = yield Call(_function_in(args[0], "reduce"), (total, item), by_name=True)
    return total


def _apply(args: Arguments) -> Run:
    given: list[Form] = list(args[1:-1])
    match args[-1]:
        case Vector(items) | List(items):
            for item in items:
                given += _pairs(item) if isinstance(item, Map) else [item]
        case Map() as entries:
            given += _pairs(entries)
        case str(text):
            given += list(text)
        case None:
            pass
        case other:
            raise RtfsTypeError("apply", "vector, list, map, string, or nil", type_name(other))
    return (yield Call(args[0], tuple(given)))


def _pairs(value: Map) -> list[Form]:
    return [part for entry in value.entries for part in entry]


def _update(args: Arguments) -> Run:
    collection, key, function = args[0], key_in(args[1]), _callable_in(args[2], "update")
    match collection:
        case Map(entries):
            current = collection.index.get(map_key(key))
            changed = yield Call(function, (current, *args[3:]))
            return Map((*entries, (key, changed)))
        case Vector(items):
            if not isinstance(key, int):
                raise RtfsTypeError("update", "integer index for vector", type_name(key))
            if not 0 <= key < len(items):
                raise IndexOutOfBounds(key, len(items))
            changed = yield Call(function, (items[key], *args[3:]))
            return Vector((*items[:key], changed, *items[key + 1 :]))
    raise RtfsTypeError("update", "map or vector", type_name(collection))


def _group_by(args: Arguments) -> Run:
    items = () if args[1] is None else items_in(args[1], "group-by")
    groups: dict[tuple[str, str | int], tuple[str | int | Kw, list[Form]]] = {}
    for item in items:
        if isinstance(args[0], Kw):
            found = item.index.get(map_key(args[0])) if isinstance(item, Map) else None
        else:
            found = yield Call(_function_in(args[0], "group-by"), (item,), by_name=True)
        is_key = isinstance(found, str | int | Kw) and not isinstance(found, bool)
        key = key_in(found if is_key else str_of(found))
        groups.setdefault(map_key(key), (key, []))[1].append(item)
    return Map(tuple((key, Vector(tuple(members))) for key, members in groups.values()))


def _until(name: str, decisive: bool) -> Callable[[Arguments], Run]:
    """``every?`` ends at the first ``false``, ``some?`` at the first ``true``; a keyword alone is a
    predicate, since upstream turns it back into code and cannot do that to a function."""

    def run(args: Arguments) -> Run:
        if isinstance(args[1], List) or not isinstance(args[1], Vector | str):
            raise RtfsTypeError(name, "vector or string", type_name(args[1]))
        for item in characters_or_items(args[1], name):
            if isinstance(args[0], Opaque):
                raise Unsupported(f"{name} with a function")
            answer = yield Call(args[0], (item,))
            if not isinstance(answer, bool):
                raise RtfsTypeError(f"{name} predicate result", "boolean", type_name(answer))
            if answer is decisive:
                return decisive
        return not decisive

    return run


FUNCTIONS = (
    Builtin("map", 2, 2, nested=_map, cost="result"),
    Builtin("map-indexed", 2, 2, nested=_map_indexed, cost="result"),
    Builtin("filter", 2, 2, nested=_filter, cost="result"),
    Builtin("remove", 2, 2, nested=_remove, cost="result"),
    Builtin("reduce", 2, 3, nested=_reduce, cost="arguments"),
    Builtin("apply", 2, None, nested=_apply, cost="arguments"),
    Builtin("update", 3, None, nested=_update, cost="result"),
    Builtin("group-by", 2, 2, nested=_group_by, cost="result"),
    Builtin("every?", 2, 2, nested=_until("every?", decisive=False)),
    Builtin("some?", 2, 2, nested=_until("some?", decisive=True)),
)
