"""Reading a data set from disk: every file checked against ``meta.json`` before it is believed.

Belongs here: the index, examples of a split, arrays of a split. Does not: writing (``shards``).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.dataset.arrays import Arrays, TokenRows, build_arrays
from planner_pipeline.dataset.examples import Example, read_action
from planner_pipeline.dataset.shards import INDEX_FILE, META, DatasetMeta
from planner_pipeline.dataset.splits import Role, roles
from planner_pipeline.parts import read_verified
from planner_runtime.actions import HEADS, Action, ActionSpace, action_space_of
from planner_runtime.contracts.planner_input import ActionSpaceDocument
from planner_runtime.features import N_FEATURES


class Dataset:
    """A data set in its directory. Nothing is read before it is asked for.

    Raises:
        OSError, msgspec.DecodeError: ``folder`` holds no data set.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.meta = msgspec.json.decode((folder / META).read_bytes(), type=DatasetMeta)
        self._index: pl.DataFrame | None = None

    @property
    def index(self) -> pl.DataFrame:
        """Every example without its input, in the order of decisions. Raises
        ``DamagedPartError``.
        """
        if self._index is None:
            self._index = pl.read_parquet(self._bytes(INDEX_FILE))
        return self._index

    @property
    def space(self) -> ActionSpace:
        """The choices on offer."""
        document = msgspec.convert(self.meta.settings["action_space"], ActionSpaceDocument)
        return action_space_of(document)

    def _bytes(self, name: str) -> bytes:
        return read_verified(self.folder / name, self.meta.files[name])

    def rows(self, *splits: str) -> pl.DataFrame:
        """The index of some splits."""
        return self.index.filter(pl.col("split").is_in(splits))

    def role_rows(self, *wanted: Role) -> pl.DataFrame:
        """The index of some roles, with a column ``role``."""
        index = self.index
        found = roles(list(index.select("split", "decided_ms", "group_id").iter_rows()))
        labelled = index.with_columns(pl.Series("role", found, dtype=pl.String))
        return labelled.filter(pl.col("role").is_in(wanted))

    def role_arrays(self, *wanted: Role, tokens: bool = True) -> Arrays:
        """Arrays of some roles, in the order of decisions."""
        return self.arrays_of(self.role_rows(*wanted), tokens=tokens)

    def _gather(self, rows: pl.DataFrame, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Columns of the parts for some rows of the index, part by part, with the row's place."""
        placed = rows.with_row_index("place")
        for (number,), group in placed.group_by("part", maintain_order=True):
            name = self.meta.parts[int(str(number))]
            table = pl.read_parquet(self._bytes(name), columns=list(columns))
            yield table[group["row"].to_list()].with_columns(group["place"])

    def features(self, rows: pl.DataFrame) -> np.ndarray:
        """(N, F) float32 of some rows of the index, in their order."""
        features = np.empty((rows.height, N_FEATURES), dtype=np.float32)
        for table in self._gather(rows, ["features"]):
            flat = table["features"].explode(empty_as_null=False).to_numpy()
            features[table["place"].to_numpy()] = flat.reshape(-1, N_FEATURES)
        return features

    def tokens(self, rows: pl.DataFrame) -> TokenRows:
        """Token ids of some rows of the index, in their order."""
        found: list[np.ndarray] = [np.zeros(0, dtype=np.int32)] * rows.height
        for table in self._gather(rows, ["token_ids"]):
            edges = [0, *table["token_ids"].list.len().cast(pl.Int64).cum_sum()]
            flat = table["token_ids"].explode(empty_as_null=False).to_numpy().astype(np.int32)
            for i, place in enumerate(table["place"].to_list()):
                found[place] = flat[edges[i] : edges[i + 1]]
        return TokenRows.of(found)

    def arrays(self, *splits: str, tokens: bool = True) -> Arrays:
        """Arrays of some splits, in the order of decisions."""
        return self.arrays_of(self.rows(*splits), tokens=tokens)

    def arrays_of(self, rows: pl.DataFrame, *, tokens: bool = True) -> Arrays:
        """Arrays of some rows of the index, in their order.

        Args:
            tokens: Whether token ids are read too; who only judges answers has no need of them.
        """
        return build_arrays(
            self.features(rows),
            self.labels(rows),
            rows["job_type"].to_list(),
            self.space,
            self.tokens(rows) if tokens else (),
        )

    def labels(self, rows: pl.DataFrame) -> list[Action]:
        """Executed actions of some rows of the index."""
        return [read_action(row) for row in rows.select(HEADS).iter_rows()]

    def examples(self, *splits: str) -> list[Example]:
        """Examples of some splits with their inputs, in the order of decisions."""
        return list(self.examples_of(self.rows(*splits)))

    def examples_of(self, rows: pl.DataFrame) -> Iterator[Example]:
        """Examples of some rows of the index, in their order."""
        texts: list[str] = [""] * rows.height
        for table in self._gather(rows, ["planner_input"]):
            for place, text in table.select("place", "planner_input").iter_rows():
                texts[place] = text
        for row, text in zip(rows.iter_rows(named=True), texts, strict=True):
            yield Example(
                example_id=row["example_id"],
                group_id=row["group_id"],
                issue_id=row["issue_id"],
                job_type=row["job_type"],
                decided_ms=row["decided_ms"],
                split=row["split"],
                label=read_action([row[head] for head in HEADS]),
                planner_input=msgspec.json.decode(text),
                input_hash=row["input_hash"],
                newest_seen_ms=row["newest_seen_ms"],
                epoch=row["epoch"],
            )
