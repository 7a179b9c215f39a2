"""Decoding: logits of independent heads -> one valid joint action with its probability.

Belongs here: masking, head probabilities, the argmax over VALID_ACTIONS.
Does not: fitting temperatures (``planner_pipeline.evaluation``), deciding to abstain (``planner``).
Spec: sections 4.3 and 7.3; reference/models.md 2 (joint confidence).
"""

from collections.abc import Sequence

import msgspec
import numpy as np


class NonFiniteLogitsError(ValueError):
    """A model answered with NaN or infinity, so nothing may be chosen from it.

    Attributes:
        head: Index of the first offending head; -1 when only their sum is not finite.
    """

    def __init__(self, head: int) -> None:
        super().__init__(f"logits of head {head} are not finite" if head >= 0 else "sum not finite")
        self.head = head


class JointDecision(msgspec.Struct, frozen=True):
    """The best valid action and how sure the model is.

    Attributes:
        index: Row in the table of valid actions.
        confidence: Probability of that row, renormalised over the valid actions.
        joint_probs: (A,) probabilities of the valid actions, summing to 1.
        head_probs: per head (C,) masked probabilities, 0 where the choice is invalid.
    """

    index: int
    confidence: float
    joint_probs: np.ndarray
    head_probs: tuple[np.ndarray, ...]


def masked_softmax(logits: np.ndarray, mask: np.ndarray, temperature: float) -> np.ndarray:
    """(C,) probabilities over the choices where ``mask`` is True; 0 elsewhere."""
    scaled = np.where(mask, logits / temperature, -np.inf)
    weights = np.exp(scaled - scaled.max())
    probs: np.ndarray = weights / weights.sum()
    return probs


def decode_joint(
    logits: Sequence[np.ndarray],
    temperatures: Sequence[float],
    choices: np.ndarray,
    masks: Sequence[np.ndarray],
) -> JointDecision:
    """``argmax`` over valid actions of the sum of log p over heads.

    Args:
        logits: Per head (C,) raw scores.
        temperatures: Per head, > 0.
        choices: (A, H) int64, the choice of every head for every valid action; A >= 1.
        masks: Per head (C,) bool, the choices some valid action makes.

    Returns:
        Equal scores go to the lower row.

    Raises:
        NonFiniteLogitsError: a valid choice's logit is NaN or infinite.
        ValueError: there is no valid action.
    """
    if choices.shape[0] == 0:
        raise ValueError("no valid action to choose from")
    scores = np.zeros(choices.shape[0])
    head_probs = []
    for head, (raw, temperature, mask) in enumerate(zip(logits, temperatures, masks, strict=True)):
        values = np.asarray(raw, dtype=np.float64)
        if not np.isfinite(values[mask]).all():
            raise NonFiniteLogitsError(head)
        # the head's normaliser is the same for every action, so raw scores rank as log p does
        scores += (values / temperature)[choices[:, head]]
        head_probs.append(masked_softmax(np.where(mask, values, 0.0), mask, temperature))
    weights = np.exp(scores - scores.max())
    joint = weights / weights.sum()  # (A,)
    if not np.isfinite(joint).all():
        raise NonFiniteLogitsError(-1)
    index = int(np.argmax(scores))
    return JointDecision(index, float(joint[index]), joint, tuple(head_probs))
