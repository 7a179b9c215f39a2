"""What docs/policy.md says is what the program reads and writes."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from planner_runtime.contracts import PolicyTrace, canonical_json, read_document, to_document
from planner_runtime.objective import Objective, read_objective
from planner_runtime.outcomes.model import OutcomeCalibration
from planner_runtime.outcomes.policy_file import OutcomePolicy
from planner_runtime.policy import Bound

PAGE = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
OBJECTIVE, POLICY = re.findall(r"```json\n(.*?)```", PAGE, re.S)


def test_the_objective_on_the_page_is_one_and_has_every_field() -> None:
    objective = read_objective(OBJECTIVE)
    assert objective.name == "careful"
    assert set(json.loads(OBJECTIVE)) == {*Objective.__struct_fields__, "schema_version"}
    assert canonical_json(to_document(objective)) == canonical_json(json.loads(OBJECTIVE))


def test_the_policy_on_the_page_is_one_that_can_decide() -> None:
    policy = read_document(POLICY, OutcomePolicy)
    assert policy.fault() is None
    assert policy.limits.caps == {"max_minutes_bin": 60, "max_candidates_bin": 3}


@pytest.mark.parametrize(
    "name",
    [
        *Objective.__struct_fields__, *OutcomeCalibration.__struct_fields__, *get_args(Bound),
        *(f for f in PolicyTrace.__struct_fields__[PolicyTrace.__struct_fields__.index("objective"):]),
        "low_confidence", "not_certified", "out_of_distribution", "epoch_mismatch",
        "inference_failed", "policy_refused", "no_action_open", "no_valid_action",
    ],
)  # fmt: skip
def test_the_page_names(name: str) -> None:
    assert re.search(rf"`{name}\b", PAGE), name
