"""Runs that ended a moment ago and are on no shelf yet: few, looked at one by one.

Belongs here: score and visibility as the shelf's search has them, for one run at a time.
Does not: when a run is put on a shelf (``similar_runs``).

Runs become known in the order of their ends; shelves are in the order of starts. A run waits here
until nothing older is likely to come.
"""

from collections.abc import Iterable
from typing import NamedTuple

from planner_runtime.contracts.run_summary import RunSummary
from planner_runtime.retrieval.similarity import DAY_MS, Query, SimilarityWeights, is_visible

_NONE: frozenset[str] = frozenset()


class Ranked(NamedTuple):
    """A run with its place in the order (score desc, started_ms desc, run_id asc)."""

    neg_score: int
    neg_started_ms: int
    run_id: str
    run: RunSummary


class FreshRun:
    """A run and its terms as sets, which are made when it is first asked for."""

    __slots__ = ("codes", "ended_ms", "keywords", "run", "started_ms", "tags")

    def __init__(self, run: RunSummary, ended_ms: int) -> None:
        self.run, self.started_ms, self.ended_ms = run, run.started_ms, ended_ms
        self.tags: frozenset[str] | None = None
        self.keywords = self.codes = _NONE

    def tell(self) -> frozenset[str]:
        """Its tags; its other terms stand beside them from then on."""
        run = self.run
        self.keywords, self.codes = frozenset(run.keywords), frozenset(run.outcome.fail_codes)
        self.tags = frozenset(run.tags)
        return self.tags


def fresh_signals(fresh: Iterable[FreshRun], query: Query) -> list[str]:
    """Fail codes of the issue's own fresh runs that ``query`` may see."""
    issue_id = query.issue_id
    if issue_id is None:
        return []
    return [
        code
        for one in fresh
        if one.run.issue_id == issue_id and is_visible(one.run, query)
        for code in one.run.outcome.fail_codes
    ]


def rank_fresh(
    fresh: Iterable[FreshRun],
    query: Query,
    signals: frozenset[str],
    weights: SimilarityWeights,
    least: int,
) -> list[Ranked]:
    """Fresh runs that ``query`` may see and whose score is at least ``least``, in no order."""
    cutoff, own = query.cutoff_ms, query.group_id
    issue_id, world_id, objective_id = query.issue_id, query.world_id, query.objective_id
    moments = [cutoff - days * DAY_MS for days in weights.recency_days]
    n_tags, n_codes, n_words = len(query.tags), len(signals), len(query.keywords)
    # without a tag in common, and of another issue
    most = max(weights.recency) + (n_codes and weights.failures) + (n_words and weights.keywords)
    is_out = most < least
    ranked = []
    for one in fresh:
        started = one.started_ms
        if one.ended_ms > cutoff or started >= cutoff:
            continue
        run = one.run
        if own is not None and run.group_id == own:
            continue
        if world_id is not None and run.world_id != world_id:
            continue
        if objective_id is not None and run.objective_id != objective_id:
            continue
        tags = one.tags
        if tags is None:
            tags = one.tell()
        score = 0
        if shared := len(query.tags & tags):
            score = weights.tags * shared // (n_tags + len(tags) - shared)
        elif is_out and (issue_id is None or run.issue_id != issue_id):
            continue
        if n_codes and (shared := len(signals & one.codes)):
            score += weights.failures * shared // (n_codes + len(one.codes) - shared)
        if n_words and (shared := len(query.keywords & one.keywords)):
            score += weights.keywords * shared // (n_words + len(one.keywords) - shared)
        if issue_id is not None and run.issue_id == issue_id:
            score += weights.same_issue
        bucket = 0
        for moment in moments:
            if started > moment:
                break
            bucket += 1
        score += weights.recency[bucket]
        if score >= least:
            ranked.append(Ranked(-score, -started, run.run_id, run))
    return ranked
