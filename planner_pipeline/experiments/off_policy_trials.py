"""The study of off-policy estimators on replayed attempts: from a trial table to a page.

Belongs here: who logs, who is judged, files and words. Does not: replays and counting
(``evaluation.off_policy_study``), outcomes of actions (``bench.replay``).

Cases are those of the trial study: one system at one task, twelve actions of candidates and
minutes, five attempts each. Utility is pass - 0.01 x agent-minutes. Judged are `task_prior`, which
takes the action that was best on average for the other systems at the same task, and `mixture`,
which spreads over actions by what they come to on average; both know what no logger of ours does,
and that is the point: it must be found out from logs. Logging are an epsilon-greedy planner around
one candidate and thirty minutes, and a softmax over average utilities.
"""

from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.artifacts import write_bytes, write_parquet
from planner_pipeline.bench.replay import replay
from planner_pipeline.bench.trial_study import STUDY_BUDGETS
from planner_pipeline.evaluation.off_policy_intervals import DEFAULT_KIND
from planner_pipeline.evaluation.off_policy_study import (
    N_REPLAYS,
    SIZES,
    KnownWorld,
    Pairing,
    epsilon_greedy,
    known_world,
    off_policy_study,
    softmax_of,
)
from planner_pipeline.evaluation.outcome_bench import OutcomeBench
from planner_pipeline.evaluation.yardsticks import prior_of_other_systems
from planner_pipeline.sources.trials import read_trials

COST_WEIGHT: Final = 0.01
DEFAULT_BUDGET: Final = STUDY_BUDGETS.index((1, 30))
EPSILONS: Final = (0.3, 0.5)
LOGGER_TEMPERATURE: Final = 0.1
MIXTURE_TEMPERATURE: Final = 0.05
QUICK_REPLAYS: Final = 40
BAR: Final = (0.90, 0.98)  # what DR's intervals are to cover at n = 500
BAR_SIZE: Final = 500


class TrialOpe(msgspec.Struct, frozen=True, kw_only=True):
    """What was written."""

    page: Path
    table: Path
    n_cases: int
    dr_coverage: dict[str, float]  # by logger and judged, at ``BAR_SIZE``

    def to_document(self) -> dict[str, Any]:
        """For the last line on stdout."""
        return {
            "report": str(self.page),
            "table": str(self.table),
            "cases": self.n_cases,
            "dr_coverage_at_500": self.dr_coverage,
        }


def trial_pairings(bench: OutcomeBench) -> list[Pairing]:
    """Who logs and who is judged, on a bench of ``STUDY_BUDGETS``."""
    utility = bench.expected_utility(COST_WEIGHT)
    n_cases, n_actions = utility.shape
    prior = prior_of_other_systems(utility, bench.systems, bench.issues)
    best = np.where(prior < 0, DEFAULT_BUDGET, prior)
    average = np.tile(utility.mean(axis=0), (n_cases, 1))
    default = np.full(n_cases, DEFAULT_BUDGET)
    judged = {
        "task_prior": np.eye(n_actions)[best],
        "mixture": softmax_of(average, MIXTURE_TEMPERATURE),
    }
    loggers = {
        f"epsilon {epsilon:g}": epsilon_greedy(default, n_actions, epsilon) for epsilon in EPSILONS
    }
    loggers["softmax"] = softmax_of(average, LOGGER_TEMPERATURE)
    wanted = [(logger, "task_prior") for logger in loggers] + [("epsilon 0.3", "mixture")]
    return [
        Pairing(logger=logger, judged=name, logging=loggers[logger], target=judged[name])
        for logger, name in wanted
    ]


def trial_world(bench: OutcomeBench) -> KnownWorld:
    """The world of a bench; all that the reward model is told of a case is its system."""
    systems = sorted(set(bench.systems))
    features = np.eye(len(systems))[[systems.index(system) for system in bench.systems]]
    return known_world(bench, cost_weight=COST_WEIGHT, features=features)


