"""The networks: the recurrent encoder against its equations, padding, gradients, kinds of output."""

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from planner_pipeline.models.build import build_model
from planner_pipeline.models.mlp import FeatureMlp
from planner_pipeline.models.recurrent import RecurrentEncoder, rms_norm, rotation
from planner_pipeline.models.scaling import CLAMP, Scaler
from planner_pipeline.models.spec import PADDING, Arch, ModelSpec, sizes_of
from planner_pipeline.models.transformer import TransformerEncoder
from planner_runtime.actions import ActionSpace
from planner_runtime.decode import Decoding, output_widths, prefix_index
from planner_runtime.tokenizer import VOCABULARY
from tests.reference.recurrent import BlockWeights, scores_of, states_after_loops

SPACE = ActionSpace()
N_CHOICES, N_JOINT = sizes_of(SPACE)
DECODINGS: tuple[Decoding, ...] = ("heads", "joint", "autoregressive")
Batch = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums of these sizes cost less than waking another thread for them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def a_spec(arch: Arch = "recurrent", **changes: Any) -> ModelSpec:
    small = {
        "decoding": "heads", "n_choices": N_CHOICES, "n_joint": N_JOINT, "width": 16,
        "n_layers": 1, "n_heads": 2, "expansion": 2.0, "dropout": 0.0, "loops": 2, "grad_loops": 2,
    }  # fmt: skip
    return ModelSpec(arch=arch, **{**small, **changes})


def a_model(arch: Arch = "recurrent", seed: int = 0, **changes: Any) -> Any:
    torch.manual_seed(seed)
    model = build_model(a_spec(arch, **changes))
    for name, weight in model.named_parameters():
        if name.endswith("mix.bias"):  # zero at the start, where it could hide a mistake
            nn.init.normal_(weight)
    return model.eval()


def a_batch(lengths: tuple[int, ...], width: int, *, seed: int = 0, pad: int = PADDING) -> Batch:
    """Rows of real tokens, and ``pad`` up to a width."""
    luck = np.random.default_rng(seed)
    values, keys = luck.integers(1, len(VOCABULARY), (2, len(lengths), width))
    keys[:, ::4] = PADDING  # a token without a key
    is_real = np.arange(width) < np.array(lengths)[:, None]
    values[~is_real] = keys[~is_real] = pad
    return (
        torch.from_numpy(values),
        torch.from_numpy(keys),
        torch.from_numpy(is_real.astype(np.int64)),
    )


def wider(batch: Batch, by: int, *, pad: int = PADDING) -> Batch:
    """The same rows, padded further on the right."""
    values, keys = (nn.functional.pad(part, (0, by), value=pad) for part in batch[:2])
    return values, keys, nn.functional.pad(batch[2], (0, by), value=0)


# -- the recurrent encoder against its equations


def block_weights(model: RecurrentEncoder) -> list[BlockWeights]:
    def numbers(weight: Tensor) -> np.ndarray:
        return weight.detach().numpy().astype(np.float64)

    return [
        BlockWeights(
            qkv=numbers(block.attention.query_key_value.weight),
            out=numbers(block.attention.project.weight),
            gate_up=numbers(block.unit.gate_up.weight),
            down=numbers(block.unit.down.weight),
            conv=numbers(block.unit.mix.weight)[:, 0] if block.unit.kernel else None,
            conv_bias=numbers(block.unit.mix.bias) if block.unit.kernel else None,
        )
        for block in model.blocks
    ]


@pytest.mark.parametrize(
    ("loops", "n_layers", "n_heads", "kernel"),
    [(1, 1, 1, 0), (2, 2, 2, 2), (3, 1, 4, 2), (2, 1, 2, 3), (4, 2, 2, 0), (3, 2, 1, 3)],
)
def test_the_recurrent_encoder_computes_its_equations(loops, n_layers, n_heads, kernel) -> None:
    model = a_model(
        loops=loops, grad_loops=loops, n_layers=n_layers, n_heads=n_heads, conv_kernel=kernel
    )
    batch = a_batch((7, 4, 1), 7)
    with torch.no_grad():
        states = [state.numpy() for state in model.states(*batch)]
        outputs = [output.numpy() for output in model(*batch)]
    table = model.tokens.weight.detach().numpy().astype(np.float64)
    heads = [
        (head.weight.detach().numpy().astype(np.float64), head.bias.detach().numpy())
        for head in model.outputs.heads
    ]
    values, keys, mask = (part.numpy() for part in batch)
    for row, n_real in enumerate(mask.sum(axis=1)):
        expected = states_after_loops(
            table[values[row]] + table[keys[row]],
            mask[row].astype(bool).tolist(),
            block_weights(model),
            start=model.start.numpy().astype(np.float64),
            n_heads=n_heads,
            loops=loops,
        )
        for loop in range(loops):
            gap = np.abs(states[loop][row, :n_real] - expected[loop][:n_real])
            assert gap.max() < 1e-5
        for output, scores in zip(outputs, scores_of(expected[-1], heads), strict=True):
            assert np.abs(output[row] - scores).max() < 1e-5


