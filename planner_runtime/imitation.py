"""Decisions that imitate: from a question to the likeliest valid action, or the reason for none.

Belongs here: the way of one question through features or tokens, model and decoding.
Does not: reading questions (``decision``), following the answer or not, and the baseline
(``planner``), decisions by outcomes (``outcome_planner``). Spec: sections 7.3 and 10.2.
"""

from collections.abc import Callable

import msgspec
import numpy as np

from planner_runtime.actions import HEADS, Action, ActionSpace, choice_matrix, valid_actions
from planner_runtime.bundle import Bundle
from planner_runtime.calibration import Calibration
from planner_runtime.contracts.planner_action import ModelId
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.deadline import Deadline, DeadlineError
from planner_runtime.decision import Asked, NoAnswerError
from planner_runtime.decode import (
    ActionTable,
    JointDecision,
    NonFiniteLogitsError,
    action_table,
    decode,
    table_of,
)
from planner_runtime.features import feature_vector
from planner_runtime.remembering import remembered
from planner_runtime.session import Model, ModelError, StoppableModel
from planner_runtime.tokenizer import TokenBudget, tokenize

N_ALTERNATIVES = 5


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a model that imitates said, on the actions both it and the caller know."""

    action: Action
    confidence: float
    calibration: Calibration
    probs: dict[str, tuple[float, ...]]
    alternatives: tuple[tuple[Action, float], ...]
    model_id: ModelId


@remembered
def shared_actions(
    space: ActionSpace, offered: ActionSpace, job_type: str
) -> tuple[tuple[Action, ...], ActionTable]:
    """The bundle's actions that the caller offers, in the bundle's order, and their table."""
    known = valid_actions(space, job_type)
    allowed = set(valid_actions(offered, job_type))
    rows = [row for row, action in enumerate(known) if action in allowed]
    if len(rows) == len(known):
        return known, action_table(space, job_type)
    actions = tuple(known[row] for row in rows)
    return actions, table_of(space, choice_matrix(space, job_type)[rows])


class Imitator:
    """Asks the model of a bundle that imitates."""

    def __init__(self, bundle: Bundle, model: Model) -> None:
        self._bundle = bundle
        card = bundle.manifest.model
        self._decoding = card.decoding
        self._budget = None
        if card.input_kind == "tokens":
            self._budget = TokenBudget(seq_len=card.seq_len, per_run=card.tokens_per_run)
        self._logits: Callable[[np.ndarray, Deadline], list[np.ndarray]]
        if isinstance(model, StoppableModel):
            self._logits = model.logits_by
        else:
            self._logits = lambda row, deadline: model.logits(row)
        self._model_id = ModelId(
            checkpoint_id=bundle.manifest.bundle_id,
            version=bundle.manifest.versions.get("cyntra-planner"),
        )

    def row_of(self, question: PlannerInput) -> np.ndarray:
        """(F,) float32 features, or (T,) int64 token ids: what the model reads."""
        if self._budget is None:
            return feature_vector(question)
        return np.asarray(tokenize(question, budget=self._budget), dtype=np.int64)

    def ask(self, asked: Asked, deadline: Deadline) -> Verdict:
        """What the model says.

        Raises:
            NoAnswerError: why it says nothing.
            DeadlineError: it was not done in time.
        """
        calibration = self._bundle.calibration
        if calibration is None or self._decoding == "outcome":
            raise NoAnswerError("inference_failed:an outcome bundle without a model of outcomes")
        question = asked.question
        actions, table = shared_actions(self._bundle.action_space, asked.offered, question.job_type)
        if not actions:
            raise NoAnswerError("no_valid_action:the bundle knows none of the offered actions")
        row = self.row_of(question)
        deadline.check()
        try:
            logits = self._logits(row, deadline)
            deadline.check()
            decision = decode(logits, calibration.temperatures, table, self._decoding)
        except DeadlineError:
            raise
        except (ModelError, NonFiniteLogitsError) as error:
            raise NoAnswerError(f"inference_failed:{error}") from error
        best = np.argsort(-decision.joint_probs, kind="stable")[:N_ALTERNATIVES].tolist()
        return Verdict(
            action=actions[decision.index],
            confidence=min(1.0, decision.confidence),
            calibration=calibration,
            probs=_probs(decision),
            alternatives=tuple((actions[i], float(decision.joint_probs[i])) for i in best),
            model_id=self._model_id,
        )


def _probs(decision: JointDecision) -> dict[str, tuple[float, ...]]:
    return {
        head: tuple([min(max(p, 0.0), 1.0) for p in probs.tolist()])
        for head, probs in zip(HEADS, decision.head_probs, strict=True)
    }
