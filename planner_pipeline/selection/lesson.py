"""What one training set teaches: its matrix, its outcomes, the gaps in them, its resamples.

Belongs here: bringing features, outcomes and held-out cases into the arrays that members work on.
Does not: members (``members``), the choice (``choice``).
Shapes: N training cases, M held-out cases, A actions, D columns, B resamples.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from planner_pipeline.evaluation.bootstrap import row_counts
from planner_pipeline.selection.design import fit_design
from planner_pipeline.selection.scenario import Scenario
from planner_pipeline.selection.worth import Stakes

_FLOOR: Final = 1e-3  # of a scale; below it times and costs are alike to a logarithm
_SWEEPS: Final = 20
MOST_TREES: Final = 160
LEAST_TREES: Final = 60
EASY: Final = 20_000  # cases times folds up to which nothing is saved


class Effort(msgspec.Struct, frozen=True, kw_only=True):
    """How much is spent on one lesson.

    Attributes:
        n_trees: Of each forest.
        n_contenders: Actions that are compared in pairs, at most.
    """

    n_trees: int
    n_contenders: int


def effort_for(n_cases: int, n_folds: int) -> Effort:
    """As much as helps, less where the sizes would make it a long wait. No clock is asked, so that
    the answer does not depend on the machine.

    >>> [effort_for(n, folds).n_trees for n, folds in ((500, 10), (3_000, 10), (3_000, 100))]
    [160, 106, 60]
    """
    work = max(1, n_cases * n_folds)
    trees = max(LEAST_TREES, min(MOST_TREES, MOST_TREES * EASY // work))
    return Effort(n_trees=trees, n_contenders=12 if work <= EASY else 8)


class Lesson(msgspec.Struct, frozen=True, kw_only=True):
    """One training set and the cases that are held out of it.

    Attributes:
        columns: (N, D) float32 of the training cases.
        new_columns: (M, D) float32 of the held-out cases.
        groups: (N,) what is drawn together.
        utility: (N, A) penalised minutes as shares of the greatest limit; NaN where unknown.
        passed: (N, A), NaN where unknown.
        spend: (N, A) minutes or dollars, NaN where unknown.
        is_open: (A,) bool: actions that the training cases tell of.
        draws: (B, N) how often each case is in each resample of groups.
        n_contenders: Actions that are compared in pairs, at most.
        seed: For everything random.
    """

    columns: np.ndarray
    new_columns: np.ndarray
    groups: tuple[str, ...]
    utility: np.ndarray
    passed: np.ndarray
    spend: np.ndarray
    is_open: np.ndarray
    draws: np.ndarray
    n_contenders: int
    seed: int


def filled(values: np.ndarray) -> np.ndarray:
    """(N, A) with gaps closed by the action's mean plus how the case's known outcomes differ.

    Case effects are shrunk as if one more, average, outcome were known. Source: two-way additive
    model by alternating means.
    """
    known = np.isfinite(values)
    if known.all():
        return values
    data = np.where(known, values, 0.0)
    n_action, n_case = known.sum(axis=0), known.sum(axis=1)
    overall = data.sum() / max(1, known.sum())
    case = np.zeros(len(values))
    action = np.full(values.shape[1], overall)
    for _ in range(_SWEEPS):
        rest = np.where(known, values - case[:, None], 0.0).sum(axis=0)
        action = np.where(n_action > 0, rest / np.maximum(n_action, 1), overall)
        case = np.where(known, values - action, 0.0).sum(axis=1) / (n_case + 1)
    return np.where(known, values, action + case[:, None])


def action_means(values: np.ndarray) -> np.ndarray:
    """(A,) mean of each action as if every case told of it; NaN of an action without outcomes."""
    known = np.isfinite(values).any(axis=0)
    return np.where(known, filled(values).mean(axis=0), np.nan)


def in_logs(values: np.ndarray) -> np.ndarray:
    """(N, A) logarithms to base 10 of non-negative values on their own scale."""
    known = values[np.isfinite(values)]
    top = float(known.max()) if len(known) else 0.0
    logs: np.ndarray = np.log10(_FLOOR + values / top) if top > 0 else np.zeros_like(values)
    return logs


def build_lesson(
    scenario: Scenario,
    stakes: Stakes,
    training: Sequence[int] | np.ndarray,
    held_out: Sequence[int] | np.ndarray,
    *,
    effort: Effort,
    seed: int,
) -> Lesson:
    """The lesson of some cases, about others. Nothing of the held-out cases but their features is
    looked at.
    """
    rows, new = np.asarray(training), np.asarray(held_out)
    if scenario.features.width:
        design = fit_design(scenario.features[rows])
        columns = design.matrix(scenario.features[rows])
        new_columns = design.matrix(scenario.features[new])
    else:
        columns, new_columns = (np.zeros((n, 1), dtype=np.float32) for n in (len(rows), len(new)))
    utility = stakes.utility[rows] / stakes.scale
    passed, spend = stakes.outcomes.passed[rows], stakes.spend[rows]
    is_open = np.isfinite(utility).any(axis=0)
    if stakes.kind == "constrained":
        is_open &= np.isfinite(spend).any(axis=0)
    elif stakes.kind == "ordered":
        is_open &= np.isfinite(passed).any(axis=0)
    groups = tuple(scenario.groups[row] for row in rows)
    draws = row_counts(groups, np.random.default_rng(seed), effort.n_trees)
    return Lesson(
        columns=columns,
        new_columns=new_columns,
        groups=groups,
        utility=utility,
        passed=passed,
        spend=spend,
        is_open=is_open,
        draws=draws[(draws > 0).sum(axis=1) > 1],
        n_contenders=effort.n_contenders,
        seed=seed,
    )
