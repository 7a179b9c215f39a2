"""A kernel's planner: asks, judges the answer by the kernel's mode and caps, and records both.

Belongs here: one dispatch from its question to what is enforced and the record of it. Never raises,
whatever it is given: the kernel's baseline stands in, with the reason. Does not: what a mode allows
(``modes``), what is recorded (``answers``), building questions (``asking``), models.
Spec: section 10; formats 7.3.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from planner_runtime.actions import NA, Action, ActionSpace
from planner_runtime.bundle import Bundle
from planner_runtime.contracts.canonical import input_hash
from planner_runtime.contracts.policy_trace import PolicyTrace
from planner_runtime.contracts.reading import ContractError, to_document
from planner_runtime.deadline import Deadline, DeadlineError
from planner_runtime.decision import BASELINE_ID, Decision, Situation, told_briefly
from planner_runtime.exploration import NO_EXPLORATION
from planner_runtime.inputs import blank_planner_input, rfc3339
from planner_runtime.kernel.answers import (
    UNAVAILABLE_ID,
    action_document,
    baseline_trace,
    not_followed,
    trace_as_run,
)
from planner_runtime.kernel.asking import HasIndex
from planner_runtime.kernel.modes import (
    Caps,
    Enforced,
    KernelBaseline,
    baseline_in,
    enforceable_actions,
    judge,
    kept,
)
from planner_runtime.kernel.question import Histories, History, KernelQuestion, clock_ms
from planner_runtime.kernel.running_record import ServedRecord, told_with
from planner_runtime.kernel.selection import PlannerSelection, Predicting
from planner_runtime.kernel.settings import PlannerSettings, planner_settings_of
from planner_runtime.kernel_config import KernelConfig, kernel_config_of
from planner_runtime.live import LivePlanner
from planner_runtime.metrics import Metrics
from planner_runtime.policy import Limits
from planner_runtime.served_planner import Answering, bundle_of, pinned
from planner_runtime.sidecar.client import SidecarPlanner
from planner_runtime.sidecar.decider import SidecarDecider
from planner_runtime.similar_runs import RunIndex


class _Dispatch(msgspec.Struct, frozen=True, kw_only=True):
    """One dispatch, as far as it is known before anybody is asked."""

    question: dict[str, Any]
    runs: RunIndex
    space: ActionSpace
    job_type: str
    baseline: KernelBaseline
    in_bins: Action
    created_at: str
    now_ms: int


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a planner said; without a document, why it said nothing.

    Attributes:
        abstains: The model's own reason to keep the baseline.
        is_counted: Whether the metrics of a live planner have the reason already.
    """

    document: Any = None
    reason: str | None = None
    is_counted: bool = False
    abstains: str | None = None
    by_chance: bool = False
    trace: PolicyTrace | None = None


