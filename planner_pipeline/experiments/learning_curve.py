"""How much more cases would pay: the value of what is learned from few, more and all of them.

Belongs here: nested subsets, scoring on held-out issues, the verdict in words, the table. Does not:
the law (``evaluation.saturation``), who learns (``curve_learners``). Spec: sections 8.2 and 9.
Shapes: N cases, A actions, S seeds, L sizes, D draws (the data itself first).

For every seed a share of the issues is held out, and the rest stands in a drawn order: the learner
sees the cases of the first issues of it, fewer or more, so that sizes differ by what was added and
by nothing else. Intervals resample held-out issues and seeds together; seeds draw from one set of
issues, so they are somewhat narrow where that set is small. What a case is worth is its expected
utility on the outcomes that were recorded; an action without an outcome in a case is none there.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.artifacts import write_bytes, write_parquet
from planner_pipeline.bench.bench_tables import LEARNING_CURVE
from planner_pipeline.evaluation.bootstrap import N_BOOTSTRAP, PERCENTILES
from planner_pipeline.evaluation.saturation import best_more, fit_laws, law_at, rises
from planner_pipeline.evaluation.yardsticks import TIE, best_action
from planner_pipeline.tables import check_table, polars_schema

Learner = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
Progress = Callable[[int, int], None]
LEARNED: Final = "value"
FIXED: Final = "best_fixed"
TABLE_FILE: Final = "learning_curve.parquet"
PAGE_FILE: Final = "learning_curve.md"
LEAST_ISSUES: Final = 8


class CurveError(ValueError):
    """There is too little to measure a curve on."""


class CurveConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How a curve is measured and what is asked of it.

    Attributes:
        seeds: Orders of the issues.
        sizes: Numbers of issues to learn from, evenly spaced by their logs.
        held_share: Of the issues, for scoring.
        more: Multiples of the cases there are, that one might bench in addition.
        decisions: Future decisions that share what was learned.
        cost_weight: Utility = pass - weight x agent-minutes.
    """

    seeds: int = 8
    sizes: int = 6
    held_share: float = 0.25
    more: tuple[float, ...] = (0.5, 1.0, 3.0)
    decisions: int = 1_000
    cost_weight: float = 0.01
    resamples: int = N_BOOTSTRAP
    seed: int = 0


class CurveData(msgspec.Struct, frozen=True):
    """What a curve is measured on.

    Attributes:
        utility: (N, A) expected; NaN where an action has no outcome.
        issues: (N,) object array.
        learner: Rows to learn from, rows to be asked about, a seed -> (asked, A) utilities.
        minutes_per_case, usd_per_case: What benching a case took; None where not known.
        notes: What must be said beside the figures.
    """

    utility: np.ndarray
    issues: np.ndarray
    learner: Learner
    minutes_per_case: float | None
    usd_per_case: float | None
    notes: tuple[str, ...] = ()


class Measured(msgspec.Struct, frozen=True):
    """Held-out values.

    Attributes:
        n_issues: (L,) that were learned from.
        n_cases: (L,) of them, on average over seeds.
        scores: By policy (S, L, N); NaN where a case was not held out.
    """

    n_issues: np.ndarray
    n_cases: np.ndarray
    scores: dict[str, np.ndarray]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class More(msgspec.Struct, frozen=True, kw_only=True):
    """What more cases would add to a decision, cost, and whether that pays.

    Attributes:
        gain: In utility a decision.
        cost_minutes, cost_usd: Of all of them; None where nobody measured it.
        pays: None where it is not known.
    """

    n_cases: int
    gain: Told
    cost_minutes: float | None
    cost_usd: float | None
    pays: bool | None


class LearningCurve(msgspec.Struct, frozen=True, kw_only=True):
    """A curve and its verdict.

    Attributes:
        rise: Utility a decision for each doubling of the cases, where measured.
        is_known: Whether it rises beyond its interval; what more would add is told only then.
        best_more: How many more cases win the most at their price; None where a price or a rise is
            not known.
        law: a, b, c of value(n) = a - b n^-c.
    """

    n_cases: int
    n_issues: int
    config: CurveConfig
    minutes_per_case: float | None
    rise: Told
    is_known: bool
    law: tuple[float, float, float]
    best_more: Told | None
    table: pl.DataFrame
    more: tuple[More, ...]
    notes: tuple[str, ...]


