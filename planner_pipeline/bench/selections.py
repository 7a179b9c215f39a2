"""Candidates that were chosen: the record of a case's, what a campaign covers, their table.

Belongs here: the types, counting, reading and writing. Does not: choosing (``candidates``).
Spec: section 9.1.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

import msgspec
import polars as pl

from planner_pipeline.bench.bench_tables import CANDIDATES
from planner_pipeline.dataset.examples import read_action
from planner_pipeline.tables import check_table, polars_schema
from planner_runtime.actions import HEADS, Action

Reason = Literal[
    "baseline", "model", "best", "other_topology", "cheaper", "dearer", "coverage", "uncertainty",
    "anchor",
]  # fmt: skip


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """The candidates of one case.

    Attributes:
        actions: In order of importance, the baseline first.
        reasons: Why each is there.
        policy: How they were chosen: version and settings.
        candidate_set_hash: sha256 of ``actions`` in order.
        valid_set_hash: sha256 of all ``n_valid`` valid actions, as in a policy trace.
        is_anchor: Drawn to evaluate every valid action.
    """

    case_id: str
    issue_id: str
    job_type: str
    actions: tuple[Action, ...]
    reasons: tuple[Reason, ...]
    policy: str
    seed: int
    candidate_set_hash: str
    valid_set_hash: str
    n_valid: int
    is_anchor: bool = False


class Coverage:
    """How often a campaign chose each bin, each action and for which reason, by job type."""

    def __init__(self, selections: Iterable[Selection] = ()) -> None:
        self._bins: Counter[tuple[str, int, int | str]] = Counter()
        self._actions: Counter[tuple[str, Action]] = Counter()
        self._reasons: Counter[tuple[str, str]] = Counter()
        for selection in selections:
            for action, reason in zip(selection.actions, selection.reasons, strict=True):
                self.add(selection.job_type, action, reason)

    def add(self, job_type: str, action: Action, reason: Reason) -> None:
        """Count one candidate."""
        self._bins.update((job_type, head, choice) for head, choice in enumerate(action))
        self._actions[job_type, action] += 1
        self._reasons[job_type, reason] += 1

    def copy(self) -> "Coverage":
        """The same counts, to go on counting by themselves."""
        same = Coverage()
        same._bins, same._actions = self._bins.copy(), self._actions.copy()
        same._reasons = self._reasons.copy()
        return same

    def of_bins(self, job_type: str, action: Action) -> tuple[int, ...]:
        """How often each choice of ``action`` was made, in the order of ``HEADS``."""
        return tuple(self._bins[job_type, head, choice] for head, choice in enumerate(action))

    def of_action(self, job_type: str, action: Action) -> int:
        """How often the whole action was chosen."""
        return self._actions[job_type, action]

    def of_reason(self, job_type: str, reason: Reason) -> int:
        """How many candidates are there for ``reason``."""
        return self._reasons[job_type, reason]


_SHARED = (
    "case_id", "issue_id", "job_type", "policy", "seed", "candidate_set_hash", "valid_set_hash",
    "n_valid", "is_anchor",
)  # fmt: skip


def candidate_table(
    selections: Iterable[Selection], *, bench_config_hash: str | None = None
) -> pl.DataFrame:
    """``CANDIDATES``: a row for each candidate of each selection, in their order."""
    rows = [
        {
            **{name: getattr(selection, name) for name in _SHARED},
            "position": position,
            **{head: str(choice) for head, choice in zip(HEADS, action, strict=True)},
            "reason": reason,
            "bench_config_hash": bench_config_hash,
        }
        for selection in selections
        for position, (action, reason) in enumerate(
            zip(selection.actions, selection.reasons, strict=True)
        )
    ]
    return check_table(CANDIDATES, pl.DataFrame(rows, schema=polars_schema(CANDIDATES)))


def read_selections(table: pl.DataFrame) -> list[Selection]:
    """The selections in a ``CANDIDATES`` table, by case id; the order of its rows is no matter.

    Raises:
        pandera.errors.SchemaError: it is no such table.
        msgspec.ValidationError: a reason or an action is none of ours.
    """
    rows = check_table(CANDIDATES, table).sort("case_id", "position").iter_rows(named=True)
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        known = found.setdefault(
            row["case_id"],
            {**{name: row[name] for name in _SHARED}, "actions": [], "reasons": []},
        )
        known["actions"].append(read_action([row[head] for head in HEADS]))
        known["reasons"].append(row["reason"])
    return [msgspec.convert(fields, Selection) for fields in found.values()]