def test_position_moves_the_answer_and_so_does_every_loop() -> None:
    model = a_model(loops=3, grad_loops=3)
    values, keys, mask = a_batch((6,), 6)
    swapped = values.clone()
    swapped[0, [2, 3]] = values[0, [3, 2]]
    with torch.no_grad():
        answer, other = model(values, keys, mask)[0], model(swapped, keys, mask)[0]
        first, *_, last = model.states(values, keys, mask)
    assert (answer - other).abs().max() > 1e-4
    assert (first - last).abs().max() > 1e-2


def test_states_have_root_mean_square_one_whatever_their_size() -> None:
    luck = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5, 16, generator=luck) * torch.tensor([1e-1, 1.0, 1e3])[:, None, None]
    before, after = (one.square().mean(dim=-1) for one in (x, rms_norm(x)))
    assert torch.allclose(after, before / (before + 1e-5), rtol=1e-5)
    assert rms_norm(torch.zeros(2, 4)).tolist() == [[0.0] * 4] * 2


def test_weights_are_tied_over_the_loops() -> None:
    counts = {
        loops: sum(weight.numel() for weight in a_model(loops=loops, grad_loops=1).parameters())
        for loops in (1, 2, 8)
    }
    assert len(set(counts.values())) == 1
    deeper = sum(weight.numel() for weight in a_model(n_layers=2).parameters())
    assert deeper > counts[1]


def test_fresh_weights_have_the_spread_that_was_asked_for() -> None:
    model = a_model(width=64, n_heads=2, expansion=4.0)
    gate_up = model.blocks[0].unit.gate_up.weight.detach()
    assert float(gate_up.std()) == pytest.approx(64**-0.5, rel=0.05)
    assert float(gate_up.abs().max()) <= 2 * 64**-0.5 / 0.8796
    assert float(model.tokens.weight.detach().std()) == pytest.approx(64**-0.5, rel=0.05)
    assert not model.start.requires_grad
    assert "start" in model.state_dict()


def test_sizes_that_do_not_fit_are_refused() -> None:
    for spec in (
        a_spec(n_heads=3),
        a_spec(grad_loops=0),
        a_spec(loops=2, grad_loops=3),
        a_spec("transformer", n_heads=3),
        a_spec("logreg", decoding="autoregressive"),
        a_spec("prior", decoding="heads"),
        a_spec("gbt"),
    ):
        with pytest.raises(ValueError):
            build_model(spec)


# -- padding


TOKEN_MODELS = (
    ("transformer", {"n_layers": 2}),
    ("recurrent", {"conv_kernel": 0}),
    ("recurrent", {"conv_kernel": 2, "loops": 3, "n_layers": 2}),
    ("recurrent", {"conv_kernel": 3}),
    ("recurrent", {"conv_kernel": 4}),
)


def answers(model: nn.Module, batch: Batch) -> np.ndarray:
    with torch.no_grad():
        return torch.cat(model(*batch), dim=1).numpy()


@pytest.mark.parametrize(("arch", "changes"), TOKEN_MODELS)
def test_a_row_is_answered_alike_however_far_it_is_padded(arch: Arch, changes) -> None:
    model = a_model(arch, **changes)
    alone = a_batch((6,), 6)
    for by in (1, 2, 10):
        assert np.abs(answers(model, wider(alone, by)) - answers(model, alone)).max() < 2e-6


@pytest.mark.parametrize(("arch", "changes"), TOKEN_MODELS)
def test_a_row_is_answered_alike_in_any_company(arch: Arch, changes) -> None:
    model = a_model(arch, **changes)
    lengths = (3, 12, 1, 8)
    together = answers(model, a_batch(lengths, 12))
    values, keys, mask = a_batch(lengths, 12)
    for row, n in enumerate(lengths):
        one = slice(row, row + 1)
        alone = answers(model, (values[one, :n], keys[one, :n], mask[one, :n]))
        assert np.abs(alone - together[one]).max() < 2e-6


@pytest.mark.parametrize(("arch", "changes"), TOKEN_MODELS)
def test_what_stands_in_padding_says_nothing(arch: Arch, changes) -> None:
    model = a_model(arch, **changes)
    batch = a_batch((5, 9), 9)
    other = a_batch((5, 9), 9, pad=77)
    assert (batch[0] != other[0]).any()
    assert (answers(model, batch) == answers(model, other)).all()
    values, keys, mask = batch
    moved = values.clone()
    moved[:, 2] = 77  # a real place
    assert np.abs(answers(model, (moved, keys, mask)) - answers(model, batch)).max() > 1e-4


