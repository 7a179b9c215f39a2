"""How often each action has passed so far: the simplest value model there is.

Belongs here: Beta posteriors of passing, and how wide they are. Does not: choosing by them
(``candidates``), anything that looks at the case; a learned model takes its place by the same
``spread``.
Spec: section 9.1.

Three levels: all outcomes, those of one swarm with so many candidates, those of one action. Each
level's prior is the mean of the level above, worth ``STRENGTH`` outcomes, so an action that never
ran is as likely to pass as its like but stays wide open. The first level starts from the uniform
distribution.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from planner_pipeline.bench.candidates import Decision
from planner_runtime.actions import Action
from planner_runtime.contracts.bench_outcome import BenchOutcome
from planner_runtime.contracts.bins import Bin
from planner_runtime.decision import action_of

STRENGTH: Final = 2.0  # outcomes that the level above counts for

Beta = tuple[float, float]
Group = tuple[str, Bin]


def _group(action: Action) -> Group:
    return (action.swarm_id, action.max_candidates_bin)


def _mean(posterior: Beta) -> float:
    return posterior[0] / sum(posterior)


def _std(posterior: Beta) -> float:
    a, b = posterior
    deviation: float = (a * b / (a + b + 1)) ** 0.5 / (a + b)
    return deviation


def _counts(outcomes: Iterable[BenchOutcome]) -> dict[Action, Beta]:
    """Passes and failures of every action.

    Replayed outcomes of a case share attempts: together they count as often as their attempts
    suffice for without sharing.
    """
    groups: dict[tuple[str, Action], list[BenchOutcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.status != "infra_error":
            groups[outcome.case_id, action_of(outcome.action)].append(outcome)
    found: dict[Action, Beta] = defaultdict(lambda: (0.0, 0.0))
    for (_, action), rows in sorted(groups.items(), key=lambda item: str(item[0])):
        played = [row.replayed for row in rows if row.replayed]
        n = (
            len(rows)
            - len(played)
            + (
                len({attempt for attempts in played for attempt in attempts}) / len(played[0])
                if played
                else 0
            )
        )
        passed = n * sum(row.is_passed for row in rows) / len(rows)
        before = found[action]
        found[action] = (before[0] + passed, before[1] + n - passed)
    return found


class PassCounts:
    """Posteriors of passing from the outcomes of a bench; harness failures are not outcomes."""

    def __init__(self, outcomes: Iterable[BenchOutcome] = ()) -> None:
        self._actions = _counts(outcomes)
        self._groups: dict[Group, Beta] = defaultdict(lambda: (0.0, 0.0))
        overall = (1.0, 1.0)
        for action, (passed, failed) in self._actions.items():
            before = self._groups[_group(action)]
            self._groups[_group(action)] = (before[0] + passed, before[1] + failed)
            overall = (overall[0] + passed, overall[1] + failed)
        self._overall = overall

    def posterior(self, action: Action) -> Beta:
        """Parameters of an action's Beta distribution."""
        chance = _mean(self._overall)
        below = (self._groups.get(_group(action)), self._actions.get(action))
        posterior: Beta = self._overall
        for counts in below:
            passed, failed = counts or (0.0, 0.0)
            posterior = (STRENGTH * chance + passed, STRENGTH * (1 - chance) + failed)
            chance = _mean(posterior)
        return posterior

    def chance(self, actions: Sequence[Action], case: Decision | None = None) -> np.ndarray:
        """(A,) posterior mean of passing; the case makes no difference here."""
        return np.array([_mean(self.posterior(action)) for action in actions])

    def spread(self, actions: Sequence[Action], case: Decision | None = None) -> np.ndarray:
        """(A,) posterior standard deviation of passing; the case makes no difference here."""
        return np.array([_std(self.posterior(action)) for action in actions])
