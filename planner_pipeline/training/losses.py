"""Losses over masked heads.

Belongs here: what is minimised. Does not: the loop. Spec: sections 4.2 (masking) and 7.4 (Stage A).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def masked_cross_entropy(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """(B,) natural-log cross-entropy over the choices where ``mask`` is True.

    Args:
        logits: (B, C).
        labels: (B,) int64; each label must be valid under its row's mask.
        mask: (B, C) bool.
    """
    masked = logits.masked_fill(~mask, float("-inf"))
    return functional.cross_entropy(masked, labels, reduction="none")


def head_losses(logits: Sequence[Tensor], labels: Tensor, masks: Sequence[Tensor]) -> Tensor:
    """(H,) mean loss of every head over the rows where it had a choice; 0 where none had.

    A forced head (one valid choice) has loss 0 by construction and would only dilute the mean.
    """
    losses = []
    for head, (raw, mask) in enumerate(zip(logits, masks, strict=True)):
        is_free = mask.sum(dim=1) > 1
        loss = masked_cross_entropy(raw, labels[:, head], mask)
        losses.append(torch.where(is_free, loss, 0.0).sum() / is_free.sum().clamp(min=1))
    return torch.stack(losses)
