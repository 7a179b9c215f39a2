"""Decisions by predicted outcomes: from a question to the action an objective prefers, or a reason.

Belongs here: the way of one decision through record, model, policy, abstaining and chance, and what
its trace tells. Does not: the parts themselves (``track_record``, ``outcome_model``, ``policy``,
``exploration``), reading questions (``decision``). Spec: sections 7.4 and 10.3.
"""

import math
import threading
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec
import numpy as np

from planner_runtime.action_set import ActionSet, cyntra_actions
from planner_runtime.actions import Action, ActionSpace, valid_actions
from planner_runtime.bundle import Bundle, OutcomeParts
from planner_runtime.contracts.planner_action import ModelId, PlannerAction
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.policy_trace import (
    Binding,
    DecidedBy,
    Expected,
    ExpectedOutcome,
    Exploration,
    Stability,
)
from planner_runtime.decision import (
    BASELINE_ID,
    Asked,
    Decision,
    NoAnswerError,
    budgets_of,
    choice_of,
    trace_of,
)
from planner_runtime.exploration import Draw, draw, epsilon_now, uniform_draw
from planner_runtime.heuristic import baseline_action, issue_view, serial_plan
from planner_runtime.inputs import epoch_ms
from planner_runtime.kernel_config import KernelConfig, config_differences
from planner_runtime.objective import Outlook
from planner_runtime.outcome_features import action_numbers, outcome_features
from planner_runtime.outcome_model import (
    OutcomeCalibration,
    OutcomeError,
    OutcomeModel,
    outlook_of,
)
from planner_runtime.outcome_policy import OutcomePolicy, PolicyOverrides, objective_hash
from planner_runtime.policy import (
    NothingOpenError,
    Preference,
    held_to_caps,
    prefer,
    preferred_without_limits,
)
from planner_runtime.session import ModelError
from planner_runtime.track_record import (
    Record,
    TrackRecordState,
    record_of_document,
    record_of_runs,
)

# reasons that say the model is not sure enough, rather than that it must not be asked
_MAY_EXPLORE: Final = ("not_certified", "low_confidence")
_TOLD_DECIMALS: Final = 6  # what a model that computes in float32 can tell


