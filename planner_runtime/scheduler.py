"""The kernel's scheduler: which issues are ready, what is critical, what fits a cycle.

Belongs here: readiness, critical path, starvation, packing. Does not: how an issue is run
(``heuristic``). Source: reference/cyntra-formats.md 6.1.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from planner_runtime.heuristic import (
    ActionRates,
    IssueView,
    control_decision,
    planned_parallelism,
    should_speculate,
)
from planner_runtime.kernel_config import KernelConfig

HUMAN_TAGS: Final = frozenset({"escalation", "needs-human", "@human-escalated", "human-escalated"})
SIZE_HOURS: Final = {"XS": 1, "S": 2, "M": 4, "L": 8, "XL": 16}
PRIORITY_ORDER: Final = ("P0", "P1", "P2", "P3")
RISK_RANK: Final = {"low": 0, "medium": 1, "high": 2, "critical": 3}
HOUR_MS: Final = 3_600_000
DEFAULT_TOKENS: Final = 50_000


class QueuedIssue(msgspec.Struct, frozen=True, kw_only=True):
    """An issue as the scheduler sees it."""

    view: IssueView
    status: str = "open"
    attempts: int = 0
    max_attempts: int = 3
    ready_since_ms: int | None = None
    estimated_tokens: int = DEFAULT_TOKENS
    is_running: bool = False

    @property
    def issue_id(self) -> str:
        """Id of the issue."""
        return self.view.issue_id


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """One cycle: what runs, in order, what speculates, and why the rest waits.

    ``priorities`` are those after waiting, which flow into the planner input.
    """

    dispatched: tuple[str, ...]
    speculating: frozenset[str]
    skipped: Mapping[str, str]
    priorities: Mapping[str, str]


def is_ready(issue: QueuedIssue, statuses: Mapping[str, str], blockers: Collection[str]) -> bool:
    """Whether an issue may be dispatched; unknown blockers do not block."""
    return (
        issue.status in ("open", "ready")
        and issue.view.tags.isdisjoint(HUMAN_TAGS)
        and not issue.is_running
        and issue.attempts < issue.max_attempts
        and all(statuses.get(blocker, "done") == "done" for blocker in blockers)
    )


def critical_path(
    issues: Sequence[QueuedIssue], blocks: Sequence[tuple[str, str]]
) -> tuple[str, ...]:
    """The heaviest chain of issues, first to last, over done and escalated issues too.

    Args:
        issues: All issues, in file order.
        blocks: Pairs (from, to): ``from`` blocks ``to``. Ids not among the issues are ignored.
    """
    hours = {issue.issue_id: SIZE_HOURS.get(issue.view.dk_size, 4) for issue in issues}
    edges = [(a, b) for a, b in blocks if a in hours and b in hours]
    waiting = dict.fromkeys(hours, 0)
    followers: dict[str, list[str]] = {issue_id: [] for issue_id in hours}
    for a, b in edges:
        waiting[b] += 1
        followers[a].append(b)
    dist = dict(hours)
    parent: dict[str, str] = {}
    queue = [issue_id for issue_id in hours if waiting[issue_id] == 0]
    for a in queue:  # grows while it is read: Kahn's order
        for b in followers[a]:
            if dist[a] + hours[b] > dist[b]:
                dist[b] = dist[a] + hours[b]
                parent[b] = a
            waiting[b] -= 1
            if waiting[b] == 0:
                queue.append(b)
    if not dist:
        return ()
    path = [max(dist, key=lambda issue_id: dist[issue_id])]  # first maximum in file order
    while path[-1] in parent:
        path.append(parent[path[-1]])
    return tuple(reversed(path))


def starved_priority(issue: QueuedIssue, now_ms: int, threshold_hours: float) -> tuple[str, bool]:
    """Priority after waiting, and whether the issue starved: one step up past the threshold, the
    top and starved past 24 h. A priority the kernel does not know stays as it is.
    """
    priority = issue.view.dk_priority
    if issue.ready_since_ms is None:
        return priority, False
    waited_hours = (now_ms - issue.ready_since_ms) / HOUR_MS
    if waited_hours > 24:
        return PRIORITY_ORDER[0], True
    if waited_hours > threshold_hours and priority in PRIORITY_ORDER:
        return PRIORITY_ORDER[max(0, PRIORITY_ORDER.index(priority) - 1)], False
    return priority, False


def schedule(
    config: KernelConfig,
    issues: Sequence[QueuedIssue],
    blocks: Sequence[tuple[str, str]] = (),
    *,
    now_ms: int,
    n_running: int = 0,
    tokens_running: int = 0,
    rates: ActionRates | None = None,
) -> Schedule:
    """One scheduling cycle: ready issues by starvation and priority, packed into slots and tokens.

    Critical-path issues come first, the others by (controller rank, priority, risk descending).
    """
    statuses = {issue.issue_id: issue.status for issue in issues}
    blockers: dict[str, list[str]] = {}
    for a, b in blocks:
        blockers.setdefault(b, []).append(a)
    ready: list[tuple[str, bool, QueuedIssue]] = []
    for issue in issues:
        if is_ready(issue, statuses, blockers.get(issue.issue_id, ())):
            priority, starved = starved_priority(
                issue, now_ms, config.scheduling.starvation_threshold_hours
            )
            ready.append((priority, starved, issue))
    ready.sort(key=lambda row: (row[0], not row[1]))
    path = critical_path(issues, blocks)

    def rank(row: tuple[str, bool, QueuedIssue]) -> tuple[int, str, int]:
        view = row[2].view
        controller = control_decision(config, view, rates).priority_rank
        return controller, row[0], -RISK_RANK.get(view.dk_risk, 1)

    order = [row for row in ready if row[2].issue_id in path]
    order += sorted((row for row in ready if row[2].issue_id not in path), key=rank)
    slots = config.scheduling.max_concurrent_workcells - n_running
    tokens = config.scheduling.max_concurrent_tokens - tokens_running
    dispatched: list[str] = []
    speculating: set[str] = set()
    skipped: dict[str, str] = {}
    for _, _, issue in order:
        cost = issue.estimated_tokens or DEFAULT_TOKENS
        if slots < 1:
            skipped[issue.issue_id] = "no_slots"
        elif cost > tokens:
            skipped[issue.issue_id] = "token_limit"
        else:
            dispatched.append(issue.issue_id)
            slots, tokens = slots - 1, tokens - cost
            if should_speculate(config, issue.view, critical_path=path):
                speculating.add(issue.issue_id)
                extra = min(
                    planned_parallelism(config, issue.view, rates) - 1, slots, tokens // cost
                )
                slots, tokens = slots - max(0, extra), tokens - max(0, extra) * cost
    return Schedule(
        dispatched=tuple(dispatched),
        speculating=frozenset(speculating),
        skipped=skipped,
        priorities={issue.issue_id: priority for priority, _, issue in ready},
    )
