"""Logged decisions of a workspace -> what off-policy estimators take.

Belongs here: numbering actions, the judged policies, the chances a trace proves, rewards. Does not:
which decisions may be used (``history.decisions``), estimates (``off_policy``). Spec: section 7.4.
Shapes: n decisions, A actions, F features.

Actions are numbered as they are met; nothing here knows what a head is. A trace proves more chances
than that of what ran: with propensity 1 nothing else had any; with exploration of chance epsilon
among n open actions every one of them had at least epsilon / n, and all the rest was on one action,
which is known where that is the one that ran. These are lower bounds, and enough to say what could
have been drawn. What was closed had no chance; where the trace does not tell whether an action was
open, its chance is not known (``history.open_actions``). A propensity that is neither epsilon / n
nor 1 - epsilon + epsilon / n was drawn in another way and proves nothing about the others.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.evaluation.off_policy import ACTION_PROB_SLACK, LoggedDecisions
from planner_pipeline.evaluation.overlap import CERTAIN
from planner_pipeline.evaluation.reward_model import cross_fitted
from planner_pipeline.evaluation.rewards import Reward
from planner_pipeline.history.decisions import LeftOutDecision, LoggedDecision
from planner_pipeline.tables import TARGET_POLICY, check_table
from planner_runtime.actions import HEADS, Action

SAME_CHANCE: Final = 1e-6  # propensities this close are one
Probabilities = Mapping[Action, float]


class PolicyGapError(ValueError):
    """A judged policy says nothing of some decisions, or something that is no policy.

    Attributes:
        decision_ids: Of the decisions concerned.
    """

    def __init__(self, why: str, decision_ids: Sequence[str]) -> None:
        names = ", ".join(decision_ids[:3]) + (" ..." if len(decision_ids) > 3 else "")
        super().__init__(f"{why} ({len(decision_ids)} decisions: {names})")
        self.decision_ids = tuple(decision_ids)


def usable(
    decisions: Sequence[LoggedDecision], reward: Reward
) -> tuple[list[LoggedDecision], np.ndarray, list[LeftOutDecision]]:
    """Decisions whose reward is known, (n,) rewards, and the others with the reason."""
    kept: list[LoggedDecision] = []
    worth: list[float] = []
    left_out: list[LeftOutDecision] = []
    for one in decisions:
        value = reward(one.passed, one.minutes, one.usd)
        if value is not None:
            kept.append(one)
            worth.append(value)
            continue
        left_out.append(
            LeftOutDecision(
                run_id=one.run_id,
                reason="no_minutes" if one.minutes is None else "no_usd",
                detail="the reward needs it, and nothing tells it of every candidate",
            )
        )
    return kept, np.array(worth, dtype=np.float64), left_out


def baseline_policy(decisions: Sequence[LoggedDecision]) -> list[Probabilities]:
    """What the kernel would have done by itself, as the traces say."""
    return [{one.baseline: 1.0} for one in decisions]


def uniform_policy(decisions: Sequence[LoggedDecision]) -> list[Probabilities]:
    """Every candidate alike.

    Raises:
        PolicyGapError: the candidates of some decisions are not known.
    """
    unknown = [one.decision_id for one in decisions if one.candidates is None]
    if unknown:
        raise PolicyGapError("the candidates are not known", unknown)
    return [dict.fromkeys(one.candidates or (), 1 / len(one.candidates or ())) for one in decisions]


def tabled_policy(decisions: Sequence[LoggedDecision], table: pl.DataFrame) -> list[Probabilities]:
    """The policy of a table: a row for each action of each decision, with its probability.

    Args:
        table: ``TARGET_POLICY``; its key is the run, or the issue where it has no ``run_id``.

    Raises:
        pandera.errors.SchemaError: the table breaks its schema.
        PolicyGapError: it lacks some decision, or their probabilities do not sum to 1.
        ValueError: it names neither runs nor issues.
    """
    key = next((name for name in ("run_id", "issue_id") if name in table.columns), None)
    if key is None:
        raise ValueError("a policy has a column run_id or issue_id")
    checked = check_table(TARGET_POLICY, table.with_columns(pl.col(HEADS[1:]).cast(pl.String)))
    of_key: dict[str, dict[Action, float]] = {}
    for row in checked.iter_rows(named=True):
        swarm, *budgets = (row[head] for head in HEADS)
        bins = (int(text) if text.isdecimal() else text for text in budgets)
        chances = of_key.setdefault(row[key], {})
        action = Action(swarm, *bins)
        chances[action] = chances.get(action, 0.0) + row["probability"]
    found = [of_key.get(one.run_id if key == "run_id" else one.issue_id) for one in decisions]
    lacking = [one.decision_id for one, of in zip(decisions, found, strict=True) if of is None]
    if lacking:
        raise PolicyGapError("the policy says nothing", lacking)
    policy: list[Probabilities] = [of or {} for of in found]
    off = [
        one.decision_id
        for one, of in zip(decisions, policy, strict=True)
        if abs(sum(of.values()) - 1) > ACTION_PROB_SLACK
    ]
    if off:
        raise PolicyGapError("the probabilities do not sum to 1", off)
    return policy


def numbered_actions(
    decisions: Sequence[LoggedDecision], policy: Sequence[Probabilities]
) -> dict[Action, int]:
    """Every action that anything names, in an order that no file order changes."""
    named = {action for of in policy for action in of}
    for one in decisions:
        named |= {one.chosen, one.baseline, *(one.candidates or ())}
    ordered = sorted(
        named, key=lambda action: [(isinstance(p, str), str(p).zfill(9)) for p in action]
    )
    return {action: number for number, action in enumerate(ordered)}


def proven_chances(one: LoggedDecision, number_of: Mapping[Action, int]) -> np.ndarray:
    """(A,) the least chance each action is known to have had; NaN where nothing is known."""
    chances = np.full(len(number_of), np.nan)
    told, epsilon = one.drawable, one.epsilon
    if one.propensity >= CERTAIN:
        chances[:] = 0.0
    elif epsilon and told.n_open is not None:
        share = epsilon / told.n_open
        greedy = 1 - epsilon + share
        if min(abs(one.propensity - share), abs(one.propensity - greedy)) <= SAME_CHANCE:
            if one.candidates is not None:
                offered = [number_of[action] for action in one.candidates]
                chances[np.setdiff1d(np.arange(len(chances)), offered)] = 0.0
            for actions, chance in ((told.closed, 0.0), (told.open_, share)):
                chances[[number_of[action] for action in actions if action in number_of]] = chance
    chances[number_of[one.chosen]] = one.propensity
    return chances


def features_of(decisions: Sequence[LoggedDecision]) -> np.ndarray:
    """(n, F) features that differ somewhere, with a last one for questions that lack them."""
    width = max((len(one.features) for one in decisions if one.features is not None), default=0)
    table = np.zeros((len(decisions), width + 1))
    for row, one in enumerate(decisions):
        if one.features is None:
            table[row, width] = 1.0
        else:
            table[row, : len(one.features)] = one.features
    varies: np.ndarray = table[:, np.ptp(table, axis=0) > 0] if len(table) else table
    return varies


def decisions_as_arrays(
    decisions: Sequence[LoggedDecision],
    policy: Sequence[Probabilities],
    reward: np.ndarray,
    *,
    seed: int = 0,
) -> LoggedDecisions:
    """What the estimators take, with a reward model out of fold where two issues allow one.

    Args:
        reward: (n,) in the order of the decisions.
    """
    number_of = numbered_actions(decisions, policy)
    target = np.zeros((len(decisions), max(1, len(number_of))))
    for row, of in enumerate(policy):
        for taken, chance in of.items():
            target[row, number_of[taken]] = chance
    _, cluster = np.unique([one.issue_id for one in decisions], return_inverse=True)
    action = np.array([number_of[one.chosen] for one in decisions], dtype=np.int64)
    logged = LoggedDecisions(
        action=action,
        propensity=np.array([one.propensity for one in decisions], dtype=np.float64),
        reward=reward,
        cluster=cluster,
        target=target,
        logging=np.array([proven_chances(one, number_of) for one in decisions]).reshape(
            target.shape
        ),
    )
    if len(np.unique(cluster)) < 2:
        return logged
    return with_reward(logged, reward, features_of(decisions), seed=seed)


def with_reward(
    logged: LoggedDecisions, reward: np.ndarray, features: np.ndarray, *, seed: int = 0
) -> LoggedDecisions:
    """The same decisions with another reward and a model of it."""
    q_hat = cross_fitted(
        features, logged.action, reward, logged.cluster, n_actions=logged.n_actions, seed=seed
    )
    return msgspec.structs.replace(logged, reward=reward, q_hat=q_hat)
