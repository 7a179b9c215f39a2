"""Ending what a harness left that was killed.

Belongs here: finding processes by a mark in their environment, and killing them. Does not: what
such a harness left on disk.
"""

import os
import signal
import time
from pathlib import Path
from typing import Final

from planner_pipeline.bench.sandbox.command import UNIT_VARIABLE

_MOST_SECONDS: Final = 5.0


def reap_orphans(mark: str) -> int:
    """Kill every process whose unit's mark starts with ``mark``; how many there were.

    The caller knows that no living harness runs such units.

    Raises:
        ValueError: the mark is empty, which would name every unit of every harness.
    """
    if not mark:
        raise ValueError("a mark must not be empty")
    return kill_marked(UNIT_VARIABLE, mark)


def kill_marked(variable: str, mark: str) -> int:
    """Kill every other process with a variable that starts so, until none is left."""
    needle = f"{variable}={mark}".encode()
    killed: set[int] = set()
    until = time.monotonic() + _MOST_SECONDS
    while time.monotonic() < until:
        found = [pid for path in Path("/proc").glob("[0-9]*") if (pid := _kill(path, needle))]
        killed.update(found)
        if not found:
            break
        time.sleep(0.01)
    return len(killed)


def _kill(path: Path, needle: bytes) -> int | None:
    pid = int(path.name)
    if pid == os.getpid():
        return None
    try:
        # before the look: if the number has a new owner by the time of the signal, it hits nobody
        handle = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        entries = (path / "environ").read_bytes().split(b"\0")
        if not any(entry.startswith(needle) for entry in entries):
            return None
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        return pid
    except OSError:
        return None
    finally:
        os.close(handle)
