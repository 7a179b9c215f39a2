"""Which actions a bench tries on a case: the baseline, its opposites, and what was seen least.

Belongs here: choosing candidates for a case and for a campaign. Does not: keeping them
(``selections``), telling how uncertain an outcome is (``pass_counts``), running anything.
Spec: section 9.1. Everything follows from the cases, the configuration and its seed; the order of
the cases is that of their ids.

By importance: the baseline; what a model would choose; the other topology with the same minutes;
something cheaper and something dearer than the baseline at worst; then whatever is left. Among
actions that serve equally, the one whose bins the campaign has seen least so far is taken; with a
value model, the one of the largest spread. A seeded hash settles the rest.

With a model of utilities it is the baseline; what a bundle would choose; the action of the highest
mean utility; and then, slot by slot, the action of the largest expected improvement: how much it is
above the best of those taken already, where it is, on average over the rows of the ensemble. That
is what a bench gains by it if it tells who is best, so doubt that changes no choice is worth
nothing, unlike by spread. What a set gains is submodular, so taking one after another gains at
least 1 - 1/e of what the best set would (Nemhauser, Wolsey and Fisher 1978). The mean and not a
lower bound: a mistake costs a unit, not an issue, and a bound would keep to what ran most.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

import msgspec
import numpy as np

from planner_pipeline.bench.config import BenchConfig
from planner_pipeline.bench.selections import Coverage, Reason, Selection
from planner_runtime.actions import NA, Action, ActionSpace, head_masks, valid_actions
from planner_runtime.actions import candidate_set_hash as hash_of_valid
from planner_runtime.contracts.canonical import document_hash
from planner_runtime.heuristic import SERIAL, SPECULATE

POLICY: Final = "candidates.v1"
DEFAULT_ITERATIONS: Final = 5  # what "NA" amounts to: the kernel's gate configurations, formats 4
DEFAULT_SPECULATION: Final = 2  # candidates of a baseline's speculating counterpart

Rank = tuple[float, float, int, int, str]
MODEL_MARK: Final = " model="  # before the part of a policy's text that outcomes change


class Decision(Protocol):
    """What is asked of a case; ``protocol.Case`` is one."""

    @property
    def case_id(self) -> str:
        """Name of the case."""
        ...

    @property
    def issue_id(self) -> str:
        """Its issue."""
        ...

    @property
    def job_type(self) -> str:
        """Decides which actions are valid."""
        ...

    @property
    def baseline(self) -> Action:
        """What the kernel would do."""
        ...


@runtime_checkable
class ValueModel(Protocol):
    """Tells how little is known of what actions come to on a case."""

    def spread(self, actions: Sequence[Action], case: Decision | None = None) -> np.ndarray:
        """(A,) standard deviation of each action's chance to pass, as far as is known."""
        ...


@runtime_checkable
class UtilityModel(Protocol):
    """Tells what actions are worth on a case, for ``select: value``."""

    def utilities(self, actions: Sequence[Action], case: Decision) -> np.ndarray:
        """(R, A) expected utility in every row of an ensemble; a row's doubts are in common."""
        ...


class Lesson(msgspec.Struct, frozen=True):
    """What outcomes so far teach about candidates.

    Attributes:
        words: Which model, with the hash of what it is made from; empty where the rule says it.
        fit: Makes it.
    """

    words: str
    fit: Callable[[], ValueModel | UtilityModel]


def iterations_of(action: Action) -> int:
    """Iterations that an action amounts to; "NA" as ``DEFAULT_ITERATIONS``."""
    bin_ = action.max_iterations_bin
    return DEFAULT_ITERATIONS if bin_ == NA else int(bin_)


def worst_cost(action: Action, config: BenchConfig) -> int:
    """Candidate-minutes times iterations that an action may take; "NA" as the defaults."""
    return config.n_candidates(action) * config.minutes(action) * iterations_of(action)


def other_topology(baseline: Action, valid: Sequence[Action], config: BenchConfig) -> Action | None:
    """The counterpart of ``baseline`` under another swarm; None where no valid action has one.

    Serial has speculation with two candidates, everything else has serial, as far as the space
    offers them; the minutes and iterations are the same, the candidates the nearest there are.
    """
    swarm, n_candidates = (SPECULATE, DEFAULT_SPECULATION)
    if baseline.swarm_id != SERIAL:
        swarm, n_candidates = SERIAL, 1

    def distance(action: Action) -> tuple[bool, bool, bool, int, bool]:
        return (
            action.swarm_id != swarm,
            action.max_minutes_bin != baseline.max_minutes_bin,
            action.max_iterations_bin != baseline.max_iterations_bin,
            abs(config.n_candidates(action) - n_candidates),
            action.max_candidates_bin != n_candidates,
        )

    others = [action for action in valid if action.swarm_id != baseline.swarm_id]
    return min(others, key=distance, default=None)


