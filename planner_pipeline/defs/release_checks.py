"""Asset checks of what is shipped, each named as the sentence that is true when it passes.

Belongs here: checks that need the model. Does not: checks of the data (``checks``).
"""

import dagster as dg
import msgspec

from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.dataset.shards import DatasetMeta
from planner_pipeline.defs.resources import Settings
from planner_pipeline.release.onnx_export import compare_with_model
from planner_pipeline.training.checkpoint import decode_checkpoint
from planner_pipeline.training.config import TrainConfig
from planner_runtime import verify_bundle
from planner_runtime.contracts import BundleManifest

ONNX_TOLERANCE = 1e-4
INT8_TOLERANCE = 0.05  # share of rows
MOST_ROWS = 2_000  # the newest; each is a run of its own, as in a kernel


@dg.asset_check(
    asset="planner_onnx",
    blocking=True,
    additional_ins={
        name: dg.AssetIn(name) for name in ("model_checkpoint", "dataset", "train_config")
    },
)
def onnx_chooses_as_the_model_does(
    planner_onnx: bytes,
    model_checkpoint: bytes,
    dataset: DatasetMeta,
    train_config: TrainConfig,
    settings: Settings,
) -> dg.AssetCheckResult:
    """On held-out examples the same action, from scores that differ by 1e-4 at most; of an int8
    model, the same action in 19 of 20.
    """
    data = Dataset(settings.dataset_dir)
    rows = data.rows("val", "test").tail(MOST_ROWS)
    parity = compare_with_model(
        decode_checkpoint(model_checkpoint), planner_onnx, data.arrays_of(rows)
    )
    passed = parity.n_different_choices == 0 and parity.worst_difference <= ONNX_TOLERANCE
    if train_config.int8:
        passed = parity.n_different_choices <= INT8_TOLERANCE * parity.n_rows
    return dg.AssetCheckResult(passed=passed, metadata=msgspec.to_builtins(parity))


@dg.asset_check(asset="planner_bundle", blocking=True)
def the_bundle_verifies(planner_bundle: BundleManifest, settings: Settings) -> dg.AssetCheckResult:
    """The runtime opens the bundle and every golden case is answered as shipped."""
    faults = [str(fault) for fault in verify_bundle(settings.out_dir / "bundle")]
    return dg.AssetCheckResult(passed=not faults, metadata={"faults": faults})
