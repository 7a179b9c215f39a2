"""``bench_request.v1`` and ``bench_reply.v1``: how a bench talks to somebody else's orchestrator.

Belongs here: the two shapes. Does not: starting anybody, believing them (the pipeline's ``bench``).
Spec: section 9.3. The request goes to a command's standard input, the reply comes from its standard
output: one JSON document each.
"""

from typing import Annotated, Any, Literal

import msgspec

from planner_runtime.contracts.bench_outcome import AttemptOutcome, Dollars
from planner_runtime.contracts.bins import SafeCount
from planner_runtime.contracts.policy_trace import ActionChoice
from planner_runtime.contracts.run_summary import GateResult

ReplyStatus = Literal["passed", "failed", "timeout", "error"]


class BenchRequest(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="schema_version",
    tag="cyntra.bench_request.v1",
):
    """Do this action to this issue, within these limits, and say what came of it.

    Attributes:
        issue: The line of ``.beads/issues.jsonl``, as it is.
        planner_input: ``planner_input.v1``, as it is.
        n_candidates: Attempts side by side that the action amounts to.
        limit_seconds: Wall time for all of its toolchain's work, from the first start on; gates
            come on top.
        minute_seconds: How many seconds stand for a minute of the action's budget: it is in
            ``limit_seconds`` already.
        gates: All of them are required: a shell command, or what else the issue writes for it.
        gate_seconds: Time limit of each gate.
        repository: Absolute path; it must not be changed.
        base_commit: What to start from; null where the repository has no commits.
    """

    unit_id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
    issue: dict[str, Any]
    planner_input: dict[str, Any]
    action: ActionChoice
    n_candidates: Annotated[int, msgspec.Meta(ge=1)]
    limit_seconds: Annotated[float, msgspec.Meta(gt=0.0)]
    minute_seconds: Annotated[float, msgspec.Meta(gt=0.0)]
    gates: dict[str, Any] = {}
    gate_seconds: Annotated[float, msgspec.Meta(gt=0.0)]
    seed: SafeCount
    repeat: SafeCount = 0
    repository: str
    base_commit: str | None = None


class BenchReply(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="schema_version",
    tag="cyntra.bench_reply.v1",
):
    """What came of it. An orchestrator that failed itself exits with another code than 0 instead.

    Attributes:
        metrics: By name, as the universe's objectives call them.
        duration_ms: From its start until its verdict, on the clock.
        agent_ms: Toolchain time of all its attempts together; null where it is not known.
        winner: The attempt whose result counts; null where there was none.
        is_censored: A limit ended it before anything passed: with more time it might have.
    """

    status: ReplyStatus
    gates: tuple[GateResult, ...] = ()
    metrics: dict[str, float] = {}
    duration_ms: SafeCount
    agent_ms: SafeCount | None = None
    cost_usd: Dollars | None = None
    tokens: SafeCount | None = None
    attempts: tuple[AttemptOutcome, ...] = ()
    winner: Annotated[int, msgspec.Meta(ge=1)] | None = None
    is_censored: bool = False
    toolchain_versions: dict[str, str] = {}
    reason: str | None = None
