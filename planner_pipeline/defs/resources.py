"""What assets are given from outside: the workspace, the output directory, the settings.

Belongs here: configurable resources. Does not: reading or writing anything.
"""

from pathlib import Path

import dagster as dg

from planner_pipeline.tracking import MlflowTracker, Tracker


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
        seed: Of training.
        epochs: Most epochs to train.
    """

    repo: str
    out: str
    n_similar: int = 8
    window: int | None = None
    epoch: str = "all"
    min_examples: int = 500
    max_quarantined: float = 0.01
    seed: int = 0
    epochs: int = 120

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


def months_of(context: dg.AssetExecutionContext) -> list[str] | None:
    """The months a partitioned asset is asked for; None for an asset in one piece."""
    return list(context.partition_keys) if context.has_partition_key else None


class Tracking(dg.ConfigurableResource):
    """MLflow, in a SQLite file below ``folder`` unless ``MLFLOW_TRACKING_URI`` names a server."""

    folder: str

    def tracker(self) -> Tracker:
        """The tracker to log to."""
        return MlflowTracker(Path(self.folder))
