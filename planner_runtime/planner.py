"""The planner a kernel calls: an action with calibrated confidence, or the baseline with a reason.

Belongs here: the way from a planner input to a decision and its record. Never raises to its
caller, never hides why. Does not: reading bundles (``bundle``), the heuristic (``heuristic``).
Spec: sections 10.1 to 10.3.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from planner_runtime.actions import (
    HEADS,
    Action,
    ActionSpace,
    action_space_of,
    candidate_set_hash,
    choice_matrix,
    valid_actions,
)
from planner_runtime.bundle import GOLDEN, MODEL, Bundle, BundleError, Fault, read_bundle
from planner_runtime.calibration import Calibration
from planner_runtime.contracts.canonical import document_hash, input_hash
from planner_runtime.contracts.planner_action import Budgets, ModelId, PlannerAction
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.policy_trace import (
    ActionChoice,
    DecidedBy,
    Exploration,
    PolicyTrace,
    Stability,
)
from planner_runtime.contracts.reading import (
    ContractError,
    contract_name,
    decode_json,
    read_document,
)
from planner_runtime.decode import (
    JointDecision,
    NonFiniteLogitsError,
    action_table,
    decode,
    output_widths,
    table_of,
)
from planner_runtime.features import feature_vector
from planner_runtime.heuristic import baseline_action
from planner_runtime.inputs import blank_planner_input, epoch_ms, rfc3339
from planner_runtime.kernel_config import SHIPPED_CONFIG, KernelConfig
from planner_runtime.session import Model, ModelError, OnnxModel
from planner_runtime.tokenizer import TokenBudget, tokenize

BASELINE_ID: Final = "baseline_heuristic_v0"
GOLDEN_TOLERANCE: Final = 1e-4

Question = Mapping[str, Any] | bytes | str


class Decision(msgspec.Struct, frozen=True):
    """A decision and everything needed to explain it.

    Attributes:
        action: What to do.
        trace: Who decided, among what, with which probability.
        baseline: What the kernel would do by itself.
        model_choice: What the model preferred, also where it was not followed; None without one.
        alternatives: The model's likeliest valid actions with their probabilities, best first.
    """

    action: PlannerAction
    trace: PolicyTrace
    baseline: Action
    model_choice: Action | None
    alternatives: tuple[tuple[Action, float], ...]


class _Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the model said, on the actions both it and the caller know."""

    action: Action
    confidence: float
    calibration: Calibration
    probs: dict[str, tuple[float, ...]]
    alternatives: tuple[tuple[Action, float], ...]
    model_id: ModelId


class _NoAnswerError(Exception):
    """The model has no answer to this question; its text is the fallback reason."""


def _budgets(action: Action) -> Budgets:
    return msgspec.convert(
        {
            "max_minutes_bin": action.max_minutes_bin,
            "max_candidates_bin": action.max_candidates_bin,
            "max_iterations_bin": action.max_iterations_bin,
        },
        Budgets,
    )


def action_of(planner_action: PlannerAction) -> Action:
    """The joint action of a planner action document."""
    budgets = planner_action.budgets
    return Action(
        planner_action.swarm_id,
        budgets.max_candidates_bin,
        budgets.max_minutes_bin,
        budgets.max_iterations_bin,
    )


# what is answered when a question cannot be read
_BLANK: Final = read_document(blank_planner_input(), PlannerInput)