def issue_sizes(n: int, n_sizes: int) -> np.ndarray:
    """(L,) distinct numbers of issues from 2 to ``n``, evenly spaced by their logs."""
    found: np.ndarray = np.unique(np.round(np.geomspace(2, n, n_sizes)).astype(int))
    return found


def measure(data: CurveData, config: CurveConfig, progress: Progress | None = None) -> Measured:
    """Learn from nested subsets and score on held-out issues.

    Raises:
        CurveError: there are fewer than ``LEAST_ISSUES`` issues.
    """
    names, issue = np.unique(data.issues.astype(str), return_inverse=True)
    if len(names) < LEAST_ISSUES:
        raise CurveError(f"{len(names)} issues have outcomes, a curve needs {LEAST_ISSUES}")
    n_held = max(2, round(len(names) * config.held_share))
    sizes = issue_sizes(len(names) - n_held, config.sizes)
    shape = (config.seeds, len(sizes), len(data.issues))
    scores = {policy: np.full(shape, np.nan) for policy in (LEARNED, FIXED)}
    n_cases = np.zeros(shape[:2])
    for seed in range(config.seeds):
        order = np.random.default_rng([config.seed, seed]).permutation(len(names))
        asked = np.flatnonzero(np.isin(issue, order[:n_held]))
        known = data.utility[asked]
        for place, size in enumerate(sizes):
            train = np.flatnonzero(np.isin(issue, order[n_held : n_held + size]))
            n_cases[seed, place] = len(train)
            told = data.learner(train, asked, seed)
            means = np.where(np.isnan(data.utility[train]), 0.0, data.utility[train]).sum(axis=0)
            count = (~np.isnan(data.utility[train])).sum(axis=0)
            fixed = np.where(count > 0, means / np.maximum(count, 1), -np.inf)
            for policy, predicted in ((LEARNED, told), (FIXED, np.tile(fixed, (len(asked), 1)))):
                chosen = best_action(np.where(np.isnan(known), np.nan, predicted))
                scores[policy][seed, place, asked] = known[np.arange(len(asked)), chosen]
            if progress is not None:
                progress(seed * len(sizes) + place + 1, config.seeds * len(sizes))
    return Measured(sizes, n_cases.mean(axis=0), scores)


def draws_of(scores: np.ndarray, issues: np.ndarray, *, n_resamples: int, seed: int) -> np.ndarray:
    """(D, L) mean held-out values of the data and of resamples of issues and of seeds.

    Args:
        scores: (S, L, N), NaN where a case was not held out.
    """
    names, issue = np.unique(issues.astype(str), return_inverse=True)
    s = len(scores)
    rng = np.random.default_rng(seed)
    of_issue = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_resamples)
    of_seed = rng.multinomial(s, np.full(s, 1 / s), size=n_resamples).astype(float)
    weight = np.vstack([np.ones(len(issues)), of_issue[:, issue]])  # (D, N)
    of_seed = np.vstack([np.ones(s), of_seed])  # (D, S)
    is_held = ~np.isnan(scores[:, 0])  # (S, N)
    total = np.einsum("dn,sln->dsl", weight, np.nan_to_num(scores), optimize=True)
    count = weight @ is_held.T  # (D, S)
    top = np.einsum("ds,dsl->dl", of_seed, total)
    below = (of_seed * count).sum(axis=1)
    drawn: np.ndarray = top / np.maximum(below, 1e-9)[:, None]
    return drawn


def told_of(draws: np.ndarray) -> Told:
    """The data's own figure, which is the first, and the interval of the others."""
    low, high = np.percentile(draws[1:], PERCENTILES)
    return Told(value=float(draws[0]), low=float(low), high=float(high))


