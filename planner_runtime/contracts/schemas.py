"""JSON Schemas of the contracts, generated so that types and schemas cannot drift apart.

Belongs here: generation. Does not: writing them to disk (``make schemas``).
"""

from typing import Any

import msgspec

from planner_runtime.contracts.bundle_manifest import BundleManifest
from planner_runtime.contracts.executed_plan import ExecutedPlan
from planner_runtime.contracts.planner_action import PlannerAction
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.policy_trace import PolicyTrace
from planner_runtime.contracts.run_summary import RunSummary

CONTRACTS: dict[str, type[msgspec.Struct]] = {
    "planner_input": PlannerInput,
    "planner_action": PlannerAction,
    "executed_plan": ExecutedPlan,
    "run_summary": RunSummary,
    "policy_trace": PolicyTrace,
    "bundle_manifest": BundleManifest,
}


def json_schema(name: str) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of one contract.

    Raises:
        KeyError: no contract has this name.
    """
    schema: dict[str, Any] = msgspec.json.schema(CONTRACTS[name])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
