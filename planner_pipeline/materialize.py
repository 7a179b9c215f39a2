"""One materialization of everything, or of the data set alone, in this process.

Belongs here: calling Dagster as a library and saying in one line what failed. Does not: the
command line (``cli``), definitions.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import dagster as dg

from planner_pipeline.definitions import DATASET_ONLY, EVERYTHING, build_defs

DAGSTER_YAML = "telemetry:\n  enabled: false\nnux:\n  enabled: false\n"


class PipelineError(Exception):
    """A materialization failed; the text names the step and why.

    Attributes:
        details: The step's own traceback, where it has one.
    """

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


def prepare_dagster_home(out: Path) -> Path:
    """Dagster's own directory: ``DAGSTER_HOME`` where it is set, else ``out/.dagster``."""
    home = Path(os.environ.get("DAGSTER_HOME") or out / ".dagster").resolve()
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        (home / "dagster.yaml").write_text(DAGSTER_YAML)
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    return home


def _failure(result: dg.ExecuteInProcessResult) -> PipelineError:
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            cause = error.cause if error is not None and error.cause is not None else error
            why = " ".join((cause.message if cause is not None else "unknown").split())
            why = re.sub(r"^[\w.]+\.\w+: ", "", why)  # the exception's class, for programs only
            details = "" if cause is None else cause.to_string()
            return PipelineError(f"{event.step_key}: {why}", details)
    for evaluation in result.get_asset_check_evaluations():
        if not evaluation.passed:
            told = dict(evaluation.metadata)
            return PipelineError(f"check {evaluation.check_name} failed: {told}")
    return PipelineError("the run did not succeed")


def materialize(
    repo: Path,
    out: Path,
    *,
    dataset_only: bool = False,
    n_similar: int = 8,
    seed: int = 0,
    epochs: int = 120,
    instance: dg.DagsterInstance | None = None,
) -> None:
    """Materialize every asset, or those up to the data set, into ``out``.

    Raises:
        PipelineError: a step or a blocking check failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    defs = build_defs(repo=repo, out=out, n_similar=n_similar, seed=seed, epochs=epochs)
    job = defs.resolve_job_def(DATASET_ONLY if dataset_only else EVERYTHING)
    if instance is None:
        prepare_dagster_home(out)
        instance = dg.DagsterInstance.get()
    with instance:
        result = job.execute_in_process(
            instance=instance, raise_on_error=False, run_config={"loggers": {"console": {}}}
        )
    if not result.success:
        raise _failure(result)


def summary(out: Path) -> dict[str, Any]:
    """What a whole materialization left, for one line of JSON."""
    report = json.loads((out / "report.json").read_bytes())
    return dataset_summary(out) | {
        "bundle": str(out / "bundle"),
        "bundle_id": report["bundle"]["bundle_id"],
        "report": str(out / "report.html"),
        "verdict": report["verdict"],
    }


def dataset_summary(out: Path) -> dict[str, Any]:
    """What a data set holds, for one line of JSON."""
    meta = json.loads((out / "dataset" / "meta.json").read_bytes())
    return {
        "dataset": str(out / "dataset"),
        "dataset_hash": meta["dataset_hash"],
        "examples": meta["n_examples"],
        "splits": meta["splits"],
        "quarantined": meta["quarantined"],
    }