def learning_curve_of(
    data: CurveData, config: CurveConfig, progress: Progress | None = None
) -> LearningCurve:
    """The curve of a learner on some cases, and what more cases would add.

    Raises:
        CurveError: there is too little to measure it on.
    """
    measured = measure(data, config, progress)
    n, n_cases = measured.n_cases, len(data.issues)
    drawn = {
        policy: draws_of(scores, data.issues, n_resamples=config.resamples, seed=config.seed)
        for policy, scores in measured.scores.items()
    }
    if len(n) < 3:
        raise CurveError(f"{len(n)} sizes can be told apart, a law needs three")
    oracle = np.nanmax(data.utility, axis=1)
    seen = np.where(np.isnan(measured.scores[LEARNED]), np.nan, oracle)
    ceiling = draws_of(seen, data.issues, n_resamples=config.resamples, seed=config.seed)[:, 0]
    laws = fit_laws(n, drawn[LEARNED], ceiling)
    rise = told_of(rises(n, drawn[LEARNED]) * np.log(2))
    is_known = rise.low > TIE
    more = tuple(
        _more(data, config, laws, n_cases, round(times * n_cases), is_known)
        for times in config.more
    )
    return LearningCurve(
        n_cases=n_cases,
        n_issues=len(set(data.issues.tolist())),
        config=config,
        minutes_per_case=data.minutes_per_case,
        rise=rise,
        is_known=is_known,
        law=(float(laws[0, 0]), float(laws[0, 1]), float(laws[0, 2])),
        best_more=_best(data, config, laws, n_cases) if is_known else None,
        table=_table(measured, drawn, laws, n_cases, more),
        more=more,
        notes=data.notes,
    )


def _more(
    data: CurveData, config: CurveConfig, laws: np.ndarray, n: int, m: int, is_known: bool
) -> More:
    gain = told_of(law_at(laws, n + m) - law_at(laws, n))
    minutes = None if data.minutes_per_case is None else m * data.minutes_per_case
    pays = None
    if minutes is not None and is_known:
        price = config.cost_weight * minutes / config.decisions
        pays = True if gain.low > price else False if gain.high < price else None
    return More(
        n_cases=m,
        gain=gain,
        cost_minutes=minutes,
        cost_usd=None if data.usd_per_case is None else m * data.usd_per_case,
        pays=pays,
    )


def _best(data: CurveData, config: CurveConfig, laws: np.ndarray, n: int) -> Told | None:
    if data.minutes_per_case is None:
        return None
    price = config.cost_weight * data.minutes_per_case
    most = round(max(config.more) * n)
    return told_of(best_more(laws, n, price=price, decisions=config.decisions, most=most))


def _table(
    measured: Measured,
    drawn: dict[str, np.ndarray],
    laws: np.ndarray,
    n_cases: int,
    more: tuple[More, ...],
) -> pl.DataFrame:
    """``LEARNING_CURVE``."""
    rows = []
    for policy, draws in drawn.items():
        for place, size in enumerate(measured.n_issues):
            told = msgspec.structs.asdict(told_of(draws[:, place]))
            rows.append(
                {"kind": "measured", "policy": policy, "n_issues": int(size), **told,
                 "n_cases": float(measured.n_cases[place])}
            )  # fmt: skip
    for size in (*measured.n_cases.tolist(), float(n_cases)):
        told = msgspec.structs.asdict(told_of(law_at(laws, size)))
        rows.append({"kind": "law", "policy": LEARNED, "n_cases": size, **told})
    rows += [
        {"kind": "more", "policy": LEARNED, "n_cases": float(one.n_cases),
         **msgspec.structs.asdict(one.gain), "cost_minutes": one.cost_minutes,
         "cost_usd": one.cost_usd, "pays": one.pays}
        for one in more
    ]  # fmt: skip
    schema = polars_schema(LEARNING_CURVE)
    return check_table(LEARNING_CURVE, pl.DataFrame(rows, schema=schema))


def _cell(told: Told, digits: int = 4) -> str:
    return f"{told.value:.{digits}f} ({told.low:.{digits}f} to {told.high:.{digits}f})"


