"""How alike two decisions are: the score's weights, a decision's question, what it may see.

Belongs here: the meaning of similarity. Does not: finding the most similar runs fast (``shelf``),
keeping runs (``similar_runs``). Spec: section 5.2 (score), 5.3 (leakage). The spec's cutoff,
``started_ms`` alone, shows outcomes from the future; a run is visible here only once its outcome
was known (docs/adr/0002).
"""

from collections.abc import Collection
from typing import Final

import msgspec

from planner_runtime.contracts.run_summary import Domain, RunSummary

DAY_MS: Final = 86_400_000


class SimilarityWeights(msgspec.Struct, frozen=True, kw_only=True):
    """Points of each score component. Integers, so that ties are exact on every machine."""

    tags: int = 500_000  # times the Jaccard ratio of the tags
    failures: int = 250_000  # times the Jaccard ratio of the failure signals
    keywords: int = 100_000  # times the Jaccard ratio of the keywords
    same_issue: int = 200_000
    recency: tuple[int, ...] = (150_000, 112_000, 75_000, 37_000, 0)
    recency_days: tuple[int, ...] = (1, 7, 30, 90)

    def __post_init__(self) -> None:
        points = (self.tags, self.failures, self.keywords, self.same_issue, *self.recency)
        if min(points) < 0 or sum(points) >= 1 << 30:
            raise ValueError("points must not be negative, nor their sum reach 2^30")
        if len(self.recency) != len(self.recency_days) + 1 or list(self.recency_days) != sorted(
            self.recency_days
        ):
            raise ValueError("recency needs ascending days and one bucket more than days")


DEFAULT_WEIGHTS: Final = SimilarityWeights()


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision knows of itself.

    Attributes:
        cutoff_ms: Moment of the decision; nothing later may be seen.
        group_id: Dispatch or bench case of the decision: its own attempts stay unseen.
        failure_signals: None takes the fail codes of the issue's own visible runs.
    """

    job_type: str
    domain: Domain
    cutoff_ms: int
    issue_id: str | None = None
    group_id: str | None = None
    world_id: str | None = None
    objective_id: str | None = None
    tags: frozenset[str] = frozenset()
    keywords: frozenset[str] = frozenset()
    failure_signals: frozenset[str] | None = None


class RunKeys(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What retrieval asks of one run; ``ended_ms`` is when its outcome was known."""

    run_id: str
    started_ms: int
    ended_ms: int
    group_id: str | None = None
    issue_id: str | None = None
    world_id: str | None = None
    objective_id: str | None = None
    tags: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    fail_codes: tuple[str, ...] = ()


def is_visible(run: RunSummary, query: Query) -> bool:
    """Whether a decision may see ``run``: as ``may_see``."""
    return may_see(query, group_id=run.group_id, started_ms=run.started_ms, ended_ms=run.ended_ms)


def may_see(query: Query, *, group_id: str | None, started_ms: int, ended_ms: int | None) -> bool:
    """Whether a decision may see a run: started and finished before it, and not its own attempt.

    Source: spec 5.3; reference/reliability.md 0.
    """
    return (
        started_ms < query.cutoff_ms
        and ended_ms is not None
        and ended_ms <= query.cutoff_ms
        and (group_id is None or group_id != query.group_id)
    )


def score_parts(
    run: RunKeys, query: Query, signals: frozenset[str], weights: SimilarityWeights
) -> dict[str, int]:
    """What a run's score is made of, for people; the search adds up the same (``search``).

    Args:
        signals: The query's failure signals.
    """

    def ratio(mine: Collection[str], asked: frozenset[str], weight: int) -> int:
        shared = len(asked & set(mine))
        return weight * shared // len(asked | set(mine)) if shared else 0

    age = query.cutoff_ms - run.started_ms
    bucket = sum(age >= days * DAY_MS for days in weights.recency_days)
    is_own = query.issue_id is not None and run.issue_id == query.issue_id
    return {
        "tags": ratio(run.tags, query.tags, weights.tags),
        "failures": ratio(run.fail_codes, signals, weights.failures),
        "keywords": ratio(run.keywords, query.keywords, weights.keywords),
        "same_issue": weights.same_issue if is_own else 0,
        "recency": weights.recency[bucket],
    }


def run_keys(run: RunSummary) -> RunKeys | None:
    """The keys of a run; None while its end is not known, for then no decision may see it."""
    if run.ended_ms is None:
        return None
    return RunKeys(
        run_id=run.run_id,
        started_ms=run.started_ms,
        ended_ms=run.ended_ms,
        group_id=run.group_id,
        issue_id=run.issue_id,
        world_id=run.world_id,
        objective_id=run.objective_id,
        tags=run.tags,
        keywords=run.keywords,
        fail_codes=run.outcome.fail_codes,
    )
