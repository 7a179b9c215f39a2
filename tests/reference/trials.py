"""Made-up attempts, and their outcomes in the plainest code, for tests of replay and its figures.

Belongs here: what those tests share. Does not: anything that is shipped.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from planner_pipeline.sources.trials import Trial

HOUR_MS = 3_600_000


def a_trial(
    attempt: int = 1, *, system: str = "alpha", issue: str = "task-1", passed: bool = True,
    minutes: float | None = 4.0, usd: float | None = None, started_ms: int | None = None,
    dataset: str | None = "bench",
) -> Trial:  # fmt: skip
    return Trial(
        dataset=dataset, issue_id=issue, repo=None, system=system, model=None, attempt=attempt,
        passed=passed, cost_usd=usd, duration_ms=None if minutes is None else round(minutes * 60_000),
        tokens_in=None, tokens_out=None, ended_ms=None, gates_passed=None, gates_total=None,
        started_ms=attempt * HOUR_MS if started_ms is None else started_ms,
        fail_code=None if passed else "agent_timeout",
    )  # fmt: skip


def many_trials(
    *, n_systems: int = 3, n_issues: int = 6, n_attempts: int = 5, seed: int = 0
) -> list[Trial]:
    """Attempts of every system at every issue, one system after another; some issues are hard."""
    rng = np.random.default_rng(seed)
    trials = []
    for system in range(n_systems):
        for issue in range(n_issues):
            chance, typical = rng.random(), 4 + 20 * rng.random()
            for attempt in range(1, n_attempts + 1):
                start = ((system * n_attempts + attempt) * n_issues + issue) * HOUR_MS
                trials.append(
                    a_trial(
                        attempt, system=f"system-{system}", issue=f"task-{issue}",
                        passed=bool(rng.random() < chance),
                        minutes=float(typical * rng.uniform(0.3, 1.7)), started_ms=start,
                    )
                )  # fmt: skip
    return trials


def naive_outcome(
    attempts: Sequence[Trial], k: int, minutes: int
) -> tuple[float, float, float | None]:
    """Pass ratio, agent-minutes and minutes to pass of an action, by its definition."""
    limit = minutes * 60_000
    passes, costs, times = [], [], []
    for subset in combinations(attempts, k):
        good = [t.duration_ms for t in subset if t.passed and t.duration_ms <= limit]  # type: ignore[operator]
        passes.append(len(good) > 0)
        costs.append(sum(min(t.duration_ms, limit) for t in subset) / 60_000)  # type: ignore[type-var]
        if good:
            times.append(min(good) / 60_000)  # type: ignore[type-var,operator]
    return (
        sum(passes) / len(passes),
        sum(costs) / len(costs),
        sum(times) / len(times) if times else None,
    )


def naive_utility(attempts: Sequence[Trial], k: int, minutes: int, cost_weight: float) -> float:
    passed, cost, _ = naive_outcome(attempts, k, minutes)
    return passed - cost_weight * cost
