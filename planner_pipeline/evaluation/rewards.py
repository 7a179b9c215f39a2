"""What an outcome is worth: one number from a pass, minutes and dollars, by an objective's weights.

Belongs here: the reward of an objective, and in words what it leaves out. Does not: objectives
themselves (``planner_runtime.objective``), reading their files (``sources.objectives``).

A logged decision tells of passes, agent-minutes and dollars. Neither waiting nor a timeout is in
its outcome, and rules that compare actions in other ways than by utility give no outcome a worth,
so that objectives of any rule are judged by their weights.
"""

from collections.abc import Callable

from planner_runtime.objective import Objective, Weights

# passed, minutes, dollars -> worth; None where something is needed and not known
Reward = Callable[[bool, float | None, float | None], float | None]


def weighted(weights: Weights) -> Reward:
    """The reward of some weights. A fact with the weight 0 need not be known.

    >>> weighted(Weights())(True, 10.0, None)
    0.9
    """

    def reward(passed: bool, minutes: float | None, usd: float | None) -> float | None:
        worth = weights.passed * passed
        for weight, amount in ((weights.minute, minutes), (weights.usd, usd)):
            if weight == 0:
                continue
            if amount is None:
                return None
            worth -= weight * amount
        return worth

    return reward


def reward_words(objective: Objective) -> str:
    """What counts as worth, and what of the objective does not, for people.

    >>> reward_words(Objective())
    '1 x pass - 0.01 x agent-minutes (objective "default")'
    """
    weights = objective.weights
    told = f"{weights.passed:g} x pass"
    for weight, unit in ((weights.minute, "agent-minutes"), (weights.usd, "dollars")):
        if weight:
            told += f" - {weight:g} x {unit}"
    besides = left_out_words(objective)
    told += f' (objective "{objective.name}"'
    return f"{told}; {'; '.join(besides)})" if besides else f"{told})"


def left_out_words(objective: Objective) -> list[str]:
    """What an objective asks for beyond passes, minutes and dollars; empty where nothing.

    >>> left_out_words(Objective(rule="lexicographic", weights=Weights(risk=0.5)))
    ['its rule "lexicographic" is judged by its weights', 'its weight of a timeout is left out']
    """
    found = []
    if objective.rule != "utility":
        found.append(f'its rule "{objective.rule}" is judged by its weights')
    if objective.weights.wall_minute:
        found.append("its weight of waiting is left out")
    if objective.weights.risk:
        found.append("its weight of a timeout is left out")
    return found
