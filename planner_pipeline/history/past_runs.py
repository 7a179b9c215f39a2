"""The runs of a workspace as retrieval and counting ask them, straight from the run table.

Belongs here: filling shelves from columns, reading the summaries that somebody asks for. Does
not: the search (``planner_runtime.retrieval.search``, ``compiled_search``), planner inputs
(``planner_inputs``). A summary is read only when its run is shown: most runs of a long history
never are.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl

from planner_pipeline.tables import RUNS, polars_schema
from planner_runtime.archives.runs import summary_text
from planner_runtime.contracts.run_summary import RunSummary
from planner_runtime.retrieval.bitmaps import Terms
from planner_runtime.retrieval.search import search
from planner_runtime.retrieval.shelf import RunColumns, Shelf, group_number
from planner_runtime.retrieval.similarity import Query, SimilarityWeights, may_see
from planner_runtime.similar_runs import Searcher

COLUMNS: Final = (
    "run_id", "job_type", "domain", "group_id", "group_number", "issue_id", "world_id",
    "objective_id", "tags", "keywords", "fail_codes", "started_ms", "ended_ms", "status",
    "summary_json",
)  # fmt: skip
WORTH_COMPILED: Final = 400_000_000  # pairs of decision and run: about a second of numpy's


def searcher_for(n_pairs: int) -> Searcher:
    """The faster of two equal searches for so many pairs of decision and run."""
    if n_pairs < WORTH_COMPILED:
        return search
    try:
        from planner_pipeline.history import compiled_search  # loading it takes half a second
    except (ImportError, RuntimeError):  # no numba, or nowhere for it to keep what it compiles
        return search
    return compiled_search.search


class PastRuns:
    """Runs that may be shown to decisions. A run without a known end never is.

    Args:
        runs: ``COLUMNS`` of the run table, in any order.
        window: Only so many of the newest runs of a job type and domain that started before a
            decision are its candidates; None for all of them.
        n_decisions: About how many will ask; many over a long history pay for loading the compiled
            search.
    """

    def __init__(
        self,
        runs: pl.DataFrame,
        *,
        weights: SimilarityWeights,
        window: int | None,
        n_decisions: int,
    ) -> None:
        self.weights, self._window = weights, window
        runs = runs.drop_nulls(["started_ms", "status"]).with_row_index("place")
        self._search = searcher_for(n_decisions * runs.height)
        self._summaries = runs["summary_json"]
        self._outcomes = runs.select("issue_id", "group_id", "started_ms", "ended_ms", "status")
        self._shelves: dict[tuple[object, ...], tuple[Shelf, np.ndarray]] = {}
        known = runs.drop("summary_json").drop_nulls("ended_ms")
        known = known.sort("started_ms", "run_id", descending=[False, True])
        for key, table in known.partition_by(
            "job_type", "domain", as_dict=True, maintain_order=True
        ).items():
            shelf = Shelf(weights)
            shelf.extend_columns(columns_of_runs(table))
            self._shelves[key] = shelf, table["place"].to_numpy()

    def summary(self, place: int) -> str:
        """The summary of a run, as canonical JSON."""
        text: str = self._summaries[place]
        return text

    def failure_signals(self, query: Query) -> frozenset[str]:
        """Fail codes of the issue's own runs that ``query`` may see."""
        found = self._shelves.get((query.job_type, query.domain))
        return frozenset() if found is None else found[0].failure_signals(query)

    def similar(self, queries: Sequence[Query], *, n: int) -> list[list[int]]:
        """For each query the places of its ``n`` most similar visible runs, best first."""
        of_shelf: dict[tuple[object, ...], list[int]] = {}
        for i, query in enumerate(queries):
            of_shelf.setdefault((query.job_type, query.domain), []).append(i)
        found: list[list[int]] = [[] for _ in queries]
        for key, numbers in of_shelf.items():
            if key not in self._shelves:
                continue
            shelf, places = self._shelves[key]
            best = self._search(shelf, [queries[i] for i in numbers], n, window=self._window)
            for i, positions in zip(numbers, best, strict=True):
                found[i] = places[positions].tolist()
        return found

    @cached_property
    def _of_issue(self) -> dict[str, list[tuple[str, int, int | None, str]]]:
        """Of every issue its runs: group, start, end and status."""
        of_issue: dict[str, list[tuple[str, int, int | None, str]]] = {}
        for issue_id, *told in self._outcomes.drop_nulls("issue_id").iter_rows():
            of_issue.setdefault(issue_id, []).append(tuple(told))
        return of_issue

    def failed_attempts(self, query: Query) -> int:
        """Dispatches of the issue that had ended by then without any success among their runs."""
        own = [
            (group, status)
            for group, started, ended, status in self._of_issue.get(query.issue_id or "", ())
            if may_see(query, group_id=group, started_ms=started, ended_ms=ended)
        ]
        passed = {group for group, status in own if status == "success"}
        return len({group for group, _ in own} - passed)


def table_of_summaries(summaries: Iterable[RunSummary]) -> pl.DataFrame:
    """``COLUMNS`` of runs that no workspace holds."""
    rows = [
        {
            "run_id": run.run_id, "job_type": run.job_type, "domain": run.domain,
            "group_id": run.group_id, "group_number": group_number(run.group_id),
            "issue_id": run.issue_id, "world_id": run.world_id, "objective_id": run.objective_id,
            "tags": list(dict.fromkeys(run.tags)), "keywords": list(dict.fromkeys(run.keywords)),
            "fail_codes": list(dict.fromkeys(run.outcome.fail_codes)),
            "started_ms": run.started_ms, "ended_ms": run.ended_ms, "status": run.outcome.status,
            "summary_json": summary_text(run),
        }
        for run in summaries
    ]  # fmt: skip
    schema = {name: polars_schema(RUNS)[name] for name in COLUMNS}
    return pl.DataFrame(rows, schema=schema, orient="row")


def columns_of_runs(runs: pl.DataFrame) -> RunColumns:
    """Runs of one shelf, in the order of their positions, as the shelf takes them."""
    return RunColumns(
        first_id=runs["run_id"][0],
        last_id=runs["run_id"][-1],
        started=runs["started_ms"].to_numpy(),
        ended=runs["ended_ms"].to_numpy(),
        groups=runs["group_number"].to_numpy(),
        tags=_terms(runs["tags"]),
        failures=_terms(runs["fail_codes"]),
        keywords=_terms(runs["keywords"]),
        issues=_terms(runs["issue_id"]),
        worlds=_terms(runs["world_id"]),
        objectives=_terms(runs["objective_id"]),
    )


def _terms(column: pl.Series) -> Terms:
    """Lists of terms, or one term or none, as numbers."""
    if column.dtype == pl.List:
        sizes, flat = column.list.len(), column.explode(empty_as_null=False)
    else:
        sizes, flat = column.is_not_null(), column.drop_nulls()
    names = flat.unique(maintain_order=True)
    numbers = flat.cast(pl.Enum(names)).to_physical()
    return Terms(
        names.to_list(),
        numbers.cast(pl.Int64).to_numpy(),
        sizes.cast(pl.Int64).to_numpy(),
    )
