"""Predictions: what model, heuristic and prior say of every held-out example.

Belongs here: one row an example, from logits and labels. Does not: summing rows up
(``diagnostics``). Spec: sections 7.1 and 8.1; the model decodes exactly as the runtime does.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.dataset.examples import Example
from planner_pipeline.tables import PREDICTIONS, build_table, fields
from planner_runtime.actions import (
    HEADS,
    Action,
    ActionSpace,
    choice_matrix,
    head_masks,
    valid_actions,
)
from planner_runtime.calibration import Calibration
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.reading import read_document
from planner_runtime.decode import decode_joint
from planner_runtime.heuristic import baseline_action
from planner_runtime.kernel_config import KernelConfig


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One held-out example.

    Attributes:
        model: The model's action; ``served`` is the heuristic's where the planner abstains.
        is_forced: For each head whether the job type leaves one choice only.
        abstains: Whether the confidence is below the threshold.
        label_prob: Joint probability the model gives the executed action.
        brier: Sum over valid actions of (p - is_label)^2, in [0, 2].
    """

    example_id: str
    issue_id: str | None
    job_type: str
    split: str
    label: Action
    model: Action
    heuristic: Action
    prior: Action
    served: Action
    is_forced: tuple[bool, ...]
    abstains: bool
    confidence: float
    label_prob: float
    prior_label_prob: float
    brier: float


class Prior:
    """The most frequent executed action of each job type, with add-one smoothed probabilities."""

    def __init__(
        self, labels: Iterable[Action], job_types: Iterable[str], space: ActionSpace
    ) -> None:
        self._space = space
        self._counts: dict[str, Counter[Action]] = {}
        for label, job_type in zip(labels, job_types, strict=True):
            self._counts.setdefault(job_type, Counter())[label] += 1

    def action(self, job_type: str) -> Action:
        """The likeliest action; ties go to the earlier one in VALID_ACTIONS."""
        counts = self._counts.get(job_type, Counter())
        return max(valid_actions(self._space, job_type), key=lambda a: counts[a])

    def probability(self, job_type: str, action: Action) -> float:
        """Smoothed share of ``action`` among the training labels of its job type."""
        counts = self._counts.get(job_type, Counter())
        n_valid = len(valid_actions(self._space, job_type))
        return (counts[action] + 1) / (counts.total() + n_valid)


def predict(
    examples: Iterable[Example],
    logits: Sequence[np.ndarray],
    *,
    space: ActionSpace,
    calibration: Calibration,
    prior: Prior,
    kernel_config: KernelConfig,
) -> list[Prediction]:
    """Predictions of ``examples``, in their order.

    Args:
        logits: Per head (N, C), row i for example i.
    """
    temperatures = calibration.in_head_order()
    rows = []
    for i, example in enumerate(examples):
        job = example.job_type
        actions = valid_actions(space, job)
        masks = head_masks(space, job)
        decision = decode_joint(
            [head[i] for head in logits], temperatures, choice_matrix(space, job), masks
        )
        question = read_document(example.planner_input, PlannerInput)
        heuristic = baseline_action(space, question, kernel_config)
        label_row = actions.index(example.label)
        is_label = np.zeros(len(actions))
        is_label[label_row] = 1.0
        abstains = decision.confidence < calibration.confidence_threshold
        rows.append(
            Prediction(
                example_id=example.example_id,
                issue_id=example.issue_id,
                job_type=job,
                split=example.split,
                label=example.label,
                model=actions[decision.index],
                heuristic=heuristic,
                prior=prior.action(job),
                served=heuristic if abstains else actions[decision.index],
                is_forced=tuple(bool(mask.sum() == 1) for mask in masks),
                abstains=abstains,
                confidence=decision.confidence,
                label_prob=float(decision.joint_probs[label_row]),
                prior_label_prob=prior.probability(job, example.label),
                brier=float(np.square(decision.joint_probs - is_label).sum()),
            )
        )
    return rows


def logits_of(table: pl.DataFrame) -> list[np.ndarray]:
    """Per head (N, C) float32 from a logits table."""
    return [np.asarray(table[name].to_list(), dtype=np.float32) for name in HEADS]


def predictions_table(rows: Sequence[Prediction]) -> pl.DataFrame:
    """Predictions as a table; actions as four texts in head order."""

    def texts(name: str) -> Callable[[Prediction], list[str]]:
        return lambda row: [str(choice) for choice in getattr(row, name)]

    columns = fields("example_id", "issue_id", "job_type", "split", "abstains", "confidence")
    columns |= fields("label_prob", "prior_label_prob", "brier")
    columns |= {name: texts(name) for name in ("label", "model", "heuristic", "prior", "served")}
    columns["is_forced"] = lambda row: list(row.is_forced)
    return build_table(PREDICTIONS, rows, columns)
