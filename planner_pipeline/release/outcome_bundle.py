"""Writing an outcome bundle: the same directory as any, with a policy and a track record in it.

Belongs here: the members and the manifest of an outcome model. Does not: bundles of imitation
(``bundle_writer``), exporting the model (``outcome_export``). Spec: section 11.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from planner_pipeline.artifacts import staged_directory
from planner_pipeline.release.bundle_writer import tool_versions
from planner_pipeline.release.onnx_check import shipped_op_types
from planner_pipeline.release.onnx_export import OPSET
from planner_runtime.actions import ActionSpace
from planner_runtime.bundle import (
    ACTION_SPACE,
    CALIBRATION,
    GOLDEN,
    MANIFEST,
    MODEL,
    POLICY,
    PROTOCOL,
    TRACK_RECORD,
    VOCAB,
    Bundle,
    GoldenCase,
    OutcomeParts,
    action_space_file,
    manifest_id,
)
from planner_runtime.contracts import (
    BundleFile,
    BundleManifest,
    ModelCard,
    canonical_json,
    sha256_hex,
    to_document,
)
from planner_runtime.inputs import rfc3339
from planner_runtime.kernel_config import KernelConfig
from planner_runtime.outcomes.features import OUTCOME_FEATURES, outcome_spec_hash
from planner_runtime.outcomes.model import MODEL_OUTPUTS
from planner_runtime.planner import golden_planner, load_bundle, open_model
from planner_runtime.tokenizer import vocab_document

N_GOLDEN = 8


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where an outcome model came from.

    Attributes:
        data_until_ms: Newest decision it was fitted on.
        dataset_hash, checkpoint_sha256: Of what it was fitted on and of what it is.
    """

    data_until_ms: int
    dataset_hash: str
    checkpoint_sha256: str


def write_outcome_bundle(
    folder: Path,
    *,
    onnx_bytes: bytes,
    parts: OutcomeParts,
    space: ActionSpace,
    kernel_config: KernelConfig,
    provenance: Provenance,
    questions: Sequence[Mapping[str, Any]],
) -> BundleManifest:
    """Write an outcome bundle beside ``folder``, verify it, and move it there whole.

    Args:
        questions: Planner inputs whose answers are kept as golden cases; the first few are used.

    Raises:
        ModelNotShippableError: the model holds what no bundle may.
        BundleError: what was written does not verify; ``folder`` is then left as it was.
    """
    members: dict[str, bytes] = {
        MODEL: onnx_bytes,
        VOCAB: canonical_json(vocab_document()),
        ACTION_SPACE: canonical_json(action_space_file(space)),
        CALIBRATION: canonical_json(to_document(parts.calibration)),
        POLICY: canonical_json(to_document(parts.policy)),
        TRACK_RECORD: canonical_json(to_document(parts.track_record)),
        GOLDEN: b"",
    }

    op_types = shipped_op_types(onnx_bytes)

    def manifest() -> BundleManifest:
        draft = BundleManifest(
            format_version=PROTOCOL,
            bundle_id="0" * 16,
            data_until=rfc3339(provenance.data_until_ms),
            dataset_hash=provenance.dataset_hash,
            files=tuple(
                BundleFile(path=name, size=len(data), sha256=sha256_hex(data))
                for name, data in sorted(members.items())
            ),
            model=ModelCard(
                arch="outcome",
                input_kind="features",
                input_width=len(OUTCOME_FEATURES),
                input_spec_hash=outcome_spec_hash(),
                opset=OPSET,
                output_names=MODEL_OUTPUTS,
                decoding="outcome",
                op_types=op_types,
                checkpoint_sha256=provenance.checkpoint_sha256,
            ),
            vocab_hash=sha256_hex(members[VOCAB]),
            action_space_hash=sha256_hex(members[ACTION_SPACE]),
            calibration_hash=sha256_hex(members[CALIBRATION]),
            n_golden=members[GOLDEN].count(b"\n"),
            versions=tool_versions(),
            kernel_config=msgspec.to_builtins(kernel_config),
        )
        return msgspec.structs.replace(draft, bundle_id=manifest_id(draft))

    draft = Bundle("", manifest(), space, None, kernel_config, onnx_bytes, (), parts)
    planner = golden_planner(draft, open_model(draft))
    members[GOLDEN] = b"".join(
        # without the model's name: its id is a hash of, among others, these lines
        canonical_json(
            to_document(
                GoldenCase(
                    dict(question),
                    msgspec.structs.replace(planner.plan(question, now_ms=0), model=None),
                )
            )
        )
        + b"\n"
        for question in questions[:N_GOLDEN]
    )
    final = manifest()
    with staged_directory(folder) as staging:
        for name, data in members.items():
            (staging / name).write_bytes(data)
        (staging / MANIFEST).write_bytes(canonical_json(to_document(final)))
        load_bundle(staging)
    return final