class KernelPlanner:
    """The planner of one kernel process.

    Args:
        settings: Of the configuration's ``planner:`` section.
        kernel_config: The kernel's configuration, for the baseline and the epoch of a model.
        planner: Asked in the place of the bundle in ``settings``: whatever has ``decide`` as
            ``Planner`` has, or ``predict_action`` as the kernel's own planners have.
        metrics: Counts decisions, fallbacks and loads.
        log: Called with one line for whatever an operator should know.
    """

    def __init__(
        self,
        settings: PlannerSettings,
        *,
        kernel_config: KernelConfig | None = None,
        planner: "Answering | Predicting | None" = None,
        metrics: Metrics | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.settings, self.metrics = settings, metrics or Metrics()
        self._log = log or (lambda line: None)
        self._config = kernel_config
        self._histories, self._record = Histories(), ServedRecord()
        self._opened: LivePlanner | None = None  # ours to close
        self._predicting: Predicting | None = None
        self._planner: Answering | None = None
        if isinstance(planner, Predicting):  # asked once: it takes longer than a plan's decoding
            self._predicting = planner
        else:
            self._planner = planner
        for line in settings.refused:
            self._log(f"planner is off: {line}")
        if planner is not None or settings.mode == "off":
            return
        if settings.socket is not None:
            client = SidecarPlanner(
                settings.socket, settings.deadline_ms, kernel_config=kernel_config
            )
            self._planner = SidecarDecider(client)
        elif settings.bundle_dir is not None:
            self._planner = self._opened = self._open(settings.bundle_dir, kernel_config)

    @classmethod
    def of_config(
        cls,
        document: Mapping[str, Any],
        repo_root: Path,
        *,
        metrics: Metrics | None = None,
        log: Callable[[str], None] | None = None,
    ) -> "KernelPlanner":
        """The planner that a parsed ``.cyntra/config.yaml`` asks for; never raises."""
        settings = planner_settings_of(document, repo_root)
        config: KernelConfig | None = None
        try:
            config = kernel_config_of(document)
        except ValueError as error:
            refused = (*settings.refused, str(error))
            settings = msgspec.structs.replace(settings, mode="off", refused=refused)
        return cls(settings, kernel_config=config, metrics=metrics, log=log)

    def _open(self, bundle_dir: Path, config: KernelConfig | None) -> LivePlanner:
        settings = self.settings
        may_switch = Limits(reductions_only=False, topology_changes=True)
        return LivePlanner(
            bundle_dir,
            metrics=self.metrics,
            log=self._log,
            public_key=settings.public_key,
            require_signature=settings.require_signature,
            kernel_config=config,
            deadline_ms=settings.deadline_ms,
            limits=may_switch if settings.topology_changes else None,
            exploration=NO_EXPLORATION if settings.mode == "log" else None,
        )

    def prepare(self, history: HasIndex, *, now_ms: int | None = None) -> None:
        """Learn what runs tell that no decision has asked for yet: much at the start and after a
        new bundle, else next to nothing. What is left to a decision counts against its deadline.
        """
        now_ms = clock_ms() if now_ms is None else now_ms
        self._record.learn(bundle_of(self._planner), history.index, now_ms)

    def close(self) -> None:
        """Stop looking for new bundles. The planner still answers."""
        if self._opened is not None:
            self._opened.close()

    def decide(
        self,
        *,
        issue: Any,
        job_type: str,
        universe_id: str,
        universe_defaults: Mapping[str, str | None],
        action_space: ActionSpace,
        history_candidates: History,
        system_state: Mapping[str, Any] | None,
        now_ms: int | None = None,
        baseline_swarm_id: str,
        baseline_max_candidates: int,
        baseline_timeout_cap_seconds: int | None,
        max_iterations: int | None = None,
        alternatives: Mapping[str, Caps] | None = None,
    ) -> PlannerSelection:
        """What one dispatch runs. Never raises.

        Args:
            issue: The kernel's own object, or a mapping of its fields.
            alternatives: Topologies that the kernel could run for this issue instead of its
                baseline, with their caps; looked at where ``topology_changes`` is set.
        """
        baseline = KernelBaseline(
            swarm_id=baseline_swarm_id,
            caps=Caps(
                max_candidates=baseline_max_candidates,
                timeout_seconds=baseline_timeout_cap_seconds,
                max_iterations=max_iterations,
            ),
        )
        now_ms = clock_ms() if now_ms is None else now_ms
        asked = KernelQuestion(
            issue=issue,
            job_type=job_type,
            universe_id=universe_id,
            universe_defaults=universe_defaults,
            action_space=action_space,
            system_state=system_state,
            now_ms=now_ms,
        )
        try:
            if self.settings.topology_changes and alternatives:
                others = tuple(sorted(dict(alternatives).items(), key=lambda other: other[0]))
                baseline = msgspec.structs.replace(baseline, alternatives=others)
            dispatch = self._dispatch(asked, history_candidates, baseline)
            try:
                return self._selected(dispatch)
            except Exception as error:  # a fault of ours must not stop a kernel
                return self._not_asked(dispatch, _reason("planner_failed", error))
        except Exception as error:  # the kernel's own objects cannot be read, or not be recorded
            return self._not_asked(_unread(baseline), _reason("planner_input_failed", error))

    def _selected(self, dispatch: _Dispatch) -> PlannerSelection:
        if self.settings.mode == "off":
            return self._not_asked(dispatch, None)
        planner = pinned(self._planner)
        try:
            dispatch = self._with_record(dispatch, bundle_of(planner))
        except DeadlineError as error:
            return self._not_asked(dispatch, str(error))
        answer = self._ask(dispatch, planner)
        if answer.reason is not None:
            return self._not_asked(
                dispatch, answer.reason, is_counted=answer.is_counted, trace=answer.trace
            )
        return self._judged(dispatch, answer)

    def _dispatch(
        self, asked: KernelQuestion, history: History, baseline: KernelBaseline
    ) -> _Dispatch:
        question, runs = self._histories.question(asked, history)
        return _Dispatch(
            question=question,
            runs=runs,
            space=asked.action_space,
            job_type=asked.job_type,
            baseline=baseline,
            in_bins=baseline_in(asked.action_space, asked.job_type, baseline),
            created_at=rfc3339(asked.now_ms),
            now_ms=asked.now_ms,
        )

    def _with_record(self, dispatch: _Dispatch, bundle: Bundle | None) -> _Dispatch:
        """The question as a model of outcomes was trained on it: with all that runs have told.

        Raises:
            DeadlineError: runs have told more than can be learned in time; the next goes on.
        """
        deadline = Deadline(self.settings.deadline_ms)
        record = self._record.learn(bundle, dispatch.runs, dispatch.now_ms, deadline)
        if bundle is None or record is None:
            return dispatch
        try:
            told = told_with(dispatch.question, record, self._config or bundle.kernel_config)
        except ContractError:  # the planner says what is wrong with it
            return dispatch
        return msgspec.structs.replace(dispatch, question=told)

    def _ask(self, dispatch: _Dispatch, planner: Answering | None) -> _Answer:
        question = dispatch.question
        if self._predicting is not None:
            input_hash(question)  # what has none can be neither asked nor recorded
            try:
                return _Answer(document=self._predicting.predict_action(question))
            except Exception as error:
                return _Answer(reason=_reason("inference_failed", error))
        if planner is None:
            return _Answer(reason="bundle_dir_missing")
        allowed = enforceable_actions(dispatch.space, dispatch.job_type, dispatch.baseline)
        situation = Situation(
            baseline=dispatch.in_bins,
            enforceable=allowed,
            confidence_threshold=self.settings.confidence_threshold,
        )
        return _answer_of(planner.decide(question, now_ms=dispatch.now_ms, situation=situation))

    def _judged(self, dispatch: _Dispatch, answer: _Answer) -> PlannerSelection:
        document = answer.document
        if not isinstance(document, Mapping):
            return self._not_asked(dispatch, "invalid_action_type")
        judged = judge(
            document,
            space=dispatch.space,
            job_type=dispatch.job_type,
            baseline=dispatch.baseline,
            confidence_threshold=self.settings.confidence_threshold,
            by_chance=answer.by_chance,
        )
        refused = answer.abstains or (judged if isinstance(judged, str) else None)
        if self.settings.mode == "log":
            refused = "log_only"
        runs = kept(dispatch.baseline) if isinstance(judged, str) or refused else judged
        if refused is not None and answer.abstains is None:
            self.metrics.observe_refusal(refused)
        trace = answer.trace
        if trace is not None:
            trace = trace_as_run(trace, dispatch.in_bins, mode=self.settings.mode, refused=refused)
        action = dict(document) if refused is None else not_followed(document, refused)
        return _selection(dispatch, action, runs, refused, trace)

    def _not_asked(
        self,
        dispatch: _Dispatch,
        reason: str | None,
        *,
        is_counted: bool = False,
        trace: PolicyTrace | None = None,
    ) -> PlannerSelection:
        """The baseline, where no model spoke; without a reason, because none was to."""
        if reason is not None and not is_counted:
            self.metrics.observe_refusal(reason)
        asked_hash = input_hash(dispatch.question)
        action = action_document(
            dispatch.in_bins,
            asked_hash=asked_hash,
            created_at=dispatch.created_at,
            confidence=1.0 if reason is None else 0.0,
            checkpoint_id=BASELINE_ID if reason is None else UNAVAILABLE_ID,
            reason=reason,
        )
        told = baseline_trace(
            dispatch.in_bins,
            asked_hash=asked_hash,
            space=dispatch.space,
            job_type=dispatch.job_type,
            created_at=dispatch.created_at,
            mode=self.settings.mode,
            reason=reason,
            of_planner=trace,
        )
        return _selection(dispatch, action, kept(dispatch.baseline), reason, told)


def _reason(code: str, error: Exception) -> str:
    return told_briefly(f"{code}:{type(error).__name__}: {error}")


def _unread(baseline: KernelBaseline) -> _Dispatch:
    """A dispatch of which nothing but the kernel's baseline can be read; of that, what can be."""
    question, space = blank_planner_input(), ActionSpace()
    job_type = question["job_type"]
    try:
        in_bins = baseline_in(space, job_type, baseline)
    except Exception:  # budgets that are no numbers
        in_bins = Action(baseline.swarm_id, NA, NA, NA)
    return _Dispatch(
        question=question,
        runs=RunIndex(),
        space=space,
        job_type=job_type,
        baseline=baseline,
        in_bins=in_bins,
        created_at=question["created_at"],
        now_ms=0,
    )


def _answer_of(decision: Decision) -> _Answer:
    action, trace = decision.action, decision.trace
    if action.model is not None and action.model.checkpoint_id == BASELINE_ID:
        return _Answer(reason=action.reason or "bundle_dir_missing", is_counted=True, trace=trace)
    return _Answer(
        document=to_document(action),
        abstains=action.reason if action.abstain_to_default else None,
        by_chance=trace.decided_by == "exploration",
        trace=trace,
    )


def _selection(
    dispatch: _Dispatch,
    action: dict[str, Any],
    runs: Enforced,
    refused: str | None,
    trace: PolicyTrace | None,
) -> PlannerSelection:
    return PlannerSelection(
        planner_input=dispatch.question,
        planner_action=action,
        swarm_id_executed=runs.swarm_id,
        max_candidates_executed=runs.max_candidates,
        timeout_seconds_override=runs.timeout_seconds_override,
        max_iterations_executed=runs.max_iterations,
        fallback_applied=refused is not None,
        fallback_reason=refused,
        policy_trace=None if trace is None else to_document(trace),
    )
