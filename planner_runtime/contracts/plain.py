"""Values as JSON text could have given them, few and short enough to be looked at in no time.

Belongs here: the one walk over a caller's mapping before anything else touches it: its bounds, its
types, its numbers. Does not: contracts (``reading``), hashes (``canonical``).
Source: reference/reliability.md 2 (bombs: a mapping is as hostile as bytes).

Nothing that a caller's own class overrides is ever called: of a subclass of dict, list, str, int or
float, what it holds is read as its base class reads it; every other class is refused.
"""

import math
from typing import Any, Final, NamedTuple

MAX_CHARS: Final = 1024 * 1024  # in all strings and keys; of a planner input some ten thousand
MAX_VALUES: Final = 10_000  # in all containers; of a planner input some five hundred
MAX_DEPTH: Final = 64
_MAX_KEY: Final = 100  # characters of a key in a path


class PlainError(ValueError):
    """A document is none that JSON could have given, or it is too large.

    Attributes:
        path: JSON path of the offending field, ``$`` where nobody looked for it.
        why: What is wrong there.
    """

    def __init__(self, why: str, path: str = "$") -> None:
        super().__init__(f"{path}: {why}")
        self.path, self.why = path, why


class Plain(NamedTuple):
    """A document within the bounds.

    Attributes:
        document: Made of exact dicts, lists, tuples, strings, numbers, booleans and None.
        is_simple: Whether its keys are all text and its floats all such that msgspec writes them as
            Python does: 0, or from 1e-4 up to 1e16, of either sign.
    """

    document: dict[str, Any]
    is_simple: bool


def plain_document(document: dict[Any, Any]) -> Plain:
    """``document``, checked; a copy of it where it holds anything of a subclass.

    Raises:
        PlainError: it is too large, too deep, holds NaN or infinity, or what JSON cannot say.
    """
    if type(document) is dict:
        is_simple = _look_over(document)
        if is_simple is not None:
            return Plain(document, is_simple)
    document = _copied(document, [0], 1)
    is_simple = _look_over(document)
    assert is_simple is not None
    return Plain(document, is_simple)


def _look_over(document: dict[Any, Any]) -> bool | None:
    """Whether a document is simple; None where it holds anything of a subclass.

    Level by level, so that what refers to itself ends at the depth.
    """
    is_simple, is_exact = True, True
    n_chars, n_values = 0, 0
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        keys: list[Any] = []
        for values in level:
            n_values += len(values)
            if n_values > MAX_VALUES:
                raise PlainError(f"more than {MAX_VALUES} values")
            if type(values) is dict:
                keys += values
                values = values.values()  # noqa: PLW2901
            for value in values:
                kind = type(value)
                if kind is str:
                    n_chars += len(value)
                elif kind is int or value is None:
                    pass
                elif kind is dict or kind is list or kind is tuple:
                    below.append(value)
                elif kind is float:
                    if not 1e-4 <= value < 1e16 and value != 0 and not -1e16 < value <= -1e-4:
                        is_simple = False
                        if value - value != 0:
                            raise _not_finite(document)
                elif kind is not bool:
                    is_exact = False
        kinds = set(map(type, keys))
        is_simple = is_simple and kinds <= _TEXT
        is_exact = is_exact and kinds <= _SCALARS
        n_chars += sum(map(len, keys)) if kinds <= _TEXT else _n_chars_of(keys)
        if n_chars > MAX_CHARS:
            raise PlainError(f"more than {MAX_CHARS} characters")
        if not is_exact:
            return None
        if not below:
            return is_simple
        level = below
    raise PlainError("nested too deeply")


def _n_chars_of(keys: list[Any]) -> int:
    return sum(str.__len__(key) for key in keys if isinstance(key, str))


_TEXT: Final = frozenset({str})
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})


def _not_finite(document: dict[Any, Any]) -> PlainError:
    """The error that names the first such number, if it is found within the bounds."""
    waiting: list[tuple[Any, tuple[Any, str]]] = [(document, (None, "$"))]
    for _ in range(MAX_VALUES):
        if not waiting:
            break
        value, way = waiting.pop()
        if isinstance(value, float) and not math.isfinite(value):
            return PlainError("number is not finite", _written(way))
        if type(value) is dict:
            below = [(one, (way, f".{str(key)[:_MAX_KEY]}")) for key, one in value.items()]
        elif type(value) in (list, tuple):
            below = [(one, (way, f"[{number}]")) for number, one in enumerate(value)]
        else:
            continue
        waiting.extend(reversed(below[:MAX_VALUES]))
    return PlainError("number is not finite")


def _written(way: Any) -> str:
    parts = []
    while way is not None:
        way, part = way
        parts.append(part)
    return "".join(reversed(parts))


_CONTAINERS: Final[tuple[type[Any], ...]] = (dict, list, tuple)


def _copied(value: Any, n_values: list[int], depth: int) -> Any:
    """A value in exact types.

    Args:
        n_values: In a list, how many have been copied so far.
    """
    n_values[0] += 1
    if depth > MAX_DEPTH:
        raise PlainError("nested too deeply")
    n_below = next((kind.__len__(value) for kind in _CONTAINERS if isinstance(value, kind)), 0)
    if n_values[0] + n_below > MAX_VALUES:
        raise PlainError(f"more than {MAX_VALUES} values")
    if isinstance(value, dict):
        return {_scalar(key): _copied(one, n_values, depth + 1) for key, one in dict.items(value)}
    if isinstance(value, list):
        return [_copied(one, n_values, depth + 1) for one in list.__iter__(value)]
    if isinstance(value, tuple):
        return [_copied(one, n_values, depth + 1) for one in tuple.__iter__(value)]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if value is None or type(value) is bool:
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return _AS[kind](value)
    raise PlainError(f"{type(value).__name__} has no JSON form")


_AS: Final[dict[type, Any]] = {str: str.__str__, int: int.__int__, float: float.__float__}