class _Slots:
    """Candidates of one case while they are chosen."""

    def __init__(
        self,
        case: Decision,
        space: ActionSpace,
        config: BenchConfig,
        seen: Coverage,
        spread: np.ndarray | None,
        utility: np.ndarray | None = None,
    ) -> None:
        self.job, self.valid = case.job_type, valid_actions(space, case.job_type)
        self.seen, self.taken = seen.copy(), dict[Action, Reason]()
        # a bin is seen as often as fair when that is 1 / (number of its peers) of all candidates
        self._peers = [int(mask.sum()) for mask in head_masks(space, case.job_type)]
        self._luck = {
            action: document_hash([config.seed, case.case_id, list(action)])
            for action in self.valid
        }
        self._spread = None if spread is None else self._checked(spread)
        self._utility = utility
        self._gain = dict.fromkeys(self.valid, (0.0, 0.0))
        if utility is not None and (
            utility.shape != (len(utility), len(self.valid)) or not np.isfinite(utility).all()
        ):
            raise ValueError(f"utilities are rows of {len(self.valid)} finite numbers")

    def _checked(self, spread: np.ndarray) -> dict[Action, float]:
        if spread.shape != (len(self.valid),) or not (np.isfinite(spread) & (spread >= 0)).all():
            raise ValueError(f"a spread is {len(self.valid)} finite numbers from 0 on")
        return dict(zip(self.valid, map(float, spread), strict=True))

    def _rank(self, action: Action) -> Rank:
        """The lower, the sooner taken."""
        n_action = self.seen.of_action(self.job, action)
        n_bins = self.seen.of_bins(self.job, action)
        often = (1 + n_action) ** 0.5
        gain, doubt = self._gain[action]
        spread = doubt if self._spread is None else self._spread[action]
        weighed = sum(peers * n for peers, n in zip(self._peers, n_bins, strict=True))
        return (-gain / often, -spread / often, weighed, n_action, self._luck[action])

    def best(self) -> Action:
        """The action of the highest mean utility; of equal ones the first."""
        assert self._utility is not None
        return self.valid[int(np.argmax(np.round(self._utility.mean(axis=0), 12)))]

    def weigh(self) -> None:
        """Work out what each action may gain over those taken, and how uncertain its difference
        from the best one is, which settles equal gains.
        """
        assert self._utility is not None
        value = self._utility
        taken = [self.valid.index(action) for action in self.taken]
        top = value[:, taken].max(axis=1, keepdims=True)  # (R, 1)
        gain = np.maximum(value - top, 0.0).mean(axis=0)
        doubt = (value - value[:, [self.valid.index(self.best())]]).std(axis=0)
        pairs = zip(np.round(gain, 12).tolist(), np.round(doubt, 12).tolist(), strict=True)
        self._gain = dict(zip(self.valid, pairs, strict=True))

    def take(self, action: Action, reason: Reason) -> None:
        """Make it a candidate, unless it is one already."""
        if action not in self.valid:
            raise ValueError(f"{reason} {tuple(action)} is no valid action for {self.job!r}")
        if action not in self.taken:
            self.taken[action] = reason
            self.seen.add(self.job, action, reason)

    def take_best(self, actions: Iterable[Action], reason: Reason) -> None:
        """Take the best of some that is no candidate yet, where there is one."""
        left = [action for action in actions if action not in self.taken]
        if left:
            self.take(min(left, key=self._rank), reason)


def is_anchor(case_id: str, config: BenchConfig) -> bool:
    """Whether a case evaluates every valid action: a seeded draw of its own, so that other cases
    do not change it; a small campaign may have more or fewer than the share that is asked for.
    """
    drawn = int(document_hash([config.seed, "anchor", case_id])[:13], 16) / 16**13
    return drawn < config.anchors


def policy_of(config: BenchConfig, *, has_model: bool, words: str = "") -> str:
    """How candidates are chosen, as it is stored beside them: version and settings.

    Args:
        has_model: Whether a value model is known, for ``uncertainty`` and ``value``.
        words: Of its ``Lesson``; they come last, since another session's may differ.
    """
    return (
        f"{POLICY} select={config.select if has_model else 'coverage'} k={config.k}"
        f" anchors={config.anchors:g} na={config.default_candidates}x{config.default_minutes}"
        f"x{DEFAULT_ITERATIONS}{MODEL_MARK + words if words else ''}"
    )


def rule_of(policy: str) -> str:
    """A policy's text without the part that outcomes change."""
    return policy.split(MODEL_MARK, maxsplit=1)[0]


