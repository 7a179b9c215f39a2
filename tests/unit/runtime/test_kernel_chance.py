"""Chance in a kernel's dispatches: what is recorded is the probability with which it ran.

Belongs here: exploration through ``kernel.dispatch``, mode by mode. Does not: the draw itself
(``test_exploration``), what is enforced without chance (``test_kernel_planner``).
"""

import pytest

from planner_runtime.exploration import ExplorationBudget
from planner_runtime.policy import Limits
from tests.outcome_bundles import an_outcome_planner, calibration_of, flat
from tests.unit.runtime.test_kernel_planner import (
    a_planner,
    dispatched,
    is_the_baseline,
    keeps_its_contracts,
)


def test_what_chance_draws_is_enforced_with_the_propensity_it_had() -> None:
    budget = ExplorationBudget(epsilon=1.0, seed="s", budget_share=1.0)
    planner = an_outcome_planner(flat(), planner={"exploration": budget})
    seen = set()
    for number in range(40):
        issue = {"id": f"i{number}", "title": "x", "dk_priority": "P3", "dk_risk": "low"}
        selection = dispatched(
            a_planner(answering=planner, confidence_threshold=1.0), issue=issue,
            baseline_timeout_cap_seconds=2_700,
        )  # fmt: skip
        trace = keeps_its_contracts(selection)
        assert trace is not None
        assert selection.fallback_applied is False or trace.decided_by == "baseline"
        assert trace.n_open == 3  # 15, 30 and 45 minutes: no more than the kernel's 2,700 s
        seen.add(trace.chosen.budgets.max_minutes_bin)
        if trace.decided_by == "exploration":
            assert trace.propensity == pytest.approx(1 / 3)
            minutes = trace.chosen.budgets.max_minutes_bin
            assert selection.timeout_seconds_override == int(minutes) * 60
    assert seen == {15, 30, 45}


def test_what_a_cap_of_the_policy_moved_has_the_propensity_with_which_it_ran() -> None:
    """The planner's own fallback is 45 minutes, the kernel's 60: they are not drawn as one."""
    planner = an_outcome_planner(
        flat(), calibration=calibration_of(always_abstains=True),
        planner={
            "exploration": ExplorationBudget(epsilon=0.5, seed="s", budget_share=1.0),
            "limits": Limits(caps={"max_minutes_bin": 45}),
        },
    )  # fmt: skip
    kernel, told = a_planner(answering=planner), dict[object, set[float]]()
    for number in range(60):
        issue = {"id": f"i{number}", "title": "x", "dk_priority": "P3", "dk_risk": "low"}
        trace = keeps_its_contracts(dispatched(kernel, issue=issue))
        assert trace is not None
        assert trace.n_open == 3
        minutes = trace.chosen.budgets.max_minutes_bin
        told.setdefault(minutes, set()).add(round(trace.propensity, 9))
    drawn = {round(0.5 / 3, 9)}
    assert told == {60: {0.5}, 45: drawn, 30: drawn, 15: drawn}


def test_a_log_leaves_nothing_to_chance_whatever_its_planner_did() -> None:
    budget = ExplorationBudget(epsilon=0.5, seed="s", budget_share=1.0)
    planner = an_outcome_planner(flat(), planner={"exploration": budget})
    chosen = set()
    for number in range(40):
        issue = {"id": f"i{number}", "title": "x", "dk_priority": "P3", "dk_risk": "low"}
        selection = dispatched(
            a_planner("log", planner), issue=issue, baseline_timeout_cap_seconds=900
        )
        trace = keeps_its_contracts(selection)
        assert trace is not None
        assert is_the_baseline(selection)
        assert (trace.propensity, trace.exploration.enabled) == (1.0, False)
        chosen.add(selection.planner_action["reason"])
    assert chosen == {"log_only"}
