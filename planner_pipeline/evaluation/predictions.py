"""Predictions: what each predictor says of every held-out example, one row each.

Belongs here: rows from raw outputs and labels. Does not: summing rows up (``diagnostics``), models.
Spec: sections 7.1 and 8.1; actions are decoded exactly as the runtime does.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.dataset.arrays import Arrays
from planner_pipeline.dataset.examples import Example
from planner_pipeline.tables import DEFAULT_CHOICES, PREDICTIONS, check_table, polars_schema
from planner_runtime.actions import HEADS, ActionSpace, action_to_indices
from planner_runtime.calibration import Calibration
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.reading import read_document
from planner_runtime.decode import Decoding, action_log_probs
from planner_runtime.heuristic import baseline_action
from planner_runtime.kernel_config import KernelConfig

MODEL: Final = "model"
HEURISTIC: Final = "heuristic"
SERVED: Final = "served"
WORSE: Final = "the default repeats what was executed and the model does not"
LEAST_PROB: Final = 1e-12


class Answers(msgspec.Struct, frozen=True):
    """What a model says of N rows.

    Attributes:
        actions: (N, H) int64, the choices of the likeliest valid action.
        confidence: (N,) its probability among the valid actions.
        label_prob: (N,) the label's probability.
        brier: (N,) sum over valid actions of (p - is_label)^2, in [0, 2].
    """

    actions: np.ndarray
    confidence: np.ndarray
    label_prob: np.ndarray
    brier: np.ndarray


def answers_of(
    outputs: Sequence[np.ndarray],
    arrays: Arrays,
    decoding: Decoding,
    temperatures: Mapping[str, float],
) -> Answers:
    """Decode raw outputs, each (N, width), as ``planner_runtime.decode.output_widths`` says."""
    n = len(arrays)
    actions = np.zeros((n, len(HEADS)), dtype=np.int64)
    confidence, label_prob, brier = np.zeros(n), np.zeros(n), np.zeros(n)
    for job, table in enumerate(arrays.tables):
        rows = np.flatnonzero(arrays.jobs == job)
        log_probs = action_log_probs([one[rows] for one in outputs], temperatures, table, decoding)
        probs = np.exp(log_probs)
        best, label = log_probs.argmax(axis=1), table.column_of(arrays.labels[rows])
        here = np.arange(len(rows))
        actions[rows] = table.choices[best]
        confidence[rows], label_prob[rows] = probs[here, best], probs[here, label]
        brier[rows] = np.square(probs).sum(axis=1) - 2 * probs[here, label] + 1
    return Answers(actions, confidence, label_prob, brier)


def heuristic_choices(
    examples: Iterable[Example], space: ActionSpace, config: KernelConfig
) -> np.ndarray:
    """(N, H) int64: what the kernel's own rules would do in each example."""
    found = [
        action_to_indices(
            space,
            baseline_action(space, read_document(example.planner_input, PlannerInput), config),
        )
        for example in examples
    ]
    return np.array(found, dtype=np.int64).reshape(-1, len(HEADS))


def choices_table(rows: pl.DataFrame, choices: np.ndarray) -> pl.DataFrame:
    """(N, H) choices of some rows of the index, with their roles, as a table."""
    column = pl.Series("choices", choices.tolist(), dtype=pl.List(pl.Int64))
    return check_table(DEFAULT_CHOICES, rows.select("example_id", "role").with_columns(column))


def choices_of(table: pl.DataFrame) -> np.ndarray:
    """(N, H) int64 of ``choices_table``."""
    flat = table["choices"].explode(empty_as_null=False).to_numpy()
    return flat.reshape(-1, len(HEADS))


def is_worse(answers: Answers, arrays: Arrays, defaults: np.ndarray) -> np.ndarray:
    """(N,) bool: the default repeats what was executed and the model does not.

    Args:
        defaults: (N, H) int64, choices of the default action.
    """
    right = (answers.actions == arrays.labels).all(axis=1)
    worse: np.ndarray = (defaults == arrays.labels).all(axis=1) & ~right
    return worse


class _Rows:
    """Columns that every predictor's rows share."""

    def __init__(self, rows: pl.DataFrame, arrays: Arrays) -> None:
        self._space = arrays.space
        masks = arrays.masks()
        forced = np.stack([mask.sum(axis=1) == 1 for mask in masks], axis=1)
        self._shared = rows.select("example_id", "issue_id", "job_type", "role").with_columns(
            pl.Series("label", self.texts(arrays.labels), dtype=pl.List(pl.String)),
            pl.Series("is_forced", forced.tolist(), dtype=pl.List(pl.Boolean)),
        )

    def texts(self, actions: np.ndarray) -> list[list[str]]:
        choices = self._space.choices
        return [
            [str(choices[head][choice]) for head, choice in enumerate(row)]
            for row in actions.tolist()
        ]

    def of(
        self, predictor: str, actions: np.ndarray, answers: Answers | None, abstains: np.ndarray
    ) -> pl.DataFrame:
        n = len(actions)

        def number(values: np.ndarray | None, name: str) -> pl.Series:
            told = [None] * n if values is None else np.clip(values, 0.0, None).tolist()
            return pl.Series(name, told, dtype=pl.Float64)

        return self._shared.with_columns(
            pl.lit(predictor).alias("predictor"),
            pl.Series("action", self.texts(actions), dtype=pl.List(pl.String)),
            pl.Series("abstains", abstains, dtype=pl.Boolean),
            number(None if answers is None else answers.confidence, "confidence"),
            number(None if answers is None else answers.label_prob, "label_prob"),
            number(None if answers is None else answers.brier, "brier"),
        )


class Said(msgspec.Struct, frozen=True):
    """Raw outputs of one predictor and how they are read."""

    outputs: Sequence[np.ndarray]
    decoding: Decoding
    temperatures: Mapping[str, float]


def predictions_table(
    rows: pl.DataFrame,
    arrays: Arrays,
    *,
    model: Said,
    calibration: Calibration,
    defaults: np.ndarray,
    references: Mapping[str, Said],
) -> pl.DataFrame:
    """Rows of the model, of what would be served, of the heuristic and of other predictors.

    Args:
        rows: Of the data set's index, with roles.
        arrays: The same rows.
        defaults: (N, H) int64, choices of the heuristic.
        references: Predictors to compare with, by name.
    """
    table = _Rows(rows, arrays)
    said = answers_of(model.outputs, arrays, model.decoding, model.temperatures)
    abstains = np.array([not calibration.follows(c) for c in said.confidence], dtype=bool)
    never = np.zeros(len(arrays), dtype=bool)
    served = np.where(abstains[:, None], defaults, said.actions)
    tables = [
        table.of(MODEL, said.actions, said, abstains),
        table.of(SERVED, served, None, abstains),
        table.of(HEURISTIC, defaults, None, never),
    ]
    for name, one in references.items():
        answers = answers_of(one.outputs, arrays, one.decoding, one.temperatures)
        tables.append(table.of(name, answers.actions, answers, never))
    names = list(polars_schema(PREDICTIONS))
    return check_table(PREDICTIONS, pl.concat(tables).select(names))
