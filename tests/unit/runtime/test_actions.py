import itertools

import numpy as np
import pytest

from planner_runtime.actions import (
    CANDIDATES_BINS,
    HEADS,
    ITERATIONS_BINS,
    MINUTES_BINS,
    NA,
    Action,
    ActionSpace,
    action_space_for_swarms,
    action_to_indices,
    choice_matrix,
    executed_action,
    head_masks,
    nearest_bin,
    valid_actions,
)
from planner_runtime.contracts import ExecutedPlan


def allowed_by_the_spec(job: str, action: Action) -> bool:
    """Section 4.2 once more, written out by hand."""
    if action.swarm_id == "serial_handoff" and action.max_candidates_bin != 1:
        return False
    if job == "code" and action.max_iterations_bin != "NA":
        return False
    return not (job == "fab-world" and action.max_candidates_bin == "NA")


@pytest.mark.parametrize(("job", "n"), [("code", 30), ("fab-world", 120), ("anything", 150)])
def test_valid_actions_are_the_brute_force_filter_in_order(job: str, n: int) -> None:
    every = itertools.product(
        ("serial_handoff", "speculate_vote"), CANDIDATES_BINS, MINUTES_BINS, ITERATIONS_BINS
    )
    expected = [
        action for action in itertools.starmap(Action, every) if allowed_by_the_spec(job, action)
    ]
    assert list(valid_actions(ActionSpace(), job)) == expected
    assert len(expected) == n


def test_masks_are_what_the_valid_actions_use() -> None:
    space = ActionSpace()
    masks = head_masks(space, "code")
    assert [int(mask.sum()) for mask in masks] == [2, 4, 6, 1]
    matrix = choice_matrix(space, "code")
    assert matrix.shape == (30, len(HEADS))
    assert all(masks[h][matrix[:, h]].all() for h in range(len(HEADS)))


def test_an_action_is_its_indices() -> None:
    space = action_space_for_swarms(["speculate_vote", "serial_handoff", "speculate_vote"])
    for row, action in zip(
        choice_matrix(space, "fab-world"), valid_actions(space, "fab-world"), strict=True
    ):
        assert tuple(row) == action_to_indices(space, action)
    with pytest.raises(ValueError):
        action_to_indices(space, Action("unheard_of", 1, 15, NA))


def test_cached_tables_cannot_be_changed_by_their_users() -> None:
    with pytest.raises(ValueError):
        choice_matrix(ActionSpace(), "code")[0, 0] = 9
    assert np.array_equal(choice_matrix(ActionSpace(), "code")[0], [0, 0, 0, 4])


@pytest.mark.parametrize(
    ("value", "expected"),
    [(10, 15), (37.5, 30), (45, 45), (60, 60), (119, 120), (1e9, 120), (None, NA)],
)
def test_the_nearest_minutes_bin_is_the_lower_on_ties(
    value: float | None, expected: object
) -> None:
    assert nearest_bin(value, MINUTES_BINS) == expected


def test_an_executed_plan_becomes_bins() -> None:
    plan = ExecutedPlan(
        swarm_id_executed="speculate_vote",
        max_candidates_executed=7,
        timeout_seconds_executed=2_700,
        max_iterations_executed=None,
        fallback_applied=False,
    )
    assert executed_action(ActionSpace(), plan) == ("speculate_vote", 3, 45, NA)
