"""The declared grid of ablations: what is changed, one thing at a time.

Belongs here: factors, their levels, what each changes. Does not: running them (``ablation``).
Spec: section 8.3.
"""

from typing import Any, Final

import msgspec

from planner_pipeline.dataset.blocks import Recipe
from planner_pipeline.training.config import TrainConfig, config_of
from planner_runtime.contracts.canonical import document_hash
from planner_runtime.tokenizer import TokenBudget

BASE_ARCH: Final = "mlp"  # where a factor does not say otherwise
SEEDS: Final = 5
QUICK_SEEDS: Final = 2
# token models cost a hundred times what the others do, so they are small here
SMALL: Final[dict[str, Any]] = {"width": 48, "epochs": 12, "patience": 3}
TRUNCATED: Final[dict[str, Any]] = {"arch": "recurrent", "loops": 4, "grad_loops": 3, **SMALL}
NO_RECENCY: Final = (0, 0, 0, 0, 0)


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One level of one factor.

    Attributes:
        is_base: Whether the other levels of the factor are compared with it.
        recipe: What it changes of the data set's recipe: ``n_similar``, ``per_run``, ``weights``.
        train: What it changes of the usual training settings.
    """

    factor: str
    level: str
    is_base: bool = False
    recipe: dict[str, Any] = {}
    train: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """As tables and MLflow show it."""
        return f"{self.factor}: {self.level}"

    def config(self, seed: int) -> TrainConfig:
        """How its model is trained from a seed."""
        return config_of({"arch": BASE_ARCH, **self.train, "seed": seed})

    def variant(self, recipe: Recipe) -> Recipe:
        """Its data set's recipe."""
        changes = dict(self.recipe)
        budget = recipe.budget
        if (per_run := changes.pop("per_run", None)) is not None:
            budget = TokenBudget(seq_len=budget.seq_len, per_run=per_run)
        if (weights := changes.pop("weights", None)) is not None:
            changes["weights"] = msgspec.structs.replace(recipe.weights, **weights)
        return msgspec.structs.replace(recipe, budget=budget, **changes)


def recipe_key(recipe: Recipe) -> str:
    """Equal for recipes that make equal examples."""
    return document_hash(recipe.to_document())[:16]


def _factor(
    name: str, base: str, levels: dict[str, dict[str, Any]], part: str, **shared: Any
) -> list[Cell]:
    return [
        Cell(
            factor=name,
            level=level,
            is_base=level == base,
            recipe=changes if part == "recipe" else {},
            train={**shared, **(changes if part == "train" else {})},
        )
        for level, changes in levels.items()
    ]


def full_grid() -> list[Cell]:
    """Every factor of spec 8.3, and the retrieval weights."""
    weights: dict[str, dict[str, Any]] = {"all": {}}
    for field in ("tags", "failures", "keywords", "same_issue"):
        weights[f"without {field.replace('_', ' ')}"] = {"weights": {field: 0}}
    weights["without recency"] = {"weights": {"recency": NO_RECENCY}}
    return [
        *_factor(
            "similar runs", "8", {str(n): {"n_similar": n} for n in (0, 1, 4, 8, 16)}, "recipe"
        ),
        *_factor(
            "tokens of a run", "64", {str(n): {"per_run": n} for n in (16, 32, 64)}, "recipe",
            arch="transformer", **SMALL,
        ),
        *_factor(
            "architecture",
            "mlp",
            {
                "prior": {"arch": "prior"}, "logreg": {"arch": "logreg"}, "gbt": {"arch": "gbt"},
                "mlp": {"arch": "mlp"}, "transformer": {"arch": "transformer", **SMALL},
                "recurrent": TRUNCATED,
            },
            "train",
        ),
        *_factor(
            "decoding",
            "heads",
            {kind: {"decoding": kind} for kind in ("heads", "joint", "autoregressive")},
            "train",
        ),
        *_factor(
            "loops M", "4",
            {str(m): {"loops": m, "grad_loops": min(m, 3)} for m in (1, 2, 4, 8)},
            "train", **TRUNCATED,
        ),
        *_factor(
            "gradient loops K", "3", {str(k): {"grad_loops": k} for k in (1, 2, 3, 4)},
            "train", **TRUNCATED,
        ),
        *_factor(
            "ConvSwiGLU", "on", {"on": {"conv_kernel": 2}, "off": {"conv_kernel": 0}},
            "train", **TRUNCATED,
        ),
        *_factor("retrieval weights", "all", weights, "recipe"),
    ]  # fmt: skip


def quick_grid() -> list[Cell]:
    """The same factors at their ends, token models for two epochs: whether it runs, not what it
    says.
    """
    kept = {
        "similar runs": ("0", "8"),
        "tokens of a run": ("16", "64"),
        "architecture": ("prior", "logreg", "gbt", "mlp", "transformer", "recurrent"),
        "decoding": ("heads", "joint", "autoregressive"),
        "loops M": ("1", "4"),
        "gradient loops K": ("1", "3"),
        "ConvSwiGLU": ("on", "off"),
        "retrieval weights": ("all", "without tags"),
    }
    short = {"epochs": 2, "width": 16, "n_heads": 2}
    return [
        msgspec.structs.replace(cell, train={**cell.train, **short})
        if cell.train.get("arch") in ("transformer", "recurrent")
        else cell
        for cell in full_grid()
        if cell.level in kept[cell.factor]
    ]
