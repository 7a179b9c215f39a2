"""Labelled examples: a planner input and the action that was really executed.

Belongs here: which runs are examples and why the others are not. Does not: how inputs are built
(``history``). Spec: sections 3.3 and 7.4 (Stage A labels).
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from planner_pipeline.dataset.splits import SPLITS, Split, time_splits
from planner_pipeline.history.assemble import run_order
from planner_pipeline.history.planner_inputs import InputBuilder
from planner_pipeline.history.runs import RunRecord
from planner_runtime.actions import Action, ActionSpace, executed_action, is_valid_action
from planner_runtime.contracts.canonical import document_hash, input_hash
from planner_runtime.similar_runs import DEFAULT_WEIGHTS, SimilarityWeights


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One decision with its label.

    Attributes:
        label: The executed action, in the bins of the data set's action space.
        planner_input: The document; its history ends before ``decided_ms``.
        newest_seen_ms: Latest end among the runs in its history; 0 without any.
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


def label_of(run: RunRecord, space: ActionSpace) -> Action | str:
    """The executed action of a run, or the reason why it labels nothing."""
    if run.plan is None:
        return "no_executed_plan"
    if run.decided_ms is None:
        return "no_decision_time"
    if run.plan.swarm_id_executed not in space.swarm_ids:
        return "swarm_not_in_action_space"
    action = executed_action(space, run.plan)
    return action if is_valid_action(action, job_type=run.job_type) else "invalid_action"


def count_not_examples(runs: Sequence[RunRecord], space: ActionSpace) -> dict[str, int]:
    """How many runs are no example, by reason."""
    labels = (label_of(run, space) for run in runs)
    return dict(sorted(Counter(label for label in labels if isinstance(label, str)).items()))


def build_examples(
    runs: Sequence[RunRecord],
    *,
    space: ActionSpace,
    n_similar: int = 8,
    weights: SimilarityWeights = DEFAULT_WEIGHTS,
) -> list[Example]:
    """Examples of all runs that have a label, in time order whatever the order of ``runs``.

    The asset check ``every_input_keeps_its_contract`` reads every input back.
    """
    builder = InputBuilder(runs, space=space, n_similar=n_similar, weights=weights)
    labels = ((run, label_of(run, space)) for run in sorted(runs, key=run_order))
    labelled = [(run, label) for run, label in labels if isinstance(label, Action)]
    splits = time_splits([(run.decided_ms or 0, run.group_id) for run, _ in labelled])
    return [
        _example(run, label, split, builder.planner_input(run))
        for (run, label), split in zip(labelled, splits, strict=True)
    ]


def _example(run: RunRecord, label: Action, split: Split, document: dict[str, Any]) -> Example:
    seen = document["history"]["last_n_similar_runs"]
    return Example(
        example_id=run.run_id,
        group_id=run.group_id,
        issue_id=run.issue_id,
        job_type=run.job_type,
        decided_ms=run.decided_ms or 0,
        split=split,
        label=label,
        planner_input=document,
        input_hash=input_hash(document),
        newest_seen_ms=max((past["ended_ms"] for past in seen), default=0),
    )


def leaks(examples: Sequence[Example]) -> list[str]:
    """Every run an example shows although it could not have been known. Spec: section 5.3."""
    found = []
    for example in examples:
        for past in example.planner_input["history"]["last_n_similar_runs"]:
            is_known = (
                past["started_ms"] < example.decided_ms
                and past.get("ended_ms") is not None
                and past["ended_ms"] <= example.decided_ms
                and past.get("group_id") != example.group_id
            )
            if not is_known:
                found.append(f"{example.example_id} sees {past['run_id']}")
    return found


def splits_in_time_order(examples: Sequence[Example]) -> list[str]:
    """What is wrong with the splits: overlaps in time, or a group in two of them."""
    start: dict[str, int] = {}
    split_of: dict[str, set[Split]] = {}
    for example in examples:
        group = example.group_id
        start[group] = min(example.decided_ms, start.get(group, example.decided_ms))
        split_of.setdefault(group, set()).add(example.split)
    wrong = [f"group {group} is parted" for group, where in split_of.items() if len(where) > 1]
    edges: dict[str, list[int]] = {
        split: [start[group] for group, where in split_of.items() if split in where]
        for split in SPLITS
    }
    for earlier, later in (("train", "val"), ("val", "test"), ("train", "test")):
        if edges[earlier] and edges[later] and max(edges[earlier]) >= min(edges[later]):
            wrong.append(f"{earlier} reaches into {later}")
    return wrong


def dataset_hash(examples: Sequence[Example], settings: dict[str, Any]) -> str:
    """sha256 of everything a model could learn from, and of nothing else.

    Args:
        examples: In any order.
        settings: What the tokens and features depend on: action space, vocabulary, weights.
    """
    rows = [
        [
            example.example_id,
            example.decided_ms,
            example.split,
            list(example.label),
            document_hash(example.planner_input),
        ]
        for example in sorted(examples, key=lambda e: (e.decided_ms, e.example_id))
    ]
    return document_hash({"settings": settings, "examples": rows})
