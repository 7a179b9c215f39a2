"""Outcomes as arrays, and what a policy comes to on them under every bootstrap resample.

Belongs here: reading an outcome table, playing a policy on it. Does not: which policies there are
(``yardsticks``), figures and their intervals (``outcomes``). Spec: section 8.2.
Shapes: J rows of the outcome table, N cases, A actions, U attempts, R resamples; row 0 of every
(R + 1, ...) array is the data itself.

Two things are resampled. Issues are drawn with replacement, each with all of its cases. Within a
case every attempt gets a weight from the exponential distribution, the Bayesian bootstrap (Rubin
1981): an outcome of several attempts weighs the product of theirs. Unlike drawing attempts again,
that leaves no subset with the same attempt twice, and one draw serves all actions and policies, so
that their differences pair up. A case of one attempt keeps its outcome.
Nested resampling counts the noise of attempts twice (it is in the issues as well): intervals err on
the wide side.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.evaluation.bootstrap import N_BOOTSTRAP, row_counts
from planner_pipeline.tables import ACTION_OUTCOMES, check_table


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A choice for every case, as weights of outcome rows.

    Attributes:
        rows: Ascending rows of the bench, so cases stand together; a case with none is unscored.
        weights: One per row, positive; each case's are scaled to 1 when it is scored.
        abstains: (N,) bool, where its default was served instead.
    """

    rows: np.ndarray
    weights: np.ndarray
    abstains: np.ndarray


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """Expected outcome of one policy in every case, (R + 1, N); 0 where a case is unscored.

    Attributes:
        is_scored: (N,) bool.
        minutes_passing: Minutes to pass where it passes, 0 where not, in expectation.
        cost_usd: None where the dollars of some outcome are not known.
        abstains: (N,) bool.
    """

    is_scored: np.ndarray
    passed: np.ndarray
    agent_minutes: np.ndarray
    minutes_passing: np.ndarray
    cost_usd: np.ndarray | None
    abstains: np.ndarray


