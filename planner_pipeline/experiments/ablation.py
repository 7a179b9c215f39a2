"""Running the grid: every cell from several seeds, on all cores, each piece of work done once.

Belongs here: variants of the data set, fits, figures of single fits. Does not: the grid (``grid``),
comparing cells (``ablation_table``), tracking. Spec: section 8.3.

Splits, labels and the held-out examples are the data set's own in every cell; what a cell's recipe
changes is what its examples know. Figures are of the test split.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.dataset.arrays import Arrays, TokenRows, build_arrays
from planner_pipeline.dataset.blocks import Recipe, write_examples
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.dataset.splits import Role
from planner_pipeline.evaluation.calibration import fit_temperatures
from planner_pipeline.evaluation.predictions import answers_of
from planner_pipeline.experiments.grid import Cell, recipe_key
from planner_pipeline.parts import Parts
from planner_pipeline.training.checkpoint import decode_checkpoint
from planner_pipeline.training.config import TrainConfig
from planner_pipeline.training.fit import fit_model
from planner_pipeline.training.loop import EpochMetrics
from planner_pipeline.training.predict import model_outputs
from planner_runtime.features import N_FEATURES

Progress = Callable[[str, int, int], None]
SLOW: Final = ("recurrent", "transformer")  # started first, so that no core waits for the last one


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """One fit, judged on the test split.

    Attributes:
        correct, confidence, log_prob, brier: A number an example, in the order of decisions.
        actions: (N, H) choices.
    """

    seed: int
    correct: list[float]
    confidence: list[float]
    log_prob: list[float]
    brier: list[float]
    actions: list[list[int]]
    val_nll: float | None
    n_weights: int
    cpu_seconds: float
    epochs: tuple[EpochMetrics, ...]


class CellResult(msgspec.Struct, frozen=True, kw_only=True):
    """All fits of one cell, by seed."""

    cell: Cell
    fits: tuple[Fitted, ...]


class _Work(msgspec.Struct, frozen=True, kw_only=True):
    """A fit to be made, in a form that another process can be given."""

    dataset: str
    examples: str  # folder of the variant's example table
    config: TrainConfig

    @property
    def key(self) -> bytes:
        """Equal for equal work."""
        return msgspec.json.encode(self, order="deterministic")


@lru_cache(maxsize=2)
def _tables(folder: str) -> tuple[dict[str, int], np.ndarray, TokenRows]:
    """Features and tokens of a variant's examples, and where each lies."""
    names, features, tokens = list[str](), list[np.ndarray](), list[Any]()
    for table in Parts.load(Path(folder)).tables(["example_id", "features", "token_ids"]):
        names += table["example_id"].to_list()
        flat = table["features"].explode(empty_as_null=False).to_numpy()
        features.append(flat.reshape(-1, N_FEATURES).astype(np.float32))
        tokens += table["token_ids"].to_list()
    return {name: i for i, name in enumerate(names)}, np.concatenate(features), TokenRows.of(tokens)


def _arrays(dataset: Dataset, folder: str, role: Role) -> Arrays:
    """Rows of a role with what a variant's examples know."""
    rows = dataset.role_rows(role)
    place_of, features, tokens = _tables(folder)
    places = [place_of[name] for name in rows["example_id"]]
    return build_arrays(
        features[places],
        dataset.labels(rows),
        rows["job_type"].to_list(),
        dataset.space,
        TokenRows.of([tokens.row(place) for place in places]),
    )


