"""A workspace's runs and decisions as data for the outcome model.

Belongs here: which tries belong to which decision, under which limit. Does not: reading runs
(``parts``) or examples (``dataset.reader``), fitting. Spec: sections 5.3 and 7.4.

A decision is a group of runs and a toolchain that ran in it: what is known of toolchains differs,
so a vote of two is two decisions with one question. A limit that was not recorded is the default of
``planner_runtime.outcomes.features``.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.training.outcome_data import Decisions, tries_of_runs
from planner_pipeline.training.outcome_model import OutcomeData, Scored
from planner_runtime.action_set import ActionSet
from planner_runtime.actions import HEADS
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.reading import read_document
from planner_runtime.outcomes.features import action_numbers, plain_vector

RUN_COLUMNS: Final = (
    "run_id", "group_id", "issue_id", "job_type", "toolchain", "status", "duration_ms",
    "cost_usd", "ended_ms", "world_id",
)  # fmt: skip
NO_TOOLCHAIN: Final = "none:"  # before the job type of runs that no toolchain did


class WorkspaceOutcomes(msgspec.Struct, frozen=True):
    """Data of a workspace.

    Attributes:
        group: (G,) object array, the group of runs that each decision led to.
        questions: By group, the planner input as the data set has it.
    """

    data: OutcomeData
    group: np.ndarray
    questions: Mapping[str, dict[str, Any]]


def outcome_runs(runs: pl.DataFrame) -> pl.DataFrame:
    """Runs that tell of an outcome, with a name for what did them and for what they were about."""
    return runs.filter(pl.col("status").is_not_null()).with_columns(
        toolchain=pl.coalesce("toolchain", pl.lit(NO_TOOLCHAIN) + pl.col("job_type")),
        issue_id=pl.coalesce("issue_id", "world_id", "group_id"),
    )


def _numbers(labels: Sequence[Sequence[Any]]) -> np.ndarray:
    """(N, 2 + C) of executed actions, equal ones worked out once."""
    distinct = sorted({tuple(label) for label in labels}, key=str)
    place = {label: i for i, label in enumerate(distinct)}
    table = action_numbers(ActionSet(heads=HEADS, rows=tuple(distinct)))
    return table[[place[tuple(label)] for label in labels]]


def workspace_outcomes(
    dataset: Dataset, runs: pl.DataFrame, rows: pl.DataFrame, *, until_ms: int | None = None
) -> WorkspaceOutcomes:
    """Data of some examples and all runs that had ended.

    Args:
        runs: ``RUN_COLUMNS`` of the run table.
        rows: Of the data set's index: whose decisions are learned from.
        until_ms: Runs that ended later are no part of it; None for all.

    Raises:
        ValueError: no run tells of an outcome.
    """
    told = outcome_runs(runs)
    if until_ms is not None:
        told = told.filter(pl.col("ended_ms").is_not_null() & (pl.col("ended_ms") <= until_ms))
    tries = tries_of_runs(told)
    firsts = rows.unique("group_id", keep="first", maintain_order=True)
    questions: dict[str, dict[str, Any]] = {}
    label: dict[str, tuple[Any, ...]] = {}
    decided: dict[str, int] = {}
    for example in dataset.examples_of(firsts):
        questions[example.group_id] = example.planner_input
        label[example.group_id] = tuple(example.label)
        decided[example.group_id] = example.decided_ms
    place: dict[tuple[str, str], int] = {}
    members: dict[int, list[int]] = defaultdict(list)
    case = np.full(len(tries), -1, dtype=np.int64)
    for n, (group, toolchain) in enumerate(told.select("group_id", "toolchain").iter_rows()):
        if group in questions:
            row = place.setdefault((group, toolchain), len(place))
            case[n] = row
            members[row].append(n)
    groups = [group for group, _ in place]
    plain = {
        group: plain_vector(read_document(questions[group], PlannerInput)) for group in set(groups)
    }
    width = len(next(iter(plain.values()))) if plain else 0
    numbers = _numbers([label[group] for group in groups])
    data = OutcomeData(
        tries=tries,
        case=case,
        decisions=Decisions(
            np.array([toolchain for _, toolchain in place], dtype=object),
            np.array(
                [str(tries.issue[members[row][0]]) for row in range(len(place))], dtype=object
            ),
            np.array([decided[group] for group in groups], dtype=np.int64),
        ),
        base=np.array([plain[group] for group in groups], dtype=np.float32).reshape(-1, width),
        choices=numbers[:, 2:],
        scored=_scored(members, tries.passed, numbers),
        mode="as_of",
    )
    return WorkspaceOutcomes(data, np.array(groups, dtype=object), questions)


def _scored(
    members: Mapping[int, Sequence[int]], passed: np.ndarray, numbers: np.ndarray
) -> Scored:
    """One try of each decision under its limit, and all of its tries together where it had more."""
    decision, candidates, minutes, ratio = [], [], [], []
    for row, tries in members.items():
        share = float(passed[list(tries)].mean())
        for n, told in ((1, share), (len(tries), float(share > 0)))[: 1 + (len(tries) > 1)]:
            decision.append(row)
            candidates.append(float(n))
            minutes.append(float(numbers[row, 1]))
            ratio.append(told)
    return Scored(
        np.array(decision, dtype=np.int64),
        np.array(candidates, dtype=np.float32),
        np.array(minutes, dtype=np.float32),
        np.array(ratio),
    )
