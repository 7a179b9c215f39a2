"""Which system should get an issue: trial tables as features and outcomes for ``select``.

Belongs here: what earlier systems' attempts tell of an issue, outcomes of later systems.
Does not: choosing (``selection``). Spec: section 5.3.

Systems whose attempts had all started before a cutoff are history: their passes and dollars at an
issue describe it. Systems that ran from the cutoff on are the actions. A system is on one side
alone, so no outcome that is chosen among is known to the choice.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from planner_pipeline.sources.trials import Trial


def routing_tables(
    trials: Sequence[Trial], cutoff_ms: int, issues: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Features and outcomes, as ``cyntra-planner select`` reads them.

    Args:
        cutoff_ms: Unix epoch; the moment of all decisions.
        issues: By id, plain facts that become columns: numbers and texts, no lists.

    Returns:
        Features: ``case_id`` (the issue), ``group`` (its repository), what history tells.
        Outcomes: a row for each issue and later system; a cost of 0 is not known.

    Raises:
        ValueError: no system is on one of the sides.
    """
    started: dict[str, list[int]] = defaultdict(list)
    for trial in trials:
        if trial.started_ms is not None:
            started[trial.system].append(trial.started_ms)
    earlier = {system for system, times in started.items() if max(times) < cutoff_ms}
    later = {system for system, times in started.items() if min(times) >= cutoff_ms}
    if not earlier or not later:
        raise ValueError(f"{len(earlier)} systems ran before the cutoff and {len(later)} after it")
    seen: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        if trial.system in earlier:
            seen[trial.issue_id].append(trial)
    rate = {
        system: float(np.mean([t.passed for t in trials if t.system == system]))
        for system in sorted(earlier)
    }
    order = sorted(earlier, key=lambda system: (max(started[system]), system))
    repos = {trial.issue_id: trial.repo or "" for trial in trials}
    rows = [
        {
            "case_id": issue,
            "group": repo,
            **_history(seen.get(issue, []), rate, order),
            **dict((issues or {}).get(issue, {}).items()),
        }
        for issue, repo in sorted(repos.items())
    ]
    outcomes = [
        (
            trial.issue_id, trial.system, trial.passed, trial.duration_ms,
            trial.cost_usd if trial.cost_usd else None, False,
        )
        for trial in trials
        if trial.system in later
    ]  # fmt: skip
    schema = {
        "case_id": pl.String, "action": pl.String, "passed": pl.Boolean,
        "duration_ms": pl.Int64, "cost_usd": pl.Float64, "censored": pl.Boolean,
    }  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None), pl.DataFrame(
        outcomes, schema=schema, orient="row"
    )


def _history(
    tried: Sequence[Trial], rate: Mapping[str, float], order: Sequence[str]
) -> dict[str, float | None]:
    """What earlier systems' attempts tell: how many passed, above what such systems pass on
    average, among the newest, what they cost, and each system's own outcome.
    """
    passed = {trial.system: float(trial.passed) for trial in tried}
    costs = [trial.cost_usd for trial in tried if trial.cost_usd]
    n = len(tried)
    share = (sum(passed.values()) + 0.5) / (n + 1)
    newest = [passed[s] for s in order[-5:] if s in passed]
    return {
        "history_logit": float(np.log(share / (1 - share))),
        "history_above": sum(p - rate[s] for s, p in passed.items()) / max(1, n),
        "history_newest": float(np.mean(newest)) if newest else None,
        "history_log_usd": float(np.mean(np.log(costs))) if costs else None,
        **{f"passed:{system}": passed.get(system) for system in order},
    }
