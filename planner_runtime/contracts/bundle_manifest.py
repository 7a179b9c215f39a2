"""``bundle_manifest.v1``: what is in a PlannerModelBundle, with the hash of every file.

Belongs here: the shape. Does not: checking a directory against it (``bundle``). Spec: section 11.
"""

from typing import Annotated, Any, Literal

import msgspec

from planner_runtime.contracts.planner_input import Timestamp
from planner_runtime.contracts.policy_trace import Sha256


class BundleFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of a bundle; flat names only."""

    path: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_][a-z0-9_.-]*$", max_length=100)]
    size: Annotated[int, msgspec.Meta(ge=0)]
    sha256: Sha256


class ModelCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the ONNX file computes.

    Attributes:
        decoding: ``outcome`` predicts what comes of every action; the others which action to take.
        seq_len, tokens_per_run: Limits of a token sequence, as in training.
    """

    arch: str
    input_kind: Literal["features", "tokens"]
    input_width: Annotated[int, msgspec.Meta(ge=1)]
    input_spec_hash: Sha256  # of the feature names, or of the vocabulary
    opset: Annotated[int, msgspec.Meta(ge=1)]
    output_names: tuple[str, ...]
    decoding: Literal["heads", "joint", "autoregressive", "outcome"] = "heads"
    seq_len: Annotated[int, msgspec.Meta(ge=5, le=2_048)] = 512
    tokens_per_run: Annotated[int, msgspec.Meta(ge=0, le=2_048)] = 64
    checkpoint_sha256: Sha256


class BundleManifest(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="schema_version",
    tag="cyntra.bundle_manifest.v1",
):
    """Index of a bundle. ``bundle_id`` hashes everything here but itself."""

    format_version: Literal[1]
    bundle_id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
    data_until: Timestamp  # newest decision in the data; so the same work gives the same bundle
    dataset_hash: Sha256
    files: tuple[BundleFile, ...]
    model: ModelCard
    vocab_hash: Sha256
    action_space_hash: Sha256
    calibration_hash: Sha256
    n_golden: Annotated[int, msgspec.Meta(ge=0)]
    versions: dict[str, str]
    kernel_config: dict[str, Any]  # the baseline's configuration when this was trained
