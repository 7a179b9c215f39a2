"""The planner a kernel calls: an action with calibrated confidence, or the baseline with a reason.

Belongs here: opening a bundle, the way of a question through a model that imitates. Never raises to
its caller, never hides why. Does not: reading bundles (``bundle``), decisions by outcomes
(``outcome_planner``), the heuristic (``heuristic``). Spec: sections 10.1 to 10.3.
"""

import time
from pathlib import Path
from typing import Final

import msgspec

from planner_runtime.actions import Action, valid_actions
from planner_runtime.bundle import (
    GOLDEN,
    MODEL,
    NO_TRUST,
    Bundle,
    BundleError,
    Fault,
    Trust,
    read_bundle,
)
from planner_runtime.contracts.canonical import document_hash
from planner_runtime.contracts.planner_action import ModelId, PlannerAction
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.policy_trace import Stability
from planner_runtime.contracts.reading import ContractError, read_document
from planner_runtime.deadline import (
    DEFAULT_DEADLINE_MS,
    NEVER,
    Deadline,
    DeadlineError,
    checked_ms,
)
from planner_runtime.decision import (
    BASELINE_ID,
    NO_SITUATION,
    Asked,
    Decision,
    NoAnswerError,
    Question,
    Situation,
    action_of,
    asked_of,
    baseline_of,
    budgets_of,
    read_question,
    told_briefly,
    trace_of,
)
from planner_runtime.decode import output_widths
from planner_runtime.exploration import NO_EXPLORATION, ExplorationBudget
from planner_runtime.imitation import Imitator, Verdict
from planner_runtime.inputs import blank_planner_input, rfc3339
from planner_runtime.kernel_config import SHIPPED_CONFIG, KernelConfig
from planner_runtime.objective import Objective
from planner_runtime.outcome_planner import OutcomePlanner
from planner_runtime.outcomes.model import OutcomeModel
from planner_runtime.outcomes.policy_file import PolicyOverrides
from planner_runtime.policy import Limits
from planner_runtime.session import (
    Model,
    ModelError,
    NoOnnxruntimeError,
    OnnxModel,
    OnnxOutcomeModel,
)

__all__ = [
    "BASELINE_ID",
    "Decision",
    "Planner",
    "Question",
    "action_of",
    "golden_planner",
    "load_bundle",
    "open_model",
    "verify_bundle",
]

GOLDEN_TOLERANCE: Final = 1e-4

# what is answered when a question cannot be read
_BLANK: Final = read_document(blank_planner_input(), PlannerInput)
_BASELINE_MODEL: Final = ModelId(checkpoint_id=BASELINE_ID)


