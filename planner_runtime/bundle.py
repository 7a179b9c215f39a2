"""PlannerModelBundle: a directory checked against its manifest before anything in it is used.

Belongs here: what the files of a bundle mean, and naming what is wrong with which file. Does not:
getting at their bytes (``bundles.files``), older manifests (``bundles.protocol``), whose they are
(``bundles.signature``), writing one (``planner_pipeline.release``), deciding (``planner``). Spec:
section 11; reference/reliability.md 1 (loader order).
"""

from pathlib import Path
from typing import Any, Final

import msgspec

from planner_runtime.actions import ActionSpace, action_space_of
from planner_runtime.bundles.files import (
    MANIFEST,
    MODEL,
    SIGNATURE,
    BundleError,
    Fault,
    read_files,
)
from planner_runtime.bundles.onnx_graph import ALLOWED_OPS, GraphError, graph_faults, read_graph
from planner_runtime.bundles.protocol import (
    PROTOCOL,
    canonical_fault,
    decode_member,
    manifest_id,
    parse_manifest,
)
from planner_runtime.bundles.signature import Trust, verify_signature
from planner_runtime.calibration import Calibration
from planner_runtime.contracts.bundle_manifest import BundleManifest
from planner_runtime.contracts.canonical import sha256_hex
from planner_runtime.contracts.planner_action import PlannerAction
from planner_runtime.contracts.planner_input import ActionSpaceDocument
from planner_runtime.contracts.reading import ContractError, read_document
from planner_runtime.decode import output_widths, temperature_names
from planner_runtime.features import feature_spec_hash
from planner_runtime.kernel_config import KernelConfig
from planner_runtime.outcomes.features import OUTCOME_FEATURES, outcome_spec_hash
from planner_runtime.outcomes.model import MODEL_OUTPUTS, OutcomeCalibration
from planner_runtime.outcomes.policy_file import OutcomePolicy
from planner_runtime.outcomes.track_record import TrackRecordState
from planner_runtime.tokenizer import vocab_hash

__all__ = [
    "ACTION_SPACE",
    "CALIBRATION",
    "GOLDEN",
    "MANIFEST",
    "MEMBERS",
    "MODEL",
    "OUTCOME_MEMBERS",
    "POLICY",
    "PROTOCOL",
    "SIGNATURE",
    "TRACK_RECORD",
    "VOCAB",
    "Bundle",
    "BundleError",
    "Fault",
    "GoldenCase",
    "OutcomeParts",
    "Trust",
    "action_space_file",
    "manifest_id",
    "members_of",
    "read_bundle",
]

VOCAB: Final = "vocab.json"
ACTION_SPACE: Final = "action_space.json"
CALIBRATION: Final = "calibration.json"
GOLDEN: Final = "golden.jsonl"
POLICY: Final = "policy.json"
TRACK_RECORD: Final = "track_record.json"
MEMBERS: Final = (MODEL, VOCAB, ACTION_SPACE, CALIBRATION, GOLDEN)
OUTCOME_MEMBERS: Final = (*MEMBERS, POLICY, TRACK_RECORD)
ACTION_SPACE_VERSION: Final = "cyntra.action_space.v1"
NO_TRUST: Final = Trust()


class GoldenCase(msgspec.Struct, frozen=True):
    """A question and the answer the pipeline got from this bundle."""

    planner_input: dict[str, Any]
    action: PlannerAction


class OutcomeParts(msgspec.Struct, frozen=True, kw_only=True):
    """What an outcome bundle has instead of temperatures.

    Attributes:
        track_record: What runs up to the end of the training data told.
    """

    calibration: OutcomeCalibration
    policy: OutcomePolicy
    track_record: TrackRecordState


