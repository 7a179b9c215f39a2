"""The history file that a kernel starts from.

Belongs here: writing it anew, from the one before. Does not: its format, or what is in it
(``planner_runtime.kernel.history_snapshot``): a kernel reads a workspace by the same code.
"""

from pathlib import Path

from planner_runtime.kernel.history import KernelHistory
from planner_runtime.kernel.history_snapshot import SnapshotHeader

FILE = "history.snapshot"


def write_kernel_snapshot(repo: Path, path: Path) -> tuple[SnapshotHeader, int]:
    """Write what a kernel knows of ``repo``; its header, and how many runs are left to be read.

    Only what is new since the file that is there is read; a file that cannot be used is made anew.

    Raises:
        OSError: the file cannot be written.
    """
    history = KernelHistory(repo, snapshot=path if path.exists() else None)
    header = history.write_snapshot(path)
    return header, len(history.runs()) - header.n_runs