def _fit(work: _Work) -> Fitted:
    dataset = Dataset(Path(work.dataset))
    train, val, test = (_arrays(dataset, work.examples, r) for r in ("train", "val", "test"))
    start = time.process_time()
    checkpoint, record = fit_model(train, val, work.config)
    spent = time.process_time() - start
    model, decoding = decode_checkpoint(checkpoint), work.config.decoding
    temperatures, _ = fit_temperatures(model_outputs(model, val), val, decoding)
    answers = answers_of(model_outputs(model, test), test, decoding, temperatures)
    return Fitted(
        seed=work.config.seed,
        correct=(answers.actions == test.labels).all(axis=1).astype(float).tolist(),
        confidence=answers.confidence.tolist(),
        log_prob=np.log(np.maximum(answers.label_prob, 1e-12)).tolist(),
        brier=answers.brier.tolist(),
        actions=answers.actions.tolist(),
        val_nll=record.val_nll,
        n_weights=record.n_weights,
        cpu_seconds=spent,
        epochs=record.epochs,
    )


def _fit_bytes(work: bytes) -> bytes:
    return msgspec.json.encode(_fit(msgspec.json.decode(work, type=_Work)))


def _all_fits(works: Sequence[bytes], progress: Progress) -> Iterator[bytes]:
    n_workers = min(os.cpu_count() or 1, 8)
    if n_workers < 2 or len(works) < 2:
        for done, work in enumerate(works, start=1):
            yield _fit_bytes(work)
            progress("ablation fits", done, len(works))
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
    with ProcessPoolExecutor(n_workers, mp_context=context) as pool:
        for done, result in enumerate(pool.map(_fit_bytes, works), start=1):
            yield result
            progress("ablation fits", done, len(works))


def write_variants(
    cells: Sequence[Cell], recipe: Recipe, runs: Parts, folder: Path, progress: Progress
) -> dict[str, Path]:
    """The example table of every recipe that a cell asks for, by its key."""
    wanted = {recipe_key(variant): variant for cell in cells for variant in (cell.variant(recipe),)}
    found = {}
    for done, (key, variant) in enumerate(sorted(wanted.items()), start=1):
        write_examples(runs, variant, folder / key)
        found[key] = folder / key
        progress("variants of the data set", done, len(wanted))
    return found


def run_grid(
    cells: Sequence[Cell],
    *,
    dataset: Path,
    recipe: Recipe,
    runs: Parts,
    folder: Path,
    n_seeds: int,
    progress: Progress = lambda what, done, of: None,
) -> list[CellResult]:
    """Every cell from seeds 0, 1, ...; work that two cells share is done once.

    Args:
        dataset: The data set's directory; its splits and labels hold in every cell.
        folder: Where variants of the example table are kept between calls.
    """
    examples = write_variants(cells, recipe, runs, folder, progress)

    def works_of(cell: Cell) -> list[bytes]:
        where = str(examples[recipe_key(cell.variant(recipe))])
        return [
            _Work(dataset=str(dataset), examples=where, config=cell.config(seed)).key
            for seed in range(n_seeds)
        ]

    asked = [works_of(cell) for cell in cells]
    distinct = list(dict.fromkeys(work for works in asked for work in works))
    distinct.sort(key=lambda work: -max((name.encode() in work) for name in SLOW))
    fits = dict(zip(distinct, _all_fits(distinct, progress), strict=True))
    decoder = msgspec.json.Decoder(Fitted)
    return [
        CellResult(cell=cell, fits=tuple(decoder.decode(fits[work]) for work in works))
        for cell, works in zip(cells, asked, strict=True)
    ]


def predictions_of(result: CellResult, dataset: Dataset) -> pl.DataFrame:
    """A row for each seed and test example of a cell."""
    rows, choices = dataset.role_rows("test"), dataset.space.choices
    labels = [[str(choice) for choice in label] for label in dataset.labels(rows)]
    return pl.concat(
        rows.select("example_id", "issue_id").with_columns(
            pl.lit(fit.seed).alias("seed"),
            pl.Series("label", labels, dtype=pl.List(pl.String)),
            pl.Series(
                "action",
                [[str(choices[h][c]) for h, c in enumerate(row)] for row in fit.actions],
                dtype=pl.List(pl.String),
            ),
            pl.Series("confidence", fit.confidence, dtype=pl.Float64),
            pl.Series("label_prob", np.exp(fit.log_prob), dtype=pl.Float64),
        )
        for fit in result.fits
    )
