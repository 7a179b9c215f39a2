"""What is shipped answers as what was trained, for every architecture and kind of output."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch

from planner_pipeline.dataset.arrays import Arrays, build_arrays
from planner_pipeline.models.build import build_model
from planner_pipeline.release.onnx_check import shipped_op_types
from planner_pipeline.release.onnx_export import (
    compare_with_model,
    export_onnx,
    quantize,
    serve,
)
from planner_pipeline.training.config import config_of
from planner_pipeline.training.predict import spec_of
from planner_pipeline.training.trees import grow_trees
from planner_runtime.actions import ActionSpace, valid_actions
from planner_runtime.deadline import NEVER
from planner_runtime.decode import output_widths
from planner_runtime.features import N_FEATURES
from planner_runtime.session import TOKEN_INPUTS, ModelError, OnnxModel
from planner_runtime.tokenizer import EQUALS, TOKEN_IDS, VOCABULARY, fold

SPACE = ActionSpace()
SMALL = {"width": 16, "n_heads": 2, "n_layers": 1, "loops": 3, "grad_loops": 2}
CASES = [
    ("prior", "joint"), ("logreg", "heads"), ("mlp", "joint"), ("mlp", "autoregressive"),
    ("transformer", "heads"), ("recurrent", "autoregressive"),
]  # fmt: skip


def some_rows(n: int, seed: int = 0) -> Arrays:
    """Rows of three lengths and two job types."""
    luck = np.random.default_rng(seed)
    keys = [i for token, i in TOKEN_IDS.items() if token.startswith("[KEY:")]
    tokens = []
    for number in range(n):
        n_entries = (1, 9, 40)[number % 3]
        entries = [[keys[k], EQUALS, v] for k, v in zip(
            luck.integers(0, len(keys), n_entries), luck.integers(100, len(VOCABULARY), n_entries),
            strict=True)]  # fmt: skip
        tokens.append([TOKEN_IDS["[BOS]"], *np.ravel(entries).tolist(), TOKEN_IDS["[EOS]"]])
    jobs = [("code", "fab-world")[number % 2] for number in range(n)]
    labels = [valid_actions(SPACE, job)[int(luck.integers(0, 5))] for job in jobs]
    features = luck.normal(size=(n, N_FEATURES)).astype(np.float32)
    return build_arrays(features, labels, jobs, SPACE, tokens)


def a_model(arch: str, decoding: str) -> Any:
    torch.manual_seed(0)
    config = config_of({"arch": arch, "decoding": decoding, **SMALL})
    model = build_model(config.model_spec(SPACE))
    for weight in model.parameters():  # far from the start, where every score is much the same
        weight.data += 0.2 * torch.randn_like(weight)
    return model.eval()


@pytest.mark.parametrize(("arch", "decoding"), CASES)
def test_onnx_chooses_as_the_model_at_every_length_and_holds_no_path(
    arch: str, decoding: str
) -> None:
    model = a_model(arch, decoding)
    data = export_onnx(model, SPACE)
    parity = compare_with_model(model, data, some_rows(12))
    assert (parity.n_rows, parity.n_different_choices) == (12, 0)
    assert parity.worst_difference < 1e-4
    assert b"/work" not in data
    assert b".py" not in data
    proto = onnx.load_from_string(data)
    assert [output.name for output in proto.graph.output] == list(output_widths(SPACE, decoding))  # type: ignore[arg-type]
    assert {opset.domain: opset.version for opset in proto.opset_import}[""] == 20
    assert not [t for t in proto.graph.initializer if t.data_location]  # one self-contained file
    assert "Gather" in shipped_op_types(data) or arch in ("logreg", "mlp")
    small = quantize(data)
    assert {opset.domain for opset in onnx.load_from_string(small).opset_import} == {""}
    assert "DynamicQuantizeLinear" in shipped_op_types(small)


@pytest.mark.parametrize("arch", ["mlp", "transformer"])
def test_a_batch_of_seven_answers_as_seven_batches_of_one(arch: str) -> None:
    model = a_model(arch, "heads")
    session = serve(export_onnx(model, SPACE), model, SPACE)
    rows = some_rows(7)
    if arch == "mlp":
        feed = {"features": rows.features}
        alone = [session.logits(row) for row in rows.features]
    else:
        folded = [fold(rows.tokens.row(i).astype(np.int64)) for i in range(7)]
        width = max(len(values) for values, _ in folded)
        feed = {name: np.zeros((7, width), dtype=np.int64) for name in TOKEN_INPUTS}
        for i, (values, keys) in enumerate(folded):
            n = len(values)
            feed["input_ids"][i, :n], feed["key_ids"][i, :n] = values, keys
            feed["attention_mask"][i, :n] = 1
        alone = [session.logits(rows.tokens.row(i)) for i in range(7)]
    together = session._session.run(feed, NEVER)
    for head, output in enumerate(together):
        for i in range(7):
            assert output[i] == pytest.approx(alone[i][head], abs=1e-5)


def test_equal_models_give_equal_files() -> None:
    assert export_onnx(a_model("mlp", "heads"), SPACE) == export_onnx(
        a_model("mlp", "heads"), SPACE
    )


def test_trees_are_served_as_they_were_grown() -> None:
    rows = some_rows(120)
    config = config_of({"arch": "gbt", "trees": 30, "least_rows": 5})
    model = grow_trees(rows, some_rows(30, 1), config)
    data = export_onnx(model, SPACE)
    assert "ai.onnx.ml:TreeEnsembleRegressor" in shipped_op_types(data)
    assert export_onnx(model, SPACE) == data
    parity = compare_with_model(model, data, some_rows(40, 2))
    assert parity.n_different_choices == 0
    assert parity.worst_difference < 1e-4


def test_int8_is_smaller_and_near() -> None:
    model = build_model(config_of({"arch": "mlp", "width": 64}).model_spec(SPACE)).eval()
    data = export_onnx(model, SPACE)
    small = quantize(data)
    assert len(small) < 0.5 * len(data)
    assert compare_with_model(model, small, some_rows(20)).worst_difference < 0.05


def test_a_file_that_is_not_what_its_card_says_is_refused() -> None:
    model = a_model("mlp", "heads")
    data, spec = export_onnx(model, SPACE), spec_of(model)
    widths = output_widths(SPACE, "heads")
    with pytest.raises(ModelError, match="the manifest says"):
        OnnxModel(data, input_kind="features", input_width=13, output_widths=widths)
    with pytest.raises(ModelError, match="the manifest says"):
        OnnxModel(
            data, input_kind="features", input_width=spec.input_width,
            output_widths=output_widths(SPACE, "joint"),
        )  # fmt: skip
    with pytest.raises(ModelError, match="refuses"):
        OnnxModel(
            data[:-50], input_kind="features", input_width=spec.input_width, output_widths=widths
        )
