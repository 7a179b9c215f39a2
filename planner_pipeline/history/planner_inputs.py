"""Planner inputs of past decisions, holding only what was known when they were made.

Belongs here: a decision's question, the document joined from what is the same in many. Does not:
finding past runs (``past_runs``), labels and splits (``dataset``). Spec: sections 3.1, 5.3.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import polars as pl

from planner_pipeline.history.past_runs import PastRuns
from planner_runtime.actions import ActionSpace
from planner_runtime.archives.runs import RunRecord
from planner_runtime.contracts.canonical import canonical_json, sha256_hex
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.run_summary import RunSummary
from planner_runtime.inputs import rfc3339
from planner_runtime.kernel.asking import decision_query
from planner_runtime.retrieval.similarity import (
    DEFAULT_WEIGHTS,
    Query,
    SimilarityWeights,
    run_keys,
    score_parts,
)


class BuiltInput(msgspec.Struct, frozen=True):
    """The input of one decision.

    Attributes:
        text: The document as canonical JSON.
        input_hash: Of the document without ``created_at``. Source: formats 7.4.
        question: The same, read by its contract.
        newest_seen_ms: Latest end among the runs in its history; 0 without any.
    """

    text: str
    input_hash: str
    question: PlannerInput
    newest_seen_ms: int


class InputBuilder:
    """Builds the planner inputs of decisions from the runs of a workspace.

    Args:
        runs: ``past_runs.COLUMNS`` of the run table, in any order.
        n_similar: Similar runs an input may hold.
        window: Of retrieval; None for all earlier runs.
        n_decisions: About how many will be asked for.
    """

    def __init__(
        self,
        runs: pl.DataFrame,
        *,
        space: ActionSpace,
        n_similar: int,
        weights: SimilarityWeights = DEFAULT_WEIGHTS,
        window: int | None = None,
        n_decisions: int = 1,
    ) -> None:
        self._n_similar = n_similar
        self._space_text = canonical_json(space.to_document())
        self._reader = msgspec.json.Decoder(PlannerInput)
        self._past = PastRuns(runs, weights=weights, window=window, n_decisions=n_decisions)

    def query(self, run: RunRecord) -> Query:
        """What the decision behind ``run`` asks of history.

        Raises:
            ValueError: nobody knows when it was made.
        """
        if run.decided_ms is None:
            raise ValueError(f"run {run.run_id} has no known moment of decision")
        is_evolution = run.kind == "evolution"
        return decision_query(
            run.issue,
            job_type=run.job_type,
            domain=run.domain,
            cutoff_ms=run.decided_ms,
            issue_id=run.issue_id,
            group_id=run.group_id,
            world_id=run.world_id if is_evolution else None,
            objective_id=run.objective_id if is_evolution else None,
        )

    def why_similar(self, run: RunRecord) -> list[dict[str, Any]]:
        """The runs that the decision behind ``run`` sees, best first, with what their scores are
        made of. Raises as ``query``.
        """
        query = self.query(run)
        signals = self._past.failure_signals(query)
        told = []
        for place in self._past.similar([query], n=self._n_similar)[0]:
            past = msgspec.json.decode(self._past.summary(place), type=RunSummary)
            keys = run_keys(past)
            assert keys is not None
            parts = score_parts(keys, query, signals, self._past.weights)
            told.append({"run_id": past.run_id, "score": sum(parts.values()), **parts})
        return told

    def planner_inputs(self, runs: Sequence[RunRecord]) -> list[BuiltInput]:
        """The ``planner_input.v1`` of the decisions behind ``runs``. Raises as ``query``."""
        queries = [self.query(run) for run in runs]
        similar = self._past.similar(queries, n=self._n_similar)
        return [
            self._built(run, query, seen)
            for run, query, seen in zip(runs, queries, similar, strict=True)
        ]

    def planner_input(self, run: RunRecord) -> dict[str, Any]:
        """One of them as a document. Raises as ``query``."""
        document: dict[str, Any] = msgspec.json.decode(self.planner_inputs([run])[0].text)
        return document

    def _built(self, run: RunRecord, query: Query, seen: Sequence[int]) -> BuiltInput:
        issue = dict(run.issue)
        if not run.has_attempts:
            issue["dk_attempts"] = self._past.failed_attempts(query)
        after = canonical_json(
            {
                "issue": issue,
                "job_type": run.job_type,
                "schema_version": "cyntra.planner_input.v1",
                "system_state": run.system_state,
                "universe_defaults": run.universe_defaults,
                "universe_id": run.universe_id,
            }
        )
        runs = ",".join([self._past.summary(place) for place in seen])
        # keys in their order: action_space, created_at, history, then what ``after`` holds
        before = b'{"action_space":%b,' % self._space_text
        rest = b'"history":{"last_n_similar_runs":[%b]},%b' % (runs.encode(), after[1:])
        created = b'"created_at":"%b",' % rfc3339(query.cutoff_ms).encode()
        text = before + created + rest
        question = self._reader.decode(text)
        shown = question.history.last_n_similar_runs
        return BuiltInput(
            text=text.decode(),
            input_hash=sha256_hex(before + rest),
            question=question,
            newest_seen_ms=max((past.ended_ms or 0 for past in shown), default=0),
        )
