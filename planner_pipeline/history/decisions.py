"""Traced decisions with what came of them: the rows that off-policy evaluation may use.

Belongs here: joining a trace with the runs of its dispatch, and the reason where a decision must
not be used. Does not: reading traces (``sources.policy_traces``), weights and estimates
(``evaluation``). Spec: sections 7.4 and 10.2.

A trace tells of an action that was drawn. It may only be used where that action ran: not in a mode
where the baseline ran whatever was said (``log``, ``off``), and not where the kernel ran something
else. One decision may have many archived candidates; it is one row. Its minutes and dollars are
those of all its candidates, as far as all of them are known.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Literal

import msgspec
import polars as pl

from planner_pipeline.history.open_actions import Drawable, drawable_of
from planner_pipeline.sources.policy_traces import TracedRun, TraceRead
from planner_runtime.actions import (
    NA,
    Action,
    ActionSpace,
    action_space_of,
    candidate_set_hash,
    executed_action,
    valid_actions,
)
from planner_runtime.archives.logged import CREATE_FAILED
from planner_runtime.archives.workcell_files import RecordedPlan
from planner_runtime.archives.workcells import executed_plan
from planner_runtime.contracts.planner_input import ActionSpaceDocument, PlannerInput
from planner_runtime.contracts.reading import ContractError, read_document
from planner_runtime.decision import action_of
from planner_runtime.features import feature_vector

MINUTE_MS: Final = 60_000

WhyLeftOut = Literal[
    "no_trace",  # made without one
    "not_enforced",  # the baseline ran, whatever the trace says
    "unknown_execution",  # nothing says what ran
    "ran_otherwise",  # something else ran than was drawn
    "not_a_candidate",  # the trace contradicts itself
    "no_run",  # it is not in the run table
    "no_outcome",  # whether it passed is not known
    "no_minutes",  # needed for the reward and not known
    "no_usd",
    "same_decision",  # another candidate of a decision that is a row already
]


class LeftOutDecision(msgspec.Struct, frozen=True, kw_only=True):
    """An archive that is no row, and why."""

    run_id: str
    reason: WhyLeftOut
    detail: str


class LoggedDecision(msgspec.Struct, frozen=True, kw_only=True):
    """One decision that ran as it was drawn.

    Attributes:
        decision_id: Candidates of one dispatch share it.
        propensity: Of ``chosen``, when it was drawn.
        epsilon: The chance of exploring; None where exploration was off.
        candidates: What the question offered; None where the recorded question does not tell it.
        drawable: Which of them chance could have drawn, as far as the trace tells.
        minutes: Agent-minutes of all candidates, cut by the clock they ran under; None where those
            of some candidate are not known.
        usd: Likewise dollars.
        features: Of the recorded question, by ``planner_runtime.features``; None without one.
    """

    decision_id: str
    run_id: str
    issue_id: str
    chosen: Action
    baseline: Action
    propensity: float
    epsilon: float | None
    decided_by: str
    candidates: tuple[Action, ...] | None
    drawable: Drawable
    passed: bool
    minutes: float | None
    usd: float | None
    features: tuple[float, ...] | None


class DecisionRead(msgspec.Struct, frozen=True, kw_only=True):
    """Every archive of a workspace as a row or as a reason."""

    decisions: tuple[LoggedDecision, ...]
    left_out: tuple[LeftOutDecision, ...]


def logged_decisions(traces: TraceRead, runs: Iterable[pl.DataFrame]) -> DecisionRead:
    """The decisions of a workspace.

    Args:
        runs: Parts of ``RUNS``, each with its columns ``run_id``, ``group_id``, ``kind``,
            ``issue_id``, ``status``, ``duration_ms``, ``started_ms``, ``ended_ms``, ``cost_usd``
            and ``fail_codes``.
    """
    group_of, members = _groups(runs)
    rows: dict[str, LoggedDecision] = {}
    left_out = [
        LeftOutDecision(run_id=run_id, reason="no_trace", detail="its archive has no policy trace")
        for run_id in traces.without_trace
    ]
    for traced in traces.traced:
        group = group_of.get(traced.run_id)
        why = _why_left_out(traced)
        if why is None and group is None:
            why = ("no_run", "no run of this name was put together")
        if why is None and group in rows:
            why = ("same_decision", f"a candidate of {rows[group].run_id}'s decision")
        if why is None and not any(row["status"] for row in members[group or ""]):
            why = ("no_outcome", "nothing tells whether it passed")
        if why is None:
            assert group is not None
            rows[group] = _decision(group, traced, members[group])
        else:
            left_out.append(LeftOutDecision(run_id=traced.run_id, reason=why[0], detail=why[1]))
    ordered = sorted(rows.values(), key=lambda row: row.decision_id)
    return DecisionRead(
        decisions=tuple(ordered),
        left_out=tuple(sorted(left_out, key=lambda row: row.run_id)),
    )


def _groups(
    runs: Iterable[pl.DataFrame],
) -> tuple[dict[str, str], Mapping[str, list[dict[str, Any]]]]:
    """The group of every workcell, and the workcells of every group."""
    group_of: dict[str, str] = {}
    members: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for table in runs:
        for row in table.filter(pl.col("kind") == "workcell").iter_rows(named=True):
            group_of[row["run_id"]] = row["group_id"]
            members[row["group_id"]].append(row)
    return group_of, members


def _why_left_out(traced: TracedRun) -> tuple[WhyLeftOut, str] | None:
    """What the archive alone says against using it."""
    trace = traced.trace
    if trace.mode != "enforce":
        return "not_enforced", f"mode {trace.mode}: the baseline ran, not what was chosen"
    chosen, candidates = action_of(trace.chosen), candidates_of(traced)
    if candidates is not None and chosen not in candidates:
        return "not_a_candidate", f"{_words(chosen)} is not among what could be chosen"
    if traced.executed_plan is None:
        return "unknown_execution", "no executed plan was recorded"
    difference = _difference(chosen, traced.executed_plan, trace.decided_by == "baseline")
    return None if difference is None else ("ran_otherwise", difference)


def _difference(chosen: Action, recorded: RecordedPlan, expects_fallback: bool) -> str | None:
    """How what ran differs from what was chosen; a budget left to the kernel agrees with any."""
    if recorded.fallback_applied and not expects_fallback:
        return f"the kernel fell back: {recorded.fallback_reason or 'no reason given'}"
    try:
        ran = executed_action(ActionSpace(), executed_plan(recorded))
    except ValueError as error:
        return str(error)
    agrees = ran.swarm_id == chosen.swarm_id and all(
        wanted in (NA, did) for wanted, did in zip(chosen[1:], ran[1:], strict=True)
    )
    return None if agrees else f"chosen {_words(chosen)}, ran {_words(ran)}"


def _words(action: Action) -> str:
    return " ".join(str(part) for part in action)


def candidates_of(traced: TracedRun) -> tuple[Action, ...] | None:
    """Among what a decision was made, rebuilt from its question; None unless its hash agrees."""
    question = traced.planner_input or {}
    spaces = [ActionSpace()]
    with suppress(msgspec.ValidationError):
        offered = msgspec.convert(question.get("action_space"), ActionSpaceDocument)
        spaces.insert(0, action_space_of(offered))
    for space in spaces:
        for job_type in (question.get("job_type"), traced.job_type):
            is_it = isinstance(job_type, str) and (
                candidate_set_hash(space, job_type) == traced.trace.candidate_set_hash
            )
            if is_it:
                return valid_actions(space, str(job_type))
    return None


def _features(document: dict[str, Any] | None) -> tuple[float, ...] | None:
    try:
        if document is None:
            return None
        question = read_document(document, PlannerInput)
        return tuple(float(value) for value in feature_vector(question))
    except (ContractError, ValueError, OverflowError):
        return None


def _decision(group: str, traced: TracedRun, runs: Sequence[Mapping[str, Any]]) -> LoggedDecision:
    trace = traced.trace
    real = [row for row in runs if CREATE_FAILED not in row["fail_codes"]]
    own = next(row for row in runs if row["run_id"] == traced.run_id)
    candidates = candidates_of(traced)
    return LoggedDecision(
        decision_id=group,
        run_id=traced.run_id,
        issue_id=own["issue_id"] or group,
        chosen=action_of(trace.chosen),
        baseline=action_of(trace.baseline),
        propensity=trace.propensity,
        epsilon=trace.exploration.epsilon if trace.exploration.enabled else None,
        decided_by=trace.decided_by,
        candidates=candidates,
        drawable=drawable_of(trace, candidates),
        passed=any(row["status"] == "success" for row in runs),
        minutes=_sum([_minutes(row) for row in real]),
        usd=_sum([row["cost_usd"] for row in real]),
        features=_features(traced.planner_input),
    )


def _minutes(row: Mapping[str, Any]) -> float | None:
    if row["duration_ms"] is not None:
        return float(row["duration_ms"]) / MINUTE_MS
    if row["started_ms"] is None or row["ended_ms"] is None:
        return None
    return float(row["ended_ms"] - row["started_ms"]) / MINUTE_MS


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return None if len(known) < len(values) or not known else float(sum(known))
