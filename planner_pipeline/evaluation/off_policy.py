"""Off-policy estimators: what a policy would have come to, told from decisions of another one.

Belongs here: what was logged, the weights, six estimators and their influence, the threshold of
SWITCH. Does not: whether the logs can answer at all (``overlap``), intervals
(``off_policy_intervals``), the reward model (``reward_model``), reading traces (``ope_traces``).
Spec: section 7.4. Sources: Horvitz and Thompson 1952 (IPS), Hajek 1971 / Swaminathan and Joachims
2015 (SNIPS), Dudik, Langford and Li 2011 (DM, DR), Thomas and Brunskill 2016 (self-normalised DR),
Wang, Agarwal and Dudik 2017 (SWITCH).
Shapes: n decisions, A actions, G clusters (issues), T thresholds.

For decision i: a_i the action that ran, p_i its probability then, r_i what came of it, pi_ia the
probability that the judged policy gives action a, q_ia what a model fitted on other issues expects
of it; w_i = pi_i,a_i / p_i, v_i = sum_a pi_ia q_ia and e_i = r_i - q_i,a_i.

    ips        mean(w r)                        no model; the variance of the weights
    snips      sum(w r) / sum(w)                bounded by the rewards; biased as 1/n
    dm         mean(v)                          as wrong as the model is
    dr         mean(v + w e)                    unbiased when p is right; less variance than IPS
    sndr       mean(v) + sum(w e) / sum(w)      DR with its weights scaled to 1
    switch_dr  mean(v + w e [w <= tau])         DR where weights are small, the model elsewhere

Each is a sum of ratios of sums over decisions, which is all that ``influence`` and the bootstrap
need to know of it.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, cast

import msgspec
import numpy as np

ACTION_PROB_SLACK: Final = 1e-6  # how far probabilities of one decision may be from a sum of 1
N_THRESHOLDS: Final = 21  # tried by SWITCH; Wang et al. 2017, section 4


class LoggedDecisions(msgspec.Struct, frozen=True, kw_only=True):
    """Decisions that ran, and what the judged policy would have done there.

    Attributes:
        action: (n,) int64 index of the action that ran, 0 to A - 1.
        propensity: (n,) its probability when it was drawn, above 0.
        reward: (n,) what came of it, in any unit: a utility, a pass, minutes, dollars.
        cluster: (n,) what depends on what: the issue of every decision, as a name or a number.
        target: (n, A) probabilities of the judged policy, each row summing to 1.
        logging: (n, A) the least probability that each action is known to have had; NaN where
            nothing is known, 0 where it could not be drawn. None: known of no action but that
            which ran.
        q_hat: (n, A) expected reward of every action by a model that saw no decision of the same
            cluster. None: only ``ips`` and ``snips`` are told.

    Raises:
        ValueError: a shape, a probability or a number is not as said above.
    """

    action: np.ndarray
    propensity: np.ndarray
    reward: np.ndarray
    cluster: np.ndarray
    target: np.ndarray
    logging: np.ndarray | None = None
    q_hat: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.action)
        if self.target.ndim != 2 or len(self.target) != n:
            raise ValueError(f"target has shape {self.target.shape}, not ({n}, A)")
        for name in ("propensity", "reward", "cluster"):
            shape = getattr(self, name).shape
            if shape != (n,):
                raise ValueError(f"{name} has shape {shape}, not ({n},)")
        for name in ("logging", "q_hat"):
            table = getattr(self, name)
            if table is not None and table.shape != self.target.shape:
                raise ValueError(f"{name} has shape {table.shape}, not {self.target.shape}")
        if n and (self.action.min() < 0 or self.action.max() >= self.n_actions):
            raise ValueError(f"actions are from 0 to {self.n_actions - 1}")
        if not ((self.propensity > 0) & (self.propensity <= 1)).all():
            raise ValueError("a propensity is above 0 and at most 1: what ran could be drawn")
        off = np.abs(self.target.sum(axis=1) - 1) > ACTION_PROB_SLACK
        if off.any() or not (self.target >= 0).all():
            raise ValueError(f"the judged policy's probabilities do not sum to 1 in {off.sum()}")
        if not (np.isfinite(self.reward).all() and (self.q_hat is None or _finite(self.q_hat))):
            raise ValueError("rewards and what is expected of actions are finite numbers")

    @property
    def n_actions(self) -> int:
        """A."""
        return int(self.target.shape[1])

    @property
    def weights(self) -> np.ndarray:
        """(n,) pi / p of the action that ran."""
        return cast(np.ndarray, self.of_logged(self.target) / self.propensity)

    def of_logged(self, table: np.ndarray) -> np.ndarray:
        """(n,) of an (n, A) table the entry of the action that ran."""
        return cast(np.ndarray, table[np.arange(len(self.action)), self.action])


def _finite(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).all())


class Sums(NamedTuple):
    """What estimators are made of: (n,) a decision, (G,) a cluster, () or (R,) in all."""

    n: np.ndarray
    weight: np.ndarray
    reward: np.ndarray
    weighted_reward: np.ndarray
    model_value: np.ndarray
    weighted_residual: np.ndarray
    kept_residual: np.ndarray


class Ratio(NamedTuple):
    """One term of an estimator: ``sign`` x sum(``part``) / sum(``whole``), names of ``Sums``."""

    part: str
    whole: str
    sign: int = 1


Estimator = Sequence[Ratio]

_DM: Final = Ratio("model_value", "n")
ESTIMATORS: Final[Mapping[str, Estimator]] = {
    "ips": (Ratio("weighted_reward", "n"),),
    "snips": (Ratio("weighted_reward", "weight"),),
    "dm": (_DM,),
    "dr": (_DM, Ratio("weighted_residual", "n")),
    "sndr": (_DM, Ratio("weighted_residual", "weight")),
    "switch_dr": (_DM, Ratio("kept_residual", "n")),
}
MODEL_FREE: Final = ("ips", "snips")
LOGGED_MEAN: Final[Estimator] = (Ratio("reward", "n"),)  # what really came of the decisions


def gain_of(estimator: Estimator) -> Estimator:
    """The estimator minus the mean reward of what ran: is the judged policy better than that?"""
    return (*estimator, *(ratio._replace(sign=-ratio.sign) for ratio in LOGGED_MEAN))


def known_estimators(decisions: LoggedDecisions) -> Mapping[str, Estimator]:
    """Those that can be told: all with a reward model, else those that need none."""
    if decisions.q_hat is not None:
        return ESTIMATORS
    return {name: ESTIMATORS[name] for name in MODEL_FREE}


def row_sums(decisions: LoggedDecisions, threshold: float | None = None) -> Sums:
    """Everything estimators sum, for every decision.

    Args:
        threshold: Of SWITCH: a weight above it leaves its decision to the model. None: chosen by
            ``switch_threshold``.
    """
    weights, reward = decisions.weights, decisions.reward
    value, residual = np.zeros(len(reward)), np.zeros(len(reward))
    kept = residual
    if decisions.q_hat is not None:
        value = (decisions.target * decisions.q_hat).sum(axis=1)
        residual = weights * (reward - decisions.of_logged(decisions.q_hat))
        tau = switch_threshold(decisions) if threshold is None else threshold
        kept = np.where(weights <= tau, residual, 0.0)
    return Sums(np.ones(len(reward)), weights, reward, weights * reward, value, residual, kept)


def value_of(estimator: Estimator, totals: Sums) -> np.ndarray:
    """The estimate, of totals of any shape; NaN where a sum to divide by is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [
            sign * np.divide(getattr(totals, part), getattr(totals, whole))
            for part, whole, sign in estimator
        ]
        total = np.sum(terms, axis=0)
    return np.where(np.isfinite(total), total, np.nan)


