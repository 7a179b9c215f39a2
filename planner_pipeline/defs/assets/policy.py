"""Stage policy: outcomes learned, an objective, the bundle that chooses by it, what it would do.

Belongs here: doorways to ``training``, ``release`` and ``experiments``, and what MLflow is told.
Does not: fitting or choosing.
"""

from collections.abc import Iterator

import dagster as dg
import msgspec
import polars as pl

from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.dataset.shards import DatasetMeta
from planner_pipeline.defs.resources import Settings, Tracking
from planner_pipeline.defs.versions import content_version
from planner_pipeline.evaluation.frontier import WhatIf
from planner_pipeline.experiments.bench_policy import what_if_best_known
from planner_pipeline.experiments.benched_cases import bench_bytes
from planner_pipeline.experiments.policy_workspace import (
    fit_workspace,
    imitated,
    outcome_metrics,
    runs_of,
)
from planner_pipeline.release.outcome_export import export_outcomes
from planner_pipeline.release.what_if import write_what_if
from planner_pipeline.release.workspace_bundle import objective_of, write_workspace_bundle
from planner_pipeline.training.outcome_checkpoint import decode_outcomes, encode_outcomes
from planner_pipeline.training.outcome_fit import OutcomeConfig, OutcomeRecord
from planner_runtime.contracts import BundleManifest
from planner_runtime.kernel_config import KernelConfig
from planner_runtime.objective import Objective


@dg.asset(group_name="policy", code_version="1", io_manager_key="record_io")
def outcome_config(settings: Settings) -> dg.MaterializeResult[OutcomeConfig]:
    """How the outcome model is fitted."""
    config = msgspec.convert({"kind": settings.outcome_kind, "seed": settings.seed}, OutcomeConfig)
    return dg.MaterializeResult(
        value=config,
        metadata=msgspec.to_builtins(config),
        data_version=dg.DataVersion(content_version(config)),
    )


@dg.asset(group_name="policy", code_version="1", io_manager_key="record_io")
def policy_objective(
    settings: Settings, universes: pl.DataFrame
) -> dg.MaterializeResult[Objective]:
    """What an outcome is worth: a file's word, else the universe's, else the default."""
    objective = objective_of(settings.objective, universes)
    return dg.MaterializeResult(
        value=objective,
        metadata={"name": objective.name, "rule": objective.rule},
        data_version=dg.DataVersion(content_version(objective)),
    )


@dg.multi_asset(
    group_name="policy",
    deps=["run_summaries"],
    outs={
        "outcome_model": dg.AssetOut(
            dagster_type=bytes, io_manager_key="bytes_io", code_version="1",
            description="The fitted outcome model: ensemble, track record, calibration.",
        ),
        "outcome_record": dg.AssetOut(
            dagster_type=OutcomeRecord, io_manager_key="record_io", code_version="1",
            description="Settings, where every member stopped, how mixed tries are.",
        ),
    },
)  # fmt: skip
def outcome_training(
    dataset: DatasetMeta, outcome_config: OutcomeConfig, settings: Settings, tracking: Tracking
) -> Iterator[dg.MaterializeResult]:
    """What became of every try, learned from the decisions of the training and validation roles."""
    data = Dataset(settings.dataset_dir)
    params = msgspec.to_builtins(outcome_config) | {"dataset_hash": dataset.dataset_hash}
    with tracking.tracker().start("outcome", params) as run:
        fitted, workspace = fit_workspace(data, runs_of(settings.runs_dir), outcome_config)
        metrics = outcome_metrics(fitted, workspace)
        run.log_metrics(metrics, step=0)
    checkpoint = encode_outcomes(fitted)
    yield dg.MaterializeResult(
        asset_key="outcome_model",
        value=checkpoint,
        metadata={"bytes": len(checkpoint), **metrics},
        data_version=dg.DataVersion(content_version(checkpoint)),
    )
    yield dg.MaterializeResult(
        asset_key="outcome_record",
        value=fitted.record,
        metadata={"attempts": fitted.record.n_attempts, "decisions": fitted.record.n_cases},
    )


@dg.asset(group_name="policy", code_version="1")
def bench_evidence(settings: Settings) -> dg.MaterializeResult[None]:
    """The outcomes that a bench left in ``bench/``, which alone can certify a policy."""
    data = bench_bytes(settings.out_dir / "bench")
    return dg.MaterializeResult(
        metadata={"bytes": len(data)}, data_version=dg.DataVersion(content_version(data))
    )


@dg.asset(group_name="policy", code_version="2", io_manager_key="record_io", deps=[bench_evidence])
def outcome_bundle(
    outcome_model: bytes,
    policy_objective: Objective,
    kernel_config: KernelConfig,
    dataset: DatasetMeta,
    settings: Settings,
) -> dg.MaterializeResult[BundleManifest]:
    """A verified bundle in ``outcome_bundle/`` that chooses by the objective."""
    fitted = decode_outcomes(outcome_model)
    manifest = write_workspace_bundle(
        settings.out_dir / "outcome_bundle", fitted, onnx_bytes=export_outcomes(fitted),
        checkpoint=outcome_model, objective=policy_objective, kernel_config=kernel_config,
        dataset=Dataset(settings.dataset_dir), bench=settings.out_dir / "bench",
    )  # fmt: skip
    sizes = {file.path: file.size for file in manifest.files}
    return dg.MaterializeResult(value=manifest, metadata={"bundle_id": manifest.bundle_id, **sizes})


@dg.asset(group_name="policy", code_version="2", io_manager_key="record_io", deps=[bench_evidence])
def value_policy(
    outcome_bundle: BundleManifest,
    outcome_model: bytes,
    predictions: pl.DataFrame,
    kernel_config: KernelConfig,
    dataset: DatasetMeta,
    settings: Settings,
) -> dg.MaterializeResult[WhatIf]:
    """What the bundle would do in later decisions, beside every fixed action and imitation."""
    page = what_if_best_known(
        settings.out_dir / "outcome_bundle", decode_outcomes(outcome_model),
        Dataset(settings.dataset_dir), runs_of(settings.runs_dir), kernel_config,
        imitated(predictions), settings.out_dir / "bench",
    )  # fmt: skip
    write_what_if(page, settings.out_dir)
    numbers = {"cases": page.n_cases, "differences": page.n_differences, "source": page.source}
    return dg.MaterializeResult(value=page, metadata=numbers)
