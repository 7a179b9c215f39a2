"""One materialization of everything, or of the data set alone, in this process.

Belongs here: calling Dagster as a library and saying in one line what failed. Does not: the
command line (``cli``), definitions.
"""

import json
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import msgspec

from planner_pipeline.bench.selections import Selection
from planner_pipeline.dataset.build import assembly_of
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.dataset.shards import altered_files
from planner_pipeline.definitions import (
    DATASET_ONLY,
    EVERYTHING,
    HISTORY,
    JUDGED,
    MONTHS,
    RAW,
    build_defs,
)
from planner_pipeline.defs.bench_resource import BenchSettings
from planner_pipeline.memory import rare_collections
from planner_pipeline.sources.workspace import read_workspace
from planner_pipeline.staleness import stale_assets

RECIPE = dg.AssetSelection.assets("recipe")
# made of settings, or of files that no asset made, so looked at as the workspace is
CONFIG = {"train_config", "outcome_config", "policy_objective", "bench_evidence"}
FILES = {
    "bundle/manifest.json": "planner_bundle",
    "history.snapshot": "history_snapshot",
    "report.html": "report",
    "report.json": "report",
    "outcome_bundle/manifest.json": "outcome_bundle",
    "what_if.html": "value_policy",
    "what_if.json": "value_policy",
}
# one step at a time in every pool, unless Dagster's own pages say otherwise: benches share a
# machine; by steps, because limits by runs let three benches of one backfill run at once
DAGSTER_YAML = """\
telemetry: {enabled: false}
nux: {enabled: false}
concurrency: {pools: {granularity: op, default_limit: 1}}
run_monitoring: {enabled: true, free_slots_after_run_end_seconds: 300}
"""


class PipelineError(Exception):
    """A materialization failed; the text names the step and why.

    Attributes:
        details: The step's own traceback, or what its check has to list.
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
    for evaluation in result.get_asset_check_evaluations():
        if not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR:
            told = {name: value.value for name, value in evaluation.metadata.items()}
            listed = [line for value in told.values() if isinstance(value, list) for line in value]
            verdict = told.get("verdict", told)
            name = evaluation.check_name.replace("_", " ")
            return PipelineError(f"check '{name}' failed: {verdict}", "\n".join(map(str, listed)))
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            cause = error.cause if error is not None and error.cause is not None else error
            why = " ".join((cause.message if cause is not None else "unknown").split())
            why = re.sub(r"^[\w.]+\.\w+: ", "", why)  # the exception's class, for programs only
            details = "" if cause is None else cause.to_string()
            return PipelineError(f"{event.step_key}: {why}", details)
    return PipelineError("the run did not succeed")


def _execute(job: dg.JobDefinition, instance: dg.DagsterInstance, **selected: Any) -> None:
    with rare_collections():
        result = job.execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_config={"loggers": {"console": {}}},
            **selected,
        )
    if not result.success:
        raise _failure(result)


def materialize(
    repo: Path,
    out: Path,
    *,
    dataset_only: bool = False,
    job: str | None = None,
    always: Collection[str] = (),
    instance: dg.DagsterInstance | None = None,
    **settings: Any,
) -> int:
    """Bring the assets of a job, or those up to the data set, up to date in ``out``.

    The workspace is always looked at; what is made of it only where something changed, or is gone.

    Args:
        dataset_only: Whether nothing is loaded that needs a model.
        job: One of ``definitions``, of those that are not partitioned; None for all that is loaded
            but benches and ablations.
        always: Assets that are made again in any case.
        settings: Fields of ``Settings``.

    Returns:
        How many assets were made again beyond the looking.

    Raises:
        PipelineError: a step or a blocking check failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    defs = build_defs(repo=repo, out=out, dataset_only=dataset_only, **settings)
    job = job or (DATASET_ONLY if dataset_only else EVERYTHING)
    if instance is None:
        prepare_dagster_home(out)
        instance = dg.DagsterInstance.get()
    with instance:
        wanted = defs.resolve_job_def(job)  # asks the instance that was entered last
        graph = defs.resolve_asset_graph()
        keys = set(wanted.asset_layer.executable_asset_keys)
        looking = (RAW | RECIPE | dg.AssetSelection.assets(*CONFIG & _names(keys))).resolve(graph)
        _execute(wanted, instance, asset_selection=sorted(looking))
        others = keys - looking
        stale = stale_assets(instance, defs, others)
        if job != HISTORY:
            stale = (stale | assets_gone(out)) & others if is_whole(out) else others
        stale |= {dg.AssetKey(name) for name in always}
        if stale:
            _execute(wanted, instance, asset_selection=sorted(stale))
    return len(stale)


def _names(keys: Collection[dg.AssetKey]) -> set[str]:
    return {key.to_user_string() for key in keys}


def is_whole(out: Path) -> bool:
    """Whether the data set is there as it was written, unless somebody removed or damaged it."""
    try:
        meta = Dataset(out / "dataset").meta
    except (OSError, msgspec.DecodeError):
        return False
    return not altered_files(out / "dataset", meta)


def assets_gone(out: Path) -> set[dg.AssetKey]:
    """Assets whose files, that people look for, are not there."""
    return {dg.AssetKey(asset) for file, asset in FILES.items() if not (out / file).is_file()}


