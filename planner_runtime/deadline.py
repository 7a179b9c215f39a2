"""The time a decision may take, and the one thread that ends what takes longer.

Belongs here: moments, the watchdog. Does not: what is done when a decision is late (``planner``),
how a session is stopped (``session``). Source: reference/reliability.md 5.

Work in Python looks at the clock between its steps. A session computes for as long as it likes,
so a watchdog stops it from outside: one daemon thread for the whole process, asleep until the
earliest moment somebody waits for, and started when somebody first does.
"""

import math
import os
import threading
import time
from collections.abc import Callable
from typing import Final

DEFAULT_DEADLINE_MS: Final = 100.0


class DeadlineError(Exception):
    """A decision took longer than it may."""


class Deadline:
    """A moment on the monotonic clock.

    Args:
        ms: From now on; None for never.

    Raises:
        ValueError: ``ms`` is not above 0.
    """

    __slots__ = ("at_seconds",)

    def __init__(self, ms: float | None) -> None:
        self.at_seconds = math.inf if ms is None else time.monotonic() + checked_ms(ms) / 1_000

    @property
    def is_never(self) -> bool:
        """Whether there is all the time in the world."""
        return self.at_seconds == math.inf

    @property
    def seconds_left(self) -> float:
        """Until then; negative afterwards."""
        return self.at_seconds - time.monotonic()

    def check(self) -> None:
        """Go on, or raise ``DeadlineError``."""
        if time.monotonic() > self.at_seconds:
            raise DeadlineError("deadline")


NEVER: Final = Deadline(None)


def checked_ms(ms: float) -> float:
    """``ms``, where it is a time that somebody can wait. Raises ``ValueError``."""
    if not ms > 0:
        raise ValueError(f"a deadline is above 0 ms, got {ms}")
    return float(ms)


class Watchdog:
    """Calls what it was given once its moment has come, unless somebody was done before."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        """Nobody waits and no thread runs: how a process begins, and a forked one too."""
        self._condition = threading.Condition(threading.Lock())
        self._watched: dict[Callable[[], None], float] = {}
        self._wakes_at = -math.inf  # while no thread sleeps, nobody has to wake it
        self._thread: threading.Thread | None = None

    def watch(self, deadline: Deadline, stop: Callable[[], None]) -> None:
        """Call ``stop`` at the deadline; it must return at once and be no other caller's."""
        with self._condition:
            self._watched[stop] = deadline.at_seconds
            if self._thread is None:
                self._start()
            elif deadline.at_seconds < self._wakes_at:
                self._condition.notify()

    def forget(self, stop: Callable[[], None]) -> None:
        """Do not call ``stop`` any more."""
        with self._condition:
            self._watched.pop(stop, None)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="planner-deadline", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread to be had: decisions are late, and then say so
            return
        self._thread = thread

    def _run(self) -> None:
        with self._condition:
            while True:
                now = time.monotonic()
                for stop, at_seconds in list(self._watched.items()):
                    if at_seconds <= now:
                        del self._watched[stop]
                        stop()
                self._wakes_at = min(self._watched.values(), default=math.inf)
                idle = self._wakes_at == math.inf
                self._condition.wait(None if idle else max(0.0, self._wakes_at - now))


WATCHDOG: Final = Watchdog()
os.register_at_fork(after_in_child=WATCHDOG._reset)
