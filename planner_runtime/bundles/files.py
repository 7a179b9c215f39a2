"""The bytes of a bundle's directory, read once each from one pinned directory.

Belongs here: what may be in such a directory, and what is wrong with it before anything is parsed.
Does not: what the bytes mean (``bundle``, ``protocol``), signatures (``signature``).
Source: reference/reliability.md 1, "loader order". A directory is opened once and its members
through it, so that a name that is moved meanwhile cannot mix two bundles.
"""

import os
import re
import stat
from pathlib import Path
from typing import Final

import msgspec

MANIFEST: Final = "manifest.json"
MODEL: Final = "planner.onnx"
SIGNATURE: Final = "manifest.sig"

MAX_MODEL_BYTES: Final = 64 * 1024 * 1024
MAX_TEXT_BYTES: Final = 4 * 1024 * 1024  # of any other member: decoded JSON takes thirty times that
MAX_TOTAL_BYTES: Final = 72 * 1024 * 1024
MAX_FILES: Final = 32

FLAT_NAME: Final = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,99}")


class Fault(msgspec.Struct, frozen=True):
    """One thing wrong with a bundle: which file, a reason code, and the detail."""

    file: str
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}: {self.detail}"


class BundleError(Exception):
    """A bundle must not be used.

    Attributes:
        faults: Everything found wrong, at least one.
    """

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults = faults


class BundleFiles(msgspec.Struct, frozen=True):
    """What was read of a directory.

    Attributes:
        path: Where the directory was when it was opened, links followed.
        identity: Device and inode of the directory that was read.
        data: By name, the manifest and any signature among them.
    """

    path: str
    identity: tuple[int, int]
    data: dict[str, bytes]


def _printable(name: str) -> str:
    """A file name that any terminal can show."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _max_bytes(name: str) -> int:
    return MAX_MODEL_BYTES if name == MODEL else MAX_TEXT_BYTES


def _entry_fault(name: str, info: os.stat_result) -> Fault | None:
    """Why an entry cannot be a member, from its name and status alone."""
    shown = _printable(name)
    if FLAT_NAME.fullmatch(name) is None:
        return Fault(shown, "bad_name", "names are flat, of a-z, 0-9, _, . and -")
    if stat.S_ISLNK(info.st_mode):
        return Fault(shown, "not_regular", "is a symbolic link")
    if not stat.S_ISREG(info.st_mode):
        return Fault(shown, "not_regular", "is not a regular file")
    if info.st_nlink != 1:
        return Fault(shown, "hard_linked", f"has {info.st_nlink} links")
    if info.st_size > _max_bytes(name):
        return Fault(shown, "too_large", f"{info.st_size} bytes, at most {_max_bytes(name)}")
    return None


def _entries(folder_fd: int) -> dict[str, os.stat_result]:
    """Status of everything in a directory, by name. Raises ``BundleError``."""
    found: dict[str, os.stat_result] = {}
    with os.scandir(folder_fd) as entries:
        for entry in entries:
            if len(found) == MAX_FILES:
                raise BundleError([Fault(".", "too_many_files", f"more than {MAX_FILES}")])
            found[entry.name] = os.stat(entry.name, dir_fd=folder_fd, follow_symlinks=False)
    faults = [f for name in sorted(found) if (f := _entry_fault(name, found[name])) is not None]
    total = sum(info.st_size for info in found.values() if stat.S_ISREG(info.st_mode))
    if not faults and total > MAX_TOTAL_BYTES:
        detail = f"{total} bytes together, at most {MAX_TOTAL_BYTES}"
        faults.append(Fault(".", "total_too_large", detail))
    if faults:
        raise BundleError(faults)
    return found


def _read_entry(folder_fd: int, name: str, seen: os.stat_result) -> bytes | Fault:
    """Bytes of one member, when it still is what its status said."""
    try:
        fd = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder_fd
        )
    except OSError as error:
        return Fault(name, "unreadable", error.strerror or str(error))
    try:
        info = os.fstat(fd)
        if (info.st_dev, info.st_ino) != (seen.st_dev, seen.st_ino):
            return Fault(name, "changed", "another file took its place while it was read")
        fault = _entry_fault(name, info)
        if fault is not None:
            return fault
        with os.fdopen(os.dup(fd), "rb") as file:
            data = file.read(seen.st_size + 1)
    except OSError as error:
        return Fault(name, "unreadable", error.strerror or str(error))
    finally:
        os.close(fd)
    if len(data) != seen.st_size:
        return Fault(name, "changed", "its length changed while it was read")
    return data


def _read_pinned(folder: Path, folder_fd: int) -> BundleFiles:
    info = os.fstat(folder_fd)
    data: dict[str, bytes] = {}
    faults: list[Fault] = []
    for name, seen in sorted(_entries(folder_fd).items()):
        read = _read_entry(folder_fd, name, seen)
        if isinstance(read, Fault):
            faults.append(read)
        else:
            data[name] = read
    if faults:
        raise BundleError(faults)
    if MANIFEST not in data:
        raise BundleError([Fault(MANIFEST, "missing", "no such file")])
    return BundleFiles(os.path.realpath(folder), (info.st_dev, info.st_ino), data)


def read_files(folder: Path) -> BundleFiles:
    """Every file of a bundle's directory. A link to the directory is followed once.

    Raises:
        BundleError: the directory is not there, or holds what a bundle does not.
    """
    try:
        folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except NotADirectoryError as error:
        raise BundleError([Fault(str(folder), "not_directory", "is no directory")]) from error
    except FileNotFoundError as error:
        raise BundleError([Fault(str(folder), "missing", "no such directory")]) from error
    except (OSError, ValueError) as error:
        raise BundleError([Fault(_printable(str(folder)), "unreadable", str(error))]) from error
    try:
        return _read_pinned(folder, folder_fd)
    except OSError as error:
        raise BundleError([Fault(str(folder), "unreadable", str(error))]) from error
    finally:
        os.close(folder_fd)
