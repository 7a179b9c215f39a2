"""What a model is made of.

Belongs here: sizes and choices of every architecture. Does not: the architectures themselves, the
place that builds them (``build``), how they are trained (``training.config``).
"""

from typing import Literal

import msgspec

from planner_runtime.actions import ActionSpace
from planner_runtime.decode import Decoding, output_widths
from planner_runtime.features import N_FEATURES
from planner_runtime.tokenizer import PAD_ID, VOCABULARY

Arch = Literal["prior", "logreg", "mlp", "gbt", "transformer", "recurrent"]
InputKind = Literal["features", "tokens"]


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of a network; what an architecture does not have, it ignores.

    Attributes:
        n_choices: Choices of every head, in head order.
        n_joint: Actions that are valid for some job, a joint output's width.
        expansion: Width of a feed-forward layer over ``width`` (SwiGLU: times 2/3).
        loops: M, how often the recurrent blocks run.
        grad_loops: K, how many of the last loops carry gradient.
        conv_kernel: Of ConvSwiGLU; 0 for plain SwiGLU.
        per_loop_loss: Whether each of the K loops is asked for an answer, in training.
    """

    arch: Arch
    decoding: Decoding
    n_choices: tuple[int, ...]
    n_joint: int
    width: int = 128
    n_layers: int = 2
    n_heads: int = 4
    expansion: float = 4.0
    dropout: float = 0.1
    loops: int = 4
    grad_loops: int = 4
    conv_kernel: int = 2
    per_loop_loss: bool = False

    @property
    def input_kind(self) -> InputKind:
        """What the model reads."""
        return "tokens" if self.arch in ("transformer", "recurrent") else "features"

    @property
    def input_width(self) -> int:
        """Features of a row, or tokens of the vocabulary."""
        return len(VOCABULARY) if self.input_kind == "tokens" else N_FEATURES


def sizes_of(space: ActionSpace) -> tuple[tuple[int, ...], int]:
    """``n_choices`` and ``n_joint`` of an action space."""
    joint = output_widths(space, "joint")["logits_joint"]
    return tuple(len(choices) for choices in space.choices), joint


PADDING = PAD_ID  # what the token models are padded with, on the right