def slopes(estimator: Estimator, totals: Sums) -> np.ndarray:
    """(..., 7) how fast the estimate changes with each of the sums, in the order of ``Sums``.

    An estimate does not change when all sums grow alike, so slopes times totals is 0 and slopes
    times the sums of one cluster is that cluster's influence, centred.
    """
    shape = np.shape(totals.n)
    found = np.zeros((*shape, len(Sums._fields)))
    with np.errstate(divide="ignore", invalid="ignore"):
        for part, whole, sign in estimator:
            below = getattr(totals, whole)
            found[..., Sums._fields.index(part)] += sign / below
            found[..., Sums._fields.index(whole)] -= sign * getattr(totals, part) / below**2
    return found


def point_estimates(decisions: LoggedDecisions, threshold: float | None = None) -> dict[str, float]:
    """Every estimate that can be told, by name, without an interval and without any check of
    whether the logs can answer (``overlap.check_overlap``). NaN where all weights are 0.
    """
    rows = row_sums(decisions, threshold)
    totals = Sums(*(np.sum(column) for column in rows))
    return {
        name: float(value_of(estimator, totals))
        for name, estimator in known_estimators(decisions).items()
    }


def thresholds(weights: np.ndarray) -> np.ndarray:
    """(T,) what SWITCH may choose from, rising: evenly spaced in the logarithm between the 5th and
    the 95th percentile of the weights above 0, and infinity, which is DR.
    """
    positive = weights[weights > 0]
    if not len(positive):
        return np.array([np.inf])
    low, high = np.percentile(positive, (5, 95))
    return np.append(np.unique(np.geomspace(low, high, N_THRESHOLDS)), np.inf)


