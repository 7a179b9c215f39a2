"""What an outcome is worth: objectives as data, and how they rank the actions of one decision.

Belongs here: the document, expected outcomes as arrays, utilities, lexicographic and Pareto ranks.
Does not: hard caps, safe sets and abstaining (``policy``), predicting anything.
Spec: section 7.4 (Q(x, a) and constrained choice). Shapes: M members, A actions.

Nothing here is fitted, so a changed objective needs no training. One rule is not of a single
decision: ``constrained`` asks for the least spending whose pass ratio over many decisions stays
near a reference, so it is turned into a utility with a price first (``priced``), and whoever fits
the price does so on training data.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
import numpy as np

from planner_runtime.contracts.planner_action import Ratio
from planner_runtime.contracts.planner_input import Risk
from planner_runtime.contracts.reading import ContractError, read_document

Metric = Literal["p_pass", "p_timeout", "minutes", "wall_minutes", "cost_usd"]
Goal = Literal["max", "min"]
Ruling = Literal["utility", "lexicographic", "pareto", "constrained"]
Weight = Annotated[float, msgspec.Meta(ge=0.0, le=1e9)]
# msgspec checks the keys of a mapping, but leaves them out of the schemas that it writes
_BY_RISK: Final = msgspec.Meta(extra_json_schema={"propertyNames": {"enum": list(get_args(Risk))}})
GOALS: Final[Mapping[Metric, Goal]] = {
    "p_pass": "max",
    "p_timeout": "min",
    "minutes": "min",
    "wall_minutes": "min",
    "cost_usd": "min",
}
# what is less apart, relative above 1, is equal: models compute in float32, and the last bits of
# two actions that amount to the same depend on the machine; a choice must not
TIE: Final = 1e-6


class Weights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one unit of each outcome is worth: a pass is gained, all else is paid.

    Attributes:
        passed: Of the chance to pass.
        minute: Of an agent-minute: candidates side by side all count.
        wall_minute: Of a minute of waiting.
        usd: Of a dollar.
        risk: Of the chance that the limit ends it: time spent and no verdict.
    """

    passed: Weight = 1.0
    minute: Weight = 0.01
    wall_minute: Weight = 0.0
    usd: Weight = 0.0
    risk: Weight = 0.0


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One metric of a lexicographic or Pareto rule; values within ``within`` of the best tie."""

    metric: Metric
    within: Weight = 0.0


class Guardrail(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a risk class asks before a decision may differ from the baseline.

    Attributes:
        pass_within: The chance to pass may be this much below the baseline's, at most.
        saving: Share of the baseline's spending that must be saved; 0 asks for none.
    """

    pass_within: Ratio = 0.0
    saving: Ratio = 0.0


class Objective(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="schema_version",
    tag="cyntra.planner_objective.v1",
):
    """An objective.

    Attributes:
        rule: How actions compare.
        weights: Of the utility; also what reports call utility under other rules.
        steps: Metrics of ``lexicographic`` (in order) and ``pareto`` (in any); none: chance to
            pass, then agent-minutes, then dollars.
        spend: What ``constrained``, guardrails and "cost per pass" count as spending.
        pass_within: Of ``constrained``: how far the pass ratio may be below the reference's.
        time_penalty: A run that did not pass counts as so many times its duration in the
            penalised mean duration (10 is the field's PAR10).
        caution: Standard deviations below its mean at which a gain on the baseline is judged.
        guardrails: By risk class.
    """

    name: str = "default"
    rule: Ruling = "utility"
    weights: Weights = Weights()
    steps: tuple[Step, ...] = ()
    spend: Literal["minutes", "cost_usd"] = "minutes"
    pass_within: Ratio = 0.01
    time_penalty: Annotated[float, msgspec.Meta(ge=1.0, le=1000.0)] = 10.0
    caution: Annotated[float, msgspec.Meta(ge=0.0, le=10.0)] = 0.25
    guardrails: Annotated[dict[Risk, Guardrail], _BY_RISK] = msgspec.field(
        default_factory=lambda: {
            "critical": Guardrail(pass_within=0.0, saving=0.1),
            "high": Guardrail(pass_within=0.02),
        }
    )


