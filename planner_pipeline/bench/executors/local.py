"""The local executor: a real swarm on this machine, in worktrees, under limits, judged by gates.

Belongs here: how attempts make a candidate: one after another, or side by side with a vote.
Does not: one attempt (``attempts``), confinement (``sandbox``). Spec: section 9.2; formats 6.3.

``serial_handoff`` hands its tree on: when an attempt fails and time is left, the next one goes on
from where it stopped. ``speculate_vote`` runs its attempts side by side, each in a tree of its own,
waits for all of them, and votes. The action's minutes are for toolchains alone; gates have their
own limit, as in the kernel.
"""

import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from planner_pipeline.bench.campaign import attempt_seed
from planner_pipeline.bench.config import BenchConfig
from planner_pipeline.bench.crash_points import crash_point
from planner_pipeline.bench.executors.attempt_archive import archive_attempt, forget_attempts
from planner_pipeline.bench.executors.attempts import (
    AttemptRun,
    AttemptRunner,
    Task,
)
from planner_pipeline.bench.executors.children import filled
from planner_pipeline.bench.protocol import Case, HarnessError, Result, Spend, Unit
from planner_pipeline.bench.sandbox import Sandbox, reap_orphans
from planner_pipeline.bench.vote import Ballot, Vote, take_vote
from planner_pipeline.bench.worktrees import Mirror, Worktree
from planner_runtime.archives.git_history import head_commit
from planner_runtime.contracts.bench_outcome import AttemptOutcome, Isolation, OutcomeStatus
from planner_runtime.contracts.run_summary import GateResult
from planner_runtime.heuristic import SERIAL, SPECULATE

LEAST_SECONDS: Final = 0.1  # a handoff with less time than this is none
SPARE_SECONDS: Final = 10.0  # for git and files, in the worst case of a unit
KILL_SECONDS: Final = 2.0  # from killing an attempt to the end of its last process, at most
MOST_ROUNDED: Final = 0.02  # of its limit, that ``declared_rest`` may add to what is left


