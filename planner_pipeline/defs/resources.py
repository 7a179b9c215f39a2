"""What assets are given from outside: the workspace, the output directory, the settings.

Belongs here: configurable resources. Does not: reading or writing anything.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from planner_pipeline.tracking import MlflowTracker, Tracker

if TYPE_CHECKING:
    from planner_pipeline.training.config import TrainConfig


class Settings(dg.ConfigurableResource):
    """One run of the pipeline: where from, where to, with what.

    Attributes:
        repo: The workspace to read.
        out: The directory everything is written to.
        n_similar: Similar runs a planner input may hold.
        window: Newest runs of a kind that retrieval looks at; None for all.
        epoch: Settings epoch the data set is made of: all, latest, or an id.
        min_examples: Labelled decisions of code that feasibility asks for.
        max_quarantined: Share of a source's things that may be refused.
        arch: Architecture of the model.
        decoding: Kind of its output; None for the architecture's usual one.
        winners: Parquet of winner labels to learn from instead of executed plans.
        seed: Of training.
        epochs: Most epochs to train; None for the architecture's usual number.
        int8: Whether weights are shipped as int8.
        risk_target: Most of the followed decisions that may be worse than the default.
        risk_failure: How likely that promise may be wrong.
        ablation_quick: Whether ablations run a small grid, to see that they run.
        objective: File of what an outcome is worth; None for the universe's, else the default.
        outcome_kind: Whether the outcome model's ensemble is of networks or of trees.
    """

    repo: str
    out: str
    n_similar: int = 8
    window: int | None = None
    epoch: str = "all"
    min_examples: int = 500
    max_quarantined: float = 0.01
    arch: str = "mlp"
    decoding: str | None = None
    winners: str | None = None
    seed: int = 0
    epochs: int | None = None
    int8: bool = False
    risk_target: float = 0.1
    risk_failure: float = 0.1
    ablation_quick: bool = False
    objective: str | None = None
    outcome_kind: str = "networks"

    def train_config(self) -> "TrainConfig":
        """How the model is made and trained.

        Raises:
            msgspec.ValidationError: there is no such architecture or kind of output.
        """
        from planner_pipeline.training.config import config_of  # imports torch

        return config_of(
            {
                "arch": self.arch,
                "decoding": self.decoding,
                "seed": self.seed,
                "epochs": self.epochs,
                "int8": self.int8,
            }
        )

    @property
    def repo_dir(self) -> Path:
        """The workspace as a path."""
        return Path(self.repo)

    @property
    def out_dir(self) -> Path:
        """The output directory as a path."""
        return Path(self.out)

    @property
    def dataset_dir(self) -> Path:
        """The data set's directory."""
        return self.out_dir / "dataset"

    @property
    def runs_dir(self) -> Path:
        """Where the run table is kept in parts."""
        return self.out_dir / "parts" / "run_summaries"

    @property
    def examples_dir(self) -> Path:
        """Where the example table is kept in parts."""
        return self.out_dir / "parts" / "examples"


def winners_of(settings: Settings) -> Path | None:
    """The table of winner labels to learn from, where one was named."""
    return None if settings.winners is None else Path(settings.winners)


def months_of(context: dg.AssetExecutionContext) -> list[str] | None:
    """The months a partitioned asset is asked for; None for an asset in one piece."""
    return list(context.partition_keys) if context.has_partition_key else None


class Tracking(dg.ConfigurableResource):
    """MLflow, in a SQLite file below ``folder`` unless ``MLFLOW_TRACKING_URI`` names a server."""

    folder: str

    def tracker(self) -> Tracker:
        """The tracker to log to."""
        return MlflowTracker(Path(self.folder))
