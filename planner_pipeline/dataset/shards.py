"""The data set on disk: Parquet shards, and ``meta.json`` that says what is in them.

Belongs here: encoding examples, writing and reading the directory. Does not: building examples.
Spec: section 6; architecture law: the dataset hash ignores file order, mtime and locale.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from planner_pipeline.artifacts import staged_directory, write_parquet
from planner_pipeline.dataset.examples import Example, dataset_hash
from planner_pipeline.dataset.splits import SPLITS
from planner_pipeline.sources.files import SourceCount
from planner_pipeline.tables import (
    EXAMPLES,
    TOKENS,
    build_table,
    check_table,
    fields,
    polars_schema,
)
from planner_runtime.actions import HEADS, ActionSpace
from planner_runtime.contracts.canonical import sha256_hex
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.reading import read_document
from planner_runtime.features import feature_spec_hash, feature_vector
from planner_runtime.similar_runs import SimilarityWeights
from planner_runtime.tokenizer import DEFAULT_BUDGET, TokenBudget, tokenize, vocab_hash

SHARD_ROWS: Final = 8_192
META: Final = "meta.json"


class DatasetMeta(msgspec.Struct, frozen=True, kw_only=True):
    """What a data set holds, on what settings, and what was left out."""

    schema_version: str = "cyntra.planner_dataset.v1"
    dataset_hash: str
    n_examples: int
    splits: dict[str, int]
    labels: dict[str, dict[str, int]]
    job_types: dict[str, int]
    not_examples: dict[str, int]
    sources: list[SourceCount]
    quarantined: int
    quarantined_by_reason: dict[str, int]
    settings: dict[str, Any]
    files: dict[str, str]


def examples_table(examples: Sequence[Example]) -> pl.DataFrame:
    """Examples as a table, in the order given."""
    heads = {head: (lambda e, i=i: str(e.label[i])) for i, head in enumerate(HEADS)}
    return build_table(
        EXAMPLES,
        examples,
        {
            **fields("example_id", "group_id", "issue_id", "job_type", "decided_ms", "split"),
            **heads,
            "n_similar": lambda e: len(e.planner_input["history"]["last_n_similar_runs"]),
            **fields("newest_seen_ms", "input_hash"),
        },
    )


def tokens_table(
    examples: Sequence[Example], *, budget: TokenBudget = DEFAULT_BUDGET
) -> pl.DataFrame:
    """Token ids and features of every example, exactly as the runtime would make them."""
    rows = []
    for example in examples:
        question = read_document(example.planner_input, PlannerInput)
        ids = tokenize(question, budget=budget)
        rows.append(
            {
                "example_id": example.example_id,
                "n_tokens": len(ids),
                "token_ids": ids,
                "features": feature_vector(question).tolist(),
            }
        )
    table = pl.DataFrame(rows, schema=polars_schema(TOKENS), orient="row")
    return check_table(TOKENS, table)


def dataset_settings(
    *,
    space: ActionSpace,
    n_similar: int,
    weights: SimilarityWeights,
    budget: TokenBudget = DEFAULT_BUDGET,
) -> dict[str, Any]:
    """Everything besides the runs that decides what the data set holds."""
    return {
        "action_space": space.to_document(),
        "n_similar": n_similar,
        "similarity_weights": msgspec.to_builtins(weights),
        "token_budget": msgspec.to_builtins(budget),
        "vocab_hash": vocab_hash(),
        "feature_spec_hash": feature_spec_hash(),
    }


def label_counts(examples: Sequence[Example]) -> dict[str, dict[str, int]]:
    """How often every choice of every head was executed."""
    return {
        head: dict(sorted(Counter(str(e.label[i]) for e in examples).items()))
        for i, head in enumerate(HEADS)
    }


def write_dataset(
    folder: Path,
    examples: Sequence[Example],
    tokens: pl.DataFrame,
    *,
    settings: dict[str, Any],
    not_examples: dict[str, int],
    sources: Sequence[SourceCount],
    quarantined_by_reason: dict[str, int],
) -> DatasetMeta:
    """Write the data set so that it takes the place of an earlier one whole."""
    table = examples_table(examples)
    files: dict[str, str] = {}
    with staged_directory(folder) as staging:
        for name, rows in (("examples", table), ("tokens", tokens)):
            for number in range(max(1, -(-rows.height // SHARD_ROWS))):
                path = staging / name / f"part-{number:05d}.parquet"
                write_parquet(rows.slice(number * SHARD_ROWS, SHARD_ROWS), path)
                files[path.relative_to(staging).as_posix()] = sha256_hex(path.read_bytes())
        meta = DatasetMeta(
            dataset_hash=dataset_hash(examples, settings),
            n_examples=len(examples),
            splits={split: sum(e.split == split for e in examples) for split in SPLITS},
            labels=label_counts(examples),
            job_types=dict(sorted(Counter(e.job_type for e in examples).items())),
            not_examples=not_examples,
            sources=list(sources),
            quarantined=sum(quarantined_by_reason.values()),
            quarantined_by_reason=quarantined_by_reason,
            settings=settings,
            files=files,
        )
        text = msgspec.json.format(msgspec.json.encode(meta), indent=2)
        (staging / META).write_bytes(text + b"\n")
    return meta


def altered_files(folder: Path, meta: DatasetMeta) -> list[str]:
    """Shards that are missing or not what ``meta`` says: a flipped bit reads back wrong."""
    altered = []
    for name, digest in meta.files.items():
        path = folder / name
        if not path.is_file() or sha256_hex(path.read_bytes()) != digest:
            altered.append(name)
    return altered