class Planner:
    """Answers planner inputs from one bundle, or from the baseline where it has none.

    Args:
        kernel_config: For the baseline; None takes the bundle's own, or the shipped one. A model of
            outcomes is not followed where its bundle's differs.
        objective, limits, exploration: In the place of an outcome bundle's own.
        exploration_counts: Decisions of this epoch so far, and those that were drawn by chance.
        deadline_ms: What takes longer is answered by the baseline with the reason ``deadline``;
            None: whatever it takes.

    Raises:
        ValueError: ``deadline_ms`` is not above 0.
    """

    def __init__(
        self,
        bundle: Bundle | None,
        model: Model | OutcomeModel | None,
        *,
        kernel_config: KernelConfig | None = None,
        no_model_reason: str = "bundle_dir_missing",
        objective: Objective | None = None,
        limits: Limits | None = None,
        exploration: ExplorationBudget | None = None,
        exploration_counts: tuple[int, int] = (0, 0),
        deadline_ms: float | None = DEFAULT_DEADLINE_MS,
    ) -> None:
        self._bundle = bundle
        self._bundle_id = None if bundle is None else bundle.manifest.bundle_id
        self._imitator = None
        if bundle is not None and model is not None and not isinstance(model, OutcomeModel):
            self._imitator = Imitator(bundle, model)
        self._deadline_ms = None if deadline_ms is None else checked_ms(deadline_ms)
        self._no_model_reason = no_model_reason
        own = SHIPPED_CONFIG if bundle is None else bundle.kernel_config
        self._config = kernel_config or own
        try:
            digest = document_hash(msgspec.to_builtins(self._config))
        except ValueError:  # a number in a routing rule that JSON cannot say
            digest = None
        self._stability = Stability(kernel_config_hash=digest)
        self._outcomes: OutcomePlanner | None = None
        if bundle is not None and bundle.outcome is not None and isinstance(model, OutcomeModel):
            self._outcomes = OutcomePlanner(
                bundle,
                bundle.outcome,
                model,
                kernel_config=kernel_config,
                stability=self._stability,
                overrides=PolicyOverrides(
                    objective=objective, limits=limits, exploration=exploration
                ),
                exploration_counts=exploration_counts,
            )

    @classmethod
    def open(
        cls,
        folder: Path | None,
        *,
        kernel_config: KernelConfig | None = None,
        objective: Objective | None = None,
        limits: Limits | None = None,
        exploration: ExplorationBudget | None = None,
        exploration_counts: tuple[int, int] = (0, 0),
        trust: Trust = NO_TRUST,
        deadline_ms: float | None = DEFAULT_DEADLINE_MS,
    ) -> "Planner":
        """A planner on the bundle in ``folder``; on the baseline, with the reason, when it must not
        be used. Never raises. Arguments as of the class; ``trust`` says whose bundles are opened.
        """
        if folder is None:
            return cls(None, None, kernel_config=kernel_config)
        try:
            bundle, model = load_bundle(folder, trust=trust)
            return cls(
                bundle,
                model,
                kernel_config=kernel_config,
                objective=objective,
                limits=limits,
                exploration=exploration,
                exploration_counts=exploration_counts,
                deadline_ms=deadline_ms,
            )
        except BundleError as error:
            reason = no_model_reason(error, folder)
        except Exception as error:  # a fault of ours must not stop a kernel
            reason = f"bundle_load_failed:{type(error).__name__}: {error}"
        return cls(None, None, kernel_config=kernel_config, no_model_reason=reason)

    @property
    def bundle(self) -> Bundle | None:
        """The bundle in use, or None when the baseline answers."""
        return self._bundle

    @property
    def exploration_counts(self) -> tuple[int, int]:
        """Decisions by outcomes in this epoch, and those that were drawn by chance: to go on from
        in another process.
        """
        return (0, 0) if self._outcomes is None else self._outcomes.exploration_counts

    def plan(self, planner_input: Question, *, now_ms: int | None = None) -> PlannerAction:
        """The action for one planner input. Never raises."""
        return self.decide(planner_input, now_ms=now_ms).action

    def decide(
        self,
        planner_input: Question,
        *,
        now_ms: int | None = None,
        situation: Situation | None = None,
    ) -> Decision:
        """The action for one planner input together with its record. Never raises.

        Args:
            planner_input: A ``planner_input.v1`` document, as JSON or as a mapping.
            now_ms: Stamped on the answer, Unix epoch in milliseconds; None, and any number outside
                the calendar, takes the clock.
            situation: What the kernel knows of its dispatch; None: nothing beyond the input.
        """
        created_at, situation = _timestamp(now_ms), situation or NO_SITUATION
        deadline = NEVER if self._deadline_ms is None else Deadline(self._deadline_ms)
        try:
            question, digest = read_question(planner_input)
        except ContractError as error:
            return self._unread(created_at, situation, f"{error.path}: {error.why}")
        except Exception as error:  # whatever a caller's mapping does when it is read
            return self._unread(created_at, situation, f"$: {type(error).__name__}: {error}")
        asked = asked_of(question, digest, created_at, situation)
        if not valid_actions(asked.offered, question.job_type):
            reason = f"no_valid_action:the input offers none for {question.job_type!r}"
            return self._blank(created_at, situation, reason, digest)
        baseline = baseline_of(asked, self._config)
        try:
            deadline.check()
            if self._outcomes is not None:
                return self._outcomes.decide(asked, baseline, deadline)
            if self._imitator is None:
                raise NoAnswerError(self._no_model_reason)
            verdict = self._imitator.ask(asked, deadline)
        except (NoAnswerError, DeadlineError) as error:
            return self._baseline_decision(asked, baseline, str(error))
        except Exception as error:
            reason = f"inference_failed:{type(error).__name__}: {error}"
            return self._baseline_decision(asked, baseline, reason)
        if not verdict.calibration.follows(verdict.confidence):
            return self._baseline_decision(asked, baseline, _abstain_reason(verdict), verdict)
        return self._model_decision(asked, baseline, verdict)

    def _unread(self, created_at: str, situation: Situation, why: str) -> Decision:
        return self._blank(created_at, situation, f"invalid_input:{why}", None)

    def _blank(
        self, created_at: str, situation: Situation, reason: str, digest: str | None
    ) -> Decision:
        """The answer to a question of which nothing can be used."""
        asked = asked_of(_BLANK, digest, created_at, situation)
        baseline = baseline_of(asked, self._config)
        return self._baseline_decision(asked, baseline, reason)

    def _model_decision(self, asked: Asked, baseline: Action, verdict: Verdict) -> Decision:
        action = PlannerAction(
            created_at=asked.created_at,
            swarm_id=verdict.action.swarm_id,
            budgets=budgets_of(verdict.action),
            probs=verdict.probs,
            confidence=verdict.confidence,
            abstain_to_default=False,
            model=verdict.model_id,
            input_hash=asked.input_hash,
        )
        return self._recorded(asked, action, baseline, verdict)

    def _baseline_decision(
        self, asked: Asked, baseline: Action, reason: str, verdict: Verdict | None = None
    ) -> Decision:
        action = PlannerAction(
            created_at=asked.created_at,
            swarm_id=baseline.swarm_id,
            budgets=budgets_of(baseline),
            probs=None if verdict is None else verdict.probs,
            confidence=0.0 if verdict is None else verdict.confidence,
            abstain_to_default=True,
            reason=told_briefly(reason),
            model=_BASELINE_MODEL if verdict is None else verdict.model_id,
            input_hash=asked.input_hash,
        )
        return self._recorded(asked, action, baseline, verdict)

    def _recorded(
        self, asked: Asked, action: PlannerAction, baseline: Action, verdict: Verdict | None
    ) -> Decision:
        trace = trace_of(
            asked,
            action,
            baseline,
            decided_by="baseline" if action.abstain_to_default else "model",
            stability=self._stability,
            bundle_id=self._bundle_id,
        )
        if verdict is None:
            return Decision(action, trace, baseline, None, ())
        return Decision(action, trace, baseline, verdict.action, verdict.alternatives)


