"""The event log as a table, read from where it ended the last time.

Belongs here: the table of dispatches, and what is kept of a log between builds. Does not: putting
lines together (``events``), where lines end (``lines``).

A log grows at its end. What is kept is good for as long as the log still begins with the same bytes
(their sha256 is asked each time); a log that was changed, shortened or begun anew is read whole.
"""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import polars as pl

from planner_pipeline.artifacts import write_bytes, write_parquet
from planner_pipeline.parts import DamagedPartError, read_columns
from planner_pipeline.tables import DISPATCHES, build_table, fields
from planner_runtime.archives.events import (
    LOG,
    SOURCE,
    Dispatch,
    DispatchReader,
    Event,
    OpenDispatch,
)
from planner_runtime.archives.files import Quarantine, SourceCount, count_rows, relative
from planner_runtime.archives.lines import Place, json_lines, last_place, open_lines
from planner_runtime.contracts.canonical import sha256_hex

VERSION: Final = "1"  # raised when the same lines start to make other dispatches
KEPT: Final = "kept.json"
CLOSED: Final = "closed.parquet"
WORTH_KEEPING: Final = 16  # a log that grew by one in so many is kept again
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


class LogRead(msgspec.Struct, frozen=True, kw_only=True):
    """The log of a workspace as a table, and what could not be read of it."""

    dispatches: pl.DataFrame
    quarantined: tuple[Quarantine, ...]
    count: SourceCount


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The log up to a place; the dispatches that ended before it are in a file of their own."""

    version: str = VERSION
    place: Place = Place()
    n_accepted: int = 0
    refused: tuple[Quarantine, ...] = ()
    begun: tuple[OpenDispatch, ...] = ()
    closed_sha256: str = ""


def dispatch_table(dispatches: Iterable[Dispatch]) -> pl.DataFrame:
    """Dispatches with the hash of what each tells, and their workcells in the order they came."""
    return build_table(
        DISPATCHES,
        list(dispatches),
        {
            **fields("issue_id", "line", "started_at", "ended_at", "is_success"),
            "workcell_ids": lambda d: [one.workcell_id for one in d.workcells],
            "has_begun": lambda d: [bool(one.created_at or one.started_at) for one in d.workcells],
            "n_create_failures": lambda d: len(d.create_failures),
            "record_sha": lambda d: sha256(_ENCODER.encode(d)).hexdigest(),
        },
    )


def read_event_log(repo: Path, store: Path) -> LogRead:
    """The log as dispatches, in the order they began: as ``events.read_events`` reads it whole.

    Args:
        store: Where what was read is kept between builds; damaged, it is read anew.
    """
    file = open_lines(repo, repo / LOG, SOURCE)
    if file is None or isinstance(file, Quarantine):
        refused = [] if file is None else [file]
        return LogRead(
            dispatches=dispatch_table(()),
            quarantined=tuple(refused),
            count=count_rows(SOURCE, 0, refused),
        )
    with file:
        return _read_open(file, relative(repo, repo / LOG), store / SOURCE)


def _read_open(file: BinaryIO, name: str, folder: Path) -> LogRead:
    try:
        kept, closed = _load(folder)
        place = last_place(file, kept.place)
        if place is None:
            kept, closed = _Kept(), dispatch_table(())
            place = last_place(file, kept.place)
    except OSError:  # the reader of lines tells what is wrong with the file
        kept, closed, place = _Kept(), dispatch_table(()), None
    reader, refused, n = DispatchReader(kept.begun), list(kept.refused), kept.n_accepted

    def take(after: Place, upto: Place | None) -> None:
        nonlocal n
        for number, event in json_lines(file, name, Event, SOURCE, after=after, upto=upto):
            if isinstance(event, Quarantine):
                refused.append(event)
            else:
                n += 1
                reader.take(number, event)

    take(kept.place, place)
    if place is not None:
        is_longer = place.n_bytes - kept.place.n_bytes > kept.place.n_bytes // WORTH_KEEPING
        if is_longer and all(one.reason != "unreadable" for one in refused):
            begun = reader.still_open(place.n_lines)
            lines = {one.dispatch.line for one in begun}
            ended = [one for one in reader.dispatches if one.line not in lines]
            closed = pl.concat([closed, dispatch_table(ended)]).sort("line")
            told = _Kept(place=place, n_accepted=n, refused=tuple(refused), begun=tuple(begun))
            _keep(folder, told, closed)
            reader = DispatchReader(begun)
        take(place, None)
    table = pl.concat([closed, dispatch_table(reader.dispatches)]).sort("line").rechunk()
    return LogRead(
        dispatches=table,
        quarantined=tuple(refused),
        count=count_rows(SOURCE, n, refused),
    )


def _load(folder: Path) -> tuple[_Kept, pl.DataFrame]:
    """What is kept; nothing where it cannot be trusted."""
    try:
        kept = msgspec.json.decode((folder / KEPT).read_bytes(), type=_Kept)
        if kept.version == VERSION:
            return kept, read_columns(folder / CLOSED, kept.closed_sha256)
    except (OSError, msgspec.DecodeError, DamagedPartError):
        pass
    return _Kept(), dispatch_table(())


def _keep(folder: Path, kept: _Kept, closed: pl.DataFrame) -> None:
    write_parquet(closed, folder / CLOSED)
    digest = sha256_hex((folder / CLOSED).read_bytes())
    told = msgspec.structs.replace(kept, closed_sha256=digest)
    write_bytes(msgspec.json.encode(told), folder / KEPT)