@pytest.mark.parametrize("arch", ["transformer", "recurrent"])
def test_a_key_is_read_as_well_as_its_value(arch: Arch) -> None:
    model = a_model(arch)
    values, keys, mask = a_batch((6,), 6)
    other = keys.clone()
    other[0, 3] = keys[0, 3] % 7 + 8
    assert (
        np.abs(answers(model, (values, other, mask)) - answers(model, (values, keys, mask))).max()
        > 1e-4
    )


# -- gradients of the recurrent encoder


@contextmanager
def embeddings_of(model: RecurrentEncoder) -> Iterator[list[Tensor]]:
    """What the embedding table gave for values, then for keys, with their gradients kept."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, arguments: Any, output: Tensor) -> None:
        output.retain_grad()
        seen.append(output)

    handle = model.tokens.register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


def a_scalar(outputs: tuple[Tensor, ...]) -> Tensor:
    """Some number that depends on every output, so that there is something to derive."""
    return torch.stack([(output * torch.arange(1.0, output.shape[1] + 1)).sum() for output in outputs]).sum()  # fmt: skip


def gradients_per_loop(model: RecurrentEncoder, batch: Batch) -> tuple[list[Tensor], Tensor]:
    """By hand: for each of the last K loops the gradient at what was injected before it, and the
    gradient at the state that the first M - K loops left, which nobody may use.
    """
    values, keys, mask = batch
    spec, is_real = model.spec, mask.bool()
    turn = rotation(values.shape[1], spec.width // spec.n_heads, values.device)
    table = model.tokens.weight
    given = (math.sqrt(spec.width) * (table[values] + table[keys])).detach()
    state = model.start.expand_as(given)
    for _ in range(spec.loops - spec.grad_loops):
        state = state + given
        for block in model.blocks:
            state = block(state, turn, is_real)
    left = state = state.detach().clone().requires_grad_()
    injected = [given.clone().requires_grad_() for _ in range(spec.grad_loops)]
    for one in injected:
        state = state + one
        for block in model.blocks:
            state = block(state, turn, is_real)
    a_scalar(model.outputs(state[:, 0])).backward()
    return [one.grad for one in injected], left.grad


@pytest.mark.parametrize(("loops", "grad_loops"), [(1, 1), (3, 1), (3, 2), (3, 3), (4, 2), (4, 4)])
def test_the_gradient_is_the_sum_over_exactly_the_last_k_loops(loops, grad_loops) -> None:
    model = a_model(loops=loops, grad_loops=grad_loops)
    batch = a_batch((6, 3), 6)
    parts, unused = gradients_per_loop(model, batch)
    assert len(parts) == grad_loops
    assert all(part.abs().max() > 1e-6 for part in (*parts, unused))
    with embeddings_of(model) as (seen):
        a_scalar(model(*batch)).backward()
    expected = math.sqrt(model.spec.width) * sum(parts)
    for embedded in seen:
        assert torch.allclose(embedded.grad, expected, rtol=1e-4, atol=1e-5)


def table_gradient(model: RecurrentEncoder, batch: Batch) -> Tensor:
    model.zero_grad()
    a_scalar(model(*batch)).backward()
    assert model.tokens.weight.grad is not None
    return model.tokens.weight.grad.clone()


def test_k_equal_to_m_is_full_backpropagation_and_k_below_it_is_not() -> None:
    batch = a_batch((6, 3), 6)
    full = a_model(loops=3, grad_loops=3)
    values, keys, mask = batch
    turn = rotation(6, 8, values.device)
    given = 4.0 * (full.tokens(values) + full.tokens(keys))  # sqrt(16)
    state = full.start.expand_as(given)
    for _ in range(3):
        state = full.blocks[0](state + given, turn, mask.bool())
    a_scalar(full.outputs(state[:, 0])).backward()
    by_hand = full.tokens.weight.grad.clone()
    assert torch.allclose(table_gradient(full, batch), by_hand, rtol=1e-4, atol=1e-5)
    for k in (1, 2):
        cut = a_model(loops=3, grad_loops=k)
        cut.load_state_dict(full.state_dict())
        assert (answers(cut, batch) == answers(full, batch)).all()
        assert (table_gradient(cut, batch) - by_hand).abs().max() > 1e-3


@pytest.mark.parametrize(("grad_loops", "kernel"), [(1, 0), (1, 2), (2, 2), (1, 3), (3, 3)])
def test_gradients_reach_every_real_token_and_never_padding(grad_loops, kernel) -> None:
    model = a_model(loops=3, grad_loops=grad_loops, conv_kernel=kernel)
    batch = a_batch((6, 3), 8, pad=77)  # not the id whose row the table itself keeps still
    with embeddings_of(model) as seen:
        a_scalar(model(*batch)).backward()
    is_real = batch[2].bool()
    for embedded in seen:
        size = embedded.grad.abs().amax(dim=-1)
        assert (size[is_real] > 1e-7).all()
        assert (size[~is_real] == 0).all()


def test_the_loops_before_the_last_k_keep_nothing_for_a_backward_pass() -> None:
    model = a_model(loops=4, grad_loops=2)
    entered: list[bool] = []
    handle = model.blocks[0].register_forward_hook(
        lambda module, arguments, output: entered.append(output.requires_grad)
    )
    model(*a_batch((4,), 4))
    handle.remove()
    assert entered == [False, False, True, True]


def test_every_gradient_loop_can_be_asked_and_the_last_is_the_answer() -> None:
    model = a_model(loops=4, grad_loops=3)
    batch = a_batch((5, 2), 5)
    asked = model.forward_loops(*batch)
    assert len(asked) == 3
    for mine, last in zip(asked[-1], model(*batch), strict=True):
        assert torch.equal(mine, last)
    shallower = a_model(loops=2, grad_loops=1)  # two loops are where four were after two
    shallower.load_state_dict(model.state_dict())
    for mine, first in zip(asked[0], shallower(*batch), strict=True):
        assert torch.allclose(mine, first, atol=1e-6)


# -- kinds of output


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("arch", ["prior", "logreg", "mlp", "transformer", "recurrent"])
def test_outputs_are_as_wide_as_decoding_expects(arch: Arch, decoding: Decoding) -> None:
    if (arch, decoding) in {
        ("logreg", "autoregressive"), ("prior", "heads"), ("prior", "autoregressive"),
    }:  # fmt: skip
        return
    model = a_model(arch, decoding=decoding)
    if model.spec.input_kind == "tokens":
        outputs = model(*a_batch((5, 2, 4), 5))
    else:
        outputs = model(torch.zeros(3, model.spec.input_width))
    widths = list(output_widths(SPACE, decoding).values())
    assert [tuple(output.shape) for output in outputs] == [(3, width) for width in widths]


def test_an_autoregressive_head_reads_the_choices_made_before_it() -> None:
    """By hand: the hidden vector, plus an embedding of every choice before, through one matrix."""
    model: FeatureMlp = a_model("mlp", decoding="autoregressive", width=12)
    features = torch.linspace(-2, 2, 2 * model.spec.input_width).reshape(2, -1)
    hidden = model.body(model.scaler(features))
    outputs, ends = model(features), model.outputs
    for head, n in enumerate(N_CHOICES):
        for before in itertools.islice(itertools.product(*map(range, N_CHOICES[:head])), 0, 50, 3):
            shifted = hidden.clone()
            for earlier, choice in enumerate(before):
                shifted = shifted + ends.chosen[earlier].weight[choice]
            expected = ends.heads[head](nn.functional.gelu(shifted))
            padded = np.array([[*before, *[0] * (4 - head)]])
            at = int(prefix_index(padded, N_CHOICES)[0, head])
            assert torch.allclose(outputs[head][:, at * n : (at + 1) * n], expected, atol=1e-6)


# -- scaling and sizes


def test_features_are_standardised_once_and_a_constant_one_is_left_alone() -> None:
    luck = torch.Generator().manual_seed(0)
    rows = torch.randn(200, 5, generator=luck) * torch.tensor([1.0, 10.0, 0.1, 3.0, 0.0]) + 7.0
    scaler = Scaler(5)
    scaler.fit(rows)
    scaled = scaler(rows)
    assert torch.allclose(scaled.mean(dim=0), torch.zeros(5), atol=1e-4)
    assert torch.allclose(
        scaled.std(dim=0, unbiased=False), torch.tensor([1.0, 1, 1, 1, 0]), atol=0.02
    )
    assert float(scaler.scale[4]) == 1.0
    assert float(scaler(rows + 1e6).max()) == CLAMP
    assert set(scaler.state_dict()) == {"mean", "scale"}


def test_a_transformer_reads_the_longest_sequence_and_position_matters() -> None:
    model: TransformerEncoder = a_model("transformer", width=8)
    assert np.isfinite(answers(model, a_batch((2_048,), 2_048))).all()
    values, keys, mask = a_batch((6,), 6)
    swapped, keys = values.clone(), torch.full_like(keys, PADDING)
    swapped[0, [2, 3]] = values[0, [3, 2]]
    answer, other = (answers(model, (one, keys, mask)) for one in (values, swapped))
    assert np.abs(answer - other).max() > 1e-5
