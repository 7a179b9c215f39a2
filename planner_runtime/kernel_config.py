"""The part of the kernel's configuration that its own decisions depend on.

Belongs here: the typed configuration, its reading from a parsed ``config.yaml``, the values the
kernel ships with, how two configurations differ. Does not: parsing YAML
(``planner_pipeline.sources``), deciding (``heuristic``, ``scheduler``).
Source: reference/cyntra-formats.md 5.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from planner_runtime.contracts.canonical import canonical_json

DEFAULT_TIMEOUT_SECONDS: Final = 1800


class RoutingRule(msgspec.Struct, frozen=True, kw_only=True):
    """One routing rule; the first whose ``match`` fits an issue wins."""

    match: dict[str, Any] = {}
    use: tuple[str, ...] = ()
    speculate: bool = False
    parallelism: int | None = None


class Speculation(msgspec.Struct, frozen=True, kw_only=True):
    """When several toolchains compete, and how many."""

    enabled: bool = True
    default_parallelism: int = 2
    max_parallelism: int = 3
    vote_threshold: float = 0.7
    auto_trigger_on_critical_path: bool = True
    auto_trigger_risk_levels: tuple[str, ...] = ("high", "critical")
    force: bool = False  # `cyntra run --speculate`; no configuration file can set it


class ExplorationControl(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds and steps of the exploration controller."""

    enabled: bool = True
    action_low: float = 0.1
    action_high: float = 0.5
    temperature_base: float = 0.2
    temperature_min: float = 0.1
    temperature_max: float = 0.6
    temperature_step: float = 0.1
    parallelism_step: int = 1


class Scheduling(msgspec.Struct, frozen=True, kw_only=True):
    """Slots, tokens and starvation."""

    max_concurrent_workcells: int = 3
    max_concurrent_tokens: int = 200_000
    starvation_threshold_hours: float = 4.0


class KernelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What routing, speculation and scheduling read."""

    toolchain_priority: tuple[str, ...] = ("codex", "claude", "crush")
    timeout_seconds: dict[str, int] = {}
    rules: tuple[RoutingRule, ...] = ()
    fallbacks: dict[str, tuple[str, ...]] = {}
    speculation: Speculation = Speculation()
    control: ExplorationControl = ExplorationControl()
    scheduling: Scheduling = Scheduling()

    def timeout_of(self, toolchain: str) -> int:
        """Seconds a toolchain may run."""
        return self.timeout_seconds.get(toolchain, DEFAULT_TIMEOUT_SECONDS)


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(str(item) for item in value) if isinstance(value, Sequence) else ()


def _section(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, Mapping) else {}


def _known(section: Mapping[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {k: section[k] for k in kind.__struct_fields__ if section.get(k) is not None}


def _timeout_seconds(toolchain: Any) -> int | None:
    if not isinstance(toolchain, Mapping):
        return None
    if toolchain.get("timeout_seconds"):
        return int(toolchain["timeout_seconds"])
    minutes = toolchain.get("timeout_minutes")
    return int(float(minutes) * 60) if minutes else None


def kernel_config_of(document: Mapping[str, Any]) -> KernelConfig:
    """The configuration in a parsed ``.cyntra/config.yaml``; what is absent has its default.

    Raises:
        ValueError: a value has the wrong type; the message holds its path.
    """
    try:
        return msgspec.convert(_known_parts(document), KernelConfig)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"kernel config: {error}") from error


def _known_parts(document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ``KernelConfig`` that a parsed file sets."""
    toolchains = _section(document, "toolchains")
    routing = _section(document, "routing")
    speculation = dict(_section(document, "speculation"))
    trigger = _section(speculation, "auto_trigger")
    speculation.pop("force", None)
    for name in ("on_critical_path", "risk_levels"):
        if name in trigger:
            speculation.setdefault(f"auto_trigger_{name}", trigger[name])
    rules = [
        {**rule, "use": _names(rule.get("use")), "match": rule.get("match") or {}}
        for rule in routing.get("rules") or ()
        if isinstance(rule, Mapping)
    ]
    raw: dict[str, Any] = {
        "timeout_seconds": {
            name: seconds
            for name, toolchain in toolchains.items()
            if (seconds := _timeout_seconds(toolchain)) is not None
        },
        "rules": rules,
        "fallbacks": {k: _names(v) for k, v in _section(routing, "fallbacks").items()},
        "speculation": _known(speculation, Speculation),
        "control": _known(_section(document, "control"), ExplorationControl),
        "scheduling": _known(_section(document, "scheduling"), Scheduling),
    }
    if document.get("toolchain_priority"):
        raw["toolchain_priority"] = _names(document["toolchain_priority"])
    return raw


def config_differences(ours: KernelConfig, theirs: KernelConfig) -> tuple[str, ...]:
    """Fields in which two kernel configurations differ; both as JSON would say them.

    Whether a run was started with ``--speculate`` is no matter of configuration: it moves the
    baseline, and the model answers for any.
    """
    told = []
    for config in (_as_configured(ours), _as_configured(theirs)):
        fields: dict[str, bytes | None] = {}
        for name, value in msgspec.to_builtins(config).items():
            try:
                fields[name] = canonical_json(value)
            except ValueError:  # a number that JSON cannot say equals nothing
                fields[name] = None
        told.append(fields)
    one, other = told
    return tuple(n for n in sorted(one) if one[n] is None or one[n] != other.get(n))


def _as_configured(config: KernelConfig) -> KernelConfig:
    speculation = msgspec.structs.replace(config.speculation, force=False)
    return msgspec.structs.replace(config, speculation=speculation)


def _use(match: dict[str, Any], *toolchains: str, parallelism: int | None = None) -> RoutingRule:
    speculate = parallelism is not None
    return RoutingRule(match=match, use=toolchains, speculate=speculate, parallelism=parallelism)


SHIPPED_CONFIG: Final = KernelConfig(
    toolchain_priority=("codex", "claude", "opencode", "crush", "fab-world"),
    timeout_seconds={
        "codex": 3600,
        "claude": 3600,
        "opencode": 2700,
        "crush": 2700,
        "fab-world": 7200,
        "comfyui": 600,
    },
    rules=(
        *(_use({"dk_tool_hint": hint}, hint) for hint in ("codex", "claude", "opencode", "crush")),
        _use({"tags_any": ["asset:world"]}, "fab-world"),
        _use({"tags_any": ["asset:image", "asset:texture", "comfyui"]}, "comfyui"),
        _use({"dk_risk": ["critical"]}, "codex", "claude", "crush", parallelism=3),
        _use({"dk_risk": ["high"]}, "codex", "claude", parallelism=2),
        _use({"dk_size": ["XL"]}, "codex"),
        _use({"tags_any": ["architecture", "complex", "kernel", "deep-reasoning"]}, "codex"),
        _use({"dk_risk": ["low"], "dk_size": ["XS", "S"]}, "opencode"),
        _use({}, "claude"),
    ),
    fallbacks={
        "codex": ("claude", "opencode"),
        "claude": ("codex", "opencode"),
        "opencode": ("claude",),
        "crush": ("opencode", "claude"),
    },
    scheduling=Scheduling(max_concurrent_tokens=300_000),
)
