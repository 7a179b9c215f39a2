"""Asset checks: each named as the sentence that is true when it passes.

Belongs here: what must hold between assets. Does not: table schemas (``table_types``).
"""

import dagster as dg
import msgspec
import polars as pl

from planner_pipeline.dataset.arrays import build_arrays
from planner_pipeline.dataset.examples import Example, leaks, splits_in_time_order
from planner_pipeline.dataset.shards import DatasetMeta, altered_files
from planner_pipeline.defs.resources import Settings
from planner_pipeline.release.onnx_export import compare_with_torch
from planner_pipeline.sources.workspace import SourceReport
from planner_pipeline.tables import read_records
from planner_pipeline.training.checkpoint import decode_checkpoint
from planner_runtime import verify_bundle
from planner_runtime.actions import ActionSpace
from planner_runtime.contracts import BundleManifest, ContractError, PlannerInput, read_document
from planner_runtime.features import N_FEATURES

ONNX_TOLERANCE = 1e-4


@dg.asset_check(asset="source_report", blocking=True)
def everything_found_is_accounted_for(source_report: SourceReport) -> dg.AssetCheckResult:
    """Discovered = accepted + quarantined, source by source."""
    wrong = [
        count.source
        for count in source_report.counts
        if count.discovered != count.accepted + count.quarantined
    ]
    return dg.AssetCheckResult(passed=not wrong, metadata={"sources_that_differ": wrong})


@dg.asset_check(asset="examples", blocking=True)
def every_input_keeps_its_contract(examples: pl.DataFrame) -> dg.AssetCheckResult:
    """Every planner input is a valid ``planner_input.v1``."""
    broken = []
    for example in read_records(examples, Example):
        try:
            read_document(example.planner_input, PlannerInput)
        except ContractError as error:
            broken.append(f"{example.example_id}: {error}")
    return dg.AssetCheckResult(passed=not broken, metadata={"broken": broken[:10]})


@dg.asset_check(asset="examples", blocking=True)
def no_example_sees_its_future(examples: pl.DataFrame) -> dg.AssetCheckResult:
    """Every run in an input had started and ended before its decision, in another group."""
    found = leaks(read_records(examples, Example))
    return dg.AssetCheckResult(passed=not found, metadata={"leaks": found[:10]})


@dg.asset_check(asset="examples", blocking=True)
def splits_are_in_time_order(examples: pl.DataFrame) -> dg.AssetCheckResult:
    """Training ends before validation starts, validation before test; no group is parted."""
    wrong = splits_in_time_order(read_records(examples, Example))
    return dg.AssetCheckResult(passed=not wrong, metadata={"wrong": wrong})


@dg.asset_check(asset="dataset", blocking=True)
def shards_are_what_the_manifest_says(
    dataset: DatasetMeta, settings: Settings
) -> dg.AssetCheckResult:
    """Every shard has the sha256 that meta.json names."""
    altered = altered_files(settings.out_dir / "dataset", dataset)
    return dg.AssetCheckResult(passed=not altered, metadata={"altered": altered})


@dg.asset_check(
    asset="planner_onnx",
    blocking=True,
    additional_ins={
        name: dg.AssetIn(name) for name in ("mlp_checkpoint", "examples", "tokens", "action_space")
    },
)
def onnx_chooses_as_torch_does(
    planner_onnx: bytes,
    mlp_checkpoint: bytes,
    examples: pl.DataFrame,
    tokens: pl.DataFrame,
    action_space: ActionSpace,
) -> dg.AssetCheckResult:
    """On every held-out example the same action, from logits that differ by 1e-4 at most."""
    held = [e for e in read_records(examples, Example) if e.split != "train"]
    arrays = build_arrays(held, tokens, action_space, n_features=N_FEATURES)
    model = decode_checkpoint(mlp_checkpoint)
    parity = compare_with_torch(model, planner_onnx, arrays, action_space)
    passed = parity.n_different_choices == 0 and parity.worst_difference <= ONNX_TOLERANCE
    return dg.AssetCheckResult(passed=passed, metadata=msgspec.to_builtins(parity))


@dg.asset_check(asset="planner_bundle", blocking=True)
def the_bundle_verifies(planner_bundle: BundleManifest, settings: Settings) -> dg.AssetCheckResult:
    """The runtime opens the bundle and every golden case is answered as shipped."""
    faults = [str(fault) for fault in verify_bundle(settings.out_dir / "bundle")]
    return dg.AssetCheckResult(passed=not faults, metadata={"faults": faults})