class Planner:
    """Answers planner inputs from one bundle, or from the baseline where it has none."""

    def __init__(
        self,
        bundle: Bundle | None,
        model: Model | None,
        *,
        kernel_config: KernelConfig | None = None,
        no_model_reason: str = "bundle_dir_missing",
    ) -> None:
        self._bundle, self._model = bundle, model
        self._no_model_reason = no_model_reason
        own = SHIPPED_CONFIG if bundle is None else bundle.kernel_config
        self._config = kernel_config or own
        try:
            digest = document_hash(msgspec.to_builtins(self._config))
        except ValueError:  # a number in a routing rule that JSON cannot say
            digest = None
        self._stability = Stability(kernel_config_hash=digest)

    @classmethod
    def open(cls, folder: Path | None, *, kernel_config: KernelConfig | None = None) -> "Planner":
        """A planner on the bundle in ``folder``; on the baseline, with the reason, when it must not
        be used. Never raises.

        Args:
            kernel_config: For the baseline; None takes the bundle's own, or the shipped one.
        """
        if folder is None:
            return cls(None, None, kernel_config=kernel_config)
        try:
            bundle, model = load_bundle(folder)
            return cls(bundle, model, kernel_config=kernel_config)
        except BundleError as error:
            reason = f"bundle_load_failed:{error}"
            if error.faults[0].reason == "missing" and error.faults[0].file == str(folder):
                reason = f"bundle_dir_not_found:{folder}"
        except Exception as error:  # a fault of ours must not stop a kernel
            reason = f"bundle_load_failed:{type(error).__name__}: {error}"
        return cls(None, None, kernel_config=kernel_config, no_model_reason=reason)

    @property
    def bundle(self) -> Bundle | None:
        """The bundle in use, or None when the baseline answers."""
        return self._bundle

    def plan(self, planner_input: Question, *, now_ms: int | None = None) -> PlannerAction:
        """The action for one planner input. Never raises."""
        return self.decide(planner_input, now_ms=now_ms).action

    def decide(self, planner_input: Question, *, now_ms: int | None = None) -> Decision:
        """The action for one planner input together with its record. Never raises.

        Args:
            planner_input: A ``planner_input.v1`` document, as JSON or as a mapping.
            now_ms: Stamped on the answer, Unix epoch in milliseconds; None, and any number outside
                the calendar, takes the clock.
        """
        created_at = _timestamp(now_ms)
        try:
            question, asked = _read_question(planner_input)
        except ContractError as error:
            reason = f"invalid_input:{error.path}: {error.why}"
            return self._baseline_decision(_BLANK, None, reason, created_at)
        except Exception as error:  # whatever a caller's mapping does when it is read
            reason = f"invalid_input:$: {type(error).__name__}: {error}"
            return self._baseline_decision(_BLANK, None, reason, created_at)
        offered = action_space_of(question.action_space)
        if not valid_actions(offered, question.job_type):
            reason = f"no_valid_action:the input offers none for {question.job_type!r}"
            return self._baseline_decision(_BLANK, asked, reason, created_at)
        try:
            verdict = self._ask_model(question, offered)
        except _NoAnswerError as error:
            return self._baseline_decision(question, asked, str(error), created_at)
        except Exception as error:
            reason = f"inference_failed:{type(error).__name__}: {error}"
            return self._baseline_decision(question, asked, reason, created_at)
        if not verdict.calibration.follows(verdict.confidence):
            reason = _abstain_reason(verdict)
            return self._baseline_decision(question, asked, reason, created_at, verdict=verdict)
        return self._model_decision(question, asked, created_at, verdict)

    def _ask_model(self, question: PlannerInput, offered: ActionSpace) -> _Verdict:
        if self._bundle is None or self._model is None:
            raise _NoAnswerError(self._no_model_reason)
        space, calibration = self._bundle.action_space, self._bundle.calibration
        known = valid_actions(space, question.job_type)
        allowed = set(valid_actions(offered, question.job_type))
        rows = [row for row, action in enumerate(known) if action in allowed]
        if not rows:
            raise _NoAnswerError("no_valid_action:the bundle knows none of the offered actions")
        table = action_table(space, question.job_type)
        if len(rows) < len(known):
            table = table_of(space, choice_matrix(space, question.job_type)[rows])
        card = self._bundle.manifest.model
        if card.input_kind == "features":
            row = feature_vector(question)
        else:
            budget = TokenBudget(seq_len=card.seq_len, per_run=card.tokens_per_run)
            row = np.asarray(tokenize(question, budget=budget), dtype=np.int64)
        try:
            decision = decode(
                self._model.logits(row), calibration.temperatures, table, card.decoding
            )
        except (ModelError, NonFiniteLogitsError) as error:
            raise _NoAnswerError(f"inference_failed:{error}") from error
        actions = [known[row] for row in rows]
        best = np.argsort(-decision.joint_probs, kind="stable")[:5]
        return _Verdict(
            action=actions[decision.index],
            confidence=min(1.0, decision.confidence),
            calibration=calibration,
            probs=_probs(decision),
            alternatives=tuple((actions[i], float(decision.joint_probs[i])) for i in best),
            model_id=ModelId(
                checkpoint_id=self._bundle.manifest.bundle_id,
                version=self._bundle.manifest.versions.get("cyntra-planner"),
            ),
        )

    def _model_decision(
        self, question: PlannerInput, asked: str, created_at: str, verdict: _Verdict
    ) -> Decision:
        action = PlannerAction(
            created_at=created_at,
            swarm_id=verdict.action.swarm_id,
            budgets=_budgets(verdict.action),
            probs=verdict.probs,
            confidence=verdict.confidence,
            abstain_to_default=False,
            model=verdict.model_id,
            input_hash=asked,
        )
        offered = action_space_of(question.action_space)
        baseline = baseline_action(offered, question, self._config)
        trace = self._trace(question, action, baseline, decided_by="model")
        return Decision(action, trace, baseline, verdict.action, verdict.alternatives)

    def _baseline_decision(
        self,
        question: PlannerInput,
        asked: str | None,
        reason: str,
        created_at: str,
        *,
        verdict: _Verdict | None = None,
    ) -> Decision:
        offered = action_space_of(question.action_space)
        baseline = baseline_action(offered, question, self._config)
        action = PlannerAction(
            created_at=created_at,
            swarm_id=baseline.swarm_id,
            budgets=_budgets(baseline),
            probs=None if verdict is None else verdict.probs,
            confidence=0.0 if verdict is None else verdict.confidence,
            abstain_to_default=True,
            reason=reason,
            model=ModelId(checkpoint_id=BASELINE_ID) if verdict is None else verdict.model_id,
            input_hash=asked,
        )
        trace = self._trace(question, action, baseline, decided_by="baseline")
        if verdict is None:
            return Decision(action, trace, baseline, None, ())
        return Decision(action, trace, baseline, verdict.action, verdict.alternatives)

    def _trace(
        self,
        question: PlannerInput,
        action: PlannerAction,
        baseline: Action,
        *,
        decided_by: DecidedBy,
    ) -> PolicyTrace:
        offered = action_space_of(question.action_space)
        return PolicyTrace(
            created_at=action.created_at,
            input_hash=action.input_hash,
            decided_by=decided_by,
            mode="enforce",
            chosen=ActionChoice(swarm_id=action.swarm_id, budgets=action.budgets),
            baseline=ActionChoice(swarm_id=baseline.swarm_id, budgets=_budgets(baseline)),
            n_candidates=len(valid_actions(offered, question.job_type)),
            candidate_set_hash=candidate_set_hash(offered, question.job_type),
            propensity=1.0,  # nothing is drawn by chance
            exploration=Exploration(enabled=False, epsilon=0.0),
            stability=self._stability,
            bundle_id=None if self._bundle is None else self._bundle.manifest.bundle_id,
            fallback_reason=action.reason,
        )