def switch_threshold(decisions: LoggedDecisions) -> float:
    """The threshold of the least estimated variance + squared bound of the bias.

    Source: Wang, Agarwal and Dudik 2017, section 3.3. The variance is that of the mean; the bias of
    leaving actions above the threshold to the model is at most the judged policy's mass on them,
    times how far a reward can be off. Their R_max is taken as the range of the rewards that were
    seen, so that adding a constant to all rewards changes nothing. Where the logging probability of
    some action is not known, the mass is estimated from the weights of what ran.

    Raises:
        ValueError: there is no reward model.
    """
    if decisions.q_hat is None:
        raise ValueError("SWITCH leaves decisions to a reward model, and there is none")
    weights, n = decisions.weights, len(decisions.action)
    taus = thresholds(weights)
    value = (decisions.target * decisions.q_hat).sum(axis=1)
    residual = weights * (decisions.reward - decisions.of_logged(decisions.q_hat))
    terms = value + np.where(weights <= taus[:, None], residual, 0.0)  # (T, n)
    variance = terms.var(axis=1) / n
    bias = np.ptp(decisions.reward) * _mass_above(decisions, taus)
    return float(taus[np.argmin(variance + bias**2)])


def _mass_above(decisions: LoggedDecisions, taus: np.ndarray) -> np.ndarray:
    """(T,) mean probability of the judged policy to take an action whose weight is above tau."""
    logging, target = decisions.logging, decisions.target
    if logging is None or np.isnan(logging[target > 0]).any():
        weights = decisions.weights
        above = (weights[:, None] * (weights[:, None] > taus)).mean(axis=0)  # (T,)
        return cast(np.ndarray, np.minimum(above, 1.0))
    taken = target > 0
    mass, ratio = target[taken], np.full(int(taken.sum()), np.inf)
    np.divide(mass, logging[taken], out=ratio, where=logging[taken] > 0)
    order = np.argsort(ratio, kind="stable")
    below = np.concatenate([[0.0], np.cumsum(mass[order])])
    kept = below[np.searchsorted(ratio[order], taus, side="right")]
    return np.where(np.isinf(taus), 0.0, (below[-1] - kept) / len(target))
