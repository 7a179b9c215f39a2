"""The files people write: ``.cyntra/config.yaml`` with its includes, and ``universes/*``.

Belongs here: YAML -> typed configuration and catalogues. Does not: what they decide
(``planner_runtime``). Source: formats 4 and 5.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from planner_runtime.archives.files import (
    Quarantine,
    SourceCount,
    as_text,
    excerpt,
    read_bytes,
    relative,
    subdirectories,
)
from planner_runtime.archives.git_history import commits_of, object_ids
from planner_runtime.kernel_config import SHIPPED_CONFIG, KernelConfig, kernel_config_of

CONFIG_FILE: Final = ".cyntra/config.yaml"
CONFIG_SOURCE: Final = "config"
UNIVERSE_SOURCE: Final = "universes"
MAX_YAML_NODES: Final = 100_000


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


class SettingsState(msgspec.Struct, frozen=True, kw_only=True):
    """What governed decisions from a commit on: content hashes, null where nothing was there.

    Attributes:
        prompt_frontier: Of ``prompts/``, which the kernel copies into every workcell.
    """

    committed_ms: int
    kernel_config: str | None = None
    universe: str | None = None
    prompt_frontier: str | None = None


SETTINGS_PATHS: Final = (CONFIG_FILE, "universes", "prompts")


def read_settings_history(repo: Path) -> list[SettingsState]:
    """Every change of configuration, universes or prompts that git remembers, oldest first."""
    commits = commits_of(repo, *SETTINGS_PATHS)
    hashes = [object_ids(repo, commits, path) for path in SETTINGS_PATHS]
    return [
        SettingsState(
            committed_ms=commit.committed_ms,
            kernel_config=config, universe=universe, prompt_frontier=prompts,
        )
        for commit, config, universe, prompts in zip(commits, *hashes, strict=True)
    ]  # fmt: skip


def _read_yaml(repo: Path, path: Path, source: str) -> dict[str, Any] | Quarantine:
    data = read_bytes(repo, path, source)
    if isinstance(data, Quarantine):
        return data
    name = relative(repo, path)
    try:
        document = _parse_yaml(data)
    except Exception as error:  # PyYAML's constructors raise whatever int() and the like raise
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


def _parse_yaml(data: bytes) -> Any:
    """A YAML document whose aliases neither recurse nor multiply beyond reason.

    Raises:
        ValueError: they do, or a text in it is not valid Unicode.
        yaml.YAMLError: the data is not YAML.
    """
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = MAX_YAML_NODES + 1  # met again while open: it contains itself
            children: list[yaml.Node] = []
            if isinstance(node, yaml.SequenceNode):
                children = node.value
            elif isinstance(node, yaml.MappingNode):
                children = [child for pair in node.value for child in pair]
            sizes[id(node)] = 1 + sum(size(child) for child in children)
        return sizes[id(node)]

    root = yaml.compose(data, Loader=yaml.SafeLoader)
    if root is not None and size(root) > MAX_YAML_NODES:
        raise ValueError("its aliases recurse, or it unfolds to too many values")
    document = yaml.safe_load(data)
    json.dumps(document, default=str, ensure_ascii=False).encode("utf-8")
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
    repo: Path, path: Path, refused: list[Quarantine], seen: set[Path]
) -> dict[str, Any] | None:
    """A configuration laid on what it includes; None when the file itself cannot be used."""
    seen.add(path)
    document = _read_yaml(repo, path, CONFIG_SOURCE)
    if isinstance(document, Quarantine):
        refused.append(document)
        return None
    includes = document.pop("include", None) or ()
    base: dict[str, Any] = {}
    for name in includes if isinstance(includes, list | tuple) else [includes]:
        inside = _inside(repo, path.parent, name)
        if inside is None or inside in seen:
            detail = f"include {str(name)[:80]!r} leads out of the workspace or in a circle"
            refused.append(
                Quarantine(
                    source=CONFIG_SOURCE, file=relative(repo, path),
                    reason="bad_value", detail=detail,
                )
            )  # fmt: skip
            continue
        base = _merged(base, _with_includes(repo, inside, refused, seen) or {})
    return _merged(base, document)


def _inside(repo: Path, folder: Path, name: Any) -> Path | None:
    """The file an include names, when it lies in the workspace."""
    if not isinstance(name, str):
        return None
    try:
        root = repo.resolve()
        return repo / (folder / name).resolve().relative_to(root)
    except (OSError, RuntimeError, ValueError):  # no path, a loop of links, or outside
        return None


def read_config_document(repo: Path) -> tuple[dict[str, Any] | None, list[Quarantine]]:
    """``.cyntra/config.yaml`` laid on what it includes, and what had to be refused; None where
    there is none or it cannot be used.
    """
    path = repo / CONFIG_FILE
    refused: list[Quarantine] = []
    if not os.path.lexists(path):
        return None, refused
    return _with_includes(repo, path, refused, set()), refused


def read_kernel_config(repo: Path) -> ConfigRead:
    """``.cyntra/config.yaml``; the shipped configuration where there is none or it is unusable."""
    path = repo / CONFIG_FILE
    config, is_default = SHIPPED_CONFIG, True
    exists = os.path.lexists(path)
    document, refused = read_config_document(repo)
    if document is not None:
        try:
            config, is_default = kernel_config_of(document), False
        except ValueError as error:
            refused.append(
                Quarantine(
                    source=CONFIG_SOURCE, file=relative(repo, path),
                    reason="bad_value", detail=str(error),
                )
            )  # fmt: skip
    count = SourceCount(
        source=CONFIG_SOURCE,
        discovered=int(exists),
        accepted=int(not is_default),
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


def _read_universe(repo: Path, folder: Path, refused: list[Quarantine]) -> UniverseRecord | None:
    parts: dict[str, dict[str, Any]] = {}
    for name in ("universe", "swarms", "objectives"):
        path = folder / f"{name}.yaml"
        if name != "universe" and not os.path.lexists(path):
            continue
        document = _read_yaml(repo, path, UNIVERSE_SOURCE)
        if isinstance(document, Quarantine):
            refused.append(document)
        else:
            parts[name] = document
    if "universe" not in parts:
        return None
    defaults = parts["universe"].get("defaults")
    defaults = defaults if isinstance(defaults, Mapping) else {}
    swarm_ids, sizes = _swarms(parts.get("swarms", {}))
    return UniverseRecord(
        universe_id=as_text(parts["universe"].get("universe_id")) or folder.name,
        default_swarm_id=as_text(defaults.get("swarm_id")),
        default_objective_id=as_text(defaults.get("objective_id")),
        swarm_ids=swarm_ids,
        population_sizes=sizes,
        objectives=_objectives(parts.get("objectives", {})),
    )


def read_universes(repo: Path) -> UniverseRead:
    """All universes with a readable ``universe.yaml``, by directory name; each id once."""
    names, refused = subdirectories(repo, repo / "universes", UNIVERSE_SOURCE)
    n_refused = len(refused)
    n = len(names) + n_refused
    records: dict[str, UniverseRecord] = {}
    for folder in (repo / "universes" / name for name in names):
        record = _read_universe(repo, folder, refused)
        if record is not None and record.universe_id in records:
            detail = f"universe {record.universe_id} is defined by another directory"
            refused.append(
                Quarantine(
                    source=UNIVERSE_SOURCE, file=relative(repo, folder),
                    reason="duplicate_id", detail=detail,
                )
            )  # fmt: skip
            record = None
        if record is None:
            n_refused += 1
        else:
            records[record.universe_id] = record
    count = SourceCount(
        source=UNIVERSE_SOURCE, discovered=n, accepted=len(records), quarantined=n_refused
    )
    return UniverseRead(universes=tuple(records.values()), quarantined=tuple(refused), count=count)