def _abstain_reason(verdict: Verdict) -> str:
    if verdict.calibration.always_abstains:
        return "not_certified:no confidence is known to keep its promise"
    threshold = verdict.calibration.confidence_threshold
    return f"low_confidence:{verdict.confidence:.3f} < {threshold:.3f}"


def _timestamp(now_ms: int | None) -> str:
    try:
        if now_ms is not None:
            return rfc3339(now_ms)
    except (TypeError, ValueError):
        pass
    return rfc3339(time.time_ns() // 1_000_000)


def no_model_reason(error: BundleError, path: Path) -> str:
    """The fallback reason of a planner whose bundle at ``path`` was refused (formats 7.3)."""
    first = error.faults[0]
    if first.reason == "missing" and first.file == str(path):
        return f"bundle_dir_not_found:{path}"
    if first.reason == "onnx_import_failed":
        return f"onnx_import_failed:{first.detail}"
    return f"bundle_load_failed:{error}"


def open_model(bundle: Bundle) -> OnnxModel | OnnxOutcomeModel:
    """The session of a bundle's model. Raises ``ModelError``."""
    card = bundle.manifest.model
    if card.decoding == "outcome":
        return OnnxOutcomeModel(bundle.model, input_width=card.input_width)
    return OnnxModel(
        bundle.model,
        input_kind=card.input_kind,
        input_width=card.input_width,
        output_widths=output_widths(bundle.action_space, card.decoding),
    )


def golden_planner(bundle: Bundle, model: Model | OutcomeModel) -> Planner:
    """The planner that golden cases are written with and checked with: nothing is left to chance,
    so that a case does not depend on those before it, nor on how busy the machine is.
    """
    return Planner(bundle, model, exploration=NO_EXPLORATION, deadline_ms=None)


def load_bundle(folder: Path, *, trust: Trust = NO_TRUST) -> tuple[Bundle, Model | OutcomeModel]:
    """A verified bundle and its model, with every golden case answered as it was when shipped.

    Raises:
        BundleError: a file, the model or a golden case is not as it should be.
    """
    bundle = read_bundle(folder, trust=trust)
    try:
        model = open_model(bundle)
    except NoOnnxruntimeError as error:
        raise BundleError([Fault(MODEL, "onnx_import_failed", str(error))]) from error
    except (ModelError, ValueError) as error:
        raise BundleError([Fault(MODEL, "model_refused", str(error))]) from error
    planner = golden_planner(bundle, model)
    for number, case in enumerate(bundle.golden, start=1):
        answer = planner.plan(case.planner_input, now_ms=0)
        same = action_of(answer) == action_of(case.action)
        same = same and answer.abstain_to_default == case.action.abstain_to_default
        drift = abs((answer.confidence or 0.0) - (case.action.confidence or 0.0))
        if not same or drift > GOLDEN_TOLERANCE:
            detail = f"case {number} is answered {action_of(answer)}, not {action_of(case.action)}"
            raise BundleError([Fault(GOLDEN, "golden_mismatch", detail)])
    return bundle, model


def verify_bundle(folder: Path, *, trust: Trust = NO_TRUST) -> list[Fault]:
    """Everything wrong with a bundle; empty when it may serve."""
    try:
        load_bundle(folder, trust=trust)
    except BundleError as error:
        return error.faults
    return []
