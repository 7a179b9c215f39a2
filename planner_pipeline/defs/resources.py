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
        seed: Of training.
        epochs: Most epochs to train.
    """

    repo: str
    out: str
    n_similar: int = 8
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


class Tracking(dg.ConfigurableResource):
    """MLflow, in a SQLite file below ``folder`` unless ``MLFLOW_TRACKING_URI`` names a server."""

    folder: str

    def tracker(self) -> Tracker:
        """The tracker to log to."""
        return MlflowTracker(Path(self.folder))
