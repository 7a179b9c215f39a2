"""Bundles that imitate, for tests: a real session that reads features, fakes that read either.

Belongs here: what several test modules need of them. Does not: fixtures (``conftest``), bundles of
outcomes (``outcome_bundles``), files on disk.
"""

from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from planner_runtime.actions import HEADS, ActionSpace
from planner_runtime.bundle import Bundle
from planner_runtime.calibration import Calibration
from planner_runtime.decode import output_widths
from planner_runtime.features import N_FEATURES, feature_spec_hash
from planner_runtime.session import OnnxModel
from planner_runtime.tokenizer import VOCABULARY, vocab_hash
from tests.outcome_bundles import an_outcome_bundle

SPACE = ActionSpace()


def an_imitation_bundle(
    *, threshold: float = 0.0, reads_tokens: bool = False, space: ActionSpace = SPACE,
    calibration: Calibration | None = None,
) -> Bundle:  # fmt: skip
    draft = an_outcome_bundle(space=space)
    card = msgspec.structs.replace(
        draft.manifest.model, arch="fixed", decoding="heads",
        input_kind="tokens" if reads_tokens else "features",
        input_width=len(VOCABULARY) if reads_tokens else N_FEATURES,
        input_spec_hash=vocab_hash() if reads_tokens else feature_spec_hash(),
        output_names=tuple(output_widths(space, "heads")),
    )  # fmt: skip
    calibration = calibration or Calibration(
        temperatures=dict.fromkeys(HEADS, 1.0), confidence_threshold=threshold, n_validation=0
    )
    manifest = msgspec.structs.replace(draft.manifest, model=card)
    return msgspec.structs.replace(draft, manifest=manifest, calibration=calibration, outcome=None)


def feature_graph(space: ActionSpace = SPACE, *, seed: int = 0) -> bytes:
    """One layer with weights of chance."""
    widths = output_widths(space, "heads")
    drawn = np.random.default_rng(seed).normal(size=(N_FEATURES, sum(widths.values())))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "weights"], ["scores"]),
            helper.make_node("Split", ["scores", "widths"], list(widths), axis=1),
        ],
        "imitation",
        [value("features", TensorProto.FLOAT, ["batch", N_FEATURES])],
        [value(name, TensorProto.FLOAT, ["batch", n]) for name, n in widths.items()],
        [
            numpy_helper.from_array(drawn.astype(np.float32), "weights"),
            numpy_helper.from_array(np.array([*widths.values()]), "widths"),
        ],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def a_session(space: ActionSpace = SPACE) -> OnnxModel:
    """Over ``feature_graph``."""
    return OnnxModel(
        feature_graph(space), input_kind="features", input_width=N_FEATURES,
        output_widths=output_widths(space, "heads"),
    )  # fmt: skip


class TokenCounts:
    """A model of tokens: how often a few of them are there makes its scores."""

    def logits(self, row: np.ndarray) -> list[np.ndarray]:
        """Scores by counts."""
        counts = np.bincount(row % 17, minlength=17).astype(np.float32)
        return [counts[: len(choices)] for choices in SPACE.choices]


def fixed_logits(value: float = 0.0) -> list[list[Any]]:
    """Equal scores for everything."""
    return [[value] * len(choices) for choices in SPACE.choices]
