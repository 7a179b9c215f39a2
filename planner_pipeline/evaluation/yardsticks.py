"""Yardsticks: what anybody could do without a model, and what nobody could do better.

Belongs here: best fixed actions, the prior of other systems, the oracles. Does not: scoring them
(``outcome_bench``). Spec: section 8.2.

Ties are common: an attempt that ends within five minutes comes to the same under every limit.
Utilities closer than ``TIE`` are one, so that the order of a sum's terms decides nothing. Who is
scored on what he chose on gains nothing by a tie; who is scored on other attempts does: of limits
that made no odds so far, the loosest is the last to cut.
"""

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Final, Literal

import numpy as np

from planner_pipeline.evaluation.outcome_bench import OutcomeBench, Policy

TIE: Final = 1e-9
Ties = Literal["first", "last"]  # of equal actions; the last is the one with the loosest limit


def best_action(utility: np.ndarray, ties: Ties = "first") -> np.ndarray:
    """The action of the highest utility along the last axis; NaN is no candidate, and where all
    are NaN the answer is -1.
    """
    known = np.where(np.isnan(utility), -np.inf, utility)
    is_best = known >= known.max(axis=-1, keepdims=True) - TIE
    if ties == "first":
        chosen = np.argmax(is_best, axis=-1)
    else:
        chosen = is_best.shape[-1] - 1 - np.argmax(is_best[..., ::-1], axis=-1)
    return np.where(np.isnan(utility).all(axis=-1), -1, chosen)


def _best(utility: np.ndarray) -> int:
    """The action of the highest mean over (N, A) cases; -1 for no case, or where none has it all.

    An action that some case cannot tell of is no candidate: its mean would be over other cases.
    """
    return int(best_action(utility.mean(axis=0))) if len(utility) else -1


def best_fixed(utility: np.ndarray) -> np.ndarray:
    """(N,) the one action that is best on all these cases, chosen on what scores it.

    Args:
        utility: (N, A) expected; NaN where an action has no outcome.
    """
    return np.full(len(utility), _best(utility))


def best_fixed_out_of_fold(utility: np.ndarray, folds: Sequence[int] | np.ndarray) -> np.ndarray:
    """(N,) for each case the action that is best on the cases of the other folds."""
    fold_of = np.asarray(folds)
    chosen = np.empty(len(utility), dtype=np.int64)
    for fold in np.unique(fold_of):
        chosen[fold_of == fold] = _best(utility[fold_of != fold])
    return chosen


def prior_of_other_systems(
    utility: np.ndarray, issues: Sequence[str], systems: Sequence[str]
) -> np.ndarray:
    """(N,) for each case the best action, on average, of the other systems on the same issue; -1
    where no other system met it.
    """
    issue_of, system_of = np.asarray(issues), np.asarray(systems)
    return np.array(
        [
            _best(utility[(issue_of == issue) & (system_of != system)])
            for issue, system in zip(issue_of, system_of, strict=True)
        ],
        dtype=np.int64,
    )


def oracle(utility: np.ndarray) -> np.ndarray:
    """(N,) the best action of each case, chosen on the attempts that score it: optimistic."""
    return best_action(utility)


def honest_oracle(bench: OutcomeBench, cost_weight: float, ties: Ties = "first") -> Policy:
    """The best action of each case on the larger half of its attempts, scored on the others.

    All splits count alike: five attempts have ten, three against two. Only actions that both sides
    can play are candidates, so K is at most the size of the smaller half; a case of fewer than two
    attempts is unscored. It knows no more than a planner with so many attempts of the very case
    could, and is no bound: a policy that pools over cases may do better.
    """
    utility = bench.utility(cost_weight)
    starts = np.searchsorted(bench.case, np.arange(bench.n_cases + 1))
    rows, weights = [], []
    for start, end in pairwise(starts):
        of_case = _split_weights(
            bench.attempts[start:end], bench.action[start:end], utility[start:end], ties
        )
        used = np.flatnonzero(of_case)
        rows.append(start + used)
        weights.append(of_case[used])
    return Policy(
        rows=np.concatenate(rows),
        weights=np.concatenate(weights),
        abstains=np.zeros(bench.n_cases, dtype=bool),
    )


def _split_weights(
    attempts: Sequence[Sequence[int]], actions: np.ndarray, utility: np.ndarray, ties: Ties
) -> np.ndarray:
    """(J,) how much each outcome of one case counts, summed over all splits of its attempts."""
    known = sorted({attempt for subset in attempts for attempt in subset})
    weights = np.zeros(len(attempts))
    if len(known) < 2:
        return weights
    is_in = np.array([[attempt in subset for attempt in known] for subset in attempts])  # (J, U)
    takes = (actions[:, None] == np.arange(actions.max() + 1)).astype(float)  # (J, A)
    for split in combinations(range(len(known)), (len(known) + 1) // 2):
        choosing = np.isin(np.arange(len(known)), split)
        for_choice = ~is_in[:, ~choosing].any(axis=1)  # (J,)
        for_score = ~is_in[:, choosing].any(axis=1)
        n_choice, n_score = for_choice @ takes, for_score @ takes  # (A,)
        mean = np.full(len(n_choice), np.nan)
        is_playable = (n_choice > 0) & (n_score > 0)
        np.divide((utility * for_choice) @ takes, n_choice, out=mean, where=is_playable)
        chosen = int(best_action(mean, ties))
        if chosen >= 0:
            weights[for_score & (actions == chosen)] += 1 / n_score[chosen]
    return weights
