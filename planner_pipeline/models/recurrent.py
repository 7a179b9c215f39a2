"""Recurrent encoder: the same blocks run M times over the tokens (Universal Transformer, URM).

Belongs here: the whole model. Does not: its training (``training``). Spec: section 7.2.
Source: Universal Reasoning Model, arXiv 2512.14693, as reference/models.md 1 tells it: post-norm
blocks without gain or bias, rotary positions, input injected before every loop, no loop embedding,
ConvSwiGLU, truncated backpropagation through the last K loops. Ours adds the padding mask.
Shapes: B batch, T places (a token, or a key with its value), D width, h attention heads, d = D / h,
I inner width, M loops, K of them with gradient.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from planner_pipeline.models.heads import Outputs
from planner_pipeline.models.spec import PADDING, ModelSpec

EPSILON = 1e-5
THETA = 10_000.0
INNER_MULTIPLE = 32  # the inner width is rounded up to one
TRUNCATED_STD = 0.87962566103423978  # of a standard normal cut off at two


def truncated_normal_(weight: Tensor, std: float) -> Tensor:
    """Fill with a normal cut off at two standard deviations whose own deviation is ``std``."""
    return nn.init.trunc_normal_(
        weight, std=std / TRUNCATED_STD, a=-2 * std / TRUNCATED_STD, b=2 * std / TRUNCATED_STD
    )


def _linear(n_in: int, n_out: int) -> nn.Linear:
    layer = nn.Linear(n_in, n_out, bias=False)
    truncated_normal_(layer.weight.data, n_in**-0.5)  # LeCun
    return layer


def rms_norm(x: Tensor) -> Tensor:
    """X over its root mean square along the last axis, computed in float32, without gain."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + EPSILON)).to(x.dtype)


def rotation(n_tokens: int, head_width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine (T, d) of rotary positions, the two halves of a head alike."""
    half = torch.arange(0, head_width, 2, device=device, dtype=torch.float32) / head_width
    places = torch.arange(n_tokens, device=device, dtype=torch.float32)
    angles = places[:, None] * THETA**-half  # (T, d / 2)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn the pairs (i, i + d / 2) of (B, h, T, d) by the angle of their place."""
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat([-second, first], dim=-1) * sine


class Attention(nn.Module):
    """Full bidirectional attention, queries, keys and values from one matrix, no bias."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.n_heads = spec.n_heads
        self.query_key_value = _linear(spec.width, 3 * spec.width)
        self.project = _linear(spec.width, spec.width)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], is_real: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D); nobody looks at padding."""
        parts = self.query_key_value(x).unflatten(-1, (3, self.n_heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, h, T, d)
        seen = functional.scaled_dot_product_attention(
            rotate(query, *turn), rotate(key, *turn), value, attn_mask=is_real[:, None, None, :]
        )
        result: Tensor = self.project(seen.transpose(1, 2).flatten(2))
        return result


class GatedUnit(nn.Module):
    """SwiGLU, or ConvSwiGLU: a depthwise convolution over time between the gate and the way down.

    With kernel 2 a token sees itself and the one before, so padding on the right reaches no token;
    a wider kernel looks ahead too, so padding is emptied before it: beyond a row's end there is
    nothing.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        inner = spec.expansion * spec.width * 2 / 3
        self.inner = math.ceil(inner / INNER_MULTIPLE) * INNER_MULTIPLE
        self.gate_up = _linear(spec.width, 2 * self.inner)
        self.down = _linear(self.inner, spec.width)
        self.kernel = spec.conv_kernel
        if self.kernel:
            self.mix = nn.Conv1d(
                self.inner, self.inner, self.kernel, padding=self.kernel // 2, groups=self.inner
            )
            truncated_normal_(self.mix.weight.data, self.kernel**-0.5)
            nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, is_real: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        inner = functional.silu(gate) * up  # (B, T, I)
        if self.kernel > 2:
            inner = inner * is_real[..., None]
        if self.kernel:
            mixed = self.mix(inner.transpose(1, 2))[..., : x.shape[1]]
            inner = functional.silu(mixed.transpose(1, 2))
        result: Tensor = self.down(inner)
        return result


class Block(nn.Module):
    """Post-norm: each part's answer is added, then the sum is normalised."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.attention, self.unit = Attention(spec), GatedUnit(spec)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], is_real: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = rms_norm(x + self.attention(x, turn, is_real))
        return rms_norm(x + self.unit(x, is_real))


class RecurrentEncoder(nn.Module):
    """Embed, run the blocks M times, read the first token's state."""

    start: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        if spec.width % (2 * spec.n_heads):
            raise ValueError(f"width {spec.width} has no {spec.n_heads} heads of even width")
        if not 1 <= spec.grad_loops <= spec.loops:
            raise ValueError(f"gradient through {spec.grad_loops} of {spec.loops} loops")
        self.spec = spec
        self.tokens = nn.Embedding(spec.input_width, spec.width, padding_idx=PADDING)
        truncated_normal_(self.tokens.weight.data, spec.width**-0.5)
        self.blocks = nn.ModuleList(Block(spec) for _ in range(spec.n_layers))
        self.register_buffer("start", truncated_normal_(torch.empty(spec.width), 1.0))
        self.dropout = nn.Dropout(spec.dropout)
        self.outputs = Outputs(spec.width, spec.n_choices, spec.n_joint, spec.decoding)

    def states(self, input_ids: Tensor, key_ids: Tensor, attention_mask: Tensor) -> list[Tensor]:
        """(B, T, D) after each of the last K loops; the loops before carry no gradient."""
        is_real = attention_mask.bool()
        given = math.sqrt(self.spec.width) * (self.tokens(input_ids) + self.tokens(key_ids))
        head_width = self.spec.width // self.spec.n_heads
        turn = rotation(input_ids.shape[1], head_width, input_ids.device)
        state = self.start.expand_as(given)
        n_blind = self.spec.loops - self.spec.grad_loops
        with torch.no_grad():
            for _ in range(n_blind):
                state = self._loop(state + given, turn, is_real)
        states = []
        for _ in range(self.spec.grad_loops):
            state = self._loop(state + given, turn, is_real)
            states.append(state)
        return states

    def _loop(self, state: Tensor, turn: tuple[Tensor, Tensor], is_real: Tensor) -> Tensor:
        for block in self.blocks:
            state = block(state, turn, is_real)
        return state

    def forward_loops(
        self, input_ids: Tensor, key_ids: Tensor, attention_mask: Tensor
    ) -> list[tuple[Tensor, ...]]:
        """Scores after each of the last K loops, in their order."""
        states = self.states(input_ids, key_ids, attention_mask)
        return [self.outputs(self.dropout(state[:, 0])) for state in states]

    def forward(
        self, input_ids: Tensor, key_ids: Tensor, attention_mask: Tensor
    ) -> tuple[Tensor, ...]:
        """Scores after the last loop.

        Args:
            input_ids: (B, T) int64, padded on the right.
            key_ids: (B, T) int64, the keys that values belong to, padding where there is none.
            attention_mask: (B, T) int64, 1 where a token is real.
        """
        last = self.states(input_ids, key_ids, attention_mask)[-1]
        result: tuple[Tensor, ...] = self.outputs(self.dropout(last[:, 0]))
        return result
