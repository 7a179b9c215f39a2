"""A user of its own for every command that a harness of root's runs.

Belongs here: lending users, handing directories over and back, telling which paths are closed to
them. Does not: starting anything. Root is bound by no limit on processes and may read everything,
so untrusted code must not be root.
"""

import os
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from planner_pipeline.bench.protocol import HarnessError

FIRST_USER: Final = 200_000  # above what distributions and directories give to people
N_USERS: Final = 1_000


@contextmanager
def lent_user() -> Iterator[int]:
    """A user id that no other command has meanwhile, of this harness or of another.

    What holds it is the name of an abstract socket: the kernel gives it to one process only, and
    frees it however that process ends.

    Raises:
        HarnessError: all are lent.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
        for user in range(FIRST_USER, FIRST_USER + N_USERS):
            try:
                lock.bind(f"\0cyntra-bench-user-{user}")
            except OSError:
                continue
            yield user
            return
        raise HarnessError("sandbox", f"all {N_USERS} users from {FIRST_USER} on are in use")


def _entries(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """A directory and all below it, never through a link; what cannot be read is left out."""
    waiting = [str(root)]
    yield waiting[0], os.lstat(root)
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    yield entry.path, status
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append(entry.path)
        except OSError:
            continue  # e.g. a path longer than the kernel takes; root can delete it all the same


def _give(root: Path, user: int, *, only_from: int | None) -> None:
    for path, status in _entries(root):
        if status.st_uid == user or only_from not in (None, status.st_uid):
            continue
        # another name of the same file may be outside: `git clone` links its objects
        if only_from is None and status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            continue
        try:
            os.chown(path, user, user, follow_symlinks=False)
        except OSError as error:
            if only_from is None:
                raise HarnessError("sandbox", f"{path}: {error.strerror}") from error


@contextmanager
def handed_over(trees: Iterable[Path], user: int) -> Iterator[None]:
    """Directories belong to a user inside the block, and to this process's user after it.

    On the way back only what is the user's is taken; the kernel clears its set-user-id bits.
    """
    trees, own = tuple(trees), os.getuid()
    try:
        for tree in trees:
            _give(tree, user, only_from=None)
        yield
    finally:
        for tree in trees:
            _give(tree, own, only_from=user)


def first_closed(readable: Iterable[Path], *, on_the_way: Iterable[Path] = ()) -> Path | None:
    """The first path that other users may not read, or not pass; None where they may all."""
    for path in readable:
        mode = path.stat().st_mode
        needed = 0o005 if stat.S_ISDIR(mode) else 0o004
        if mode & needed != needed:
            return path
    for path in on_the_way:
        if not path.stat().st_mode & 0o001:
            return path
    return None
