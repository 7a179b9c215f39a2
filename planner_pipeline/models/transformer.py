"""Plain Transformer encoder: token ids in, scores of choices out, one pass.

Belongs here: the whole model. Does not: tokens (``planner_runtime.tokenizer``), batches of like
lengths (``training.batches``). Spec: section 7.1, baseline 3.
Shapes: B batch, T places (a token, or a key with its value), D width, h attention heads, d = D / h.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from planner_pipeline.models.heads import Outputs
from planner_pipeline.models.spec import PADDING, ModelSpec

MAX_TOKENS = 2_048  # spec 6.4: the longest sequence it may be asked


class EncoderLayer(nn.Module):
    """Pre-norm self-attention and feed-forward, each added to what it read."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        width, hidden = spec.width, round(spec.expansion * spec.width)
        self.n_heads = spec.n_heads
        self.norm_attention, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.dropout = nn.Dropout(spec.dropout)

    def attention(self, x: Tensor, is_real: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D); nobody looks at padding."""
        parts = self.query_key_value(x).unflatten(-1, (3, self.n_heads, -1))  # (B, T, 3, h, d)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, h, T, d)
        seen = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=is_real[:, None, None, :]
        )
        result: Tensor = self.project(seen.transpose(1, 2).flatten(2))
        return result

    def forward(self, x: Tensor, is_real: Tensor) -> Tensor:
        """(B, T, D), (B, T) bool -> (B, T, D)."""
        x = x + self.dropout(self.attention(self.norm_attention(x), is_real))
        inner = functional.gelu(self.widen(self.norm_forward(x)))
        result: Tensor = x + self.dropout(self.narrow(self.dropout(inner)))
        return result


class TransformerEncoder(nn.Module):
    """Embed tokens and their places, a few layers, the mean over real tokens, the outputs."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        if spec.width % spec.n_heads:
            raise ValueError(f"width {spec.width} is not a multiple of {spec.n_heads} heads")
        self.spec = spec
        self.tokens = nn.Embedding(spec.input_width, spec.width, padding_idx=PADDING)
        self.places = nn.Embedding(MAX_TOKENS, spec.width)
        # scores from vectors near zero are denormal numbers, several times slower to compute with
        nn.init.normal_(self.tokens.weight, std=1.0)
        nn.init.normal_(self.places.weight, std=0.1)
        self.layers = nn.ModuleList(EncoderLayer(spec) for _ in range(spec.n_layers))
        self.norm = nn.LayerNorm(spec.width)
        self.dropout = nn.Dropout(spec.dropout)
        self.outputs = Outputs(spec.width, spec.n_choices, spec.n_joint, spec.decoding)

    def forward(
        self, input_ids: Tensor, key_ids: Tensor, attention_mask: Tensor
    ) -> tuple[Tensor, ...]:
        """Scores.

        Args:
            input_ids: (B, T) int64, padded on the right; T at most 2,048.
            key_ids: (B, T) int64, the keys that values belong to, padding where there is none.
            attention_mask: (B, T) int64, 1 where a token is real.
        """
        is_real = attention_mask.bool()
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.dropout(
            self.tokens(input_ids) + self.tokens(key_ids) + self.places(places)
        )  # (B, T, D)
        for layer in self.layers:
            x = layer(x, is_real)
        weight = attention_mask.to(x.dtype).unsqueeze(-1)
        pooled = (self.norm(x) * weight).sum(dim=1) / weight.sum(dim=1)  # (B, D)
        result: tuple[Tensor, ...] = self.outputs(pooled)
        return result
