"""What the parts of a bench say to each other: cases, units, results, and the executor's protocol.

Belongs here: the types. Does not: how anything is chosen, run, counted or judged.
Spec: section 9. A case is what is decided (an issue at a moment), a candidate an action on it, a
unit one candidate with one seed: what runs once and is recorded once.
"""

from typing import Any, Protocol

import msgspec

from planner_runtime.actions import NA, Action
from planner_runtime.contracts.bench_outcome import AttemptOutcome, Isolation, OutcomeStatus
from planner_runtime.contracts.run_summary import GateResult


class HarnessError(Exception):
    """The harness failed, not the candidate: disk full, no worktree, a sandbox that does not start.

    Attributes:
        what: Which step.
    """

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One decision to find the best action of.

    Attributes:
        issue: The line of ``.beads/issues.jsonl``, as it is.
        planner_input: The question, ``planner_input.v1``.
        baseline: What the kernel would do.
        system: Whose attempts are replayed; empty where something runs.
        example_id: The data set's example of the same decision, where there is one.
        base_commit: What to start from; None for the repository's HEAD.
    """

    case_id: str
    issue_id: str
    job_type: str
    issue: dict[str, Any]
    planner_input: dict[str, Any]
    input_hash: str
    baseline: Action
    system: str = ""
    example_id: str | None = None
    base_commit: str | None = None


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate with one seed.

    Attributes:
        n_candidates: Attempts side by side that the action amounts to.
        limit_seconds: Wall time for all of its toolchain's work, from the first start on.
    """

    unit_id: str
    case: Case
    action: Action
    repeat: int
    seed: int
    n_candidates: int
    limit_seconds: float


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """What a unit takes, or may take at worst; minutes are the bench's own.

    Attributes:
        cost_usd: None where nobody can tell.
    """

    attempts: int
    agent_minutes: float
    wall_seconds: float
    cost_usd: float | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What an executor tells of a unit; the fields are those of ``BenchOutcome``."""

    status: OutcomeStatus
    is_censored: bool = False
    gates: tuple[GateResult, ...] = ()
    metrics: dict[str, float] = {}
    duration_ms: int | None = None
    agent_ms: int | None = None
    cost_usd: float | None = None
    harness_ms: int | None = None
    attempts: tuple[AttemptOutcome, ...] = ()
    winner: int | None = None
    replayed: tuple[int, ...] | None = None
    isolation: Isolation | None = None
    base_commit: str | None = None
    reason: str | None = None


class Executor(Protocol):
    """Runs units. Real: ``local``, ``cyntra``, ``command``, ``replay``; for tests: ``Scripted``."""

    @property
    def name(self) -> str:
        """As written into every outcome."""
        ...

    def versions(self) -> dict[str, str]:
        """Versions of what works on the issues, by toolchain; part of the configuration's hash."""
        ...

    def why_not(self, case: Case) -> str | None:
        """Why it cannot run a case; None where it can."""
        ...

    def worst_case(self, unit: Unit) -> Spend:
        """The most that a unit may take."""
        ...

    def run(self, unit: Unit) -> tuple[Result, ...]:
        """Run a unit to its end; several results only where logged attempts are replayed.

        Raises:
            HarnessError: the harness failed; what the candidate did is not known.
        """
        ...

    def interrupt(self) -> None:
        """Kill what is running; nobody wants its results any more."""
        ...


def words_of(action: Action) -> str:
    """An action for people, e.g. ``speculate_vote 2x60``; with iterations ``... i3``."""
    words = f"{action.swarm_id} {action.max_candidates_bin}x{action.max_minutes_bin}"
    return words if action.max_iterations_bin == NA else f"{words} i{action.max_iterations_bin}"
