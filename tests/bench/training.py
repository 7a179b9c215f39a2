"""Training rows per CPU second on one thread, beside plain stand-ins; ``python -m tests.bench.training``.

Belongs here: a printed table. Does not: assertions on time, which would make the suite flaky.
The peer's own code is not opened. Its recorded figures (1,048 rows per CPU second of an MLP, 7.4 of a
Transformer) come from the issue that set the bars; they were taken elsewhere, on rows of about 148
tokens, so the ratio to them says something of machines too. The stand-ins are written here from what
is usual: rows one by one through a ``DataLoader`` in batches of 32, ``nn.Sequential`` and
``nn.TransformerEncoder``, every token in its own place, padded to 512. Both sides are trained on the
same rows with dropout on, width 128, two layers, four heads; ours by ``train_network`` as it stands,
averaging of weights and clipping included.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from planner_pipeline.dataset.arrays import Arrays, build_arrays, choose_rows
from planner_pipeline.training.config import usual_config
from planner_pipeline.training.loop import train_network
from planner_runtime.actions import ActionSpace, valid_actions
from planner_runtime.features import N_FEATURES
from planner_runtime.tokenizer import EQUALS, TOKEN_IDS, VOCABULARY

SPACE = ActionSpace()
N_CHOICES = [len(choices) for choices in SPACE.choices]
WIDTH, N_LAYERS, N_HEADS, DROPOUT, PADDED = 128, 2, 4, 0.1, 512
RECORDED = {"MLP": 1_048.0, "Transformer": 7.4}  # rows per CPU second of the peer, from the issue
BARS = {"MLP": 5.0, "Transformer": 8.0}  # how often that is asked for


def a_sequence(luck: np.random.Generator, n_entries: int) -> list[int]:
    """[BOS], key = value and so on with a [SEP] here and there, [EOS]."""
    keys = [i for i, token in enumerate(VOCABULARY) if token.startswith("[KEY:")]
    ids = [TOKEN_IDS["[BOS]"]]
    for number in range(n_entries):
        ids += [int(luck.choice(keys)), EQUALS, int(luck.integers(max(keys) + 1, len(VOCABULARY)))]
        if number % 12 == 11:
            ids.append(TOKEN_IDS["[SEP]"])
    return [*ids, TOKEN_IDS["[EOS]"]]


def some_rows(n: int) -> Arrays:
    """Random rows of about 148 tokens."""
    luck = np.random.default_rng(0)
    n_entries = luck.normal(47.4, 12, size=n).round().clip(10, 90).astype(int)
    actions = valid_actions(SPACE, "code")
    labels = [actions[int(pick)] for pick in luck.integers(0, len(actions), n)]
    tokens = [a_sequence(luck, int(count)) for count in n_entries]
    features = luck.normal(size=(n, N_FEATURES)).astype(np.float32)
    return build_arrays(features, labels, ["code"] * n, SPACE, tokens)


class PlainMlp(nn.Module):
    """Two layers and a matrix a head."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in in (N_FEATURES, WIDTH):
            layers += [nn.Linear(n_in, WIDTH), nn.GELU(), nn.Dropout(DROPOUT)]
        self.body = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Linear(WIDTH, n) for n in N_CHOICES)

    def forward(self, features: Tensor) -> list[Tensor]:
        hidden = self.body(features)
        return [head(hidden) for head in self.heads]


class PlainTransformer(nn.Module):
    """torch's own encoder over every token."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(len(VOCABULARY), WIDTH, padding_idx=0)
        self.places = nn.Embedding(PADDED, WIDTH)
        layer = nn.TransformerEncoderLayer(
            WIDTH, N_HEADS, 4 * WIDTH, DROPOUT, activation="gelu", batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, N_LAYERS, enable_nested_tensor=False)
        self.heads = nn.ModuleList(nn.Linear(WIDTH, n) for n in N_CHOICES)

    def forward(self, ids: Tensor) -> list[Tensor]:
        is_padding = ids == 0
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
        x = self.encoder(x, src_key_padding_mask=is_padding)
        weight = (~is_padding).unsqueeze(-1).float()
        pooled = (x * weight).sum(dim=1) / weight.sum(dim=1)
        return [head(pooled) for head in self.heads]


def padded(rows: Arrays) -> Tensor:
    """(N, 512) ids."""
    ids = np.zeros((len(rows), PADDED), dtype=np.int64)
    for number in range(len(rows)):
        ids[number, : rows.tokens.lengths[number]] = rows.tokens.row(number)
    return torch.from_numpy(ids)


def plain_speed(model: nn.Module, inputs: Tensor, rows: Arrays, epochs: int) -> float:
    """Rows per CPU second of the usual loop."""
    torch.manual_seed(0)
    data = TensorDataset(inputs, torch.from_numpy(rows.labels))
    loader = DataLoader(data, batch_size=32, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()
    start = time.process_time()
    for _ in range(epochs):
        for batch, labels in loader:
            losses = [
                nn.functional.cross_entropy(scores, labels[:, head])
                for head, scores in enumerate(model(batch))
            ]
            optimizer.zero_grad()
            torch.stack(losses).sum().backward()
            optimizer.step()
    return epochs * len(rows) / (time.process_time() - start)


def our_speed(arch: str, rows: Arrays, epochs: int) -> float:
    """Rows per CPU second of ours."""
    config = usual_config(
        arch, width=WIDTH, n_layers=N_LAYERS, n_heads=N_HEADS, dropout=DROPOUT, epochs=epochs
    )  # type: ignore[arg-type]
    speed = train_network(rows, choose_rows(rows, np.arange(0)), config).rows_per_cpu_second
    assert speed is not None
    return speed


def best_of(n: int, *works: Callable[[], float]) -> list[float]:
    """The best of n turns of each, in turn, so that a busy moment hits both."""
    turns = [[work() for work in works] for _ in range(n)]
    return [max(speeds) for speeds in zip(*turns, strict=True)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs=2, default=[2_000, 96], metavar=("MLP", "TOKENS"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    many, few = (some_rows(n) for n in arguments.rows)
    ids = padded(few)
    pairs = {
        "MLP": best_of(
            arguments.turns,
            lambda: our_speed("mlp", many, 4),
            lambda: plain_speed(PlainMlp(), torch.from_numpy(many.features), many, 4),
        ),
        "Transformer": best_of(
            arguments.turns,
            lambda: our_speed("transformer", few, 3),
            lambda: plain_speed(PlainTransformer(), ids, few, 1),
        ),
    }
    print(
        f"training rows per CPU s, one thread, dropout on, width {WIDTH}, {N_LAYERS} layers, rows of "
        f"{many.tokens.lengths.mean():.0f} tokens; best of {arguments.turns} turns"
    )
    print(
        f"{'':<13}{'ours':>8}{'stand-in':>10}{'ratio':>7}{'peer, recorded':>16}{'ratio':>7}{'bar':>6}"
    )
    for name, (ours, plain) in pairs.items():
        recorded, bar = RECORDED[name], BARS[name]
        print(
            f"{name:<13}{ours:>8,.1f}{plain:>10,.1f}{ours / plain:>7.1f}{recorded:>16,.1f}"
            f"{ours / recorded:>7.1f}{bar:>5.0f}x"
        )


if __name__ == "__main__":
    main()
