"""The data set on disk: an index with splits, the examples in parts, ``meta.json`` about them all.

Belongs here: choosing epochs, splitting, writing the directory. Does not: making examples
(``blocks``), reading the directory (``reader``).
Spec: section 6; architecture law: the dataset hash ignores file order, mtime and locale.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import polars as pl

from planner_pipeline.artifacts import link_file, staged_directory, write_parquet
from planner_pipeline.dataset.splits import SPLITS, time_splits
from planner_pipeline.history.epochs import Epoch
from planner_pipeline.parts import DamagedPartError, Parts, is_intact
from planner_pipeline.tables import INDEX, check_table, polars_schema
from planner_runtime.actions import HEADS
from planner_runtime.archives.files import SourceCount
from planner_runtime.contracts.canonical import canonical_json, sha256_hex

META: Final = "meta.json"
INDEX_FILE: Final = "index.parquet"
ALL_EPOCHS: Final = "all"
LATEST_EPOCH: Final = "latest"
NARROW: Final = tuple(
    name for name in INDEX.columns if name not in ("split", "epoch", "part", "row")
)


class EpochShare(msgspec.Struct, frozen=True, kw_only=True):
    """An epoch and how many examples it has."""

    epoch: Epoch
    n_examples: int
    is_chosen: bool


class DatasetMeta(msgspec.Struct, frozen=True, kw_only=True):
    """What a data set holds, on what settings, and what was left out.

    Attributes:
        version: Equal for equal files.
        not_examples: How many runs are no example, by reason.
        parts: Files of examples, numbered as the index does.
        files: sha256 of every file but this one.
    """

    schema_version: Literal["cyntra.planner_dataset.v2"] = "cyntra.planner_dataset.v2"
    dataset_hash: str
    n_examples: int
    splits: dict[str, int]
    labels: dict[str, dict[str, int]]
    job_types: dict[str, int]
    domains: dict[str, int]
    not_examples: dict[str, int]
    epochs: tuple[EpochShare, ...]
    sources: tuple[SourceCount, ...]
    quarantined: int
    quarantined_by_reason: dict[str, int]
    settings: dict[str, Any]
    parts: tuple[str, ...]
    files: dict[str, str]

    @property
    def mixes_epochs(self) -> bool:
        """Whether examples of more than one epoch are in it."""
        return sum(share.is_chosen and share.n_examples > 0 for share in self.epochs) > 1


class UnknownEpochError(ValueError):
    """No run belongs to the epoch that was asked for.

    Attributes:
        epoch: What was asked for.
        known: What there is.
    """

    def __init__(self, epoch: str, known: Sequence[str]) -> None:
        super().__init__(f"no epoch {epoch}; there are {', '.join(known) or 'none'}")
        self.epoch, self.known = epoch, tuple(known)


def chosen_epochs(choice: str, epochs: Sequence[Epoch]) -> set[str]:
    """Ids of the epochs that are meant by ``all``, ``latest`` or an id.

    Raises:
        UnknownEpochError: it is none of those.
    """
    if choice == ALL_EPOCHS:
        return {one.epoch for one in epochs}
    dated = [one for one in epochs if one.last_ms is not None]
    if choice == LATEST_EPOCH:
        return {max(dated, key=lambda one: one.last_ms or 0).epoch} if dated else set()
    if choice not in {one.epoch for one in epochs}:
        raise UnknownEpochError(choice, [one.epoch for one in epochs])
    return {choice}


def examples_with_epochs(examples: Parts, run_epochs: pl.DataFrame) -> pl.DataFrame:
    """Every example without its input: where it lies, and its epoch; in the order of decisions."""
    epochs = run_epochs.select(pl.col("run_id").alias("example_id"), "epoch")
    rows = examples.placed(NARROW, polars_schema(INDEX))
    rows = rows.join(epochs, on="example_id", how="left", maintain_order="left")
    return rows.sort("decided_ms", "example_id")


def build_index(everything: pl.DataFrame, chosen: set[str]) -> pl.DataFrame:
    """Of ``examples_with_epochs`` the examples of the chosen epochs, with their splits."""
    rows = everything.filter(pl.col("epoch").is_in(list(chosen)))
    split = time_splits(rows["decided_ms"], rows["group_id"])
    return check_table(INDEX, rows.with_columns(split).select(list(INDEX.columns)))


def dataset_hash(index: pl.DataFrame, settings: dict[str, Any]) -> str:
    """sha256 of everything a model could learn from, and of nothing else.

    Args:
        index: In any order.
        settings: What the tokens and features depend on: action space, vocabulary, weights.
    """
    digest = sha256(canonical_json(settings))
    columns = ["decided_ms", "example_id", "split", *HEADS, "input_hash"]
    cells = [pl.col(name).cast(pl.String) for name in columns]
    lines = pl.concat_str(cells, separator="\0") + "\n"
    text = index.sort("decided_ms", "example_id").select(lines.str.join("")).item()
    digest.update(text.encode())
    return digest.hexdigest()


def _counts(column: pl.Series) -> dict[str, int]:
    return dict(sorted(column.value_counts().iter_rows()))


def write_dataset(
    folder: Path,
    examples: Parts,
    index: pl.DataFrame,
    *,
    settings: dict[str, Any],
    epochs: Sequence[EpochShare],
    not_examples: dict[str, int],
    sources: Sequence[SourceCount],
    quarantined_by_reason: dict[str, int],
) -> DatasetMeta:
    """Write the data set so that it takes the place of an earlier one whole.

    Raises:
        DamagedPartError: a part of ``examples`` is not what was written.
    """
    files: dict[str, str] = {}
    parts = []
    with staged_directory(folder) as staging:
        for part in examples.parts:
            source = Path(examples.folder) / part.file
            if not is_intact(source, part.sha256):
                raise DamagedPartError(source)
            name = f"examples/{part.month}-{part.key}.parquet"
            link_file(source, staging / name)
            files[name] = part.sha256
            parts.append(name)
        write_parquet(index, staging / INDEX_FILE)
        files[INDEX_FILE] = sha256_hex((staging / INDEX_FILE).read_bytes())
        meta = DatasetMeta(
            dataset_hash=dataset_hash(index, settings),
            n_examples=index.height,
            splits={split: index.filter(pl.col("split") == split).height for split in SPLITS},
            labels={head: _counts(index[head]) for head in HEADS},
            job_types=_counts(index["job_type"]),
            domains=_counts(index["domain"]),
            not_examples=not_examples,
            epochs=tuple(epochs),
            sources=tuple(sources),
            quarantined=sum(quarantined_by_reason.values()),
            quarantined_by_reason=quarantined_by_reason,
            settings=settings,
            parts=tuple(parts),
            files=files,
        )
        text = msgspec.json.format(msgspec.json.encode(meta), indent=2)
        (staging / META).write_bytes(text + b"\n")
    return meta


def altered_files(folder: Path, meta: DatasetMeta) -> list[str]:
    """Files that are missing or not what ``meta`` says: a flipped bit reads back wrong."""
    return [name for name, digest in meta.files.items() if not is_intact(folder / name, digest)]
