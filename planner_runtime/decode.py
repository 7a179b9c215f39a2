"""Decoding: what a model says -> one valid joint action with its probability.

Belongs here: masking, probabilities of valid actions for the three kinds of output, the argmax over
VALID_ACTIONS. Does not: fitting temperatures (``planner_pipeline.evaluation``), deciding to abstain
(``planner``). Spec: sections 4.3 and 7.3; reference/models.md 2 (joint confidence).

Kinds of output (``Decoding``):
- ``heads``: a row of scores a head, independent of each other;
- ``joint``: a score for every action that is valid for some job;
- ``autoregressive``: a row of scores a head for every choice of the heads before it. Every valid
  action is scored, so nothing has to be searched.
Shapes: N rows, H heads, C choices of a head, P prefixes of a head (choices of the heads before it),
A valid actions, U actions valid for some job.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec
import numpy as np

from planner_runtime.actions import HEADS, ActionSpace, choice_matrix, masks_of
from planner_runtime.remembering import remembered

Decoding = Literal["heads", "joint", "autoregressive"]
JOINT: Final = "joint"
_NO_SCORE: Final = np.array([-np.inf])
_ADDED_IN_TURN: Final = 8  # numpy sums fewer numbers than these one after another
ANY_JOB: Final = "any"  # no rule speaks of it, so whatever is valid for some job is valid for it


class NonFiniteLogitsError(ValueError):
    """A model answered with NaN or infinity, so nothing may be chosen from it.

    Attributes:
        head: Index of the first offending output; -1 when only their sum is not finite.
    """

    def __init__(self, head: int) -> None:
        super().__init__(f"logits of head {head} are not finite" if head >= 0 else "sum not finite")
        self.head = head


class JointDecision(msgspec.Struct, frozen=True):
    """The best valid action and how sure the model is.

    Attributes:
        index: Row in the table of valid actions; equal scores go to the lower row.
        confidence: Probability of that row, renormalised over the valid actions.
        joint_probs: (A,) probabilities of the valid actions, summing to 1.
        head_probs: per head (C,) probabilities, 0 where no valid action makes the choice: of the
            head alone where heads are independent, else what the joint probabilities add up to.
    """

    index: int
    confidence: float
    joint_probs: np.ndarray
    head_probs: tuple[np.ndarray, ...]


class ActionTable(msgspec.Struct, frozen=True):
    """Valid actions in the forms that decoding asks for.

    Attributes:
        choices: (A, H) int64, the choice of every head for every valid action.
        masks: Per head (C,) bool, the choices some valid action makes.
        columns: (A,) int64, where an action stands in a joint output.
        prefixes: (A, H) int64, which choices of the heads before a head an action makes.
        step_masks: Per head (P, C) bool, what may follow a prefix.
        sources: (H, W) int64, where in all outputs one after another the score of a choice stands,
            and the place after them where no valid action makes it; W is the widest head's choices.
            None where that is 8 or more: numpy then adds in another order than head by head.
        places: (H, A) int64, where an action's choice of a head stands in the flat ``sources``.
    """

    choices: np.ndarray
    masks: tuple[np.ndarray, ...]
    columns: np.ndarray
    prefixes: np.ndarray
    step_masks: tuple[np.ndarray, ...]
    sources: np.ndarray | None
    places: np.ndarray

    def column_of(self, labels: np.ndarray) -> np.ndarray:
        """(N,) rows of the table that (N, H) choices are.

        Raises:
            ValueError: a row is no action of the table.
        """
        rows = {tuple(choice): row for row, choice in enumerate(self.choices.tolist())}
        try:
            return np.array([rows[tuple(label)] for label in labels.tolist()], dtype=np.int64)
        except KeyError as error:
            raise ValueError(f"choices {error} are no valid action") from None


def prefix_index(choices: np.ndarray, widths: Sequence[int]) -> np.ndarray:
    """(N, H) int64: the choices before each head as one number, the first head's weighing most.

    >>> prefix_index(np.array([[1, 2, 3]]), (2, 4, 6)).tolist()
    [[0, 1, 6]]
    """
    index = np.zeros_like(choices)
    for head in range(1, choices.shape[1]):
        index[:, head] = index[:, head - 1] * widths[head - 1] + choices[:, head - 1]
    return index


def n_prefixes(widths: Sequence[int]) -> tuple[int, ...]:
    """How many choices of the heads before it every head has.

    >>> n_prefixes((2, 4, 6, 5))
    (1, 2, 8, 48)
    """
    counts = [1]
    for width in widths[:-1]:
        counts.append(counts[-1] * width)
    return tuple(counts)


def output_widths(space: ActionSpace, decoding: Decoding) -> dict[str, int]:
    """Names and widths of a model's outputs. Source: formats 7.4 (names of the heads' outputs)."""
    if decoding == JOINT:
        return {"logits_joint": len(choice_matrix(space, ANY_JOB))}
    widths = [len(choices) for choices in space.choices]
    counts = n_prefixes(widths) if decoding == "autoregressive" else (1,) * len(widths)
    return {
        f"logits_{head}": count * width
        for head, count, width in zip(HEADS, counts, widths, strict=True)
    }


def temperature_names(decoding: Decoding) -> tuple[str, ...]:
    """What has a temperature: every head, or the joint output."""
    return (JOINT,) if decoding == JOINT else HEADS


@remembered
def action_table(space: ActionSpace, job_type: str) -> ActionTable:
    """VALID_ACTIONS of a job type."""
    return table_of(space, choice_matrix(space, job_type))


def table_of(space: ActionSpace, choices: np.ndarray) -> ActionTable:
    """Some valid actions, as (A, H) choices in the order of VALID_ACTIONS."""
    widths = [len(head) for head in space.choices]
    every = np.ravel_multi_index(tuple(choice_matrix(space, ANY_JOB).T), widths)
    prefixes = prefix_index(choices, widths)
    step_masks = []
    for head, (count, width) in enumerate(zip(n_prefixes(widths), widths, strict=True)):
        mask = np.zeros((count, width), dtype=bool)
        mask[prefixes[:, head], choices[:, head]] = True
        step_masks.append(mask)
    masks = masks_of(space, choices)
    widest, n_scores = max(widths), sum(widths)
    sources = np.full((len(widths), widest), n_scores)
    for head, (mask, start) in enumerate(zip(masks, np.cumsum([0, *widths]), strict=False)):
        sources[head, : len(mask)] = np.where(mask, start + np.arange(len(mask)), n_scores)
    return ActionTable(
        choices,
        masks,
        np.searchsorted(every, np.ravel_multi_index(tuple(choices.T), widths)),
        prefixes,
        tuple(step_masks),
        sources if widest < _ADDED_IN_TURN else None,
        choices.T + np.arange(len(widths))[:, np.newaxis] * widest,
    )


def log_softmax(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Natural-log probabilities over the last axis where ``mask`` is True; -inf elsewhere, and
    everywhere where it is nowhere True.
    """
    masked = np.where(mask, scores, -np.inf)
    top = masked.max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):  # the log of a row without any choice
        total = np.log(np.exp(masked - top).sum(axis=-1, keepdims=True))
    result: np.ndarray = masked - top - np.where(np.isfinite(total), total, 0.0)
    return result