def _verdict(curve: LearningCurve, one: More) -> str:
    """Whether some more cases would pay, in words."""
    config = curve.config
    words = f"{one.n_cases:,} more cases would add {_cell(one.gain)} of utility to a decision"
    if one.cost_minutes is None:
        return f"{words}; what a case costs was not measured, so whether that pays is not known."
    price = config.cost_weight * one.cost_minutes
    usd = "" if one.cost_usd is None else f", ${one.cost_usd:,.2f}"
    words += (
        f" and cost {one.cost_minutes:,.0f} agent-minutes{usd}, {price:,.1f} of utility once. Over"
        f" {config.decisions:,} decisions that"
    )
    if one.pays is None:
        even = "nobody knows after how many it would"
        if one.gain.value > 0:
            even = f"about {price / one.gain.value:,.0f} would be needed"
        return f"{words} may pay or not: not known ({even})."
    return f"{words} {'pays' if one.pays else 'does not pay'}."


def as_markdown(curve: LearningCurve) -> str:
    """The section for people."""
    config = curve.config
    measured = curve.table.filter(pl.col("kind") == "measured")
    by_policy = {
        policy: list(measured.filter(pl.col("policy") == policy).iter_rows(named=True))
        for policy in (LEARNED, FIXED)
    }
    lines = [
        "## Would more cases pay?",
        "",
        f"{curve.n_cases} cases of {curve.n_issues} issues. Utility = pass - "
        f"{config.cost_weight:g} x agent-minutes a decision, on held-out issues "
        f"({config.held_share:.0%} of them, {config.seeds} orders); 95 % intervals over issues and "
        "orders.",
        "",
        "| cases learned from | issues | learned | best fixed action of the same cases |",
        "| ---: | ---: | --- | --- |",
        *(
            f"| {row['n_cases']:.0f} | {row['n_issues']} | {_row(row)} | {_row(fixed)} |"
            for row, fixed in zip(by_policy[LEARNED], by_policy[FIXED], strict=True)
        ),
        "",
    ]
    if curve.is_known:
        a, b, c = curve.law
        lines += [
            f"A doubling of the cases added {_cell(curve.rise)}. By value(n) = {a:.3f} - {b:.3f} x "
            f"n^-{c:.2f}, {curve.n_cases} cases are worth "
            f"{a - b * curve.n_cases**-c:.3f}:",
            "",
            *(f"- {_verdict(curve, one)}" for one in curve.more),
        ]
        if curve.best_more is not None:
            best = curve.best_more
            lines.append(
                f"- Over {config.decisions:,} decisions the most is won by {best.value:,.0f} more "
                f"cases ({best.low:,.0f} to {best.high:,.0f}; no more than "
                f"{max(one.n_cases for one in curve.more):,} are considered)."
            )
    else:
        cost = ""
        if curve.minutes_per_case is not None:
            cost = f" A case costs {curve.minutes_per_case:,.1f} agent-minutes."
        lines.append(
            f"What more cases would add is not known: a doubling of them added "
            f"{_cell(curve.rise)}, which is flat within its interval, so no law is told.{cost}"
        )
    return "\n".join([*lines, "", *(f"- {note}" for note in curve.notes)]).rstrip() + "\n"


def curve_metrics(curve: LearningCurve) -> Iterator[tuple[int, dict[str, float]]]:
    """What an experiment tracker is told: by number of cases, values of both policies; at the
    last, the rise, and what more cases would add where that is known.
    """
    measured = curve.table.filter(pl.col("kind") == "measured")
    for row in measured.sort("n_cases").iter_rows(named=True):
        name = f"curve_{row['policy']}"
        told = {name: row["value"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
        yield round(row["n_cases"]), told
    told = {"rise": curve.rise.value, "rise_low": curve.rise.low, "rise_high": curve.rise.high}
    if curve.is_known:
        told |= {f"gain_of_{one.n_cases}_more": one.gain.value for one in curve.more}
    yield curve.n_cases, told


def _row(row: dict[str, float]) -> str:
    return _cell(Told(value=row["value"], low=row["low"], high=row["high"]), 3)


def write_curve(curve: LearningCurve, folder: Path) -> Path:
    """``learning_curve.parquet`` and ``learning_curve.md`` in a folder; the page."""
    write_parquet(curve.table, folder / TABLE_FILE)
    page = folder / PAGE_FILE
    write_bytes(as_markdown(curve).encode(), page)
    return page
