"""The planner as a kernel serves it: small, instant, and never in the kernel's way.

Belongs here: the public names. Does not: anything that trains; torch, dagster, mlflow, polars and
pyarrow are never imported from this package. Spec: sections 10 and 11.
"""

from planner_runtime.actions import Action, ActionSpace, valid_actions
from planner_runtime.bundle import Bundle, BundleError, Trust, read_bundle
from planner_runtime.contracts import ContractError, PlannerAction, PlannerInput
from planner_runtime.kernel_config import KernelConfig, kernel_config_of
from planner_runtime.live import LivePlanner
from planner_runtime.planner import Decision, Planner, verify_bundle

__all__ = [
    "Action",
    "ActionSpace",
    "Bundle",
    "BundleError",
    "ContractError",
    "Decision",
    "KernelConfig",
    "LivePlanner",
    "Planner",
    "PlannerAction",
    "PlannerInput",
    "Trust",
    "kernel_config_of",
    "read_bundle",
    "valid_actions",
    "verify_bundle",
]
