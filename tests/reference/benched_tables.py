"""Tables of a bench's outcomes, built for tests: what came of some actions in some cases.

Belongs here: what those tests share. Does not: anything that is shipped.
"""

from collections.abc import Iterable
from typing import Any

import polars as pl

from planner_pipeline.bench.bench_tables import OUTCOMES_DATASET
from planner_pipeline.tables import check_table, polars_schema
from planner_runtime.actions import HEADS, NA, Action
from planner_runtime.contracts.canonical import canonical_json, document_hash
from planner_runtime.inputs import rfc3339
from tests.outcome_bundles import NOW_MS, a_question

BASELINE = Action("serial_handoff", 1, 60, NA)  # of the shipped configuration, for low risk
QUICK = Action("serial_handoff", 1, 15, NA)  # what a model prefers that sees no loss in it


def an_outcome(
    number: int, action: Action, *, passed: bool = True, minutes: float | None = None,
    asked_ms: int = NOW_MS, repeat: int = 0, usd: float | None = None,
    question: dict[str, Any] | None = None, **changes: Any,
) -> dict[str, Any]:  # fmt: skip
    """One row of ``OUTCOMES_DATASET``; all of the action's minutes are spent unless said."""
    document = question or a_question(id=f"issue-{number}")
    document = document | {"created_at": rfc3339(asked_ms)}
    spent = float(action.max_minutes_bin) if minutes is None else minutes
    ms = round(spent * 60_000)
    return {
        "case_id": f"case-{number:03d}",
        "example_id": None,
        "issue_id": f"issue-{number}",
        "system": "",
        "job_type": "code",
        "input_hash": document_hash(document),
        "planner_input": canonical_json(document).decode(),
        **dict(zip(HEADS, map(str, action), strict=True)),
        "unit_id": f"{number}-{'-'.join(map(str, action))}-{repeat}",
        "repeat": repeat,
        "seed": repeat,
        "executor": "scripted",
        "isolation": None,
        "replayed": None,
        "status": "passed" if passed else "failed",
        "passed": passed,
        "is_timeout": False,
        "is_censored": False,
        "duration_ms": ms,
        "agent_ms": ms,
        "cost_usd": usd,
        "minute_seconds": 60.0,
        "metrics": "{}",
        "n_infra_errors": 0,
        "bench_config_hash": "0" * 64,
        "universe_hash": None,
        "base_commit": None,
        "toolchain_versions": "{}",
    } | changes


def a_bench(rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """The table of some rows."""
    schema = polars_schema(OUTCOMES_DATASET)
    return check_table(OUTCOMES_DATASET, pl.DataFrame(list(rows), schema=schema))


def both_tried(n: int, *, n_worse: int = 0, days_apart: int = 0) -> pl.DataFrame:
    """Cases with the baseline and the quick action, which loses a pass in the first ``n_worse``."""
    rows = []
    for number in range(n):
        asked_ms = NOW_MS + number * days_apart * 86_400_000
        rows.append(an_outcome(number, BASELINE, asked_ms=asked_ms))
        rows.append(an_outcome(number, QUICK, passed=number >= n_worse, asked_ms=asked_ms))
    return a_bench(rows)
