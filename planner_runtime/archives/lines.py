"""JSON-lines files of any size, line by line, from any line on.

Belongs here: where lines begin and end, which of them can be used. Does not: what is in them.
What a line is read as depends on its own bytes, never on where reading began or on how much was
read at a time: a log may be read from where it ended the last time.
"""

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final, Generic, TypeVar

import msgspec

from planner_runtime.archives.files import Quarantine, decode, decoder_of, relative

StructT = TypeVar("StructT")

MAX_LINE_BYTES: Final = 4 * 1024 * 1024
LINES_CHUNK: Final = 8 * 1024 * 1024
FEW_LINES: Final = 64  # are read one by one where one of them is bad; of more, halves are tried


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a line: how much of a file lies before it.

    Attributes:
        sha256: Of those bytes.
    """

    n_bytes: int = 0
    n_lines: int = 0
    sha256: str = sha256().hexdigest()


def open_lines(root: Path, path: Path, source: str) -> BinaryIO | Quarantine | None:
    """A file of lines, or why it cannot be read; None when there is none."""
    if not os.path.lexists(path):
        return None
    name = relative(root, path)
    if path.is_symlink() or not path.is_file():
        return Quarantine(
            source=source, file=name, reason="not_regular", detail="not a regular file"
        )
    try:
        return open(path, "rb", opener=_open_waiting_for_nobody)
    except OSError as error:
        return _unreadable(source, name, error)


def _open_waiting_for_nobody(path: str, flags: int) -> int:
    """No link is followed, and no pipe that took the file's place is waited for."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _unreadable(source: str, name: str, error: OSError) -> Quarantine:
    detail = error.strerror or str(error)
    return Quarantine(source=source, file=name, reason="unreadable", detail=detail)


def last_place(file: BinaryIO, known: Place) -> Place | None:
    """The end of a file's last whole line; None where the file does not begin as ``known`` says.

    Raises:
        OSError: the file cannot be read.
    """
    file.seek(0)
    digest, left = sha256(), known.n_bytes
    while left and (chunk := file.read(min(left, LINES_CHUNK))):
        digest.update(chunk)
        left -= len(chunk)
    if left or digest.hexdigest() != known.sha256:
        return None
    place, at, n_lines = known, known.n_bytes, known.n_lines
    while chunk := file.read(LINES_CHUNK):
        n_whole = chunk.rfind(b"\n") + 1
        digest.update(chunk[:n_whole])
        if n_whole:
            n_lines += chunk.count(b"\n")
            place = Place(n_bytes=at + n_whole, n_lines=n_lines, sha256=digest.hexdigest())
        digest.update(chunk[n_whole:])
        at += len(chunk)
    return place


def read_json_lines(
    root: Path, path: Path, shape: type[StructT], source: str
) -> Iterator[tuple[int, StructT | Quarantine]]:
    """Every line of a JSON-lines file with its number; blank lines and ``#`` comments are skipped.

    The file may be of any size, a line may not. A last line without a newline is what somebody is
    still writing: ``unfinished_line``.
    """
    file = open_lines(root, path, source)
    if isinstance(file, Quarantine):
        yield 0, file
    elif file is not None:
        with file:
            yield from json_lines(file, relative(root, path), shape, source)


