"""Cost against quality: what every policy, every fixed action and the oracle come to, as points.

Belongs here: points with intervals from outcomes, decisions that differ from the baseline's.
Does not: choosing (``planner_runtime.policy``), drawing (``release.what_if``). Spec: section 8.2.
Shapes: N cases, A actions, R resamples.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec
import numpy as np

from planner_pipeline.evaluation.bootstrap import (
    N_BOOTSTRAP,
    Interval,
    interval_of,
    row_counts,
)
from planner_pipeline.evaluation.outcome_bench import OutcomeBench, Policy
from planner_pipeline.evaluation.yardsticks import best_fixed, oracle

BEST_FIXED: Final = "best fixed action"
Kind = Literal["baseline", "fixed", "imitation", "value", "oracle"]
Source = Literal["bench", "replay", "model"]


class FrontierPoint(msgspec.Struct, frozen=True, kw_only=True):
    """What one policy comes to, a decision.

    Attributes:
        pass_rate: Share of decisions that pass.
        minutes: Mean agent-minutes.
        usd: Mean dollars; None where some outcome's are not known.
        utility: Under the objective's weights.
        gain: Utility above the baseline's, paired; None for the baseline.
        over_best_fixed: Utility above that of the action that is best on these very decisions,
            paired; None for that action.
        differs: Share of decisions that are not the baseline's.
    """

    name: str
    kind: Kind
    pass_rate: Interval | None
    minutes: Interval | None
    usd: Interval | None
    utility: Interval | None
    gain: Interval | None
    differs: float
    over_best_fixed: Interval | None = None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One decision that is not the baseline's, with what was expected of both.

    Attributes:
        why: What it gains, in words.
        bound: The constraint that closed the action the objective would have liked best; None
            where nothing was closed.
    """

    case_id: str
    issue_id: str
    baseline: str
    chosen: str
    p_pass: float
    p_pass_baseline: float
    minutes: float | None
    minutes_baseline: float | None
    gain: float
    confidence: float
    why: str
    bound: str | None = None


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """The promise of the confidence threshold, and whether later decisions kept it.

    Attributes:
        threshold: None where none could be promised: the policy then always abstains.
        target, failure: At most so many followed decisions are worse; so likely it fails by luck.
        n, n_followed, n_worse, bound: On the earlier decisions that it rests on.
        later_n, later_followed, later_worse: On decisions after them.
        kept: Whether the later share is within the target; None where too few were followed.
    """

    threshold: float | None
    target: float
    failure: float
    n: int
    n_followed: int
    n_worse: int
    bound: float
    later_n: int
    later_followed: int
    later_worse: int
    kept: bool | None


