"""Cases of a bench with all that was tried in them, read from its table of outcomes.

Belongs here: the table as cases, utilities of what was tried, cases whose outcome a fit may know.
Does not: what a policy would do in them (``bench_policy``), rows to learn from (``bench_rows``).
Spec: sections 8.2 and 9.4.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from planner_pipeline.bench.bench_tables import OUTCOMES_DATASET
from planner_pipeline.bench.session import OUTCOMES_FILE
from planner_pipeline.dataset.examples import read_action
from planner_pipeline.evaluation.rewards import weighted
from planner_pipeline.tables import ACTION_OUTCOMES, check_table, polars_schema
from planner_runtime.actions import HEADS, Action
from planner_runtime.inputs import epoch_ms
from planner_runtime.objective import Weights
from planner_runtime.outcomes.track_record import TrackRecordState


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One outcome. Minutes are agent-minutes of the budget's kind; None where nobody knows."""

    passed: bool
    minutes: float | None
    usd: float | None
    minutes_to_pass: float | None
    replayed: tuple[int, ...] | None


class BenchedCase(msgspec.Struct, frozen=True, kw_only=True):
    """One decision with what came of every action that was tried."""

    case_id: str
    issue_id: str
    system: str
    job_type: str
    example_id: str | None
    asked_ms: int
    question: dict[str, Any]
    tried: Mapping[Action, tuple[Tried, ...]]


def read_bench(bench: Path) -> pl.DataFrame | None:
    """``OUTCOMES_DATASET`` of a bench's directory; None where nothing was benched.

    Raises:
        pandera.errors.SchemaError: the table breaks its schema.
    """
    try:
        table = pl.read_parquet(bench / OUTCOMES_FILE)
    except FileNotFoundError:
        return None
    return check_table(OUTCOMES_DATASET, table)


def bench_bytes(bench: Path) -> bytes:
    """The file behind ``read_bench``, as it is; empty where there is none."""
    try:
        return (bench / OUTCOMES_FILE).read_bytes()
    except FileNotFoundError:
        return b""


def benched_cases(outcomes: pl.DataFrame) -> list[BenchedCase]:
    """The cases of ``OUTCOMES_DATASET``, earliest first."""
    tried: dict[str, dict[Action, list[Tried]]] = {}
    first: dict[str, dict[str, Any]] = {}
    for row in outcomes.sort("case_id", *HEADS, "repeat", "unit_id").iter_rows(named=True):
        first.setdefault(row["case_id"], row)
        minute_ms = row["minute_seconds"] * 1_000
        has_time = row["passed"] and row["duration_ms"] is not None
        one = Tried(
            passed=row["passed"],
            minutes=None if row["agent_ms"] is None else row["agent_ms"] / minute_ms,
            usd=row["cost_usd"],
            minutes_to_pass=row["duration_ms"] / minute_ms if has_time else None,
            replayed=None if row["replayed"] is None else tuple(row["replayed"]),
        )
        action = read_action([row[head] for head in HEADS])
        tried.setdefault(row["case_id"], {}).setdefault(action, []).append(one)
    cases = []
    for case_id, row in first.items():
        question = msgspec.json.decode(row["planner_input"])
        cases.append(
            BenchedCase(
                case_id=case_id,
                issue_id=row["issue_id"],
                system=row["system"],
                job_type=row["job_type"],
                example_id=row["example_id"],
                asked_ms=epoch_ms(question["created_at"]),
                question=question,
                tried={action: tuple(many) for action, many in tried[case_id].items()},
            )
        )
    return sorted(cases, key=lambda case: (case.asked_ms, case.case_id))


def may_be_learned(case: BenchedCase, state: TrackRecordState) -> bool:
    """Whether a fit may know what became of a case: it has runs of the issue, up to later."""
    return case.asked_ms <= state.until_ms and f"i:{case.issue_id}" in state.runs


def mean_utility(tried: Sequence[Tried], weights: Weights) -> float | None:
    """Of some outcomes of one action; None where what is weighed is not known of each.

    Passes, agent-minutes and dollars alone: the chance of a timeout and waiting are left out.
    """
    reward = weighted(weights)
    values = [reward(one.passed, one.minutes, one.usd) for one in tried]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def outcome_table(cases: Sequence[BenchedCase], place: Mapping[Action, int]) -> pl.DataFrame:
    """``ACTION_OUTCOMES`` of what was tried of known actions, as far as its time is known."""
    rows = []
    for case in cases:
        every = [one for many in case.tried.values() for one in many]
        number = max((n for one in every for n in one.replayed or ()), default=-1)
        seen: set[tuple[int, tuple[int, ...]]] = set()
        for action, many in case.tried.items():
            for one in many:
                if action not in place or one.minutes is None:
                    continue
                attempts = one.replayed
                if not attempts:
                    number += 1
                    attempts = (number,)
                if (place[action], attempts) in seen:
                    continue
                seen.add((place[action], attempts))
                rows.append(
                    {
                        "case_id": case.case_id,
                        "system": case.system,
                        "issue_id": case.issue_id,
                        "action": place[action],
                        "attempts": list(attempts),
                        "passed": one.passed,
                        "agent_minutes": one.minutes,
                        "minutes_to_pass": one.minutes_to_pass,
                        "cost_usd": one.usd,
                    }
                )
    return check_table(ACTION_OUTCOMES, pl.DataFrame(rows, schema=polars_schema(ACTION_OUTCOMES)))
