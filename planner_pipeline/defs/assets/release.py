"""Stage release: the ONNX file, the bundle, the report.

Belongs here: doorways to ``release``, and what MLflow is told of the result. Does not: writing.
"""

import dagster as dg
import msgspec
import polars as pl

from planner_pipeline.dataset.drift import DriftReport
from planner_pipeline.dataset.feasibility import Feasibility
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.dataset.shards import DatasetMeta
from planner_pipeline.defs.resources import Settings, Tracking
from planner_pipeline.evaluation.diagnostics import Evaluation
from planner_pipeline.experiments.ablation_table import read_table
from planner_pipeline.experiments.shipping import hold_to_the_rule, shipping_of
from planner_pipeline.release.bundle_writer import write_bundle
from planner_pipeline.release.onnx_export import OPSET, export_model
from planner_pipeline.release.report import ReportInputs, headline_metrics, write_report
from planner_pipeline.release.what_if import read_what_if
from planner_pipeline.sample.workspace import SIMULATED_MARK
from planner_pipeline.sources.workspace import SourceReport
from planner_pipeline.training.checkpoint import decode_checkpoint
from planner_pipeline.training.config import TrainConfig
from planner_pipeline.training.fit import TrainingRecord
from planner_pipeline.training.predict import spec_of
from planner_runtime.calibration import Calibration
from planner_runtime.contracts import BundleManifest
from planner_runtime.kernel_config import KernelConfig


@dg.asset(group_name="release", code_version="2", io_manager_key="bytes_io")
def planner_onnx(
    model_checkpoint: bytes, dataset: DatasetMeta, train_config: TrainConfig, settings: Settings
) -> dg.MaterializeResult[bytes]:
    """The model as one self-contained ONNX file."""
    space = Dataset(settings.dataset_dir).space
    data = export_model(decode_checkpoint(model_checkpoint), space, int8=train_config.int8)
    return dg.MaterializeResult(value=data, metadata={"bytes": len(data), "opset": OPSET})


@dg.asset(group_name="release", code_version="2", io_manager_key="record_io")
def planner_bundle(
    planner_onnx: bytes,
    model_checkpoint: bytes,
    calibration: Calibration,
    kernel_config: KernelConfig,
    dataset: DatasetMeta,
    settings: Settings,
) -> dg.MaterializeResult[BundleManifest]:
    """A verified PlannerModelBundle in ``bundle/``."""
    spec = spec_of(decode_checkpoint(model_checkpoint))
    hold_to_the_rule(spec.arch, settings.out_dir)
    manifest = write_bundle(
        settings.out_dir / "bundle",
        onnx_bytes=planner_onnx,
        checkpoint=model_checkpoint,
        spec=spec,
        calibration=calibration,
        kernel_config=kernel_config,
        dataset=Dataset(settings.dataset_dir),
    )
    sizes = {file.path: file.size for file in manifest.files}
    return dg.MaterializeResult(value=manifest, metadata={"bundle_id": manifest.bundle_id, **sizes})


@dg.asset(group_name="release", code_version="3", io_manager_key="record_io")
def report(
    dataset: DatasetMeta,
    source_report: SourceReport,
    quarantine: pl.DataFrame,
    feasibility: Feasibility,
    drift: DriftReport,
    training_record: TrainingRecord,
    calibration: Calibration,
    diagnostics: Evaluation,
    planner_bundle: BundleManifest,
    settings: Settings,
    tracking: Tracking,
) -> dg.MaterializeResult[dict]:
    """``report.html`` for people, ``report.json`` for programs."""
    inputs = ReportInputs(
        dataset=Dataset(settings.dataset_dir),
        feasibility=feasibility,
        drift=drift,
        has_default_config=source_report.has_default_config,
        is_simulated=(settings.repo_dir / SIMULATED_MARK).exists(),
        quarantine=quarantine,
        training=training_record,
        calibration=calibration,
        evaluation=diagnostics,
        manifest=planner_bundle,
        ablations=read_table(settings.out_dir),
        shipping=shipping_of(settings.out_dir),
        what_if=read_what_if(settings.out_dir),
    )
    summary = write_report(settings.out_dir, inputs)
    metrics = headline_metrics(diagnostics)
    params = {
        "bundle_id": planner_bundle.bundle_id,
        "dataset_hash": dataset.dataset_hash,
        "checkpoint_sha256": planner_bundle.model.checkpoint_sha256,
        **msgspec.to_builtins(training_record.config),
    }
    with tracking.tracker().start("evaluation", params) as run:
        run.log_metrics(metrics)
        run.log_file(settings.out_dir / "report.html")
        run.log_file(settings.out_dir / "bundle", folder="bundle")
    page = str((settings.out_dir / "report.html").resolve())
    return dg.MaterializeResult(value=summary, metadata={"page": page, **metrics})
