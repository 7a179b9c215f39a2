"""Artifact directories, each read once: what was read is kept and found again by content.

Belongs here: which directories are new or changed, reading those on all cores, keeping the records.
Does not: what is in a directory (``archives``, ``world_runs``).
A directory is read again when size, mtime or ctime of one of its parts differ from last time. Those
are a hint where to look; every version is made from content alone.
"""

import hashlib
import multiprocessing
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.artifacts import write_bytes, write_parquet
from planner_pipeline.memory import rare_collections
from planner_pipeline.parts import is_intact, read_columns
from planner_runtime.archives.files import Quarantine, SourceCount, subdirectories
from planner_runtime.contracts.canonical import sha256_hex

RecordT = TypeVar("RecordT", bound=msgspec.Struct)
Progress = Callable[[str, int, int], None]  # what, done, of how many

CHUNK: Final = 500  # directories a worker reads at a time
SEGMENT_ROWS: Final = 8_000
WORTH_WORKERS: Final = 6_000  # directories to read before starting another process pays
MOST_SEGMENTS: Final = 40
MOST_DEAD: Final = 0.25  # share of rows that no directory has any more, or that were read again
INDEX: Final = "index.json"
ABSENT: Final = 0
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")
_STAMP: Final = re.compile(r"\d{8}T\d{6}Z")
_KNOWN: Final = {
    "name": pl.String, "signature": pl.Binary, "record_sha": pl.String, "note": pl.String,
}  # fmt: skip
_ROW: Final = _KNOWN | {"record_json": pl.String, "refused_json": pl.String}
_LIVE: Final = _KNOWN | {"segment": pl.Int32, "row": pl.Int32}


def no_progress(_what: str, _done: int, _of: int) -> None:
    """Tell nobody."""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """One Parquet file of rows."""

    file: str
    rows: int
    sha256: str


class _Index(msgspec.Struct, frozen=True, kw_only=True):
    version: str  # of the reader that made the rows
    segments: tuple[Segment, ...] = ()


class ReaderOf(msgspec.Struct, Generic[RecordT], frozen=True, kw_only=True):
    """How the directories of one source are read.

    Attributes:
        parts: Files whose change makes a directory worth reading again.
        read_one: (workspace, directory) -> its record, or None, and what was refused.
        note_of: What a record needs of others, kept beside it, so that it can be asked without
            decoding the record.
        version: Raised when ``read_one`` starts to read differently.
    """

    source: str
    folder: str
    parts: tuple[str, ...]
    read_one: Callable[[Path, Path], tuple[RecordT | None, list[Quarantine]]]
    note_of: Callable[[RecordT], str]
    version: str


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """The records of one source as they stand, kept in files.

    Attributes:
        folder: Where the files are.
        live: Parquet of ``name``, ``record_sha``, ``note``, ``segment`` and ``row`` of every usable
            directory, by name.
        version: sha256 of names and contents; equal for equal workspaces.
    """

    folder: str
    segments: tuple[Segment, ...]
    live: Segment
    version: str

    def live_table(self) -> pl.DataFrame:
        """What is there, without the records. Raises ``DamagedPartError``."""
        return read_columns(Path(self.folder) / self.live.file, self.live.sha256)

    def records(self, kind: type[RecordT], wanted: pl.DataFrame) -> Iterator[RecordT]:
        """Records of some rows of ``live_table``, one segment in memory at a time.

        They come in the order of the segments, within one in that of ``wanted``.

        Raises:
            DamagedPartError: a segment is not what was written.
        """
        decoder = msgspec.json.Decoder(kind)
        for (number,), group in wanted.sort("segment", maintain_order=True).group_by(
            "segment", maintain_order=True
        ):
            segment = self.segments[int(str(number))]
            path = Path(self.folder) / segment.file
            texts = read_columns(path, segment.sha256, ["record_json"])["record_json"]
            for text in texts.gather(group["row"]):
                yield decoder.decode(text)


def _store_live(folder: Path, segments: Sequence[Segment], usable: pl.DataFrame) -> Stored:
    line = pl.concat_str(["name", "record_sha"], separator="\0") + "\n"
    told: str = usable.select(line.str.join("")).item()
    path = folder / "live.parquet"
    write_parquet(usable.drop("signature"), path)
    live = Segment(file=path.name, rows=usable.height, sha256=sha256_hex(path.read_bytes()))
    return Stored(
        folder=str(folder), segments=tuple(segments), live=live, version=sha256_hex(told.encode())
    )


def _stamp(name: str) -> tuple[str, str]:
    found = _STAMP.search(name)
    return found[0] if found else "", name


