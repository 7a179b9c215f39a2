"""Planner inputs of past decisions, holding only what was known when they were made.

Belongs here: the history a decision could see, and its failed attempts by then. Does not: labels
and splits (``dataset``). Spec: sections 3.1 and 5.3.
"""

from collections.abc import Sequence
from typing import Any

from planner_pipeline.history.runs import RunRecord, run_summary
from planner_runtime.actions import ActionSpace
from planner_runtime.contracts.run_summary import RunSummary
from planner_runtime.inputs import build_planner_input
from planner_runtime.similar_runs import (
    DEFAULT_WEIGHTS,
    Query,
    RunIndex,
    SimilarityWeights,
    is_visible,
)


class InputBuilder:
    """Builds the planner input of any run's decision from all runs of a workspace.

    Args:
        runs: Every run, in any order; a run without known start, outcome or end is never shown.
        n_similar: Similar runs an input may hold.
    """

    def __init__(
        self,
        runs: Sequence[RunRecord],
        *,
        space: ActionSpace,
        n_similar: int,
        weights: SimilarityWeights = DEFAULT_WEIGHTS,
    ) -> None:
        self._space, self._n_similar = space, n_similar
        summaries = [summary for run in runs if (summary := run_summary(run)) is not None]
        self._index = RunIndex(summaries, weights=weights)
        self._by_issue: dict[str, list[RunSummary]] = {}
        for summary in summaries:
            if summary.issue_id is not None:
                self._by_issue.setdefault(summary.issue_id, []).append(summary)

    def query(self, run: RunRecord) -> Query:
        """What the decision behind ``run`` asks of history.

        Raises:
            ValueError: nobody knows when it was made.
        """
        if run.decided_ms is None:
            raise ValueError(f"run {run.run_id} has no known moment of decision")
        is_evolution = run.kind == "evolution"
        return Query(
            job_type=run.job_type,
            domain=run.domain,
            cutoff_ms=run.decided_ms,
            issue_id=run.issue_id,
            group_id=run.group_id,
            world_id=run.world_id if is_evolution else None,
            objective_id=run.objective_id if is_evolution else None,
            tags=frozenset(run.issue.get("tags", ())),
            keywords=frozenset(run.issue.get("keywords", ())),
        )

    def failed_attempts(self, query: Query) -> int:
        """Dispatches of the issue that had ended by then without any success among their runs."""
        own = [
            run for run in self._by_issue.get(query.issue_id or "", ()) if is_visible(run, query)
        ]
        passed = {run.group_id for run in own if run.outcome.status == "success"}
        return len({run.group_id for run in own} - passed)

    def planner_input(self, run: RunRecord) -> dict[str, Any]:
        """The ``planner_input.v1`` of the decision behind ``run``. Raises as ``query``."""
        query = self.query(run)
        issue = dict(run.issue)
        if not run.has_attempts:
            issue["dk_attempts"] = self.failed_attempts(query)
        return build_planner_input(
            created_at_ms=query.cutoff_ms,
            universe_id=run.universe_id,
            job_type=run.job_type,
            universe_defaults=run.universe_defaults,
            issue=issue,
            similar_runs=self._index.similar_runs(query, n=self._n_similar),
            space=self._space,
            system_state=run.system_state,
        )
