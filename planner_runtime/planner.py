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
    choice_matrix,
    valid_actions,
)
from planner_runtime.bundle import Bundle, BundleError, Fault, read_bundle
from planner_runtime.contracts.canonical import document_hash, input_hash
from planner_runtime.contracts.planner_action import Budgets, ModelId, PlannerAction
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.policy_trace import (
    ActionChoice,
    DecidedBy,
    Exploration,
    Mode,
    PolicyTrace,
    Stability,
)
from planner_runtime.contracts.reading import ContractError, decode_json, read_document
from planner_runtime.decode import JointDecision, NonFiniteLogitsError, decode_joint
from planner_runtime.features import feature_vector
from planner_runtime.heuristic import baseline_action
from planner_runtime.inputs import build_planner_input, issue_document, rfc3339
from planner_runtime.kernel_config import SHIPPED_CONFIG, KernelConfig
from planner_runtime.session import Model, ModelError, OnnxModel
from planner_runtime.tokenizer import tokenize

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


class _Verdict(msgspec.Struct, frozen=True):
    """What the model said, on the actions both it and the caller know."""

    action: Action
    decision: JointDecision
    alternatives: tuple[tuple[Action, float], ...]


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


def _choice(action: Action) -> ActionChoice:
    return ActionChoice(swarm_id=action.swarm_id, budgets=_budgets(action))


def action_of(planner_action: PlannerAction) -> Action:
    """The joint action of a planner action document."""
    budgets = planner_action.budgets
    return Action(
        planner_action.swarm_id,
        budgets.max_candidates_bin,
        budgets.max_minutes_bin,
        budgets.max_iterations_bin,
    )


def _blank_question() -> PlannerInput:
    """What is answered when a question cannot be read: an issue of which nothing is known."""
    document = build_planner_input(
        created_at_ms=0,
        universe_id="unknown",
        job_type="code",
        universe_defaults={},
        issue=issue_document({}),
        similar_runs=(),
        space=ActionSpace(),
        system_state=None,
    )
    return read_document(document, PlannerInput)


_BLANK: Final = _blank_question()


