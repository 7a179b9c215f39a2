"""Vectors, lists and the strings that are taken for sequences of characters.

Belongs here: what takes or gives sequences. Does not: maps (``maps``), functions over sequences
(``functions``).
Source: rtfs.md 1.4 (nil is refused), 1.5 (names); upstream ``runtime/secure_stdlib.rs``.
"""

from planner_synthesis.rtfs.builtins.arguments import (
    count_in,
    integer_in,
    items_in,
    string_in,
    vector_in,
)
from planner_synthesis.rtfs.errors import IndexOutOfBounds, RtfsTypeError
from planner_synthesis.rtfs.forms import (
    Form,
    List,
    Map,
    Vector,
    map_key,
    same,
    strict_hash,
    type_name,
)
from planner_synthesis.rtfs.values import SORT_KEY, Arguments, Builtin


def _vector(args: Arguments) -> Form:
    return Vector(args)


def _count(args: Arguments) -> Form:
    match args[0]:
        case Vector(items) | List(items):
            return len(items)
        case Map(entries):
            return len(entries)
        case str(text):
            return len(text)
    raise RtfsTypeError("count", "vector, list, map, or string", type_name(args[0]))


def _length(args: Arguments) -> Form:
    """As ``count``, but of a string the bytes."""
    if isinstance(args[0], str):
        return len(args[0].encode("utf-8", "surrogatepass"))
    return _count(args)


def _first(args: Arguments) -> Form:
    match args[0]:
        case Vector(items) | List(items):
            return items[0] if items else None
        case str(text):
            return text[0] if text else None
    raise RtfsTypeError("first", "vector, list, or string", type_name(args[0]))


def _rest(args: Arguments) -> Form:
    match args[0]:
        case Vector(items):
            return Vector(items[1:])
        case List(items):
            return List(items[1:])
        case str(text):
            return text[1:]
    raise RtfsTypeError("rest", "vector, list, or string", type_name(args[0]))


def _last(args: Arguments) -> Form:
    match args[0]:
        case Vector(items):
            return items[-1] if items else None
        case str(text):
            return text[-1:]
    raise RtfsTypeError("last", "vector or string", type_name(args[0]))


def _nth(args: Arguments) -> Form:
    index = integer_in(args[1], "nth")
    match args[0]:
        case Vector(items) | List(items):
            parts: Arguments = items
        case str(text):
            parts = tuple(text)
        case _:
            raise RtfsTypeError("nth", "vector, list, or string", type_name(args[0]))
    if 0 <= index < len(parts):
        return parts[index]
    if len(args) == 3:
        return args[2]
    raise IndexOutOfBounds(index, len(parts))


def _cons(args: Arguments) -> Form:
    return Vector((args[0], *vector_in(args[1], "cons").items))


def _conj(args: Arguments) -> Form:
    return Vector(vector_in(args[0], "conj").items + args[1:])


def _concat(args: Arguments) -> Form:
    items: list[Form] = []
    for value in args:
        if isinstance(value, Vector):
            items.extend(value.items)
        elif isinstance(value, str):
            items.extend(value)
        else:
            items.append(value)
    return Vector(tuple(items))


def _take(args: Arguments) -> Form:
    match args[1]:
        case Vector(items):
            return Vector(items[: count_in(args[0], "take", len(items))])
        case str(text):
            return text[: count_in(args[0], "take", len(text))]
    raise RtfsTypeError("take", "vector or string", type_name(args[1]))


def _drop(args: Arguments) -> Form:
    match args[1]:
        case Vector(items):
            return Vector(items[count_in(args[0], "drop", len(items)) :])
        case str(text):
            return text[count_in(args[0], "drop", len(text)) :]
    raise RtfsTypeError("drop", "vector or string", type_name(args[1]))


def _reverse(args: Arguments) -> Form:
    match args[0]:
        case Vector(items):
            return Vector(items[::-1])
        case str(text):
            return text[::-1]
    raise RtfsTypeError("reverse", "vector or string", type_name(args[0]))


def _sort(args: Arguments) -> Form:
    match args[0]:
        case Vector(items):
            return Vector(tuple(sorted(items, key=SORT_KEY)))
        case str(text):
            return "".join(sorted(text))
    raise RtfsTypeError("sort", "vector or string", type_name(args[0]))


def _distinct(args: Arguments) -> Form:
    if isinstance(args[0], str):
        return "".join(dict.fromkeys(args[0]))
    seen: dict[int, list[Form]] = {}
    kept: list[Form] = []
    for item in vector_in(args[0], "distinct").items:
        alike = seen.setdefault(strict_hash(item), [])
        if not any(same(item, other) for other in alike):
            alike.append(item)
            kept.append(item)
    return Vector(tuple(kept))


def _partition(args: Arguments) -> Form:
    size = integer_in(args[0], "partition size")
    if size <= 0:
        raise RtfsTypeError("partition size", "positive integer", type_name(args[0]))
    items = items_in(args[1], "partition collection")
    parts = [Vector(items[at : at + size]) for at in range(0, len(items), size)]
    return Vector(tuple(parts))


def _subvec(args: Arguments) -> Form:
    items = vector_in(args[0], "subvec").items
    start = integer_in(args[1], "subvec start index")
    end = integer_in(args[2], "subvec end index") if len(args) == 3 else len(items)
    if not 0 <= start <= end <= len(items):
        raise IndexOutOfBounds(start, len(items))
    return Vector(items[start:end])


def _contains(args: Arguments) -> Form:
    """A map's key, a sequence's item, a part of a string."""
    collection, item = args
    match collection:
        case Vector(items) | List(items):
            return any(same(item, other) for other in items)
        case Map(_):
            is_key = isinstance(item, str | int) or type_name(item) == "keyword"
            return is_key and not isinstance(item, bool) and map_key(item) in collection.index
        case str(text):
            return isinstance(item, str) and string_in(item, "contains?") in text
    raise RtfsTypeError("contains?", "vector, string, list, or map", type_name(collection))


COLLECTIONS = (
    Builtin("vector", 0, None, _vector, cost="result"),
    Builtin("count", 1, 1, _count),
    Builtin("length", 1, 1, _length, cost="arguments"),
    Builtin("first", 1, 1, _first),
    Builtin("rest", 1, 1, _rest, cost="result"),
    Builtin("last", 1, 1, _last),
    Builtin("nth", 2, 3, _nth, cost="arguments"),
    Builtin("cons", 2, 2, _cons, cost="result"),
    Builtin("conj", 2, None, _conj, cost="result"),
    Builtin("concat", 0, None, _concat, cost="result"),
    Builtin("take", 2, 2, _take, cost="result"),
    Builtin("drop", 2, 2, _drop, cost="result"),
    Builtin("reverse", 1, 1, _reverse, cost="result"),
    Builtin("sort", 1, 1, _sort, cost="sorting"),
    Builtin("distinct", 1, 1, _distinct, cost="arguments"),
    Builtin("partition", 2, 2, _partition, cost="result"),
    Builtin("subvec", 2, 3, _subvec, cost="result"),
    Builtin("contains?", 2, 2, _contains, cost="arguments"),
)