def materialize_by_month(repo: Path, out: Path, **settings: Any) -> list[str]:
    """The data set with runs and examples made a month at a time, and the months.

    The same files as ``materialize`` makes, in smaller steps that can be repeated one by one.

    Raises:
        PipelineError: as ``materialize``.
    """
    out.mkdir(parents=True, exist_ok=True)
    defs = build_defs(repo=repo, out=out, dataset_only=True, by_month=True, **settings)
    prepare_dagster_home(out)
    with dg.DagsterInstance.get() as instance:

        def run(selection: dg.AssetSelection, month: str | None = None) -> None:
            job = dg.define_asset_job("some", selection=selection)
            whole = dg.Definitions.merge(defs, dg.Definitions(jobs=[job]))
            _execute(whole.resolve_job_def("some"), instance, partition_key=month)

        monthly = dg.AssetSelection.assets("run_summaries", "examples")
        run(RAW | dg.AssetSelection.assets("recipe"))
        months = months_in(repo, out)
        instance.add_dynamic_partitions(str(MONTHS.name), months)
        for month in months:
            run(dg.AssetSelection.assets("run_summaries"), month)
        for month in months:
            run(dg.AssetSelection.assets("examples"), month)
        run(dg.AssetSelection.groups("history", "dataset") - monthly - RECIPE)
    return months


def judge_bench(
    repo: Path, out: Path, bench: BenchSettings, selections: Sequence[Selection]
) -> None:
    """Make labels, outcomes and figures of a bench, and tell Dagster which issues were benched.

    Args:
        selections: Of the cases that a command ran itself, as the assets would have.

    Raises:
        PipelineError: a step failed.
    """
    from planner_pipeline.defs.assets.bench import ISSUES

    defs = build_defs(repo=repo, out=out, dataset_only=True, bench=bench)
    prepare_dagster_home(out)
    with dg.DagsterInstance.get() as instance:
        issues = sorted({one.issue_id for one in selections})
        if bench.executor != "replay":
            instance.add_dynamic_partitions(str(ISSUES.name), issues)
            for name in ("bench_candidates", "bench_outcomes"):
                for issue_id in issues:
                    made = dg.AssetMaterialization(asset_key=name, partition=issue_id)
                    instance.report_runless_asset_event(made)
        _execute(defs.resolve_job_def(JUDGED), instance)


def months_in(repo: Path, out: Path) -> list[str]:
    """Months of the runs of a workspace, oldest first."""
    return assembly_of(read_workspace(repo, out / "store")).months


def summary(out: Path) -> dict[str, Any]:
    """What a whole materialization left, for one line of JSON."""
    report = json.loads((out / "report.json").read_bytes())
    return dataset_summary(out) | {
        "bundle": str(out / "bundle"),
        "bundle_id": report["bundle"]["bundle_id"],
        "report": str(out / "report.html"),
        "verdict": report["verdict"],
    }


def evaluation_summary(out: Path) -> dict[str, Any]:
    """The test split's figures, for one line of JSON."""
    told = json.loads((out / "assets" / "diagnostics.json").read_bytes())["test"]
    return {
        "role": "test",
        "n": told["n"],
        "n_issues": told["n_issues"],
        "abstain_ratio": told["abstain_ratio"],
        "promise": told["promise"],
        "predictors": {
            name: {
                "exact_match": figures["exact_match"],
                "minus_heuristic": figures["minus_heuristic"],
                **{
                    figure: (figures["reliability"] or {}).get(figure)
                    for figure in ("nll", "brier", "ece", "ece_null", "ece_mass", "aurc", "augrc")
                },
            }
            for name, figures in told["predictors"].items()
        },
    }


def policy_summary(out: Path) -> dict[str, Any]:
    """What an outcome model and its bundle are, for one line of JSON."""
    assets = out / "assets"
    record = json.loads((assets / "outcome_record.json").read_bytes())
    page = json.loads((assets / "value_policy.json").read_bytes())
    bundle = json.loads((assets / "outcome_bundle.json").read_bytes())
    shown = ("name", "kind", "pass_rate", "minutes", "utility", "gain", "differs")
    return {
        "bundle": str(out / "outcome_bundle"),
        "bundle_id": bundle["bundle_id"],
        "what_if": str(out / "what_if.html"),
        "n_attempts": record["n_attempts"],
        "n_cases": record["n_cases"],
        "source": page["source"],
        "objective": page["objective"]["name"],
        "points": [
            {name: point[name] for name in shown}
            for point in page["points"]
            if point["kind"] != "fixed" or point["name"] == "best fixed action"
        ],
        "differences": page["n_differences"],
    }


def last_training(out: Path) -> dict[str, Any]:
    """Settings that the last training in ``out`` was given: architecture, output, seed, epochs.

    Raises:
        FileNotFoundError: nothing was trained there.
    """
    path = out / "assets" / "train_config.json"
    if not path.exists():
        raise FileNotFoundError(f"nothing was trained in {out}; see `cyntra-planner train`")
    told = json.loads(path.read_bytes())
    return {name: told[name] for name in ("arch", "decoding", "seed", "epochs", "int8")}


def dataset_summary(out: Path) -> dict[str, Any]:
    """What a data set holds, for one line of JSON."""
    meta = json.loads((out / "dataset" / "meta.json").read_bytes())
    return {
        "dataset": str(out / "dataset"),
        "dataset_hash": meta["dataset_hash"],
        "examples": meta["n_examples"],
        "splits": meta["splits"],
        "quarantined": meta["quarantined"],
        "epochs": {e["epoch"]["epoch"]: e["n_examples"] for e in meta["epochs"] if e["n_examples"]},
    }
