"""The choice: which action a case gets, when the best single action stays, what chance it has.

Belongs here: the best single action, the price of a constrained objective, the rule that lets a
policy differ from the best single action, chances to pass that come true. Does not: estimates
(``members``), figures (``figures``).
Shapes: N training cases, M held-out cases, A actions.

Everything is fitted on what the members say of training cases that they have not seen, so no
held-out case has a say in it.
"""

from typing import Final

import msgspec
import numpy as np

from planner_pipeline.selection.lesson import Lesson, action_means
from planner_pipeline.selection.members import Forecast
from planner_pipeline.selection.worth import Kind, Stakes
from planner_runtime.objective import Objective, Outlook, priced, ranked

SUPPORT: Final = 1.0  # standard errors that the gain out of bag must be above 0
PRICE_SUPPORT: Final = 0.5  # the same of the pass rate; the best of many prices is a lucky one
PRICES: Final = tuple(float(p) for p in np.geomspace(0.003, 30.0, 61))  # of the mean spending
_CLIP: Final = 1e-3
TIE: Final = 1e-12


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What the held-out cases get.

    Attributes:
        action: (M,).
        utility: (M,) expected, as scaled in the lesson; NaN where it is not known.
        p_pass: (M,) calibrated; NaN where no pass is known.
        abstained: (M,) bool: the best single action stays, since no gain over it is supported.
        single: The best single action of the training cases.
        objective: The objective; a constrained one with its price, as a utility.
        price: What a unit of spending costs in passes, or None.
        gain: Mean gain over the best single action out of bag, as scaled in the lesson.
        gain_error: Its standard error.
        is_followed: Whether the gain is supported.
    """

    action: np.ndarray
    utility: np.ndarray
    p_pass: np.ndarray
    abstained: np.ndarray
    single: int
    objective: Objective
    price: float | None
    gain: float
    gain_error: float
    is_followed: bool


def best_single(lesson: Lesson, kind: Kind, objective: Objective) -> int:
    """The action of the highest mean utility; of a constrained objective, of the highest pass
    rate, the cheapest of equal ones; of an ordered one, the first by its rule.
    """
    means = np.where(lesson.is_open, action_means(lesson.utility), -np.inf)
    if kind == "ordered":
        passes, spend = action_means(lesson.passed), action_means(lesson.spend)
        outlook = _outlook(objective, passes, spend)
        known = lesson.is_open & np.isfinite(passes)
        return int(ranked(outlook, objective, known, int(np.argmax(known)), n=1)[0])
    tied = np.flatnonzero(means >= means.max() - TIE)
    if kind == "constrained":
        return int(tied[np.argmin(action_means(lesson.spend)[tied])])
    return int(tied[0])


def _outlook(objective: Objective, passes: np.ndarray, spend: np.ndarray) -> Outlook:
    """One case's outlook as one member sees it."""
    unknown = np.full((1, len(passes)), np.nan)
    is_usd = objective.spend == "cost_usd"
    return Outlook(
        p_pass=passes[None],
        p_timeout=unknown,
        minutes=unknown if is_usd else spend[None],
        wall_minutes=unknown if is_usd else spend[None],
        cost_usd=spend[None] if is_usd else unknown,
    )


def _taken(values: np.ndarray, action: np.ndarray) -> np.ndarray:
    """(N,) the value of each case's action."""
    taken: np.ndarray = values[np.arange(len(action)), action]
    return taken


def fit_price(
    lesson: Lesson, told: Forecast, single: int, within: float
) -> tuple[float, float, float]:
    """The price at which least is spent and the pass rate stays within reach of the best single's.

    Returns:
        The price in passes a unit of spending, 0 where no price saves anything; share of the best
        single's spending that is saved out of bag; difference of the pass rates.
    """
    unit = float(np.nanmean(lesson.spend))
    best = (0.0, 0.0, 0.0)
    if not unit > 0:
        return best
    for relative in PRICES:
        price = relative / unit
        action = _by_price(told.p_pass.own, told.spend.own, lesson.is_open, price)
        passes = _taken(lesson.passed, action) - lesson.passed[:, single]
        spent, alone = _taken(lesson.spend, action), lesson.spend[:, single]
        both = np.isfinite(passes) & np.isfinite(spent) & np.isfinite(alone)
        if not both.any() or not alone[both].sum() > 0:
            continue
        saved = 1 - float(spent[both].sum() / alone[both].sum())
        difference = float(passes[both].mean())
        slack = PRICE_SUPPORT * float(passes[both].std() / np.sqrt(both.sum()))
        if difference - slack >= -within and saved > best[1]:
            best = (price, saved, difference)
    return best