class LocalExecutor:
    """Runs units in worktrees of a workspace's repository.

    Args:
        repo: The workspace; only read.
        bench: Where the copy of its repository, the trees and the archives are kept.
        mark: Names this bench in the environment of everything it starts.
    """

    def __init__(
        self, repo: Path, bench: Path, config: BenchConfig, sandbox: Sandbox, *, mark: str
    ) -> None:
        self._repo, self._bench, self._config = repo, bench, config
        self._sandbox, self._mark = sandbox, mark
        self._mirror = Mirror(repo, bench / "repository.git")
        self._runner = AttemptRunner(self._mirror, config, sandbox)
        self._versions: dict[str, str] | None = None
        self._running: set[str] = set()  # other harnesses may run other units of this bench
        self._n_interrupts = 0

    @property
    def name(self) -> str:
        """As written into every outcome."""
        return "local"

    @property
    def isolation(self) -> Isolation:
        """How its attempts are confined."""
        return self._sandbox.isolation

    def versions(self) -> dict[str, str]:
        """First line of every toolchain's ``version_command``; "unknown" without one."""
        if self._versions is None:
            self._versions = {
                name: _version(toolchain.version_command)
                for name, toolchain in self._config.toolchains.items()
            }
        return self._versions

    def why_not(self, case: Case) -> str | None:
        """Why it cannot run a case; None where it can."""
        if case.job_type != "code":
            return f"the local executor runs code jobs, not {case.job_type}"
        if case.baseline.swarm_id not in (SERIAL, SPECULATE):
            return f"the local executor knows no swarm {case.baseline.swarm_id}"
        if not self._config.toolchains:
            return "no toolchain is configured in .cyntra/bench.yaml"
        if not self._gates(case):
            return "no gate, as a shell command, says whether it is solved"
        if head_commit(self._repo) is None:
            return f"{self._repo} is no git repository with a commit"
        return None

    def worst_case(self, unit: Unit) -> Spend:
        """The most a unit may take: all its attempts to their limit, every gate to its own."""
        config = self._config
        is_serial = unit.action.swarm_id == SERIAL
        attempts = self._most_attempts(unit)
        limits = 1 + MOST_ROUNDED if is_serial else float(unit.n_candidates)
        ending = config.limits.grace_seconds + KILL_SECONDS
        minutes = (limits * unit.limit_seconds + attempts * ending) / config.minute_seconds
        prices = [toolchain.usd_per_minute for toolchain in config.toolchains.values()]
        known = [price for price in prices if price is not None]
        in_a_row = attempts if is_serial else 1
        gates = len(self._gates(unit.case)) * (config.gate_seconds + ending)
        toolchains = (limits if is_serial else 1.0) * unit.limit_seconds
        return Spend(
            attempts=attempts,
            agent_minutes=minutes,
            wall_seconds=toolchains + in_a_row * (ending + gates) + SPARE_SECONDS,
            cost_usd=max(known) * minutes if known and len(known) == len(prices) else None,
        )

    def run(self, unit: Unit) -> tuple[Result, ...]:
        """Run a unit. Raises ``HarnessError``."""
        began = time.monotonic()
        self._mirror.open()
        base = unit.case.base_commit or self._mirror.head()
        self._mirror.fetch(base)
        folder = self._bench / "work" / unit.unit_id
        # of a harness that died
        shutil.rmtree(folder, ignore_errors=True)
        forget_attempts(self._bench / "workspace", unit, self._most_attempts(unit))
        self._running.add(unit.unit_id)
        try:
            if unit.action.swarm_id == SERIAL:
                runs, vote = self._one_after_another(unit, folder, base), None
            else:
                runs = self._side_by_side(unit, folder, base)
                vote = take_vote(
                    [_ballot(run) for run in runs], threshold=self._config.vote_threshold
                )
            names = [self._archive(unit, run) for run in runs]
        finally:
            self._running.discard(unit.unit_id)
            shutil.rmtree(folder, ignore_errors=True)
        return (self._result(unit, runs, vote, names, base, _ms_since(began)),)

    def interrupt(self) -> None:
        """Kill what is running, and let no attempt follow it."""
        self._n_interrupts += 1
        for unit_id in tuple(self._running):
            reap_orphans(f"{self._mark}:{unit_id}")

    def _most_attempts(self, unit: Unit) -> int:
        is_serial = unit.action.swarm_id == SERIAL
        return self._config.handoffs if is_serial else unit.n_candidates

    def _gates(self, case: Case) -> dict[str, str]:
        gates = self._config.gates_of(case.issue)
        commands = {name: gate for name, gate in gates.items() if isinstance(gate, str)}
        return commands if len(commands) == len(gates) else {}

    def _order(self, case: Case) -> list[str]:
        """Toolchains in the order of their turns; the issue's hint goes first (formats 6.3)."""
        names = list(self._config.toolchains)
        hint = case.issue.get("dk_tool_hint")
        return sorted(names, key=lambda name: name != hint)

    def _task(self, unit: Unit, number: int, seconds: float, base: str) -> Task:
        order = self._order(unit.case)
        return Task(
            issue=unit.case.issue,
            gates=self._gates(unit.case),
            number=number,
            toolchain=order[(number - 1) % len(order)],
            seed=attempt_seed(unit.seed, number),
            seconds=seconds,
            base=base,
            mark=f"{self._mark}:{unit.unit_id}",
        )

    def _one_after_another(self, unit: Unit, folder: Path, base: str) -> list[AttemptRun]:
        worktree = self._runner.prepare(folder / "1", base)
        left, runs = unit.limit_seconds, list[AttemptRun]()
        n_interrupts = self._n_interrupts
        try:
            for number in range(1, self._config.handoffs + 1):
                is_last = number == self._config.handoffs
                share = 1.0 if is_last else self._config.handoff_share
                seconds = share * declared_rest(left, unit.limit_seconds)
                run = self._runner.run(self._task(unit, number, seconds, base), worktree)
                if self._n_interrupts > n_interrupts:
                    raise HarnessError("local", "it was interrupted")
                runs.append(run)
                # who used up what it was told used all of it, whatever the clock says
                took = seconds if run.is_out_of_budget else run.finished.duration_ms / 1_000
                left = max(0.0, left - took)
                rest = declared_rest(left, unit.limit_seconds)
                if run.is_passed or run.forbidden or rest < LEAST_SECONDS:
                    break
        finally:
            self._mirror.remove(worktree)
        return runs

    def _side_by_side(self, unit: Unit, folder: Path, base: str) -> list[AttemptRun]:
        numbers = range(1, unit.n_candidates + 1)
        worktrees: list[Worktree] = []
        tasks = [self._task(unit, number, unit.limit_seconds, base) for number in numbers]
        folders = [folder / str(number) for number in numbers]
        try:
            with ThreadPoolExecutor(max_workers=unit.n_candidates) as pool:
                # all trees first: the candidates then start together
                for worktree in pool.map(lambda one: self._runner.prepare(one, base), folders):
                    worktrees.append(worktree)
                return list(pool.map(self._runner.run, tasks, worktrees))
        finally:
            for worktree in worktrees:
                self._mirror.remove(worktree)

    def _archive(self, unit: Unit, run: AttemptRun) -> str:
        version = self.versions().get(run.task.toolchain)
        name = archive_attempt(self._bench / "workspace", unit, run, self._config, version)
        crash_point("attempt_archived")
        return name

    def _result(
        self,
        unit: Unit,
        runs: list[AttemptRun],
        vote: Vote | None,
        names: list[str],
        base: str,
        duration_ms: int,
    ) -> Result:
        chosen = len(runs) - 1 if vote is None else vote.winner
        best = runs[chosen]
        costs = [run.cost_usd for run in runs]
        known = [cost for cost in costs if cost is not None]
        cost = sum(known) if len(known) == len(costs) else None
        busy = [run.finished.duration_ms + run.gates_ms for run in runs]
        of_gates = sum(gate["passed"] for gate in best.gates.values()) / max(1, len(best.gates))
        metrics = {
            "overall": 1.0 if best.is_passed else of_gates,
            "duration_ms": float(duration_ms),
        }
        if cost is not None:
            metrics["cost_usd"] = cost
        scores = vote.scores if vote is not None else (None,) * len(runs)
        return Result(
            status=_status(runs, best),
            is_censored=not best.is_passed and any(run.is_out_of_budget for run in runs),
            gates=tuple(
                GateResult(name=name, passed=gate["passed"]) for name, gate in best.gates.items()
            ),
            metrics=metrics,
            duration_ms=duration_ms,
            agent_ms=sum(run.finished.duration_ms for run in runs),
            cost_usd=cost,
            harness_ms=max(0, duration_ms - (sum(busy) if vote is None else max(busy))),
            attempts=tuple(
                _attempt(run, name, score)
                for run, name, score in zip(runs, names, scores, strict=True)
            ),
            winner=chosen + 1,
            isolation=self._sandbox.isolation,
            base_commit=base,
            reason=best.reason,
        )


