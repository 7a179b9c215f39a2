"""The recurrent encoder once more, as slow loops over numbers, to hold the fast one against.

Belongs here: the equations of reference/models.md 1 written out a token and a head at a time, in
float64. Does not: torch, batches of several rows at once, anything fast.
Shapes: T tokens of one row, D width, d of a head, I inner width, k kernel.
"""

import math
from dataclasses import dataclass

import numpy as np

THETA = 10_000.0
EPSILON = 1e-5


@dataclass(frozen=True)
class BlockWeights:
    """One block. Matrices map a column vector: (out, in).

    Attributes:
        qkv: (3 D, D): queries of every head, then keys, then values.
        out: (D, D).
        gate_up: (2 I, D): gates, then what they let through.
        down: (D, I).
        conv: (I, k), or None for plain SwiGLU.
        conv_bias: (I,), or None.
    """

    qkv: np.ndarray
    out: np.ndarray
    gate_up: np.ndarray
    down: np.ndarray
    conv: np.ndarray | None
    conv_bias: np.ndarray | None


def silu(x: float) -> float:
    return x / (1.0 + math.exp(-x))


def rms(x: np.ndarray) -> np.ndarray:
    """A vector over its root mean square, no gain."""
    return x / math.sqrt(sum(value * value for value in x) / len(x) + EPSILON)


def rope(x: np.ndarray, place: int) -> np.ndarray:
    """Half-split: the pair (i, i + d/2) turned by place * theta^(-2 i / d)."""
    half = len(x) // 2
    turned = np.empty(len(x))
    for i in range(half):
        angle = place * THETA ** (-2 * i / len(x))
        turned[i] = x[i] * math.cos(angle) - x[i + half] * math.sin(angle)
        turned[i + half] = x[i + half] * math.cos(angle) + x[i] * math.sin(angle)
    return turned


def attention(x: np.ndarray, real: list[bool], weights: BlockWeights, n_heads: int) -> np.ndarray:
    """(T, D) -> (T, D): every token looks at every real one, scores over sqrt(d)."""
    n_tokens, width = x.shape
    d = width // n_heads
    mixed = np.zeros((n_tokens, width))
    projected = [weights.qkv @ token for token in x]
    for head in range(n_heads):
        mine = slice(head * d, (head + 1) * d)
        queries = [rope(p[:width][mine], t) for t, p in enumerate(projected)]
        keys = [rope(p[width : 2 * width][mine], t) for t, p in enumerate(projected)]
        values = [p[2 * width :][mine] for p in projected]
        for t in range(n_tokens):
            scores = {
                s: float(queries[t] @ keys[s]) / math.sqrt(d) for s in range(n_tokens) if real[s]
            }
            top = max(scores.values())
            parts = {s: math.exp(score - top) for s, score in scores.items()}
            total = sum(parts.values())
            for s, part in parts.items():
                mixed[t, mine] += part / total * values[s]
    return np.array([weights.out @ token for token in mixed])


def gated_unit(x: np.ndarray, real: list[bool], weights: BlockWeights) -> np.ndarray:
    """(T, D) -> (T, D): (silu(G) * U) down, or with z = conv(silu(G) * U) + b: silu(z) down.

    The convolution has k // 2 zeros before the first token, so output t reads t - k // 2 up to
    t - k // 2 + k - 1, and reads nothing where there is no real token.
    """
    inner_width = weights.down.shape[1]
    inner = np.zeros((len(x), inner_width))
    for t, token in enumerate(x):
        both = weights.gate_up @ token
        for i in range(inner_width):
            inner[t, i] = silu(both[i]) * both[inner_width + i]
    if weights.conv is not None:
        assert weights.conv_bias is not None
        kernel = weights.conv.shape[1]
        mixed = np.zeros_like(inner)
        for t in range(len(x)):
            z = weights.conv_bias.copy()
            for j in range(kernel):
                source = t - kernel // 2 + j
                if 0 <= source < len(x) and real[source]:
                    z += weights.conv[:, j] * inner[source]
            mixed[t] = [silu(value) for value in z]
        inner = mixed
    return np.array([weights.down @ token for token in inner])


def block(x: np.ndarray, real: list[bool], weights: BlockWeights, n_heads: int) -> np.ndarray:
    """Post-norm: h = rms(x + attention(x)); rms(h + unit(h))."""
    seen = attention(x, real, weights, n_heads)
    h = np.array([rms(x[t] + seen[t]) for t in range(len(x))])
    told = gated_unit(h, real, weights)
    return np.array([rms(h[t] + told[t]) for t in range(len(x))])


def states_after_loops(
    embedded: np.ndarray,
    real: list[bool],
    blocks: list[BlockWeights],
    *,
    start: np.ndarray,
    n_heads: int,
    loops: int,
) -> list[np.ndarray]:
    """(T, D) after every loop of one row.

    Args:
        embedded: (T, D) of the embedding table; sqrt(D) times it is added before every loop.
        real: Of each token, False for padding.
        start: (D,) h0, the same at every place.
    """
    given = math.sqrt(embedded.shape[1]) * embedded
    state = np.array([start for _ in embedded])
    states = []
    for _ in range(loops):
        state = state + given
        for weights in blocks:
            state = block(state, real, weights, n_heads)
        states.append(state)
    return states


def scores_of(state: np.ndarray, heads: list[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """Per head (C,): the first place's state through a matrix and its bias."""
    return [matrix @ state[0] + bias for matrix, bias in heads]
