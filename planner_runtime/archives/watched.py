"""Which directories of a source are new, changed or gone since they were last looked at.

Belongs here: names, marks of what was read, when a directory needs no more watching. Does not: what
is in one (``workcell_files``, ``world_files``). An mtime is a hint where to look, never a fact.

A directory is watched part by part while it is young, still being written, or could not be used;
then only its own mtime is asked for, and that of the folder around it. A part that is written into
in place long after is found by a thorough look.
"""

import os
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from planner_runtime.archives.files import Quarantine, relative, subdirectories

MARKS_VERSION: Final = "1"  # raised when marks start to be made of something else
SETTLED_S: Final = 120.0  # since the last write to a part: what a kernel copies is whole by then
RACY_S: Final = 2.0  # a folder that changed so lately may change again under the same mtime
_ABSENT: Final = (0, 0, 0, 0)


class Mark(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a directory looked like when it was read.

    Attributes:
        mtime_ns: Of the directory itself.
        parts: Number for sizes and mtimes of its parts.
    """

    mtime_ns: int
    parts: int


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at a source found, names in order."""

    changed: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    refused: tuple[Quarantine, ...] = ()  # whatever lies there and is no directory


class _Seen(msgspec.Struct, frozen=True, gc=False):
    mark: Mark
    ctimes: int
    newest_ns: int


def _see(folder: str, parts: Sequence[str]) -> _Seen:
    stats: list[tuple[int, int, int, int]] = []
    for name in ("", *parts):
        try:
            info = os.lstat(f"{folder}/{name}" if name else folder)
            stats.append((info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns))
        except (OSError, ValueError):
            stats.append(_ABSENT)
    told = repr([one[:3] for one in stats[1:]]).encode()
    return _Seen(
        Mark(stats[0][2], int.from_bytes(blake2b(told, digest_size=7).digest(), "big")),
        hash(tuple((one[0], one[3]) for one in stats)),
        max(one[2] for one in stats),
    )


class Watched:
    """The directories of one source.

    Args:
        folder: Below ``root``.
        parts: Files of a directory whose change makes it worth reading again.
        clock: Seconds since the epoch, as file systems count them.
    """

    def __init__(
        self,
        root: Path,
        folder: str,
        parts: Sequence[str],
        source: str,
        clock: Callable[[], float],
    ) -> None:
        self._root, self._path, self._parts, self._source = root, root / folder, parts, source
        self._clock = clock
        self.marks: dict[str, Mark] = {}
        self._open: dict[str, _Seen] = {}
        self._reading: dict[str, _Seen] = {}
        self._whole: tuple[int, int, int] | None = None  # the folder when it was last listed
        self._last = Look()

    def look(self, *, thorough: bool = False) -> Look:
        """What changed since the last look; ``note`` tells that it was read.

        Args:
            thorough: Ask for every part of every directory.
        """
        names, refused = self._names(thorough=thorough)
        if names is None:
            changed = [name for name in self._open if self._is_changed(name)]
            return Look(changed=tuple(sorted(changed)), refused=refused)
        there = set(names)
        gone = sorted(name for name in self.marks if name not in there)
        for name in gone:
            self.forget(name)
        changed = []
        for name in names:
            mark = self.marks.get(name)
            is_other = mark is None or (name in self._open and self._is_changed(name))
            if is_other or (thorough and self._see(name).mark != mark):
                changed.append(name)
        return Look(changed=tuple(changed), gone=tuple(gone), refused=refused)

    def _names(self, *, thorough: bool) -> tuple[list[str] | None, tuple[Quarantine, ...]]:
        """All names; None where the folder is as it was."""
        try:
            info = os.lstat(self._path)
            whole = (info.st_ino, info.st_mtime_ns, info.st_ctime_ns)
        except OSError:
            whole = (0, 0, 0)
        if whole == self._whole and not thorough:
            return None, self._last.refused
        is_still = self._clock() - whole[1] / 1e9 > RACY_S
        try:
            names, strays = subdirectories(self._root, self._path, self._source)
        except OSError as error:  # it may be readable again: nothing is forgotten
            row = Quarantine(
                source=self._source, file=relative(self._root, self._path), reason="unreadable",
                detail=error.strerror or str(error),
            )  # fmt: skip
            self._whole, self._last = None, Look(refused=(row,))
            return None, (row,)
        self._whole = whole if is_still else None
        self._last = Look(refused=tuple(strays))
        return names, self._last.refused

    def _see(self, name: str) -> _Seen:
        return _see(f"{self._path}/{name}", self._parts)

    def _is_changed(self, name: str) -> bool:
        """Whether a watched directory is not what was read; one at rest is watched no more."""
        seen = self._see(name)
        before = self._open[name]
        return seen.mark != before.mark or seen.ctimes != before.ctimes

    def begin(self, name: str) -> None:
        """Before a directory is read: what is written from then on counts as a change."""
        self._reading[name] = self._see(name)

    def note(self, name: str, *, is_finished: bool) -> None:
        """A directory was read; watch it on while it is young, or not finished."""
        seen = self._reading.pop(name)
        self.marks[name] = seen.mark
        is_young = self._clock() - seen.newest_ns / 1e9 < SETTLED_S
        if is_young or not is_finished:
            self._open[name] = seen
        else:
            self._open.pop(name, None)

    def rest(self, unfinished: Callable[[str], bool]) -> None:
        """Watch no more what is finished and young no longer."""
        now = self._clock()
        for name, seen in list(self._open.items()):
            if now - seen.newest_ns / 1e9 >= SETTLED_S and not unfinished(name):
                del self._open[name]

    def forget(self, name: str) -> None:
        """A directory is gone."""
        self.marks.pop(name, None)
        self._open.pop(name, None)

    def is_watched(self, name: str) -> bool:
        """Whether a directory may still change."""
        return name in self._open

    def trust(self, marks: dict[str, Mark]) -> None:
        """Take directories as read where their mtime is what it was; others are new, or gone."""
        base = str(self._path)
        for name, mark in marks.items():
            try:
                is_same = os.lstat(f"{base}/{name}").st_mtime_ns == mark.mtime_ns
            except (OSError, ValueError):
                is_same = True  # the next look finds it gone
            if is_same:
                self.marks[name] = mark
