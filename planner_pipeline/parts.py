"""Tables kept in parts: one Parquet file for some rows, named by what is in it.

Belongs here: writing, finding and reading parts, with the sha256 of every one. Does not: what the
rows mean. A part whose key is known already is not made again; one that is no longer part of a
table is removed when the table is complete.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from planner_pipeline.artifacts import write_bytes, write_parquet
from planner_runtime.contracts.canonical import sha256_hex

MANIFEST: Final = "manifest.json"


class DamagedPartError(Exception):
    """A file of ours is not what its manifest says.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: not the bytes that were written; delete it and build again")
        self.path = path


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a table.

    Attributes:
        month: Of its rows, ``YYYY-MM`` or ``undated``.
        key: Hash of all that decides what is in it.
        counts: Numbers about its rows that are asked for without reading it.
    """

    month: str
    key: str
    rows: int
    sha256: str
    counts: dict[str, int] = {}

    @property
    def file(self) -> str:
        """Its name below the table's folder."""
        return f"{self.month}/{self.key}.parquet"


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """A table in parts, in the order of its rows.

    Attributes:
        n_reused: Parts that were there already.
    """

    folder: str
    parts: tuple[Part, ...] = ()
    n_reused: int = 0

    @classmethod
    def load(cls, folder: Path) -> "Parts":
        """The table in a folder; without parts where there is none.

        Raises:
            msgspec.DecodeError: its manifest cannot be read.
        """
        path = folder / MANIFEST
        kept = (
            msgspec.json.decode(path.read_bytes(), type=tuple[Part, ...]) if path.exists() else ()
        )
        return cls(folder=str(folder), parts=kept)

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def version(self) -> str:
        """Equal for equal tables."""
        return sha256_hex("\n".join(f"{p.month} {p.key}" for p in self.parts).encode())

    def count(self, name: str) -> int:
        """The sum of one of the parts' numbers."""
        return sum(part.counts.get(name, 0) for part in self.parts)

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """One table a part. Raises ``DamagedPartError``."""
        for part in self.parts:
            yield read_part(Path(self.folder), part, columns)

    def table(self, columns: Sequence[str], schema: dict[str, type[pl.DataType]]) -> pl.DataFrame:
        """Some columns of all parts together. Raises ``DamagedPartError``."""
        if not self.parts:
            return pl.DataFrame(schema={name: schema[name] for name in columns})
        paths = [Path(self.folder) / part.file for part in self.parts]
        for path, part in zip(paths, self.parts, strict=True):
            _check(path, part.sha256)
        return pl.read_parquet(paths, columns=list(columns), glob=False, hive_partitioning=False)

    def placed(self, columns: Sequence[str], schema: dict[str, type[pl.DataType]]) -> pl.DataFrame:
        """``table`` with where each row lies: the number of its ``part``, and its ``row`` there."""
        places = [
            pl.DataFrame({"row": pl.int_range(part.rows, eager=True)}).with_columns(
                part=pl.lit(number, dtype=pl.Int64)
            )
            for number, part in enumerate(self.parts)
        ]
        empty = pl.DataFrame(schema={"row": pl.Int64, "part": pl.Int64})
        return pl.concat(
            [self.table(columns, schema), pl.concat([empty, *places])], how="horizontal"
        )


_intact: dict[str, tuple[object, ...]] = {}  # what this process hashed: sha256 and file status


def _check(path: Path, sha256: str) -> None:
    """Hash a file of ours, unless this process did and it was not written to since.

    A flipped bit in compressed Parquet mostly reads back as other values, without an error
    (reference/reliability.md 3).

    Raises:
        DamagedPartError: it is not what was written.
    """
    try:
        status = os.stat(path)
        seen = (sha256, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if _intact.get(str(path)) == seen:
            return
        data = path.read_bytes()
    except OSError as error:
        raise DamagedPartError(path) from error
    if sha256_hex(data) != sha256:
        raise DamagedPartError(path)
    _intact[str(path)] = seen


def read_verified(path: Path, sha256: str) -> bytes:
    """The bytes of a file of ours. Raises ``DamagedPartError`` when they are not those written."""
    _check(path, sha256)
    return path.read_bytes()


def read_columns(path: Path, sha256: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Columns of a table of ours; None for all. Raises as ``read_verified``."""
    _check(path, sha256)
    names = None if columns is None else list(columns)
    return pl.read_parquet(path, columns=names, glob=False, hive_partitioning=False)


def is_intact(path: Path, sha256: str) -> bool:
    """Whether a file of ours is still what was written."""
    try:
        _check(path, sha256)
    except DamagedPartError:
        return False
    return True


def read_part(folder: Path, part: Part, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The rows of a part. Raises ``DamagedPartError``."""
    return read_columns(folder / part.file, part.sha256, columns)


def write_part(
    folder: Path, month: str, key: str, table: pl.DataFrame, counts: dict[str, int] | None = None
) -> Part:
    """Write the rows of a part."""
    part = Part(month=month, key=key, rows=table.height, sha256="", counts=counts or {})
    path = folder / part.file
    write_parquet(table, path)
    return msgspec.structs.replace(part, sha256=sha256_hex(path.read_bytes()))


def reusable(folder: Path, parts: Iterable[Part]) -> dict[tuple[str, str], Part]:
    """By month and key the parts whose files are still what was written."""
    return {
        (part.month, part.key): part for part in parts if is_intact(folder / part.file, part.sha256)
    }


def keep_parts(table: Parts) -> None:
    """Write the table's manifest, then remove files of its folder that are no part of it."""
    folder = Path(table.folder)
    write_bytes(msgspec.json.encode(table.parts), folder / MANIFEST)
    kept = {folder / part.file for part in table.parts}
    for path in folder.glob("*/*.parquet"):
        if path not in kept:
            path.unlink()
