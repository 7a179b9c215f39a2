"""What an off-policy evaluation says: figures, what they rest on, or why there are none.

Belongs here: the report and its words. Does not: how it came about (``experiments.off_policy``),
the study of known truths (``experiments.off_policy_trials``).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.evaluation.off_policy import LOGGED_MEAN, LoggedDecisions, row_sums
from planner_pipeline.evaluation.off_policy_intervals import (
    DEFAULT_KIND,
    Estimate,
    cluster_sums,
    draw_counts,
    estimate,
    estimate_of,
    resample,
)
from planner_pipeline.evaluation.ope_traces import with_reward
from planner_pipeline.evaluation.overlap import Overlap
from planner_pipeline.history.decisions import LeftOutDecision, LoggedDecision
from planner_pipeline.tables import OFF_POLICY_DECISIONS, check_table, polars_schema

PREFERRED: Final = "dr"
MEAN: Final = "mean"  # of what ran: the only estimate an unjudged policy needs

ASSUMPTIONS: Final = (
    "Every propensity is the probability with which the recorded action was really drawn, and what "
    "was drawn is what ran; rows that say otherwise are left out.",
    "The draw looked at nothing that also moves the outcome, beyond what the planner input tells.",
    "Issues are independent of each other; decisions about one issue may depend on each other.",
    "A decision changes nothing about later ones: no queueing, no learning, no shared history.",
    "Decisions are left out for reasons that have nothing to do with their outcome.",
    "The judged policy meets issues like those of the logs, in a world like theirs.",
    "Intervals hold the reward model and SWITCH's threshold fixed. `dm` has none: its error is the "
    "model's own, which no resample shows.",
)


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why there are no figures, and what to do about it."""

    reason: str
    why: str
    remedy: str


class OffPolicyReport(msgspec.Struct, frozen=True, kw_only=True):
    """An off-policy evaluation.

    Attributes:
        policy: Name or file of the judged policy.
        reward: What was counted as worth, in words.
        n_archives: Archived workcells looked at.
        n_decisions: Those that are rows; ``left_out`` and ``n_quarantined`` are the others.
        estimates: By metric (utility, pass, minutes, usd) and estimator; a metric that some row
            does not tell is absent, and so is an estimator without its reward model.
        logged: By metric the mean of what ran.
        refused: None where there are figures.
    """

    policy: str
    reward: str
    n_archives: int
    n_decisions: int
    n_issues: int
    n_quarantined: int
    left_out: dict[str, int]
    overlap: Overlap | None = None
    preferred: str = PREFERRED
    interval: str = DEFAULT_KIND
    estimates: dict[str, dict[str, Estimate]] = {}
    logged: dict[str, Estimate] = {}
    assumptions: tuple[str, ...] = ASSUMPTIONS
    refused: Refusal | None = None


def metrics_of(decisions: Sequence[LoggedDecision], utility: np.ndarray) -> dict[str, np.ndarray]:
    """(n,) by metric; one that is not known in every decision is absent."""
    found = {
        "utility": utility,
        "pass": np.array([float(one.passed) for one in decisions]),
    }
    for name in ("minutes", "usd"):
        values = [getattr(one, name) for one in decisions]
        if None not in values:
            found[name] = np.array(values, dtype=np.float64)
    return found


def all_estimates(
    logged: LoggedDecisions, metrics: Mapping[str, np.ndarray], features: np.ndarray, *, seed: int
) -> dict[str, dict[str, Estimate]]:
    """Every estimate of every metric, on the same resamples."""
    counts = draw_counts(len(np.unique(logged.cluster)), seed=seed)
    has_model = logged.q_hat is not None
    return {
        name: estimate(
            with_reward(logged, values, features, seed=seed)
            if has_model
            else msgspec.structs.replace(logged, reward=values),
            counts=counts,
        )
        for name, values in metrics.items()
    }


def logged_means(
    metrics: Mapping[str, np.ndarray], cluster: np.ndarray, *, seed: int
) -> dict[str, Estimate]:
    """What really came of the decisions: means with their intervals, no weights, no model."""
    n = len(cluster)
    found = {}
    for name, values in metrics.items():
        as_run = LoggedDecisions(
            action=np.zeros(n, dtype=np.int64), propensity=np.ones(n), reward=values,
            cluster=cluster, target=np.ones((n, 1)),
        )  # fmt: skip
        sums = cluster_sums(row_sums(as_run), cluster)
        data = resample(sums, draw_counts(len(sums), seed=seed))
        found[name] = estimate_of(LOGGED_MEAN, data, DEFAULT_KIND)
    return found


