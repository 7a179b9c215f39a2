"""Locks that a forked child finds open, so that it never waits for a thread it does not have.

Belongs here: the lock. Does not: what it guards. A child forked while a thread of its parent was
changing something may lack that change; it does not hang. Source: POSIX ``fork``, of whose caller
alone a child has the thread.
"""

import os
import threading
import weakref
from typing import Any


class ForkSafeLock:
    """``threading.Lock``, or ``RLock``, that is made anew in a forked child."""

    def __init__(self, *, is_reentrant: bool = False) -> None:
        self._make: Any = threading.RLock if is_reentrant else threading.Lock
        self._lock = self._make()
        _ALL.add(self)

    def acquire(self, *, timeout: float = -1) -> bool:
        """Whether it was got within ``timeout`` seconds; -1 waits for it."""
        return bool(self._lock.acquire(timeout=timeout))

    def release(self) -> None:
        """Give it back."""
        self._lock.release()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def _renew(self) -> None:
        self._lock = self._make()


_ALL: "weakref.WeakSet[ForkSafeLock]" = weakref.WeakSet()


def _after_fork() -> None:
    for lock in list(_ALL):
        lock._renew()


os.register_at_fork(after_in_child=_after_fork)
