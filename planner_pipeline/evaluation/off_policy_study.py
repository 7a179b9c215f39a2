"""Off-policy estimators where the truth is known: bias, coverage and error against n.

Belongs here: sub-sampling one action a case from full tables with known propensities, and counting.
Does not: making the tables (``bench.replay``), the estimators, files
(``experiments.off_policy_trials``). Spec: section 8; design/architecture.md (laws).
Shapes: N cases of the table, A actions, J outcomes, n decisions of one replay, S replays.

One replay draws n cases with replacement, for each one action from a logging policy whose
probabilities are written down, and one of the outcomes of that case and action, each alike. The
truth is the mean over the table's cases of what the judged policy's actions come to on average over
their outcomes: exactly what the replays are drawn from, so nothing but chance and the estimator
stands between an estimate and it. Every drawn case is a cluster of its own, because draws are
independent; the table itself is given, and no interval here is about other tables.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
import polars as pl
from scipy.stats import binomtest

from planner_pipeline.evaluation.bootstrap import N_BOOTSTRAP
from planner_pipeline.evaluation.off_policy import (
    ESTIMATORS,
    LoggedDecisions,
    row_sums,
    value_of,
)
from planner_pipeline.evaluation.off_policy_intervals import (
    INTERVAL_KINDS,
    cluster_sums,
    draw_counts,
    interval,
    resample,
)
from planner_pipeline.evaluation.outcome_bench import OutcomeBench
from planner_pipeline.evaluation.overlap import effective_sample_size
from planner_pipeline.evaluation.reward_model import cross_fitted
from planner_pipeline.tables import OFF_POLICY_STUDY, check_table, polars_schema

SIZES: Final = (50, 100, 200, 500, 1_000)
N_REPLAYS: Final = 500


class KnownWorld(msgspec.Struct, frozen=True, kw_only=True):
    """Every outcome of every action in every case, one after another.

    Attributes:
        reward: (J,) of each outcome, those of a (case, action) side by side.
        first, count: (N, A) int64 where they begin and how many they are; count is at least 1.
        features: (N, F) what is known of a case before its decision.
    """

    reward: np.ndarray
    first: np.ndarray
    count: np.ndarray
    features: np.ndarray

    @property
    def expected(self) -> np.ndarray:
        """(N, A) mean reward of every action in every case."""
        total = np.concatenate([[0.0], np.cumsum(self.reward)])
        mean: np.ndarray = (total[self.first + self.count] - total[self.first]) / self.count
        return mean

    def truth(self, target: np.ndarray) -> float:
        """What a policy comes to, (N, A) probabilities: the figure replays estimate."""
        return float((target * self.expected).sum(axis=1).mean())


def known_world(bench: OutcomeBench, *, cost_weight: float, features: np.ndarray) -> KnownWorld:
    """The world of an outcome table with utility as the reward.

    Args:
        features: (N, F) in the order of the bench's cases.

    Raises:
        ValueError: a case lacks an outcome of some action, so that there is no truth to know.
    """
    flat = bench.case * bench.n_actions + bench.action
    count = np.bincount(flat, minlength=bench.n_cases * bench.n_actions)
    if not count.all():
        raise ValueError(f"{(count == 0).sum()} pairs of case and action have no outcome")
    shape = (bench.n_cases, bench.n_actions)
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    return KnownWorld(
        reward=bench.utility(cost_weight),
        first=first.reshape(shape),
        count=count.reshape(shape),
        features=features,
    )


def epsilon_greedy(preferred: np.ndarray, n_actions: int, epsilon: float) -> np.ndarray:
    """(N, A) probabilities: the preferred action, but any one alike with probability epsilon."""
    table: np.ndarray = (1 - epsilon) * np.eye(n_actions)[preferred] + epsilon / n_actions
    return table


def softmax_of(scores: np.ndarray, temperature: float) -> np.ndarray:
    """(N, A) probabilities in proportion to exp(score / temperature)."""
    raised = np.exp((scores - scores.max(axis=1, keepdims=True)) / temperature)
    table: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return table


def sub_sample(
    world: KnownWorld,
    *,
    logging: np.ndarray,
    target: np.ndarray,
    n: int,
    rng: np.random.Generator,
) -> LoggedDecisions:
    """One replay: n logged decisions with known propensities and a reward model out of fold."""
    n_cases, n_actions = world.first.shape
    case = rng.integers(0, n_cases, n)
    below = np.cumsum(logging[case], axis=1)
    draw = rng.random((n, 1)) * below[:, -1:]
    action = np.minimum((draw >= below).sum(axis=1), n_actions - 1)
    first, count = world.first[case, action], world.count[case, action]
    reward = world.reward[first + rng.integers(0, count)]
    cluster = np.arange(n)
    return LoggedDecisions(
        action=action,
        propensity=logging[case, action],
        reward=reward,
        cluster=cluster,
        target=target[case],
        logging=logging[case],
        q_hat=cross_fitted(world.features[case], action, reward, cluster, n_actions=n_actions),
    )


class Pairing(msgspec.Struct, frozen=True, kw_only=True):
    """Who logged and who is judged, by name, (N, A) probabilities each."""

    logger: str
    judged: str
    logging: np.ndarray
    target: np.ndarray


class _Tally:
    """Estimates and intervals of the replays of one pairing and size."""

    def __init__(self, truth: float) -> None:
        self._truth = truth
        self._values: dict[str, list[float]] = {name: [] for name in ESTIMATORS}
        self._bounds: dict[tuple[str, str], list[tuple[float, float] | None]] = {
            (name, kind): [] for name in ESTIMATORS for kind in INTERVAL_KINDS
        }
        self._effective: list[float] = []

    def add(self, decisions: LoggedDecisions, counts: np.ndarray) -> None:
        """Note what every estimator says of one replay."""
        sums = cluster_sums(row_sums(decisions), decisions.cluster)
        data = resample(sums, counts)
        self._effective.append(effective_sample_size(decisions.weights))
        for name, estimator in ESTIMATORS.items():
            self._values[name].append(float(value_of(estimator, data.totals)))
            for kind in INTERVAL_KINDS:
                self._bounds[name, kind].append(interval(estimator, data, kind))

    def rows(self) -> Iterator[dict[str, object]]:
        """A row for every estimator and kind of interval."""
        for (name, kind), bounds in self._bounds.items():
            values = np.array(self._values[name])
            known = values[np.isfinite(values)]
            told = np.array([pair for pair in bounds if pair is not None]).reshape(-1, 2)
            n_covered = int(((told[:, 0] <= self._truth) & (self._truth <= told[:, 1])).sum())
            # a replay without an interval is one that does not cover
            share = binomtest(n_covered, len(bounds)).proportion_ci(method="wilson")
            yield {
                "estimator": name,
                "interval": kind,
                "truth": self._truth,
                "replays": len(bounds),
                "no_interval": len(bounds) - len(told),
                "bias": float(known.mean() - self._truth),
                "bias_error": float(known.std(ddof=1) / np.sqrt(len(known))),
                "rmse": float(np.sqrt(((known - self._truth) ** 2).mean())),
                "coverage": n_covered / len(bounds),
                "coverage_low": float(share.low),
                "coverage_high": float(share.high),
                "median_width": float(np.median(told[:, 1] - told[:, 0])),
                "effective_n": float(np.mean(self._effective)),
            }


def off_policy_study(
    world: KnownWorld,
    pairings: Sequence[Pairing],
    *,
    sizes: Sequence[int] = SIZES,
    n_replays: int | Mapping[int, int] = N_REPLAYS,
    n_resamples: int = N_BOOTSTRAP,
    seed: int = 0,
) -> pl.DataFrame:
    """``OFF_POLICY_STUDY``: how every estimator and kind of interval does, by pairing and n.

    Args:
        n_replays: Of every size, or by size.
        n_resamples: Of the bootstraps. All replays of a size share them, which changes nothing
            about one interval: resamples do not look at the data.
    """
    rows: list[dict[str, object]] = []
    for number, pairing in enumerate(pairings):
        truth = world.truth(pairing.target)
        for n in sizes:
            rng = np.random.default_rng((seed, number, n))
            counts = draw_counts(n, n_resamples=n_resamples, seed=seed)
            tally = _Tally(truth)
            for _ in range(n_replays if isinstance(n_replays, int) else n_replays[n]):
                tally.add(
                    sub_sample(world, logging=pairing.logging, target=pairing.target, n=n, rng=rng),
                    counts,
                )
            named = {"logger": pairing.logger, "judged": pairing.judged, "n": n}
            rows.extend(named | row for row in tally.rows())
    return check_table(OFF_POLICY_STUDY, pl.DataFrame(rows, schema=polars_schema(OFF_POLICY_STUDY)))