def json_lines(
    file: BinaryIO,
    name: str,
    shape: type[StructT],
    source: str,
    *,
    after: Place | None = None,
    upto: Place | None = None,
) -> Iterator[tuple[int, StructT | Quarantine]]:
    """Some lines of an open file, as ``read_json_lines`` reads them.

    Args:
        name: Of the file, for the quarantine.
        after: Lines after this place; None for all.
        upto: Lines before this place; None for all, the last one without its newline too.
    """
    after = after or Place()
    lines, number, at = _Lines(name, shape, source), after.n_lines + 1, after.n_bytes
    try:
        file.seek(at)
        while chunk := file.read(
            LINES_CHUNK if upto is None else min(LINES_CHUNK, upto.n_bytes - at)
        ):
            if not chunk.endswith(b"\n"):
                chunk += file.readline(MAX_LINE_BYTES + 1)
            at += len(chunk)
            n_whole = chunk.rfind(b"\n") + 1
            if len(chunk) - n_whole <= MAX_LINE_BYTES:
                yield from lines.of_chunk(number, chunk)
            else:
                yield from lines.of_chunk(number, chunk[:n_whole])
                yield lines.too_long(number + chunk.count(b"\n"))
                while rest := file.readline(MAX_LINE_BYTES):
                    at += len(rest)
                    if rest.endswith(b"\n"):
                        break
                number += 1
            number += chunk.count(b"\n")
    except OSError as error:
        yield 0, _unreadable(source, name, error)


def _is_of_objects(chunk: bytes, n_lines: int) -> bool:
    """Whether every line begins and ends as an object does: then none goes over two lines."""
    return (
        chunk.endswith(b"\n")
        and chunk.count(b"}\n") == n_lines
        and chunk.startswith(b"{") + chunk.count(b"\n{") == n_lines
    )


def _has_long_line(chunk: bytes) -> bool:
    start = 0
    while len(chunk) - start > MAX_LINE_BYTES:
        end = chunk.rfind(b"\n", start, start + MAX_LINE_BYTES + 1)
        if end < 0:
            return True
        start = end + 1
    return False


class _Lines(Generic[StructT]):
    """Lines of a file as records: many at once where all are good, else one by one."""

    def __init__(self, name: str, shape: type[StructT], source: str) -> None:
        self._name, self._shape, self._source = name, shape, source

    def too_long(self, number: int) -> tuple[int, Quarantine]:
        detail = f"a line of over {MAX_LINE_BYTES} bytes"
        return number, Quarantine(
            source=self._source, file=self._name, line=number, reason="too_large", detail=detail
        )

    def of_chunk(self, number: int, chunk: bytes) -> Iterator[tuple[int, StructT | Quarantine]]:
        """Lines of some whole lines, and perhaps of one without its newline.

        Args:
            number: Of the first line.
        """
        pieces = [(number, chunk)]
        while pieces:
            first, piece = pieces.pop()
            rows = self._all(piece)
            if rows is not None:
                yield from enumerate(rows, start=first)
                continue
            middle = piece.find(b"\n", len(piece) // 2) + 1
            if 0 < middle < len(piece) and piece.count(b"\n") > FEW_LINES:
                pieces.append((first + piece.count(b"\n", 0, middle), piece[middle:]))
                pieces.append((first, piece[:middle]))
            else:
                yield from self._one_by_one(first, piece)

    def _all(self, piece: bytes) -> list[StructT] | None:
        """The records of lines that are good without exception; None where one is not."""
        n_lines = piece.count(b"\n")
        if not _is_of_objects(piece, n_lines) or _has_long_line(piece):
            return None
        try:
            rows = decoder_of(self._shape).decode_lines(piece)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None
        return rows if len(rows) == n_lines else None

    def _one_by_one(self, number: int, piece: bytes) -> Iterator[tuple[int, StructT | Quarantine]]:
        *whole, unfinished = piece.split(b"\n")
        for line in whole:
            row = self._one(number, line)
            if row is not None:
                yield number, row
            number += 1
        row = self._one(number, unfinished)
        if isinstance(row, Quarantine) and row.reason == "bad_json":
            row = msgspec.structs.replace(row, reason="unfinished_line")
        if row is not None:
            yield number, row

    def _one(self, number: int, line: bytes) -> StructT | Quarantine | None:
        if len(line) > MAX_LINE_BYTES:
            return self.too_long(number)[1]
        text = line.strip()
        if not text or text.startswith(b"#"):
            return None
        return decode(text, self._shape, source=self._source, file=self._name, line=number)
