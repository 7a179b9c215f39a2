"""The joint fit of a track record with dense matrices and loops, for tests.

Belongs here: the plainest code for what ``training.track_record_fit`` does by elimination. Does
not: anything that is shipped.
"""

import numpy as np
from scipy import special, stats

from planner_pipeline.training.outcome_data import Tries
from planner_pipeline.training.track_record_fit import BASE_VARIANCE, Cells


def some_tries(
    n_toolchains: int = 5, n_issues: int = 20, n_tries: int = 3, *, seed: int = 0,
    share: float = 0.7, limit: float = np.inf,
) -> Tries:  # fmt: skip
    """Tries by skill and ease, one pair's after another's in a random order, an hour apart."""
    rng = np.random.default_rng(seed)
    skill, ease = rng.normal(size=n_toolchains), 1.5 * rng.normal(size=n_issues)
    slow, long = 0.3 * rng.normal(size=n_toolchains), 0.4 * rng.normal(size=n_issues)
    pairs = [(t, i) for t in range(n_toolchains) for i in range(n_issues) if rng.random() < share]
    rows = [pair for pair in pairs for _ in range(int(rng.integers(1, n_tries + 1)))]
    t, i = np.array(rows)[rng.permutation(len(rows))].T
    passed = rng.random(len(t)) < special.expit(skill[t] + ease[i])
    minutes = np.exp(2.0 - 0.4 * passed + slow[t] + long[i] + 0.4 * rng.normal(size=len(t)))
    timed_out = minutes > limit
    usd = minutes * np.exp(-2 + 0.5 * t + 0.2 * rng.normal(size=len(t)))
    return Tries(
        np.array([f"chain-{n}" for n in t], dtype=object),
        np.array([f"task-{n:03d}" for n in i], dtype=object),
        passed & ~timed_out, timed_out, np.minimum(minutes, limit), usd,
        3_600_000 * (1 + np.arange(len(t))),
    )  # fmt: skip


def design(cells: Cells) -> np.ndarray:
    """(J, 1 + S + I) of ones: the base, the toolchain, the issue."""
    matrix = np.zeros((len(cells), 1 + len(cells.toolchains) + len(cells.issues)))
    for row, (t, i) in enumerate(zip(cells.toolchain, cells.issue, strict=True)):
        matrix[row, [0, 1 + t, 1 + len(cells.toolchains) + i]] = 1.0
    return matrix


def prior_precision(cells: Cells, variances: tuple[float, float]) -> np.ndarray:
    """(1 + S + I, 1 + S + I), diagonal."""
    s, i = len(cells.toolchains), len(cells.issues)
    return np.diag([1 / BASE_VARIANCE] + [1 / variances[0]] * s + [1 / variances[1]] * i)


def dense_passing(
    cells: Cells, variances: tuple[float, float], kappa: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """(1 + S + I,) modes, their variances, and Laplace's evidence, by Newton with an inverse."""
    x, prior = design(cells), prior_precision(cells, variances)
    effects = np.zeros(x.shape[1])

    def derivatives(logit: float, n: float, k: float) -> tuple[float, float]:
        p = special.expit(logit)
        a, b = kappa * p, kappa * (1 - p)
        first = kappa * (
            special.digamma(k + a) - special.digamma(a)
            - special.digamma(n - k + b) + special.digamma(b)
        )  # fmt: skip
        second = kappa**2 * (
            special.polygamma(1, a) - special.polygamma(1, k + a)
            + special.polygamma(1, b) - special.polygamma(1, n - k + b)
        )  # fmt: skip
        return first * p * (1 - p), second * (p * (1 - p)) ** 2

    for _ in range(200):
        found = [derivatives(*row) for row in zip(x @ effects, cells.n, cells.passed, strict=True)]
        slope, curve = np.array(found).T
        hessian = x.T @ np.diag(curve) @ x + prior
        step = np.linalg.inv(hessian) @ (x.T @ slope - prior @ effects)
        effects = effects + 0.7 * step
        if np.abs(step).max() < 1e-10:
            break
    value = 0.0
    for logit, n, k in zip(x @ effects, cells.n, cells.passed, strict=True):
        a, b = kappa * special.expit(logit), kappa * special.expit(-logit)
        value += special.betaln(k + a, n - k + b) - special.betaln(a, b)
    value += -0.5 * effects @ prior @ effects + 0.5 * np.linalg.slogdet(prior)[1]
    return effects, np.diag(np.linalg.inv(hessian)), value - 0.5 * np.linalg.slogdet(hessian)[1]


def dense_normal(
    cells: Cells, mean: np.ndarray, variance: np.ndarray, variances: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, float]:
    """The same of cell means with known variances, by the density of a joint normal."""
    x, prior = design(cells), prior_precision(cells, variances)
    covariance = np.linalg.inv(x.T @ np.diag(1 / variance) @ x + prior)
    effects = covariance @ x.T @ (mean / variance)
    joint = x @ np.linalg.inv(prior) @ x.T + np.diag(variance)
    evidence = stats.multivariate_normal(np.zeros(len(mean)), joint).logpdf(mean)
    return effects, np.diag(covariance), evidence
