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
    """One line. ``wall_seconds`` of a settlement is the age of its session by then."""

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
        wall_seconds: Of all sessions, up to the last settlement of each.
        n_open: Reservations nothing settled yet: of units that run, and of sessions that died.
    """

    attempts: int = 0
    agent_minutes: float = 0.0
    cost_usd: float = 0.0
    wall_seconds: float = 0.0
    n_unpriced: int = 0
    n_open: int = 0


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

    def totals(self) -> Totals:
        """What was spent or is reserved so far. Raises ``LedgerError``."""
        with self._locked() as file:
            return self._sum(self._entries(file))

    def reserve(self, unit_id: str, worst: Spend, *, session_seconds: float) -> None:
        """Promise a unit its worst case; on disk when this returns.

        Args:
            session_seconds: Age of this session now.

        Raises:
            CapReachedError: a cap does not leave as much.
            LedgerError: dollars are capped, and the unit's price is not known.
        """
        with self._locked() as file:
            entries = self._entries(file)
            self._refuse(worst, self._sum(entries), self._walls(entries), session_seconds)
            self._append(file, self._entry("reserve", unit_id, worst, 0.0))

    def settle(self, unit_id: str, spent: Spend, *, session_seconds: float) -> None:
        """Put what a unit of this session took in the place of its reservation."""
        with self._locked() as file:
            self._entries(file)
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

    def _refuse(
        self, worst: Spend, so_far: Totals, walls: dict[str, float], session_seconds: float
    ) -> None:
        others = sum(wall for session, wall in walls.items() if session != self._session)
        wall_so_far = others + session_seconds
        if self._caps.cost_usd is not None and worst.cost_usd is None:
            raise LedgerError("cost_usd is capped, but no price is known: set usd_per_minute")
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
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    def _entries(self, file: BinaryIO) -> list[Entry]:
        """Every entry. A last line that a crash cut short never took effect, and is cut off."""
        file.seek(0)
        data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            file.truncate(len(whole))
        try:
            return self._decoder.decode_lines(whole)
        except msgspec.MsgspecError as error:
            raise LedgerError(f"{self._path}: {error}; nothing can be started on it") from error

    def _append(self, file: BinaryIO, entry: Entry) -> None:
        file.write(self._encoder.encode(entry) + b"\n")
        file.flush()
        os.fsync(file.fileno())

    @staticmethod
    def _walls(entries: list[Entry]) -> dict[str, float]:
        walls: dict[str, float] = {}
        for entry in entries:
            walls[entry.session] = max(walls.get(entry.session, 0.0), entry.wall_seconds)
        return walls

    def _sum(self, entries: list[Entry]) -> Totals:
        held: dict[tuple[str, str], list[Entry]] = {}  # reservations that nothing settled yet
        final: list[Entry] = []
        for entry in entries:
            open_ones = held.setdefault((entry.session, entry.unit_id), [])
            if entry.kind == "reserve":
                open_ones.append(entry)
            else:
                if open_ones:
                    open_ones.pop()
                final.append(entry)
        outstanding = [entry for some in held.values() for entry in some]
        counted = [*final, *outstanding]
        return Totals(
            attempts=sum(entry.attempts for entry in counted),
            agent_minutes=sum(entry.agent_minutes for entry in counted),
            cost_usd=sum(entry.cost_usd or 0.0 for entry in counted),
            wall_seconds=sum(self._walls(entries).values()),
            n_unpriced=sum(entry.cost_usd is None for entry in counted),
            n_open=len(outstanding),
        )
