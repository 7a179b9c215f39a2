"""The documents that cross a border: one frozen type each, its version in its tag.

Belongs here: the public names of the contracts. Does not: logic.
Spec: sections 3, 5.1 and 11. JSON Schemas in ``schemas/`` are generated from these types.
"""

from planner_runtime.contracts.bench_exchange import BenchReply, BenchRequest
from planner_runtime.contracts.bench_outcome import AttemptOutcome, BenchOutcome
from planner_runtime.contracts.bundle_manifest import BundleFile, BundleManifest, ModelCard
from planner_runtime.contracts.canonical import (
    canonical_json,
    document_hash,
    input_hash,
    sha256_hex,
)
from planner_runtime.contracts.executed_plan import ExecutedPlan
from planner_runtime.contracts.planner_action import Budgets, ModelId, PlannerAction
from planner_runtime.contracts.planner_input import (
    ActionSpaceDocument,
    History,
    Issue,
    PlannerInput,
    RecordDocument,
    SystemState,
    UniverseDefaults,
)
from planner_runtime.contracts.policy_trace import (
    ActionChoice,
    Binding,
    Expected,
    ExpectedOutcome,
    Exploration,
    PolicyTrace,
    Stability,
)
from planner_runtime.contracts.reading import ContractError, read_document, to_document
from planner_runtime.contracts.run_summary import (
    ActionExecuted,
    GateResult,
    Outcome,
    RunSummary,
    Runtime,
)

__all__ = [
    "ActionChoice",
    "ActionExecuted",
    "ActionSpaceDocument",
    "AttemptOutcome",
    "BenchOutcome",
    "BenchReply",
    "BenchRequest",
    "Binding",
    "Budgets",
    "BundleFile",
    "BundleManifest",
    "ContractError",
    "ExecutedPlan",
    "Expected",
    "ExpectedOutcome",
    "Exploration",
    "GateResult",
    "History",
    "Issue",
    "ModelCard",
    "ModelId",
    "Outcome",
    "PlannerAction",
    "PlannerInput",
    "PolicyTrace",
    "RecordDocument",
    "RunSummary",
    "Runtime",
    "Stability",
    "SystemState",
    "UniverseDefaults",
    "canonical_json",
    "document_hash",
    "input_hash",
    "read_document",
    "sha256_hex",
    "to_document",
]
