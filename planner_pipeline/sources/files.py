"""Reading single files safely: sizes, links, encodings, and what goes to quarantine.

Belongs here: the quarantine row and the two ways a file can be read. Does not: formats.
Design: reference/reliability.md 2 (quarantine, never crash, never drop silently).
"""

import itertools
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

StructT = TypeVar("StructT")

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
MAX_LINE_BYTES: Final = 4 * 1024 * 1024
EXCERPT_CHARS: Final = 160

Reason = Literal[
    "bad_json",
    "wrong_shape",
    "bad_yaml",
    "bad_table",
    "bad_value",
    "too_large",
    "unreadable",
    "not_regular",
    "no_manifest",
    "no_content",
    "duplicate_id",
    "unfinished_line",
]


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


class SourceCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many things one reader met and what became of them."""

    source: str
    discovered: int
    accepted: int
    quarantined: int


def relative(root: Path, path: Path) -> str:
    """``path`` below ``root`` with forward slashes, so that no row depends on where it was read.

    Bytes that are no UTF-8 are escaped, so that every name can be written down.
    """
    return os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")


def has_plain_name(path: Path) -> bool:
    """Whether a file's name is text."""
    return os.fsencode(path.name).decode("utf-8", "replace") == path.name


def excerpt(data: bytes) -> str:
    """The first characters of some bytes, readable whatever they are."""
    return data[:EXCERPT_CHARS].decode("utf-8", "backslashreplace")


def read_bytes(root: Path, path: Path, source: str) -> bytes | Quarantine:
    """Bytes of a regular file that is no link and not too large."""
    name = relative(root, path)
    try:
        info = os.lstat(path)
        if not stat.S_ISREG(info.st_mode):
            detail = "a symbolic link" if stat.S_ISLNK(info.st_mode) else "not a regular file"
            return Quarantine(source=source, file=name, reason="not_regular", detail=detail)
        if info.st_size > MAX_FILE_BYTES:
            detail = f"{info.st_size} bytes, at most {MAX_FILE_BYTES}"
            return Quarantine(source=source, file=name, reason="too_large", detail=detail)
        return path.read_bytes()
    except OSError as error:
        detail = error.strerror or str(error)
        return Quarantine(source=source, file=name, reason="unreadable", detail=detail)


def decode(
    data: bytes, shape: type[StructT], *, source: str, file: str, line: int | None = None
) -> StructT | Quarantine:
    """JSON as a typed record, or why it is none."""
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.ValidationError as error:
        reason: Reason = "wrong_shape"
        detail = str(error)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        reason, detail = "bad_json", str(error)
    return Quarantine(
        source=source, file=file, line=line, reason=reason, detail=detail, excerpt=excerpt(data)
    )


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
        self._root, self._folder, self._source = root, folder, source
        self.refused: list[Quarantine] = []

    def read(self, name: str, shape: type[StructT]) -> StructT | None:
        """One JSON part; None where it is missing, or unreadable and therefore refused."""
        value = read_json(self._root, self._folder / name, shape, self._source)
        if isinstance(value, Quarantine):
            self.refused.append(value)
            return None
        return value


def read_json_lines(
    root: Path, path: Path, shape: type[StructT], source: str
) -> Iterator[tuple[int, StructT | Quarantine]]:
    """Every line of a JSON-lines file with its number; blank lines and ``#`` comments are skipped.

    The file may be of any size, a line may not. A last line without a newline is what somebody is
    still writing: ``unfinished_line``.
    """
    if not os.path.lexists(path):
        return
    name = relative(root, path)

    def refuse(number: int, reason: Reason, detail: str) -> tuple[int, Quarantine]:
        line = number or None
        return number, Quarantine(source=source, file=name, line=line, reason=reason, detail=detail)

    if path.is_symlink() or not path.is_file():
        yield refuse(0, "not_regular", "not a regular file")
        return
    try:
        with path.open("rb") as file:
            for number in itertools.count(1):
                raw = file.readline(MAX_LINE_BYTES)
                if not raw:
                    return
                if len(raw) == MAX_LINE_BYTES and not raw.endswith(b"\n"):
                    yield refuse(number, "too_large", f"a line of over {MAX_LINE_BYTES} bytes")
                    while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                        pass
                    continue
                text = raw.strip()
                if not text or text.startswith(b"#"):
                    continue
                row = decode(text, shape, source=source, file=name, line=number)
                if isinstance(row, Quarantine) and row.reason == "bad_json" and raw[-1:] != b"\n":
                    row = msgspec.structs.replace(row, reason="unfinished_line")
                yield number, row
    except OSError as error:
        yield refuse(0, "unreadable", error.strerror or str(error))


def subdirectories(root: Path, folder: Path, source: str) -> tuple[list[Path], list[Quarantine]]:
    """Directories of ``folder`` by name; whatever else lies there is quarantined, links too."""
    found: list[Path] = []
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
            path = Path(entry.path)
            if entry.is_symlink():
                refuse(path, "a symbolic link")
            elif not entry.is_dir():
                refuse(path, "not a directory")
            elif not has_plain_name(path):
                refuse(path, "its name is not UTF-8")
            else:
                found.append(path)
    return sorted(found), sorted(refused, key=lambda row: row.file)


def read_directories(
    root: Path,
    folder: Path,
    source: str,
    read_one: Callable[[Path, Path], tuple[StructT | None, list[Quarantine]]],
) -> tuple[list[StructT], list[Quarantine], SourceCount]:
    """Every directory of ``folder`` as a record, what was refused, and the count of both.

    Args:
        read_one: Called with ``root`` and a directory; a record of None refuses the directory.
    """
    folders, refused = subdirectories(root, folder, source)
    n_refused = len(refused)
    n = len(folders) + n_refused
    records = []
    for one in folders:
        record, bad = read_one(root, one)
        refused += bad
        if record is None:
            n_refused += 1
        else:
            records.append(record)
    count = SourceCount(source=source, discovered=n, accepted=len(records), quarantined=n_refused)
    return records, refused, count


def as_text(value: Any) -> str | None:
    """A string or number as text, as the kernel coerces ids; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None
