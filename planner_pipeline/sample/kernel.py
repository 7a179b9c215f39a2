"""The simulated kernel: a queue, three slots, the heuristic choosing, luck deciding.

Belongs here: time, dispatch, outcomes, the vote. Does not: files (``archives``, ``worlds``).
Source: formats 6 (heuristic), 6.3 (dispatch, vote); every random draw comes from one seed.
"""

import heapq
import math
import random
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from planner_pipeline.sample.issues import SimIssue, draw_issue
from planner_runtime.actions import ActionSpace
from planner_runtime.contracts.run_summary import (
    ActionExecuted,
    Outcome,
    RunSummary,
    Runtime,
)
from planner_runtime.heuristic import HeuristicPlan, dispatch_plan
from planner_runtime.inputs import build_planner_input, domain_of, issue_document, job_type_of
from planner_runtime.kernel_config import SHIPPED_CONFIG
from planner_runtime.scheduler import QueuedIssue, schedule

START_MS: Final = int(datetime(2026, 1, 5, 8, tzinfo=UTC).timestamp() * 1000)
MINUTE_MS: Final = 60_000
SKILL: Final = {"codex": 0.9, "claude": 0.8, "opencode": 0.1, "crush": 0.0, "fab-world": 0.4}
USD_PER_MINUTE: Final = {"codex": 0.11, "claude": 0.14, "opencode": 0.02, "crush": 0.04}
SIZE_MINUTES: Final = {"XS": 4.0, "S": 8.0, "M": 15.0, "L": 24.0, "XL": 36.0}
UP_RATIO: Final = {"codex": 0.97, "claude": 0.97, "opencode": 0.9, "crush": 0.85, "fab-world": 1.0}
GATES: Final = ("test", "typecheck", "lint")
WINDOW: Final = 24  # open issues at a time

Ending = Literal[
    "passed", "gates_failed", "partial", "exit_2", "timeout", "exception", "forbidden",
]  # fmt: skip


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One toolchain's try. Times in Unix ms; ``ended_ms`` is after the gates."""

    workcell_id: str
    toolchain: str
    tag: str | None
    ending: Ending
    started_ms: int
    completed_ms: int
    ended_ms: int
    gates: dict[str, bool]
    diff_lines: int
    confidence: float
    cost_usd: float | None
    tokens: int | None


class Dispatch(msgspec.Struct, frozen=True, kw_only=True):
    """One decision of the kernel and all that came of it."""

    issue: dict[str, Any]  # the Beads view at dispatch time
    job_type: str
    plan: HeuristicPlan
    decided_ms: int
    planner_input: dict[str, Any]
    attempts: tuple[Attempt, ...]
    winner: int
    failed_attempts: int  # of this issue, this dispatch included
    create_failed: bool = False


