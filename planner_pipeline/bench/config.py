"""How a bench runs: toolchains, gates, limits, caps, as one document with one hash.

Belongs here: the configuration's shape, its reading, its hash. Does not: obeying it.
Spec: section 9.3. A workspace may carry it as ``.cyntra/bench.yaml``; unknown keys are refused.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import yaml

from planner_runtime.actions import NA, Action
from planner_runtime.contracts.canonical import document_hash
from planner_runtime.heuristic import SERIAL

CONFIG_FILE: Final = ".cyntra/bench.yaml"
Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Select = Literal["coverage", "uncertainty", "value"]


class BenchConfigError(ValueError):
    """A configuration cannot be used; the text names file and field."""


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings: frozen, by name, nothing unknown."""


class Toolchain(_Strict, frozen=True, kw_only=True):
    """A command that works on an issue in the current directory.

    Attributes:
        command: Program and arguments; ``{python}`` is this interpreter.
        version_command: Prints its version on the first line; None: no version is known.
        env: Variables it is given; nothing of the caller's environment is.
        pass_env: Names of the caller's variables it is given as well; their values are never
            written anywhere.
        readable: Further paths it may read; ``{package}`` is this package's directory.
        has_network: Whether it may use the network.
        usd_per_minute: Price of an agent-minute, for caps and where it reports no cost itself.
    """

    command: tuple[str, ...]
    version_command: tuple[str, ...] | None = None
    env: dict[str, str] = {}
    pass_env: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()
    has_network: bool = False
    usd_per_minute: Annotated[float, msgspec.Meta(ge=0)] | None = None


class Limits(_Strict, frozen=True, kw_only=True):
    """What one process, or one attempt with all of its processes, may take.

    Attributes:
        cpu_seconds, process_mb, file_mb: Of each process (rlimits).
        processes: Of one attempt at a time.
        memory_mb: Of all processes of one attempt together.
        output_kb: Of each stream that is kept; more is read and dropped.
        grace_seconds: Between asking to stop and killing.
    """

    cpu_seconds: Count = 7_200
    process_mb: Count = 4_096
    file_mb: Count = 1_024
    processes: Count = 256
    memory_mb: Count = 6_144
    output_kb: Count = 1_024
    grace_seconds: Positive = 5.0


class Caps(_Strict, frozen=True, kw_only=True):
    """What a campaign may take in all; None: no cap."""

    attempts: Count | None = None
    agent_minutes: Positive | None = None
    cost_usd: Positive | None = None
    wall_seconds: Positive | None = None


class BenchConfig(_Strict, frozen=True, kw_only=True):
    """Everything that decides what a campaign runs and how it is judged.

    Attributes:
        toolchains: By name; parallel attempts take them in this order, again from the first when
            they are fewer.
        gates: Shell commands by name, all required; an issue's ``dk_quality_gates`` replace them.
        gate_seconds: Time limit of each gate.
        handoffs: Most attempts in a row of ``serial_handoff``.
        handoff_share: Share of the time left that one of them may use while others can follow.
        minute_seconds: Seconds that stand for a minute of an action's budget.
        default_minutes, default_candidates: What "NA" amounts to.
        objective: Metrics by priority, each "max" or "min"; empty takes the universe's.
        resolution: By metric, the difference below which two values are equal.
        k: Candidates a case.
        repeats: Seeds a candidate.
        select: What is tried after the baseline: what was seen least, what is known least about, or
            what a model of outcomes holds for best and then what might be better yet.
        anchors: Share of cases that evaluate every valid action.
        jobs: Units at a time.
        stable_from: Least probability of the winner for its case to become a label.
    """

    toolchains: dict[str, Toolchain] = {}
    gates: dict[str, str] = {}
    gate_seconds: Positive = 900.0
    handoffs: Count = 3
    handoff_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    minute_seconds: Positive = 60.0
    default_minutes: Count = 60
    default_candidates: Count = 2
    vote_threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.7
    objective: dict[str, Literal["max", "min"]] = {}
    resolution: dict[str, Positive] = {}
    limits: Limits = Limits()
    caps: Caps = Caps()
    k: Count = 4
    repeats: Count = 1
    select: Select = "coverage"
    anchors: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    jobs: Count = 1
    stable_from: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5

    def gates_of(self, issue: Mapping[str, Any]) -> dict[str, Any]:
        """The gates an issue is judged by: its own replace the configured ones."""
        own = issue.get("dk_quality_gates")
        return dict(own) if isinstance(own, Mapping) and own else dict(self.gates)

    def n_candidates(self, action: Action) -> int:
        """Attempts side by side that an action amounts to."""
        if action.swarm_id == SERIAL:
            return 1
        bin_ = action.max_candidates_bin
        return self.default_candidates if bin_ == NA else int(bin_)

    def minutes(self, action: Action) -> int:
        """Minutes of its budget."""
        bin_ = action.max_minutes_bin
        return self.default_minutes if bin_ == NA else int(bin_)

    def limit_seconds(self, action: Action) -> float:
        """Wall time of all of its toolchain's work."""
        return self.minutes(action) * self.minute_seconds


def config_of(document: Any, name: str = "bench configuration") -> BenchConfig:
    """A configuration from its parsed document.

    Raises:
        BenchConfigError: a key is unknown or a value has no meaning.
    """
    try:
        return msgspec.convert(document, BenchConfig)
    except (msgspec.ValidationError, TypeError) as error:
        raise BenchConfigError(f"{name}: {error}") from error


def read_config(path: Path) -> BenchConfig:
    """A configuration from YAML or JSON. Raises ``BenchConfigError``."""
    try:
        document = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise BenchConfigError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        raise BenchConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    return config_of(document or {}, str(path))


# caps say how far a campaign gets, jobs and k how much of it: not what a unit's outcome is
_NOT_HASHED: Final = ("caps", "jobs", "k", "repeats", "select", "anchors", "seed", "stable_from")
_JUDGING: Final = ("objective", "resolution")


def unit_config_hash(config: BenchConfig, executor: str, versions: dict[str, str]) -> str:
    """sha256 of all that decides a unit's outcome but its case, action and seed.

    Caps, the number of jobs and the way of choosing and judging are left out, so that changing
    them keeps what has run.
    """
    document = msgspec.to_builtins(config)
    for name in (*_NOT_HASHED, *_JUDGING):
        del document[name]
    return document_hash({"config": document, "executor": executor, "versions": versions})
