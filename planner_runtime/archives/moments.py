"""Moments and spans as the kernel writes them -> bounded milliseconds, or not known.

Belongs here: the only way in for times of foreign files. Does not: which file is believed.
A moment outside 1970 to 9999, or a span below 0 or beyond what JSON integers carry, is not known.
"""

from datetime import UTC, datetime
from typing import Final

from planner_runtime.inputs import epoch_ms

LAST_MOMENT_MS: Final = 253_402_300_799_000  # the end of the year 9999
LONGEST_MS: Final = 2**53


def bounded_moment(value: float | None) -> int | None:
    """A moment in Unix ms, when it lies in the calendar."""
    return int(value) if value is not None and 0 <= value <= LAST_MOMENT_MS else None


def bounded_span(value: float | None) -> int | None:
    """A span in ms, when it is one."""
    return int(value) if value is not None and 0 <= value <= LONGEST_MS else None


def moment_ms(timestamp: str | None) -> int | None:
    """Unix ms of a timestamp; None for none and for one that is no timestamp."""
    if timestamp is None:
        return None
    try:
        return bounded_moment(epoch_ms(timestamp))
    except (ValueError, OverflowError):
        return None


def stamp_ms(stamp: str | None) -> int | None:
    """Unix ms of a stamp such as ``20260105T090000Z``."""
    if stamp is None:
        return None
    try:
        moment = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return bounded_moment(int(moment.timestamp()) * 1000)


def span_between(started_ms: int | None, ended_ms: int | None) -> int | None:
    """Length of a span whose ends are known and in order."""
    if started_ms is None or ended_ms is None or ended_ms < started_ms:
        return None
    return ended_ms - started_ms