def stamp(epoch_ms: int) -> str:
    """Second-resolution UTC stamp as workcell ids carry it."""
    return datetime.fromtimestamp(epoch_ms // 1000, UTC).strftime("%Y%m%dT%H%M%SZ")


def vote(attempts: tuple[Attempt, ...], threshold: float) -> int:
    """Index of the winning attempt; the first when none passed. Source: formats 6.3."""
    passing = [i for i, attempt in enumerate(attempts) if attempt.ending == "passed"]
    if not passing:
        return 0
    most_lines = max(1, *(attempt.diff_lines for attempt in attempts))
    longest = max(1, *(attempt.completed_ms - attempt.started_ms for attempt in attempts))

    def score(index: int) -> float:
        attempt = attempts[index]
        risk_points = 15 if attempt.diff_lines <= 100 else 10 if attempt.diff_lines <= 500 else 5
        return (
            40
            + 20 * attempt.confidence
            + 15 * (1 - attempt.diff_lines / most_lines)
            + risk_points
            + 10 * (1 - (attempt.completed_ms - attempt.started_ms) / longest)
        )

    best = max(passing, key=lambda i: (score(i), -i))
    if score(best) >= 100 * threshold:
        return best
    return max(passing, key=lambda i: (attempts[i].confidence, -i))


class SimulatedKernel:
    """Draws issues, schedules them as the kernel does, and lets luck decide."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._now_ms = START_MS
        self._open: list[SimIssue] = []
        self._n_issues = 0
        self._running: list[tuple[int, int, SimIssue, Dispatch]] = []
        self._recent: dict[str, deque[RunSummary]] = {}
        self._up = dict.fromkeys(SKILL, True)
        self.closed: list[SimIssue] = []

    @property
    def open_issues(self) -> list[SimIssue]:
        """Issues not yet done or escalated."""
        return self._open

    @property
    def now_ms(self) -> int:
        """Simulated time."""
        return self._now_ms

    def dispatches(self, n_runs: int) -> Iterator[Dispatch]:
        """Finished dispatches, in the order they ended, until ``n_runs`` workcells ran."""
        started = 0
        while started < n_runs or self._running:
            if started < n_runs:
                for dispatch, issue in self._cycle():
                    started += max(1, len(dispatch.attempts))
                    ended = max((a.ended_ms for a in dispatch.attempts), default=self._now_ms)
                    heapq.heappush(self._running, (ended, started, issue, dispatch))
            if not self._running:
                self._now_ms += 5 * MINUTE_MS
                continue
            ended, _, issue, dispatch = heapq.heappop(self._running)
            self._now_ms = max(self._now_ms, ended)
            yield self._finish(issue, dispatch)

    def _cycle(self) -> list[tuple[Dispatch, SimIssue]]:
        rng = self._rng
        self._now_ms += rng.randint(2_000, 90_000)
        while len(self._open) < WINDOW:
            self._n_issues += 1
            self._open.append(draw_issue(rng, self._n_issues, self._now_ms))
        for name, ratio in UP_RATIO.items():
            if rng.random() < 0.05:
                self._up[name] = rng.random() < ratio
        busy = {issue.issue_id for _, _, issue, _ in self._running}
        queued = [
            QueuedIssue(
                view=issue.view(),
                status="ready",
                attempts=issue.attempts,
                is_running=issue.issue_id in busy,
            )
            for issue in self._open
        ]
        cycle = schedule(SHIPPED_CONFIG, queued, now_ms=self._now_ms, n_running=len(busy))
        by_id = {issue.issue_id: issue for issue in self._open}
        dispatched = []
        for issue_id in cycle.dispatched:
            if (dispatch := self._dispatch(by_id[issue_id], len(busy) + 1)) is not None:
                dispatched.append((dispatch, by_id[issue_id]))
                self._now_ms += 1_000
        return dispatched

    def _dispatch(self, issue: SimIssue, n_active: int) -> Dispatch | None:
        rng = self._rng
        available = [name for name in SHIPPED_CONFIG.toolchain_priority if self._up[name]]
        plan = self._plan(issue, available, n_active)
        if plan is None:
            return None
        job_type = job_type_of(issue.tags)
        active = "1_2" if n_active < 3 else "3_5"
        beads = issue.beads(("", ""))
        planner_input = build_planner_input(
            created_at_ms=self._now_ms,
            universe_id="unknown",  # `cyntra run` without --universe
            job_type=job_type,
            universe_defaults={"swarm_id": None, "objective_id": None},
            issue={k: v for k, v in issue_document(beads).items() if k != "dk_speculate"},
            similar_runs=list(self._recent.get(job_type, ())),
            space=ActionSpace(),
            system_state={
                "active_workcells_bin": active,
                "queue_depth_bin": None,
                "available_toolchains": available,
                "toolchain_health": None,
                "hour_bucket": f"{datetime.fromtimestamp(self._now_ms / 1000, UTC).hour:02d}",
                "budget_remaining_bin": None,
            },
        )
        create_failed = rng.random() < 0.008
        attempts = () if create_failed else self._attempts(issue, plan)
        return Dispatch(
            issue=beads,
            job_type=job_type,
            plan=plan,
            decided_ms=self._now_ms,
            planner_input=planner_input,
            attempts=attempts,
            winner=vote(attempts, SHIPPED_CONFIG.speculation.vote_threshold) if attempts else 0,
            failed_attempts=issue.attempts,
            create_failed=create_failed,
        )

    def _plan(self, issue: SimIssue, available: list[str], n_active: int) -> HeuristicPlan | None:
        """What runs for an issue; None when nothing can."""
        return dispatch_plan(SHIPPED_CONFIG, issue.view(), available=available)

    def _limit_seconds(self, issue_id: str, toolchain: str) -> int:
        """How long a toolchain may work on an issue."""
        return SHIPPED_CONFIG.timeout_of(toolchain)

    def _attempts(self, issue: SimIssue, plan: HeuristicPlan) -> tuple[Attempt, ...]:
        return tuple(
            self._attempt(issue, toolchain, plan.swarm_id == "speculate_vote", offset)
            for offset, toolchain in enumerate(plan.toolchains[: plan.max_candidates])
        )

    def _attempt(
        self, issue: SimIssue, toolchain: str, is_speculating: bool, offset: int
    ) -> Attempt:
        rng = self._rng
        limit_ms = self._limit_seconds(issue.issue_id, toolchain) * 1000
        minutes = SIZE_MINUTES[issue.dk_size] * math.exp(rng.gauss(0.0, 0.6))
        if toolchain == "fab-world":
            minutes *= 2.5
        odds = SKILL.get(toolchain, 0.0) - issue.difficulty + 0.35 * issue.attempts
        solved = rng.random() < 1 / (1 + math.exp(-odds))
        if not solved:
            minutes *= 1.5  # failing takes longer than succeeding
        duration_ms = round(minutes * MINUTE_MS)
        ending = self._ending(solved, duration_ms > limit_ms and toolchain != "fab-world")
        if ending == "timeout":
            duration_ms = limit_ms
        elif ending == "exception":
            duration_ms = rng.randint(500, 20_000)
        started_ms = self._now_ms + 1_500 + 700 * offset
        completed_ms = started_ms + duration_ms
        gates = {}
        if ending in ("passed", "gates_failed", "partial"):
            broken = None if ending == "passed" else rng.choice(GATES)
            gates = {gate: gate != broken for gate in GATES}
        gate_ms = 25_000 * len(gates)
        cost = USD_PER_MINUTE.get(toolchain)
        knows_cost = toolchain != "opencode" and cost is not None and rng.random() < 0.5
        tag = f"spec-{toolchain}" if is_speculating else None
        suffix = f"-{tag}" if tag else ""
        return Attempt(
            workcell_id=f"wc-{issue.issue_id}-{stamp(self._now_ms)}{suffix}",
            toolchain=toolchain,
            tag=tag,
            ending=ending,
            started_ms=started_ms,
            completed_ms=completed_ms,
            ended_ms=completed_ms + gate_ms + rng.randint(200, 4_000),
            gates=gates,
            diff_lines=0 if toolchain == "opencode" else round(math.exp(rng.gauss(3.6, 1.1))),
            confidence={"passed": 0.8, "gates_failed": 0.8, "partial": 0.5, "exit_2": 0.2}.get(
                ending, 0.0
            ),
            cost_usd=round((cost or 0.0) * duration_ms / MINUTE_MS, 4) if knows_cost else None,
            tokens=rng.randint(8_000, 400_000) if knows_cost else None,
        )

    def _ending(self, solved: bool, is_late: bool) -> Ending:
        luck = self._rng.random()
        if luck < 0.015:
            return "exception"
        if is_late:
            return "timeout"
        if luck < 0.05:
            return "exit_2"
        if luck < 0.06:
            return "forbidden"
        if solved:
            return "passed"
        return "partial" if luck > 0.9 else "gates_failed"

    def _finish(self, issue: SimIssue, dispatch: Dispatch) -> Dispatch:
        attempt = dispatch.attempts[dispatch.winner] if dispatch.attempts else None
        issue.updated_ms = self._now_ms
        if attempt is not None and attempt.ending == "passed":
            issue.status = "done"
        else:
            issue.attempts += 1
            issue.status = "ready" if issue.attempts < 3 else "escalated"
        if issue.status != "ready":
            self._open.remove(issue)
            self.closed.append(issue)
        if issue.status == "escalated":
            self._escalate(issue)
        if attempt is not None:
            self._remember(issue, dispatch, attempt)
        return msgspec.structs.replace(dispatch, failed_attempts=issue.attempts)

    def _escalate(self, issue: SimIssue) -> None:
        self._n_issues += 1
        self.closed.append(
            msgspec.structs.replace(
                issue,
                issue_id=str(self._n_issues),
                title=f"[ESCALATION] {issue.title}",
                description=f"Automated processing failed after 3 attempts of #{issue.issue_id}.",
                tags=sorted({*issue.tags, "escalation", "needs-human"}),
                created_ms=self._now_ms,
                updated_ms=self._now_ms,
                attempts=0,
                parent=issue.issue_id,
            )
        )

    def _remember(self, issue: SimIssue, dispatch: Dispatch, attempt: Attempt) -> None:
        """What the kernel's own planner would recall of the run, newest first."""
        recent = self._recent.setdefault(dispatch.job_type, deque(maxlen=4))
        recent.appendleft(
            RunSummary(
                run_id=attempt.workcell_id,
                started_ms=attempt.started_ms,
                job_type=dispatch.job_type,
                domain=domain_of(dispatch.job_type, issue.tags),
                action_executed=ActionExecuted(
                    swarm_id=dispatch.plan.swarm_id, max_candidates=dispatch.plan.max_candidates
                ),
                outcome=Outcome(status="success" if attempt.ending == "passed" else "failed"),
                runtime=Runtime(duration_ms=attempt.completed_ms - attempt.started_ms),
            )
        )
