"""Reading single files safely: sizes, links, encodings, and what goes to quarantine.

Belongs here: the quarantine row and the ways a file can be read. Does not: files of lines that may
be larger than memory (``lines``), formats.
Design: reference/reliability.md 2 (quarantine, never crash, never drop silently). A file's mtime
tells whether to read it again; it never stands in for a time.
"""

import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

StructT = TypeVar("StructT")

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
EXCERPT_CHARS: Final = 160
_CUT_OFF: Final = "Input data was truncated"  # what msgspec says of JSON that ends too early

Reason = Literal[
    "bad_json",
    "wrong_shape",
    "bad_yaml",
    "bad_table",
    "bad_value",
    "too_large",
    "unreadable",
    "not_regular",
    "no_content",
    "duplicate_id",
    "unfinished_line",
    "unfinished_file",
    "nothing_yet",
]
PENDING: Final[frozenset[Reason]] = frozenset(("unfinished_line", "unfinished_file", "nothing_yet"))


class Quarantine(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was found and could not be used.

    Attributes:
        source: Which reader met it: issues, archives, events, world_runs, universes, config or
            trials.
        file: Path relative to the workspace, with forward slashes.
        line: 1-based line, where the file has lines.
        reason: One of a closed set of codes.
        detail: What is wrong, for people.
        excerpt: The first characters of what was refused.
    """

    source: str
    file: str
    line: int | None = None
    reason: Reason
    detail: str
    excerpt: str = ""

    @property
    def is_pending(self) -> bool:
        """Whether it looks like something that is still being written."""
        return self.reason in PENDING


class SourceCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many things one reader met and what became of them.

    Attributes:
        accepted: Read now and used.
        quarantined: Refused.
        pending: Not finished being written; looked at again next time.
        unchanged: Used as they were read before, without reading them again.
    """

    source: str
    discovered: int
    accepted: int
    quarantined: int
    pending: int = 0
    unchanged: int = 0

    @property
    def is_balanced(self) -> bool:
        """Whether everything met is accounted for."""
        return self.discovered == self.accepted + self.quarantined + self.pending + self.unchanged


def unbalanced(counts: Iterable[SourceCount]) -> list[str]:
    """Sources where something that was met is not accounted for."""
    return [count.source for count in counts if not count.is_balanced]


def overspent(counts: Iterable[SourceCount], tolerated: float) -> list[str]:
    """Sources of which more than the tolerated share, and more than one thing, is quarantined.

    One bad file in a small workspace is an accident; the list of a source is in the quarantine.
    """
    return [
        f"{count.quarantined} of {count.discovered} {count.source} are quarantined"
        for count in counts
        if count.quarantined > max(1, tolerated * count.discovered)
    ]


def count_rows(source: str, n_accepted: int, refused: list[Quarantine]) -> SourceCount:
    """The count of a source whose every refusal is one thing met."""
    n_pending = sum(row.is_pending for row in refused)
    return SourceCount(
        source=source,
        discovered=n_accepted + len(refused),
        accepted=n_accepted,
        quarantined=len(refused) - n_pending,
        pending=n_pending,
    )


def relative(root: Path, path: Path) -> str:
    """``path`` below ``root`` with forward slashes, so that no row depends on where it was read.

    Bytes that are no UTF-8 are escaped, so that every name can be written down.
    """
    return os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")


def is_plain(name: str) -> bool:
    """Whether a file's name is text."""
    return name.isascii() or os.fsencode(name).decode("utf-8", "replace") == name


def excerpt(data: bytes) -> str:
    """The first characters of some bytes, readable whatever they are."""
    return data[:EXCERPT_CHARS].decode("utf-8", "backslashreplace")


def read_bytes(root: Path, path: Path, source: str) -> bytes | Quarantine:
    """Bytes of a regular file that is no link and not too large."""
    try:
        return _regular_bytes(str(path))
    except _RefusedError as refused:
        reason, detail = refused.reason, str(refused)
    except OSError as error:
        reason, detail = "unreadable", error.strerror or str(error)
    return Quarantine(source=source, file=relative(root, path), reason=reason, detail=detail)


class _RefusedError(Exception):
    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason


def _regular_bytes(path: str) -> bytes:
    """The bytes of the file that was looked at: opened once, no link followed, no pipe waited for.

    Raises:
        OSError, _RefusedError: why there are none.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        if os.path.islink(path):
            raise _RefusedError("not_regular", "a symbolic link") from None
        if not os.path.isfile(path) and os.path.lexists(path):
            raise _RefusedError("not_regular", "not a regular file") from None
        raise
    try:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            raise _RefusedError("not_regular", "not a regular file")
        if info.st_size > MAX_FILE_BYTES:
            raise _RefusedError("too_large", f"{info.st_size} bytes, at most {MAX_FILE_BYTES}")
        chunks = []
        left = info.st_size
        while left > 0 and (chunk := os.read(handle, left)):
            chunks.append(chunk)
            left -= len(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    finally:
        os.close(handle)


def decode(
    data: bytes, shape: type[StructT], *, source: str, file: str, line: int | None = None
) -> StructT | Quarantine:
    """JSON as a typed record, or why it is none."""
    reason: Reason
    try:
        return decoder_of(shape).decode(data)
    except msgspec.ValidationError as error:
        reason, detail = "wrong_shape", str(error)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        reason, detail = "bad_json", str(error)
        if line is None and detail == _CUT_OFF and not _is_whole(data):
            reason = "unfinished_file"
    return Quarantine(
        source=source, file=file, line=line, reason=reason, detail=detail, excerpt=excerpt(data)
    )


def _is_whole(data: bytes) -> bool:
    """Whether Python's reader finds an end: half a surrogate pair looks cut off to msgspec."""
    try:
        json.loads(data)
    except json.JSONDecodeError:
        return False
    except (ValueError, RecursionError):
        return True
    return True


_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {}


def decoder_of(shape: type[StructT]) -> msgspec.json.Decoder[StructT]:
    """The JSON decoder of a type, made once."""
    decoder = _DECODERS.get(shape)
    if decoder is None:
        decoder = _DECODERS[shape] = msgspec.json.Decoder(shape)
    return decoder


def read_json(
    root: Path, path: Path, shape: type[StructT], source: str
) -> StructT | Quarantine | None:
    """A JSON file as a typed record; None when there is no such file."""
    if not os.path.lexists(path):
        return None
    data = read_bytes(root, path, source)
    if isinstance(data, Quarantine):
        return data
    return decode(data, shape, source=source, file=relative(root, path))


class FolderReader:
    """Reads the parts of one artifact directory, gathering what had to be refused."""

    def __init__(self, root: Path, folder: Path, source: str) -> None:
        self._folder, self._source = str(folder), source
        self._prefix = relative(root, folder)
        self.refused: list[Quarantine] = []

    def refuse(self, name: str, reason: Reason, detail: str) -> None:
        """Note that a part, or the whole directory under the name "", is refused."""
        file = f"{self._prefix}/{name}" if name else self._prefix
        self.refused.append(
            Quarantine(source=self._source, file=file, reason=reason, detail=detail)
        )

    def bytes_of(self, name: str) -> bytes | None:
        """A part's bytes; None where it is missing, or refused."""
        try:
            return _regular_bytes(f"{self._folder}/{name}")
        except FileNotFoundError:
            return None
        except _RefusedError as refused:
            self.refuse(name, refused.reason, str(refused))
        except OSError as error:
            self.refuse(name, "unreadable", error.strerror or str(error))
        return None

    def read(self, name: str, shape: type[StructT]) -> StructT | None:
        """One JSON part; None where it is missing, or unreadable and therefore refused."""
        data = self.bytes_of(name)
        if data is None:
            return None
        value = decode(data, shape, source=self._source, file=f"{self._prefix}/{name}")
        if isinstance(value, Quarantine):
            self.refused.append(value)
            return None
        return value

    def read_lines(self, name: str, shape: type[StructT]) -> list[StructT]:
        """The lines of a JSON-lines part; bad ones are refused one by one."""
        lines = (self.bytes_of(name) or b"").split(b"\n")
        rows: list[StructT] = []
        for number, line in enumerate(lines, start=1):
            text = line.strip()
            if not text:
                continue
            file = f"{self._prefix}/{name}"
            row = decode(text, shape, source=self._source, file=file, line=number)
            if not isinstance(row, Quarantine):
                rows.append(row)
                continue
            if row.reason == "bad_json" and number == len(lines):  # no newline after it yet
                row = msgspec.structs.replace(row, reason="unfinished_line")
            self.refused.append(row)
        return rows

    @property
    def is_unfinished(self) -> bool:
        """Whether some part is cut off; a line of a log that is, spares the lines before it."""
        return any(row.reason == "unfinished_file" for row in self.refused)


def subdirectories(root: Path, folder: Path, source: str) -> tuple[list[str], list[Quarantine]]:
    """Names of the directories in ``folder``, in order; whatever else lies there is quarantined,
    links too.
    """
    names: list[str] = []
    refused: list[Quarantine] = []

    def refuse(path: Path, detail: str) -> None:
        name = relative(root, path)
        row = Quarantine(source=source, file=name, reason="not_regular", detail=detail)
        refused.append(row)

    if not os.path.lexists(folder):
        return [], []
    if folder.is_symlink() or not folder.is_dir():
        refuse(folder, "not a directory")
        return [], refused
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                refuse(Path(entry.path), "a symbolic link")
            elif not entry.is_dir(follow_symlinks=False):
                refuse(Path(entry.path), "not a directory")
            elif not is_plain(entry.name):
                refuse(Path(entry.path), "its name is not UTF-8")
            else:
                names.append(entry.name)
    return sorted(names), sorted(refused, key=lambda row: row.file)


def as_text(value: Any) -> str | None:
    """A string or number as text, as the kernel coerces ids; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None