def select(
    case: Decision,
    *,
    space: ActionSpace,
    config: BenchConfig,
    seen: Coverage | None = None,
    spread: np.ndarray | None = None,
    utility: np.ndarray | None = None,
    words: str = "",
    also: Sequence[Action] = (),
) -> Selection:
    """The candidates of one case.

    Args:
        config: Its ``k``, ``seed``, ``select``, ``anchors`` and defaults count.
        seen: What the campaign has chosen so far; it is not changed.
        spread: (A,) of the valid actions in their order, for ``select: uncertainty``, and for
            ``value`` where there are no utilities. It shrinks by the square root of how often an
            action was chosen, so that a campaign does not ask the same of every case; so does what
            utilities promise. Without either coverage decides, and the policy's text says so.
        utility: (R, A) for ``select: value``.
        words: Of the model, for the policy's text.
        also: Actions that come right after the baseline: a model's own choices.

    Raises:
        ValueError: the baseline or one of ``also`` is not valid, or ``spread`` or ``utility`` does
            not fit.
    """
    worth = utility if config.select == "value" else None
    known = spread if config.select != "coverage" and worth is None else None
    has_model = known is not None or worth is not None
    slots = _Slots(case, space, config, seen or Coverage(), known, worth)
    anchor = is_anchor(case.case_id, config)
    n = len(slots.valid) if anchor else min(config.k, len(slots.valid))
    slots.take(case.baseline, "baseline")
    for action in also:
        if len(slots.taken) < n:
            slots.take(action, "model")
    if n == len(slots.valid):
        for action in slots.valid:
            slots.take(action, "anchor" if anchor else "coverage")
    elif worth is not None:
        if len(slots.taken) < n:
            slots.take(slots.best(), "best")
    else:
        _take_opposites(slots, case.baseline, config, n)
    while len(slots.taken) < n:
        if worth is not None:
            slots.weigh()
        slots.take_best(slots.valid, "uncertainty" if has_model else "coverage")
    return Selection(
        case_id=case.case_id,
        issue_id=case.issue_id,
        job_type=case.job_type,
        actions=tuple(slots.taken),
        reasons=tuple(slots.taken.values()),
        policy=policy_of(config, has_model=has_model, words=words if has_model else ""),
        seed=config.seed,
        candidate_set_hash=document_hash([list(action) for action in slots.taken]),
        valid_set_hash=hash_of_valid(space, case.job_type),
        n_valid=len(slots.valid),
        is_anchor=anchor,
    )


def _take_opposites(slots: _Slots, baseline: Action, config: BenchConfig, n: int) -> None:
    """The other topology, a cheaper and a dearer budget, as far as there is room."""
    other = other_topology(baseline, slots.valid, config)
    if other is not None and len(slots.taken) < n:
        slots.take(other, "other_topology")
    cost = {action: worst_cost(action, config) for action in slots.valid}
    sides: tuple[Reason, Reason] = ("cheaper", "dearer")
    for side in sorted(sides, key=lambda reason: slots.seen.of_reason(slots.job, reason)):
        if len(slots.taken) < n:
            sign = 1 if side == "dearer" else -1
            beyond = (a for a in slots.valid if sign * (cost[a] - cost[baseline]) > 0)
            slots.take_best(beyond, side)


def select_campaign(
    cases: Iterable[Decision],
    *,
    space: ActionSpace,
    config: BenchConfig,
    model: ValueModel | UtilityModel | None = None,
    words: str = "",
    also: Mapping[str, Sequence[Action]] | None = None,
    already: Sequence[Selection] = (),
) -> list[Selection]:
    """The candidates of every case, in the order of case ids; the order of the input is no matter.

    Args:
        words: Of the model, for the policy's text.
        also: By case id, actions that come right after its baseline.
        already: Selections made earlier. They count to coverage, and a case that has one keeps it.

    Raises:
        ValueError: a case is there twice, or as ``select``.
    """
    ordered = sorted(cases, key=lambda case: case.case_id)
    kept = {selection.case_id: selection for selection in already}
    if len({case.case_id for case in ordered}) < len(ordered) or len(kept) < len(already):
        raise ValueError("a case is there twice")
    seen, chosen = Coverage(already), []
    for case in ordered:
        selection = kept.get(case.case_id)
        if selection is None:
            valid = valid_actions(space, case.job_type)
            selection = select(
                case,
                space=space,
                config=config,
                seen=seen,
                spread=model.spread(valid, case) if isinstance(model, ValueModel) else None,
                utility=model.utilities(valid, case) if isinstance(model, UtilityModel) else None,
                words=words,
                also=(also or {}).get(case.case_id, ()),
            )
            for action, reason in zip(selection.actions, selection.reasons, strict=True):
                seen.add(case.job_type, action, reason)
        chosen.append(selection)
    return chosen
