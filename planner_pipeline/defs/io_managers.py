"""Files between assets: Parquet for tables, JSON for records, raw bytes for models.

Belongs here: one io manager for each of the three. Does not: schemas (``planner_pipeline.tables``).
Everything appears by rename; nothing is ever pickled.
"""

from pathlib import Path
from typing import Any

import dagster as dg
import msgspec
import polars as pl
from upath import UPath

from planner_pipeline.artifacts import write_bytes, write_parquet


class TableIO(dg.UPathIOManager):
    """Polars tables as Parquet."""

    extension = ".parquet"

    def dump_to_path(self, context: dg.OutputContext, obj: pl.DataFrame, path: UPath) -> None:
        """Write the table."""
        write_parquet(obj, Path(path.path))

    def load_from_path(self, context: dg.InputContext, path: UPath) -> pl.DataFrame:
        """Read the table."""
        return pl.read_parquet(Path(path.path))


class RecordIO(dg.UPathIOManager):
    """msgspec records as JSON, read back as the type the asset asks for."""

    extension = ".json"

    def dump_to_path(self, context: dg.OutputContext, obj: msgspec.Struct, path: UPath) -> None:
        """Write the record."""
        write_bytes(msgspec.json.encode(obj, order="deterministic"), Path(path.path))

    def load_from_path(self, context: dg.InputContext, path: UPath) -> Any:
        """Read the record."""
        return msgspec.json.decode(path.read_bytes(), type=context.dagster_type.typing_type)


class BytesIO(dg.UPathIOManager):
    """Bytes as they are."""

    extension = ".bin"

    def dump_to_path(self, context: dg.OutputContext, obj: bytes, path: UPath) -> None:
        """Write the bytes."""
        write_bytes(obj, Path(path.path))

    def load_from_path(self, context: dg.InputContext, path: UPath) -> bytes:
        """Read the bytes."""
        return path.read_bytes()
