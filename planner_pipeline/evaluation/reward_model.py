"""The reward model of DM and DR: ridge regression on context, action and both, out of fold.

Belongs here: fitting it, cross-fitted by cluster. Does not: the estimators (``off_policy``),
outcome models that serve. Shapes: n decisions, F features, A actions.

The model is r = mu + b.x + c_a + d_a.x with one penalty on all of b, c and d, x standardised and
scaled by 1 / sqrt(F) so that an action's intercept and its whole context weigh alike. Where there
are fewer decisions than coefficients it is solved as kernel ridge, k((x, a), (x', a')) = x.x' +
[a = a'] (1 + x.x'), which is the same. DR needs no more of it than that it saw no decision of the
issue it tells of: DR is unbiased under a bad model, and narrower under a good one.
"""

from typing import Final

import numpy as np

N_FOLDS: Final = 5
PENALTY: Final = 1.0  # as much as one observation at an action's intercept


def folds_of(cluster: np.ndarray, n_folds: int = N_FOLDS, seed: int = 0) -> np.ndarray:
    """(n,) fold of every decision: whole clusters, dealt in a seeded order."""
    names, position = np.unique(cluster, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    return order[position] % min(n_folds, max(2, len(names)))


def cross_fitted(
    features: np.ndarray,
    action: np.ndarray,
    reward: np.ndarray,
    cluster: np.ndarray,
    *,
    n_actions: int,
    penalty: float = PENALTY,
    n_folds: int = N_FOLDS,
    seed: int = 0,
) -> np.ndarray:
    """(n, A) expected reward of every action, by a model that saw no decision of the same cluster.

    Args:
        features: (n, F) context of each decision, known before it; F may be 0.
        action: (n,) what ran.
        reward: (n,).
        cluster: (n,) issues.

    Raises:
        ValueError: there are fewer than two clusters.
    """
    fold = folds_of(cluster, n_folds, seed)
    if len(np.unique(cluster)) < 2:
        raise ValueError("a reward model out of fold needs decisions of at least two issues")
    q_hat = np.empty((len(action), n_actions))
    for held_out in np.unique(fold):
        out, into = fold == held_out, fold != held_out
        q_hat[out] = ridge_rewards(
            features[into], action[into], reward[into], features[out],
            n_actions=n_actions, penalty=penalty,
        )  # fmt: skip
    return q_hat


def ridge_rewards(
    features: np.ndarray,
    action: np.ndarray,
    reward: np.ndarray,
    asked: np.ndarray,
    *,
    n_actions: int,
    penalty: float = PENALTY,
) -> np.ndarray:
    """(m, A) expected rewards at ``asked`` (m, F), of a model fitted on all of the rest."""
    mean, spread = features.mean(axis=0), features.std(axis=0)
    scale = np.where(spread > 1e-9, spread, np.inf) * np.sqrt(max(1, features.shape[1]))
    x, z = (features - mean) / scale, (asked - mean) / scale
    takes = np.eye(n_actions)[action]  # (n, A)
    mu = reward.mean()
    n_columns = x.shape[1] + n_actions * (1 + x.shape[1])
    solve = _by_columns if n_columns < len(x) else _by_rows
    fitted: np.ndarray = mu + solve(x, takes, reward - mu, z, penalty)
    return fitted


def _by_columns(
    x: np.ndarray, takes: np.ndarray, centred: np.ndarray, z: np.ndarray, penalty: float
) -> np.ndarray:
    """(m, A) of the normal equations: a column for every feature, action and pair of them."""
    n, n_features = x.shape
    n_actions = takes.shape[1]
    pairs = (takes[:, :, None] * x[:, None, :]).reshape(n, n_actions * n_features)
    design = np.concatenate([x, takes, pairs], axis=1)
    normal = design.T @ design
    normal[np.diag_indices_from(normal)] += penalty
    found = np.linalg.solve(normal, design.T @ centred)
    shared, own, of_pair = np.split(found, (n_features, n_features + n_actions))
    of_action: np.ndarray = z @ of_pair.reshape(n_actions, n_features).T + own
    of_action += (z @ shared)[:, None]
    return of_action


def _by_rows(
    x: np.ndarray, takes: np.ndarray, centred: np.ndarray, z: np.ndarray, penalty: float
) -> np.ndarray:
    """(m, A) of the same equations, a row for every decision: for few decisions of many facts."""
    alike = x @ x.T  # (n, n)
    kernel = alike + (1.0 + alike) * (takes @ takes.T)
    kernel[np.diag_indices_from(kernel)] += penalty
    dual = np.linalg.solve(kernel, centred)  # (n,)
    near = z @ x.T  # (m, n)
    of_action: np.ndarray = (1.0 + near) @ (dual[:, None] * takes)
    of_action += (near @ dual)[:, None]
    return of_action
