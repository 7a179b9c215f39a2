"""What every network ends in: scores of choices, in one of three kinds.

Belongs here: from a hidden vector to outputs. Does not: masking and probabilities
(``planner_runtime.decode``, ``training.losses``). Spec: section 7.3.
Shapes: B batch, D width, H heads, C choices of a head, P prefixes of a head, U joint actions.
"""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

from planner_runtime.decode import Decoding


class Outputs(nn.Module):
    """Hidden vectors (B, D) -> the outputs that ``planner_runtime.decode.output_widths`` names.

    Args:
        width: D.
        n_choices: C of every head.
        n_joint: U.
    """

    def __init__(
        self, width: int, n_choices: Sequence[int], n_joint: int, decoding: Decoding
    ) -> None:
        super().__init__()
        self.decoding = decoding
        sizes = (n_joint,) if decoding == "joint" else n_choices
        self.heads = nn.ModuleList(nn.Linear(width, n) for n in sizes)
        if decoding != "autoregressive":
            return
        # what was chosen before a head shifts the hidden vector that the head reads
        self.chosen = nn.ModuleList(nn.Embedding(n, width) for n in n_choices[:-1])
        for embedding in self.chosen:
            nn.init.normal_(embedding.weight, std=width**-0.5)  # type: ignore[arg-type]
        for head in range(1, len(n_choices)):
            every = list(product(*(range(n) for n in n_choices[:head])))
            self.register_buffer(f"prefixes_{head}", torch.tensor(every), persistent=False)

    def forward(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """Per output (B, width); the autoregressive rows of a head lie one after another."""
        if self.decoding != "autoregressive":
            return tuple(head(hidden) for head in self.heads)
        outputs = [self.heads[0](functional.gelu(hidden))]
        for number in range(1, len(self.heads)):
            prefixes = self.get_buffer(f"prefixes_{number}")  # (P, number)
            shift = self.chosen[0](prefixes[:, 0])
            for before in range(1, number):
                shift = shift + self.chosen[before](prefixes[:, before])  # (P, D)
            steps = self.heads[number](functional.gelu(hidden.unsqueeze(1) + shift))  # (B, P, C)
            outputs.append(steps.flatten(1))
        return tuple(outputs)