DEFAULT_OBJECTIVE: Final = Objective()
_DEFAULT_STEPS: Final = (
    Step(metric="p_pass", within=0.01),
    Step(metric="minutes"),
    Step(metric="cost_usd"),
)
# metrics a universe's objective may name, formats 5; what no outcome of a plan tells is passed over
_OF_UNIVERSE: Final[Mapping[str, Metric]] = {
    "overall": "p_pass",
    "pass_rate": "p_pass",
    "duration_ms": "wall_minutes",
    "cost_usd": "cost_usd",
    "total_cost_usd": "cost_usd",
}


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected of every action of one decision, by every member of an ensemble.

    Attributes:
        p_pass, p_timeout: (M, A) in [0, 1].
        minutes: (M, A) agent-minutes; NaN where nobody knows.
        wall_minutes: (M, A) until the last candidate has ended; NaN likewise.
        cost_usd: (M, A); NaN likewise.
    """

    p_pass: np.ndarray
    p_timeout: np.ndarray
    minutes: np.ndarray
    wall_minutes: np.ndarray
    cost_usd: np.ndarray

    def metric(self, name: Metric) -> np.ndarray:
        """(M, A) of one metric."""
        values: np.ndarray = getattr(self, name)
        return values


def read_objective(data: bytes | str | Mapping[str, Any]) -> Objective:
    """An objective from JSON or from a mapping that YAML gave.

    A universe's ``objectives.yaml`` is read too when it holds one objective.

    Raises:
        ContractError: where and why it is none.
    """
    raw: Any = data
    if isinstance(data, bytes | str):
        try:
            raw = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise ContractError("cyntra.planner_objective.v1", "$", str(error)) from error
    if isinstance(raw, Mapping) and isinstance(raw.get("objectives"), Mapping):
        named = raw["objectives"]
        if len(named) != 1:
            why = f"it holds {len(named)} objectives; name one by its metrics in a file of its own"
            raise ContractError("cyntra.planner_objective.v1", "$.objectives", why)
        ((name, one),) = named.items()
        metrics = one.get("metrics") if isinstance(one, Mapping) else None
        if not isinstance(metrics, Mapping):
            why = "an objective of a universe has metrics"
            raise ContractError("cyntra.planner_objective.v1", f"$.objectives.{name}", why)
        return objective_of_universe(str(name), metrics)
    objective: Objective = read_document(raw, Objective)
    return objective


def objective_of_universe(name: str, metrics: Mapping[str, Any]) -> Objective:
    """A universe's objective: passing all gates first, then its metrics in their order.

    Metrics that no outcome of a plan tells of (scores of a gate) are passed over.
    """
    steps = [Step(metric="p_pass", within=0.01)]
    for metric, goal in metrics.items():
        known = _OF_UNIVERSE.get(metric)
        if known is not None and GOALS[known] == goal and all(s.metric != known for s in steps):
            steps.append(Step(metric=known))
    return Objective(name=name, rule="lexicographic", steps=tuple(steps))


def priced(objective: Objective, price: float) -> Objective:
    """A ``constrained`` objective as the utility whose unit of spending costs ``price`` passes."""
    usd, minute = (price, 0.0) if objective.spend == "cost_usd" else (0.0, price)
    weights = msgspec.structs.replace(objective.weights, usd=usd, minute=minute, wall_minute=0.0)
    return msgspec.structs.replace(objective, rule="utility", weights=weights)


def utility(outlook: Outlook, weights: Weights) -> np.ndarray:
    """(M, A) expected utility; a metric without weight may be unknown, one with weight makes the
    utility NaN where it is.
    """
    total = weights.passed * outlook.p_pass
    for weight, name in (
        (weights.minute, "minutes"),
        (weights.wall_minute, "wall_minutes"),
        (weights.usd, "cost_usd"),
        (weights.risk, "p_timeout"),
    ):
        if weight:
            total = total - weight * getattr(outlook, name)
    result: np.ndarray = total
    return result


def cautious(values: np.ndarray, caution: float, goal: Goal = "max") -> np.ndarray:
    """(A,) mean over members, ``caution`` standard deviations to the bad side.

    Args:
        values: (M, A).
    """
    n = len(values)
    mean = np.add.reduce(values, axis=0) / n
    with np.errstate(over="ignore", invalid="ignore"):  # beyond all numbers
        off = values - mean
        off *= off  # then as values.std(axis=0), bit for bit
        spread = caution * np.sqrt(np.add.reduce(off, axis=0) / n)
        bound: np.ndarray = mean + (-spread if goal == "max" else spread)
    return bound


def steps_of(objective: Objective, outlook: Outlook) -> tuple[Step, ...]:
    """The steps of an objective that the outlook can tell of."""
    steps = objective.steps or _DEFAULT_STEPS
    return tuple(s for s in steps if not np.isnan(outlook.metric(s.metric)).any())


def _signed(outlook: Outlook, steps: Sequence[Step], caution: float) -> np.ndarray:
    """(S, A) cautious values, the higher the better."""
    rows = []
    for step in steps:
        goal = GOALS[step.metric]
        value = cautious(outlook.metric(step.metric), caution, goal)
        rows.append(value if goal == "max" else -value)
    return np.array(rows).reshape(len(rows), outlook.p_pass.shape[1])


def _tie(values: np.ndarray) -> np.ndarray:
    """Of a row, or of each of some rows, how far apart equal values may be."""
    tie: np.ndarray = TIE * np.maximum(1.0, np.abs(values).max(axis=-1, initial=0.0))
    return tie


def pareto_front(values: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """(A,) bool: no other action is as good in every row and better in one by more than its margin.

    Args:
        values: (S, A), the higher the better.
        margins: (S,) what counts as equal.
    """
    gain = values[:, :, None] - values[:, None, :]  # how much the first beats the second
    tie = _tie(values)[:, None, None]
    no_worse = (gain >= -tie).all(axis=0)
    better = (gain > margins[:, None, None] + tie).any(axis=0)
    front: np.ndarray = ~(no_worse & better).any(axis=0)
    return front


def _best_first(values: np.ndarray) -> np.ndarray:
    """Indices, the greatest value first; what is equal to the first of its group, by index."""
    order = np.argsort(-values, kind="stable")
    group = np.zeros(len(values), dtype=np.int64)
    tie, head, number = float(_tie(values)), np.inf, 0
    for place in order.tolist():
        if values[place] < head - tie:
            head, number = values[place], number + 1
        group[place] = number
    return np.argsort(group, kind="stable")


def lower_bounds(values: np.ndarray, caution: float, reference: int) -> np.ndarray:
    """(A,) utilities that are not likely to be missed: the reference's mean, plus the lower bound
    of what each action gains on it. Members err together on a decision as a whole, so that the
    doubt about a gain, and not about a utility, is what a change has to outweigh.

    Args:
        values: (M, A).
        reference: Index of what would be done without a change; it bears no doubt.
    """
    held = values[:, [reference]]
    bound: np.ndarray = held.mean() + cautious(values - held, caution)
    return bound


class Scores:
    """What an objective makes of an outlook, worked out once however often actions are ranked."""

    def __init__(self, outlook: Outlook, objective: Objective) -> None:
        self.outlook, self.objective = outlook, objective

    @cached_property
    def utility(self) -> np.ndarray:
        """(M, A) expected utility."""
        return utility(self.outlook, self.objective.weights)

    @cached_property
    def known(self) -> np.ndarray:
        """(A,) bool: every member knows the action's utility and its chance to pass."""
        known: np.ndarray = np.isfinite(self.utility).all(axis=0)
        known &= np.isfinite(self.outlook.p_pass).all(axis=0)
        return known

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The steps that the outlook can tell of."""
        return steps_of(self.objective, self.outlook)

    @cached_property
    def signed(self) -> np.ndarray:
        """(S, A) cautious values of the steps, the higher the better."""
        return _signed(self.outlook, self.steps, self.objective.caution)


def ranked(
    outlook: Outlook,
    objective: Objective,
    allowed: np.ndarray,
    reference: int,
    n: int | None = None,
    *,
    scores: Scores | None = None,
) -> np.ndarray:
    """Indices of the allowed actions, best first; equal ones in their order.

    Utilities compare by ``lower_bounds``. Lexicographic: by steps, each within its tolerance of the
    best that is left. Pareto: the front first, in the order of utility, then the rest.

    Args:
        allowed: (A,) bool.
        reference: As in ``lower_bounds``.
        n: How many are asked for; further ones may be missing. None for all.
        scores: Of this outlook and objective, where somebody has them.

    Raises:
        ValueError: the rule is ``constrained`` without a price, or the utility of an allowed
            action is not known.
    """
    if objective.rule == "constrained":
        raise ValueError("a constrained objective needs its price first")
    scores = scores or Scores(outlook, objective)
    left = np.flatnonzero(allowed)
    if objective.rule == "lexicographic":
        return _lexicographic(scores, left, len(left) if n is None else n)
    lower = lower_bounds(scores.utility, objective.caution, reference)[left]
    if np.isnan(lower).any():
        raise ValueError("a weighted outcome is not known of every action")
    order = _best_first(lower)
    if objective.rule == "pareto":
        margins = np.array([step.within for step in scores.steps])
        front = pareto_front(scores.signed[:, left], margins)
        order = np.concatenate([order[front[order]], order[~front[order]]])
    best_first: np.ndarray = left[order]
    return best_first


def _lexicographic(scores: Scores, left: np.ndarray, n: int) -> np.ndarray:
    ordered: list[int] = []
    rest = left
    while len(rest) and len(ordered) < n:
        tied = rest
        for row, step in zip(scores.signed, scores.steps, strict=True):
            seen = row[tied]
            best, worst = float(np.maximum.reduce(seen)), float(np.minimum.reduce(seen))
            tie = TIE * max(1.0, abs(best), abs(worst))  # as ``_tie``
            tied = tied[seen >= best - step.within - tie]
        ordered.extend(tied.tolist())
        if len(ordered) < n:
            rest = rest[~np.isin(rest, tied)]
    return np.array(ordered, dtype=np.int64)
