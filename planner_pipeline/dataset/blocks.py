"""The example table in blocks: so many decisions in a row, made once and found again by content.

Belongs here: which decisions make a block, its key, making blocks. Does not: single examples
(``examples``), the data set on disk (``shards``).

A decision depends on its own run and on the runs whose outcome was known by then. A block's key
hashes both, so new runs leave every earlier block as it is, and a late one changes just those
after it.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from planner_pipeline.dataset.examples import count_leaks, example_row, label_of
from planner_pipeline.history.past_runs import COLUMNS
from planner_pipeline.history.planner_inputs import InputBuilder
from planner_pipeline.parts import Part, Parts, keep_parts, read_part, reusable, write_part
from planner_pipeline.sources.store import Progress, no_progress
from planner_pipeline.tables import EXAMPLES, RUNS, check_table, polars_schema
from planner_runtime.actions import Action, ActionSpace
from planner_runtime.archives.runs import RunRecord
from planner_runtime.contracts.canonical import document_hash
from planner_runtime.contracts.executed_plan import ExecutedPlan
from planner_runtime.features import feature_spec_hash
from planner_runtime.similar_runs import DEFAULT_WEIGHTS, SimilarityWeights
from planner_runtime.tokenizer import DEFAULT_BUDGET, RunBlocks, TokenBudget, vocab_hash

VERSION: Final = "1"  # raised when equal runs start to make other examples
BLOCK_ROWS: Final = 512
_NARROW: Final = (
    "run_id", "job_type", "decided_ms", "started_ms", "ended_ms", "status", "row_key", "plan_json",
)  # fmt: skip
_CASE: Final = ("plan_json", "job_type", "is_dated")  # what decides a label


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """Everything besides the runs that decides what the data set holds.

    Attributes:
        window: Newest runs of a job type and domain that retrieval looks at; None for all.
        epoch: Settings epoch of its examples: ``all``, ``latest`` or an id. It chooses among
            examples and changes none, so it is no part of the settings they depend on.
        min_examples: Of code, that feasibility asks for; likewise no part of them.
    """

    space: ActionSpace
    n_similar: int = 8
    weights: SimilarityWeights = DEFAULT_WEIGHTS
    window: int | None = None
    epoch: str = "all"
    min_examples: int = 500
    budget: TokenBudget = DEFAULT_BUDGET

    def to_document(self) -> dict[str, Any]:
        """The settings with the hashes of what tokens and features mean."""
        return {
            "action_space": self.space.to_document(),
            "n_similar": self.n_similar,
            "similarity_weights": msgspec.to_builtins(self.weights),
            "retrieval_window": self.window,
            "token_budget": msgspec.to_builtins(self.budget),
            "vocab_hash": vocab_hash(),
            "feature_spec_hash": feature_spec_hash(),
        }


class Block(msgspec.Struct, frozen=True):
    """Decisions in a row, of one month.

    Attributes:
        decisions: ``run_id``, ``decided_ms``, ``part`` and ``row`` of the run table, and ``label``,
            a place among the plan's labels.
    """

    month: str
    key: str
    decisions: pl.DataFrame


class ExamplePlan:
    """Which runs are examples, and in which blocks.

    Attributes:
        labels: What decisions are labelled with, each once.
        not_examples: How many runs are none, by reason.
    """

    def __init__(self, runs: Parts, recipe: Recipe) -> None:
        self._settings = document_hash({"version": VERSION, **recipe.to_document()})
        months = pl.DataFrame(
            {"part": range(len(runs.parts)), "month": [part.month for part in runs.parts]},
            schema={"part": pl.Int64, "month": pl.String},
        )
        table = runs.placed(_NARROW, polars_schema(RUNS)).join(
            months, on="part", how="left", maintain_order="left"
        )
        table = table.with_columns(is_dated=pl.col("decided_ms").is_not_null())
        self.labels: list[Action] = []
        labelled = table.join(
            self._labelled(table, recipe.space), on=_CASE, nulls_equal=True, maintain_order="left"
        )
        reasons = labelled["reason"].drop_nulls().value_counts()
        self.not_examples = dict(sorted(reasons.iter_rows()))
        self.blocks = list(self._blocks(labelled.drop_nulls("label"), _known(table)))

    def _labelled(self, runs: pl.DataFrame, space: ActionSpace) -> pl.DataFrame:
        """For every kind of run its label's number, or the reason why it has none."""
        cases = runs.select(*_CASE, "decided_ms").unique(_CASE, keep="any")
        decoder = msgspec.json.Decoder(ExecutedPlan)
        numbers: list[int | None] = []
        reasons: list[str | None] = []
        for plan_json, job_type, _, decided_ms in cases.iter_rows():
            plan = None if plan_json is None else decoder.decode(plan_json)
            label = label_of(plan, decided_ms, job_type, space)
            is_label = isinstance(label, Action)
            numbers.append(len(self.labels) if is_label else None)
            reasons.append(None if isinstance(label, Action) else label)
            if isinstance(label, Action):
                self.labels.append(label)
        return cases.select(*_CASE).with_columns(
            pl.Series("label", numbers, pl.Int64), pl.Series("reason", reasons, pl.String)
        )

    def _blocks(self, decisions: pl.DataFrame, known: pl.DataFrame) -> Iterator[Block]:
        chunks = [
            (str(month), of_month.slice(start, BLOCK_ROWS))
            for (month,), of_month in decisions.sort("month", "decided_ms", "run_id")
            .partition_by("month", as_dict=True, maintain_order=True)
            .items()
            for start in range(0, of_month.height, BLOCK_ROWS)
        ]
        history = _histories(known, {chunk["decided_ms"][-1] for _, chunk in chunks})
        for month, chunk in chunks:
            digest = sha256(f"{self._settings} {history[chunk['decided_ms'][-1]]}\n".encode())
            digest.update(_told(chunk))
            found = chunk.select("run_id", "decided_ms", "part", "row", "label")
            yield Block(month, digest.hexdigest()[:32], found)


