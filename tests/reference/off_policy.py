"""Off-policy estimators in the plainest code, and made-up logs, for tests of the real ones.

Belongs here: what those tests share. Does not: anything that is shipped.
"""

from math import sqrt

import msgspec
import numpy as np

from planner_pipeline.evaluation.off_policy import LoggedDecisions


def some_decisions(
    n: int = 40, n_actions: int = 4, *, seed: int = 0, per_issue: int = 1, epsilon: float = 0.6
) -> LoggedDecisions:
    """Decisions of an epsilon-greedy logger whose issues have easy and hard ones among them."""
    rng = np.random.default_rng(seed)
    n_issues = max(1, n // per_issue)
    cluster = np.arange(n) % n_issues
    ease = rng.normal(size=n_issues)
    greedy = rng.integers(0, n_actions, n)
    logging = np.full((n, n_actions), epsilon / n_actions)
    logging[np.arange(n), greedy] += 1 - epsilon
    action = np.array([rng.choice(n_actions, p=row) for row in logging])
    target = rng.dirichlet(np.ones(n_actions), n)
    truth = ease[cluster][:, None] + np.linspace(-1, 1, n_actions)
    return LoggedDecisions(
        action=action, propensity=logging[np.arange(n), action],
        reward=truth[np.arange(n), action] + rng.normal(size=n), cluster=cluster,
        target=target, logging=logging, q_hat=truth + rng.normal(0, 0.3, truth.shape),
    )  # fmt: skip


def shuffled(logs: LoggedDecisions, order: np.ndarray) -> LoggedDecisions:
    return msgspec.structs.replace(
        logs, **{name: getattr(logs, name)[order] for name in logs.__struct_fields__}
    )


def naive_estimates(logs: LoggedDecisions, tau: float) -> dict[str, float]:
    """Every estimator, one decision after another, from its equation."""
    n, total = len(logs.action), dict.fromkeys(("wr", "w", "v", "we", "kept"), 0.0)
    for i in range(n):
        a = logs.action[i]
        weight = logs.target[i, a] / logs.propensity[i]
        error = logs.reward[i] - logs.q_hat[i, a]
        total["wr"] += weight * logs.reward[i]
        total["w"] += weight
        total["v"] += sum(logs.target[i, b] * logs.q_hat[i, b] for b in range(logs.n_actions))
        total["we"] += weight * error
        total["kept"] += weight * error if weight <= tau else 0.0
    return {
        "ips": total["wr"] / n,
        "snips": total["wr"] / total["w"],
        "dm": total["v"] / n,
        "dr": total["v"] / n + total["we"] / n,
        "sndr": total["v"] / n + total["we"] / total["w"],
        "switch_dr": total["v"] / n + total["kept"] / n,
    }


def naive_threshold(logs: LoggedDecisions, taus: np.ndarray) -> float:
    """The threshold of the least variance + squared bound of the bias, by trying each."""
    best, least = 0.0, float("inf")
    n, span = len(logs.action), max(logs.reward) - min(logs.reward)
    for tau in taus:
        terms, mass = [], 0.0
        for i in range(n):
            a = logs.action[i]
            weight = logs.target[i, a] / logs.propensity[i]
            kept = weight * (logs.reward[i] - logs.q_hat[i, a]) if weight <= tau else 0.0
            terms.append(float(logs.target[i] @ logs.q_hat[i]) + kept)
            ratios = logs.target[i] / logs.logging[i]
            mass += sum(p for p, ratio in zip(logs.target[i], ratios, strict=True) if ratio > tau)
        mean = sum(terms) / n
        found = sum((term - mean) ** 2 for term in terms) / n / n + (span * mass / n) ** 2
        if found < least:
            best, least = float(tau), found
    return best


def naive_error(logs: LoggedDecisions) -> float:
    """Standard error of DR by issues: summed influence, squared, summed, scaled."""
    n, parts = len(logs.action), naive_estimates(logs, float("inf"))
    of_issue: dict[int, float] = {}
    for i in range(n):
        a = logs.action[i]
        weight = logs.target[i, a] / logs.propensity[i]
        term = float(logs.target[i] @ logs.q_hat[i]) + weight * (logs.reward[i] - logs.q_hat[i, a])
        issue = int(logs.cluster[i])
        of_issue[issue] = of_issue.get(issue, 0.0) + (term - parts["dr"]) / n
    g = len(of_issue)
    return sqrt(sum(moved**2 for moved in of_issue.values()) * g / (g - 1))


def naive_ridge(
    x: np.ndarray, action: np.ndarray, reward: np.ndarray, asked: np.ndarray, n_actions: int
) -> np.ndarray:
    """Ridge regression on features, one-hot actions and their products, column by column."""
    scale = [c.std() * sqrt(x.shape[1]) if c.std() > 1e-9 else float("inf") for c in x.T]

    def row(features: np.ndarray, taken: int) -> list[float]:
        z = [(f - m) / s for f, m, s in zip(features, x.mean(axis=0), scale, strict=True)]
        hot = [float(a == taken) for a in range(n_actions)]
        return [*z, *hot, *(h * f for h in hot for f in z)]

    design = np.array([row(f, a) for f, a in zip(x, action, strict=True)])
    ridge = np.vstack([design, np.eye(design.shape[1])])
    padded = np.concatenate([reward - reward.mean(), np.zeros(design.shape[1])])
    found, *_ = np.linalg.lstsq(ridge, padded, rcond=None)
    return np.array(
        [[reward.mean() + np.dot(row(f, a), found) for a in range(n_actions)] for f in asked]
    )
