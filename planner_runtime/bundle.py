"""PlannerModelBundle: a directory checked against its manifest before anything in it is used.

Belongs here: reading, verifying, and naming what is wrong with which file.
Does not: writing one (``planner_pipeline.release``), deciding (``planner``).
Spec: section 11; reference/reliability.md 1 (loader order).
"""

import os
import stat
from pathlib import Path
from typing import Any, Final

import msgspec

from planner_runtime.actions import ActionSpace, action_space_of
from planner_runtime.calibration import Calibration
from planner_runtime.contracts.bundle_manifest import BundleManifest
from planner_runtime.contracts.canonical import canonical_json, document_hash, sha256_hex
from planner_runtime.contracts.planner_action import PlannerAction
from planner_runtime.contracts.planner_input import ActionSpaceDocument
from planner_runtime.contracts.reading import ContractError, read_document, to_document
from planner_runtime.decode import output_widths, temperature_names
from planner_runtime.features import feature_spec_hash
from planner_runtime.kernel_config import KernelConfig
from planner_runtime.outcome_features import OUTCOME_FEATURES, outcome_spec_hash
from planner_runtime.outcome_model import MODEL_OUTPUTS, OutcomeCalibration
from planner_runtime.outcome_policy import OutcomePolicy
from planner_runtime.tokenizer import vocab_hash
from planner_runtime.track_record import TrackRecordState

MANIFEST: Final = "manifest.json"
MODEL: Final = "planner.onnx"
VOCAB: Final = "vocab.json"
ACTION_SPACE: Final = "action_space.json"
CALIBRATION: Final = "calibration.json"
GOLDEN: Final = "golden.jsonl"
POLICY: Final = "policy.json"
TRACK_RECORD: Final = "track_record.json"
MEMBERS: Final = (MODEL, VOCAB, ACTION_SPACE, CALIBRATION, GOLDEN)
OUTCOME_MEMBERS: Final = (*MEMBERS, POLICY, TRACK_RECORD)
ACTION_SPACE_VERSION: Final = "cyntra.action_space.v1"
MAX_FILE_BYTES: Final = 64 * 1024 * 1024


class Fault(msgspec.Struct, frozen=True):
    """One thing wrong with a bundle: which file, a reason code, and the detail."""

    file: str
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}: {self.detail}"


class BundleError(Exception):
    """A bundle must not be used.

    Attributes:
        faults: Everything found wrong, at least one.
    """

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults = faults


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
    """

    path: str
    manifest: BundleManifest
    action_space: ActionSpace
    calibration: Calibration | None
    kernel_config: KernelConfig
    model: bytes
    golden: tuple[GoldenCase, ...]
    outcome: OutcomeParts | None = None


def members_of(decoding: str) -> tuple[str, ...]:
    """Names of the files that a bundle of such a model has beside its manifest."""
    return OUTCOME_MEMBERS if decoding == "outcome" else MEMBERS


def manifest_id(manifest: BundleManifest) -> str:
    """The id a manifest must carry: the first 16 hex digits of the hash of all the rest."""
    rest = {k: v for k, v in to_document(manifest).items() if k != "bundle_id"}
    return document_hash(rest)[:16]


def action_space_file(space: ActionSpace) -> dict[str, Any]:
    """The document of ``action_space.json``. Source: formats 7.4."""
    return {"schema_version": ACTION_SPACE_VERSION, **space.to_document()}


def _read_member(folder: Path, name: str) -> bytes | Fault:
    """Bytes of one regular, singly linked file, read once."""
    path = folder / name
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if path.is_symlink():
            return Fault(name, "not_regular", "is a symbolic link")
        reason = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        return Fault(name, reason, error.strerror or str(error))
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            return Fault(name, "not_regular", "is not a regular file")
        if info.st_nlink != 1:
            return Fault(name, "hard_linked", f"has {info.st_nlink} links")
        if info.st_size > MAX_FILE_BYTES:
            return Fault(name, "too_large", f"{info.st_size} bytes, at most {MAX_FILE_BYTES}")
        with os.fdopen(os.dup(fd), "rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        return Fault(name, "unreadable", error.strerror or str(error))
    finally:
        os.close(fd)


def _printable(name: str) -> str:
    """A file name that any terminal can show."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _read_manifest(folder: Path) -> BundleManifest:
    data = _read_member(folder, MANIFEST)
    if isinstance(data, Fault):
        raise BundleError([data])
    try:
        manifest = read_document(data, BundleManifest)
    except ContractError as error:
        raise BundleError([Fault(MANIFEST, "malformed", f"{error.path}: {error.why}")]) from error
    if manifest_id(manifest) != manifest.bundle_id:
        detail = f"its content hashes to {manifest_id(manifest)}, it says {manifest.bundle_id}"
        raise BundleError([Fault(MANIFEST, "altered", detail)])
    if data != canonical_json(to_document(manifest)):
        raise BundleError([Fault(MANIFEST, "altered", "it is not in canonical form")])
    listed = sorted(file.path for file in manifest.files)
    if listed != sorted(members_of(manifest.model.decoding)):
        raise BundleError([Fault(MANIFEST, "file_set", f"it lists {listed}")])
    return manifest


