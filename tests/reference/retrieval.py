"""Similar-run retrieval in ten naive lines, to hold the fast one against.

Belongs here: sets and sorting. Does not: anything fast.
"""

from collections.abc import Collection, Sequence

from planner_runtime.contracts import ActionExecuted, Outcome, RunSummary, Runtime
from planner_runtime.retrieval.similarity import RunKeys
from planner_runtime.similar_runs import DAY_MS, Query, SimilarityWeights, is_visible


def jaccard_points(a: Collection[str], b: Collection[str], weight: int) -> int:
    shared = len(set(a) & set(b))
    return weight * shared // len(set(a) | set(b)) if shared else 0


def naive_score(
    run: RunSummary, query: Query, signals: Collection[str], weights: SimilarityWeights
) -> int:
    age = query.cutoff_ms - run.started_ms
    bucket = sum(age >= days * DAY_MS for days in weights.recency_days)
    is_own = query.issue_id is not None and run.issue_id == query.issue_id
    return (
        jaccard_points(run.tags, query.tags, weights.tags)
        + jaccard_points(run.outcome.fail_codes, signals, weights.failures)
        + jaccard_points(run.keywords, query.keywords, weights.keywords)
        + weights.same_issue * is_own
        + weights.recency[bucket]
    )


def naive_similar_runs(
    runs: Sequence[RunSummary],
    query: Query,
    *,
    n: int,
    weights: SimilarityWeights,
    window: int | None = None,
) -> list[str]:
    """Ids of the best runs, best first."""
    mine = [run for run in runs if (run.job_type, run.domain) == (query.job_type, query.domain)]
    own = [run for run in mine if run.issue_id == query.issue_id is not None]
    signals = query.failure_signals
    if signals is None:
        signals = frozenset(c for r in own if is_visible(r, query) for c in r.outcome.fail_codes)
    known = [r for r in mine if r.started_ms < query.cutoff_ms and r.ended_ms is not None]
    known.sort(key=lambda run: (-run.started_ms, run.run_id))
    seen = [
        run
        for run in known[:window]
        if is_visible(run, query)
        and query.world_id in (None, run.world_id)
        and query.objective_id in (None, run.objective_id)
    ]
    seen.sort(key=lambda run: -naive_score(run, query, signals, weights))  # stable: ties stay
    return [run.run_id for run in seen[:n]]


def naive_similar_keys(
    runs: Sequence[RunKeys],
    query: Query,
    *,
    n: int,
    weights: SimilarityWeights,
    window: int | None = None,
) -> list[str]:
    """The same for keys of runs, which are all of the query's job type and domain."""
    whole = [
        RunSummary(
            run_id=run.run_id, started_ms=run.started_ms, ended_ms=run.ended_ms,
            job_type=query.job_type, domain=query.domain, group_id=run.group_id,
            issue_id=run.issue_id, world_id=run.world_id, objective_id=run.objective_id,
            tags=run.tags, keywords=run.keywords, action_executed=ActionExecuted(),
            outcome=Outcome(status="failed", fail_codes=run.fail_codes), runtime=Runtime(),
        )
        for run in runs
    ]  # fmt: skip
    return naive_similar_runs(whole, query, n=n, weights=weights, window=window)