class KnownActions(msgspec.Struct, frozen=True):
    """The actions that both the bundle and the caller know, in the forms a decision asks for.

    Attributes:
        numbers: (A, 2 + C) float32, what the model reads of them; read-only.
        rows: Where each action stands.
    """

    actions: ActionSet
    numbers: np.ndarray
    rows: Mapping[Action, int]

    def action(self, row: int) -> Action:
        """The action of a row."""
        return Action(*self.actions.rows[row])  # type: ignore[arg-type]


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What the model expects of the actions of one decision, and what follows for the policy.

    Attributes:
        unconstrained: Row the objective would take were every action open; None: nothing is known.
    """

    outlook: Outlook
    novelty: float
    preference: Preference
    unconstrained: int | None

    def expected(self, row: int) -> ExpectedOutcome:
        """What is expected of one action, as a trace writes it."""
        outlook, preference = self.outlook, self.preference
        return ExpectedOutcome(
            p_pass=_number(outlook.p_pass[:, row].mean()),
            p_timeout=_number(outlook.p_timeout[:, row].mean()),
            minutes=_number(outlook.minutes[:, row].mean()),
            cost_usd=_number(outlook.cost_usd[:, row].mean()),
            utility=_number(preference.utility[row]),
            lower=_number(preference.lower[row]),
        )


@lru_cache(maxsize=256)
def known_actions(space: ActionSpace, offered: ActionSpace, job_type: str) -> KnownActions:
    """The bundle's actions that the caller offers, in the bundle's order."""
    actions = cyntra_actions(space, job_type)
    allowed = set(valid_actions(offered, job_type))
    kept = tuple(row for row in actions.rows if row in allowed)
    if len(kept) < len(actions):
        actions = msgspec.structs.replace(actions, rows=kept)
    numbers = action_numbers(actions)
    numbers.flags.writeable = False
    rows = {Action(*row): i for i, row in enumerate(actions.rows)}  # type: ignore[arg-type]
    return KnownActions(actions, numbers, rows)


def toolchain_of(question: PlannerInput, config: KernelConfig) -> str:
    """The toolchain that a decision will run on first: its hint, the only one that is available,
    or what the kernel's routing rules would take.
    """
    if question.issue.dk_tool_hint:
        return question.issue.dk_tool_hint
    state = question.system_state
    available = None if state is None else state.available_toolchains
    if available is not None and len(available) == 1:
        return available[0]
    return serial_plan(config, issue_view(question), available=available).toolchains[0]


def record_of_question(
    question: PlannerInput, carried: TrackRecordState, config: KernelConfig
) -> Record:
    """The track record a question brings along, or what its history adds to the bundle's.

    A run counts once it has ended by the moment of the question.
    """
    state = question.system_state
    if state is not None and state.track_record is not None:
        return record_of_document(state.track_record)
    now_ms = epoch_ms(question.created_at)
    runs = question.history.last_n_similar_runs
    ended = [run for run in runs if run.ended_ms is not None and run.ended_ms <= now_ms]
    issue = question.issue.issue_id or None
    return record_of_runs(ended, carried).of(toolchain_of(question, config), issue)


class OutcomePlanner:
    """Answers questions from an outcome bundle.

    Args:
        kernel_config: The caller's, for the baseline; None takes the bundle's own. Where they
            differ the model is of another epoch, and is not followed.
        overrides: What the caller wants instead of the bundle's policy.
        exploration_counts: Decisions and drawn ones of this epoch so far.
    """

    def __init__(
        self,
        bundle: Bundle,
        parts: OutcomeParts,
        model: OutcomeModel,
        *,
        kernel_config: KernelConfig | None,
        stability: Stability,
        overrides: PolicyOverrides,
        exploration_counts: tuple[int, int],
    ) -> None:
        self._bundle, self._parts, self._model = bundle, parts, model
        self._config = kernel_config or bundle.kernel_config
        self._stability = stability
        self._policy: OutcomePolicy = overrides.applied_to(parts.policy)
        self._policy_fault = self._policy.fault()
        self._objective_hash = (
            None if self._policy_fault else objective_hash(self._policy.objective)
        )
        self._epoch = config_differences(bundle.kernel_config, self._config)
        self._lock = threading.Lock()
        self._n_decided, self._n_explored = exploration_counts

    @property
    def exploration_counts(self) -> tuple[int, int]:
        """Decisions of this epoch, and those of them that were drawn by chance."""
        with self._lock:
            return self._n_decided, self._n_explored

    def decide(self, asked: Asked) -> Decision:
        """The action for one question together with its record.

        Raises:
            ValueError: the question's own action space has no valid action.
        """
        question = asked.question
        baseline = baseline_action(asked.offered, question, self._config)
        known = known_actions(self._bundle.action_space, asked.offered, question.job_type)
        fallback = None
        try:
            fallback = self._fallback_row(known, baseline)
            forecast = self._forecast(question, known, known.rows[baseline])
        except NoAnswerError as error:
            kept = baseline if fallback is None else known.action(fallback)
            return self._unanswered(asked, baseline, kept, str(error))
        reason = self._abstain_reason(forecast)
        greedy = forecast.preference.chosen if reason is None else fallback
        return self._answered(asked, baseline, known, forecast, greedy, reason)

    def forecast(self, asked: Asked) -> tuple[KnownActions, Forecast]:
        """What a decision about a question rests on: for people, no decision is counted.

        Raises:
            NoAnswerError: there is none; its text is the fallback reason.
            ValueError: as of ``decide``.
        """
        question = asked.question
        baseline = baseline_action(asked.offered, question, self._config)
        known = known_actions(self._bundle.action_space, asked.offered, question.job_type)
        self._fallback_row(known, baseline)
        return known, self._forecast(question, known, known.rows[baseline])

    def _fallback_row(self, known: KnownActions, baseline: Action) -> int:
        """What is done where the model is not followed: the baseline, held to the caps."""
        if not len(known.actions):
            raise NoAnswerError("no_valid_action:the bundle knows none of the offered actions")
        if self._policy_fault is not None:
            raise NoAnswerError(f"policy_refused:{self._policy_fault}")
        row = known.rows.get(baseline)
        if row is None:
            name = " ".join(map(str, baseline))
            raise NoAnswerError(f"no_valid_action:the bundle does not know the baseline {name}")
        held = held_to_caps(known.actions, row, self._policy.limits)
        if held is None:
            raise NoAnswerError("no_action_open:the caps leave nothing of the baseline")
        return held

    def _forecast(self, question: PlannerInput, known: KnownActions, baseline: int) -> Forecast:
        policy = self._policy
        try:
            record = record_of_question(question, self._parts.track_record, self._config)
            raw = self._model.outcomes(outcome_features(record, question), known.numbers)
            outlook = outlook_of(raw, self._parts.calibration)
        except (ModelError, OutcomeError) as error:
            raise NoAnswerError(f"inference_failed:{error}") from error
        except Exception as error:  # whatever the model or its numbers do
            raise NoAnswerError(f"inference_failed:{type(error).__name__}: {error}") from error
        try:
            preference = prefer(
                outlook,
                policy.objective,
                known.actions,
                baseline,
                limits=policy.limits,
                risk=question.issue.dk_risk,
            )
        except NothingOpenError as error:
            raise NoAnswerError(f"no_action_open:{', '.join(sorted(set(error.bounds)))}") from error
        return Forecast(
            outlook=outlook,
            novelty=raw.novelty,
            preference=preference,
            unconstrained=preferred_without_limits(outlook, policy.objective, baseline),
        )

    def _abstain_reason(self, forecast: Forecast) -> str | None:
        """Why the preferred action is not done; None when it is."""
        calibration: OutcomeCalibration = self._parts.calibration
        preference = forecast.preference
        if self._epoch:
            return f"epoch_mismatch:kernel_config.{', kernel_config.'.join(self._epoch)}"
        if calibration.is_novel(forecast.novelty):
            threshold = calibration.novelty_threshold
            return f"out_of_distribution:{forecast.novelty:.3f} > {threshold:.3f}"
        if preference.chosen == preference.baseline or calibration.follows(preference.confidence):
            return None
        if calibration.always_abstains:
            return "not_certified:no confidence is known to keep its promise"
        threshold = calibration.confidence_threshold
        return f"low_confidence:{preference.confidence:.3f} < {threshold:.3f}"

    def _draw(self, asked: Asked, is_open: np.ndarray, greedy: int, reason: str | None) -> Draw:
        """Chance's part in a decision, counted."""
        budget, issue = self._policy.exploration, asked.question.issue
        may = reason is None or reason.startswith(_MAY_EXPLORE)
        with self._lock:
            epsilon = 0.0
            if may:
                epsilon = epsilon_now(
                    budget,
                    priority=issue.dk_priority,
                    tags=issue.tags,
                    n_decided=self._n_decided,
                    n_explored=self._n_explored,
                )
            u = uniform_draw(asked.input_hash or "", budget.seed) if epsilon else 1.0
            drawn = draw(greedy, is_open, epsilon, u)
            self._n_decided += 1
            self._n_explored += int(drawn.explored)
        return drawn

    def _answered(
        self,
        asked: Asked,
        baseline: Action,
        known: KnownActions,
        forecast: Forecast,
        greedy: int,
        reason: str | None,
    ) -> Decision:
        preference = forecast.preference
        is_open = np.array([bound is None for bound in preference.bounds])
        drawn = self._draw(asked, is_open, greedy, reason)
        decided_by: DecidedBy = "model" if reason is None else "baseline"
        if drawn.explored:
            decided_by = "exploration"
        chosen = known.action(drawn.chosen)
        action = PlannerAction(
            created_at=asked.created_at,
            swarm_id=chosen.swarm_id,
            budgets=budgets_of(chosen),
            confidence=preference.confidence,
            abstain_to_default=decided_by == "baseline",
            reason="exploration" if drawn.explored else reason,
            model=ModelId(
                checkpoint_id=self._bundle.manifest.bundle_id,
                version=self._bundle.manifest.versions.get("cyntra-planner"),
            ),
            input_hash=asked.input_hash,
        )
        trace = trace_of(
            asked,
            action,
            baseline,
            decided_by=decided_by,
            stability=self._stability,
            bundle_id=self._bundle.manifest.bundle_id,
            propensity=drawn.propensity,
            exploration=Exploration(enabled=drawn.epsilon > 0, epsilon=drawn.epsilon, u=drawn.u),
        )
        free = forecast.unconstrained
        trace = msgspec.structs.replace(
            trace,
            fallback_reason=reason,
            objective=self._policy.objective.name,
            objective_hash=self._objective_hash,
            expected=Expected(
                chosen=forecast.expected(drawn.chosen),
                baseline=forecast.expected(preference.baseline),
                preferred=forecast.expected(preference.chosen),
            ),
            preferred=choice_of(known.action(preference.chosen)),
            bounds=dict(sorted(Counter(b for b in preference.bounds if b is not None).items())),
            binding=None
            if free is None
            else Binding(action=choice_of(known.action(free)), bound=preference.binding(free)),
            novelty=_number(forecast.novelty),
            confidence=preference.confidence,
            n_open=int(is_open.sum()) + int(not is_open[greedy]),
        )
        best = np.argsort(-np.where(is_open, preference.lower, -np.inf), kind="stable")[:5]
        alternatives = tuple(
            (known.action(int(i)), float(preference.lower[i])) for i in best if is_open[i]
        )
        return Decision(action, trace, baseline, known.action(preference.chosen), alternatives)

    def _unanswered(self, asked: Asked, baseline: Action, kept: Action, reason: str) -> Decision:
        """The baseline, held to the caps where they are known, when there is no forecast."""
        with self._lock:
            self._n_decided += 1
        action = PlannerAction(
            created_at=asked.created_at,
            swarm_id=kept.swarm_id,
            budgets=budgets_of(kept),
            confidence=0.0,
            abstain_to_default=True,
            reason=reason,
            model=ModelId(checkpoint_id=BASELINE_ID),
            input_hash=asked.input_hash,
        )
        trace = trace_of(
            asked,
            action,
            baseline,
            decided_by="baseline",
            stability=self._stability,
            bundle_id=self._bundle.manifest.bundle_id,
        )
        trace = msgspec.structs.replace(
            trace, objective=self._policy.objective.name, objective_hash=self._objective_hash
        )
        return Decision(action, trace, baseline, None, ())


def _number(value: float) -> float | None:
    """A number as JSON can say it, the same on every machine; None for what is none."""
    return round(float(value), _TOLD_DECIMALS) if math.isfinite(value) else None