def run_off_policy_trials(
    trials: Path, out: Path, *, quick: bool = False, seed: int = 0
) -> TrialOpe:
    """Write ``off_policy/study.parquet`` and ``off_policy/study.md`` below ``out``.

    Args:
        trials: CSV or Parquet of attempts; cases without durations are passed over.

    Raises:
        ValueError: as ``known_world``, and where no case can be replayed.
    """
    replayed = replay(read_trials([trials]).trials, STUDY_BUDGETS)
    bench = OutcomeBench(replayed.outcomes, n_resamples=0)
    table = off_policy_study(
        trial_world(bench),
        trial_pairings(bench),
        sizes=SIZES,
        n_replays=QUICK_REPLAYS if quick else N_REPLAYS,
        seed=seed,
    )
    folder = out / "off_policy"
    write_parquet(table, folder / "study.parquet")
    page = study_page(table, n_cases=bench.n_cases)
    write_bytes(page.encode(), folder / "study.md")
    at_bar = table.filter(
        (pl.col("n") == BAR_SIZE)
        & (pl.col("estimator") == "dr")
        & (pl.col("interval") == DEFAULT_KIND)
    )
    return TrialOpe(
        page=folder / "study.md",
        table=folder / "study.parquet",
        n_cases=bench.n_cases,
        dr_coverage={
            f"{row['logger']} / {row['judged']}": row["coverage"]
            for row in at_bar.iter_rows(named=True)
        },
    )


def study_page(table: pl.DataFrame, *, n_cases: int) -> str:
    """A section of Markdown: every estimator by n with the default interval, then the intervals."""
    (replays, *_) = table["replays"].sort()
    lines = [
        "## Off-policy estimators where the truth is known",
        "",
        f"{n_cases} cases of real attempts, {replays} replays each; utility = pass - "
        f"{COST_WEIGHT:g} x agent-minutes. One replay draws n cases with replacement, one action "
        "each by the logger, and one of that action's outcomes; each drawn case is a cluster of "
        "its own. The truth is the mean over the cases' outcome tables. Coverage is of 95 % "
        f"intervals (`{DEFAULT_KIND}`), with its own 95 % interval.",
        "",
    ]
    default = table.filter(pl.col("interval") == DEFAULT_KIND)
    for (logger, judged), rows in default.group_by("logger", "judged", maintain_order=True):
        lines += [
            f"### {logger!s} logs, {judged!s} is judged (truth {rows['truth'][0]:.4f})",
            "",
            "| n | effective n | estimator | bias | RMSE | coverage | median width |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {row['n']} | {row['effective_n']:.0f} | {row['estimator']} "
            f"| {row['bias']:+.4f} ± {1.96 * row['bias_error']:.4f} | {row['rmse']:.4f} "
            f"| {row['coverage']:.3f} ({row['coverage_low']:.3f} to {row['coverage_high']:.3f}) "
            f"| {row['median_width']:.3f} |"
            for row in rows.iter_rows(named=True)
        ]
        lines.append("")
    return "\n".join([*lines, *_kinds_of_interval(table)])


def _kinds_of_interval(table: pl.DataFrame) -> list[str]:
    """DR's coverage by kind of interval at the size of the bar."""
    at_bar = table.filter((pl.col("n") == BAR_SIZE) & (pl.col("estimator") == "dr"))
    kinds: list[str] = at_bar["interval"].unique(maintain_order=True).to_list()
    lines = [
        f"### Kinds of interval: coverage of `dr` at n = {BAR_SIZE}",
        "",
        f"To be between {BAR[0]:.0%} and {BAR[1]:.0%}.",
        "",
        "| logger / judged | " + " | ".join(kinds) + " |",
        "|---" * (len(kinds) + 1) + "|",
    ]
    for (logger, judged), rows in at_bar.group_by("logger", "judged", maintain_order=True):
        found = dict(rows.select("interval", "coverage").iter_rows())
        told = " | ".join(f"{found[kind]:.3f}" for kind in kinds)
        lines.append(f"| {logger!s} / {judged!s} | {told} |")
    return [*lines, ""]
