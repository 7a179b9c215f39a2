"""Units on disk: each runs as often as it must and is recorded once.

Belongs here: the record of a finished unit, and the lease of one that runs. Does not: running.
Design: reference/reliability.md 3 (at least once executed, exactly once recorded).

A lease is a locked file, and the lock dies with its process: a lease that can be locked again and
still lies there was left by a harness that died, and counts as a try.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from planner_pipeline.bench.crash_points import crash_point
from planner_runtime.contracts.bench_outcome import BenchOutcome

UNITS: Final = "units"
LEASES: Final = "leases"
MAX_TRIES: Final = 2


class DamagedUnitError(Exception):
    """A unit's record cannot be read.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}; delete it to run the unit again")
        self.path = path


class Lease:
    """The right to run a unit, held by this process.

    Attributes:
        tries: How often the unit was started, this time included.
    """

    def __init__(self, path: Path, file: BinaryIO, tries: int) -> None:
        self._path, self._file, self.tries = path, file, tries

    def count(self) -> None:
        """One more try."""
        self.tries += 1
        _write_tries(self._file, self.tries)

    def release(self) -> None:
        """Give it up: the unit is recorded."""
        self._path.unlink(missing_ok=True)
        self._file.close()

    def leave(self) -> None:
        """Let go without a record: the next session runs the unit, and this try does not count."""
        if self.tries > 1:
            _write_tries(self._file, self.tries - 1)
            self._file.close()
        else:
            self.release()


def _write_tries(file: BinaryIO, tries: int) -> None:
    file.seek(0)
    file.truncate()
    file.write(b"%d\n" % tries)
    file.flush()
    os.fsync(file.fileno())


def why_unreadable(outcomes: list[BenchOutcome]) -> str | None:
    """Why outcomes would make a damaged record; None where they can be kept.

    A frozen type built in Python is not checked: a cost below 0 is found when it is read, too late.
    """
    try:
        kept = msgspec.json.decode(msgspec.json.encode(outcomes), type=list[BenchOutcome])
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        return str(error)
    return None if kept else "there is no outcome"


class UnitStore:
    """Units below one bench directory. Several processes may use it at once."""

    def __init__(self, folder: Path) -> None:
        self._units, self._leases = folder / UNITS, folder / LEASES
        self._decoder = msgspec.json.Decoder(BenchOutcome)
        self._encoder = msgspec.json.Encoder(order="deterministic")

    def __contains__(self, unit_id: str) -> bool:
        return self._path(unit_id).exists()

    def _path(self, unit_id: str) -> Path:
        return self._units / unit_id[:2] / f"{unit_id}.jsonl"

    def read(self, unit_id: str) -> list[BenchOutcome]:
        """The outcomes of a finished unit.

        Raises:
            DamagedUnitError: the record is not whole.
        """
        return self._read(self._path(unit_id))

    def _read(self, path: Path) -> list[BenchOutcome]:
        try:
            outcomes = self._decoder.decode_lines(path.read_bytes())
        except (OSError, msgspec.MsgspecError) as error:
            raise DamagedUnitError(path, str(error)) from error
        if not outcomes:
            raise DamagedUnitError(path, "it holds no outcome")
        return outcomes

    def every(self) -> Iterator[list[BenchOutcome]]:
        """The outcomes of every finished unit, by unit id. Raises ``DamagedUnitError``."""
        for path in sorted(self._units.glob("*/*.jsonl")):
            yield self._read(path)

    def save(self, unit_id: str, outcomes: list[BenchOutcome]) -> bool:
        """Record a unit, whole or not at all; False where it was recorded already, which stays."""
        path = self._path(unit_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{unit_id}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                file.write(b"".join(self._encoder.encode(one) + b"\n" for one in outcomes))
                file.flush()
                os.fsync(file.fileno())
            crash_point("unit_written")
            os.link(part, path)
        except FileExistsError:
            return False
        finally:
            part.unlink(missing_ok=True)
        crash_point("unit_linked")
        return True

    def forget(self, unit_id: str) -> None:
        """Remove a record, so that the unit runs again, with all of its tries."""
        self._path(unit_id).unlink(missing_ok=True)
        with self._unheld(self._leases / unit_id) as is_unheld:
            if is_unheld:
                (self._leases / unit_id).unlink()

    def lease(self, unit_id: str) -> Lease | None:
        """The right to run a unit; None while another process has it."""
        self._leases.mkdir(parents=True, exist_ok=True)
        path = self._leases / unit_id
        while True:
            file = path.open("a+b")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                return None
            try:  # whoever held it may have removed it between our opening and our locking
                if os.stat(path).st_ino == os.fstat(file.fileno()).st_ino:
                    break
            except FileNotFoundError:
                pass
            file.close()
        file.seek(0)
        text = file.read().strip()
        lease = Lease(path, file, int(text) if text.isdigit() else 0)
        lease.count()
        return lease

    def abandoned(self) -> list[str]:
        """Units whose harness died: their leases lie there, and nobody holds them.

        A lease whose unit was recorded before the harness died has no further use, and is removed.
        """
        found = []
        for path in sorted(self._leases.glob("*")):
            with self._unheld(path) as is_unheld:
                if is_unheld:
                    found.append(path.name)
                    if path.name in self:
                        path.unlink()
        return found

    @staticmethod
    @contextmanager
    def _unheld(path: Path) -> Iterator[bool]:
        """Whether a lease lies there that nobody holds; nobody can take it inside the block."""
        try:
            file = path.open("rb")
        except FileNotFoundError:  # given up meanwhile
            yield False
            return
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino
