"""The event log as dispatches that grow with it: only what is new is read.

Belongs here: the log's last known place, dispatches by line and by workcell. Does not: putting
lines together (``events``), where lines end (``lines``). Closed dispatches are kept as bytes.

A log grows at its end. It is read anew where it is shorter than it was, or where the bytes before
the known place are others.
"""

import os
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from planner_runtime.archives.events import (
    LOG,
    SOURCE,
    Dispatch,
    DispatchReader,
    Event,
    OpenDispatch,
)
from planner_runtime.archives.files import Quarantine, as_text, relative
from planner_runtime.archives.lines import MAX_LINE_BYTES, Place, json_lines, open_lines

EDGE_BYTES: Final = 4_096  # at the log's beginning, and before the known place
_BLOCK: Final = 65_536


class LogPlace(msgspec.Struct, frozen=True, kw_only=True):
    """How far a log was read.

    Attributes:
        edges_sha256: Of the bytes at its beginning and of those before the place.
        ends_open: Whether the last line had no newline yet, though it was whole.
    """

    n_bytes: int = 0
    n_lines: int = 0
    edges_sha256: str = ""
    ends_open: bool = False


class KeptLog(msgspec.Struct, frozen=True, kw_only=True):
    """What goes on from a log in another process: its place, what later lines may change, and
    dispatches with workcells that could not be created, each with its successor's start.
    """

    place: LogPlace = LogPlace()
    begun: tuple[OpenDispatch, ...] = ()
    failing: tuple[tuple[Dispatch, str | None], ...] = ()
    without_successor: tuple[int, ...] = ()
    refused: tuple[Quarantine, ...] = ()


class DispatchLog:
    """The dispatches of a workspace's event log.

    Args:
        kept: Where to go on from; dispatches before are read when somebody asks for one.

    Attributes:
        failing: Lines of dispatches with workcells that could not be created; for each when the
            issue's next dispatch began.
        refused: Lines that could not be read.
    """

    def __init__(self, repo: Path, kept: KeptLog | None = None) -> None:
        self._repo = repo
        self._status: tuple[int, int, int] | None = None
        self._restore(kept or KeptLog())
        self._is_partial = kept is not None and kept.place.n_bytes > 0

    def _restore(self, kept: KeptLog) -> None:
        self._place = kept.place
        self._reader = DispatchReader(kept.begun)
        self._packed: dict[int, bytes] = {}
        self._line_of: dict[str, int] = {}
        self._unsure: set[str] = set()
        self._latest: dict[str, int] = {}  # by issue, its newest dispatch with failures
        self.failing: dict[int, str | None] = {}
        self.refused: list[Quarantine] = list(kept.refused)
        for dispatch, next_at in kept.failing:
            self._take(dispatch)
            self.failing[dispatch.line] = next_at
            if dispatch.line in kept.without_successor:
                self._latest[dispatch.issue_id] = dispatch.line
        self._unsure = set(self._line_of)  # a later dispatch, not kept, may tell of them
        for one in kept.begun:
            self._take(one.dispatch)
        self._reader.dispatches.clear()

    def line_of(self, workcell_id: str) -> int | None:
        """Where the last dispatch begins that tells of a workcell."""
        line = self._line_of.get(workcell_id)
        if self._is_partial and (line is None or workcell_id in self._unsure):
            self._read_whole()
            line = self._line_of.get(workcell_id)
        return line

    def dispatch(self, line: int) -> Dispatch:
        """The dispatch that begins on a line."""
        return msgspec.msgpack.decode(self._packed[line], type=Dispatch)

    def kept(self) -> KeptLog:
        """What another process goes on from."""
        begun = self._reader.still_open(self._place.n_lines)
        failing = tuple((self.dispatch(line), at) for line, at in sorted(self.failing.items()))
        return KeptLog(
            place=self._place,
            begun=tuple(begun),
            failing=failing,
            without_successor=tuple(sorted(self._latest.values())),
            refused=tuple(self.refused),
        )

    def refresh(self) -> set[int] | None:
        """Lines of dispatches of which more is known now; None where the log is another one."""
        try:
            info = os.lstat(self._repo / LOG)
            status = (info.st_ino, info.st_size, info.st_mtime_ns)
        except OSError:
            status = (0, 0, 0)
        if status == self._status:
            return set()
        self._status = status
        return self._read()

    def _read(self) -> set[int] | None:
        file = open_lines(self._repo, self._repo / LOG, SOURCE)
        if file is None or isinstance(file, Quarantine):
            had_any = bool(self._place.n_bytes or self.refused)
            self._restore(KeptLog(refused=() if file is None else (file,)))
            self._is_partial = False
            return None if had_any or file is not None else set()
        with file:
            try:
                begins_so = self._begins_so(file)
            except OSError as error:
                begins_so = False
                self._restore(KeptLog(refused=(_unreadable(self._repo, error),)))
                return None
            if begins_so:
                return self._go_on(file)
            self._restore(KeptLog())
            self._is_partial = False
            self._go_on(file)
            return None

    def _read_whole(self) -> None:
        """Read what a snapshot left out: the log up to the known place, which tells nothing new."""
        place, self._is_partial = self._place, False
        file = open_lines(self._repo, self._repo / LOG, SOURCE)
        if file is None or isinstance(file, Quarantine):
            return
        with file:
            self._restore(KeptLog())
            self._go_on(file, upto=place)

    def _go_on(self, file: BinaryIO, upto: LogPlace | None = None) -> set[int]:
        """Take the lines after the known place; lines of the dispatches they tell of."""
        touched: dict[int, Dispatch] = {}
        end = upto or _last_place(file, self._place)
        n_bytes = self._place.n_bytes
        if self._place.ends_open and end.n_bytes > n_bytes:
            n_bytes += 1  # the newline of a line that was taken already
        before = Place(n_bytes=n_bytes, n_lines=self._place.n_lines)
        name = relative(self._repo, self._repo / LOG)
        for number, event in json_lines(
            file, name, Event, SOURCE, after=before,
            upto=Place(n_bytes=end.n_bytes, n_lines=end.n_lines),
        ):  # fmt: skip
            if isinstance(event, Quarantine):
                self.refused.append(event)
                continue
            self._reader.take(number, event)
            dispatch = self._reader.current(as_text(event.issue_id))
            if dispatch is not None:
                touched[dispatch.line] = dispatch
        self._reader.dispatches.clear()
        lines = set(touched)
        for _, dispatch in sorted(touched.items()):
            lines |= self._follow(dispatch)
            self._take(dispatch)
        self._place = end
        return lines

    def _follow(self, dispatch: Dispatch) -> set[int]:
        """Lines of an earlier dispatch of the issue for which this one is the next."""
        line = dispatch.line
        earlier = self._latest.get(dispatch.issue_id)
        if dispatch.create_failures and line not in self.failing:
            self.failing[line] = None
            self._latest[dispatch.issue_id] = line
        if earlier is None or earlier >= line or line in self._packed:
            return set()
        if not dispatch.create_failures:
            del self._latest[dispatch.issue_id]
        self.failing[earlier] = dispatch.started_at
        return {earlier}

    def _take(self, dispatch: Dispatch) -> None:
        self._packed[dispatch.line] = msgspec.msgpack.encode(dispatch)
        for one in dispatch.workcells:
            line = self._line_of.get(one.workcell_id, 0)
            self._line_of[one.workcell_id] = max(line, dispatch.line)
            self._unsure.discard(one.workcell_id)

    def _begins_so(self, file: BinaryIO) -> bool:
        """Whether a log still begins with what was read."""
        place = self._place
        if not place.n_bytes:
            return not self._packed and not self.refused
        if _edges(file, place.n_bytes) != place.edges_sha256:
            return False
        file.seek(place.n_bytes)
        return not place.ends_open or file.read(1) in (b"", b"\n")


