"""A law of learning, value(n) = a - b n^-c, fitted to a measured curve and to every resample of it.

Belongs here: the fit within declared bounds, what more cases add by it, whether a curve rises at
all. Does not: measuring a curve (``experiments.learning_curve``). Sources: Cortes et al. 1993 and
Hestness et al. 2017 (power laws of regret); Viering and Loog 2021 (how they fail: plateaus, early
flat parts), hence intervals, a ceiling, and no answer where nothing rises.
Shapes: D draws (the data itself first), L sizes, C exponents.
"""

from typing import Final

import numpy as np

POWERS: Final = tuple(np.geomspace(0.2, 2.0, 19).tolist())  # declared bounds of c


def fit_laws(n: np.ndarray, values: np.ndarray, ceiling: np.ndarray) -> np.ndarray:
    """(D, 3) a, b and c of every draw: least squares with b >= 0 and a at most its ceiling.

    Args:
        n: (L,) sizes, ascending and distinct.
        values: (D, L).
        ceiling: (D,) what nobody can do better than.

    Raises:
        ValueError: there are fewer than three sizes.
    """
    if len(n) < 3:
        raise ValueError(f"a law of three numbers needs three sizes, got {len(n)}")
    best = np.full(len(values), np.inf)
    laws = np.zeros((len(values), 3))
    for power in POWERS:
        x = n.astype(float) ** -power  # (L,)
        apart = x - x.mean()
        drop = np.maximum(-(values @ apart) / (apart @ apart), 0.0)  # (D,)
        top = values.mean(axis=1) + drop * x.mean()
        over = top > ceiling
        top = np.where(over, ceiling, top)
        capped = np.maximum(((top[:, None] - values) @ x) / (x @ x), 0.0)
        drop = np.where(over, capped, drop)
        error = ((top[:, None] - drop[:, None] * x - values) ** 2).sum(axis=1)
        better = error < best - 1e-15
        best = np.where(better, error, best)
        laws[better] = np.stack([top, drop, np.full(len(top), power)], axis=1)[better]
    return laws


def law_at(laws: np.ndarray, n: float) -> np.ndarray:
    """(D,) value of every law at a size."""
    told: np.ndarray = laws[:, 0] - laws[:, 1] * n ** -laws[:, 2]
    return told


def rises(n: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(D,) slope of the value by the log of the size: what tells a curve from a flat line."""
    x = np.log(n.astype(float))
    apart = x - x.mean()
    slope: np.ndarray = values @ apart / (apart @ apart)
    return slope


def best_more(laws: np.ndarray, n: int, *, price: float, decisions: int, most: int) -> np.ndarray:
    """(D,) how many more cases win the most: ``decisions`` times what they add, less their price.

    Args:
        price: Of a case, in utility.
        most: No further than this; a law is no knowledge of what lies far outside its points.
    """
    asked = np.unique(np.round(np.geomspace(1, max(2, most), 200))).astype(int)
    more = np.concatenate([[0], asked])  # (K,)
    power = laws[:, 2:]
    added = laws[:, 1:2] * (float(n) ** -power - (n + more)[None].astype(float) ** -power)  # (D, K)
    won: np.ndarray = more[np.argmax(decisions * added - price * more, axis=1)]
    return won