class WhatIf(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the what-if page shows.

    Attributes:
        source: Outcomes of a bench, replayed attempts, or the model's own estimates, which no
            outcome has checked.
        objective: As its document.
        differences: The largest expected gains first, ``n_differences`` in all.
        notes: Assumptions, in words.
    """

    source: Source
    objective: dict[str, object]
    n_cases: int
    n_issues: int
    points: tuple[FrontierPoint, ...]
    differences: tuple[Difference, ...]
    n_differences: int
    promise: Promise | None = None
    notes: tuple[str, ...] = ()


def frontier_points(
    bench: OutcomeBench,
    *,
    action_names: Sequence[str],
    baseline: np.ndarray,
    policies: Mapping[str, tuple[Kind, np.ndarray]],
    minute_weight: float,
    usd_weight: float = 0.0,
) -> tuple[FrontierPoint, ...]:
    """Points of the baseline, all fixed actions, some policies, and the oracle.

    A point is over the cases that have an outcome of its action; so is a gain, over the cases that
    the baseline has one in too.

    Args:
        baseline: (N,) actions in the order of the bench's cases; -1 says nothing.
        policies: By name, their kind and (N,) actions.
        minute_weight, usd_weight: Of the utility; passes weigh 1.
    """
    utility = _expected_utility(bench, minute_weight, usd_weight)
    chosen: dict[str, tuple[Kind, np.ndarray]] = {"baseline": ("baseline", baseline)}
    for action, name in enumerate(action_names[: bench.n_actions]):
        chosen[name] = ("fixed", np.full(bench.n_cases, action))
    chosen |= {BEST_FIXED: ("fixed", best_fixed(utility)), **policies}
    chosen["oracle"] = ("oracle", oracle(utility))
    found = []
    told = {
        name: _figures(bench, actions, minute_weight, usd_weight)
        for name, (_, actions) in chosen.items()
    }
    for name, (kind, actions) in chosen.items():
        figures, mask = told[name]
        if not mask.any():
            continue
        both = mask & told["baseline"][1]
        best, known = told[BEST_FIXED]
        found.append(
            FrontierPoint(
                name=name,
                kind=kind,
                pass_rate=_mean(bench, figures["passed"], mask),
                minutes=_mean(bench, figures["minutes"], mask),
                usd=_mean(bench, figures["usd"], mask) if "usd" in figures else None,
                utility=_mean(bench, figures["utility"], mask),
                gain=None
                if kind == "baseline"
                else _mean(bench, figures["utility"] - told["baseline"][0]["utility"], both),
                differs=float((actions != baseline)[mask].mean()),
                over_best_fixed=None
                if name == BEST_FIXED
                else _mean(bench, figures["utility"] - best["utility"], mask & known),
            )
        )
    return tuple(found)


def _expected_utility(bench: OutcomeBench, minute_weight: float, usd_weight: float) -> np.ndarray:
    """(N, A) mean utility of every action in every case; NaN where it has no outcome."""
    utility = bench.expected_utility(minute_weight)
    if not usd_weight:
        return utility
    flat = bench.case * bench.n_actions + bench.action
    size = bench.n_cases * bench.n_actions
    n = np.bincount(flat, minlength=size)
    usd = np.full(size, np.nan)
    np.divide(np.bincount(flat, bench.cost_usd, minlength=size), n, out=usd, where=n > 0)
    paid: np.ndarray = utility - usd_weight * usd.reshape(utility.shape)
    return paid


class Expected(msgspec.Struct, frozen=True):
    """A model's own expectation of every action, of decisions whose outcomes nobody has.

    Attributes:
        p_pass, minutes, usd: (N, A); dollars may be NaN.
        issues: (N,) names.
    """

    p_pass: np.ndarray
    minutes: np.ndarray
    usd: np.ndarray
    issues: Sequence[str]


def expected_points(
    expected: Expected,
    *,
    action_names: Sequence[str],
    baseline: np.ndarray,
    policies: Mapping[str, tuple[Kind, np.ndarray]],
    minute_weight: float,
    usd_weight: float = 0.0,
) -> tuple[FrontierPoint, ...]:
    """The same points from a model's expectations; intervals are over issues alone and say nothing
    of how wrong the model is.

    Args:
        baseline: (N,) actions.
        policies: As in ``frontier_points``.
    """
    n = len(expected.issues)
    knows_usd = bool(np.isfinite(expected.usd).all())
    utility = expected.p_pass - minute_weight * expected.minutes
    if knows_usd:
        utility = utility - usd_weight * expected.usd
    counts = np.vstack(
        [np.ones(n), row_counts(expected.issues, np.random.default_rng(0), N_BOOTSTRAP)]
    )
    rows = np.arange(n)

    def mean(values: np.ndarray) -> Interval | None:
        draws = (counts @ values) / counts.sum(axis=1)
        return interval_of(draws, n=n, n_issues=len(set(expected.issues)))

    fixed = int(utility.mean(axis=0).argmax())
    chosen: dict[str, tuple[Kind, np.ndarray]] = {"baseline": ("baseline", baseline)}
    chosen |= {name: ("fixed", np.full(n, action)) for action, name in enumerate(action_names)}
    chosen |= {BEST_FIXED: ("fixed", np.full(n, fixed)), **policies}
    return tuple(
        FrontierPoint(
            name=name,
            kind=kind,
            pass_rate=mean(expected.p_pass[rows, actions]),
            minutes=mean(expected.minutes[rows, actions]),
            usd=mean(expected.usd[rows, actions]) if knows_usd else None,
            utility=mean(utility[rows, actions]),
            gain=None
            if kind == "baseline"
            else mean(utility[rows, actions] - utility[rows, baseline]),
            differs=float((actions != baseline).mean()),
            over_best_fixed=None
            if name == BEST_FIXED
            else mean(utility[rows, actions] - utility[:, fixed]),
        )
        for name, (kind, actions) in chosen.items()
    )


def _figures(
    bench: OutcomeBench, actions: np.ndarray, minute_weight: float, usd_weight: float
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(R + 1, N) of each figure, and the cases that have it."""
    policy: Policy = bench.policy(actions)
    scores = bench.score(policy)
    figures = {"passed": scores.passed, "minutes": scores.agent_minutes}
    figures["utility"] = scores.passed - minute_weight * scores.agent_minutes
    if scores.cost_usd is not None:
        figures["usd"] = scores.cost_usd
        figures["utility"] = figures["utility"] - usd_weight * scores.cost_usd
    return figures, scores.is_scored


def _mean(bench: OutcomeBench, values: np.ndarray, mask: np.ndarray) -> Interval | None:
    counts = bench.counts * mask
    total = counts.sum(axis=1)
    draws = np.full(len(total), np.nan)
    np.divide(np.einsum("rn,rn->r", counts, values), total, out=draws, where=total > 0)
    issues = {issue for issue, is_in in zip(bench.issues, mask, strict=True) if is_in}
    return interval_of(draws, n=int(mask.sum()), n_issues=len(issues))
