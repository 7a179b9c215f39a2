"""Why this action: one decision with what it rests on, from a bundle or from its record alone.

Belongs here: collecting probabilities, expected outcomes, bounds, similar runs. Does not: deciding
(``planner``), wording (``words``), layout (``text``).
Spec: sections 5.2, 7.4 and 10.2.

A record (``manifest["planner"]``) tells who decided, why, and what was expected of the action, the
baseline and the preferred one; a bundle tells in addition the other actions, thresholds and limits.
An explanation by a bundle leaves nothing to chance; what chance chose, only a record tells.
"""

from typing import Any

import msgspec
import numpy as np

from planner_runtime.actions import HEADS, Action, ActionSpace, action_space_of
from planner_runtime.bundle import Bundle
from planner_runtime.calibration import Calibration
from planner_runtime.contracts.executed_plan import ExecutedPlan
from planner_runtime.contracts.planner_action import PlannerAction
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.policy_trace import ExpectedOutcome, PolicyTrace
from planner_runtime.contracts.reading import read_document
from planner_runtime.decision import (
    Asked,
    Decision,
    NoAnswerError,
    Question,
    action_of,
    asked_of,
    read_question,
)
from planner_runtime.explaining.words import (
    action_words,
    decider_of,
    difference_words,
    reason_words,
)
from planner_runtime.exploration import NO_EXPLORATION
from planner_runtime.inputs import domain_of, epoch_ms
from planner_runtime.outcome_planner import OutcomePlanner
from planner_runtime.outcomes.forecast import Forecast, number_told
from planner_runtime.outcomes.known_actions import KnownActions
from planner_runtime.outcomes.model import OutcomeCalibration, OutcomeModel
from planner_runtime.outcomes.policy_file import OutcomePolicy, PolicyOverrides
from planner_runtime.planner import Planner, golden_planner
from planner_runtime.retrieval.similarity import DEFAULT_WEIGHTS, Query, run_keys, score_parts
from planner_runtime.session import Model

_SHOWN = 5
_DECIMALS = 6
_HOUR_MS = 3_600_000


class ExplainedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A past run that the decision could see.

    Attributes:
        age_hours: From its end to the decision.
        shared_tags, shared_fail_codes: What makes it alike; fail codes are those of the issue's own
            runs among the ones shown.
        score_parts: Points of its similarity, as ``score_parts`` counts them.
    """

    run_id: str
    status: str
    swarm_id: str | None
    minutes: float | None
    age_hours: float | None
    is_same_issue: bool
    shared_tags: tuple[str, ...]
    shared_fail_codes: tuple[str, ...]
    score_parts: dict[str, int]


class ExplainedHead(msgspec.Struct, frozen=True, kw_only=True):
    """The probability of every choice of one head, as the model gave them."""

    head: str
    probabilities: list[tuple[str, float]]
    chosen: str


class ExplainedAction(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected of one action.

    Attributes:
        roles: Of ``chosen``, ``baseline``, ``preferred``, ``unconstrained``; none: an alternative.
        bound: What closed it; None: it was open, or nobody recorded it.
    """

    action: str
    roles: tuple[str, ...]
    expected: ExpectedOutcome
    bound: str | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """One decision with its reasons. What nobody recorded is null or empty.

    Attributes:
        differs: Where the action is not the baseline.
        threshold: Confidence that the bundle asks for; None where it is never sure enough.
        heads, likeliest: Of a model that imitates: probabilities, and its best joint actions.
        outcomes: Of a model that predicts outcomes.
        bounds: How many actions each limit closed; ``binding`` is the one the decision felt, with
            the action that it cost.
        limits: Caps and whether only reductions or topology changes are open.
    """

    issue: str
    chosen: str
    decided_by: str
    why: str
    reason: str | None
    baseline: str | None
    differs: list[str]
    executed: dict[str, Any] | None
    bundle_id: str | None
    confidence: float | None
    threshold: float | None
    always_abstains: bool | None
    heads: list[ExplainedHead]
    likeliest: list[tuple[str, float]]
    objective: str | None
    outcomes: list[ExplainedAction]
    bounds: dict[str, int]
    binding: tuple[str, str | None] | None
    limits: dict[str, Any] | None
    novelty: float | None
    novelty_threshold: float | None
    exploration: dict[str, Any] | None
    propensity: float | None
    similar_runs: list[ExplainedRun]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a kernel keeps of one decision: ``manifest["planner"]``. Further keys are left alone."""

    planner_input: dict[str, Any]
    planner_action: dict[str, Any]
    policy_trace: dict[str, Any] | None = None
    executed_plan: dict[str, Any] | None = None


def explain_record(record: Record) -> Explanation:
    """A recorded decision, from its record alone.

    Raises:
        ContractError: a part does not keep its contract.
    """
    executed = record.executed_plan
    trace = record.policy_trace
    return _explanation(
        read_question(record.planner_input)[0],
        read_document(record.planner_action, PlannerAction),
        None if trace is None else read_document(trace, PolicyTrace),
        executed=None if executed is None else read_document(executed, ExecutedPlan),
    )


def explain_question(
    planner_input: Question,
    bundle: Bundle | None,
    model: Model | OutcomeModel | None,
    *,
    reason: str | None = None,
) -> Explanation:
    """What a bundle decides about a question, and why.

    Args:
        reason: Why there is no bundle.

    Raises:
        ContractError: the question does not keep its contract.
    """
    question, digest = read_question(planner_input)
    if bundle is None or model is None:
        planner = Planner(None, None, no_model_reason=reason or "bundle_dir_missing")
    else:
        planner = golden_planner(bundle, model)
    decision = planner.decide(planner_input, now_ms=epoch_ms(question.created_at))
    asked = asked_of(question, digest, decision.action.created_at)
    forecast = None
    if bundle is not None and isinstance(model, OutcomeModel):
        forecast = _forecast(bundle, model, asked, decision)
    return _explanation(
        question,
        decision.action,
        decision.trace,
        bundle=bundle,
        decision=decision,
        forecast=forecast,
    )


def _forecast(
    bundle: Bundle, model: OutcomeModel, asked: Asked, decision: Decision
) -> tuple[KnownActions, Forecast] | None:
    """What a decision by outcomes rested on; None where the model had no answer."""
    if bundle.outcome is None:
        return None
    planner = OutcomePlanner(
        bundle,
        bundle.outcome,
        model,
        kernel_config=None,
        stability=decision.trace.stability,
        overrides=PolicyOverrides(exploration=NO_EXPLORATION),
        exploration_counts=(0, 0),
    )
    try:
        return planner.forecast(asked)
    except (NoAnswerError, ValueError):  # the decision's own reason says which
        return None


def _explanation(
    question: PlannerInput,
    action: PlannerAction,
    trace: PolicyTrace | None,
    *,
    executed: ExecutedPlan | None = None,
    bundle: Bundle | None = None,
    decision: Decision | None = None,
    forecast: tuple[KnownActions, Forecast] | None = None,
) -> Explanation:
    baseline = None if trace is None else action_of(trace.baseline)
    chosen = action_of(action)
    is_by_outcomes = trace is not None and trace.objective is not None
    outcome = None if bundle is None else bundle.outcome
    calibration: Calibration | OutcomeCalibration | None = None
    if bundle is not None:
        calibration = bundle.calibration if outcome is None else outcome.calibration
    space = action_space_of(question.action_space) if bundle is None else bundle.action_space
    return Explanation(
        issue=f"{question.issue.issue_id}: {question.issue.title}".rstrip(": "),
        chosen=action_words(chosen),
        decided_by=decider_of(action, trace),
        why=reason_words(action, trace, baseline),
        reason=action.reason if trace is None else trace.fallback_reason,
        baseline=None if baseline is None else action_words(baseline),
        differs=[] if baseline is None else difference_words(chosen, baseline),
        executed=None if executed is None else msgspec.to_builtins(executed),
        bundle_id=None if trace is None else trace.bundle_id,
        confidence=None if action.confidence is None else number_told(action.confidence),
        threshold=None
        if calibration is None or calibration.always_abstains
        else calibration.confidence_threshold,
        always_abstains=None if calibration is None else calibration.always_abstains,
        heads=_heads(action, space),
        likeliest=[]
        if decision is None or is_by_outcomes
        else [(action_words(a), round(p, _DECIMALS)) for a, p in decision.alternatives],
        objective=None if trace is None else trace.objective,
        outcomes=_outcomes(trace, forecast),
        bounds={} if trace is None else dict(trace.bounds),
        binding=None
        if trace is None or trace.binding is None
        else (action_words(action_of(trace.binding.action)), trace.binding.bound),
        limits=None if outcome is None else _limits(outcome.policy),
        novelty=None if trace is None else trace.novelty,
        novelty_threshold=None if outcome is None else outcome.calibration.novelty_threshold,
        exploration=None if trace is None else msgspec.to_builtins(trace.exploration),
        propensity=None if trace is None else trace.propensity,
        similar_runs=explained_runs(question),
    )


def _limits(policy: OutcomePolicy) -> dict[str, Any]:
    limits: dict[str, Any] = msgspec.to_builtins(policy.limits)
    return limits


def _heads(action: PlannerAction, space: ActionSpace) -> list[ExplainedHead]:
    """Probabilities by choice; of a space of another size, choices go by their number."""
    told = []
    for head, choices, chosen in zip(HEADS, space.choices, action_of(action), strict=True):
        probs = (action.probs or {}).get(head)
        if probs is None:
            continue
        names = [str(choice) for choice in choices]
        if len(names) != len(probs):
            names = [f"#{number}" for number in range(len(probs))]
        rows = [(name, round(p, _DECIMALS)) for name, p in zip(names, probs, strict=True)]
        told.append(ExplainedHead(head=head, probabilities=rows, chosen=str(chosen)))
    return told


def _outcomes(
    trace: PolicyTrace | None, forecast: tuple[KnownActions, Forecast] | None
) -> list[ExplainedAction]:
    if trace is None or trace.expected is None:
        return []
    expected = trace.expected
    rows: dict[Action, tuple[list[str], ExpectedOutcome]] = {}
    for role, choice, outcome in (
        ("chosen", trace.chosen, expected.chosen),
        ("baseline", trace.baseline, expected.baseline),
        ("preferred", trace.preferred, expected.preferred),
    ):
        if choice is not None:
            rows.setdefault(action_of(choice), ([], outcome))[0].append(role)
    bounds: dict[Action, str | None] = {}
    if trace.binding is not None and trace.binding.bound is not None:
        bounds[action_of(trace.binding.action)] = trace.binding.bound
    if forecast is not None:
        known, seen = forecast
        for row in _shown_rows(seen):
            rows.setdefault(known.action(row), ([], seen.expected(row)))
            bounds[known.action(row)] = seen.preference.bounds[row]
        bounds |= {a: seen.preference.bounds[known.rows[a]] for a in rows if a in known.rows}
        if seen.unconstrained is not None:
            rows[known.action(seen.unconstrained)][0].append("unconstrained")
    return [
        ExplainedAction(
            action=action_words(action), roles=tuple(roles), expected=told, bound=bounds.get(action)
        )
        for action, (roles, told) in rows.items()
    ]


def _shown_rows(seen: Forecast) -> list[int]:
    """The open actions of the greatest lower bounds, and the one the objective would have taken."""
    preference = seen.preference
    is_open = np.array([bound is None for bound in preference.bounds])
    best = np.argsort(-np.where(is_open, preference.lower, -np.inf), kind="stable")[:_SHOWN]
    rows = [int(row) for row in best if is_open[row]]
    return rows if seen.unconstrained is None else [*rows, seen.unconstrained]


def explained_runs(question: PlannerInput) -> list[ExplainedRun]:
    """The runs a question brings along, with what makes each alike."""
    issue, runs = question.issue, question.history.last_n_similar_runs
    now_ms = epoch_ms(question.created_at)
    query = Query(
        job_type=question.job_type,
        domain=domain_of(question.job_type, issue.tags),
        cutoff_ms=now_ms,
        issue_id=issue.issue_id or None,
        tags=frozenset(issue.tags),
        keywords=frozenset(issue.keywords),
    )
    own = [run for run in runs if run.issue_id is not None and run.issue_id == query.issue_id]
    signals = frozenset(code for run in own for code in run.outcome.fail_codes)
    told = []
    for run in runs:
        keys = run_keys(run)
        minutes = run.runtime.duration_ms
        told.append(
            ExplainedRun(
                run_id=run.run_id,
                status=run.outcome.status,
                swarm_id=run.action_executed.swarm_id,
                minutes=None if minutes is None else round(minutes / 60_000, 1),
                age_hours=None
                if run.ended_ms is None
                else round((now_ms - run.ended_ms) / _HOUR_MS, 1),
                is_same_issue=run in own,
                shared_tags=tuple(sorted(query.tags & set(run.tags))),
                shared_fail_codes=tuple(sorted(signals & set(run.outcome.fail_codes))),
                score_parts={}
                if keys is None
                else score_parts(keys, query, signals, DEFAULT_WEIGHTS),
            )
        )
    return told
