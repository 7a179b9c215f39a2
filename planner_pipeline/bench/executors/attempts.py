"""One attempt of the local executor: a worktree, a toolchain, its changes, the gates.

Belongs here: running one and telling what happened. Does not: how attempts make a candidate
(``local``), files of the kernel (``attempt_archive``). Spec: section 9.2; formats 2.3, 2.4.
"""

import json
import os
import time
from pathlib import Path
from typing import Any, Final

import msgspec

import planner_pipeline
from planner_pipeline.bench.config import BenchConfig, Toolchain
from planner_pipeline.bench.crash_points import crash_point
from planner_pipeline.bench.executors.children import filled
from planner_pipeline.bench.protocol import HarnessError
from planner_pipeline.bench.sandbox import Command, Finished, Sandbox
from planner_pipeline.bench.worktrees import Changes, Mirror, Worktree
from planner_runtime.contracts.bench_outcome import AttemptStatus

NOT_STARTED: Final = (126, 127)  # what a shell answers for a program that cannot be run
SENSITIVE: Final = (
    "auth", "security", "password", "secret", "key", "migration", "schema", "database", "payment",
    "billing",
)  # fmt: skip
CONFIDENCE: Final[dict[AttemptStatus, float]] = {"success": 0.8, "partial": 0.5, "failed": 0.2}
# so that git answers in a tree whose repository is the harness's, which it may read and not write
GIT_ENVIRONMENT: Final = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
    "GIT_OPTIONAL_LOCKS": "0",
}
OUTPUT_CHARS: Final = 4_000  # of a failed gate, kept in its proof


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt is asked to do.

    Attributes:
        issue: The line of ``.beads/issues.jsonl``.
        gates: Shell commands by name.
        seconds: Time of its toolchain.
        base: The commit the candidate starts from, for the diff.
        mark: What its processes carry in their environment.
    """

    issue: dict[str, Any]
    gates: dict[str, str]
    number: int
    toolchain: str
    seed: int
    seconds: float
    base: str
    mark: str


class AttemptRun(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one attempt. Times in Unix ms; durations of the clock that never jumps.

    Attributes:
        gates: As the kernel's verifier writes them (formats 2.4).
        ended_ms: After the gates.
        is_out_of_budget: Whether it stopped because its time was over, by itself or not.
    """

    task: Task
    status: AttemptStatus
    is_passed: bool
    finished: Finished
    changes: Changes
    forbidden: tuple[str, ...]
    gates: dict[str, dict[str, Any]]
    gates_ms: int
    started_ms: int
    completed_ms: int
    ended_ms: int
    tokens: int | None
    cost_usd: float | None
    is_out_of_budget: bool
    reason: str | None

    @property
    def failed_gates(self) -> tuple[str, ...]:
        """Names of gates that did not pass, or why none was run (formats 2.4)."""
        if self.status == "timeout":
            return ("timeout", "status:timeout")
        if self.status in ("failed", "error"):
            return (f"status:{self.status}",)
        return tuple(name for name, gate in self.gates.items() if not gate["passed"])

    @property
    def confidence(self) -> float:
        """The kernel's default for how it ended (formats 2.4)."""
        return CONFIDENCE.get(self.status, 0.0)

    @property
    def risk(self) -> str:
        """The kernel's risk class of the patch (formats 2.4)."""
        lines = self.changes.insertions + self.changes.deletions
        if self.forbidden:
            return "critical"
        if lines > 500 or any(word in file for file in self.changes.files for word in SENSITIVE):
            return "high"
        return "medium" if lines > 100 else "low"