def action_log_probs(
    outputs: Sequence[np.ndarray],
    temperatures: Mapping[str, float],
    table: ActionTable,
    decoding: Decoding,
) -> np.ndarray:
    """(N, A) float64 natural-log probabilities of the valid actions; every row sums to 1.

    Args:
        outputs: As ``output_widths`` says, each (N, width).
        temperatures: By head, or of ``joint``; > 0.

    Raises:
        NonFiniteLogitsError: the score of something valid is NaN or infinite.
        ValueError: there is no valid action.
    """
    if table.choices.shape[0] == 0:
        raise ValueError("no valid action to choose from")
    raw = [np.asarray(output, dtype=np.float64) for output in outputs]
    if decoding == JOINT:
        scores = raw[0][:, table.columns] / temperatures[JOINT]
        _refuse_non_finite(scores, 0)
    else:
        scores = np.zeros((raw[0].shape[0], table.choices.shape[0]))
        for head, name in enumerate(HEADS):
            mask = table.masks[head]
            values = raw[head]
            if decoding == "autoregressive":
                mask = table.step_masks[head]
                values = values.reshape(-1, *mask.shape)
            _refuse_non_finite(values[:, mask], head)
            steps = log_softmax(values / temperatures[name], mask)
            if decoding == "autoregressive":
                scores += steps[:, table.prefixes[:, head], table.choices[:, head]]
            else:
                scores += steps[:, table.choices[:, head]]
    if not np.isfinite(scores).all():
        raise NonFiniteLogitsError(-1)
    return log_softmax(scores, np.ones(scores.shape[1], dtype=bool))


