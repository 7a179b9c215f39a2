"""``bench_outcome.v1``: what came of one candidate that really ran, or was replayed.

Belongs here: the shape. Does not: running candidates, choosing winners (the pipeline's ``bench``).
Spec: section 9. Whoever reads a figure reads beside it what it was made with.
"""

from typing import Annotated, Literal

import msgspec

from planner_runtime.contracts.bins import SafeCount
from planner_runtime.contracts.planner_input import Timestamp
from planner_runtime.contracts.policy_trace import ActionChoice, Sha256
from planner_runtime.contracts.run_summary import GateResult

OutcomeStatus = Literal["passed", "failed", "timeout", "error", "infra_error"]
AttemptStatus = Literal["success", "partial", "failed", "timeout", "error"]
Isolation = Literal["bubblewrap", "subreaper", "none"]
Dollars = Annotated[float, msgspec.Meta(ge=0.0)]


class AttemptOutcome(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One try of a toolchain inside a candidate.

    Attributes:
        attempt: From 1 within the candidate.
        status: The kernel's word for how the toolchain ended (formats 2.4).
        is_passed: Whether every required gate passed afterwards.
        duration_ms: The toolchain's own time; gates are in ``gates_ms``.
        n_killed: Processes that were still alive when its time was over.
        vote_score: Of formats 6.3; null where there was no vote.
    """

    attempt: Annotated[int, msgspec.Meta(ge=1)]
    toolchain: str
    seed: SafeCount
    status: AttemptStatus
    is_passed: bool
    duration_ms: SafeCount
    gates_ms: SafeCount = 0
    failed_gates: tuple[str, ...] = ()
    workcell_id: str | None = None
    exit_code: int | None = None
    cost_usd: Dollars | None = None
    tokens: SafeCount | None = None
    vote_score: float | None = None
    is_output_cut: bool = False
    n_killed: SafeCount = 0
    reason: str | None = None


class BenchOutcome(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="schema_version",
    tag="cyntra.bench_outcome.v1",
):
    """What came of one candidate: an action, on a case, with a seed.

    Attributes:
        unit_id: Hash of case, action, repeat, seed and configuration: one unit, one record.
        case_id: What is decided: an issue at a moment.
        status: ``infra_error`` is the harness's own failure, and never a label.
        is_censored: A limit ended it before anything passed: with more time it might have.
        metrics: By name, as the universe's objectives call them.
        duration_ms: From its start until its verdict, on the clock.
        agent_ms: Toolchain time of all its attempts together.
        cost_usd: Null where any attempt's is not known.
        harness_ms: What of ``duration_ms`` was neither toolchain nor gates.
        winner: The attempt whose result counts; null where there was none.
        replayed: Logged attempts it was made from; null where something ran.
        minute_seconds: How many seconds stood for a minute of the action's budget.
        tries: How often the harness started it.
    """

    unit_id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
    bench_config_hash: Sha256
    universe_hash: Sha256 | None = None
    case_id: str
    issue_id: str
    example_id: str | None = None
    system: str = ""
    input_hash: Sha256
    job_type: str
    action: ActionChoice
    repeat: SafeCount = 0
    seed: SafeCount
    executor: str
    isolation: Isolation | None = None
    status: OutcomeStatus
    is_censored: bool = False
    gates: tuple[GateResult, ...] = ()
    metrics: dict[str, float] = {}
    duration_ms: SafeCount | None = None
    agent_ms: SafeCount | None = None
    cost_usd: Dollars | None = None
    harness_ms: SafeCount | None = None
    attempts: tuple[AttemptOutcome, ...] = ()
    winner: Annotated[int, msgspec.Meta(ge=1)] | None = None
    replayed: tuple[SafeCount, ...] | None = None
    minute_seconds: Annotated[float, msgspec.Meta(gt=0.0)]
    toolchain_versions: dict[str, str] = {}
    base_commit: str | None = None
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    tries: Annotated[int, msgspec.Meta(ge=1)] = 1
    reason: str | None = None

    @property
    def is_passed(self) -> bool:
        """Whether every required gate passed."""
        return self.status == "passed"
