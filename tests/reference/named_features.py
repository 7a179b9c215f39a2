"""The feature vector one named number at a time, to hold the fast one against.

Belongs here: plain generators. Does not: anything fast.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

from planner_runtime.actions import CANDIDATES_BINS, MINUTES_BINS
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.run_summary import RunSummary
from planner_runtime.features import (
    DAY_MS,
    N_CODE_BUCKETS,
    N_KEYWORD_BUCKETS,
    N_NAME_BUCKETS,
    N_TAG_BUCKETS,
)
from planner_runtime.hashing import bucket
from planner_runtime.inputs import (
    DEFAULT_SIZE,
    PRIORITIES,
    RISKS,
    SIZES,
    WORLD_ISSUE_PREFIX,
    epoch_ms,
)

Feature = tuple[str, float]


def _one_hot(name: str, value: str | None, values: Sequence[str]) -> Iterator[Feature]:
    for known in values:
        yield f"{name}={known}", float(value == known)
    yield f"{name}=?", float(value not in values)


def _bag(name: str, items: Iterable[str], n_buckets: int) -> Iterator[Feature]:
    counts = [0.0] * n_buckets
    for item in items:
        counts[bucket(item, n_buckets)] = 1.0
    for i, count in enumerate(counts):
        yield f"{name}#{i}", count


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _issue(planner_input: PlannerInput) -> Iterator[Feature]:
    issue, job = planner_input.issue, planner_input.job_type
    yield from _one_hot("job_type", job, ("code", "fab-world"))
    yield "is_world_evolution", float(issue.issue_id.startswith(WORLD_ISSUE_PREFIX))
    yield "is_asset", float(any(tag.startswith("asset:") for tag in issue.tags))
    yield from _one_hot("priority", issue.dk_priority, PRIORITIES)
    yield from _one_hot("risk", issue.dk_risk, RISKS)
    yield from _one_hot("size", issue.dk_size, SIZES)
    yield "size_rank", float(SIZES.index(issue.dk_size or DEFAULT_SIZE))
    yield "attempts", min(issue.dk_attempts, 10) / 3
    yield "is_first_attempt", float(issue.dk_attempts == 0)
    yield "n_tags", math.log1p(len(issue.tags))
    hint = issue.dk_tool_hint
    yield "has_tool_hint", float(hint is not None)
    yield from _bag("tool_hint", () if hint is None else (hint,), N_NAME_BUCKETS)
    yield from _bag("tag", issue.tags, N_TAG_BUCKETS)
    yield from _bag("keyword", issue.keywords, N_KEYWORD_BUCKETS)
    defaults = planner_input.universe_defaults
    yield from _one_hot("default_swarm", defaults.swarm_id, ("serial_handoff", "speculate_vote"))


def _system(planner_input: PlannerInput) -> Iterator[Feature]:
    state = planner_input.system_state
    bins = ("0", "1_2", "3_5", "6_plus")
    yield from _one_hot("active", None if state is None else state.active_workcells_bin, bins)
    yield from _one_hot("queue", None if state is None else state.queue_depth_bin, bins)
    hour = None if state is None else state.hour_bucket
    angle = None if hour is None else 2 * math.pi * int(hour) / 24
    yield "hour_sin", 0.0 if angle is None else math.sin(angle)
    yield "hour_cos", 0.0 if angle is None else math.cos(angle)
    names = None if state is None else state.available_toolchains
    yield "knows_toolchains", float(names is not None)
    yield "n_toolchains", float(len(names or ())) / 4
    yield from _bag("available", names or (), N_NAME_BUCKETS)


def _history_of(name: str, runs: Sequence[RunSummary]) -> Iterator[Feature]:
    """Counts and outcomes of a group of runs; 0 for what no run tells."""
    passed = sum(run.outcome.status == "success" for run in runs)
    late = sum(run.outcome.status == "timeout" for run in runs)
    durations = [r.runtime.duration_ms for r in runs if r.runtime.duration_ms is not None]
    costs = [run.cost_usd_est for run in runs if run.cost_usd_est is not None]
    yield f"{name}.n", math.log1p(len(runs))
    yield f"{name}.pass_ratio", _ratio(passed, len(runs))
    yield f"{name}.timeout_ratio", _ratio(late, len(runs))
    yield f"{name}.knows_minutes", _ratio(len(durations), len(runs))
    yield (
        f"{name}.log_minutes",
        _ratio(sum(math.log1p(max(0, ms) / 60_000) for ms in durations), len(durations)),
    )
    yield f"{name}.knows_cost", _ratio(len(costs), len(runs))
    yield f"{name}.log_cost", _ratio(sum(math.log1p(max(0.0, c)) for c in costs), len(costs))


def _history(planner_input: PlannerInput) -> Iterator[Feature]:
    runs = planner_input.history.last_n_similar_runs
    now_ms = epoch_ms(planner_input.created_at)
    own = [run for run in runs if run.issue_id == planner_input.issue.issue_id]
    yield from _history_of("similar", runs)
    yield from _history_of("same_issue", own)
    for swarm in ("serial_handoff", "speculate_vote"):
        yield from _history_of(swarm, [r for r in runs if r.action_executed.swarm_id == swarm])
    for size in CANDIDATES_BINS:
        share = sum(run.action_executed.max_candidates == size for run in runs)
        yield f"candidates={size}", _ratio(share, len(runs))
    for minutes in MINUTES_BINS:
        share = sum(run.action_executed.max_minutes == minutes for run in runs)
        yield f"minutes={minutes}", _ratio(share, len(runs))
    ages = [max(0, now_ms - run.started_ms) / DAY_MS for run in runs]
    yield "log_newest_age_days", math.log1p(min(ages)) if ages else 0.0
    yield from _bag("fail", (c for r in own for c in r.outcome.fail_codes), N_CODE_BUCKETS)


def named_plain_features(planner_input: PlannerInput) -> Iterator[Feature]:
    """The issue's and the system's own numbers, without hashed buckets and without history: what is
    left to tell where a track record tells of the past.
    """
    for name, value in (*_issue(planner_input), *_system(planner_input)):
        if "#" not in name:
            yield name, value


def named_features(planner_input: PlannerInput) -> Iterator[Feature]:
    """Every feature with its name, one after another."""
    yield from _issue(planner_input)
    yield from _system(planner_input)
    yield from _history(planner_input)