class Bundle(msgspec.Struct, frozen=True):
    """A verified bundle in memory.

    Attributes:
        calibration: None of an outcome bundle, which has its own in ``outcome``.
        outcome: None of a bundle that imitates.
        protocol: The one it was written in.
        identity: Device and inode of the directory it was read from.
        is_signed: Whether its signature was checked.
    """

    path: str
    manifest: BundleManifest
    action_space: ActionSpace
    calibration: Calibration | None
    kernel_config: KernelConfig
    model: bytes
    golden: tuple[GoldenCase, ...]
    outcome: OutcomeParts | None = None
    protocol: int = PROTOCOL
    identity: tuple[int, int] = (0, 0)
    is_signed: bool = False


def members_of(decoding: str) -> tuple[str, ...]:
    """Names of the files that a bundle of such a model has beside its manifest."""
    return OUTCOME_MEMBERS if decoding == "outcome" else MEMBERS


def action_space_file(space: ActionSpace) -> dict[str, Any]:
    """The document of ``action_space.json``. Source: formats 7.4."""
    return {"schema_version": ACTION_SPACE_VERSION, **space.to_document()}


def _checked_members(files: dict[str, bytes], manifest: BundleManifest) -> dict[str, bytes]:
    """Every listed file's bytes, when all are as the manifest says and no other is there."""
    listed = sorted(file.path for file in manifest.files)
    if listed != sorted(members_of(manifest.model.decoding)):
        raise BundleError([Fault(MANIFEST, "file_set", f"it lists {listed}")])
    faults: list[Fault] = []
    for file in manifest.files:
        data = files.get(file.path)
        if data is None:
            faults.append(Fault(file.path, "missing", "no such file"))
        elif len(data) != file.size:
            detail = f"{len(data)} bytes, the manifest says {file.size}"
            faults.append(Fault(file.path, "size_mismatch", detail))
        elif sha256_hex(data) != file.sha256:
            detail = "its content is not what was shipped"
            faults.append(Fault(file.path, "sha256_mismatch", detail))
    for name in sorted(set(files) - {MANIFEST, SIGNATURE, *listed}):
        faults.append(Fault(name, "unexpected", "the manifest does not list it"))
    if faults:
        raise BundleError(faults)
    return {name: files[name] for name in listed}


def _parse(name: str, data: bytes, contract: type[msgspec.Struct]) -> Any:
    document = decode_member(name, data, contract)
    try:
        return read_document(document, contract)
    except ContractError as error:
        raise BundleError([Fault(name, "malformed", f"{error.path}: {error.why}")]) from error


def _parse_action_space(data: bytes) -> ActionSpace:
    raw = decode_member(ACTION_SPACE, data, ActionSpaceDocument)
    try:
        if not isinstance(raw, dict):
            raise ValueError("expected an object")
        if raw.pop("schema_version", None) != ACTION_SPACE_VERSION:
            raise ValueError(f"schema_version is not {ACTION_SPACE_VERSION}")
        space = msgspec.convert(raw, ActionSpaceDocument)
    except ValueError as error:
        raise BundleError([Fault(ACTION_SPACE, "malformed", str(error))]) from error
    return action_space_of(space)


def _parse_golden(data: bytes) -> tuple[GoldenCase, ...]:
    cases = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            raw = msgspec.json.decode(line)
            cases.append(msgspec.convert(raw, GoldenCase))
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise BundleError([Fault(GOLDEN, "malformed", f"line {number}: {error}")]) from error
        if (fault := canonical_fault(GOLDEN, line, raw)) is not None:
            raise BundleError([fault])
    return tuple(cases)


def _graph_faults(manifest: BundleManifest, model: bytes) -> list[Fault]:
    """Operators of the model that are not allowed, or are not the recorded ones."""
    try:
        graph = read_graph(model)
    except GraphError as error:
        return [Fault(MODEL, "model_unreadable", str(error))]
    faults = [Fault(MODEL, fault.reason, fault.detail) for fault in graph_faults(graph)]
    recorded = manifest.model.op_types
    others = [op for op in recorded if op not in ALLOWED_OPS]
    if others:
        faults.append(Fault(MANIFEST, "op_not_allowed", ", ".join(others)[:200]))
    elif not faults and recorded and recorded != graph.op_types:
        faults.append(Fault(MODEL, "ops_mismatch", "its operators are not the recorded ones"))
    return faults