def _by_price(
    passes: np.ndarray, spend: np.ndarray, is_open: np.ndarray, price: float
) -> np.ndarray:
    worth = np.where(is_open, passes - price * spend, -np.inf)
    chosen: np.ndarray = worth.argmax(axis=1)
    return chosen


def _ordered(told: Forecast, objective: Objective, is_open: np.ndarray) -> list[np.ndarray]:
    """The choices for training and held-out cases, one ranking a case."""
    reference = int(np.argmax(is_open))  # one member has no doubt, whatever it is measured from
    return [
        np.array(
            [
                int(ranked(_outlook(objective, p, s), objective, is_open, reference, n=1)[0])
                for p, s in zip(passes, spend, strict=True)
            ],
            dtype=np.int64,
        )
        for passes, spend in (
            (told.p_pass.own, told.spend.own),
            (told.p_pass.new, told.spend.new),
        )
    ]


def _logit(p: np.ndarray) -> np.ndarray:
    clipped = np.clip(p, _CLIP, 1 - _CLIP)
    logits: np.ndarray = np.log(clipped / (1 - clipped))
    return logits


def fit_calibration(p: np.ndarray, passed: np.ndarray) -> tuple[float, float]:
    """Shift and slope of the logit, shrunk to 0 and 1. Source: Platt 1999, by Newton's method.

    Args:
        p: (N,) told out of bag of the actions that were chosen out of bag.
        passed: (N,) in [0, 1]; NaN where unknown.
    """
    known = np.isfinite(passed) & np.isfinite(p)
    if not known.any():
        return 0.0, 1.0
    columns = np.stack([np.ones(int(known.sum())), _logit(p[known])], axis=1)
    prior, strength = np.array([0.0, 1.0]), np.array([1.0, 4.0])
    weights = prior.copy()
    for _ in range(50):
        told = 1 / (1 + np.exp(-np.clip(columns @ weights, -30, 30)))
        slope = columns.T @ (told - passed[known]) + strength * (weights - prior)
        bend = (columns * (told * (1 - told))[:, None]).T @ columns + np.diag(strength)
        step = np.linalg.solve(bend, slope)
        weights = weights - np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-9:
            break
    return float(weights[0]), max(0.0, float(weights[1]))


def calibrated(p: np.ndarray, shift: float, slope: float) -> np.ndarray:
    """Chances after a shift and a slope of their logit."""
    result: np.ndarray = 1 / (1 + np.exp(-(shift + slope * _logit(p))))
    return result


def _worth_of(
    lesson: Lesson, told: Forecast, kind: Kind, price: float
) -> tuple[np.ndarray, np.ndarray]:
    """(N, A) utility that came, (M, A) utility that is expected."""
    if kind != "constrained":
        return lesson.utility, told.utility.new
    came = lesson.passed - (price * lesson.spend if price else 0.0)
    return came, told.p_pass.new - (price * told.spend.new if price else 0.0)


def choose(lesson: Lesson, told: Forecast, stakes: Stakes) -> Choice:
    """The choice for every held-out case."""
    kind, objective = stakes.kind, stakes.objective
    single = best_single(lesson, kind, objective)
    price: float | None = None
    is_followed = True
    if told.score is not None:
        own, new = told.score.own.argmax(axis=1), told.score.new.argmax(axis=1)
    elif kind == "constrained":
        price, saved, _ = fit_price(lesson, told, single, objective.pass_within)
        is_followed = saved > 0
        own, new = (
            _by_price(p, s, lesson.is_open, price)
            for p, s in (
                (told.p_pass.own, told.spend.own), (told.p_pass.new, told.spend.new),
            )
        )  # fmt: skip
        objective = priced(objective, price)
    else:
        own, new = _ordered(told, objective, lesson.is_open)
    came, expected = _worth_of(lesson, told, kind, price or 0.0)
    gains = _taken(came, own) - came[:, single]
    gains = gains[np.isfinite(gains)]
    gain = float(gains.mean()) if len(gains) else 0.0
    error = float(gains.std() / np.sqrt(len(gains))) if len(gains) else 0.0
    if kind in ("penalised_duration", "utility"):
        is_followed = gain > SUPPORT * error
    if not is_followed:
        own, new = np.full_like(own, single), np.full_like(new, single)
    shift, slope = fit_calibration(_taken(told.p_pass.own, own), _taken(lesson.passed, own))
    has_passes = bool(np.isfinite(lesson.passed).any())
    chances = calibrated(_taken(told.p_pass.new, new), shift, slope)
    return Choice(
        action=new,
        utility=_taken(expected, new),
        p_pass=chances if has_passes else np.full(len(new), np.nan),
        abstained=np.full(len(new), not is_followed),
        single=single,
        objective=objective,
        price=price,
        gain=gain,
        gain_error=error,
        is_followed=is_followed,
    )
