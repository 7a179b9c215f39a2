"""The MLP learns, masks, stops, repeats itself, and survives being saved."""

import numpy as np
import pytest
import torch

from planner_pipeline.dataset.arrays import Arrays
from planner_pipeline.models.mlp import FeatureMlp, MlpSpec
from planner_pipeline.release.onnx_export import OUTPUT_NAMES, compare_with_torch, export_onnx
from planner_pipeline.training.checkpoint import (
    CheckpointError,
    decode_checkpoint,
    encode_checkpoint,
)
from planner_pipeline.training.loop import TrainConfig, predict_logits, train_mlp
from planner_pipeline.training.losses import head_losses, masked_cross_entropy
from planner_runtime.actions import ActionSpace, action_to_indices, head_masks, valid_actions
from planner_runtime.session import ModelError, OnnxModel

SPACE = ActionSpace()
N_CHOICES = tuple(len(choices) for choices in SPACE.choices)
SPEC = MlpSpec(n_features=12, n_choices=N_CHOICES, width=32, dropout=0.0)


def some_rows(n: int, seed: int = 0, job: str = "code") -> Arrays:
    """Rows whose label is a function of their features."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 12)).astype(np.float32)
    actions = valid_actions(SPACE, job)
    picks = (features[:, 0] > 0) * 7 + (features[:, 1] > 0) * 3
    labels = np.array([action_to_indices(SPACE, actions[int(i)]) for i in picks])
    masks = tuple(np.repeat(mask[None], n, axis=0) for mask in head_masks(SPACE, job))
    return Arrays(features, labels.astype(np.int64), masks, (job,) * n)


def test_32_rows_are_learned_by_heart() -> None:
    rows = some_rows(32)
    config = TrainConfig(
        epochs=300, patience=300, learning_rate=5e-3, weight_decay=0.0, batch_size=8
    )
    trained = train_mlp(rows, rows, SPEC, config)
    assert trained.history[trained.best_epoch].val_loss == pytest.approx(0, abs=0.02)


def test_equal_seeds_give_equal_weights_and_others_others() -> None:
    config = TrainConfig(epochs=3, dropout=0.3)
    first, second, other = (
        encode_checkpoint(train_mlp(some_rows(80), some_rows(20, 1), SPEC, c).model)
        for c in (config, config, TrainConfig(epochs=3, dropout=0.3, seed=1))
    )
    assert first == second
    assert first != other


def test_the_best_epoch_is_the_one_that_is_kept() -> None:
    train, val = some_rows(40), some_rows(40, 5)
    trained = train_mlp(train, val, SPEC, TrainConfig(epochs=40, learning_rate=2e-2, patience=40))
    losses = [epoch.val_loss for epoch in trained.history]
    assert trained.best_epoch == int(np.argmin(np.array(losses, dtype=float)))
    logits = predict_logits(trained.model, val.features)
    again = head_losses(
        [torch.from_numpy(head) for head in logits],
        torch.from_numpy(val.labels),
        [torch.from_numpy(mask) for mask in val.masks],
    ).sum()
    assert float(again) == pytest.approx(losses[trained.best_epoch], rel=1e-4)


def test_dropout_is_on_in_every_epoch() -> None:
    spec = MlpSpec(n_features=12, n_choices=N_CHOICES, width=32, dropout=0.5)
    seen: list[bool] = []
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, *_: (
            seen.append(module.training) if isinstance(module, torch.nn.Dropout) else None
        )
    )
    try:
        train_mlp(some_rows(64), some_rows(16, 1), spec, TrainConfig(epochs=3, batch_size=64))
    finally:
        hook.remove()
    per_epoch = [seen[i : i + 4] for i in range(0, len(seen), 4)]  # two layers, two passes
    assert per_epoch == [[True, True, False, False]] * 3


def test_no_rows_cannot_be_learned_from() -> None:
    with pytest.raises(ValueError, match="no training examples"):
        train_mlp(some_rows(0), some_rows(0), SPEC, TrainConfig())


def test_without_validation_rows_the_last_epoch_is_kept() -> None:
    trained = train_mlp(some_rows(16), some_rows(0), SPEC, TrainConfig(epochs=4))
    assert trained.best_epoch == 3
    assert trained.history[-1].val_loss is None


def test_masked_choices_carry_no_loss_and_no_gradient() -> None:
    logits = torch.tensor([[1.0, 2.0, 50.0]], requires_grad=True)
    loss = masked_cross_entropy(logits, torch.tensor([1]), torch.tensor([[True, True, False]]))
    loss.sum().backward()
    assert float(loss[0].detach()) == pytest.approx(float(np.log(1 + np.exp(-1.0))))
    assert logits.grad is not None
    assert logits.grad[0, 2] == 0
    assert torch.isfinite(logits.grad).all()


def test_a_forced_head_does_not_dilute_the_mean() -> None:
    logits = [torch.tensor([[0.0, 1.0], [0.0, 1.0]])]
    masks = [torch.tensor([[True, True], [True, False]])]
    mean = head_losses(logits, torch.tensor([[0], [0]]), masks)
    assert float(mean[0]) == pytest.approx(float(np.log(1 + np.e)))


def test_a_constant_feature_does_not_blow_up() -> None:
    rows = some_rows(16)
    rows.features[:, 3] = 7.0
    model = FeatureMlp(SPEC)
    model.fit_scale(torch.from_numpy(rows.features))
    assert float(model.scale[3]) == 1.0
    assert all(np.isfinite(head).all() for head in predict_logits(model, rows.features))


def test_a_checkpoint_comes_back_as_it_was_and_damage_is_refused() -> None:
    model = FeatureMlp(SPEC)
    data = encode_checkpoint(model)
    back = decode_checkpoint(data)
    rows = some_rows(5)
    for a, b in zip(
        predict_logits(model, rows.features), predict_logits(back, rows.features), strict=True
    ):
        assert (a == b).all()
    for broken in (b"", data[:100], data[:-10], b"\x80\x04K\x01."):
        with pytest.raises(CheckpointError):
            decode_checkpoint(broken)


def test_onnx_answers_as_torch_and_holds_no_path_of_this_machine() -> None:
    model = FeatureMlp(SPEC)
    data = export_onnx(model)
    parity = compare_with_torch(model, data, some_rows(50), SPACE)
    assert (parity.n_different_choices, parity.n_rows) == (0, 50)
    assert parity.worst_difference < 1e-5
    assert export_onnx(model) == data
    assert b"/work" not in data
    assert b".py" not in data
    with pytest.raises(ModelError, match="the manifest says"):
        OnnxModel(
            data,
            input_kind="features",
            input_width=13,
            output_names=OUTPUT_NAMES,
            output_widths=N_CHOICES,
        )
    with pytest.raises(ModelError, match="refuses"):
        OnnxModel(
            data[:-50],
            input_kind="features",
            input_width=12,
            output_names=OUTPUT_NAMES,
            output_widths=N_CHOICES,
        )
