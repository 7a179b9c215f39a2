"""Outcome metrics of policies on a bench, every one with its interval and its n.

Belongs here: pass rate, cost, time, regret, gap closed, and paired differences to the yardsticks.
Does not: the resamples (``outcome_bench``), diagnostics of predictions (``diagnostics``).
Spec: section 8.2. A figure that cannot be computed has no value, never 0.

``cost_weight`` is what a pass is worth less for each agent-minute: utility = pass - weight x
minutes. Oracles and best fixed actions are chosen once, on the data, and stay while it is
resampled: an interval is about a policy, not about choosing it. It tells how far the figure may be
off for other issues, not for other systems.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl

from planner_pipeline.evaluation.bootstrap import N_BOOTSTRAP, interval_of
from planner_pipeline.evaluation.outcome_bench import OutcomeBench, Policy, Scores
from planner_pipeline.evaluation.yardsticks import (
    best_fixed,
    best_fixed_out_of_fold,
    honest_oracle,
    oracle,
    prior_of_other_systems,
)
from planner_pipeline.tables import CHOICES, OUTCOME_FIGURES, check_table, polars_schema

DEFAULT: Final = "default"
BEST_FIXED: Final = "best_fixed"  # with a suffix: chosen elsewhere than on the scored cases
TRAINED: Final = "best_fixed_training"
ORACLE: Final = "oracle"
HONEST_ORACLE: Final = "honest_oracle"
LOOSE_ORACLE: Final = "honest_oracle_loose"  # of equal actions it takes the last
SYSTEM_PRIOR: Final = "prior_of_other_systems"
PAIRED: Final = (
    "pass_rate",
    "minutes_per_pass",
    "usd_per_pass",
    "mean_minutes_to_pass",
    "utility",
)

Draws = np.ndarray  # (R + 1,) a figure on the data and on every resample
FigureRow = tuple[str, str, str | None, float | None, float | None, float | None, int, int]


def _ratio(part: Draws, whole: Draws) -> Draws:
    """``part / whole``, NaN where ``whole`` is not above 0."""
    result = np.full(len(part), np.nan)
    np.divide(part, whole, out=result, where=whole > 1e-12)
    return result


class _Judge:
    """Figures of scored policies at one cost weight."""

    def __init__(
        self,
        bench: OutcomeBench,
        scores: Mapping[str, Scores],
        cost_weight: float,
        fixed: Sequence[str],
    ) -> None:
        self._bench, self._scores, self._weight = bench, scores, cost_weight
        self._fixed = fixed  # names of the best fixed actions
        self._known: dict[tuple[str, bytes], dict[str, Draws]] = {}

    def _figures(self, name: str, mask: np.ndarray) -> dict[str, Draws]:
        """Every figure of one policy over the cases of ``mask``."""
        key = (name, mask.tobytes())
        if key not in self._known:
            self._known[key] = self._worked_out(self._scores[name], mask)
        return self._known[key]

    def _worked_out(self, scores: Scores, mask: np.ndarray) -> dict[str, Draws]:
        counts = self._bench.counts * mask

        def total(values: np.ndarray) -> Draws:
            summed: Draws = np.einsum("rn,rn->r", counts, values)
            return summed

        n, passes = counts.sum(axis=1), total(scores.passed)
        minutes = total(scores.agent_minutes)
        figures = {
            "pass_rate": _ratio(passes, n),
            "minutes_per_pass": _ratio(minutes, passes),
            "mean_minutes_to_pass": _ratio(total(scores.minutes_passing), passes),
            "utility": _ratio(passes - self._weight * minutes, n),
            "abstain_ratio": _ratio(counts @ scores.abstains.astype(float), n),
        }
        if scores.cost_usd is not None:
            figures["usd_per_pass"] = _ratio(total(scores.cost_usd), passes)
        return figures

    def _shared(self, *names: str) -> np.ndarray:
        """(N,) bool: the cases that all these policies have an outcome in."""
        mask: np.ndarray = np.logical_and.reduce([self._scores[n].is_scored for n in names])
        return mask

    def _row(
        self, policy: str, figure: str, against: str | None, draws: Draws | None, mask: np.ndarray
    ) -> FigureRow:
        n = int(mask.sum())
        n_issues = len({i for i, is_in in zip(self._bench.issues, mask, strict=True) if is_in})
        found = None if draws is None else interval_of(draws, n=n, n_issues=n_issues)
        if found is None:
            return (policy, figure, against, None, None, None, n, n_issues)
        return (policy, figure, against, found.value, found.low, found.high, n, n_issues)

    def rows(self, name: str) -> Iterator[FigureRow]:
        """Every figure of one policy, by itself and against the yardsticks."""
        alone = self._shared(name)
        figures = self._figures(name, alone)
        for figure in (*PAIRED, "abstain_ratio"):
            yield self._row(name, figure, None, figures.get(figure), alone)
        for other in (DEFAULT, *self._fixed):
            if other != name:
                yield from self._differences(name, other)
        for best in (ORACLE, HONEST_ORACLE, LOOSE_ORACLE):
            mask = self._shared(name, best)
            regret = self._utility(best, mask) - self._utility(name, mask)
            yield self._row(name, "regret", best, regret, mask)
            for other in self._fixed:
                mask = self._shared(name, best, other)
                gap = self._utility(best, mask) - self._utility(other, mask)
                gained = self._utility(name, mask) - self._utility(other, mask)
                draws = _ratio(gained, gap)
                yield self._row(name, "gap_closed", f"{other} to {best}", draws, mask)

    def _utility(self, name: str, mask: np.ndarray) -> Draws:
        return self._figures(name, mask)["utility"]

    def _differences(self, name: str, other: str) -> Iterator[FigureRow]:
        mask = self._shared(name, other)
        mine, theirs = self._figures(name, mask), self._figures(other, mask)
        for figure in PAIRED:
            is_known = figure in mine and figure in theirs
            draws = mine[figure] - theirs[figure] if is_known else None
            yield self._row(name, f"{figure}_difference", other, draws, mask)


def _yardsticks(
    bench: OutcomeBench,
    defaults: np.ndarray,
    folds: Mapping[str, np.ndarray],
    training: OutcomeBench | None,
    cost_weight: float,
) -> dict[str, Policy]:
    utility = bench.expected_utility(cost_weight)
    prior = prior_of_other_systems(utility, bench.issues, bench.systems)
    policies = {
        DEFAULT: bench.policy(defaults),
        BEST_FIXED: bench.policy(best_fixed(utility)),
        **{
            f"{BEST_FIXED}_{name}": bench.policy(best_fixed_out_of_fold(utility, fold_of))
            for name, fold_of in folds.items()
        },
        SYSTEM_PRIOR: bench.policy(prior, abstains=prior < 0, defaults=defaults),
        ORACLE: bench.policy(oracle(utility)),
        HONEST_ORACLE: honest_oracle(bench, cost_weight),
        LOOSE_ORACLE: honest_oracle(bench, cost_weight, "last"),
    }
    if training is not None:
        chosen = best_fixed(training.expected_utility(cost_weight))[0]
        policies[TRAINED] = bench.policy(np.full(bench.n_cases, chosen))
    return policies


def _chosen(
    bench: OutcomeBench, choices: pl.DataFrame, defaults: np.ndarray, cost_weight: float
) -> dict[str, Policy]:
    """The policies of a table of choices that speak at ``cost_weight``."""
    position = {case_id: n for n, case_id in enumerate(bench.case_ids)}
    weight = pl.col("cost_weight")
    policies = {}
    for (name,), rows in choices.filter(weight.is_null() | (weight == cost_weight)).group_by(
        ["policy"], maintain_order=True
    ):
        if rows["case_id"].is_duplicated().any():
            raise ValueError(f"policy {name!r} chooses twice in one case")
        cases = [position[case_id] for case_id in rows["case_id"]]
        actions = np.full(bench.n_cases, -1)
        abstains = np.zeros(bench.n_cases, dtype=bool)
        actions[cases] = rows["action"].to_numpy()
        abstains[cases] = rows["abstains"].to_numpy()
        policies[str(name)] = bench.policy(actions, abstains=abstains, defaults=defaults)
    return policies


def _in_case_order(bench: OutcomeBench, of_case: Mapping[str, int], what: str) -> np.ndarray:
    missing = [case_id for case_id in bench.case_ids if case_id not in of_case]
    if missing:
        raise ValueError(f"{len(missing)} cases have no {what}, first {missing[0]!r}")
    return np.array([of_case[case_id] for case_id in bench.case_ids], dtype=np.int64)


def choices_table(
    policy: str,
    case_ids: Sequence[str],
    actions: np.ndarray,
    *,
    abstains: np.ndarray,
    cost_weight: float | None = None,
) -> pl.DataFrame:
    """One policy's rows of a table of choices.

    Args:
        actions: (N,) the action in each case.
        abstains: (N,) bool.
        cost_weight: The weight it was made for; None where it chooses alike at all weights.

    Raises:
        ValueError: there is not one action for each case.
    """
    if not len(actions) == len(abstains) == len(case_ids):
        raise ValueError(f"policy {policy!r} has {len(actions)} actions for {len(case_ids)} cases")
    return pl.DataFrame(
        {
            "policy": [policy] * len(case_ids),
            "cost_weight": [cost_weight] * len(case_ids),
            "case_id": case_ids,
            "action": actions,
            "abstains": abstains,
        },
        schema=polars_schema(CHOICES),
    )


def outcome_figures(
    outcomes: pl.DataFrame,
    choices: pl.DataFrame,
    *,
    defaults: Mapping[str, int],
    cost_weights: Sequence[float],
    folds: Mapping[str, Mapping[str, int]] | None = None,
    training: pl.DataFrame | None = None,
    n_resamples: int = N_BOOTSTRAP,
    seed: int = 0,
) -> pl.DataFrame:
    """``OUTCOME_FIGURES`` of the policies of ``choices`` and of every yardstick.

    An abstained case scores its default's outcome. A case without an outcome of the served action
    counts for nobody there: ``n`` tells how many did, and a difference is over the cases that both
    sides have. A lower cost, time or regret is better; a difference is the policy's figure minus
    the other's.

    Args:
        outcomes: ``ACTION_OUTCOMES`` of the cases to score.
        choices: ``CHOICES``; a case that a policy says nothing about is not scored for it.
        defaults: The default action of every case.
        folds: By a name, a fold for every case: the best fixed action is also chosen on the cases
            of the other folds, as ``best_fixed_<name>``.
        training: ``ACTION_OUTCOMES`` of other cases to choose ``best_fixed_training`` on.

    Raises:
        ValueError: a case lacks a default or a fold, a choice is for a case that is not there, or
            a policy has the name of a yardstick.
        pandera.errors.SchemaError: a table breaks its schema.
    """
    bench = OutcomeBench(outcomes, n_resamples=n_resamples, seed=seed)
    apart = None if training is None else OutcomeBench(training, n_resamples=0)
    default = _in_case_order(bench, defaults, "default")
    fold_of = {
        name: _in_case_order(bench, of_case, f"fold {name!r}")
        for name, of_case in (folds or {}).items()
    }
    strangers = set(check_table(CHOICES, choices)["case_id"]) - set(bench.case_ids)
    if strangers:
        raise ValueError(f"{len(strangers)} choices are for unknown cases, as {min(strangers)!r}")
    rows: list[tuple[float, *FigureRow]] = []
    for cost_weight in cost_weights:
        policies = _yardsticks(bench, default, fold_of, apart, cost_weight)
        learned = _chosen(bench, choices, default, cost_weight)
        if taken := policies.keys() & learned.keys():
            raise ValueError(f"{sorted(taken)} are names of yardsticks")
        scores = {name: bench.score(policy) for name, policy in (policies | learned).items()}
        fixed = [name for name in policies if name.startswith(BEST_FIXED)]
        judge = _Judge(bench, scores, cost_weight, fixed)
        rows.extend((cost_weight, *row) for name in scores for row in judge.rows(name))
    table = pl.DataFrame(rows, schema=polars_schema(OUTCOME_FIGURES), orient="row")
    return check_table(OUTCOME_FIGURES, table)