class Planner:
    """Answers planner inputs from one bundle, or from the baseline where it has none."""

    def __init__(
        self,
        bundle: Bundle | None,
        model: Model | None,
        *,
        kernel_config: KernelConfig | None = None,
        mode: Mode = "enforce",
        no_model_reason: str = "bundle_dir_missing",
    ) -> None:
        self._bundle, self._model, self._mode = bundle, model, mode
        self._no_model_reason = no_model_reason
        config = kernel_config
        if config is None and bundle is not None:
            config = msgspec.convert(bundle.manifest.kernel_config, KernelConfig)
        self._config = config or SHIPPED_CONFIG
        self._stability = Stability(
            kernel_config_hash=document_hash(msgspec.to_builtins(self._config))
        )

    @classmethod
    def open(
        cls,
        folder: Path | None,
        *,
        kernel_config: KernelConfig | None = None,
        mode: Mode = "enforce",
    ) -> "Planner":
        """A planner on the bundle in ``folder``; on the baseline, with the reason, when it must not
        be used. Never raises.
        """
        if folder is None:
            return cls(None, None, kernel_config=kernel_config, mode=mode)
        try:
            bundle, model = load_bundle(folder)
        except BundleError as error:
            reason = f"bundle_load_failed:{error}"
            if error.faults[0].reason == "missing" and error.faults[0].file == str(folder):
                reason = f"bundle_dir_not_found:{folder}"
            return cls(None, None, kernel_config=kernel_config, mode=mode, no_model_reason=reason)
        except Exception as error:  # a fault of ours must not stop a kernel
            reason = f"bundle_load_failed:{type(error).__name__}: {error}"
            return cls(None, None, kernel_config=kernel_config, mode=mode, no_model_reason=reason)
        return cls(bundle, model, kernel_config=kernel_config, mode=mode)

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
            now_ms: Stamped on the answer, Unix epoch in milliseconds; None takes the clock.
        """
        moment = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        try:
            raw = (
                decode_json(planner_input, PlannerInput)
                if isinstance(planner_input, bytes | str)
                else planner_input
            )
            question = read_document(raw, PlannerInput)
            asked = input_hash(raw)
            dk_speculate = bool(raw["issue"].get("dk_speculate"))
        except ContractError as error:
            reason = f"invalid_input:{error.path}: {error.why}"
            return self._baseline_decision(_BLANK, None, reason, moment)
        except Exception as error:
            reason = f"invalid_input:$: {type(error).__name__}: {error}"
            return self._baseline_decision(_BLANK, None, reason, moment)
        try:
            return self._decide(question, asked, dk_speculate, moment)
        except Exception as error:
            reason = f"inference_failed:{type(error).__name__}: {error}"
            return self._baseline_decision(_BLANK, asked, reason, moment)

    def _decide(
        self, question: PlannerInput, asked: str, dk_speculate: bool, now_ms: int
    ) -> Decision:
        offered = action_space_of(question.action_space)
        if not valid_actions(offered, question.job_type):
            reason = f"no_valid_action:the input offers none for {question.job_type!r}"
            return self._baseline_decision(_BLANK, asked, reason, now_ms)
        try:
            verdict = self._ask_model(question, offered)
        except _NoAnswerError as error:
            return self._baseline_decision(
                question, asked, str(error), now_ms, dk_speculate=dk_speculate
            )
        assert self._bundle is not None
        threshold = self._bundle.calibration.confidence_threshold
        if verdict.decision.confidence < threshold:
            reason = f"low_confidence:{verdict.decision.confidence:.3f} < {threshold:.3f}"
            return self._baseline_decision(
                question, asked, reason, now_ms, dk_speculate=dk_speculate, verdict=verdict
            )
        baseline = baseline_action(offered, question, self._config, dk_speculate=dk_speculate)
        action = PlannerAction(
            created_at=rfc3339(now_ms),
            swarm_id=verdict.action.swarm_id,
            budgets=_budgets(verdict.action),
            probs=_probs(verdict.decision),
            confidence=min(1.0, verdict.decision.confidence),
            abstain_to_default=False,
            model=self._model_id(),
            input_hash=asked,
        )
        trace = self._trace(question, asked, verdict.action, baseline, now_ms, decided_by="model")
        return Decision(action, trace, baseline, verdict.action, verdict.alternatives)

    def _ask_model(self, question: PlannerInput, offered: ActionSpace) -> _Verdict:
        if self._bundle is None or self._model is None:
            raise _NoAnswerError(self._no_model_reason)
        space = self._bundle.action_space
        known = valid_actions(space, question.job_type)
        allowed = set(valid_actions(offered, question.job_type))
        rows = [row for row, action in enumerate(known) if action in allowed]
        if not rows:
            raise _NoAnswerError("no_valid_action:the bundle knows none of the offered actions")
        choices = choice_matrix(space, question.job_type)[rows]
        masks = []
        for head, options in enumerate(space.choices):
            mask = np.zeros(len(options), dtype=bool)
            mask[choices[:, head]] = True
            masks.append(mask)
        if self._bundle.manifest.model.input_kind == "features":
            row = feature_vector(question)
        else:
            row = np.asarray(tokenize(question), dtype=np.int64)
        try:
            logits = self._model.logits(row)
            decision = decode_joint(
                logits, self._bundle.calibration.in_head_order(), choices, masks
            )
        except (ModelError, NonFiniteLogitsError) as error:
            raise _NoAnswerError(f"inference_failed:{error}") from error
        actions = [known[row] for row in rows]
        best = np.argsort(-decision.joint_probs, kind="stable")[:5]
        return _Verdict(
            actions[decision.index],
            decision,
            tuple((actions[i], float(decision.joint_probs[i])) for i in best),
        )

    def _baseline_decision(
        self,
        question: PlannerInput,
        asked: str | None,
        reason: str,
        now_ms: int,
        *,
        dk_speculate: bool = False,
        verdict: _Verdict | None = None,
    ) -> Decision:
        offered = action_space_of(question.action_space)
        chosen = baseline_action(offered, question, self._config, dk_speculate=dk_speculate)
        action = PlannerAction(
            created_at=rfc3339(now_ms),
            swarm_id=chosen.swarm_id,
            budgets=_budgets(chosen),
            probs=None if verdict is None else _probs(verdict.decision),
            confidence=0.0 if verdict is None else min(1.0, verdict.decision.confidence),
            abstain_to_default=True,
            reason=reason,
            model=ModelId(checkpoint_id=BASELINE_ID) if verdict is None else self._model_id(),
            input_hash=asked,
        )
        trace = self._trace(
            question, asked, chosen, chosen, now_ms, decided_by="baseline", reason=reason
        )
        return Decision(
            action,
            trace,
            chosen,
            None if verdict is None else verdict.action,
            () if verdict is None else verdict.alternatives,
        )

    def _model_id(self) -> ModelId:
        assert self._bundle is not None
        manifest = self._bundle.manifest
        return ModelId(
            checkpoint_id=manifest.bundle_id, version=manifest.versions.get("cyntra-planner")
        )

    def _trace(
        self,
        question: PlannerInput,
        asked: str | None,
        chosen: Action,
        baseline: Action,
        now_ms: int,
        *,
        decided_by: DecidedBy,
        reason: str | None = None,
    ) -> PolicyTrace:
        space = action_space_of(question.action_space)
        candidates = valid_actions(space, question.job_type)
        return PolicyTrace(
            created_at=rfc3339(now_ms),
            input_hash=asked,
            decided_by=decided_by,
            mode=self._mode,
            chosen=_choice(chosen),
            baseline=_choice(baseline),
            n_candidates=len(candidates),
            candidate_set_hash=document_hash([list(action) for action in candidates]),
            propensity=1.0,  # nothing is drawn by chance
            exploration=Exploration(enabled=False, epsilon=0.0),
            stability=self._stability,
            bundle_id=None if self._bundle is None else self._bundle.manifest.bundle_id,
            fallback_reason=reason,
        )


def _probs(decision: JointDecision) -> dict[str, tuple[float, ...]]:
    return {
        head: tuple(float(p) for p in np.clip(probs, 0.0, 1.0))
        for head, probs in zip(HEADS, decision.head_probs, strict=True)
    }


def load_bundle(folder: Path) -> tuple[Bundle, Model]:
    """A verified bundle and its model, with every golden case answered as it was when shipped.

    Raises:
        BundleError: a file, the model or a golden case is not as it should be.
    """
    bundle = read_bundle(folder)
    try:
        model = OnnxModel(
            bundle.model,
            input_kind=bundle.manifest.model.input_kind,
            output_names=bundle.manifest.model.output_names,
        )
    except ModelError as error:
        raise BundleError([Fault("planner.onnx", "model_refused", str(error))]) from error
    planner = Planner(bundle, model)
    for number, case in enumerate(bundle.golden, start=1):
        answer = planner.plan(case.planner_input, now_ms=0)
        same = action_of(answer) == action_of(case.action) and answer.reason == case.action.reason
        drift = abs((answer.confidence or 0.0) - (case.action.confidence or 0.0))
        if not same or drift > GOLDEN_TOLERANCE:
            detail = f"case {number} is answered {action_of(answer)}, not {action_of(case.action)}"
            raise BundleError([Fault("golden.jsonl", "golden_mismatch", detail)])
    return bundle, model


def verify_bundle(folder: Path) -> list[Fault]:
    """Everything wrong with a bundle; empty when it may serve."""
    try:
        load_bundle(folder)
    except BundleError as error:
        return error.faults
    return []