def _status(path: str) -> int:
    """A number for type, size, mtime and ctime of a file; ``ABSENT`` where there is none."""
    try:
        info = os.lstat(path)
    except OSError:
        return ABSENT
    return hash((info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns))


def _signature(folder: str, parts: Sequence[str]) -> bytes:
    return array("q", [_status(f"{folder}/{name}") for name in parts]).tobytes()


def _changed(base: str, parts: Sequence[str], known: pl.DataFrame) -> list[str]:
    """Names of known directories of which a part is not what it was.

    A part that was absent is only asked for: that is cheaper than being told of an error.
    """
    names = known["name"].to_list()
    before = np.frombuffer(b"".join(known["signature"]), dtype=np.int64)
    was_there = before.reshape(len(names), len(parts)) != ABSENT
    bits = 1 << np.arange(len(parts))
    kind_of = was_there @ bits  # directories with the same parts are of one kind
    there, absent = {}, {}
    for kind in np.unique(kind_of).tolist():
        there[kind] = [part for part, bit in zip(parts, bits, strict=True) if kind & bit]
        absent[kind] = [part for part in parts if part not in there[kind]]
    now, appeared = array("q"), []
    for name, kind in zip(names, kind_of.tolist(), strict=True):
        folder = f"{base}/{name}/"
        for part in there[kind]:
            now.append(_status(folder + part))
        for part in absent[kind]:
            if os.access(folder + part, os.F_OK, follow_symlinks=False):
                appeared.append(name)
    owner, _ = np.nonzero(was_there)
    is_other = before[before != ABSENT] != np.frombuffer(now, dtype=np.int64)
    other = np.unique(owner[is_other])
    return sorted({*appeared, *(names[i] for i in other.tolist())})


def _read_chunk(reader: ReaderOf[Any], repo: Path, names: list[str]) -> list[tuple[Any, ...]]:
    with rare_collections():
        return [_read_row(reader, repo, name) for name in names]


def _read_row(reader: ReaderOf[Any], repo: Path, name: str) -> tuple[Any, ...]:
    folder = repo / reader.folder / name
    signature = _signature(str(folder), reader.parts)  # first, so that a later write is noticed
    record, refused = reader.read_one(repo, folder)
    text = None if record is None else _ENCODER.encode(record)
    return (
        name,
        signature,
        None if text is None else hashlib.sha256(text).hexdigest(),
        None if record is None else reader.note_of(record),
        None if text is None else text.decode(),
        _ENCODER.encode(refused).decode() if refused else None,
    )


def _read_all(
    reader: ReaderOf[Any], repo: Path, names: list[str], progress: Progress
) -> Iterator[list[tuple[Any, ...]]]:
    """Rows of many directories, chunk by chunk, on all cores when there are enough of them."""
    chunks = [names[i : i + CHUNK] for i in range(0, len(names), CHUNK)]
    done = 0
    n_workers = min(os.cpu_count() or 1, 8)
    if len(names) < WORTH_WORKERS or n_workers < 2:
        for chunk in chunks:
            yield _read_chunk(reader, repo, chunk)
            done += len(chunk)
            progress(reader.source, done, len(names))
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
    with ProcessPoolExecutor(n_workers, mp_context=context) as pool:
        jobs = (pool.submit(_read_chunk, reader, repo, chunk) for chunk in chunks)
        for job in list(jobs):
            rows = job.result()
            yield rows
            done += len(rows)
            progress(reader.source, done, len(names))


def _write_segment(folder: Path, number: int, rows: list[tuple[Any, ...]]) -> Segment:
    table = pl.DataFrame(rows, schema=_ROW, orient="row")
    path = folder / f"segment-{number:05d}.parquet"
    write_parquet(table, path)
    return Segment(file=path.name, rows=len(rows), sha256=sha256_hex(path.read_bytes()))


def _write_segments(
    folder: Path, index: _Index, chunks: Iterable[list[tuple[Any, ...]]]
) -> list[Segment]:
    """Rows in new segments, numbered after those of ``index``."""
    number = 1 + max((int(one.file[8:13]) for one in index.segments), default=0)
    segments: list[Segment] = []
    pending: list[tuple[Any, ...]] = []
    for rows in chunks:
        pending += rows
        if len(pending) >= SEGMENT_ROWS:
            segments.append(_write_segment(folder, number + len(segments), pending))
            pending = []
    if pending:
        segments.append(_write_segment(folder, number + len(segments), pending))
    return segments


