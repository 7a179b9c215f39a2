"""Planner input -> a fixed vector of numbers, for the tabular models.

Belongs here: the features and their names. Does not: scaling that is learned (the model's own
buffers, in the bundle). Spec: section 7.1 ("tabular features from planner_input.v1").
"""

import math
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Final, NamedTuple

import numpy as np

from planner_runtime.actions import CANDIDATES_BINS, MINUTES_BINS
from planner_runtime.contracts.canonical import document_hash
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.run_summary import RunSummary
from planner_runtime.hashing import bucket
from planner_runtime.inputs import (
    DEFAULT_SIZE,
    PRIORITIES,
    RISKS,
    SIZES,
    WORLD_ISSUE_PREFIX,
    epoch_ms,
)

N_TAG_BUCKETS: Final = 32
N_KEYWORD_BUCKETS: Final = 32
N_NAME_BUCKETS: Final = 8
N_CODE_BUCKETS: Final = 16
DAY_MS: Final = 86_400_000

_JOBS: Final = ("code", "fab-world")
_SWARMS: Final = ("serial_handoff", "speculate_vote")
_LOADS: Final = ("0", "1_2", "3_5", "6_plus")
_OF_HISTORY: Final = (
    "n", "pass_ratio", "timeout_ratio", "knows_minutes", "log_minutes", "knows_cost", "log_cost",
)  # fmt: skip
_NO_HISTORY: Final = (0.0,) * len(_OF_HISTORY)


def _one_hot_names(name: str, values: Sequence[str]) -> list[str]:
    return [f"{name}={value}" for value in (*values, "?")]


def _bag_names(name: str, n_buckets: int) -> list[str]:
    return [f"{name}#{i}" for i in range(n_buckets)]


def _issue_names() -> list[str]:
    return [
        *_one_hot_names("job_type", _JOBS),
        "is_world_evolution",
        "is_asset",
        *_one_hot_names("priority", PRIORITIES),
        *_one_hot_names("risk", RISKS),
        *_one_hot_names("size", SIZES),
        "size_rank",
        "attempts",
        "is_first_attempt",
        "n_tags",
        "has_tool_hint",
        *_bag_names("tool_hint", N_NAME_BUCKETS),
        *_bag_names("tag", N_TAG_BUCKETS),
        *_bag_names("keyword", N_KEYWORD_BUCKETS),
        *_one_hot_names("default_swarm", _SWARMS),
    ]


def _system_names() -> list[str]:
    return [
        *_one_hot_names("active", _LOADS),
        *_one_hot_names("queue", _LOADS),
        "hour_sin",
        "hour_cos",
        "knows_toolchains",
        "n_toolchains",
        *_bag_names("available", N_NAME_BUCKETS),
    ]


def _history_names() -> list[str]:
    groups = ("similar", "same_issue", *_SWARMS)
    return [
        *(f"{group}.{told}" for group in groups for told in _OF_HISTORY),
        *(f"candidates={size}" for size in CANDIDATES_BINS),
        *(f"minutes={minutes}" for minutes in MINUTES_BINS),
        "log_newest_age_days",
        *_bag_names("fail", N_CODE_BUCKETS),
    ]


_PLACES: Final[dict[tuple[str, ...], dict[str, int]]] = {
    # where each known value of a closed set is one
    known: {value: place for place, value in enumerate(known)}
    for known in (_JOBS, PRIORITIES, RISKS, SIZES, _SWARMS, _LOADS)
}


def _one_hot(value: str | None, known: tuple[str, ...]) -> list[float]:
    values = [0.0] * (len(known) + 1)
    values[_PLACES[known].get(value, -1)] = 1.0  # type: ignore[arg-type]
    return values


def _bag(items: Iterable[str], n_buckets: int) -> list[float]:
    values = [0.0] * n_buckets
    for item in items:
        values[bucket(item, n_buckets)] = 1.0
    return values


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _issue(planner_input: PlannerInput) -> list[float]:
    """Values of ``_issue_names``."""
    issue = planner_input.issue
    hint = issue.dk_tool_hint
    values = _one_hot(planner_input.job_type, _JOBS)
    values += (
        float(issue.issue_id.startswith(WORLD_ISSUE_PREFIX)),
        float(any(tag.startswith("asset:") for tag in issue.tags)),
    )
    values += _one_hot(issue.dk_priority, PRIORITIES)
    values += _one_hot(issue.dk_risk, RISKS)
    values += _one_hot(issue.dk_size, SIZES)
    values += (
        float(_PLACES[SIZES][issue.dk_size or DEFAULT_SIZE]),
        min(issue.dk_attempts, 10) / 3,
        float(issue.dk_attempts == 0),
        math.log1p(len(issue.tags)),
        float(hint is not None),
    )
    values += _bag(() if hint is None else (hint,), N_NAME_BUCKETS)
    values += _bag(issue.tags, N_TAG_BUCKETS)
    values += _bag(issue.keywords, N_KEYWORD_BUCKETS)
    values += _one_hot(planner_input.universe_defaults.swarm_id, _SWARMS)
    return values


