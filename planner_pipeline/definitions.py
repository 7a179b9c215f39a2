"""The code location: every asset, check, job and resource in one ``build_defs``.

Belongs here: wiring, the same for production, tests and notebooks. Does not: assets (``defs``).
"""

import os
from pathlib import Path

import dagster as dg

from planner_pipeline.defs import checks
from planner_pipeline.defs.assets import dataset, evaluation, history, raw, release, training
from planner_pipeline.defs.io_managers import BytesIO, RecordIO, TableIO
from planner_pipeline.defs.progress import progress_logger
from planner_pipeline.defs.resources import Settings, Tracking

EVERYTHING = "everything"
DATASET_ONLY = "dataset_only"
DEFAULT_REPO = ".planner/demo/workspace"
DEFAULT_OUT = ".planner/demo/out"


def build_defs(
    *, repo: Path, out: Path, n_similar: int = 8, seed: int = 0, epochs: int = 120
) -> dg.Definitions:
    """Definitions that read the workspace ``repo`` and write everything below ``out``."""
    from upath import UPath

    base = UPath(out) / "assets"
    settings = Settings(repo=str(repo), out=str(out), n_similar=n_similar, seed=seed, epochs=epochs)
    until_dataset = dg.AssetSelection.groups("raw", "history", "dataset")
    return dg.Definitions(
        assets=dg.load_assets_from_modules([raw, history, dataset, training, evaluation, release]),
        asset_checks=dg.load_asset_checks_from_modules([checks]),
        jobs=[
            dg.define_asset_job(EVERYTHING, selection=dg.AssetSelection.all()),
            dg.define_asset_job(DATASET_ONLY, selection=until_dataset),
        ],
        resources={
            "settings": settings,
            "tracking": Tracking(folder=str(out)),
            "table_io": TableIO(base_path=base),
            "record_io": RecordIO(base_path=base),
            "bytes_io": BytesIO(base_path=base),
        },
        loggers={"console": progress_logger},
        executor=dg.in_process_executor,  # a process a step imports everything again each time
    )


defs = build_defs(
    repo=Path(os.environ.get("CYNTRA_PLANNER_REPO", DEFAULT_REPO)),
    out=Path(os.environ.get("CYNTRA_PLANNER_OUT", DEFAULT_OUT)),
)
