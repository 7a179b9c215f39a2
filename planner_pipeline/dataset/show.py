"""One example in full: its input, its label, where every fact came from, why it sees what it sees.

Belongs here: what ``cyntra-planner show`` prints. Does not: building anything.
"""

from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.history.past_runs import COLUMNS
from planner_pipeline.history.planner_inputs import InputBuilder
from planner_pipeline.parts import Parts
from planner_pipeline.tables import RUNS, polars_schema
from planner_runtime.archives.runs import RunRecord
from planner_runtime.retrieval.similarity import SimilarityWeights


class UnknownExampleError(ValueError):
    """The data set has no such example.

    Attributes:
        example_id: What was asked for.
    """

    def __init__(self, example_id: str) -> None:
        super().__init__(f"no example {example_id} in the data set")
        self.example_id = example_id


def show_example(out: Path, example_id: str | None) -> dict[str, Any]:
    """An example of the data set in ``out``, or its newest one with a history.

    Raises:
        UnknownExampleError: there is none of that id, or none at all.
        DamagedPartError: a file is not what was written.
    """
    dataset = Dataset(out / "dataset")
    if example_id is None:
        rows = dataset.index.sort(pl.col("n_similar") > 0, "decided_ms").tail(1)
    else:
        rows = dataset.index.filter(pl.col("example_id") == example_id)
    if not rows.height:
        raise UnknownExampleError(example_id or "at all")
    (example,) = dataset.examples_of(rows)
    runs = Parts.load(out / "parts" / "run_summaries").table(
        [*COLUMNS, "record_json"], polars_schema(RUNS)
    )
    text = runs.filter(pl.col("run_id") == example.example_id)["record_json"][0]
    run = msgspec.json.decode(text, type=RunRecord)
    settings = dataset.meta.settings
    builder = InputBuilder(
        runs,
        space=dataset.space,
        n_similar=settings["n_similar"],
        weights=msgspec.convert(settings["similarity_weights"], SimilarityWeights),
        window=settings["retrieval_window"],
    )
    return {
        "example_id": example.example_id,
        "split": example.split,
        "epoch": example.epoch,
        "label": list(example.label),
        "input_hash": example.input_hash,
        "evidence": run.evidence,
        "similar_runs": builder.why_similar(run),
        "planner_input": example.planner_input,
    }