def _system(planner_input: PlannerInput) -> list[float]:
    """Values of ``_system_names``."""
    state = planner_input.system_state
    values = _one_hot(None if state is None else state.active_workcells_bin, _LOADS)
    values += _one_hot(None if state is None else state.queue_depth_bin, _LOADS)
    hour = None if state is None else state.hour_bucket
    angle = None if hour is None else 2 * math.pi * int(hour) / 24
    names = None if state is None else state.available_toolchains
    values += (
        0.0 if angle is None else math.sin(angle),
        0.0 if angle is None else math.cos(angle),
        float(names is not None),
        float(len(names or ())) / 4,
    )
    values += _bag(names or (), N_NAME_BUCKETS)
    return values


class _Told(NamedTuple):
    """What features ask of a run, worked out once for all the groups it is in."""

    status: str
    log_minutes: float | None
    log_cost: float | None


def _told(run: RunSummary) -> _Told:
    ms, usd = run.runtime.duration_ms, run.cost_usd_est
    return _Told(
        run.outcome.status,
        None if ms is None else math.log1p(max(0, ms) / 60_000),
        None if usd is None else math.log1p(max(0.0, usd)),
    )


def _history_of(runs: Sequence[_Told]) -> Sequence[float]:
    """Counts and outcomes of a group of runs, as ``_OF_HISTORY``; 0 for what no run tells."""
    if not runs:
        return _NO_HISTORY
    statuses = [run.status for run in runs]
    minutes = [run.log_minutes for run in runs if run.log_minutes is not None]
    costs = [run.log_cost for run in runs if run.log_cost is not None]
    return (
        math.log1p(len(runs)),
        statuses.count("success") / len(runs),
        statuses.count("timeout") / len(runs),
        len(minutes) / len(runs),
        _ratio(sum(minutes), len(minutes)),
        len(costs) / len(runs),
        _ratio(sum(costs), len(costs)),
    )


def _shares(done: Sequence[object], bins: Sequence[object]) -> list[float]:
    """Of the runs the share that was run with each bin."""
    if not done:
        return [0.0] * len(bins)
    return [done.count(one) / len(done) for one in bins]


def _history(planner_input: PlannerInput) -> list[float]:
    """Values of ``_history_names``."""
    runs = planner_input.history.last_n_similar_runs
    issue_id = planner_input.issue.issue_id
    told = [_told(run) for run in runs]
    is_own = [run.issue_id == issue_id for run in runs]
    swarms = [run.action_executed.swarm_id for run in runs]
    values: list[float] = [*_history_of(told), *_history_of([*compress(told, is_own)])]
    for swarm in _SWARMS:
        values += _history_of([one for one, its in zip(told, swarms, strict=True) if its == swarm])
    values += _shares([run.action_executed.max_candidates for run in runs], CANDIDATES_BINS)
    values += _shares([run.action_executed.max_minutes for run in runs], MINUTES_BINS)
    if runs:
        age_ms = epoch_ms(planner_input.created_at) - max([run.started_ms for run in runs])
        values.append(math.log1p(max(0, age_ms) / DAY_MS))
    else:
        values.append(0.0)
    own = compress(runs, is_own)
    values += _bag((code for run in own for code in run.outcome.fail_codes), N_CODE_BUCKETS)
    return values


PLAIN_NAMES: Final = tuple(name for name in (*_issue_names(), *_system_names()) if "#" not in name)
_IS_PLAIN: Final = tuple("#" not in name for name in (*_issue_names(), *_system_names()))


def plain_features(planner_input: PlannerInput) -> list[float]:
    """The issue's and the system's own numbers in the order of ``PLAIN_NAMES``, without hashed
    buckets and without history: what is left to tell where a track record tells of the past.
    """
    return [*compress(_issue(planner_input) + _system(planner_input), _IS_PLAIN)]


def feature_vector(planner_input: PlannerInput) -> np.ndarray:
    """(F,) float32, finite, in the order of ``FEATURE_NAMES``.

    Raises:
        ValueError: ``created_at`` names no moment of the calendar.
    """
    values = _issue(planner_input)
    values += _system(planner_input)
    values += _history(planner_input)
    return np.array(values, dtype=np.float32)


FEATURE_NAMES: Final = (*_issue_names(), *_system_names(), *_history_names())
N_FEATURES: Final = len(FEATURE_NAMES)


def feature_spec_hash() -> str:
    """sha256 of the feature names in order: equal when two programs mean the same vector."""
    return document_hash(list(FEATURE_NAMES))
