"""The grid's results side by side, with intervals, and as Markdown.

Belongs here: comparing cells. Does not: running them (``ablation``). Spec: section 8.3.
Intervals are percentile bootstrap intervals over the test split's issues of the mean over seeds;
the spread over seeds is told beside them. A difference is paired, example by example.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from planner_pipeline.evaluation.bootstrap import Interval, interval_of, row_counts
from planner_pipeline.evaluation.reliability import aurc, expected_calibration_error
from planner_pipeline.experiments.ablation import CellResult


class CellFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table.

    Attributes:
        exact_match: Share of test decisions whose action is the one executed.
        nll: Of the label, nats.
        *_minus_base: Paired with the factor's base level; None at the base itself.
        ece, aurc, top1_share, cpu_seconds: Means over seeds.
        seed_sd: Standard deviation of the exact match over seeds; None with fewer than two.
    """

    factor: str
    level: str
    is_base: bool
    n_seeds: int
    exact_match: Interval | None
    exact_match_minus_base: Interval | None
    nll: Interval | None
    nll_minus_base: Interval | None
    ece: float
    aurc: float
    top1_share: float
    seed_sd: float | None
    n_weights: int
    cpu_seconds: float


class Shipping(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the recurrent model may ship, by the declared rule, and why."""

    may_ship: bool
    words: str


class AblationTable(msgspec.Struct, frozen=True, kw_only=True):
    """The whole table, and what it was made on.

    Attributes:
        verdicts: For each factor one plain sentence.
    """

    dataset_hash: str
    n_train: int
    n_test: int
    n_issues: int
    is_quick: bool
    is_simulated: bool
    rows: tuple[CellFigures, ...]
    verdicts: tuple[str, ...]
    shipping: Shipping


class _Issues:
    """Bootstrap means over issues, the same resamples for all."""

    def __init__(self, issues: Sequence[str]) -> None:
        self.n, self.n_issues = len(issues), len(set(issues))
        counts = row_counts(issues, np.random.default_rng(0)) if issues else np.zeros((0, 0))
        self._counts = np.vstack([np.ones((1, self.n)), counts])  # the data themselves first

    def mean(self, values: np.ndarray) -> Interval | None:
        """Of (N,) values."""
        draws = (self._counts @ values) / self._counts.sum(axis=1)
        return interval_of(draws, n=self.n, n_issues=self.n_issues)


def _mean(result: CellResult, field: str) -> np.ndarray:
    """(N,) mean over seeds of a number an example."""
    mean: np.ndarray = np.array([getattr(fit, field) for fit in result.fits]).mean(axis=0)
    return mean


def _top1(actions: list[list[int]]) -> float:
    counts = Counter(tuple(action) for action in actions)
    return max(counts.values()) / counts.total()


def cell_figures(result: CellResult, base: CellResult, issues: _Issues) -> CellFigures:
    """Figures of one cell beside its factor's base."""
    right, log_prob = _mean(result, "correct"), _mean(result, "log_prob")
    fits, is_base = result.fits, result.cell.is_base
    matches = [float(np.mean(fit.correct)) for fit in fits]
    pairs = [(np.array(fit.confidence).clip(0, 1), np.array(fit.correct)) for fit in fits]
    return CellFigures(
        factor=result.cell.factor,
        level=result.cell.level,
        is_base=is_base,
        n_seeds=len(fits),
        exact_match=issues.mean(right),
        exact_match_minus_base=None if is_base else issues.mean(right - _mean(base, "correct")),
        nll=issues.mean(-log_prob),
        nll_minus_base=None if is_base else issues.mean(_mean(base, "log_prob") - log_prob),
        ece=float(np.mean([expected_calibration_error(*pair) for pair in pairs])),
        aurc=float(np.mean([aurc(*pair) for pair in pairs])),
        top1_share=float(np.mean([_top1(fit.actions) for fit in fits])),
        seed_sd=float(np.std(matches, ddof=1)) if len(fits) > 1 else None,
        n_weights=round(float(np.mean([fit.n_weights for fit in fits]))),
        cpu_seconds=float(np.mean([fit.cpu_seconds for fit in fits])),
    )


def _verdict(factor: str, rows: Sequence[CellFigures]) -> str:
    """Which levels can be told from the base, in one sentence."""
    base = next(row.level for row in rows if row.is_base)
    told = []
    for row in rows:
        for gap, name, better_is in (
            (row.exact_match_minus_base, "exact match", 1),
            (row.nll_minus_base, "NLL", -1),
        ):
            if gap is not None and gap.low * gap.high > 0:
                better = gap.value * better_is > 0
                told.append(f"{row.level} is {'better' if better else 'worse'} in {name}")
    start = f"{factor} (base {base}): "
    return start + ("; ".join(told) + "." if told else "nothing can be told from the base.")


def ablation_table(
    results: Sequence[CellResult],
    issues: Sequence[str],
    *,
    dataset_hash: str,
    n_train: int,
    is_quick: bool,
    is_simulated: bool,
    shipping: Shipping,
) -> AblationTable:
    """The table of a grid.

    Args:
        issues: Of the test examples, in the order of decisions.
    """
    judge = _Issues(issues)
    base_of = {result.cell.factor: result for result in results if result.cell.is_base}
    rows = tuple(cell_figures(result, base_of[result.cell.factor], judge) for result in results)
    verdicts = tuple(
        _verdict(factor, [row for row in rows if row.factor == factor]) for factor in base_of
    )
    return AblationTable(
        dataset_hash=dataset_hash,
        n_train=n_train,
        n_test=judge.n,
        n_issues=judge.n_issues,
        is_quick=is_quick,
        is_simulated=is_simulated,
        rows=rows,
        verdicts=verdicts,
        shipping=shipping,
    )


def read_table(out: Path) -> AblationTable | None:
    """The table of the last ablations in an output directory; None where there is none."""
    path = out / "assets" / "ablations.json"
    if not path.exists():
        return None
    return msgspec.json.decode(path.read_bytes(), type=AblationTable)


def _figure(figure: Interval | None, sign: str = "") -> str:
    if figure is None:
        return ""
    return f"{figure.value:{sign}.3f} ({figure.low:{sign}.3f} to {figure.high:{sign}.3f})"


def as_markdown(table: AblationTable) -> str:
    """The table for ``docs/results.md``."""
    lines = [
        "# Ablations",
        "",
        "Written by `cyntra-planner ablate`; do not edit.",
        "",
        f"Data set `{table.dataset_hash[:16]}`: {table.n_train} training examples, "
        f"{table.n_test} test examples of {table.n_issues} issues, in time order."
        + (
            " Simulated by `cyntra-planner sample`: the figures show that the machinery works and "
            "say nothing about agents."
            if table.is_simulated
            else ""
        )
        + (" A quick grid: few seeds, short training." if table.is_quick else ""),
        "",
        "A figure is the mean over seeds on the test split, with a 95 % bootstrap interval over "
        "issues; differences are paired with the factor's base. Labels are executed plans: "
        "equality with them is not quality.",
        "",
        f"**May the recurrent model ship?** {table.shipping.words}",
        "",
        *(f"- {verdict}" for verdict in table.verdicts),
    ]
    for factor in dict.fromkeys(row.factor for row in table.rows):
        lines += [
            "",
            f"## {factor}",
            "",
            "| level | seeds | exact match | minus base | NLL, nats | minus base | ECE | AURC "
            "| top-1 share | sd over seeds | fitted numbers |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        for row in table.rows:
            if row.factor == factor:
                spread = "" if row.seed_sd is None else f"{row.seed_sd:.3f}"
                lines.append(
                    f"| {row.level}{' (base)' if row.is_base else ''} | {row.n_seeds} "
                    f"| {_figure(row.exact_match)} | {_figure(row.exact_match_minus_base, '+')} "
                    f"| {_figure(row.nll)} | {_figure(row.nll_minus_base, '+')} | {row.ece:.3f} "
                    f"| {row.aurc:.3f} | {row.top1_share:.2f} | {spread} | {row.n_weights:,} |"
                )
    return "\n".join(lines) + "\n"
