"""``bundle_manifest.v2``: what is in a PlannerModelBundle, with the hash of every file.

Belongs here: the shape, and that of version 1, which bundles that were shipped with it keep. Does
not: from one to the other (``bundles.protocol``), checking a directory against it (``bundle``).
Spec: section 11.
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
        op_types: Every operator of the file, sorted; those of another domain as ``domain:Op``.
            Empty where the bundle is of a protocol that did not record them.
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
    op_types: tuple[str, ...] = ()
    checkpoint_sha256: Sha256


class BundleManifest(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="schema_version",
    tag="cyntra.bundle_manifest.v2",
):
    """Index of a bundle. ``bundle_id`` hashes everything here but itself.

    Attributes:
        format_version: The protocol a reader has to speak.
    """

    format_version: Literal[2]
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


class ModelCardV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the ONNX file computes, before its operators were recorded."""

    arch: str
    input_kind: Literal["features", "tokens"]
    input_width: Annotated[int, msgspec.Meta(ge=1)]
    input_spec_hash: Sha256
    opset: Annotated[int, msgspec.Meta(ge=1)]
    output_names: tuple[str, ...]
    decoding: Literal["heads", "joint", "autoregressive", "outcome"] = "heads"
    seq_len: Annotated[int, msgspec.Meta(ge=5, le=2_048)] = 512
    tokens_per_run: Annotated[int, msgspec.Meta(ge=0, le=2_048)] = 64
    checkpoint_sha256: Sha256


class BundleManifestV1(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="schema_version",
    tag="cyntra.bundle_manifest.v1",
):
    """Index of a bundle of protocol 1."""

    format_version: Literal[1]
    bundle_id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
    data_until: Timestamp
    dataset_hash: Sha256
    files: tuple[BundleFile, ...]
    model: ModelCardV1
    vocab_hash: Sha256
    action_space_hash: Sha256
    calibration_hash: Sha256
    n_golden: Annotated[int, msgspec.Meta(ge=0)]
    versions: dict[str, str]
    kernel_config: dict[str, Any]
