"""The code location that ``workspace.yaml`` names: one workspace and one output directory.

Belongs here: the one object Dagster's tools look for. Does not: wiring (``definitions``), which a
command imports without paying for the libraries of every asset.
"""

import os
from pathlib import Path

from planner_pipeline.definitions import build_defs

DEFAULT_REPO = ".planner/demo/workspace"
DEFAULT_OUT = ".planner/demo/out"

defs = build_defs(
    repo=Path(os.environ.get("CYNTRA_PLANNER_REPO", DEFAULT_REPO)),
    out=Path(os.environ.get("CYNTRA_PLANNER_OUT", DEFAULT_OUT)),
)
