"""Off-policy evaluation of a workspace: from its archives to a report on disk.

Belongs here: the order of the steps, and the remedy where there is no answer. Does not: any step.
Spec: section 7.4.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.artifacts import write_bytes, write_parquet
from planner_pipeline.dataset.build import assembly_of
from planner_pipeline.evaluation.ope_report import (
    MEAN,
    OffPolicyReport,
    Refusal,
    all_estimates,
    decisions_table,
    logged_means,
    metrics_of,
    reasons,
    render_report,
)
from planner_pipeline.evaluation.ope_traces import (
    Probabilities,
    baseline_policy,
    decisions_as_arrays,
    features_of,
    tabled_policy,
    uniform_policy,
    usable,
)
from planner_pipeline.evaluation.overlap import OverlapError, RefusalReason, check_overlap
from planner_pipeline.evaluation.rewards import Reward
from planner_pipeline.history.assemble import write_runs
from planner_pipeline.history.decisions import (
    DecisionRead,
    LeftOutDecision,
    LoggedDecision,
    logged_decisions,
)
from planner_pipeline.sources.policy_traces import TraceRead, read_policy_traces
from planner_pipeline.sources.workspace import read_workspace
from planner_pipeline.tables import LEFT_OUT_DECISIONS, QUARANTINE, build_table, fields

BASELINE, LOGGED, UNIFORM = "baseline", "logged", "uniform"
POLICIES: Final = (BASELINE, LOGGED, UNIFORM)
RUN_COLUMNS: Final = (
    "run_id", "group_id", "kind", "issue_id", "status", "duration_ms", "started_ms", "ended_ms",
    "cost_usd", "fail_codes",
)  # fmt: skip

_EXPLORE: Final = (
    "turn exploration on: serve an outcome bundle in mode `enforce` whose `policy.json` has "
    '`"exploration": {"epsilon": 0.1, "seed": "...", "budget_share": 0.05}`, epsilon above 0 '
    "(`Planner.open(..., exploration=...)` overrides it). Chance decides only about issues of "
    "priority P3 or with the tag `lab:planner_explore`, only among open actions, and only while "
    "drawn decisions are within `budget_share` of all. Decisions logged from then on can be "
    "judged; those logged before never can"
)
REMEDIES: Final[dict[RefusalReason, str]] = {
    "deterministic_logging": f"{_EXPLORE}. `--policy logged` tells the mean of what ran.",
    "uncovered_target": f"{_EXPLORE}. Or judge a policy that takes only what could be drawn.",
    "no_shared_action": "judge a policy that takes what the logs explored, or explore what it "
    "takes and log more decisions.",
    "nothing_logged": f"{_EXPLORE}. The reasons are in left_out.parquet and quarantine.parquet.",
    "one_cluster": "log decisions about more issues.",
}


def run_off_policy(
    repo: Path,
    out: Path,
    *,
    policy: str,
    reward: Reward,
    reward_words: str,
    seed: int = 0,
) -> OffPolicyReport:
    """Judge a policy on the logged decisions of a workspace; writes ``ope.json``, ``ope.md``,
    ``decisions.parquet``, ``left_out.parquet`` and ``quarantine.parquet`` below ``out``.

    Args:
        policy: One of ``POLICIES``, or a Parquet file of ``TARGET_POLICY``.

    Returns:
        The report; where logs cannot answer it says why in ``refused``.

    Raises:
        OSError: the policy's file cannot be read.
        ValueError: it is no policy of these decisions.
    """
    traces = read_policy_traces(repo)
    workspace = read_workspace(repo, out / "store")
    runs = write_runs(assembly_of(workspace), out / "parts" / "runs")
    read = logged_decisions(traces, runs.tables(list(RUN_COLUMNS)))
    return judge(read, traces, out, policy=policy, reward=reward, words=reward_words, seed=seed)


def judge(
    read: DecisionRead,
    traces: TraceRead,
    out: Path,
    *,
    policy: str,
    reward: Reward,
    words: str,
    seed: int,
) -> OffPolicyReport:
    """The report of decisions that were read, written below ``out``. Raises as above."""
    decisions, utility, unrewarded = usable(read.decisions, reward)
    left_out = [*read.left_out, *unrewarded]
    report = OffPolicyReport(
        policy=policy,
        reward=words,
        n_archives=len(traces.traced) + len(traces.without_trace) + len(traces.quarantined),
        n_decisions=len(decisions),
        n_issues=len({one.issue_id for one in decisions}),
        n_quarantined=len(traces.quarantined),
        left_out=reasons(left_out),
    )
    (out / "decisions.parquet").unlink(missing_ok=True)  # of an earlier evaluation
    try:
        report = _judged(report, decisions, utility, out, seed)
    except OverlapError as error:
        refusal = Refusal(reason=error.reason, why=str(error), remedy=REMEDIES[error.reason])
        report = msgspec.structs.replace(report, overlap=error.overlap, refused=refusal)
    _write(report, left_out, traces, out)
    return report


def _judged(
    report: OffPolicyReport,
    decisions: Sequence[LoggedDecision],
    utility: np.ndarray,
    out: Path,
    seed: int,
) -> OffPolicyReport:
    """The report with its figures. Raises ``OverlapError``, or as ``run_off_policy``."""
    if not decisions:
        raise OverlapError("nothing_logged", "there is no decision to learn from", None)
    metrics = metrics_of(decisions, utility)
    _, cluster = np.unique([one.issue_id for one in decisions], return_inverse=True)
    means = logged_means(metrics, cluster, seed=seed)
    if report.policy == LOGGED:
        return msgspec.structs.replace(
            report, preferred=MEAN, estimates={name: {MEAN: one} for name, one in means.items()}
        )
    logged = decisions_as_arrays(decisions, _policy(report.policy, decisions), utility, seed=seed)
    overlap = check_overlap(logged)
    write_parquet(decisions_table(decisions, logged), out / "decisions.parquet")
    return msgspec.structs.replace(
        report,
        overlap=overlap,
        estimates=all_estimates(logged, metrics, features_of(decisions), seed=seed),
        logged=means,
    )


def _policy(name: str, decisions: Sequence[LoggedDecision]) -> list[Probabilities]:
    if name == BASELINE:
        return baseline_policy(decisions)
    if name == UNIFORM:
        return uniform_policy(decisions)
    return tabled_policy(decisions, pl.read_parquet(name))


def _write(
    report: OffPolicyReport,
    left_out: Sequence[LeftOutDecision],
    traces: TraceRead,
    out: Path,
) -> None:
    ordered = sorted(left_out, key=lambda one: one.run_id)
    columns = fields("run_id", "reason", "detail")
    write_parquet(build_table(LEFT_OUT_DECISIONS, ordered, columns), out / "left_out.parquet")
    refused = build_table(QUARANTINE, traces.quarantined, fields(*QUARANTINE.columns))
    write_parquet(refused, out / "quarantine.parquet")
    document = msgspec.json.format(msgspec.json.encode(report, order="deterministic"), indent=2)
    write_bytes(document + b"\n", out / "ope.json")
    write_bytes(render_report(report).encode(), out / "ope.md")
