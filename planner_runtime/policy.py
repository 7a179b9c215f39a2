"""The decision by outcomes: which actions are open, which is best, whether to follow it, and why.

Belongs here: hard caps, the safe set, guardrails by risk class, the choice by lower bounds, the
confidence that it is no worse than the baseline. Does not: predicting outcomes
(``outcomes.model``), drawing by chance (``exploration``), records (``planner``). Spec: sections
7.4 and 10.3; formats 7.3 (a kernel enforces reductions only). Shapes: M members, A actions.
"""

import math
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import numpy as np

from planner_runtime.action_set import ActionSet
from planner_runtime.contracts.planner_input import Risk
from planner_runtime.objective import (
    TIE,
    Guardrail,
    Objective,
    Outlook,
    Scores,
    cautious,
    lower_bounds,
    ranked,
)

Bound = Literal[
    "cap",
    "not_a_reduction",
    "topology",
    "kernel",
    "guardrail_pass",
    "guardrail_saving",
    "unknown_outcome",
]
# the numbers of a decision differ by rounding from machine to machine; its choice must not
DECIMALS: Final = 9


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a kernel allows, whatever a model says.

    Attributes:
        caps: By budget head, its greatest number; "NA" is above every cap.
        reductions_only: Whether only budgets at or below the baseline's are open.
        topology_changes: Whether another topology is open where reductions are not all there is;
            with ``reductions_only`` its budgets must still be reductions.
    """

    caps: dict[str, float] = msgspec.field(default_factory=dict)
    reductions_only: bool = True
    topology_changes: bool = False


SAFE_LIMITS: Final = Limits()
NO_LIMITS: Final = Limits(reductions_only=False, topology_changes=True)


class NothingOpenError(ValueError):
    """Every action is closed, so there is nothing to prefer.

    Attributes:
        bounds: What closed each action.
    """

    def __init__(self, bounds: tuple[Bound, ...]) -> None:
        super().__init__(f"no action is open: {', '.join(sorted(set(bounds)))}")
        self.bounds = bounds


class Preference(msgspec.Struct, frozen=True, kw_only=True):
    """What an objective prefers in one decision.

    Attributes:
        chosen: Index of the preferred action.
        baseline: Index of what would be done without a model.
        bounds: (A,) for every action why it was closed; None: it was open.
        confidence: Chance that the preferred action's utility is not below the baseline's, as the
            spread of the members tells; 1 where they are the same action.
        gain: Mean utility above the baseline's.
        utility: (A,) mean utility.
        lower: (A,) lower bound of the utility.
    """

    chosen: int
    baseline: int
    bounds: tuple[Bound | None, ...]
    confidence: float
    gain: float
    utility: np.ndarray
    lower: np.ndarray

    def binding(self, runner: int) -> Bound | None:
        """Why ``runner`` was not open."""
        return self.bounds[runner]


def over_caps(actions: ActionSet, limits: Limits) -> np.ndarray:
    """(A,) bool: a budget is above its cap.

    Raises:
        ValueError: a cap is of a head that is no budget.
    """
    if unknown := set(limits.caps) - set(actions.budgets):
        raise ValueError(f"caps of {sorted(unknown)}, which are no budgets")
    over = np.zeros(len(actions), dtype=bool)
    for head, cap in sorted(limits.caps.items()):
        over |= actions.budget(head) > cap
    return over


def held_to_caps(actions: ActionSet, baseline: int, limits: Limits) -> int | None:
    """Row of the baseline, or where a cap closes it of the reduction that is most like it: the
    fewest other choices, then the greatest budgets. None: no cap leaves anything of it.

    Raises:
        ValueError: a cap is of a head that is no budget.
    """
    over = over_caps(actions, limits)
    if not over[baseline]:
        return baseline
    budgets = np.array([actions.budget(head) for head in actions.budgets])  # (budget heads, A)

    def likeness(row: int) -> tuple[int, tuple[float, ...], int]:
        pairs = zip(actions.rows[row], actions.rows[baseline], strict=True)
        return sum(a == b for a, b in pairs), tuple(budgets[:, row].tolist()), -row

    left = np.flatnonzero(~over & actions.is_reduction(baseline)).tolist()
    return max(left, key=likeness, default=None)


def closed_by_limits(actions: ActionSet, baseline: int, limits: Limits) -> list[Bound | None]:
    """(A,) which limit closes each action. The baseline is closed by caps alone.

    Raises:
        ValueError: a cap is of a head that is no budget.
    """
    bounds: list[Bound | None] = [None] * len(actions)
    over = over_caps(actions, limits)
    same = actions.same_topology(baseline)
    dearer = np.zeros(len(actions), dtype=bool)
    for head in actions.budgets:
        values = actions.budget(head)
        dearer |= values > values[baseline]
    for row in range(len(actions)):
        if over[row]:
            bounds[row] = "cap"
        elif not limits.topology_changes and not same[row]:
            bounds[row] = "topology"
        elif limits.reductions_only and dearer[row]:
            bounds[row] = "not_a_reduction"
    return bounds


def _guarded(
    outlook: Outlook, objective: Objective, guard: Guardrail, baseline: int
) -> tuple[np.ndarray, np.ndarray]:
    """(A,) each: passes the guard on the chance to pass; passes the guard on saving.

    Both compare with the baseline member by member, so that what a member gets wrong for both
    cancels, and at the objective's caution.
    """
    passing = outlook.p_pass - outlook.p_pass[:, [baseline]]
    keeps = cautious(passing, objective.caution) >= -guard.pass_within - TIE
    if not guard.saving:
        return keeps, np.ones(len(keeps), dtype=bool)
    spent = outlook.metric(objective.spend)
    with np.errstate(invalid="ignore"):
        saved = (1 - guard.saving) * spent[:, [baseline]] - spent
        saves = cautious(saved, objective.caution) >= -TIE * np.maximum(1.0, spent.mean(axis=0))
    return keeps, saves


def _normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def confidence_of(gains: np.ndarray) -> float:
    """Chance that a gain is not below zero, from its (M,) values by the members.

    A normal distribution with their mean and their standard deviation; of one member, or of members
    that agree exactly, the sign of the gain decides; a gain that nobody knows inspires none.
    """
    mean = round(float(gains.mean()), DECIMALS)
    if not math.isfinite(mean):
        return 0.0
    with np.errstate(over="ignore"):  # beyond all numbers: nothing is sure
        spread = float(gains.std(ddof=1)) if len(gains) > 1 else 0.0
    if spread < 10**-DECIMALS:
        return 1.0 if mean >= 0 else 0.0
    return round(_normal_cdf(mean / spread), DECIMALS)


def preferred_without_limits(
    outlook: Outlook, objective: Objective, baseline: int, *, scores: Scores | None = None
) -> int | None:
    """Row of the action that an objective would take were every action open; what its bound says is
    which constraint a decision felt. None: nothing is known of any.

    Raises:
        ValueError: the objective is ``constrained`` and has no price.
    """
    scores = scores or Scores(outlook, objective)
    known = scores.known
    if not known.any():
        return None
    reference = _reference(known, baseline)
    return int(ranked(outlook, objective, known, reference, n=1, scores=scores)[0])


def _reference(open_: np.ndarray, baseline: int) -> int:
    """What gains are measured from: the baseline where its outcome is known and it is open, else
    the first action that is.
    """
    return baseline if open_[baseline] else int(np.flatnonzero(open_)[0])


def prefer(
    outlook: Outlook,
    objective: Objective,
    actions: ActionSet,
    baseline: int,
    *,
    limits: Limits = SAFE_LIMITS,
    risk: Risk | None = None,
    enforceable: np.ndarray | None = None,
    closed: Sequence[Bound | None] | None = None,
    scores: Scores | None = None,
) -> Preference:
    """The action an objective prefers among those that limits and guardrails leave open.

    Args:
        baseline: Row of the action that would be taken without a model.
        enforceable: (A,) bool, what the kernel would enforce; its baseline it does in any case.
        risk: The decision's risk class; a class without a guardrail, and None, asks for nothing.
        closed: What ``closed_by_limits`` says, where somebody has it.
        scores: Of this outlook and objective, likewise.

    Raises:
        NothingOpenError: every action is closed.
        ValueError: the outlook is of other actions, or the objective is ``constrained`` and has no
            price.
    """
    if outlook.p_pass.shape[1] != len(actions):
        raise ValueError(f"an outlook on {outlook.p_pass.shape[1]} of {len(actions)} actions")
    bounds = list(closed_by_limits(actions, baseline, limits) if closed is None else closed)
    scores = scores or Scores(outlook, objective)
    values = scores.utility
    known = scores.known.tolist()
    guard = objective.guardrails.get(risk) if risk is not None else None
    keeps = saves = [True] * len(actions)
    if guard is not None:
        keeps, saves = (passes.tolist() for passes in _guarded(outlook, objective, guard, baseline))
    for row in range(len(actions)):
        if bounds[row] is not None:
            continue
        if enforceable is not None and row != baseline and not enforceable[row]:
            bounds[row] = "kernel"
        elif not known[row]:
            bounds[row] = "unknown_outcome"
        elif row != baseline and not keeps[row]:
            bounds[row] = "guardrail_pass"
        elif row != baseline and not saves[row]:
            bounds[row] = "guardrail_saving"
    open_ = np.array([bound is None for bound in bounds])
    if not open_.any():
        raise NothingOpenError(tuple(bound for bound in bounds if bound is not None))
    reference = _reference(open_, baseline)
    chosen = int(ranked(outlook, objective, open_, reference, n=1, scores=scores)[0])
    gains = values[:, chosen] - values[:, baseline]
    return Preference(
        chosen=chosen,
        baseline=baseline,
        bounds=tuple(bounds),
        confidence=1.0 if chosen == baseline else confidence_of(gains),
        gain=float(gains.mean()),
        utility=np.add.reduce(values, axis=0) / len(values),
        lower=lower_bounds(values, objective.caution, reference),
    )