class AttemptRunner:
    """Runs attempts in worktrees of one repository, under one configuration."""

    def __init__(self, mirror: Mirror, config: BenchConfig, sandbox: Sandbox) -> None:
        self._mirror, self._config, self._sandbox = mirror, config, sandbox

    def prepare(self, folder: Path, commit: str) -> Worktree:
        """A fresh tree to work in, without what belongs to the kernel. Raises ``HarnessError``."""
        worktree = self._mirror.add(folder / "tree", commit)
        (folder / "home").mkdir(exist_ok=True)
        crash_point("worktree_added")
        return worktree

    def run(self, task: Task, worktree: Worktree) -> AttemptRun:
        """Run a toolchain in a tree, then the gates.

        Raises:
            HarnessError: the toolchain cannot be started, or git or the sandbox failed.
        """
        started_ms = _now_ms()
        finished = self._work(task, worktree)
        completed_ms = started_ms + finished.duration_ms
        crash_point("toolchain_ended")
        told = _last_line(finished.stdout)
        status, reason = _status(finished)
        changes = self._mirror.commit(worktree, task.base, f"attempt {task.number}")
        crash_point("changes_committed")
        forbidden = changes.forbidden(_texts(task.issue.get("dk_forbidden_paths")))
        gates: dict[str, dict[str, Any]] = {}
        gates_ms = 0
        if forbidden:
            reason = f"it changed forbidden paths: {', '.join(forbidden[:5])}"
        elif status in ("success", "partial"):
            gates = {name: self._gate(task, worktree, gate) for name, gate in task.gates.items()}
            gates_ms = sum(gate["duration_ms"] for gate in gates.values())
        crash_point("gates_ended")
        is_passed = bool(gates) and all(gate["passed"] for gate in gates.values())
        return AttemptRun(
            task=task,
            status=status,
            is_passed=is_passed,
            finished=finished,
            changes=changes,
            forbidden=tuple(forbidden),
            gates=gates,
            gates_ms=gates_ms,
            started_ms=started_ms,
            completed_ms=completed_ms,
            ended_ms=max(completed_ms, _now_ms()),
            tokens=_count(told.get("tokens_used")),
            cost_usd=self._cost(task, told.get("cost"), finished.duration_ms),
            is_out_of_budget=status == "timeout" or told.get("is_out_of_budget") is True,
            reason=reason,
        )

    def _toolchain(self, task: Task) -> Toolchain:
        return self._config.toolchains[task.toolchain]

    def _command(self, worktree: Worktree, **fields: Any) -> Command:
        home = worktree.tree.parent / "home"
        return Command(
            cwd=worktree.tree,
            writable=(worktree.tree, home),
            **{
                **fields,
                "readable": (self._mirror.folder, *fields.get("readable", ())),
                "env": {"HOME": str(home), **GIT_ENVIRONMENT, **fields.get("env", {})},
            },
        )

    def _work(self, task: Task, worktree: Worktree) -> Finished:
        toolchain = self._toolchain(task)
        request = {
            "issue": task.issue,
            "seed": task.seed,
            "attempt": task.number,
            "budget_seconds": task.seconds,
            "gates": task.gates,
        }
        command = self._command(
            worktree,
            argv=filled(toolchain.command, {}),
            stdin=msgspec.json.encode(request),
            env={**environment_of(toolchain), "CYNTRA_SEED": str(task.seed)},
            readable=readable_of(toolchain),
            has_network=toolchain.has_network,
            wall_seconds=task.seconds,
            unit_mark=task.mark,
        )
        finished = self._sandbox.run(command, self._config.limits)
        if finished.exit_code in NOT_STARTED:
            said = finished.stderr.decode(errors="replace").strip()[-300:]
            raise HarnessError(f"toolchain {task.toolchain}", said or "cannot be started")
        return finished

    def _gate(self, task: Task, worktree: Worktree, gate: str) -> dict[str, Any]:
        """One gate as the kernel's verifier writes it; a gate out of time did not pass."""
        finished = self._sandbox.run(
            self._command(
                worktree,
                argv=("sh", "-c", gate),
                wall_seconds=self._config.gate_seconds,
                unit_mark=task.mark,
            ),
            self._config.limits,
        )
        passed = finished.ending == "exited" and finished.exit_code == 0
        text = (finished.stdout + finished.stderr).decode(errors="replace")
        return {
            "passed": passed,
            "exit_code": finished.exit_code,
            "duration_ms": finished.duration_ms,
            "output": None if passed else text[-OUTPUT_CHARS:],
            "error": None if finished.ending == "exited" else f"ended by {finished.ending}",
        }

    def _cost(self, task: Task, told: Any, duration_ms: int) -> float | None:
        """What the toolchain reports, else its declared price; None where there is neither."""
        if isinstance(told, int | float) and not isinstance(told, bool) and 0 <= told < 1e9:
            return float(told)
        price = self._toolchain(task).usd_per_minute
        return None if price is None else price * duration_ms / self._config.minute_seconds / 1_000


def readable_of(toolchain: Toolchain) -> tuple[Path, ...]:
    """Paths a toolchain may read besides; ``{package}`` is this package, for toolchains of ours."""
    package = str(Path(planner_pipeline.__file__).parent)
    return tuple(Path(path.replace("{package}", package)) for path in toolchain.readable)


def environment_of(toolchain: Toolchain) -> dict[str, str]:
    """What a toolchain is given beyond an empty environment; values of ``pass_env`` are the
    caller's and go nowhere else.
    """
    passed = {name: os.environ[name] for name in toolchain.pass_env if name in os.environ}
    return {**toolchain.env, **passed}


def _status(finished: Finished) -> tuple[AttemptStatus, str | None]:
    if finished.ending == "timeout":
        return "timeout", "its time was over"
    if finished.ending in ("memory", "processes"):
        return "failed", f"it took too many {finished.ending}".replace("many memory", "much memory")
    if finished.ending == "signalled":
        return "failed", f"it was ended by signal {finished.exit_code}"
    if finished.exit_code == 0:
        return "success", None
    return ("partial", None) if finished.exit_code == 1 else ("failed", None)


def _last_line(stdout: bytes) -> dict[str, Any]:
    """The last line of a toolchain's output, when it is a JSON object (formats 2.4)."""
    lines = stdout.rstrip().rsplit(b"\n", 1)
    try:
        told = json.loads(lines[-1]) if lines[-1] else None
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
    return value if is_count else None


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
