"""A tiny imitation bundle on disk, for tests: constant logits plus a little of the features.

Belongs here: what several test modules need of it. Does not: outcome bundles (``outcome_bundles``).
"""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from planner_runtime.actions import HEADS, ActionSpace
from planner_runtime.bundle import (
    ACTION_SPACE,
    CALIBRATION,
    GOLDEN,
    MANIFEST,
    MODEL,
    VOCAB,
    Bundle,
    GoldenCase,
    action_space_file,
    manifest_id,
)
from planner_runtime.bundles.onnx_graph import read_graph
from planner_runtime.calibration import Calibration
from planner_runtime.contracts import (
    BundleFile,
    BundleManifest,
    ModelCard,
    canonical_json,
    sha256_hex,
    to_document,
)
from planner_runtime.decode import output_widths
from planner_runtime.features import N_FEATURES, feature_spec_hash
from planner_runtime.kernel_config import SHIPPED_CONFIG
from planner_runtime.planner import golden_planner, load_bundle, open_model
from planner_runtime.tokenizer import vocab_document
from tests.outcome_bundles import a_question

SPACE = ActionSpace()
# of speculate_vote with 2 candidates and 45 minutes it is sure
SURE = ([0.0, 4.0], [0.0, 4.0, 0.0, 0.0], [0.0, 1.0, 4.0, 0.0, 0.0, 0.0], [0.0] * 5)


def tiny_onnx(logits: tuple[list[float], ...], names: tuple[str, ...]) -> bytes:
    weights = [
        numpy_helper.from_array(np.zeros((N_FEATURES, len(row)), dtype=np.float32), f"w{i}")
        for i, row in enumerate(logits)
    ]
    biases = [
        numpy_helper.from_array(np.array(row, dtype=np.float32), f"b{i}")
        for i, row in enumerate(logits)
    ]
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["features", f"w{i}", f"b{i}"], [name])
            for i, name in enumerate(names)
        ],
        "heads",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", N_FEATURES])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", len(row)])
            for name, row in zip(names, logits, strict=True)
        ],
        [*weights, *biases],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def write_imitation_bundle(
    folder: Path, *, logits: tuple[list[float], ...] = SURE, threshold: float = 0.2
) -> BundleManifest:
    """A whole bundle that imitates, on disk, opened once to see that it may serve."""
    calibration = Calibration(
        temperatures=dict.fromkeys(HEADS, 1.0), confidence_threshold=threshold, n_validation=0
    )
    names = tuple(output_widths(SPACE, "heads"))
    files: dict[str, bytes] = {
        MODEL: tiny_onnx(logits, names),
        VOCAB: canonical_json(vocab_document()),
        ACTION_SPACE: canonical_json(action_space_file(SPACE)),
        CALIBRATION: canonical_json(to_document(calibration)),
    }
    sha = "0" * 64
    card = ModelCard(
        arch="fixed", input_kind="features", input_width=N_FEATURES,
        input_spec_hash=feature_spec_hash(), opset=20, output_names=names, decoding="heads",
        checkpoint_sha256=sha, op_types=read_graph(files[MODEL]).op_types,
    )  # fmt: skip
    manifest = BundleManifest(
        format_version=2, bundle_id="0" * 16, data_until="2026-01-01T00:00:00Z", dataset_hash=sha,
        files=(), vocab_hash=sha256_hex(files[VOCAB]),
        action_space_hash=sha256_hex(files[ACTION_SPACE]),
        calibration_hash=sha256_hex(files[CALIBRATION]), n_golden=0,
        versions={"cyntra-planner": "test"}, kernel_config=msgspec.to_builtins(SHIPPED_CONFIG),
        model=card,
    )  # fmt: skip
    draft = Bundle("", manifest, SPACE, calibration, SHIPPED_CONFIG, files[MODEL], ())
    planner = golden_planner(draft, open_model(draft))
    cases: list[dict[str, Any]] = []
    for question in (a_question(), a_question(dk_risk="high")):
        action = msgspec.structs.replace(planner.plan(question, now_ms=0), model=None)
        cases.append(to_document(GoldenCase(question, action)))
    files[GOLDEN] = b"".join(canonical_json(case) + b"\n" for case in cases)
    listed = tuple(
        BundleFile(path=name, size=len(data), sha256=sha256_hex(data))
        for name, data in sorted(files.items())
    )
    manifest = msgspec.structs.replace(manifest, files=listed, n_golden=len(cases))
    manifest = msgspec.structs.replace(manifest, bundle_id=manifest_id(manifest))
    folder.mkdir(parents=True)
    for name, data in {**files, MANIFEST: canonical_json(to_document(manifest))}.items():
        (folder / name).write_bytes(data)
    load_bundle(folder)
    return manifest
