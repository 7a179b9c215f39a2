"""Asking a planner about an issue: the question that a decision puts, with the runs it may see.

Belongs here: what a decision asks of history, the ``planner_input.v1`` made of the answer,
histories that come as plain lists. Does not: which runs are similar (``similar_runs``), sections of
an input (``inputs``), what a planner answers (``planner``). Spec: 3.1, 5.2, 5.3; formats 7.1, 7.4.
The pipeline puts the questions of past decisions by the same functions.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from planner_runtime.actions import ActionSpace
from planner_runtime.contracts.run_summary import Domain, RunSummary
from planner_runtime.fork_safe_lock import ForkSafeLock
from planner_runtime.inputs import build_planner_input, domain_of, group_of, issue_document
from planner_runtime.retrieval.similarity import Query
from planner_runtime.similar_runs import RunIndex

N_SIMILAR = 8


class HasIndex(Protocol):
    """Whatever keeps runs: ``KernelHistory``, ``CandidateIndex``."""

    @property
    def index(self) -> RunIndex:
        """Of the runs."""
        ...


def decision_query(
    issue: Mapping[str, Any],
    *,
    job_type: str,
    cutoff_ms: int,
    issue_id: str | None,
    group_id: str | None,
    domain: Domain | None = None,
    world_id: str | None = None,
    objective_id: str | None = None,
) -> Query:
    """What a decision about an issue asks of history.

    Args:
        issue: As ``issue_document`` builds it.
        cutoff_ms: Moment of the decision.
        group_id: Of the runs that come of it: they stay unseen.
        domain: None takes the one that job type and tags tell.
        world_id, objective_id: Of an evolution, whose history is that of its world.
    """
    tags = issue.get("tags", ())
    return Query(
        job_type=job_type,
        domain=domain_of(job_type, tags) if domain is None else domain,
        cutoff_ms=cutoff_ms,
        issue_id=issue_id,
        group_id=group_id,
        world_id=world_id,
        objective_id=objective_id,
        tags=frozenset(tags),
        keywords=frozenset(issue.get("keywords", ())),
    )


def build_question(
    *,
    issue: Mapping[str, Any],
    job_type: str,
    history: HasIndex | RunIndex,
    now_ms: int,
    space: ActionSpace,
    universe_id: str = "unknown",
    universe_defaults: Mapping[str, str | None] | None = None,
    system_state: Mapping[str, Any] | None = None,
    n_similar: int = N_SIMILAR,
    attempts: int | None = None,
    world_id: str | None = None,
    objective_id: str | None = None,
) -> dict[str, Any]:
    """The ``planner_input.v1`` of a decision about an issue, made now.

    Args:
        issue: A line of ``.beads/issues.jsonl``, or a manifest's ``issue``.
        attempts: Failed attempts so far; None takes the issue's own count.
        world_id, objective_id: Of an evolution.

    Raises:
        ValueError: ``now_ms`` is outside the calendar, or ``n_similar`` negative.
    """
    return question_about(
        issue_document(issue, attempts=attempts),
        job_type=job_type, history=history, now_ms=now_ms, space=space, universe_id=universe_id,
        universe_defaults=universe_defaults, system_state=system_state, n_similar=n_similar,
        world_id=world_id, objective_id=objective_id,
    )  # fmt: skip


def question_about(
    section: Mapping[str, Any],
    *,
    job_type: str,
    history: HasIndex | RunIndex,
    now_ms: int,
    space: ActionSpace,
    universe_id: str = "unknown",
    universe_defaults: Mapping[str, str | None] | None = None,
    system_state: Mapping[str, Any] | None = None,
    n_similar: int = N_SIMILAR,
    world_id: str | None = None,
    objective_id: str | None = None,
) -> dict[str, Any]:
    """``build_question`` of a section that ``issue_document`` built. Raises as that."""
    index = history if isinstance(history, RunIndex) else history.index
    query = decision_query(
        section,
        job_type=job_type,
        cutoff_ms=now_ms,
        issue_id=section.get("issue_id") or None,
        group_id=group_of(section.get("issue_id"), now_ms),
        world_id=world_id,
        objective_id=objective_id,
    )
    document = build_planner_input(
        created_at_ms=now_ms,
        universe_id=universe_id,
        job_type=job_type,
        universe_defaults={} if universe_defaults is None else universe_defaults,
        issue=section,
        similar_runs=(),
        space=space,
        system_state=system_state,
    )
    document["history"] = {"last_n_similar_runs": index.similar_documents(query, n=n_similar)}
    return document


class CandidateIndex:
    """An index of histories that come as lists, one after another, mostly the same runs.

    A list that was indexed already costs nothing; one that grew, or was made anew of the same
    documents, costs what is new. Elements are told apart by identity first, then by content.

    Attributes:
        index: Of the newest list.
        n_refused: Elements of it that are no ``run_summary.v1``.
    """

    def __init__(self) -> None:
        self.index = RunIndex()
        self.n_refused = 0
        self._lock = ForkSafeLock()
        self._last: Sequence[Any] = ()  # held, so that identities stay what they are
        self._held: list[Any] = []
        self._run_of: dict[int, RunSummary | None] = {}  # by identity of the element
        self._runs: dict[str, RunSummary] = {}

    def taking(self, candidates: Sequence[Mapping[str, Any] | RunSummary]) -> "CandidateIndex":
        """Itself, with the runs of this list and no others."""
        with self._lock:
            held, n = self._held, len(candidates)
            is_last = (
                candidates is self._last
                and n == len(held)
                and (n == 0 or (candidates[0] is held[0] and candidates[-1] is held[-1]))
            )
            if not is_last:
                self._take(candidates)
        return self

    def _take(self, candidates: Sequence[Mapping[str, Any] | RunSummary]) -> None:
        held = list(candidates)
        run_of: dict[int, RunSummary | None] = {}
        for one in held:
            number = id(one)
            known = self._run_of.get(number, False)
            run_of[number] = _as_run(one) if known is False else known  # type: ignore[assignment]
        runs = {run.run_id: run for one in held if (run := run_of[id(one)]) is not None}
        removed = [run_id for run_id in self._runs if run_id not in runs]
        changed = [
            run
            for run_id, run in runs.items()
            if (before := self._runs.get(run_id)) is not run and before != run
        ]
        self.index.update(changed, removed=removed)
        self.n_refused = sum(run_of[id(one)] is None for one in held)
        self._last, self._held, self._run_of, self._runs = candidates, held, run_of, runs


def _as_run(candidate: Mapping[str, Any] | RunSummary) -> RunSummary | None:
    """A run of a list; None for what is none."""
    if isinstance(candidate, RunSummary):
        return candidate
    try:
        return msgspec.convert(candidate, RunSummary)
    except (msgspec.ValidationError, TypeError, ValueError, RecursionError):
        return None
