"""Files that are there whole or not at all, and that outlive a power cut.

Belongs here: writing a file beside its place and moving it there. Does not: what is in it.
Source: reference/reliability.md 1.
"""

import os
from pathlib import Path


def write_synced(path: Path, *parts: bytes) -> None:
    """Write a file, on the disk when this returns. Nobody else may read it meanwhile."""
    with path.open("wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: Path, *parts: bytes) -> None:
    """Replace a file: whoever reads it sees the old one or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write_synced(beside, *parts)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def sync_directory(folder: Path) -> None:
    """Make what was renamed in a directory outlive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
