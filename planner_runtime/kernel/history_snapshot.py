"""A kernel's history in one file, so that a start need not read a hundred thousand directories.

Belongs here: writing it whole or not at all, checking every byte before use. Does not: what a
history goes on from (``archives.run_parts``), reading directories.

A line of JSON, then MessagePack under zlib. The line names version, sizes and sha256; nothing is
unpacked before the hash is right. Whatever is wrong with a file, archives are still there.
"""

import os
import stat
import zlib
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from planner_runtime.archives.run_parts import KeptRuns
from planner_runtime.archives.runs import VERSION as RUNS_VERSION
from planner_runtime.archives.watched import MARKS_VERSION
from planner_runtime.whole_files import write_whole

TAG: Final = "cyntra.history_snapshot.v1"
MOST_BYTES: Final = 1 << 30  # of the file, and of what it unpacks to
MOST_HEADER_BYTES: Final = 4_096
LEVEL: Final = 1  # of zlib: others are slower to write, hardly smaller, and no faster to read
MADE_BY: Final = f"{RUNS_VERSION}.{MARKS_VERSION}"


class SnapshotHeader(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="schema_version", tag=TAG
):
    """The first line of a snapshot.

    Attributes:
        made_by: Version of the rules that made its runs; of other rules it is of no use.
        n_bytes: Of what follows the line; ``n_unpacked`` of that unpacked.
        sha256: Of what follows the line.
    """

    made_by: str
    n_runs: int
    n_bytes: int
    n_unpacked: int
    sha256: str


class SnapshotError(Exception):
    """A snapshot that must not be used.

    Attributes:
        path: The file.
        reason: One of missing, not_regular, too_large, unreadable, bad_header, other_version,
            truncated, wrong_hash, bad_content.
    """

    def __init__(self, path: Path, reason: str, detail: str = "") -> None:
        super().__init__(f"{path}: {reason}{': ' + detail if detail else ''}")
        self.path, self.reason, self.detail = path, reason, detail


def write_snapshot(kept: KeptRuns, path: Path) -> SnapshotHeader:
    """Write what another process goes on from, by a rename.

    Raises:
        OSError: it cannot be written; an earlier file stays as it is.
    """
    raw = msgspec.msgpack.encode(kept)
    packed = zlib.compress(raw, LEVEL)
    header = SnapshotHeader(
        made_by=MADE_BY,
        n_runs=kept.n_runs,
        n_bytes=len(packed),
        n_unpacked=len(raw),
        sha256=sha256(packed).hexdigest(),
    )
    write_whole(path, msgspec.json.encode(header), b"\n", packed)
    return header


def read_snapshot(path: Path) -> KeptRuns:
    """What a snapshot holds.

    Raises:
        SnapshotError: it cannot be used, and why.
    """
    header, packed = _read_checked(path)
    try:
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(packed, header.n_unpacked)
        if len(raw) != header.n_unpacked or not unpacker.eof:
            raise SnapshotError(path, "bad_content", "not of the size that its header names")
        return msgspec.msgpack.decode(raw, type=KeptRuns)
    except (zlib.error, msgspec.DecodeError, ValueError, RecursionError) as error:
        raise SnapshotError(path, "bad_content", str(error)) from error


def _read_checked(path: Path) -> tuple[SnapshotHeader, bytes]:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise SnapshotError(path, "missing") from error
    except (OSError, ValueError) as error:
        raise SnapshotError(path, "unreadable", str(error)) from error
    try:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            raise SnapshotError(path, "not_regular")
        if info.st_size > MOST_BYTES:
            raise SnapshotError(path, "too_large", f"{info.st_size} bytes")
        with open(handle, "rb", closefd=False) as file:
            line, packed = file.readline(MOST_HEADER_BYTES), file.read(MOST_BYTES)
    except OSError as error:
        raise SnapshotError(path, "unreadable", str(error)) from error
    finally:
        os.close(handle)
    header = _header(path, line)
    if len(packed) != header.n_bytes:
        detail = f"{len(packed)} bytes instead of {header.n_bytes}"
        raise SnapshotError(path, "truncated", detail)
    if sha256(packed).hexdigest() != header.sha256:
        raise SnapshotError(path, "wrong_hash")
    return header, packed


def _header(path: Path, line: bytes) -> SnapshotHeader:
    try:
        header = msgspec.json.decode(line, type=SnapshotHeader)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise SnapshotError(path, "bad_header", str(error)) from error
    if header.made_by != MADE_BY:
        detail = f"made by rules {header.made_by}, these are {MADE_BY}"
        raise SnapshotError(path, "other_version", detail)
    if not 0 <= header.n_unpacked <= MOST_BYTES:
        raise SnapshotError(path, "too_large", f"{header.n_unpacked} bytes unpacked")
    return header
