"""Short ways from a workspace to its runs and examples, for tests that look at what is in them.

Belongs here: what several test modules need of the build. Does not: fixtures (``conftest``).
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import polars as pl

from planner_pipeline.dataset.build import assembly_of, build_dataset
from planner_pipeline.dataset.examples import Example, label_of
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.history.assemble import write_runs
from planner_pipeline.history.planner_inputs import InputBuilder
from planner_pipeline.history.run_rows import run_row
from planner_pipeline.parts import Parts
from planner_pipeline.sources.workspace import Workspace, read_workspace
from planner_pipeline.tables import RUNS, polars_schema, read_records
from planner_runtime.actions import Action, ActionSpace
from planner_runtime.archives.runs import RunRecord


def records_of(runs: Parts) -> list[RunRecord]:
    """Runs of a run table in the order of their decisions."""
    records = [
        run for table in runs.tables(["record_json"]) for run in read_records(table, RunRecord)
    ]
    return sorted(records, key=lambda r: (r.decided_ms is None, r.decided_ms or 0, r.run_id))


def runs_of(repo: Path) -> list[RunRecord]:
    """Runs of a workspace, nothing kept."""
    with tempfile.TemporaryDirectory() as kept:
        workspace = read_workspace(repo, Path(kept) / "store")
        return records_of(write_runs(assembly_of(workspace), Path(kept) / "runs"))


def run_table(runs: Sequence[RunRecord]) -> pl.DataFrame:
    """Some runs as the run table has them."""
    rows = [run_row(run, row_key="") for run in runs]
    return pl.DataFrame(rows, schema=polars_schema(RUNS), orient="row")


def examples_of(runs: Sequence[RunRecord], space: ActionSpace | None = None) -> list[Example]:
    """Examples of some runs, all in one split."""
    space = space or ActionSpace()
    builder = InputBuilder(run_table(runs), space=space, n_similar=8)
    examples = []
    for run in runs:
        label = label_of(run.plan, run.decided_ms, run.job_type, space)
        if not isinstance(label, Action):
            continue
        (built,) = builder.planner_inputs([run])
        examples.append(
            Example(
                example_id=run.run_id, group_id=run.group_id, issue_id=run.issue_id,
                job_type=run.job_type, decided_ms=run.decided_ms or 0, split="train", label=label,
                planner_input=msgspec.json.decode(built.text), input_hash=built.input_hash,
                newest_seen_ms=built.newest_seen_ms,
            )
        )  # fmt: skip
    return sorted(examples, key=lambda e: (e.decided_ms, e.example_id))


def build(repo: Path) -> tuple[Workspace, list[Example]]:
    """A data set from scratch, with everything accounted for; what was read, and the examples."""
    out = Path(tempfile.mkdtemp())
    try:
        dataset = build_dataset(repo, out)
        for count in dataset.meta.sources:
            assert count.is_balanced, count
        assert Parts.load(out / "parts" / "examples").count("leaks") == 0
        return read_workspace(repo, out / "store"), all_examples(dataset)
    finally:
        shutil.rmtree(out)


def all_examples(dataset: Dataset) -> list[Example]:
    """Every example of a data set."""
    return dataset.examples("train", "val", "test")
