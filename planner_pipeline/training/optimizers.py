"""Optimizers that torch does not have.

Belongs here: AdamATan2. Does not: rates and schedules (``loop``).
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class AdamATan2(torch.optim.Optimizer):
    """Adam whose step is the arc tangent of the two moments, with decoupled weight decay.

    No epsilon, and the step does not depend on the gradients' scale. Source: Everett et al. 2024,
    arXiv 2407.05872, as used by the recurrent encoder (reference/models.md 1).

    Args:
        lr: Of a step; with atan2 at most pi / 2 of it a weight.
        betas: Memory of the mean gradient and of its square.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 0.1,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step from the gradients there are."""
        for group in self.param_groups:
            first_beta, second_beta = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["step"] = torch.zeros(())
                    state["exp_avg"] = torch.zeros_like(weight)
                    state["exp_avg_sq"] = torch.zeros_like(weight)
                state["step"] += 1
                state["exp_avg"].lerp_(weight.grad, 1 - first_beta)
                state["exp_avg_sq"].mul_(second_beta).addcmul_(
                    weight.grad, weight.grad, value=1 - second_beta
                )
                n = state["step"].item()
                mean = state["exp_avg"] / (1 - first_beta**n)
                spread = (state["exp_avg_sq"] / (1 - second_beta**n)).sqrt()
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(torch.atan2(mean, spread), alpha=-group["lr"])
