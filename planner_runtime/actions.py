"""The finite action space: bins and validity rules as data, valid actions, masks, indices.

Belongs here: what may be chosen. Does not: choosing (``decode``, ``heuristic``).
Spec: section 4; formats 7.4 (order, counts).
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from planner_runtime.contracts.bins import Bin
from planner_runtime.contracts.canonical import document_hash
from planner_runtime.contracts.executed_plan import ExecutedPlan
from planner_runtime.contracts.planner_input import ActionSpaceDocument
from planner_runtime.remembering import remembered

NA: Final = "NA"
HEADS: Final = ("swarm_id", "max_candidates_bin", "max_minutes_bin", "max_iterations_bin")
DEFAULT_SWARM_IDS: Final = ("serial_handoff", "speculate_vote")
CANDIDATES_BINS: Final[tuple[Bin, ...]] = (1, 2, 3, NA)
MINUTES_BINS: Final[tuple[Bin, ...]] = (15, 30, 45, 60, 120, NA)
ITERATIONS_BINS: Final[tuple[Bin, ...]] = (1, 2, 3, 5, NA)


class Action(NamedTuple):
    """One joint action: a choice of every head, in the order of ``HEADS``."""

    swarm_id: str
    max_candidates_bin: Bin
    max_minutes_bin: Bin
    max_iterations_bin: Bin


class Condition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which values a field may take: one of ``one_of``, none of ``none_of``."""

    field: str
    one_of: tuple[Bin | str, ...] | None = None
    none_of: tuple[Bin | str, ...] = ()

    def holds(self, value: Bin | str) -> bool:
        """Whether ``value`` satisfies the condition."""
        return (self.one_of is None or value in self.one_of) and value not in self.none_of


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A validity rule: where ``when`` holds, ``then`` must hold too."""

    description: str
    when: Condition
    then: Condition

    def allows(self, values: Mapping[str, Bin | str]) -> bool:
        """Whether the rule permits an action together with its job type."""
        return not self.when.holds(values[self.when.field]) or self.then.holds(
            values[self.then.field]
        )

    def to_document(self) -> dict[str, Any]:
        """The rule as formats 7.4 writes it: description, if, then."""
        return {
            "description": self.description,
            "if": msgspec.to_builtins(self.when),
            "then": msgspec.to_builtins(self.then),
        }


VALIDITY_RULES: Final = (
    Rule(
        description="one agent after another is one candidate",
        when=Condition(field="swarm_id", one_of=("serial_handoff",)),
        then=Condition(field="max_candidates_bin", one_of=(1,)),
    ),
    Rule(
        description="code jobs have no iteration budget to enforce",
        when=Condition(field="job_type", one_of=("code",)),
        then=Condition(field="max_iterations_bin", one_of=(NA,)),
    ),
    Rule(
        description="a world evolution needs a population",
        when=Condition(field="job_type", one_of=("fab-world",)),
        then=Condition(field="max_candidates_bin", none_of=(NA,)),
    ),
)


_RULED: Final = tuple(
    place
    for place, head in enumerate(HEADS)
    if any(head in (rule.when.field, rule.then.field) for rule in VALIDITY_RULES)
)


class ActionSpace(msgspec.Struct, frozen=True, kw_only=True):
    """Choices of every head. Frozen and hashable: valid actions are worked out once."""

    swarm_ids: tuple[str, ...] = DEFAULT_SWARM_IDS
    max_candidates_bins: tuple[Bin, ...] = CANDIDATES_BINS
    max_minutes_bins: tuple[Bin, ...] = MINUTES_BINS
    max_iterations_bins: tuple[Bin, ...] = ITERATIONS_BINS

    @property
    def choices(self) -> tuple[tuple[Bin | str, ...], ...]:
        """Choices of each head, in the order of ``HEADS``."""
        return (
            self.swarm_ids,
            self.max_candidates_bins,
            self.max_minutes_bins,
            self.max_iterations_bins,
        )

    def to_document(self) -> dict[str, Any]:
        """The action space as a planner input and a bundle carry it."""
        return {
            "swarm_ids": list(self.swarm_ids),
            "max_candidates_bins": list(self.max_candidates_bins),
            "max_minutes_bins": list(self.max_minutes_bins),
            "max_iterations_bins": list(self.max_iterations_bins),
            "validity_rules": [rule.to_document() for rule in VALIDITY_RULES],
        }

    def to_dict(self) -> dict[str, Any]:
        """``to_document``, by the name that kernels call it. Source: formats 7.1."""
        return self.to_document()


def action_space_for_swarms(swarm_ids: Sequence[str]) -> ActionSpace:
    """The version 1 bins with these swarms, sorted; the two defaults when there are none."""
    return ActionSpace(swarm_ids=tuple(sorted(set(swarm_ids))) or DEFAULT_SWARM_IDS)


def action_space_of(document: ActionSpaceDocument) -> ActionSpace:
    """The action space a planner input declares, each choice once; the rules are always ours."""
    return ActionSpace(
        swarm_ids=tuple(dict.fromkeys(document.swarm_ids)),
        max_candidates_bins=tuple(dict.fromkeys(document.max_candidates_bins)),
        max_minutes_bins=tuple(dict.fromkeys(document.max_minutes_bins)),
        max_iterations_bins=tuple(dict.fromkeys(document.max_iterations_bins)),
    )


def is_valid_action(action: Action, *, job_type: str) -> bool:
    """Whether every validity rule allows ``action`` for jobs of ``job_type``. Spec: section 4.2.

    >>> is_valid_action(Action("serial_handoff", 2, 60, NA), job_type="code")
    False
    """
    values = {**dict(zip(HEADS, action, strict=True)), "job_type": job_type}
    return all(rule.allows(values) for rule in VALIDITY_RULES)


@remembered
def valid_actions(space: ActionSpace, job_type: str) -> tuple[Action, ...]:
    """VALID_ACTIONS (spec 4.3): swarm, candidates, minutes, iterations, each in the space's order.

    >>> [len(valid_actions(ActionSpace(), job)) for job in ("code", "fab-world", "other")]
    [30, 120, 150]
    """
    every = product(*space.choices)
    seen: dict[tuple[Bin | str, ...], bool] = {}  # by the choices that a rule looks at
    actions = []
    for choices in every:
        action = Action(*choices)  # type: ignore[arg-type]
        ruled = tuple([choices[place] for place in _RULED])
        is_valid = seen.get(ruled)
        if is_valid is None:
            is_valid = seen[ruled] = is_valid_action(action, job_type=job_type)
        if is_valid:
            actions.append(action)
    return tuple(actions)


@remembered
def candidate_set_hash(space: ActionSpace, job_type: str) -> str:
    """sha256 of VALID_ACTIONS in order: equal when two decisions had the same candidates."""
    return document_hash([list(action) for action in valid_actions(space, job_type)])


@remembered
def choice_matrix(space: ActionSpace, job_type: str) -> np.ndarray:
    """(A, H) int64: for every valid action the index of its choice in every head; read-only."""
    rows = [action_to_indices(space, action) for action in valid_actions(space, job_type)]
    matrix = np.array(rows, dtype=np.int64).reshape(len(rows), len(HEADS))
    matrix.flags.writeable = False
    return matrix


@remembered
def head_masks(space: ActionSpace, job_type: str) -> tuple[np.ndarray, ...]:
    """For each head a (C,) bool array: True where some valid action makes that choice."""
    return masks_of(space, choice_matrix(space, job_type))


def masks_of(space: ActionSpace, matrix: np.ndarray) -> tuple[np.ndarray, ...]:
    """For each head a (C,) bool array: True where a row of an (A, H) matrix makes the choice."""
    masks = []
    for head, choices in enumerate(space.choices):
        mask = np.zeros(len(choices), dtype=bool)
        mask[matrix[:, head]] = True
        mask.flags.writeable = False
        masks.append(mask)
    return tuple(masks)


def action_to_indices(space: ActionSpace, action: Action) -> tuple[int, ...]:
    """Index of each choice in its head.

    Raises:
        ValueError: a choice is not in the space.
    """
    return tuple(
        choices.index(choice) for choices, choice in zip(space.choices, action, strict=True)
    )


def nearest_bin(value: float | None, bins: Sequence[Bin]) -> Bin:
    """The bin nearest to ``value``, the lower one on ties; "NA" for an unknown value.

    Raises:
        ValueError: no bin fits: the value is unknown and there is no "NA", or all bins are "NA".

    >>> nearest_bin(10, MINUTES_BINS), nearest_bin(37.5, MINUTES_BINS), nearest_bin(None, (1, NA))
    (15, 30, 'NA')
    """
    numbers = sorted(b for b in bins if b != NA)
    if value is None or not numbers:
        if NA not in bins:
            raise ValueError(f"no bin of {tuple(bins)} fits {value}")
        return NA
    return min(numbers, key=lambda b: (abs(b - value), b))


def executed_action(space: ActionSpace, plan: ExecutedPlan) -> Action:
    """The joint action an executed plan amounts to; a budget that was not enforced is "NA".

    Raises:
        ValueError: a budget has no bin in the space.
    """
    seconds = plan.timeout_seconds_executed
    return Action(
        plan.swarm_id_executed,
        nearest_bin(plan.max_candidates_executed, space.max_candidates_bins),
        nearest_bin(None if seconds is None else seconds / 60, space.max_minutes_bins),
        nearest_bin(plan.max_iterations_executed, space.max_iterations_bins),
    )