def read_stored(
    reader: ReaderOf[RecordT], repo: Path, store: Path, progress: Progress = no_progress
) -> tuple[Stored, list[Quarantine], SourceCount]:
    """Every directory of a source: new and changed ones are read, the others are known.

    Args:
        store: Where records are kept between builds; a damaged one is read anew.
    """
    folder = store / reader.source
    index = _load_index(folder, reader.version)
    found, strays = subdirectories(repo, repo / reader.folder, reader.source)
    known = _newest(_rows(folder, index.segments))
    names = pl.DataFrame({"name": found}, schema={"name": pl.String})
    changed = _changed(
        str(repo / reader.folder),
        reader.parts,
        known.join(names, on="name", how="semi", maintain_order="left"),
    )
    changed += names.join(known, on="name", how="anti")["name"].to_list()
    changed.sort(key=_stamp)  # a month's records lie together
    fresh = _write_segments(folder, index, _read_all(reader, repo, changed, progress))
    read = _rows(folder, fresh, first=len(index.segments))
    index = _Index(version=reader.version, segments=(*index.segments, *fresh))
    live = names.join(
        _newest(pl.concat([known, read])), on="name", how="left", maintain_order="left"
    )
    n_rows = sum(segment.rows for segment in index.segments)
    if len(index.segments) > MOST_SEGMENTS or n_rows - live.height > MOST_DEAD * n_rows + 100:
        index, live = _compact(folder, index, live)
    write_bytes(msgspec.json.encode(index), folder / INDEX)
    _remove_others(folder, index)
    refused = strays + _refused(folder, index, live)
    usable = live.filter(pl.col("record_sha").is_not_null())
    n_unchanged = usable.filter(~pl.col("name").is_in(changed)).height
    unusable = live.filter(pl.col("record_sha").is_null())["name"]
    n_pending = _n_pending(refused, set(unusable), reader.folder)
    count = SourceCount(
        source=reader.source,
        discovered=len(found) + len(strays),
        accepted=usable.height - n_unchanged,
        quarantined=len(strays) + live.height - usable.height - n_pending,
        pending=n_pending,
        unchanged=n_unchanged,
    )
    return _store_live(folder, index.segments, usable), refused, count


def _n_pending(refused: Sequence[Quarantine], unusable: set[str], folder: str) -> int:
    """Directories that are unusable because a part of them is still being written."""
    depth = folder.count("/") + 1
    waiting = {row.file.split("/")[depth] for row in refused if row.is_pending}
    return len(waiting & unusable)


def _load_index(folder: Path, version: str) -> _Index:
    """The index of what is kept; an empty one where there is none that can be trusted."""
    try:
        index = msgspec.json.decode((folder / INDEX).read_bytes(), type=_Index)
    except (OSError, msgspec.DecodeError):
        return _Index(version=version)
    whole = index.version == version and all(
        is_intact(folder / one.file, one.sha256) for one in index.segments
    )
    return index if whole else _Index(version=version)


def _rows(folder: Path, segments: Sequence[Segment], first: int = 0) -> pl.DataFrame:
    """The rows of some segments, without the records themselves.

    Args:
        first: The number of the first of them.
    """
    tables = [
        read_columns(folder / one.file, one.sha256, list(_KNOWN)).with_columns(
            segment=pl.lit(number, dtype=pl.Int32), row=pl.int_range(pl.len(), dtype=pl.Int32)
        )
        for number, one in enumerate(segments, start=first)
    ]
    return pl.concat(tables) if tables else pl.DataFrame(schema=_LIVE)


def _newest(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.unique("name", keep="last", maintain_order=True)


def _refused(folder: Path, index: _Index, live: pl.DataFrame) -> list[Quarantine]:
    rows: list[Quarantine] = []
    decoder = msgspec.json.Decoder(list[Quarantine])
    for (number,), group in live.group_by("segment", maintain_order=True):
        one = index.segments[int(str(number))]
        texts = read_columns(folder / one.file, one.sha256, ["refused_json"])["refused_json"]
        for text in texts.gather(group["row"]).drop_nulls():
            rows += decoder.decode(text)
    return rows


def _compact(folder: Path, index: _Index, live: pl.DataFrame) -> tuple[_Index, pl.DataFrame]:
    """Only the living rows, in few segments."""
    living = (
        read_columns(folder / one.file, one.sha256)[group["row"].to_list()].rows()
        for (old,), group in live.group_by("segment", maintain_order=True)
        for one in [index.segments[int(str(old))]]
    )
    segments = _write_segments(folder, index, living)
    smaller = _Index(version=index.version, segments=tuple(segments))
    names = live.select("name")
    return smaller, names.join(_newest(_rows(folder, segments)), on="name", maintain_order="left")


def _remove_others(folder: Path, index: _Index) -> None:
    kept = {one.file for one in index.segments}
    for path in folder.glob("segment-*.parquet"):
        if path.name not in kept:
            path.unlink()