def declared_rest(left: float, limit: float) -> float:
    """Seconds that are left, in steps of a twentieth of the limit.

    Clocks differ a little from run to run; what an attempt is told it has should not, since a
    search may spend it to the last step. At most a fiftieth of the limit more than there is.
    """
    return int(left / limit * 20 + 0.4) / 20 * limit


def _status(runs: list[AttemptRun], best: AttemptRun) -> OutcomeStatus:
    if best.is_passed:
        return "passed"
    return "timeout" if any(run.status == "timeout" for run in runs) else "failed"


def _ballot(run: AttemptRun) -> Ballot:
    return Ballot(
        confidence=run.confidence,
        lines=run.changes.insertions + run.changes.deletions,
        risk=run.risk,
        duration_ms=run.finished.duration_ms,
        all_passed=run.is_passed,
        is_success=run.status in ("success", "partial"),
    )


def _attempt(run: AttemptRun, name: str, score: float | None) -> AttemptOutcome:
    finished = run.finished
    return AttemptOutcome(
        attempt=run.task.number,
        toolchain=run.task.toolchain,
        seed=run.task.seed,
        status=run.status,
        is_passed=run.is_passed,
        duration_ms=finished.duration_ms,
        gates_ms=run.gates_ms,
        failed_gates=run.failed_gates,
        workcell_id=name,
        exit_code=finished.exit_code,
        cost_usd=run.cost_usd,
        tokens=run.tokens,
        vote_score=score,
        is_output_cut=finished.stdout_dropped + finished.stderr_dropped > 0,
        n_killed=finished.n_killed,
        reason=run.reason,
    )


def _version(command: tuple[str, ...] | None) -> str:
    if command is None:
        return "unknown"
    try:
        done = subprocess.run(
            filled(command, {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HarnessError("version of a toolchain", str(error)) from error
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    return lines[0][:200] if lines else "unknown"


def _ms_since(began: float) -> int:
    return round((time.monotonic() - began) * 1_000)