def _column(outcomes: pl.DataFrame, name: str) -> np.ndarray:
    """A column as float64; unknown is NaN."""
    values: np.ndarray = outcomes[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return values


class OutcomeBench:
    """The outcomes of one table with one fixed set of resamples.

    Args:
        outcomes: ``ACTION_OUTCOMES``, of replayed or of real benches, in any order. ``attempts``
            is what an outcome was made from: logged attempts, or the number of a repeat. One number
            in one case is one draw, whatever the action.

    Attributes:
        case_ids: (N,) sorted; ``systems`` and ``issues`` go with them.
        case, action: (J,) position of each row's case, and its action.
        counts: (R + 1, N) how often each case was drawn.

    Raises:
        ValueError: the table is empty, a case is of two systems or issues, or an outcome stands
            there twice.
        pandera.errors.SchemaError: the table breaks its schema.
    """

    def __init__(
        self, outcomes: pl.DataFrame, *, n_resamples: int = N_BOOTSTRAP, seed: int = 0
    ) -> None:
        rows = check_table(ACTION_OUTCOMES, outcomes).sort("case_id", "action", "attempts")
        cases = rows.select("case_id", "system", "issue_id").unique().sort("case_id")
        if cases.is_empty() or cases["case_id"].is_duplicated().any():
            raise ValueError("outcomes are of at least one case, each of one system and issue")
        if rows.select("case_id", "action", "attempts").is_duplicated().any():
            raise ValueError("an action has two outcomes on the same attempts of a case")
        self.case_ids: list[str] = cases["case_id"].to_list()
        self.systems: list[str] = cases["system"].to_list()
        self.issues: list[str] = cases["issue_id"].to_list()
        self.case = rows["case_id"].rle_id().to_numpy().astype(np.int64)
        self.action = rows["action"].to_numpy()
        self.n_cases, self.n_actions = len(self.case_ids), int(self.action.max()) + 1
        self.passed = _column(rows, "passed")
        self.agent_minutes = _column(rows, "agent_minutes")
        self.minutes_to_pass = _column(rows, "minutes_to_pass")
        self.cost_usd = _column(rows, "cost_usd")
        self.attempts: list[list[int]] = rows["attempts"].to_list()
        self._units, n_units = self._attempt_positions()
        rng = np.random.default_rng(seed)
        drawn = row_counts(self.issues, rng, n_resamples)
        self.counts = np.vstack([np.ones(self.n_cases), drawn])
        self._weights = np.ones((n_resamples + 1, n_units + 1))
        self._weights[1:, :n_units] = rng.exponential(size=(n_resamples, n_units))

    def _attempt_positions(self) -> tuple[np.ndarray, int]:
        """(J, K) the attempts of every row among all U of them, U itself for none; and U."""
        position: dict[tuple[int, int], int] = {}
        for case, attempts in zip(self.case, self.attempts, strict=True):
            for attempt in attempts:
                position.setdefault((int(case), attempt), len(position))
        width = max(len(attempts) for attempts in self.attempts)
        units = np.full((len(self.attempts), width), len(position))
        for row, attempts in enumerate(self.attempts):
            units[row, : len(attempts)] = [position[int(self.case[row]), a] for a in attempts]
        return units, len(position)

    def utility(self, cost_weight: float) -> np.ndarray:
        """(J,) pass - ``cost_weight`` x agent-minutes."""
        return self.passed - cost_weight * self.agent_minutes

    def expected_utility(self, cost_weight: float) -> np.ndarray:
        """(N, A) mean utility of every action in every case; NaN where it has no outcome."""
        flat = self.case * self.n_actions + self.action
        size = self.n_cases * self.n_actions
        n = np.bincount(flat, minlength=size)
        total = np.bincount(flat, self.utility(cost_weight), minlength=size)
        mean = np.divide(total, n, out=np.full(size, np.nan), where=n > 0)
        table: np.ndarray = mean.reshape(self.n_cases, self.n_actions)
        return table

    def policy(
        self,
        actions: Sequence[int] | np.ndarray,
        *,
        abstains: np.ndarray | None = None,
        defaults: np.ndarray | None = None,
    ) -> Policy:
        """The policy that takes one action per case.

        Args:
            actions: (N,) in the order of ``case_ids``; -1 where it says nothing.
            abstains: (N,) bool; such a case takes its outcome from ``defaults``.
            defaults: (N,) actions; needed where something abstains.

        Raises:
            ValueError: a shape is wrong, or a default is needed and there is none.
        """
        served = np.asarray(actions, dtype=np.int64)
        gives_up = np.zeros(self.n_cases, dtype=bool) if abstains is None else abstains
        if served.shape != (self.n_cases,) or gives_up.shape != (self.n_cases,):
            raise ValueError(f"a policy has one action for each of {self.n_cases} cases")
        if gives_up.any():
            if defaults is None:
                raise ValueError("a policy abstains and there is no default")
            served = np.where(gives_up, defaults, served)
        rows = np.flatnonzero(self.action == served[self.case])
        return Policy(rows=rows, weights=np.ones(len(rows)), abstains=gives_up)

    def score(self, policy: Policy) -> Scores:
        """What ``policy`` comes to in every case under every resample."""
        rows = policy.rows
        scored, starts = np.unique(self.case[rows], return_index=True)
        weights = self._weights[:, self._units[rows, 0]] * policy.weights
        for column in self._units[rows, 1:].T:
            weights *= self._weights[:, column]
        total = np.add.reduceat(weights, starts, axis=1) if len(rows) else weights

        def mean(values: np.ndarray) -> np.ndarray:
            result = np.zeros_like(self.counts)
            if len(rows):
                result[:, scored] = np.add.reduceat(weights * values[rows], starts, axis=1) / total
            return result

        is_scored = np.zeros(self.n_cases, dtype=bool)
        is_scored[scored] = True
        knows_usd = not np.isnan(self.cost_usd[rows]).any()
        return Scores(
            is_scored=is_scored,
            passed=mean(self.passed),
            agent_minutes=mean(self.agent_minutes),
            minutes_passing=mean(np.where(self.passed > 0, self.minutes_to_pass, 0.0)),
            cost_usd=mean(self.cost_usd) if knows_usd else None,
            abstains=policy.abstains,
        )
