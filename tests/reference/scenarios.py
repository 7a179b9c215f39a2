"""Made-up scenarios of algorithm selection: families of cases, solvers that suit some of them.

Belongs here: features, outcomes and folds as tables, with a known answer. Does not: anything that
is shipped.
"""

from typing import Any

import numpy as np
import polars as pl

CUTOFF_MS = 600_000.0


def a_scenario(
    n_cases: int = 120,
    n_actions: int = 4,
    n_features: int = 12,
    *,
    seed: int = 0,
    learnable: bool = True,
    missing: float = 0.05,
    **columns: Any,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Features and outcomes: runtimes are log-normal about what a case's family and two hidden
    numbers say, and end at a cutoff. Half of the features tell nothing.
    """
    luck = np.random.default_rng(seed)
    hidden = luck.normal(size=(n_cases, 3))
    family = luck.integers(0, n_actions, n_cases)
    suits = family[:, None] == np.arange(n_actions)
    fit = 3.0 * suits if learnable else luck.normal(0, 2, (n_cases, n_actions))
    log_seconds = 5.5 + hidden[:, :1] - fit + luck.normal(0, 0.4, (n_cases, n_actions))
    log_seconds += 0.8 * np.tanh(hidden[:, 1:2]) * luck.normal(size=n_actions)
    duration = np.minimum(np.exp(log_seconds) * 1_000, CUTOFF_MS)
    telling = [hidden[:, 0], np.exp(3 * hidden[:, 1]), (family % 2).astype(float), family * 1.0]
    features = {"case_id": [f"case-{n:04d}" for n in range(n_cases)]}
    for number in range(n_features):
        values = telling[number] if number < 4 else luck.lognormal(0, 2, n_cases)
        features[f"f{number}"] = np.where(luck.random(n_cases) < missing, np.nan, values)
    features["kind"] = np.where(family == 0, "easy", "hard").tolist()
    features["same"] = [1] * n_cases
    names = [f"solver-{chr(97 + a)}" for a in range(n_actions)]
    outcomes = {
        "case_id": np.repeat(features["case_id"], n_actions),
        "action": names * n_cases,
        "passed": (duration < CUTOFF_MS).ravel(),
        "duration_ms": duration.ravel(),
        "censored": (duration >= CUTOFF_MS).ravel(),
    }
    return pl.DataFrame(features | columns), pl.DataFrame(outcomes)


def a_routing_table(n_cases: int = 150, *, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Three models: a cheap one that solves easy cases, a dear one that solves nearly all, and one
    that is neither; no durations.
    """
    luck = np.random.default_rng(seed)
    length = luck.random(n_cases)
    chance = np.stack([0.97 - 0.9 * (length > 0.6), np.full(n_cases, 0.5), np.full(n_cases, 0.96)])
    cost = np.array([0.01, 0.2, 1.0])[:, None] * luck.uniform(0.8, 1.2, (3, n_cases))
    ids = [f"prompt-{n:04d}" for n in range(n_cases)]
    features = pl.DataFrame({"case_id": ids, "length": length, "noise": luck.random(n_cases)})
    outcomes = pl.DataFrame(
        {
            "case_id": ids * 3,
            "action": np.repeat(["cheap", "middling", "dear"], n_cases),
            "passed": (luck.random((3, n_cases)) < chance).ravel(),
            "cost_usd": cost.ravel(),
        }
    )
    return features, outcomes


def some_folds(features: pl.DataFrame, n_folds: int = 3, repetitions: int = 0) -> pl.DataFrame:
    """Folds in turn; with repetitions, each shifted by some."""
    ids = features["case_id"].to_list()
    rows = [
        {"case_id": case, "fold": (n // (1 + r) + r) % n_folds + 1, "repetition": r + 1}
        for r in range(max(1, repetitions))
        for n, case in enumerate(ids)
    ]
    table = pl.DataFrame(rows)
    return table if repetitions else table.drop("repetition")