def _model_faults(manifest: BundleManifest, space: ActionSpace) -> list[Fault]:
    """What the manifest says of the model and this runtime does not do."""
    card, faults = manifest.model, []
    outputs: tuple[str, ...] = MODEL_OUTPUTS
    if card.decoding == "outcome":
        ours = outcome_spec_hash()
        if card.input_kind != "features" or card.input_width != len(OUTCOME_FEATURES):
            detail = f"{card.input_width} {card.input_kind} of an outcome model"
            faults.append(Fault(MANIFEST, "malformed", detail))
    else:
        ours = feature_spec_hash() if card.input_kind == "features" else vocab_hash()
        outputs = tuple(output_widths(space, card.decoding))
    if card.input_spec_hash != ours:
        detail = "this runtime builds another input than the model was trained on"
        faults.append(Fault(MODEL, "input_spec_mismatch", detail))
    if card.output_names != outputs:
        detail = f"outputs {card.output_names} of a {card.decoding} model"
        faults.append(Fault(MANIFEST, "malformed", detail))
    return faults


def _parse_outcome(members: dict[str, bytes]) -> OutcomeParts:
    parts = OutcomeParts(
        calibration=_parse(CALIBRATION, members[CALIBRATION], OutcomeCalibration),
        policy=_parse(POLICY, members[POLICY], OutcomePolicy),
        track_record=_parse(TRACK_RECORD, members[TRACK_RECORD], TrackRecordState),
    )
    if (why := parts.policy.fault()) is not None:
        raise BundleError([Fault(POLICY, "malformed", why)])
    return parts


def read_bundle(folder: Path, *, trust: Trust = NO_TRUST) -> Bundle:
    """The bundle in ``folder``, with every file checked against its manifest.

    Raises:
        BundleError: what is wrong, file by file.
    """
    files = read_files(folder)
    is_signed = verify_signature(files.data, trust)
    manifest, protocol = parse_manifest(files.data[MANIFEST])
    members = _checked_members(files.data, manifest)
    space = _parse_action_space(members[ACTION_SPACE])
    calibration: Calibration | None = None
    outcome: OutcomeParts | None = None
    decoding = manifest.model.decoding
    faults = []
    if decoding == "outcome":
        outcome = _parse_outcome(members)
    else:
        calibration = _parse(CALIBRATION, members[CALIBRATION], Calibration)
        if sorted(calibration.temperatures) != sorted(temperature_names(decoding)):
            detail = f"it has temperatures for {sorted(calibration.temperatures)}"
            faults.append(Fault(CALIBRATION, "malformed", detail))
    golden = _parse_golden(members[GOLDEN])
    for name, said, is_so in (
        (VOCAB, manifest.vocab_hash, sha256_hex(members[VOCAB])),
        (ACTION_SPACE, manifest.action_space_hash, sha256_hex(members[ACTION_SPACE])),
        (CALIBRATION, manifest.calibration_hash, sha256_hex(members[CALIBRATION])),
    ):
        if said != is_so:
            faults.append(Fault(name, "hash_mismatch", "the manifest names another one"))
    faults += _model_faults(manifest, space)
    faults += _graph_faults(manifest, members[MODEL])
    try:
        kernel_config = msgspec.convert(manifest.kernel_config, KernelConfig)
    except msgspec.ValidationError as error:
        raise BundleError([Fault(MANIFEST, "malformed", f"kernel_config: {error}")]) from error
    if not golden or len(golden) != manifest.n_golden:
        detail = f"{len(golden)} cases, the manifest says {manifest.n_golden}"
        faults.append(Fault(GOLDEN, "count_mismatch", detail))
    if faults:
        raise BundleError(faults)
    return Bundle(
        files.path,
        manifest,
        space,
        calibration,
        kernel_config,
        members[MODEL],
        golden,
        outcome,
        protocol=protocol,
        identity=files.identity,
        is_signed=is_signed,
    )