def _read_members(folder: Path, manifest: BundleManifest) -> dict[str, bytes]:
    """Every listed file's bytes, when all of them are as the manifest says."""
    faults: list[Fault] = []
    members: dict[str, bytes] = {}
    for file in manifest.files:
        data = _read_member(folder, file.path)
        if isinstance(data, Fault):
            faults.append(data)
        elif len(data) != file.size:
            detail = f"{len(data)} bytes, the manifest says {file.size}"
            faults.append(Fault(file.path, "size_mismatch", detail))
        elif sha256_hex(data) != file.sha256:
            faults.append(
                Fault(file.path, "sha256_mismatch", "its content is not what was shipped")
            )
        else:
            members[file.path] = data
    known = {MANIFEST, *(file.path for file in manifest.files)}
    for name in sorted(_printable(name) for name in set(os.listdir(folder)) - known):
        faults.append(Fault(name, "unexpected", "the manifest does not list it"))
    if faults:
        raise BundleError(faults)
    return members


def _parse(name: str, data: bytes, contract: type[msgspec.Struct]) -> Any:
    try:
        return read_document(data, contract)
    except ContractError as error:
        raise BundleError([Fault(name, "malformed", f"{error.path}: {error.why}")]) from error


def _parse_action_space(data: bytes) -> ActionSpace:
    try:
        raw = msgspec.json.decode(data, type=dict[str, Any])
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
            cases.append(msgspec.json.decode(line, type=GoldenCase))
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise BundleError([Fault(GOLDEN, "malformed", f"line {number}: {error}")]) from error
    return tuple(cases)


def read_bundle(folder: Path) -> Bundle:
    """The bundle in ``folder``, with every file checked against its manifest.

    Raises:
        BundleError: what is wrong, file by file.
    """
    try:
        if not folder.is_dir():
            raise BundleError([Fault(str(folder), "missing", "no such directory")])
        return _read_verified(folder.resolve())
    except OSError as error:
        raise BundleError([Fault(str(folder), "unreadable", str(error))]) from error


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


def _read_verified(folder: Path) -> Bundle:
    manifest = _read_manifest(folder)
    members = _read_members(folder, manifest)
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
    try:
        kernel_config = msgspec.convert(manifest.kernel_config, KernelConfig)
    except msgspec.ValidationError as error:
        raise BundleError([Fault(MANIFEST, "malformed", f"kernel_config: {error}")]) from error
    if not golden or len(golden) != manifest.n_golden:
        detail = f"{len(golden)} cases, the manifest says {manifest.n_golden}"
        faults.append(Fault(GOLDEN, "count_mismatch", detail))
    if faults:
        raise BundleError(faults)
    model = members[MODEL]
    return Bundle(str(folder), manifest, space, calibration, kernel_config, model, golden, outcome)
