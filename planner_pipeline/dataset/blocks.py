"""The example table in blocks: so many decisions in a row, made once and found again by content.

Belongs here: which decisions make a block, its key, making blocks. Does not: single examples
(``examples``), the data set on disk (``shards``).

A decision depends on its own run and on the runs whose outcome was known by then. A block's key
hashes both, so new runs leave every earlier block as it is, and a late one changes just those
after it.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from planner_pipeline.dataset.examples import count_leaks, example_row, label_of
from planner_pipeline.history.planner_inputs import InputBuilder
from planner_pipeline.history.runs import RunRecord
from planner_pipeline.parts import Part, Parts, keep_parts, read_part, reusable, write_part
from planner_pipeline.sources.store import Progress, no_progress
from planner_pipeline.tables import EXAMPLES, check_table, polars_schema
from planner_runtime.actions import Action, ActionSpace
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


class Decision(msgspec.Struct, frozen=True):
    """A run that is an example: where it lies in the run table, and its label."""

    run_id: str
    row_key: str
    decided_ms: int
    part: int
    row: int
    label: Action


class Block(msgspec.Struct, frozen=True):
    """Decisions in a row, of one month."""

    month: str
    key: str
    decisions: tuple[Decision, ...]


class ExamplePlan:
    """Which runs are examples, and in which blocks.

    Attributes:
        not_examples: How many runs are none, by reason.
    """

    def __init__(self, runs: Parts, recipe: Recipe) -> None:
        self._runs, self._recipe = runs, recipe
        self._settings = document_hash({"version": VERSION, **recipe.to_document()})
        reasons: Counter[str] = Counter()
        known: list[tuple[int, str, str]] = []  # when an outcome was known, run id, row key
        of_month: dict[str, list[Decision]] = {}
        labels: dict[tuple[str | None, bool, str], Action | str] = {}
        decoder = msgspec.json.Decoder(ExecutedPlan)
        for part, table in enumerate(runs.tables(_NARROW)):
            month = runs.parts[part].month
            for row, (run_id, job, decided, started, ended, status, key, plan_json) in enumerate(
                table.iter_rows()
            ):
                if None not in (started, ended, status):
                    known.append((max(ended, started + 1), run_id, key))
                case = (plan_json, decided is None, job)
                if case not in labels:
                    plan = None if plan_json is None else decoder.decode(plan_json)
                    labels[case] = label_of(plan, decided, job, recipe.space)
                label = labels[case]
                if isinstance(label, Action):
                    found = of_month.setdefault(month, [])
                    found.append(Decision(run_id, key, decided, part, row, label))
                else:
                    reasons[label] += 1
        self.not_examples = dict(sorted(reasons.items()))
        known.sort()
        self._known_ms = [moment for moment, _, _ in known]
        self._known_keys = [f"{run_id} {key}\n".encode() for _, run_id, key in known]
        self.blocks = list(self._blocks(of_month))

    def _blocks(self, of_month: dict[str, list[Decision]]) -> Iterator[Block]:
        chunks: list[tuple[str, list[Decision]]] = []
        for month, decisions in sorted(of_month.items()):
            decisions.sort(key=lambda one: (one.decided_ms, one.run_id))
            chunks += [
                (month, decisions[i : i + BLOCK_ROWS]) for i in range(0, len(decisions), BLOCK_ROWS)
            ]
        history = self._histories([chunk[-1].decided_ms for _, chunk in chunks])
        for month, chunk in chunks:
            digest = sha256(f"{self._settings} {history[chunk[-1].decided_ms]}\n".encode())
            digest.update("".join(f"{one.run_id} {one.row_key}\n" for one in chunk).encode())
            yield Block(month, digest.hexdigest()[:32], tuple(chunk))

    def _histories(self, moments: Iterable[int]) -> dict[int, str]:
        """For each moment the hash of every run whose outcome was known by then."""
        digest, done, found = sha256(), 0, {}
        for moment in sorted(set(moments)):
            upto = bisect_right(self._known_ms, moment)
            digest.update(b"".join(self._known_keys[done:upto]))
            done, found[moment] = upto, digest.hexdigest()
        return found


def make_blocks(
    runs: Parts, recipe: Recipe, blocks: Sequence[Block], folder: Path
) -> Iterator[Part]:
    """Make some blocks, in their order.

    Every input is read back by its contract as it was written; what breaks it, or shows what was
    not known, is counted in the part.
    """
    last = max((block.decisions[-1].decided_ms for block in blocks), default=0)
    builder = InputBuilder(
        _summaries(runs, last),
        space=recipe.space,
        n_similar=recipe.n_similar,
        weights=recipe.weights,
        window=recipe.window,
        n_decisions=sum(len(block.decisions) for block in blocks),
    )
    run_blocks = RunBlocks(recipe.budget.per_run)
    decoder = msgspec.json.Decoder(RunRecord)
    texts: tuple[int, pl.Series] | None = None
    for block in blocks:
        records = []
        for one in block.decisions:
            if texts is None or texts[0] != one.part:
                table = read_part(Path(runs.folder), runs.parts[one.part], ["record_json"])
                texts = (one.part, table["record_json"])
            records.append(decoder.decode(texts[1][one.row]))
        inputs = builder.planner_inputs(records)
        rows = [
            example_row(run, one.label, built, budget=recipe.budget, blocks=run_blocks)
            for run, one, built in zip(records, block.decisions, inputs, strict=True)
        ]
        n_leaks = sum(
            count_leaks(built.question, decided_ms=run.decided_ms or 0, group_id=run.group_id)
            for run, built in zip(records, inputs, strict=True)
        )
        table = pl.DataFrame(rows, schema=polars_schema(EXAMPLES), orient="row")
        yield write_part(
            folder, block.month, block.key, check_table(EXAMPLES, table), {"leaks": n_leaks}
        )


def _summaries(runs: Parts, last_ms: int) -> Iterator[str]:
    """Summaries of every run that a decision until ``last_ms`` may see."""
    for table in runs.tables(["summary_json", "ended_ms", "started_ms"]):
        seen = table.filter(
            pl.col("summary_json").is_not_null(),
            pl.col("ended_ms") <= last_ms,
            pl.col("started_ms") < last_ms,
        )
        yield from seen["summary_json"]


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
    n_rows, done = sum(len(block.decisions) for block in missing), 0
    for part in make_blocks(runs, recipe, missing, folder):
        known[part.month, part.key] = part
        done += part.rows
        progress("examples", done, n_rows)
    parts = [] if months is None else [part for part in earlier if part.month not in months]
    parts += [known[block.month, block.key] for block in chosen]
    parts.sort(key=lambda part: part.month)  # stable: blocks of a month stay in their order
    table = Parts(folder=str(folder), parts=tuple(parts), n_reused=len(chosen) - len(missing))
    keep_parts(table)
    return table, plan.not_examples