def _unreadable(repo: Path, error: OSError) -> Quarantine:
    detail = error.strerror or str(error)
    return Quarantine(
        source=SOURCE, file=relative(repo, repo / LOG), reason="unreadable", detail=detail
    )


def _edges(file: BinaryIO, n_bytes: int) -> str:
    """Hash of a file's first bytes and of the last ones before a place."""
    file.seek(0)
    digest = sha256(file.read(min(EDGE_BYTES, n_bytes)))
    file.seek(max(0, n_bytes - EDGE_BYTES))
    digest.update(file.read(min(EDGE_BYTES, n_bytes)))
    return digest.hexdigest()


def _last_place(file: BinaryIO, known: LogPlace) -> LogPlace:
    """The end of the last line that is whole, with or without its newline."""
    file.seek(known.n_bytes)
    at, end, n_lines, rest = known.n_bytes, known.n_bytes, known.n_lines, [b""]
    while chunk := file.read(_BLOCK):
        at += len(chunk)
        newline = chunk.rfind(b"\n")
        if newline < 0:
            rest = [*rest, chunk] if len(rest) * _BLOCK < MAX_LINE_BYTES else rest
            continue
        end = at - len(chunk) + newline + 1
        n_lines += chunk.count(b"\n")
        rest = [chunk[newline + 1 :]]
    if known.ends_open and end > known.n_bytes:
        n_lines -= 1  # the newline of a line that was counted already
    ends_open = known.ends_open and end == known.n_bytes
    if not ends_open and _is_object(b"".join(rest)):
        end, n_lines, ends_open = at, n_lines + 1, True
    return LogPlace(
        n_bytes=end, n_lines=n_lines, edges_sha256=_edges(file, end), ends_open=ends_open
    )


def _is_object(line: bytes) -> bool:
    if not line.rstrip().endswith(b"}"):
        return False
    try:
        msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True
