"""Writing a PlannerModelBundle: every file hashed, the whole moved into place at once.

Belongs here: the files, the manifest, the golden cases. Does not: reading (``planner_runtime``).
Spec: section 11; formats 7.4 (file shapes).
"""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from planner_pipeline.artifacts import staged_directory
from planner_pipeline.dataset.examples import Example
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.models.spec import ModelSpec
from planner_pipeline.release.onnx_check import shipped_op_types
from planner_pipeline.release.onnx_export import OPSET
from planner_runtime.actions import HEADS, ActionSpace
from planner_runtime.bundle import (
    ACTION_SPACE,
    CALIBRATION,
    GOLDEN,
    MANIFEST,
    MODEL,
    PROTOCOL,
    VOCAB,
    Bundle,
    GoldenCase,
    action_space_file,
    manifest_id,
)
from planner_runtime.calibration import Calibration
from planner_runtime.contracts.bundle_manifest import BundleFile, BundleManifest, ModelCard
from planner_runtime.contracts.canonical import canonical_json, sha256_hex
from planner_runtime.contracts.reading import to_document
from planner_runtime.decode import output_widths
from planner_runtime.features import feature_spec_hash
from planner_runtime.inputs import rfc3339
from planner_runtime.kernel_config import KernelConfig
from planner_runtime.planner import golden_planner, load_bundle, open_model
from planner_runtime.tokenizer import vocab_document, vocab_hash

MAX_GOLDEN: Final = 32


def golden_examples(dataset: Dataset) -> list[Example]:
    """At most 32 examples spread over time, the first of every label among them."""
    index = dataset.index
    first = index.unique(HEADS, keep="first", maintain_order=True)
    spread = index.gather_every(max(1, index.height // MAX_GOLDEN))
    chosen = pl.concat([first, spread]).unique("example_id", keep="first", maintain_order=True)
    rows = chosen.sort("decided_ms", "example_id").head(MAX_GOLDEN)
    return list(dataset.examples_of(rows))


def tool_versions() -> dict[str, str]:
    """Versions of what made the bundle."""
    names = ("cyntra-planner", "torch", "onnx", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _manifest(
    members: dict[str, bytes],
    *,
    dataset: Dataset,
    spec: ModelSpec,
    checkpoint: bytes,
    kernel_config: KernelConfig,
    n_golden: int,
) -> BundleManifest:
    newest, budget = dataset.index["decided_ms"].max(), dataset.meta.settings["token_budget"]
    reads_tokens = spec.input_kind == "tokens"
    draft = BundleManifest(
        format_version=PROTOCOL,
        bundle_id="0" * 16,
        data_until=rfc3339(newest if isinstance(newest, int) else 0),
        dataset_hash=dataset.meta.dataset_hash,
        files=tuple(
            BundleFile(path=name, size=len(data), sha256=sha256_hex(data))
            for name, data in sorted(members.items())
        ),
        model=ModelCard(
            arch=spec.arch,
            input_kind=spec.input_kind,
            input_width=spec.input_width,
            input_spec_hash=vocab_hash() if reads_tokens else feature_spec_hash(),
            opset=OPSET,
            output_names=tuple(output_widths(dataset.space, spec.decoding)),
            decoding=spec.decoding,
            seq_len=budget["seq_len"],
            tokens_per_run=budget["per_run"],
            op_types=shipped_op_types(members[MODEL]),
            checkpoint_sha256=sha256_hex(checkpoint),
        ),
        vocab_hash=sha256_hex(members[VOCAB]),
        action_space_hash=sha256_hex(members[ACTION_SPACE]),
        calibration_hash=sha256_hex(members[CALIBRATION]),
        n_golden=n_golden,
        versions=tool_versions(),
        kernel_config=msgspec.to_builtins(kernel_config),
    )
    return msgspec.structs.replace(draft, bundle_id=manifest_id(draft))


def _golden_lines(
    examples: Sequence[Example],
    manifest: BundleManifest,
    members: dict[str, bytes],
    space: ActionSpace,
    calibration: Calibration,
) -> bytes:
    """The bundle's own answers, so that who opens it can see that it still answers so."""
    config = msgspec.convert(manifest.kernel_config, KernelConfig)
    bundle = Bundle("", manifest, space, calibration, config, members[MODEL], ())
    planner = golden_planner(bundle, open_model(bundle))
    cases = (
        # without the model's name: its id is a hash of, among others, these lines
        GoldenCase(
            e.planner_input,
            msgspec.structs.replace(planner.plan(e.planner_input, now_ms=0), model=None),
        )
        for e in examples
    )
    return b"".join(canonical_json(to_document(case)) + b"\n" for case in cases)


def write_bundle(
    folder: Path,
    *,
    onnx_bytes: bytes,
    checkpoint: bytes,
    spec: ModelSpec,
    calibration: Calibration,
    kernel_config: KernelConfig,
    dataset: Dataset,
) -> BundleManifest:
    """Write a bundle beside ``folder``, verify it, and move it there whole.

    Raises:
        ModelNotShippableError: the model holds what no bundle may.
        BundleError: what was written does not verify; ``folder`` is then left as it was.
    """
    space = dataset.space
    members: dict[str, bytes] = {
        MODEL: onnx_bytes,
        VOCAB: canonical_json(vocab_document()),
        ACTION_SPACE: canonical_json(action_space_file(space)),
        CALIBRATION: canonical_json(to_document(calibration)),
        GOLDEN: b"",
    }
    golden = golden_examples(dataset)

    def manifest() -> BundleManifest:
        return _manifest(
            members,
            dataset=dataset,
            spec=spec,
            checkpoint=checkpoint,
            kernel_config=kernel_config,
            n_golden=len(golden),
        )

    members[GOLDEN] = _golden_lines(golden, manifest(), members, space, calibration)
    final = manifest()
    with staged_directory(folder) as staging:
        for name, data in members.items():
            (staging / name).write_bytes(data)
        (staging / MANIFEST).write_bytes(canonical_json(to_document(final)))
        load_bundle(staging)
    return final
