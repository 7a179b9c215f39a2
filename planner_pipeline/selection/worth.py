"""What an outcome is worth here: limits, the penalised duration, the objective when none is given.

Belongs here: which objective the known columns allow, and (N, A) utilities of outcomes.
Does not: the objective document (``planner_runtime.objective``), predicting anything.
Shapes: N cases, A actions.

Penalised duration: a run that passed counts its duration, any other ``time_penalty`` times its
limit, however early it ended. Source: PAR10 of Bischl et al. 2016, arXiv 1506.02465.
"""

from typing import Final, Literal

import msgspec
import numpy as np

from planner_pipeline.selection.scenario import Outcomes, SelectionError
from planner_runtime.objective import Objective, Weights

MINUTE_MS: Final = 60_000.0
ENOUGH: Final = 0.5  # share of outcomes that must tell a duration or a cost to be ruled by it
SAME_LIMIT: Final = 1.05  # censored durations within this factor are of one limit
Kind = Literal["penalised_duration", "utility", "constrained", "ordered"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """When runs were ended.

    Attributes:
        limit_ms: (N, A).
        words: Where it is from.
    """

    limit_ms: np.ndarray
    words: str


class Stakes(msgspec.Struct, frozen=True, kw_only=True):
    """Outcomes and their worth.

    Attributes:
        kind: How the objective is worked with: ``ordered`` is lexicographic or Pareto.
        objective: The objective, given or chosen.
        outcomes: What is known.
        utility: (N, A) NaN where unknown; of ``constrained`` without its price, the pass.
        penalised_ms: (N, A) or None where durations are not known.
        limits: Of the penalised durations, or None.
        unit: What one unit of utility is, in words.
        notes: Assumptions, in words.
    """

    kind: Kind
    objective: Objective
    outcomes: Outcomes
    utility: np.ndarray
    penalised_ms: np.ndarray | None
    limits: Limits | None
    unit: str
    notes: tuple[str, ...]

    @property
    def spend(self) -> np.ndarray:
        """(N, A) what the objective counts as spending: dollars, or minutes."""
        if self.objective.spend == "cost_usd":
            return self.outcomes.cost_usd
        return self.outcomes.duration_ms / MINUTE_MS

    @property
    def scale(self) -> float:
        """Utility of one unit that members work in: the greatest limit, where time is penalised."""
        if self.kind != "penalised_duration" or self.limits is None:
            return 1.0
        return float(self.limits.limit_ms.max()) / MINUTE_MS or 1.0


def find_limits(outcomes: Outcomes) -> Limits:
    """The limit of every run, from the durations of runs that did not pass.

    One limit where the censored durations agree; else one a case or one an action where they agree
    within each; else the greatest. Without censored runs, the greatest duration of a failed run,
    and without failed runs the greatest of all.
    """
    duration, shape = outcomes.duration_ms, outcomes.duration_ms.shape
    failed = ~(outcomes.passed > 0) & np.isfinite(duration)
    ended = outcomes.is_censored & failed
    if ended.any():
        mask, words = ended, "the greatest censored duration"
    elif failed.any():
        mask, words = failed, "the greatest duration of a run that did not pass"
    else:
        mask, words = np.isfinite(duration), "the greatest duration: no run failed"
    known = np.where(mask, duration, np.nan)
    greatest = float(np.nanmax(known))
    limit = np.full(shape, greatest)
    if mask is not ended or np.nanmin(known) * SAME_LIMIT >= greatest:
        return Limits(limit_ms=limit, words=words)
    for axis, of in ((1, "case"), (0, "action")):
        top = np.where(mask, duration, -np.inf).max(axis=axis, keepdims=True)
        low = np.where(mask, duration, np.inf).min(axis=axis, keepdims=True)
        repeated = mask.sum(axis=axis, keepdims=True) > 1
        if repeated.any() and (top <= low * SAME_LIMIT)[repeated].all():
            own = np.broadcast_to(np.where(np.isfinite(top), top, greatest), shape)
            return Limits(limit_ms=own.copy(), words=f"{words} of each {of}")
    return Limits(limit_ms=limit, words=words)


def penalised(outcomes: Outcomes, limits: Limits, factor: float) -> np.ndarray:
    """(N, A) penalised durations in milliseconds; NaN where the pass, or a passing run's duration,
    is not known. A share of passes counts its share of both.
    """
    passed = outcomes.passed
    failing = (1 - passed) * factor * limits.limit_ms
    total: np.ndarray = np.where(
        passed > 0, passed * outcomes.duration_ms, np.where(np.isnan(passed), np.nan, 0.0)
    )
    both: np.ndarray = total + failing
    return both


def _share(values: np.ndarray, among: np.ndarray) -> float:
    return float(np.isfinite(values[among]).mean())


def default_objective(outcomes: Outcomes) -> tuple[Objective, str]:
    """The objective that the known columns allow, and why, in words."""
    known = np.isfinite(np.stack([outcomes.passed, outcomes.duration_ms, outcomes.cost_usd]))
    any_known = known.any(axis=0)
    if _share(outcomes.duration_ms, any_known) >= ENOUGH:
        return (
            Objective(name="penalised_duration", weights=Weights(passed=0.0, minute=1.0)),
            "durations are known: the penalised mean duration is minimised",
        )
    if _share(outcomes.cost_usd, any_known) >= ENOUGH:
        return (
            Objective(name="cheapest_as_good", rule="constrained", spend="cost_usd"),
            "costs are known, durations are not: the least spending is sought whose pass rate "
            "stays near that of the best single action",
        )
    return (
        Objective(name="pass_rate", weights=Weights(minute=0.0)),
        "neither durations nor costs are known: the pass rate is maximised",
    )


def _kind_of(objective: Objective) -> Kind:
    if objective.rule == "constrained":
        return "constrained"
    if objective.rule in ("lexicographic", "pareto"):
        return "ordered"
    w = objective.weights
    # time alone, without worth of a pass, would reward failing early: it means penalised time
    is_time = not (w.passed or w.usd or w.risk) and (w.minute or w.wall_minute)
    return "penalised_duration" if is_time else "utility"


def weighted(outcomes: Outcomes, weights: Weights) -> np.ndarray:
    """(N, A) utility of what came; NaN where a weighted part is not known."""
    total = np.zeros_like(outcomes.passed)
    for weight, values in (
        (weights.passed, outcomes.passed),
        (-weights.minute - weights.wall_minute, outcomes.duration_ms / MINUTE_MS),
        (-weights.usd, outcomes.cost_usd),
        (-weights.risk, outcomes.is_censored.astype(float)),
    ):
        if weight:
            total = total + weight * values
    known = np.isfinite(np.stack([outcomes.passed, outcomes.duration_ms, outcomes.cost_usd]))
    total[~known.any(axis=0)] = np.nan
    return total


def build_stakes(outcomes: Outcomes, objective: Objective | None) -> Stakes:
    """Outcomes under an objective, or under the one that they allow.

    Raises:
        SelectionError: the objective needs what no outcome tells.
    """
    notes: list[str] = []
    if objective is None:
        objective, why = default_objective(outcomes)
        notes.append(why)
    kind = _kind_of(objective)
    limits, penalised_ms = None, None
    if np.isfinite(outcomes.duration_ms).any():
        limits = find_limits(outcomes)
        penalised_ms = penalised(outcomes, limits, objective.time_penalty)
        notes.append(
            f"penalised duration: a run that did not pass counts {objective.time_penalty:g} times "
            f"its limit, however early it ended; the limit is {limits.words}"
        )
    if kind == "penalised_duration":
        if penalised_ms is None:
            raise SelectionError("objective", "it is about time, and no duration is known")
        utility, unit = -penalised_ms / MINUTE_MS, "a penalised minute, negative"
    elif kind == "constrained":
        utility, unit = outcomes.passed, "a pass; spending counts its fitted price"
        spend = outcomes.cost_usd if objective.spend == "cost_usd" else outcomes.duration_ms
        if not np.isfinite(spend).any():
            raise SelectionError("objective", f"it is about {objective.spend}, and none is known")
    else:
        utility, unit = weighted(outcomes, objective.weights), "the objective's own"
    if not np.isfinite(utility).any():
        raise SelectionError("objective", "no outcome tells what it asks for")
    return Stakes(
        kind=kind,
        objective=objective,
        outcomes=outcomes,
        utility=utility,
        penalised_ms=penalised_ms,
        limits=limits,
        unit=unit,
        notes=tuple(notes),
    )
