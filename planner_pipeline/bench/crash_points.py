"""Named places at which a test may kill the process, as a power cut would.

Belongs here: the names, and dying at one. Does not: recovering. ``CRASH_AT=unit_linked:2`` in the
environment kills at the second passage; without it every point is a comparison and nothing else.
Design: reference/reliability.md 3.
"""

import os
import signal
from typing import Final, Literal, get_args

CrashPoint = Literal[
    "case_stored",
    "candidates_stored",
    "unit_leased",
    "spend_reserved",
    "worktree_added",
    "toolchain_ended",
    "changes_committed",
    "gates_ended",
    "attempt_archived",
    "unit_written",
    "unit_linked",
    "spend_settled",
    "lease_released",
    "labels_written",
]
CRASH_POINTS: Final[tuple[str, ...]] = get_args(CrashPoint)
_passed: dict[str, int] = {}


def crash_point(name: CrashPoint) -> None:
    """Die here, without a chance to clean up, when the environment asks for it."""
    wanted = os.environ.get("CRASH_AT")
    if wanted is None:
        return
    where, _, number = wanted.partition(":")
    if where == name:
        _passed[name] = _passed.get(name, 0) + 1
        if _passed[name] == int(number or 1):
            os.kill(os.getpid(), signal.SIGKILL)
