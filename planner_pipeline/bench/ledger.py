"""The ledger of a bench: what was spent, and what is promised to units that run.

Belongs here: reserving the worst case before a unit starts, settling what it really took, caps.
Does not: knowing what a unit may take (``executors``). Spec: section 9.3; reliability.md 4.

One JSON line an entry, on disk before anything starts. A unit that dies with its harness keeps its
reservation as spent, since nobody can tell how far it came: a crash may waste budget, and can never
overspend it. Several processes may share a ledger.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec

from planner_pipeline.bench.config import Caps
from planner_pipeline.bench.protocol import Spend

FILE: Final = "ledger.jsonl"


class CapReachedError(Exception):
    """A unit is not started, because at worst it would take more than a cap leaves.

    Attributes:
        cap: Its name.
        wanted, left: In the cap's own unit.
    """

    def __init__(self, cap: str, wanted: float, left: float) -> None:
        super().__init__(f"cap on {cap.replace('_', ' ')}: {left:g} left, {wanted:g} needed")
        self.cap, self.wanted, self.left = cap, wanted, left


class LedgerError(Exception):
    """A ledger cannot be read, or nobody can say what a capped unit costs."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line.

    Attributes:
        wall_seconds: The age of its session: by then, or at worst by the end of what is reserved.
    """

    kind: Literal["reserve", "settle"]
    session: str
    unit_id: str
    attempts: int = 0
    agent_minutes: float = 0.0
    cost_usd: float | None = None
    wall_seconds: float = 0.0


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Spent and reserved together.

    Attributes:
        cost_usd: Of what has a price; ``n_unpriced`` units have none.
        wall_seconds: Of all sessions, up to the last settlement of each, or to the worst end of
            what is still open.
        n_open: Reservations nothing settled yet: of units that run, and of sessions that died.
    """

    attempts: int = 0
    agent_minutes: float = 0.0
    cost_usd: float = 0.0
    wall_seconds: float = 0.0
    n_unpriced: int = 0
    n_open: int = 0


class _Book:
    """What the lines of a ledger come to, one after another."""

    def __init__(self) -> None:
        self.n_bytes = 0  # of the file, as far as it was read
        self._settled = Totals()
        self._held: dict[tuple[str, str], list[Entry]] = {}  # what nothing settled yet
        self._walls: dict[str, float] = {}  # of each session, up to its last settlement

    def add(self, entry: Entry) -> None:
        """Take one more line into account."""
        key = (entry.session, entry.unit_id)
        if entry.kind == "reserve":
            self._held.setdefault(key, []).append(entry)
            return
        held = self._held.get(key, [])
        if held:
            held.pop()
        if not held:
            self._held.pop(key, None)
        self._settled = _plus(self._settled, entry)
        self._walls[entry.session] = max(self._walls.get(entry.session, 0.0), entry.wall_seconds)

    def _open(self) -> list[Entry]:
        return [entry for some in self._held.values() for entry in some]

    def wall_seconds(self, *, but_of: str | None = None) -> float:
        """Of all sessions but one."""
        walls = dict(self._walls)
        for entry in self._open():
            walls[entry.session] = max(walls.get(entry.session, 0.0), entry.wall_seconds)
        return sum((wall for session, wall in walls.items() if session != but_of), 0.0)

    def totals(self) -> Totals:
        """Everything so far."""
        found, outstanding = self._settled, self._open()
        for entry in outstanding:
            found = _plus(found, entry)
        return msgspec.structs.replace(
            found, wall_seconds=self.wall_seconds(), n_open=len(outstanding)
        )


def _plus(totals: Totals, entry: Entry) -> Totals:
    return Totals(
        attempts=totals.attempts + entry.attempts,
        agent_minutes=totals.agent_minutes + entry.agent_minutes,
        cost_usd=totals.cost_usd + (entry.cost_usd or 0.0),
        n_unpriced=totals.n_unpriced + (entry.cost_usd is None),
    )


class Ledger:
    """The ledger in ``folder``.

    Args:
        session: Names this process's run; its own reservations are settled under it.

    Raises:
        LedgerError: a line that is not the last one cannot be read.
    """

    def __init__(self, folder: Path, caps: Caps, *, session: str) -> None:
        self._path, self._caps, self._session = folder / FILE, caps, session
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(Entry)
        self._book = _Book()  # lines are only ever added, so those that were read stay as they were

    def totals(self) -> Totals:
        """What was spent or is reserved so far. Raises ``LedgerError``."""
        with self._locked():
            return self._book.totals()

    def reserve(self, unit_id: str, worst: Spend, *, session_seconds: float) -> None:
        """Promise a unit its worst case; on disk when this returns.

        Args:
            session_seconds: Age of this session now.

        Raises:
            CapReachedError: a cap does not leave as much.
            LedgerError: dollars are capped, and the unit's price is not known.
        """
        with self._locked() as file:
            self._refuse(worst, session_seconds)
            end = session_seconds + worst.wall_seconds
            self._append(file, self._entry("reserve", unit_id, worst, end))

    def settle(self, unit_id: str, spent: Spend, *, session_seconds: float) -> None:
        """Put what a unit of this session took in the place of its reservation."""
        with self._locked() as file:
            self._append(file, self._entry("settle", unit_id, spent, session_seconds))

    def _entry(
        self, kind: Literal["reserve", "settle"], unit_id: str, spend: Spend, wall: float
    ) -> Entry:
        return Entry(
            kind=kind,
            session=self._session,
            unit_id=unit_id,
            attempts=spend.attempts,
            agent_minutes=spend.agent_minutes,
            cost_usd=spend.cost_usd,
            wall_seconds=round(wall, 3),
        )

    def _refuse(self, worst: Spend, session_seconds: float) -> None:
        if self._caps.cost_usd is not None and worst.cost_usd is None:
            raise LedgerError("cost_usd is capped, but no price is known: set usd_per_minute")
        so_far = self._book.totals()
        wall_so_far = self._book.wall_seconds(but_of=self._session) + session_seconds
        for cap, spent, wanted in (
            ("attempts", so_far.attempts, worst.attempts),
            ("agent_minutes", so_far.agent_minutes, worst.agent_minutes),
            ("cost_usd", so_far.cost_usd, worst.cost_usd or 0.0),
            ("wall_seconds", wall_so_far, worst.wall_seconds),
        ):
            most = getattr(self._caps, cap)
            if most is not None and spent + wanted > most + 1e-9:
                raise CapReachedError(cap, wanted, most - spent)

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """The file, for this process and thread alone, with all that is in it read."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._read(file)
            yield file

    def _read(self, file: BinaryIO) -> None:
        """Read what is new. A last line that a crash cut short never took effect: it is cut off."""
        n_bytes = os.fstat(file.fileno()).st_size
        if n_bytes < self._book.n_bytes:  # somebody began a new ledger
            self._book = _Book()
        file.seek(self._book.n_bytes)
        data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            file.truncate(self._book.n_bytes + len(whole))
        try:
            entries = self._decoder.decode_lines(whole)
        except msgspec.MsgspecError as error:
            raise LedgerError(f"{self._path}: {error}; nothing can be started on it") from error
        for entry in entries:
            self._book.add(entry)
        self._book.n_bytes += len(whole)

    def _append(self, file: BinaryIO, entry: Entry) -> None:
        file.write(self._encoder.encode(entry) + b"\n")
        file.flush()
        os.fsync(file.fileno())
