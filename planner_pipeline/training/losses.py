"""Losses over what is valid, for each kind of output.

Belongs here: what is minimised. Does not: the loop. Spec: sections 4.2 (masking), 7.3, 7.4.
A head that its job type forces has loss 0 by construction and would only dilute the mean, so only
rows with a choice are averaged over.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from planner_pipeline.training.batches import Targets
from planner_runtime.decode import Decoding


def masked_cross_entropy(
    logits: Tensor, labels: Tensor, mask: Tensor, *, focal: float = 0.0
) -> Tensor:
    """(B,) natural-log cross-entropy over the choices where ``mask`` is True.

    Args:
        logits: (B, C).
        labels: (B,) int64; each label must be valid under its row's mask.
        mask: (B, C) bool.
        focal: Gamma; each row is weighted by (1 - p)^gamma, p the label's probability. 0 is plain
            cross-entropy. Source: Lin et al. 2017, arXiv 1708.02002.
    """
    masked = logits.masked_fill(~mask, float("-inf"))
    loss = functional.cross_entropy(masked, labels, reduction="none")
    if focal == 0.0:
        return loss
    # where p = 1 the slope of (1 - p)^gamma is endless for gamma < 1, and the loss is 0 anyway
    doubt = -torch.expm1(-loss)
    has_doubt = doubt > 0
    weight = torch.where(has_doubt, doubt, torch.ones_like(doubt)) ** focal
    return torch.where(has_doubt, weight * loss, torch.zeros_like(loss))


def _mean(loss: Tensor, weights: Tensor, is_free: Tensor) -> Tensor:
    """Mean over the rows that had a choice; 0 where none had."""
    counted = torch.where(is_free, loss * weights, torch.zeros_like(loss))
    return counted.sum() / is_free.sum().clamp(min=1)


def output_losses(
    outputs: Sequence[Tensor], targets: Targets, decoding: Decoding, *, focal: float = 0.0
) -> Tensor:
    """Mean loss of every head, (H,), or of the joint output, (1,).

    Args:
        outputs: Of the rows of ``targets``, as ``planner_runtime.decode.output_widths`` says.
    """
    if decoding == "joint":
        mask = targets.joint_mask[targets.jobs]
        scores = outputs[0][:, : mask.shape[1]]
        loss = masked_cross_entropy(scores, targets.joint, mask, focal=focal)
        return _mean(loss, targets.weights[:, -1], mask.sum(dim=1) > 1).unsqueeze(0)
    losses = []
    for head, raw in enumerate(outputs):
        scores, mask = raw, targets.head_masks[head][targets.jobs]
        if decoding == "autoregressive":
            step_mask = targets.step_masks[head]
            prefix = targets.prefixes[:, head]
            scores = raw.reshape(len(raw), step_mask.shape[1], -1)[torch.arange(len(raw)), prefix]
            mask = step_mask[targets.jobs, prefix]
        loss = masked_cross_entropy(scores, targets.labels[:, head], mask, focal=focal)
        losses.append(_mean(loss, targets.weights[:, head], mask.sum(dim=1) > 1))
    return torch.stack(losses)


def total_loss(
    outputs: Sequence[Tensor],
    targets: Targets,
    decoding: Decoding,
    *,
    head_weights: Sequence[float],
    focal: float = 0.0,
) -> Tensor:
    """The weighted sum of the losses; one joint loss has weight 1. Spec: section 7.4."""
    losses = output_losses(outputs, targets, decoding, focal=focal)
    if decoding == "joint":
        return losses[0]
    return (losses * losses.new_tensor(head_weights)).sum()
