"""Diagnostics of predictions, every one with its interval and its n.

Belongs here: accuracy, collapse, calibration, selective risk; computed from the predictions table
alone. Does not: single figures of calibration (``reliability``), outcome metrics (``outcomes``).
Spec: section 8.1; reference/models.md 2. A figure that cannot be computed is absent, never 0.
"""

from collections import Counter
from typing import Final

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.evaluation.bootstrap import Bootstrap, Interval
from planner_pipeline.evaluation.predictions import HEURISTIC, LEAST_PROB, MODEL, WORSE
from planner_pipeline.evaluation.reliability import (
    ReliabilityBin,
    augrc,
    aurc,
    calibration_error,
    equal_mass_bins,
    equal_width_bins,
    null_level,
    reliability_bins,
    risk_coverage,
)
from planner_pipeline.evaluation.risk import FAILURE, upper_bound
from planner_runtime.actions import HEADS

CURVE_POINTS: Final = 20


class NullLevel(msgspec.Struct, frozen=True, kw_only=True):
    """What a calibration error would be were the confidences exactly right and rows independent."""

    mean: float
    p95: float


class Reliability(msgspec.Struct, frozen=True, kw_only=True):
    """How far the confidences of one predictor hold.

    Attributes:
        ece: Expected calibration error of the joint confidence, ten bins of equal width. It is
            never below its null level, and its interval lies high: read it beside the null.
        ece_mass: The same, ten bins of as many rows each.
        aurc: Mean error rate among the surest rows, over all coverages (Geifman et al. 2019).
        augrc: Mean share of all rows that are among the surest and wrong (Traub et al. 2024).
        curve: (coverage, error rate among the rows covered), surest first.
    """

    nll: Interval | None
    brier: Interval | None
    ece: Interval | None
    ece_null: NullLevel | None
    ece_mass: Interval | None
    ece_mass_null: NullLevel | None
    aurc: Interval | None
    augrc: Interval | None
    bins: tuple[ReliabilityBin, ...]
    curve: tuple[tuple[float, float], ...]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one predictor.

    Attributes:
        exact_match: Share of rows whose four choices all equal the label.
        head_accuracy: By head, over the rows where the head was not forced.
        minus_heuristic: Paired difference of exact match; None where every label is the same
            action, so that there is nothing to tell apart.
        top1_share: Share of its most frequent action.
        reliability: None for a predictor that gives no probabilities.
    """

    exact_match: Interval | None
    head_accuracy: dict[str, Interval]
    minus_heuristic: Interval | None
    action_entropy_nats: float
    top1_share: float
    top1_action: tuple[str, ...]
    reliability: Reliability | None


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """The threshold's promise, seen again on rows that it did not rest on.

    Attributes:
        upper: What the share of worse decisions is not above, with 90 % probability.
    """

    n_followed: int
    n_worse: int
    worse_ratio: float | None
    upper: float
    measure: str


class Diagnostics(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the predictions of one role.

    Attributes:
        predictors: The model, what is served, the heuristic, and what else was compared with.
        label_entropy_nats: Of the executed actions.
    """

    role: str
    n: int
    n_issues: int
    predictors: dict[str, Figures]
    abstain_ratio: float | None
    label_entropy_nats: float | None
    promise: Promise | None


def _entropy(counts: Counter[tuple[str, ...]]) -> float:
    shares = np.array(list(counts.values())) / counts.total()
    return max(0.0, float(-(shares * np.log(shares)).sum()))


def _codes(actions: pl.Series, known: dict[tuple[str, ...], int]) -> np.ndarray:
    return np.array([known.setdefault(tuple(action), len(known)) for action in actions.to_list()])


def _reliability(
    rows: pl.DataFrame, correct: np.ndarray, boot: Bootstrap, seed: int
) -> Reliability:
    confidence = rows["confidence"].to_numpy().clip(0.0, 1.0)

    def of_bins(bins: np.ndarray) -> tuple[Interval | None, NullLevel]:
        found = boot.interval(lambda i: calibration_error(confidence[i], correct[i], bins[i]))
        mean, p95 = null_level(confidence, bins, seed)
        return found, NullLevel(mean=mean, p95=p95)

    width, mass = of_bins(equal_width_bins(confidence)), of_bins(equal_mass_bins(confidence))
    return Reliability(
        nll=boot.mean(-np.log(rows["label_prob"].to_numpy().clip(LEAST_PROB, 1.0))),
        brier=boot.mean(rows["brier"].to_numpy()),
        ece=width[0],
        ece_null=width[1],
        ece_mass=mass[0],
        ece_mass_null=mass[1],
        aurc=boot.interval(lambda i: aurc(confidence[i], correct[i])),
        augrc=boot.interval(lambda i: augrc(confidence[i], correct[i])),
        bins=reliability_bins(confidence, correct),
        curve=risk_coverage(confidence, correct, CURVE_POINTS),
    )


