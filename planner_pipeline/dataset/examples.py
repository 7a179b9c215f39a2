"""Labelled examples: a planner input and the action that was really executed.

Belongs here: which runs are examples and why the others are not, one example's row. Does not: how
inputs are built (``history``), parts of the example table (``blocks``).
Spec: sections 3.3 and 7.4 (Stage A labels).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from planner_pipeline.dataset.splits import SPLITS, Split
from planner_pipeline.history.planner_inputs import BuiltInput
from planner_runtime.actions import (
    HEADS,
    NA,
    Action,
    ActionSpace,
    executed_action,
    is_valid_action,
)
from planner_runtime.archives.runs import RunRecord
from planner_runtime.contracts.executed_plan import ExecutedPlan
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.features import feature_vector
from planner_runtime.similar_runs import Query, is_visible
from planner_runtime.tokenizer import RunBlocks, TokenBudget, tokenize


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One decision with its label.

    Attributes:
        label: The executed action, in the bins of the data set's action space.
        planner_input: The document; its history ends before ``decided_ms``.
        newest_seen_ms: Latest end among the runs in its history; 0 without any.
        epoch: Id of the settings it was decided under.
    """

    example_id: str
    group_id: str
    issue_id: str | None
    job_type: str
    decided_ms: int
    split: Split
    label: Action
    planner_input: dict[str, Any]
    input_hash: str
    newest_seen_ms: int
    epoch: str = ""


def label_of(
    plan: ExecutedPlan | None, decided_ms: int | None, job_type: str, space: ActionSpace
) -> Action | str:
    """The executed action of a run, or the reason why it labels nothing."""
    if plan is None:
        return "no_executed_plan"
    if decided_ms is None:
        return "no_decision_time"
    if plan.swarm_id_executed not in space.swarm_ids:
        return "swarm_not_in_action_space"
    action = executed_action(space, plan)
    return action if is_valid_action(action, job_type=job_type) else "invalid_action"


def example_row(
    run: RunRecord, label: Action, built: BuiltInput, *, budget: TokenBudget, blocks: RunBlocks
) -> dict[str, Any]:
    """One row of the example table: the input, its tokens and features as the runtime makes them,
    and the label.
    """
    ids = tokenize(built.question, budget=budget, blocks=blocks)
    return {
        "example_id": run.run_id,
        "group_id": run.group_id,
        "issue_id": run.issue_id,
        "job_type": run.job_type,
        "domain": run.domain,
        "decided_ms": run.decided_ms,
        **{head: str(choice) for head, choice in zip(HEADS, label, strict=True)},
        "n_similar": len(built.question.history.last_n_similar_runs),
        "newest_seen_ms": built.newest_seen_ms,
        "input_hash": built.input_hash,
        "planner_input": built.text,
        "n_tokens": len(ids),
        "token_ids": ids,
        "features": feature_vector(built.question),
    }


def read_action(cells: Sequence[str]) -> Action:
    """A label from the texts of its four columns.

    >>> read_action(["serial_handoff", "1", "60", "NA"]).max_minutes_bin
    60
    """
    swarm_id, *bins = cells
    return Action(swarm_id, *(int(cell) if cell.isdecimal() else NA for cell in bins))


def count_leaks(question: PlannerInput, *, decided_ms: int, group_id: str) -> int:
    """Runs an input shows although they could not have been known. Spec: section 5.3."""
    decision = Query(
        job_type=question.job_type, domain="code", cutoff_ms=decided_ms, group_id=group_id
    )
    seen = question.history.last_n_similar_runs
    return sum(not is_visible(past, decision) for past in seen)


def splits_in_time_order(rows: Iterable[tuple[str, int, Split]]) -> list[str]:
    """What is wrong with the splits: overlaps in time, or a group in two of them.

    Args:
        rows: Group, moment of decision and split of every example.
    """
    start: dict[str, int] = {}
    split_of: dict[str, set[Split]] = {}
    for group, decided_ms, split in rows:
        start[group] = min(decided_ms, start.get(group, decided_ms))
        split_of.setdefault(group, set()).add(split)
    wrong = [f"group {group} is parted" for group, where in split_of.items() if len(where) > 1]
    edges: dict[str, list[int]] = {
        split: [start[group] for group, where in split_of.items() if split in where]
        for split in SPLITS
    }
    for earlier, later in (("train", "val"), ("val", "test"), ("train", "test")):
        if edges[earlier] and edges[later] and max(edges[earlier]) >= min(edges[later]):
            wrong.append(f"{earlier} reaches into {later}")
    return wrong
