"""The ``planner:`` section of ``.cyntra/config.yaml``: is a planner asked, and how far followed.

Belongs here: the typed section, its reading from a parsed file. Does not: what a mode does
(``modes``), routing and limits of toolchains (``kernel_config``), parsing YAML.
Source: reference/cyntra-formats.md 5 (mode, bundle_dir, confidence_threshold, legacy enabled); the
other keys are ours.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from planner_runtime.contracts.policy_trace import Mode
from planner_runtime.deadline import DEFAULT_DEADLINE_MS

DEFAULT_THRESHOLD: Final = 0.2
_MODES: Final = get_args(Mode)


class PlannerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a kernel uses its planner.

    Attributes:
        bundle_dir: A bundle, or what points to one; None: not configured.
        socket: Of a sidecar, which is then asked in the place of a bundle of one's own.
        confidence_threshold: Answers with less are not followed.
        topology_changes: Whether a plan may run another topology than the kernel would.
        deadline_ms: A decision that takes longer is the baseline's.
        public_key: PEM file that a bundle's signature is checked with.
        require_signature: Whether a bundle without a good signature is refused.
        refused: What the section says that nobody can use, in words; such a planner is off.
    """

    mode: Mode = "off"
    bundle_dir: Path | None = None
    socket: Path | None = None
    confidence_threshold: float = DEFAULT_THRESHOLD
    topology_changes: bool = False
    deadline_ms: float = DEFAULT_DEADLINE_MS
    public_key: Path | None = None
    require_signature: bool = False
    refused: tuple[str, ...] = ()


def planner_settings_of(document: Mapping[str, Any], repo_root: Path) -> PlannerSettings:
    """The settings in a parsed ``.cyntra/config.yaml``; never raises.

    As in the kernel, an unknown mode is off, and ``enabled`` counts where there is no mode. A value
    that nobody can use switches the planner off and is named in ``refused``: a wrong threshold
    must not become a default that enforces more than was meant.

    Args:
        repo_root: Relative paths start here.

    >>> planner_settings_of({"planner": {"enabled": True}}, Path("/repo")).mode
    'enforce'
    >>> planner_settings_of({"planner": {"mode": "Enforce"}}, Path("/repo")).mode
    'off'
    """
    section = document.get("planner")
    if section is None:
        return PlannerSettings()
    if not isinstance(section, Mapping):
        return PlannerSettings(refused=("planner: not a section",))
    refused: list[str] = []
    settings = PlannerSettings(
        mode=_mode(section),
        bundle_dir=_path(section, "bundle_dir", repo_root, refused),
        socket=_path(section, "socket", repo_root, refused),
        confidence_threshold=_number(
            section, "confidence_threshold", DEFAULT_THRESHOLD, (0.0, 1.0), refused
        ),
        topology_changes=_truth(section, "topology_changes", refused),
        deadline_ms=_number(section, "deadline_ms", DEFAULT_DEADLINE_MS, (1.0, 60_000.0), refused),
        public_key=_path(section, "public_key", repo_root, refused),
        require_signature=_truth(section, "require_signature", refused),
    )
    if refused:
        return msgspec.structs.replace(settings, mode="off", refused=tuple(refused))
    return settings


def _mode(section: Mapping[str, Any]) -> Mode:
    mode = section.get("mode")
    if mode is None:
        return "enforce" if section.get("enabled") is True else "off"
    return mode if isinstance(mode, str) and mode in _MODES else "off"  # type: ignore[return-value]


def _path(section: Mapping[str, Any], key: str, repo_root: Path, refused: list[str]) -> Path | None:
    value = section.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str | Path) or "\0" in str(value):
        refused.append(f"planner.{key}: not a path")
        return None
    return repo_root / value


def _number(
    section: Mapping[str, Any],
    key: str,
    default: float,
    bounds: tuple[float, float],
    refused: list[str],
) -> float:
    value = section.get(key, default)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not bounds[0] <= value <= bounds[1]:
        refused.append(f"planner.{key}: not a number from {bounds[0]:g} to {bounds[1]:g}")
        return default
    return float(value)


def _truth(section: Mapping[str, Any], key: str, refused: list[str]) -> bool:
    value = section.get(key, False)
    if not isinstance(value, bool):
        refused.append(f"planner.{key}: neither true nor false")
        return False
    return value
