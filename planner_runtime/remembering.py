"""Remembering what follows from an action space, without a caller being able to fill the memory.

Belongs here: the one cache of functions of action spaces and job types. Does not: those functions
(``actions``, ``action_set``, ``decode``, ``outcome_planner``).

A kernel asks about a handful of spaces, so each is worked out once. A space may also be made up by
whoever wants to harm it, with names of a megabyte: such a one is remembered until the next.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

MOST_REMEMBERED: Final = 32
MOST_WEIGHT: Final = 1_000  # characters of names, and a hundred for each choice of a swarm


def remembered(function: Callable[P, R]) -> Callable[P, R]:
    """A pure function whose last results are kept: 32 of small arguments, one of large ones.

    Args:
        function: Of text and of structs with ``swarm_ids``, given by position.
    """
    small: Any = lru_cache(maxsize=MOST_REMEMBERED)(function)
    large: list[tuple[Any, R]] = []

    @wraps(function)
    def remembering(*args: P.args, **kwargs: P.kwargs) -> R:
        if _weight(args) <= MOST_WEIGHT:
            kept: R = small(*args, **kwargs)
            return kept
        for known, result in large[-1:]:
            if known == args:
                return result
        result = function(*args, **kwargs)
        large[:] = [(args, result)]
        return result

    return remembering


def _weight(args: tuple[Any, ...]) -> int:
    weight = 0
    for arg in args:
        if isinstance(arg, str):
            weight += len(arg)
        else:
            names = arg.swarm_ids
            weight += 100 * len(names) + sum(map(len, names))
    return weight