def decisions_table(decisions: Sequence[LoggedDecision], logged: LoggedDecisions) -> pl.DataFrame:
    """``OFF_POLICY_DECISIONS``: every row that a figure rests on."""
    expected = None if logged.q_hat is None else logged.of_logged(logged.q_hat)
    target = logged.of_logged(logged.target)
    rows = [
        {
            "decision_id": one.decision_id,
            "run_id": one.run_id,
            "issue_id": one.issue_id,
            "swarm_id": one.chosen.swarm_id,
            "max_candidates_bin": str(one.chosen.max_candidates_bin),
            "max_minutes_bin": str(one.chosen.max_minutes_bin),
            "max_iterations_bin": str(one.chosen.max_iterations_bin),
            "propensity": one.propensity,
            "target_probability": float(target[row]),
            "weight": float(logged.weights[row]),
            "reward": float(logged.reward[row]),
            "expected_reward": None if expected is None else float(expected[row]),
            "passed": one.passed,
            "minutes": one.minutes,
            "usd": one.usd,
        }
        for row, one in enumerate(decisions)
    ]
    table = pl.DataFrame(rows, schema=polars_schema(OFF_POLICY_DECISIONS), orient="row")
    return check_table(OFF_POLICY_DECISIONS, table)


def reasons(left_out: Sequence[LeftOutDecision]) -> dict[str, int]:
    """How many archives are left out for which reason, by name."""
    return dict(sorted(Counter(one.reason for one in left_out).items()))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _between(low: float | None, high: float | None) -> str:
    return "none" if low is None or high is None else f"{low:.4f} to {high:.4f}"


def render_report(report: OffPolicyReport) -> str:
    """The report as Markdown, which is readable as it stands."""
    lines = [f"# Off-policy evaluation of `{report.policy}`", ""]
    counted = ", ".join(f"{count} {reason}" for reason, count in report.left_out.items())
    lines += [
        f"Reward: {report.reward}. {report.n_decisions} decisions about {report.n_issues} issues, "
        f"out of {report.n_archives} archives. Left out: {counted or 'none'}; quarantined: "
        f"{report.n_quarantined}.",
        "",
    ]
    if report.overlap is not None:
        lines += _overlap_lines(report.overlap)
    if report.refused is not None:
        lines += [
            f"**Refused ({report.refused.reason}):** {report.refused.why}.",
            "",
            f"Remedy: {report.refused.remedy}",
        ]
        return "\n".join(lines) + "\n"
    for metric, estimates in report.estimates.items():
        lines += _metric_lines(metric, estimates, report.logged.get(metric))
    lines += [f"Read `{report.preferred}` first. These figures assume:", ""]
    lines += [f"- {one}" for one in report.assumptions]
    return "\n".join(lines) + "\n"


def _overlap_lines(overlap: Overlap) -> list[str]:
    expected = overlap.expected_effective_n
    on_average = "" if expected is None else f" ({expected:.1f} on average over draws)"
    told = (
        f"Effective sample size {overlap.effective_n:.1f} of {overlap.n}{on_average}; largest "
        f"weight {overlap.largest_weight:.2f} ({overlap.largest_share:.1%} of all); mean weight "
        f"{overlap.mean_weight:.3f}; smallest propensity {overlap.smallest_propensity:.4f}."
    )
    return [told, "", *(f"- Warning: {text}." for text in overlap.warnings), ""]


def _metric_lines(
    metric: str, estimates: Mapping[str, Estimate], logged: Estimate | None
) -> list[str]:
    lines = [
        f"## {metric}",
        "",
        "| estimator | value | 95 % interval | minus what ran | 95 % interval |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {_number(one.value)} | {_between(one.low, one.high)} "
        f"| {_number(one.gain)} | {_between(one.gain_low, one.gain_high)} |"
        for name, one in estimates.items()
    ]
    if logged is not None:
        lines.append(
            f"| what ran | {_number(logged.value)} | {_between(logged.low, logged.high)} | - | - |"
        )
    return [*lines, ""]
