"""How a model is trained: one struct, and what is usual for each architecture.

Belongs here: settings with their reasons. Does not: using them.
"""

from typing import Any, Final, Literal

import msgspec

from planner_pipeline.models.spec import Arch, ModelSpec, sizes_of
from planner_runtime.actions import ActionSpace
from planner_runtime.decode import Decoding


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How one model is made and trained.

    Attributes:
        patience: Epochs without a better validation figure before it stops.
        batch_size: Rows of a step.
        optimizer: AdamW, or AdamATan2 as the recurrent encoder's paper has it.
        warmup_steps: The learning rate grows in a line to its full value over so many steps.
        ema: Decay of the moving average of the weights, which is what is judged and kept; 0 for
            none. It starts faster: step t uses at most (1 + t) / (10 + t).
        head_weights: Of the heads' losses, in head order.
        class_weight: Power of the inverse share of a label that its rows are weighted by; 0 for
            none, 1 for equal say of every label.
        focal: Gamma of the focal loss; 0 is cross-entropy.
        l2: Strengths that logistic regression chooses from on the validation split.
        trees: At most, of a head; ``leaves`` and ``least_rows`` of a leaf keep them small.
        int8: Whether its weights are shipped as whole numbers of eight bits. Held-out outputs, and
            with them temperatures and threshold, are then of the model as it is shipped.
        The others: as in ``ModelSpec``.
    """

    arch: Arch = "mlp"
    decoding: Decoding = "heads"
    seed: int = 0
    epochs: int = 120
    patience: int = 15
    batch_size: int = 64
    optimizer: Literal["adamw", "adam_atan2"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    warmup_steps: int = 0
    ema: float = 0.98
    head_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    class_weight: float = 0.0
    focal: float = 0.0
    width: int = 128
    n_layers: int = 2
    n_heads: int = 4
    expansion: float = 4.0
    dropout: float = 0.3  # a thousand rows, 180 features: by validation loss, docs/log.md
    loops: int = 4
    grad_loops: int = 4
    conv_kernel: int = 2
    per_loop_loss: bool = False
    l2: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)
    trees: int = 400
    leaves: int = 7
    least_rows: int = 20
    int8: bool = False

    def model_spec(self, space: ActionSpace) -> ModelSpec:
        """The network's sizes for an action space."""
        n_choices, n_joint = sizes_of(space)
        shared = {name: getattr(self, name) for name in _SHARED}
        return ModelSpec(n_choices=n_choices, n_joint=n_joint, **shared)


_SHARED: Final = (
    "arch", "decoding", "width", "n_layers", "n_heads", "expansion", "dropout", "loops",
    "grad_loops", "conv_kernel", "per_loop_loss",
)  # fmt: skip

REFERENCES: Final[tuple[Arch, ...]] = ("prior", "logreg")  # beside the heuristic, in every table

# what differs from the defaults, by architecture
USUAL: Final[dict[str, dict[str, Any]]] = {
    "prior": {"decoding": "joint"},
    "logreg": {},
    "mlp": {},
    "gbt": {},
    "transformer": {
        "width": 64, "n_heads": 4, "learning_rate": 1e-3, "dropout": 0.2, "batch_size": 32,
        "epochs": 40, "patience": 6, "weight_decay": 0.05,
    },
    # reference/models.md 1, but the rate and the average's memory: those are for 10^5 steps
    "recurrent": {
        "width": 64, "n_layers": 1, "n_heads": 4, "optimizer": "adam_atan2", "learning_rate": 1e-3,
        "warmup_steps": 100, "weight_decay": 0.1, "dropout": 0.1, "batch_size": 32, "epochs": 40,
        "patience": 6, "loops": 4, "grad_loops": 3,
    },
}  # fmt: skip


def config_of(settings: dict[str, Any]) -> TrainConfig:
    """What is usual for an architecture, with the settings that are not None.

    Raises:
        msgspec.ValidationError: a setting cannot be.
        KeyError: the architecture is unknown.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    return msgspec.convert({**USUAL[given["arch"]], **given}, TrainConfig)


def usual_config(arch: Arch, **changes: Any) -> TrainConfig:
    """What is usual for an architecture, with some changes.

    Raises:
        TypeError: a change is no setting.
        KeyError: the architecture is unknown.
    """
    return TrainConfig(**{"arch": arch, **USUAL[arch], **changes})
