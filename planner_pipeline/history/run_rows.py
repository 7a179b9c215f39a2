"""A run as a row of the run table.

Belongs here: the columns that joins and retrieval ask for. Does not: the run itself
(``planner_runtime.archives.runs``), the table (``tables``).
"""

from typing import Any, Final

import msgspec

from planner_runtime.archives.runs import (
    MAX_FAIL_CODES,
    RunRecord,
    run_summary,
    summary_text,
)
from planner_runtime.retrieval.shelf import group_number

COLUMNS: Final = (
    "run_id", "kind", "group_id", "issue_id", "job_type", "domain", "toolchain", "decided_ms",
    "started_ms", "ended_ms", "status", "duration_ms", "wall_ms", "cost_usd", "toolchain_version",
    "world_id", "objective_id",
)  # fmt: skip
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


def run_row(run: RunRecord, *, row_key: str) -> dict[str, Any]:
    """A run as a row of the run table, with its plan and summary as they are asked for later.

    What retrieval asks of a run stands in columns of its own, each term once.
    """
    summary = run_summary(run)
    return {
        **{name: getattr(run, name) for name in COLUMNS},
        "group_number": group_number(run.group_id),
        "tags": list(dict.fromkeys(run.issue.get("tags", ()))),
        "keywords": list(dict.fromkeys(run.issue.get("keywords", ()))),
        "fail_codes": list(dict.fromkeys(run.fail_codes[:MAX_FAIL_CODES])),
        "row_key": row_key,
        "plan_json": None if run.plan is None else _text(run.plan),
        "summary_json": None if summary is None else summary_text(summary),
        "record_json": _text(run),
    }


def _text(value: msgspec.Struct) -> str:
    return _ENCODER.encode(value).decode()
