"""Logged attempts as outcomes of actions: K candidates, so many minutes, by exact enumeration.

Belongs here: what an action would have come to on attempts that were made without it. Does not:
running anything, choosing (``evaluation.yardsticks``). Spec: section 9.

An action of K candidates is played on every subset of K attempts of its case. It passes when any
of them passed within the limit, costs the agent-minutes of all of them, each cut at the limit, and
its time to pass is the least duration among those that passed, since candidates run side by side.

This assumes that the vote finds a passing candidate whenever there is one, and that an attempt
which was cut short would have gone the same way until then. Every pass ratio for K > 1 is therefore
an upper bound on voting; say so beside any number.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote

import msgspec
import polars as pl

from planner_pipeline.sources.trials import Trial
from planner_pipeline.tables import ACTION_OUTCOMES, EXPECTED_OUTCOMES, check_table, polars_schema

MINUTE_MS: Final = 60_000
TIE: Final = 1e-9  # utilities this close are equal: sums differ by the order of their terms


class Budget(NamedTuple):
    """What an action of the replay amounts to."""

    k: int
    minutes: int


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """A case whose outcomes nobody can tell."""

    case_id: str
    reason: str


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """Outcomes of every action on every case.

    Attributes:
        outcomes: A row for each (case, action, subset of attempts), in that order; ``action`` is an
            index into the budgets. An action with more candidates than a case has attempts has no
            row there.
        left_out: Cases that cannot be replayed.
    """

    outcomes: pl.DataFrame
    left_out: tuple[LeftOut, ...]


def case_id_of(trial: Trial) -> str:
    """Name of the case an attempt belongs to: one system at one issue of one data set."""
    parts = (trial.dataset or "", trial.system, trial.issue_id)
    return "/".join(quote(part, safe="|:@ +,") for part in parts)


def cases_of(trials: Iterable[Trial]) -> dict[str, list[Trial]]:
    """Attempts of every case in the order of their numbers; cases by their ids."""
    cases: dict[str, list[Trial]] = defaultdict(list)
    for trial in sorted(trials, key=lambda trial: trial.attempt):
        cases[case_id_of(trial)].append(trial)
    return dict(sorted(cases.items()))


def _why_left_out(attempts: Sequence[Trial], case_id: str) -> LeftOut | None:
    n_unknown = sum(trial.duration_ms is None for trial in attempts)
    if not n_unknown:
        return None
    if n_unknown == len(attempts):
        return LeftOut(case_id=case_id, reason="no attempt has a duration")
    return LeftOut(case_id=case_id, reason="some attempts have no duration")


def _cost_usd(subset: Sequence[Trial], limit_ms: int) -> float | None:
    """Dollars of all attempts; None where one is not known, as that of an attempt cut short."""
    total = 0.0
    for trial in subset:
        if trial.cost_usd is None or (trial.duration_ms or 0) > limit_ms:
            return None
        total += trial.cost_usd
    return total


def case_rows(
    case_id: str, attempts: Sequence[Trial], budgets: Sequence[Budget]
) -> Iterator[tuple[Any, ...]]:
    """Outcomes of one case whose attempts all have a duration: ``ACTION_OUTCOMES``' columns."""
    for action, budget in enumerate(budgets):
        limit_ms = budget.minutes * MINUTE_MS
        for subset in combinations(attempts, budget.k):
            durations = [trial.duration_ms or 0 for trial in subset]
            passing = [
                ms
                for trial, ms in zip(subset, durations, strict=True)
                if trial.passed and ms <= limit_ms
            ]
            yield (
                case_id,
                subset[0].system,
                subset[0].issue_id,
                action,
                [trial.attempt for trial in subset],
                bool(passing),
                sum(min(ms, limit_ms) for ms in durations) / MINUTE_MS,
                min(passing) / MINUTE_MS if passing else None,
                _cost_usd(subset, limit_ms),
            )


def replay(trials: Iterable[Trial], budgets: Sequence[Budget]) -> Replay:
    """What each of ``budgets`` would have come to on each case.

    Args:
        trials: The attempts to play on: all of them, or some of each case.

    Raises:
        ValueError: a budget has no candidate or no time.
    """
    if any(budget.k < 1 or budget.minutes < 1 for budget in budgets):
        raise ValueError("a budget has at least one candidate and one minute")
    rows: list[tuple[Any, ...]] = []
    left_out = []
    for case_id, attempts in cases_of(trials).items():
        if (reason := _why_left_out(attempts, case_id)) is not None:
            left_out.append(reason)
        else:
            rows.extend(case_rows(case_id, attempts, budgets))
    table = pl.DataFrame(rows, schema=polars_schema(ACTION_OUTCOMES), orient="row")
    return Replay(outcomes=check_table(ACTION_OUTCOMES, table), left_out=tuple(left_out))


def expected_outcomes(outcomes: pl.DataFrame, budgets: Sequence[Budget]) -> pl.DataFrame:
    """A row for each (case, action): means over its subsets, and the spread of single subsets.

    ``minutes_to_pass`` is the mean over passing subsets, null where none passes; ``cost_usd`` is
    null where that of some subset is not known.
    """
    names = pl.DataFrame(
        {
            "action": list(range(len(budgets))),
            "k": [budget.k for budget in budgets],
            "minutes": [budget.minutes for budget in budgets],
        },
        schema={"action": pl.Int64, "k": pl.Int64, "minutes": pl.Int64},
    )
    passed = pl.col("passed").cast(pl.Float64)
    usd = pl.col("cost_usd")
    table = (
        outcomes.group_by("case_id", "system", "issue_id", "action", maintain_order=True)
        .agg(
            n_subsets=pl.len().cast(pl.Int64),
            pass_ratio=passed.mean(),
            pass_std=passed.std(ddof=0),
            agent_minutes=pl.col("agent_minutes").mean(),
            agent_minutes_std=pl.col("agent_minutes").std(ddof=0),
            minutes_to_pass=pl.col("minutes_to_pass").mean(),
            cost_usd=pl.when(usd.null_count() == 0).then(usd.mean()),
        )
        .join(names, on="action", how="left", maintain_order="left")
        .select(list(EXPECTED_OUTCOMES.columns))
    )
    return check_table(EXPECTED_OUTCOMES, table)


def winners(
    expected: pl.DataFrame, *, cost_weight: float, ties: Literal["first", "last"] = "first"
) -> pl.DataFrame:
    """The best action of every case by pass ratio - ``cost_weight`` x agent-minutes: columns
    ``case_id``, ``action``. It chooses on the attempts that tell of it, so it is a label to learn
    from and no score.

    Args:
        ties: Which of the actions within ``TIE``; where budgets are ordered, the last has the
            loosest limit.
    """
    utility = pl.col("pass_ratio") - cost_weight * pl.col("agent_minutes")
    action = pl.col("action")
    return (
        expected.filter(utility >= utility.max().over("case_id") - TIE)
        .group_by("case_id")
        .agg(action.min() if ties == "first" else action.max())
        .sort("case_id")
    )
