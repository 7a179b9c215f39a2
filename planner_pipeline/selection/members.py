"""The estimates that a choice is made from, each out of bag for the training cases.

Belongs here: which members there are, what each is grown for, and their blend. Does not: trees
(``forest``, ``pairwise``), choosing (``choice``).
Shapes: N training cases, M new cases, A actions, D columns, B resamples.

Members disagree in kind: two forests, a kernel, and pairs of actions. Their blend by fixed weights
did better than the best of them, or the best blend, chosen out of bag (docs/select.md).
"""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from planner_pipeline.selection.forest import Estimate, Growth, grow_forest
from planner_pipeline.selection.lesson import Lesson, filled, in_logs
from planner_pipeline.selection.pairwise import fit_pairs
from planner_pipeline.selection.smooth import fit_kernel, fit_ridges
from planner_pipeline.selection.worth import Kind

FOREST_WEIGHT: Final = 2  # of each forest in the blend, where any other member has 1
MAX_TRIED: Final = 64  # columns a split looks at, at most


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What the members say together.

    Attributes:
        score: (N|M, A) what to choose by, the higher the better; -inf of closed actions. None
            where the choice is made by the other three.
        utility: Expected, as scaled in the lesson.
        p_pass: In [0, 1].
        spend: Expected, or NaN where no spending is known.
        members: Names of the members of ``score``.
    """

    score: Estimate | None
    utility: Estimate
    p_pass: Estimate
    spend: Estimate
    members: tuple[str, ...]


def _centred(values: np.ndarray) -> np.ndarray:
    centred: np.ndarray = values - values.mean(axis=1, keepdims=True)
    return centred


def _unit(values: np.ndarray) -> np.ndarray:
    spread = float(values.std())
    return values / spread if spread > 1e-12 else values


def split_targets(lesson: Lesson, kind: Kind) -> np.ndarray:
    """(N, T) what cases are told apart by: how the actions differ from each other in the case."""
    utility = filled(lesson.utility)
    blocks = [_unit(_centred(utility))]
    if kind == "penalised_duration":
        blocks.append(_unit(_centred(filled(in_logs(-lesson.utility)))))
    elif kind != "utility":
        blocks = [_unit(_centred(filled(lesson.passed))), _unit(filled(lesson.passed))]
        if np.isfinite(lesson.spend).any():
            blocks.append(_unit(filled(in_logs(lesson.spend))))
    return np.concatenate([np.nan_to_num(block) for block in blocks], axis=1)


def _forests(lesson: Lesson, targets: np.ndarray) -> list[Estimate]:
    outcomes = np.concatenate([lesson.utility, lesson.passed, lesson.spend], axis=1)
    share = min(0.33, MAX_TRIED / lesson.columns.shape[1])
    share = max(share, min(1.0, 4 / lesson.columns.shape[1]))
    return [
        grow_forest(
            lesson.columns,
            targets,
            outcomes,
            lesson.new_columns,
            draws=lesson.draws,
            growth=growth,
            seed=lesson.seed * 7 + number,
        )
        for number, growth in enumerate(
            (
                Growth(splits="random", least_cases=4, column_share=share),
                Growth(splits="best", least_cases=5, column_share=share),
            )
        )
    ]


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of estimates."""
    return Estimate(
        own=np.mean([e.own for e in estimates], axis=0),
        new=np.mean([e.new for e in estimates], axis=0),
    )


def standardised(estimate: Estimate) -> Estimate:
    """Scores less their mean in the case, in units of their spread over the training cases.

    What is -inf stays so low that one member is enough to rule an action out.
    """

    def centred(values: np.ndarray) -> np.ndarray:
        known = np.isfinite(values)
        n = np.maximum(known.sum(axis=1, keepdims=True), 1)
        mean = np.where(known, values, 0.0).sum(axis=1, keepdims=True) / n
        return np.where(known, values - mean, np.nan)

    own, new = centred(estimate.own), centred(estimate.new)
    known = own[np.isfinite(own)]
    spread = float(known.std()) if len(known) else 0.0
    unit = spread if spread > 1e-12 else 1.0
    return Estimate(
        own=np.nan_to_num(own / unit, nan=-50.0), new=np.nan_to_num(new / unit, nan=-50.0)
    )


def forecast(lesson: Lesson, kind: Kind) -> Forecast:
    """Fit every member to a lesson and blend them."""
    n_actions = lesson.utility.shape[1]
    forests = _forests(lesson, split_targets(lesson, kind))
    together = mean_of(forests)

    def part(estimate: Estimate, number: int) -> Estimate:
        columns = slice(number * n_actions, (number + 1) * n_actions)
        return Estimate(own=estimate.own[:, columns], new=estimate.new[:, columns])

    score = None
    names: tuple[str, ...] = ("random forest", "forest")
    if kind in ("penalised_duration", "utility"):
        raw = lesson.utility if kind == "utility" else -in_logs(-lesson.utility)
        smooth = fit_kernel(lesson, np.nan_to_num(filled(raw)))
        votes, gains = fit_pairs(lesson)
        grown = [part(one, 0) for one in forests]
        members = [*grown * FOREST_WEIGHT, smooth, gains, votes]
        score = mean_of([standardised(_only(one, lesson.is_open)) for one in members])
        names = (*names, "kernel", "pairs by difference", "pairs by vote")
    p_pass = part(together, 1)
    if kind == "constrained":
        linear = fit_ridges(lesson, np.nan_to_num(filled(lesson.passed)))
        p_pass = mean_of([p_pass, linear])
        names = (*names, "linear")
    return Forecast(
        score=score,
        utility=_only(part(together, 0), lesson.is_open),
        p_pass=p_pass,
        spend=_only(part(together, 2), np.isfinite(lesson.spend).any(axis=0), np.nan),
        members=names,
    )


def _only(estimate: Estimate, is_open: np.ndarray, closed: float = -np.inf) -> Estimate:
    return Estimate(
        own=np.where(is_open, estimate.own, closed), new=np.where(is_open, estimate.new, closed)
    )
