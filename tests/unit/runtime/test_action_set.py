"""Actions as data, whatever their heads."""

import numpy as np
import pytest

from planner_runtime.action_set import ActionSet, cyntra_actions, named_actions
from planner_runtime.actions import ActionSpace, valid_actions


def test_the_actions_of_cyntra_are_its_valid_actions_in_order() -> None:
    actions = cyntra_actions(ActionSpace(), "fab-world")
    assert actions.rows == valid_actions(ActionSpace(), "fab-world")
    assert len(actions) == len(actions.names()) == 120
    assert actions.names()[0] == "serial_handoff 1 15 1"


def test_no_limit_is_dearer_than_any() -> None:
    actions = cyntra_actions(ActionSpace(), "code")
    assert actions.budget("max_minutes_bin").max() == np.inf
    longest = actions.rows.index(("serial_handoff", 1, "NA", "NA"))
    assert actions.is_reduction(longest).sum() == 6  # every serial action


def test_a_reduction_is_no_dearer_in_any_budget_and_of_the_same_topology() -> None:
    actions = cyntra_actions(ActionSpace(), "code")
    baseline = actions.rows.index(("speculate_vote", 2, 30, "NA"))
    open_ = [actions.rows[i] for i in np.flatnonzero(actions.is_reduction(baseline))]
    assert sorted(open_) == [("speculate_vote", k, t, "NA") for k in (1, 2) for t in (15, 30)]


def test_names_alone_have_no_budgets_and_no_topology() -> None:
    models = named_actions(["small", "large"])
    assert models.is_reduction(0).tolist() == models.same_topology(1).tolist() == [True, True]
    assert models.names() == ("small", "large")


@pytest.mark.parametrize(
    "fields",
    [
        {"rows": ((1, 2),)},
        {"rows": ((1,), (1,))},
        {"rows": ((1,),), "budgets": ("b",)},
        {"rows": ((1,),), "topologies": ("b",)},
    ],
)
def test_rows_that_are_no_actions_are_refused(fields: dict) -> None:
    with pytest.raises(ValueError):
        ActionSet(heads=("a",), **fields)