def _told(runs: pl.DataFrame) -> bytes:
    """Ids and keys of some runs, a line each."""
    line = pl.concat_str(["run_id", "row_key"], separator=" ") + "\n"
    text: str = runs.select(line.str.join("")).item()
    return text.encode()


def _known(runs: pl.DataFrame) -> pl.DataFrame:
    """The runs whose outcome was known at some moment, in the order of those moments."""
    return (
        runs.drop_nulls(["started_ms", "ended_ms", "status"])
        .select(
            "run_id", "row_key", known_ms=pl.max_horizontal("ended_ms", pl.col("started_ms") + 1)
        )
        .sort("known_ms", "run_id", "row_key")
    )


def _histories(known: pl.DataFrame, moments: Iterable[int]) -> dict[int, str]:
    """For each moment the hash of every run whose outcome was known by then."""
    digest, done, found = sha256(), 0, {}
    ordered = sorted(moments)
    stops = known["known_ms"].search_sorted(pl.Series(ordered, dtype=pl.Int64), side="right")
    for moment, stop in zip(ordered, stops, strict=True):
        digest.update(_told(known.slice(done, stop - done)))
        done, found[moment] = stop, digest.hexdigest()
    return found


def make_blocks(
    runs: Parts, recipe: Recipe, plan: ExamplePlan, blocks: Sequence[Block], folder: Path
) -> Iterator[Part]:
    """Make some blocks of a plan, in their order.

    Every input is read back by its contract as it was written; what breaks it, or shows what was
    not known, is counted in the part.
    """
    if not blocks:
        return
    builder = InputBuilder(
        _seen(runs, max(block.decisions["decided_ms"][-1] for block in blocks)),
        space=recipe.space,
        n_similar=recipe.n_similar,
        weights=recipe.weights,
        window=recipe.window,
        n_decisions=sum(block.decisions.height for block in blocks),
    )
    run_blocks = RunBlocks(recipe.budget.per_run)
    for block, records in _with_records(runs, blocks):
        inputs = builder.planner_inputs(records)
        labels = [plan.labels[number] for number in block.decisions["label"]]
        rows = [
            example_row(run, label, built, budget=recipe.budget, blocks=run_blocks)
            for run, label, built in zip(records, labels, inputs, strict=True)
        ]
        n_leaks = sum(
            count_leaks(built.question, decided_ms=run.decided_ms or 0, group_id=run.group_id)
            for run, built in zip(records, inputs, strict=True)
        )
        table = pl.DataFrame(rows, schema=polars_schema(EXAMPLES), orient="row")
        yield write_part(
            folder, block.month, block.key, check_table(EXAMPLES, table), {"leaks": n_leaks}
        )


def _with_records(runs: Parts, blocks: Sequence[Block]) -> Iterator[tuple[Block, list[RunRecord]]]:
    """Blocks with the runs of their decisions; those of a part of the run table read it once."""
    decoder = msgspec.json.Decoder(RunRecord)
    texts: tuple[int, pl.Series] | None = None
    for block in blocks:
        records = []
        for part, row in block.decisions.select("part", "row").iter_rows():
            if texts is None or texts[0] != part:
                table = read_part(Path(runs.folder), runs.parts[part], ["record_json"])
                texts = (part, table["record_json"])
            records.append(decoder.decode(texts[1][row]))
        yield block, records


def _seen(runs: Parts, last_ms: int) -> pl.DataFrame:
    """Every run that a decision until ``last_ms`` may see, as retrieval asks it."""
    return runs.table(COLUMNS, polars_schema(RUNS)).filter(
        pl.col("ended_ms") <= last_ms, pl.col("started_ms") < last_ms
    )


def write_examples(
    runs: Parts,
    recipe: Recipe,
    folder: Path,
    *,
    months: Sequence[str] | None = None,
    progress: Progress = no_progress,
) -> tuple[Parts, dict[str, int]]:
    """The example table in blocks, each in the order of its decisions, and how many runs are no
    example, by reason.

    Args:
        folder: Of the table; blocks that are in it already are not made again.
        months: Only these are looked at; None for all.
    """
    plan = ExamplePlan(runs, recipe)
    earlier = Parts.load(folder).parts
    known = reusable(folder, earlier)
    chosen = [block for block in plan.blocks if months is None or block.month in months]
    missing = [block for block in chosen if (block.month, block.key) not in known]
    n_rows, done = sum(block.decisions.height for block in missing), 0
    for part in make_blocks(runs, recipe, plan, missing, folder):
        known[part.month, part.key] = part
        done += part.rows
        progress("examples", done, n_rows)
    parts = [] if months is None else [part for part in earlier if part.month not in months]
    parts += [known[block.month, block.key] for block in chosen]
    parts.sort(key=lambda part: part.month)  # stable: blocks of a month stay in their order
    table = Parts(folder=str(folder), parts=tuple(parts), n_reused=len(chosen) - len(missing))
    keep_parts(table)
    return table, plan.not_examples
