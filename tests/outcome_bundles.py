"""Outcome bundles for tests: questions, models that say what they are told to, files on disk.

Belongs here: what several test modules need of them. Does not: fixtures (``conftest``).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from planner_runtime.actions import ActionSpace
from planner_runtime.bundle import (
    ACTION_SPACE,
    CALIBRATION,
    GOLDEN,
    MANIFEST,
    MODEL,
    OUTCOME_MEMBERS,
    POLICY,
    TRACK_RECORD,
    VOCAB,
    Bundle,
    GoldenCase,
    OutcomeParts,
    action_space_file,
    manifest_id,
)
from planner_runtime.bundles.onnx_graph import read_graph
from planner_runtime.contracts import (
    BundleFile,
    BundleManifest,
    ModelCard,
    canonical_json,
    sha256_hex,
    to_document,
)
from planner_runtime.inputs import build_planner_input, issue_document
from planner_runtime.kernel_config import SHIPPED_CONFIG
from planner_runtime.outcomes.features import CHOICES, OUTCOME_FEATURES, outcome_spec_hash
from planner_runtime.outcomes.model import (
    MODEL_OUTPUTS,
    FixedOutcomes,
    OutcomeCalibration,
    OutcomeModel,
    RawOutcomes,
)
from planner_runtime.outcomes.policy_file import OutcomePolicy
from planner_runtime.outcomes.track_record import Priors, TrackRecordState
from planner_runtime.planner import Planner, golden_planner, load_bundle, open_model
from planner_runtime.tokenizer import vocab_document, vocab_hash

SPACE = ActionSpace()
NOW_MS = 1_767_603_600_000


def a_question(
    *, system_state: Mapping[str, Any] | None = None, similar_runs: tuple[Any, ...] = (),
    space: ActionSpace = SPACE, **issue: object,
) -> dict[str, Any]:  # fmt: skip
    raw = {"id": "7", "title": "Fix the parser", "tags": ["ui"], "dk_risk": "low", **issue}
    return build_planner_input(
        created_at_ms=NOW_MS, universe_id="unknown", job_type="code", universe_defaults={},
        issue=issue_document(raw), similar_runs=similar_runs, space=space,
        system_state=system_state,
    )  # fmt: skip


def flat(
    p_pass: Callable[[np.ndarray], np.ndarray] = lambda minutes: 0 * minutes + 0.6,
    *, spread: float = 0.0, novelty: float = 0.0, cost: float = float("nan"),
) -> FixedOutcomes:  # fmt: skip
    """A chance to pass by the minutes of an action; all of the minutes of all candidates are spent.

    Args:
        spread: The two rows are so far above and below at an hour, and less at fewer minutes.
    """

    def answer(features: np.ndarray, actions: np.ndarray) -> RawOutcomes:
        candidates, minutes = actions[:, 0], actions[:, 1]
        p = np.clip(p_pass(minutes), 0.0, 1.0)
        apart = spread * minutes / 60
        rows = np.clip(np.stack([p - apart, p + apart]), 0.0, 1.0)
        spent = np.stack([candidates * minutes] * 2)
        return RawOutcomes(
            p_pass=rows, p_timeout=0 * rows, minutes=spent, wall_minutes=np.stack([minutes] * 2),
            cost_usd=spent * cost, novelty=novelty,
        )  # fmt: skip

    return FixedOutcomes(answer)


def calibration_of(**fields: Any) -> OutcomeCalibration:
    told: dict[str, Any] = {"confidence_threshold": 0.5, "n_calibration": 100, **fields}
    return OutcomeCalibration(**told)


def an_outcome_bundle(
    *, calibration: OutcomeCalibration | None = None, policy: OutcomePolicy | None = None,
    track_record: TrackRecordState | None = None, space: ActionSpace = SPACE, model: bytes = b"",
) -> Bundle:  # fmt: skip
    sha = "0" * 64
    parts = OutcomeParts(
        calibration=calibration or calibration_of(), policy=policy or OutcomePolicy(),
        track_record=track_record or TrackRecordState(priors=Priors()),
    )  # fmt: skip
    manifest = BundleManifest(
        format_version=2, bundle_id="0123456789abcdef", data_until="2026-01-01T00:00:00Z",
        dataset_hash=sha, files=(), vocab_hash=sha, action_space_hash=sha, calibration_hash=sha,
        n_golden=0, versions={"cyntra-planner": "test"},
        kernel_config=msgspec.to_builtins(SHIPPED_CONFIG),
        model=ModelCard(
            arch="outcome", input_kind="features", input_width=len(OUTCOME_FEATURES),
            input_spec_hash=outcome_spec_hash(), opset=20, output_names=MODEL_OUTPUTS,
            decoding="outcome", checkpoint_sha256=sha,
            op_types=read_graph(model).op_types if model else (),
        ),
    )  # fmt: skip
    return Bundle("", manifest, space, None, SHIPPED_CONFIG, model, (), parts)


def an_outcome_planner(
    model: OutcomeModel | None = None, *, planner: Mapping[str, Any] | None = None, **bundle: Any
) -> Planner:
    options = {"deadline_ms": None, **(planner or {})}  # a busy machine must not fail a test
    return Planner(an_outcome_bundle(**bundle), model or flat(), **options)


def tiny_onnx(
    *, n_features: int = len(OUTCOME_FEATURES), n_choices: int = len(CHOICES),
    outputs: tuple[str, ...] = MODEL_OUTPUTS, rows: int = 3, nan: bool = False,
) -> bytes:  # fmt: skip
    """Three rows: the first feature and the minutes make the chance; the largest feature is news."""
    offsets = np.linspace(-0.1, 0.1, rows, dtype=np.float32).reshape(rows, 1)

    def constant(name: str, value: Any) -> Any:
        return numpy_helper.from_array(np.asarray(value, dtype=np.float32), name)

    node = helper.make_node
    nodes = [
        node("Gather", ["features", "first"], ["logit"], axis=1),  # (1, 1)
        node("Split", ["actions", "parts"], ["candidates", "limit", "rest"], axis=1),  # (A, 1) each
        node("Transpose", ["candidates"], ["k"], perm=[1, 0]),  # (1, A)
        node("Transpose", ["limit"], ["t"], perm=[1, 0]),
        node("Mul", ["t", "hundredth"], ["gain"]),
        node("Add", ["logit", "gain"], ["z"]),
        node("Add", ["z", "offsets"], ["zs"]),  # (R, A)
        node("Sigmoid", ["zs"], ["p_pass"]),
        node("Mul", ["zs", "nil"], ["p_timeout"]),
        node("Mul", ["k", "t"], ["spent"]),
        node("Add", ["spent", "p_timeout"], ["minutes"]),
        node("Add", ["t", "p_timeout"], ["wall_minutes"]),
        node("Mul", ["minutes", "price"], ["cost_usd"]),
        node("Abs", ["features"], ["size"]),
        node("ReduceMax", ["size", "axis"], ["novelty"], keepdims=0),
    ]
    shapes: dict[str, list[Any]] = {name: [rows, "A"] for name in MODEL_OUTPUTS}
    shapes["novelty"] = [1]
    graph = helper.make_graph(
        nodes, "outcomes",
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, n_features]),
            helper.make_tensor_value_info("actions", TensorProto.FLOAT, ["A", 2 + n_choices]),
        ],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shapes[n]) for n in outputs],
        [
            numpy_helper.from_array(np.array([0]), "first"),
            numpy_helper.from_array(np.array([1]), "axis"),
            numpy_helper.from_array(np.array([1, 1, n_choices]), "parts"),
            constant("hundredth", 0.01), constant("offsets", offsets),
            constant("nil", float("nan") if nan else 0.0), constant("price", 0.02),
        ],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def write_outcome_bundle(
    folder: Path, *, model: bytes | None = None, members: Mapping[str, bytes] | None = None,
    check: bool = True, questions: tuple[dict[str, Any], ...] = (), **bundle: Any,
) -> BundleManifest:  # fmt: skip
    """A whole outcome bundle on disk, as whoever writes one has to.

    Args:
        members: In the place of what would be written.
        check: Whether to open it.
    """
    draft = an_outcome_bundle(model=tiny_onnx() if model is None else model, **bundle)
    assert draft.outcome is not None
    planner = golden_planner(draft, open_model(draft))
    cases = [
        GoldenCase(q, msgspec.structs.replace(planner.plan(q, now_ms=0), model=None))
        for q in questions or (a_question(), a_question(dk_risk="high"))
    ]
    files = {
        MODEL: draft.model,
        VOCAB: canonical_json(vocab_document()),
        ACTION_SPACE: canonical_json(action_space_file(draft.action_space)),
        CALIBRATION: canonical_json(to_document(draft.outcome.calibration)),
        GOLDEN: b"".join(canonical_json(to_document(case)) + b"\n" for case in cases),
        POLICY: canonical_json(to_document(draft.outcome.policy)),
        TRACK_RECORD: canonical_json(to_document(draft.outcome.track_record)),
        **(members or {}),
    }
    assert sorted(files) == sorted(OUTCOME_MEMBERS)
    assert vocab_hash() == sha256_hex(files[VOCAB])
    manifest = msgspec.structs.replace(
        draft.manifest,
        files=tuple(
            BundleFile(path=name, size=len(data), sha256=sha256_hex(data))
            for name, data in sorted(files.items())
        ),
        vocab_hash=sha256_hex(files[VOCAB]),
        action_space_hash=sha256_hex(files[ACTION_SPACE]),
        calibration_hash=sha256_hex(files[CALIBRATION]),
        n_golden=files[GOLDEN].count(b"\n"),
    )
    manifest = msgspec.structs.replace(manifest, bundle_id=manifest_id(manifest))
    folder.mkdir(parents=True)
    for name, data in {**files, MANIFEST: canonical_json(to_document(manifest))}.items():
        (folder / name).write_bytes(data)
    if check:
        load_bundle(folder)
    return manifest