def _refuse_non_finite(values: np.ndarray, output: int) -> None:
    if not np.isfinite(values).all():
        raise NonFiniteLogitsError(output)


def _decode_heads(
    outputs: Sequence[np.ndarray], temperatures: Mapping[str, float], table: ActionTable
) -> JointDecision | None:
    """``decode`` of independent heads, all at once: to the last bit what head by head gives.

    None where that is not so, or where something is not finite.
    """
    sources = table.sources
    if sources is None or not len(table.choices):
        return None
    if list(map(len, outputs)) != list(map(len, table.masks)):
        return None
    scores = np.concatenate([*outputs, _NO_SCORE], dtype=np.float64)
    masked = scores.take(sources)  # (H, W)
    masked /= np.array([temperatures[name] for name in HEADS])[:, np.newaxis]
    masked -= np.maximum.reduce(masked, axis=1, keepdims=True)
    masked -= np.log(np.add.reduce(np.exp(masked), axis=1, keepdims=True))
    steps = masked.take(table.places)  # (H, A)
    joint = steps[0] + steps[1] + steps[2] + steps[3]
    joint -= np.maximum.reduce(joint)
    joint -= np.log(np.add.reduce(np.exp(joint)))
    if not math.isfinite(np.add.reduce(joint)):
        return None
    chances = np.exp(joint)
    index = int(joint.argmax())
    heads = np.exp(masked)
    told = tuple(row[: len(mask)] for row, mask in zip(heads, table.masks, strict=True))
    return JointDecision(index, float(chances[index]), chances, told)


def decode(
    outputs: Sequence[np.ndarray],
    temperatures: Mapping[str, float],
    table: ActionTable,
    decoding: Decoding,
) -> JointDecision:
    """The likeliest valid action of one row.

    Args:
        outputs: As ``output_widths`` says, each (width,).

    Raises:
        NonFiniteLogitsError, ValueError: as ``action_log_probs``.
    """
    if decoding == "heads":
        with np.errstate(all="ignore"):  # what is not finite is looked at head by head
            decision = _decode_heads(outputs, temperatures, table)
        if decision is not None:
            return decision
    rows = [np.asarray(output)[np.newaxis] for output in outputs]
    log_probs = action_log_probs(rows, temperatures, table, decoding)[0]
    joint = np.exp(log_probs)
    index = int(np.argmax(log_probs))
    if decoding == "heads":
        head_probs = tuple(
            np.exp(log_softmax(np.asarray(raw, dtype=np.float64) / temperatures[name], mask))
            for raw, name, mask in zip(outputs, HEADS, table.masks, strict=True)
        )
    else:
        head_probs = tuple(
            np.bincount(table.choices[:, head], joint, minlength=len(mask))
            for head, mask in enumerate(table.masks)
        )
    return JointDecision(index, float(joint[index]), joint, head_probs)
