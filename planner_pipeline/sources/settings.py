"""The files people write: ``.cyntra/config.yaml`` with its includes, and ``universes/*``.

Belongs here: YAML -> typed configuration and catalogues. Does not: what they decide
(``planner_runtime``). Source: formats 4 and 5.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from planner_pipeline.sources.files import (
    Quarantine,
    SourceCount,
    excerpt,
    read_bytes,
    relative,
    subdirectories,
)
from planner_runtime.kernel_config import SHIPPED_CONFIG, KernelConfig, kernel_config_of

CONFIG_SOURCE: Final = "config"
UNIVERSE_SOURCE: Final = "universes"
MAX_INCLUDES: Final = 8


class ConfigRead(msgspec.Struct, frozen=True, kw_only=True):
    """The kernel's configuration; ``is_default`` where the workspace has no usable one."""

    config: KernelConfig
    is_default: bool
    quarantined: tuple[Quarantine, ...]
    count: SourceCount


class UniverseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One universe: its defaults, its swarms in file order, its objectives."""

    universe_id: str
    default_swarm_id: str | None = None
    default_objective_id: str | None = None
    swarm_ids: tuple[str, ...] = ()
    population_sizes: dict[str, int] = {}
    objectives: dict[str, dict[str, str]] = {}


class UniverseRead(msgspec.Struct, frozen=True, kw_only=True):
    """All universes of a workspace and what could not be read."""

    universes: tuple[UniverseRecord, ...]
    quarantined: tuple[Quarantine, ...]
    count: SourceCount


def _read_yaml(repo: Path, path: Path, source: str) -> dict[str, Any] | Quarantine:
    data = read_bytes(repo, path, source)
    if isinstance(data, Quarantine):
        return data
    name = relative(repo, path)
    try:
        document = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeError, RecursionError, ValueError) as error:
        detail = " ".join(str(error).split())
        return Quarantine(
            source=source, file=name, reason="bad_yaml", detail=detail, excerpt=excerpt(data)
        )
    if not isinstance(document, dict):
        return Quarantine(
            source=source, file=name, reason="wrong_shape",
            detail="expected a mapping at the top", excerpt=excerpt(data),
        )  # fmt: skip
    return document


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid on ``base``, mappings key by key, anything else replaced."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _with_includes(
    repo: Path, path: Path, refused: list[Quarantine], depth: int = 0
) -> dict[str, Any]:
    document = _read_yaml(repo, path, CONFIG_SOURCE)
    if isinstance(document, Quarantine):
        refused.append(document)
        return {}
    includes = document.pop("include", None) or ()
    base: dict[str, Any] = {}
    for name in [includes] if isinstance(includes, str) else includes:
        target = (path.parent / str(name)).resolve()
        if depth >= MAX_INCLUDES or not target.is_relative_to(repo.resolve()):
            detail = f"include {name!r} leads out of the workspace or too deep"
            refused.append(
                Quarantine(
                    source=CONFIG_SOURCE, file=relative(repo, path),
                    reason="bad_value", detail=detail,
                )
            )  # fmt: skip
            continue
        inside = repo / target.relative_to(repo.resolve())
        base = _merged(base, _with_includes(repo, inside, refused, depth + 1))
    return _merged(base, document)


def read_kernel_config(repo: Path) -> ConfigRead:
    """``.cyntra/config.yaml``; the shipped configuration where there is none or it is unusable."""
    path = repo / ".cyntra" / "config.yaml"
    refused: list[Quarantine] = []
    config, is_default = SHIPPED_CONFIG, True
    exists = path.is_file()
    if exists:
        document = _with_includes(repo, path, refused)
        try:
            if document:
                config, is_default = kernel_config_of(document), False
        except (TypeError, ValueError) as error:
            refused.append(
                Quarantine(
                    source=CONFIG_SOURCE, file=relative(repo, path),
                    reason="bad_value", detail=str(error),
                )
            )  # fmt: skip
    count = SourceCount(
        source=CONFIG_SOURCE,
        discovered=int(exists),
        accepted=int(exists and not is_default),
        quarantined=int(exists and is_default),
    )
    return ConfigRead(config=config, is_default=is_default, quarantined=tuple(refused), count=count)


def _swarms(document: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, int]]:
    swarms = document.get("swarms")
    if not isinstance(swarms, Mapping):
        return (), {}
    sizes: dict[str, int] = {}
    for name, swarm in swarms.items():
        for key in ("population_size", "population"):
            size = swarm.get(key) if isinstance(swarm, Mapping) else None
            if isinstance(size, int) and not isinstance(size, bool) and size > 0:
                sizes.setdefault(str(name), size)
    return tuple(str(name) for name in swarms), sizes


def _objectives(document: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    objectives = document.get("objectives")
    if not isinstance(objectives, Mapping):
        return {}
    found = {}
    for name, objective in objectives.items():
        metrics: Any = None
        if isinstance(objective, Mapping):
            metrics = objective.get("metrics") or objective.get("objectives")
        if isinstance(metrics, Mapping):
            found[str(name)] = {str(k): str(v) for k, v in metrics.items()}
    return found


def read_universes(repo: Path) -> UniverseRead:
    """All universes with a readable ``universe.yaml``, by directory name."""
    folders, refused = subdirectories(repo, repo / "universes", UNIVERSE_SOURCE)
    records = []
    for folder in folders:
        parts: dict[str, dict[str, Any]] = {}
        for name in ("universe", "swarms", "objectives"):
            path = folder / f"{name}.yaml"
            if not path.exists() and name != "universe":
                continue
            document = _read_yaml(repo, path, UNIVERSE_SOURCE)
            if isinstance(document, Quarantine):
                refused.append(document)
            else:
                parts[name] = document
        if "universe" not in parts:
            continue
        defaults = parts["universe"].get("defaults")
        defaults = defaults if isinstance(defaults, Mapping) else {}
        swarm_ids, sizes = _swarms(parts.get("swarms", {}))
        swarm, objective = defaults.get("swarm_id"), defaults.get("objective_id")
        records.append(
            UniverseRecord(
                universe_id=str(parts["universe"].get("universe_id") or folder.name),
                default_swarm_id=None if swarm is None else str(swarm),
                default_objective_id=None if objective is None else str(objective),
                swarm_ids=swarm_ids,
                population_sizes=sizes,
                objectives=_objectives(parts.get("objectives", {})),
            )
        )
    count = SourceCount(
        source=UNIVERSE_SOURCE,
        discovered=len(folders),
        accepted=len(records),
        quarantined=len(folders) - len(records),
    )
    return UniverseRead(universes=tuple(records), quarantined=tuple(refused), count=count)