def diagnose(predictions: pl.DataFrame, *, role: str, seed: int = 0) -> Diagnostics:
    """Diagnostics of one role of a predictions table."""
    rows = predictions.filter(pl.col("role") == role)
    by_name = {str(name): part for (name,), part in rows.group_by("predictor", maintain_order=True)}
    first = next(iter(by_name.values()), rows)
    issues = [
        issue or example
        for issue, example in zip(first["issue_id"], first["example_id"], strict=True)
    ]
    if not issues:
        return Diagnostics(
            role=role, n=0, n_issues=0, predictors={}, abstain_ratio=None,
            label_entropy_nats=None, promise=None,
        )  # fmt: skip
    boot = Bootstrap(issues, seed)
    known: dict[tuple[str, ...], int] = {}
    labels = _codes(first["label"], known)
    label_lists = np.array(first["label"].to_list())
    forced = np.array(first["is_forced"].to_list(), dtype=bool)
    match = {
        name: (_codes(part["action"], known) == labels).astype(float)
        for name, part in by_name.items()
    }
    predictors = {}
    for name, part in by_name.items():
        right = np.array(part["action"].to_list()) == label_lists
        heads = {
            head: found
            for number, head in enumerate(HEADS)
            if (found := boot.mean(right[:, number].astype(float), ~forced[:, number])) is not None
        }
        counts = Counter(tuple(action) for action in part["action"].to_list())
        top1, n_top1 = min(counts.items(), key=lambda item: (-item[1], item[0]))
        can_compare = name != HEURISTIC and len(set(labels.tolist())) > 1 and HEURISTIC in match
        predictors[name] = Figures(
            exact_match=boot.mean(match[name]),
            head_accuracy=heads,
            minus_heuristic=boot.mean(match[name] - match[HEURISTIC]) if can_compare else None,
            action_entropy_nats=_entropy(counts),
            top1_share=n_top1 / counts.total(),
            top1_action=top1,
            reliability=None
            if part["confidence"].has_nulls()
            else _reliability(part, match[name], boot, seed),
        )
    return Diagnostics(
        role=role,
        n=len(issues),
        n_issues=len(set(issues)),
        predictors=predictors,
        abstain_ratio=_abstain_ratio(by_name),
        label_entropy_nats=_entropy(Counter(map(tuple, label_lists.tolist()))),
        promise=_promise(by_name, match),
    )


def _abstain_ratio(by_name: dict[str, pl.DataFrame]) -> float | None:
    if MODEL not in by_name:
        return None
    return float(by_name[MODEL]["abstains"].to_numpy().mean())


def _promise(by_name: dict[str, pl.DataFrame], match: dict[str, np.ndarray]) -> Promise | None:
    if MODEL not in by_name or HEURISTIC not in match:
        return None
    followed = ~by_name[MODEL]["abstains"].to_numpy()
    worse = (match[HEURISTIC] == 1) & (match[MODEL] == 0) & followed
    n_followed, n_worse = int(followed.sum()), int(worse.sum())
    return Promise(
        n_followed=n_followed,
        n_worse=n_worse,
        worse_ratio=n_worse / n_followed if n_followed else None,
        upper=upper_bound(n_worse, n_followed, FAILURE),
        measure=WORSE,
    )


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """Diagnostics of the three roles of held-out rows.

    Attributes:
        val: Rows that stopped the training and fitted the temperatures: they flatter.
        certify: Rows that chose the threshold.
        test: Rows that nothing was fitted on.
    """

    val: Diagnostics
    certify: Diagnostics
    test: Diagnostics


def evaluate(predictions: pl.DataFrame, *, seed: int = 0) -> Evaluation:
    """Diagnostics of a predictions table."""
    return Evaluation(
        val=diagnose(predictions, role="val", seed=seed),
        certify=diagnose(predictions, role="certify", seed=seed),
        test=diagnose(predictions, role="test", seed=seed),
    )
