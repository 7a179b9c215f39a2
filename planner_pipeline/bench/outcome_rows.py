"""Outcomes as tables: the data set of (x, a) -> outcome, and what policies are scored on.

Belongs here: their rows. Does not: winners (``labels``), figures (``evaluation``).
Spec: sections 7.4 (outcome values) and 9.4 ("all candidate outcomes").
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

import msgspec
import polars as pl

from planner_pipeline.bench.bench_tables import OUTCOMES_DATASET
from planner_pipeline.bench.protocol import Case
from planner_pipeline.tables import ACTION_OUTCOMES, check_table, polars_schema
from planner_runtime.actions import HEADS, Action, ActionSpace, valid_actions
from planner_runtime.contracts.bench_outcome import BenchOutcome
from planner_runtime.contracts.canonical import canonical_json
from planner_runtime.decision import action_of

_AS_THEY_ARE = (
    "case_id", "example_id", "issue_id", "system", "job_type", "input_hash", "unit_id", "repeat",
    "seed", "executor", "isolation", "status", "is_censored", "duration_ms", "agent_ms",
    "cost_usd", "minute_seconds", "bench_config_hash", "universe_hash", "base_commit",
)  # fmt: skip
_JSON = msgspec.json.Encoder(order="deterministic")

Key = tuple[str, Action]


def _key(outcome: BenchOutcome) -> Key:
    return (outcome.case_id, action_of(outcome.action))


def _sorted(outcomes: Iterable[BenchOutcome]) -> list[BenchOutcome]:
    """By case, action as text, repeat and attempts; the order they came in is no matter."""

    def order(outcome: BenchOutcome) -> tuple[str, tuple[str, ...], int, tuple[int, ...], str]:
        case_id, action = _key(outcome)
        cells = tuple(map(str, action))
        return (case_id, cells, outcome.repeat, outcome.replayed or (), outcome.unit_id)

    return sorted(outcomes, key=order)


def outcome_rows(outcomes: Iterable[BenchOutcome], cases: Iterable[Case]) -> pl.DataFrame:
    """``OUTCOMES_DATASET``: a row for each outcome, with its question and how it was made.

    The harness's failures are no rows; ``n_infra_errors`` counts them by candidate.

    Raises:
        ValueError: an outcome's case is not among ``cases``, or answers another question.
    """
    known = {case.case_id: case for case in cases}
    texts = {name: canonical_json(case.planner_input).decode() for name, case in known.items()}
    ordered = _sorted(outcomes)
    failures = Counter(_key(outcome) for outcome in ordered if outcome.status == "infra_error")
    rows = []
    for outcome in ordered:
        case = known.get(outcome.case_id)
        if case is None or case.input_hash != outcome.input_hash:
            raise ValueError(f"unit {outcome.unit_id} is of no known case with the same input")
        if outcome.status == "infra_error":
            continue
        cells = map(str, action_of(outcome.action))
        rows.append(
            {
                **{name: getattr(outcome, name) for name in _AS_THEY_ARE},
                **dict(zip(HEADS, cells, strict=True)),
                "planner_input": texts[outcome.case_id],
                "replayed": None if outcome.replayed is None else list(outcome.replayed),
                "passed": outcome.is_passed,
                "is_timeout": outcome.status == "timeout",
                "metrics": _JSON.encode(outcome.metrics).decode(),
                "n_infra_errors": failures[_key(outcome)],
                "toolchain_versions": _JSON.encode(outcome.toolchain_versions).decode(),
            }
        )
    return check_table(OUTCOMES_DATASET, pl.DataFrame(rows, schema=polars_schema(OUTCOMES_DATASET)))


def _draws(outcomes: list[BenchOutcome]) -> Iterator[tuple[BenchOutcome, list[int]]]:
    """Each outcome of one case with its attempts; one that ran is a draw with a number of its own,
    above those of all attempts.
    """
    attempts = [attempt for outcome in outcomes for attempt in outcome.replayed or ()]
    number = max(attempts, default=-1)
    for outcome in outcomes:
        if outcome.replayed is None:
            number += 1
            yield outcome, [number]
        else:
            yield outcome, list(outcome.replayed)


def action_outcomes(outcomes: Iterable[BenchOutcome], space: ActionSpace) -> pl.DataFrame:
    """``ACTION_OUTCOMES`` for ``evaluation.outcome_figures``, without the harness's failures.

    ``action`` is an index into the valid actions of the case's job type. Minutes are those of an
    action's budget: each outcome's milliseconds by the seconds that stood for its minute.

    Raises:
        ValueError: an action is not valid, or nobody measured how long an outcome's agents worked.
    """
    by_case: dict[str, list[BenchOutcome]] = defaultdict(list)
    for outcome in _sorted(outcomes):
        if outcome.status != "infra_error":
            by_case[outcome.case_id].append(outcome)
    rows = []
    for case_id, of_case in by_case.items():
        for outcome, attempts in _draws(of_case):
            action = action_of(outcome.action)
            valid = valid_actions(space, outcome.job_type)
            if action not in valid or outcome.agent_ms is None:
                why = "no agent time" if action in valid else "no valid action"
                raise ValueError(f"unit {outcome.unit_id} of case {case_id!r} has {why}")
            minute_ms = outcome.minute_seconds * 1_000
            has_time = outcome.is_passed and outcome.duration_ms is not None
            rows.append(
                {
                    "case_id": case_id,
                    "system": outcome.system,
                    "issue_id": outcome.issue_id,
                    "action": valid.index(action),
                    "attempts": attempts,
                    "passed": outcome.is_passed,
                    "agent_minutes": outcome.agent_ms / minute_ms,
                    "minutes_to_pass": (outcome.duration_ms or 0) / minute_ms if has_time else None,
                    "cost_usd": outcome.cost_usd,
                }
            )
    return check_table(ACTION_OUTCOMES, pl.DataFrame(rows, schema=polars_schema(ACTION_OUTCOMES)))
