"""JSON Schemas of the contracts, generated so that types and schemas cannot drift apart.

Belongs here: generation, and `make schemas`. Does not: the contracts.
"""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from planner_runtime.contracts.bench_exchange import BenchReply, BenchRequest
from planner_runtime.contracts.bench_outcome import BenchOutcome
from planner_runtime.contracts.bundle_manifest import BundleManifest
from planner_runtime.contracts.executed_plan import ExecutedPlan
from planner_runtime.contracts.planner_action import PlannerAction
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.policy_trace import PolicyTrace
from planner_runtime.contracts.run_summary import RunSummary
from planner_runtime.objective import Objective

CONTRACTS: dict[str, type[msgspec.Struct]] = {
    "planner_input": PlannerInput,
    "planner_action": PlannerAction,
    "executed_plan": ExecutedPlan,
    "run_summary": RunSummary,
    "policy_trace": PolicyTrace,
    "bundle_manifest": BundleManifest,
    "bench_outcome": BenchOutcome,
    "bench_request": BenchRequest,
    "bench_reply": BenchReply,
    "planner_objective": Objective,
}


def json_schema(name: str) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of one contract.

    Raises:
        KeyError: no contract has this name.
    """
    # through JSON, because msgspec writes defaults as tuples
    schema = msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(CONTRACTS[name])))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def write_schemas(folder: Path) -> None:
    """Write one ``<name>.schema.json`` for every contract."""
    for name in CONTRACTS:
        text = json.dumps(json_schema(name), indent=2, ensure_ascii=False)
        (folder / f"{name}.schema.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
