"""The planner as a kernel serves it: small, instant, and never in the kernel's way.

Belongs here: the public names. Does not: anything that trains; torch, dagster, mlflow, polars and
pyarrow are never imported from this package. Spec: sections 10 and 11.

A name is imported when it is first asked for: a kernel that starts pays for numpy (some 50 ms)
only once it plans.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from planner_runtime.actions import Action, ActionSpace, valid_actions
    from planner_runtime.bundle import Bundle, BundleError, Trust, read_bundle
    from planner_runtime.contracts import ContractError, PlannerAction, PlannerInput
    from planner_runtime.decision import Decision
    from planner_runtime.kernel_config import KernelConfig, kernel_config_of
    from planner_runtime.live import LivePlanner
    from planner_runtime.planner import Planner, verify_bundle

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

_HOMES = {
    "Action": "actions",
    "ActionSpace": "actions",
    "Bundle": "bundle",
    "BundleError": "bundle",
    "ContractError": "contracts",
    "Decision": "decision",
    "KernelConfig": "kernel_config",
    "LivePlanner": "live",
    "Planner": "planner",
    "PlannerAction": "contracts",
    "PlannerInput": "contracts",
    "Trust": "bundle",
    "kernel_config_of": "kernel_config",
    "read_bundle": "bundle",
    "valid_actions": "actions",
    "verify_bundle": "planner",
}


def __getattr__(name: str) -> Any:
    """A public name, from the module it is at home in."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
