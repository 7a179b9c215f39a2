"""Decisions by predicted outcomes: from a question to the action an objective prefers, or a reason.

Belongs here: the way of one decision through record, model, policy, abstaining and chance, and
what its trace tells. Does not: the parts themselves (``outcomes.track_record``,
``outcomes.model``, ``policy``, ``exploration``), reading questions (``decision``). Spec: sections
7.4 and 10.3.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from planner_runtime.actions import Action
from planner_runtime.bundle import Bundle, OutcomeParts
from planner_runtime.contracts.planner_action import ModelId, PlannerAction
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.policy_trace import (
    Binding,
    DecidedBy,
    Expected,
    Exploration,
    Stability,
)
from planner_runtime.deadline import NEVER, Deadline, DeadlineError
from planner_runtime.decision import (
    BASELINE_ID,
    Asked,
    Decision,
    NoAnswerError,
    baseline_of,
    budgets_of,
    choice_of,
    told_briefly,
    trace_of,
)
from planner_runtime.exploration import Draw, draw, epsilon_now, uniform_draw
from planner_runtime.fork_safe_lock import ForkSafeLock
from planner_runtime.heuristic import issue_view, serial_plan
from planner_runtime.inputs import epoch_ms
from planner_runtime.kernel_config import KernelConfig, config_differences
from planner_runtime.objective import Scores
from planner_runtime.outcomes.features import outcome_features
from planner_runtime.outcomes.forecast import Forecast, number_told
from planner_runtime.outcomes.known_actions import KnownActions, known_actions
from planner_runtime.outcomes.model import (
    OutcomeCalibration,
    OutcomeError,
    OutcomeModel,
    RawOutcomes,
    outlook_of,
)
from planner_runtime.outcomes.policy_file import OutcomePolicy, PolicyOverrides, objective_hash
from planner_runtime.outcomes.track_record import (
    Record,
    TrackRecordState,
    record_of_document,
    record_of_runs,
)
from planner_runtime.policy import (
    Bound,
    NothingOpenError,
    closed_by_limits,
    held_to_caps,
    prefer,
    preferred_without_limits,
)
from planner_runtime.session import ModelError, StoppableOutcomeModel

# reasons that say the model is not sure enough, rather than that it must not be asked
_MAY_EXPLORE: Final = ("not_certified", "low_confidence")
_CLOSED_HELD: Final = 16


Closed = tuple[Bound | None, ...]


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
        self._bundle, self._parts = bundle, parts
        self._outcomes: Callable[[np.ndarray, np.ndarray, Deadline], RawOutcomes]
        if isinstance(model, StoppableOutcomeModel):
            self._outcomes = model.outcomes_by
        else:
            self._outcomes = lambda features, actions, deadline: model.outcomes(features, actions)
        self._config = kernel_config or bundle.kernel_config
        self._stability = stability
        self._policy: OutcomePolicy = overrides.applied_to(parts.policy)
        self._policy_fault = self._policy.fault()
        self._objective_hash = (
            None if self._policy_fault else objective_hash(self._policy.objective)
        )
        self._epoch = config_differences(bundle.kernel_config, self._config)
        self._lock = ForkSafeLock()
        self._n_decided, self._n_explored = exploration_counts
        self._closed: dict[tuple[int, int], tuple[KnownActions, Closed]] = {}

    @property
    def exploration_counts(self) -> tuple[int, int]:
        """Decisions of this epoch, and those of them that were drawn by chance."""
        with self._lock:
            return self._n_decided, self._n_explored

    def decide(self, asked: Asked, baseline: Action, deadline: Deadline = NEVER) -> Decision:
        """The action for one question together with its record.

        Args:
            baseline: The kernel's own action for it.
            deadline: After which the baseline, held to the caps, is the answer.
        """
        question = asked.question
        known = known_actions(self._bundle.action_space, asked.offered, question.job_type)
        fallback = None
        try:
            fallback = self._fallback_row(known, baseline)
            forecast = self._forecast(asked, known, known.rows[baseline], deadline)
            deadline.check()
        except (NoAnswerError, DeadlineError) as error:
            kept = baseline if fallback is None else known.action(fallback)
            return self._unanswered(asked, baseline, kept, str(error))
        reason = self._abstain_reason(forecast, asked.situation.confidence_threshold)
        greedy = forecast.preference.chosen if reason is None else fallback
        return self._answered(asked, baseline, known, forecast, greedy, reason)

    def forecast(self, asked: Asked) -> tuple[KnownActions, Forecast]:
        """What a decision about a question rests on: for people, no decision is counted.

        Raises:
            NoAnswerError: there is none; its text is the fallback reason.
            ValueError: as of ``decide``.
        """
        baseline, job_type = baseline_of(asked, self._config), asked.question.job_type
        known = known_actions(self._bundle.action_space, asked.offered, job_type)
        self._fallback_row(known, baseline)
        return known, self._forecast(asked, known, known.rows[baseline], NEVER)

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

    def _forecast(
        self, asked: Asked, known: KnownActions, baseline: int, deadline: Deadline
    ) -> Forecast:
        policy, question = self._policy, asked.question
        try:
            record = record_of_question(question, self._parts.track_record, self._config)
            features = outcome_features(record, question)
            deadline.check()
            raw = self._outcomes(features, known.numbers, deadline)
            deadline.check()
            outlook = outlook_of(raw, self._parts.calibration)
        except DeadlineError:
            raise
        except (ModelError, OutcomeError) as error:
            raise NoAnswerError(f"inference_failed:{error}") from error
        except Exception as error:  # whatever the model or its numbers do
            raise NoAnswerError(f"inference_failed:{type(error).__name__}: {error}") from error
        scores = Scores(outlook, policy.objective)
        try:
            preference = prefer(
                outlook,
                policy.objective,
                known.actions,
                baseline,
                risk=question.issue.dk_risk,
                enforceable=known.enforceable(asked.situation.enforceable),
                closed=self._closed_by_limits(known, baseline),
                scores=scores,
            )
        except NothingOpenError as error:
            raise NoAnswerError(f"no_action_open:{', '.join(sorted(set(error.bounds)))}") from error
        return Forecast(
            outlook=outlook,
            novelty=raw.novelty,
            preference=preference,
            unconstrained=preferred_without_limits(
                outlook, policy.objective, baseline, scores=scores
            ),
        )

    def _closed_by_limits(self, known: KnownActions, baseline: int) -> Closed:
        """What the policy's limits close of the actions; of those that were asked about lately,
        known already: a kernel asks about the same ones all day.
        """
        held, closed = self._closed.get((id(known), baseline), (None, ()))
        if held is not known:
            closed = tuple(closed_by_limits(known.actions, baseline, self._policy.limits))
            if len(self._closed) >= _CLOSED_HELD:
                self._closed = {}
            self._closed[id(known), baseline] = (known, closed)
        return closed

    def _abstain_reason(self, forecast: Forecast, least: float) -> str | None:
        """Why the preferred action is not done; None when it is.

        Args:
            least: The kernel follows nothing with less confidence.
        """
        calibration: OutcomeCalibration = self._parts.calibration
        preference = forecast.preference
        if self._epoch:
            return f"epoch_mismatch:kernel_config.{', kernel_config.'.join(self._epoch)}"
        if calibration.is_novel(forecast.novelty):
            threshold = calibration.novelty_threshold
            return f"out_of_distribution:{forecast.novelty:.3f} > {threshold:.3f}"
        if preference.chosen == preference.baseline:
            return None
        if calibration.always_abstains:
            return "not_certified:no confidence is known to keep its promise"
        if calibration.follows(preference.confidence) and preference.confidence >= least:
            return None
        threshold = max(calibration.confidence_threshold, least)
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
        rows = {drawn.chosen, preference.baseline, preference.chosen}
        told = {row: forecast.expected(row) for row in rows}
        trace = msgspec.structs.replace(
            trace,
            fallback_reason=reason,
            objective=self._policy.objective.name,
            objective_hash=self._objective_hash,
            expected=Expected(
                chosen=told[drawn.chosen],
                baseline=told[preference.baseline],
                preferred=told[preference.chosen],
            ),
            preferred=choice_of(known.action(preference.chosen)),
            bounds=dict(sorted(Counter(b for b in preference.bounds if b is not None).items())),
            binding=None
            if free is None
            else Binding(action=choice_of(known.action(free)), bound=preference.binding(free)),
            novelty=number_told(forecast.novelty),
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
            reason=told_briefly(reason),
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