def _abstain_reason(verdict: _Verdict) -> str:
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


def _read_question(planner_input: Question) -> tuple[PlannerInput, str]:
    """A planner input and its hash. Raises ``ContractError``."""
    raw = (
        decode_json(planner_input, PlannerInput)
        if isinstance(planner_input, bytes | str)
        else planner_input
    )
    question = read_document(raw, PlannerInput)
    try:
        epoch_ms(question.created_at)
    except (ValueError, OverflowError) as error:
        raise ContractError(contract_name(PlannerInput), "$.created_at", str(error)) from error
    return question, input_hash(raw)


def _probs(decision: JointDecision) -> dict[str, tuple[float, ...]]:
    return {
        head: tuple(float(p) for p in np.clip(probs, 0.0, 1.0))
        for head, probs in zip(HEADS, decision.head_probs, strict=True)
    }


def open_model(bundle: Bundle) -> OnnxModel:
    """The session of a bundle's model. Raises ``ModelError``."""
    card = bundle.manifest.model
    return OnnxModel(
        bundle.model,
        input_kind=card.input_kind,
        input_width=card.input_width,
        output_widths=output_widths(bundle.action_space, card.decoding),
    )


def load_bundle(folder: Path) -> tuple[Bundle, Model]:
    """A verified bundle and its model, with every golden case answered as it was when shipped.

    Raises:
        BundleError: a file, the model or a golden case is not as it should be.
    """
    bundle = read_bundle(folder)
    try:
        model = open_model(bundle)
    except (ModelError, ValueError) as error:
        raise BundleError([Fault(MODEL, "model_refused", str(error))]) from error
    planner = Planner(bundle, model)
    for number, case in enumerate(bundle.golden, start=1):
        answer = planner.plan(case.planner_input, now_ms=0)
        same = action_of(answer) == action_of(case.action)
        same = same and answer.abstain_to_default == case.action.abstain_to_default
        drift = abs((answer.confidence or 0.0) - (case.action.confidence or 0.0))
        if not same or drift > GOLDEN_TOLERANCE:
            detail = f"case {number} is answered {action_of(answer)}, not {action_of(case.action)}"
            raise BundleError([Fault(GOLDEN, "golden_mismatch", detail)])
    return bundle, model


def verify_bundle(folder: Path) -> list[Fault]:
    """Everything wrong with a bundle; empty when it may serve."""
    try:
        load_bundle(folder)
    except BundleError as error:
        return error.faults
    return []
