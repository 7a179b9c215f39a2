"""Maps: looking up, changing, merging.

Belongs here: what takes or gives maps. Does not: keyword lookup ``(:k m)`` (the evaluator's).
Source: rtfs.md 1.4: a present nil beats a default; ``"a"`` and ``:a`` are two keys; the order of
entries is the order in which they came (upstream's is random).
"""

from planner_synthesis.rtfs.builtins.arguments import integer_in, map_in, vector_in
from planner_synthesis.rtfs.errors import ArityMismatch, IndexOutOfBounds, RtfsTypeError
from planner_synthesis.rtfs.forms import Form, Key, Kw, Map, Vector, map_key, type_name
from planner_synthesis.rtfs.values import Arguments, Builtin, str_of


def key_in(value: Form) -> Key:
    """The value as a map's key."""
    map_key(value)
    if isinstance(value, str | int | Kw):
        return value
    raise RtfsTypeError("map key", "string, keyword, or integer", type_name(value))


def _hash_map(args: Arguments) -> Form:
    if len(args) % 2:
        raise ArityMismatch("hash-map", "an even number", len(args))
    return Map(tuple(zip(map(key_in, args[::2]), args[1::2], strict=True)))


def _get(args: Arguments) -> Form:
    collection, key = args[:2]
    default = args[2] if len(args) == 3 else None
    match collection, key:
        case Map(), _:
            return collection.index.get(map_key(key), default)
        case Vector(items), int() if not isinstance(key, bool):
            return items[key] if 0 <= key < len(items) else default
    expected = "map or vector with appropriate key/index"
    raise RtfsTypeError("get", expected, f"{type_name(collection)} with {type_name(key)}")


def _get_in(args: Arguments) -> Form:
    default = args[2] if len(args) == 3 else None
    current = args[0]
    for key in vector_in(args[1], "get-in path").items:
        match current, key:
            case Map(), Kw() | str() if map_key(key) in current.index:
                current = current.index[map_key(key)]
            case Vector(items), int() if not isinstance(key, bool) and 0 <= key < len(items):
                current = items[key]
            case _:
                return default
    return current


def _assoc(args: Arguments) -> Form:
    collection, pairs = args[0], args[1:]
    if len(pairs) % 2:
        raise ArityMismatch("assoc", "an odd number", len(args))
    match collection:
        case Map(entries):
            added = zip(map(key_in, pairs[::2]), pairs[1::2], strict=True)
            return Map((*entries, *added))
        case Vector(items):
            return _with_items(items, pairs)
    raise RtfsTypeError("assoc", "map or vector", type_name(collection))


def _with_items(items: Arguments, pairs: Arguments) -> Vector:
    changed = list(items)
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        index = integer_in(key, "assoc")
        if not 0 <= index < len(changed):
            raise IndexOutOfBounds(index, len(changed))
        changed[index] = value
    return Vector(tuple(changed))


def _dissoc(args: Arguments) -> Form:
    gone = {map_key(key) for key in args[1:] if _is_key(key)}
    entries = map_in(args[0], "dissoc").entries
    return Map(tuple(entry for entry in entries if map_key(entry[0]) not in gone))


def _is_key(value: Form) -> bool:
    return isinstance(value, str | int | Kw) and not isinstance(value, bool)


def _merge(args: Arguments) -> Form:
    maps = [map_in(value, "merge") for value in args]
    return Map(tuple(entry for one in maps for entry in one.entries))


def _keys(args: Arguments) -> Form:
    return Vector(tuple(key for key, _ in map_in(args[0], "keys").entries))


def _vals(args: Arguments) -> Form:
    return Vector(tuple(value for _, value in map_in(args[0], "vals").entries))


def _find(args: Arguments) -> Form:
    """The entry of a key; what can be no key is looked for by its text."""
    index = map_in(args[0], "find").index
    key = key_in(args[1] if _is_key(args[1]) else str_of(args[1]))
    return Vector((key, index[map_key(key)])) if map_key(key) in index else None


MAPS = (
    Builtin("hash-map", 0, None, _hash_map, cost="result"),
    Builtin("get", 2, 3, _get),
    Builtin("get-in", 2, 3, _get_in, cost="arguments"),
    Builtin("assoc", 3, None, _assoc, cost="result"),
    Builtin("dissoc", 2, None, _dissoc, cost="result"),
    Builtin("merge", 1, None, _merge, cost="result"),
    Builtin("keys", 1, 1, _keys, cost="result"),
    Builtin("vals", 1, 1, _vals, cost="result"),
    Builtin("find", 2, 2, _find),
)
