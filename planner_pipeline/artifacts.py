"""How artifacts appear on disk: whole or not at all.

Belongs here: writing a file or a directory beside its place and moving it there. Does not: what
is in them.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """A path to write to; it becomes ``path`` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def staged_directory(folder: Path) -> Iterator[Path]:
    """An empty directory to fill; it takes the place of ``folder`` when the block ends well."""
    staging = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    retired = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        if folder.exists():
            os.replace(folder, retired)
        os.replace(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """A block that one process at a time is in; the lock is freed however the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_parquet(table: pl.DataFrame, path: Path) -> None:
    """Write a table."""
    with staged_file(path) as part:
        table.write_parquet(part, compression="zstd", statistics=True)


def write_bytes(data: bytes, path: Path) -> None:
    """Write a file."""
    with staged_file(path) as part:
        part.write_bytes(data)


def link_file(source: Path, path: Path) -> None:
    """Put a finished file in a second place: the same bytes on disk where the file system can,
    a copy elsewhere. Neither is ever written to again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, path)
    except OSError:
        shutil.copyfile(source, path)
