"""``command``: any other orchestrator: a JSON request on stdin, a JSON outcome on stdout.

Belongs here: asking, and refusing what cannot be. Does not: the documents' shapes
(``contracts.bench_exchange``), what the orchestrator does.
Spec: section 9.3; ``schemas/bench_request`` and ``schemas/bench_reply``.

The command is the user's own and trusted: it inherits the environment and nothing holds it in, so
``isolation`` is "none". Whatever it does wrong itself (no answer, an exit code, a reply that is no
``bench_reply.v1`` or cannot be true) is the harness's failure, never a candidate's.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from planner_pipeline.bench.config import BenchConfig
from planner_pipeline.bench.executors.children import (
    MAX_STDOUT_BYTES,
    UNKNOWN,
    Child,
    filled,
    kill_children,
    last_words,
    run_child,
    version_of,
    why_not_found,
)
from planner_pipeline.bench.executors.repositories import commit_of
from planner_pipeline.bench.protocol import Case, HarnessError, Result, Spend, Unit
from planner_runtime.contracts.bench_exchange import BenchReply, BenchRequest
from planner_runtime.contracts.reading import ContractError, read_document
from planner_runtime.decision import choice_of
from planner_runtime.heuristic import SERIAL

NAME: Final = "command"
OVERHEAD_SECONDS: Final = 60.0  # for all that is neither toolchain nor gate
_ROUNDING_MS: Final = 1_000  # clocks that are read one after another


def why_refused(reply: BenchReply, unit: Unit, *, wall_ms: int, grace_ms: int) -> str | None:
    """What a reply claims that cannot be; None where nothing is wrong with it.

    Args:
        wall_ms: How long its writer was seen to run.
        grace_ms: How much longer than its limit an attempt may say it took, to be ended.
    """
    most_ms = math.ceil(unit.limit_seconds * 1000) + grace_ms
    numbers = [one.attempt for one in reply.attempts]
    by_number = {one.attempt: one for one in reply.attempts}
    if len(by_number) != len(numbers):
        return "two attempts have one number"
    if reply.duration_ms > wall_ms + _ROUNDING_MS:
        return f"duration_ms {reply.duration_ms}, but it ran for {wall_ms}"
    for one in reply.attempts:
        if one.duration_ms > most_ms:
            return f"attempt {one.attempt} took {one.duration_ms} ms, at most {most_ms} are allowed"
    agent_ms = _agent_ms(reply) or 0
    if agent_ms > most_ms * unit.n_candidates:
        return f"agent_ms {agent_ms}, at most {most_ms * unit.n_candidates} are allowed"
    if reply.winner is not None and reply.winner not in by_number:
        return f"winner {reply.winner} is none of its attempts"
    if reply.status == "passed":
        failed = [gate.name for gate in reply.gates if not gate.passed]
        if failed:
            return f"passed, but gates failed: {', '.join(failed)[:200]}"
        if reply.is_censored:
            return "passed, and ended by a limit before anything passed"
        if reply.attempts and (reply.winner is None or not by_number[reply.winner].is_passed):
            return "passed, but its winner is no attempt that passed"
    elif reply.winner is not None and by_number[reply.winner].is_passed:
        return f"{reply.status}, but its winner passed"
    return None


class CommandExecutor:
    """Runs units by asking a command.

    Args:
        command: Program and arguments; ``{python}`` is this interpreter.
        repository: Where the issues are; the command starts in it and must not change it.
        version_command: Prints its version on the first line.
        usd_per_minute: Price of an agent-minute, for caps; None: nobody can tell.
        overhead_seconds: What it may take beyond the toolchain's limit and its gates.
    """

    name: Final = NAME

    def __init__(
        self,
        command: Sequence[str],
        *,
        repository: Path,
        config: BenchConfig,
        version_command: Sequence[str] | None = None,
        usd_per_minute: float | None = None,
        overhead_seconds: float = OVERHEAD_SECONDS,
    ) -> None:
        self._command, self._repository, self._config = tuple(command), repository, config
        self._version_command, self._usd_per_minute = version_command, usd_per_minute
        self._overhead_seconds = overhead_seconds
        self._versions: dict[str, str] | None = None

    def versions(self) -> dict[str, str]:
        """The first line of the version command, asked once."""
        if self._versions is None:
            asked = self._version_command
            self._versions = {NAME: UNKNOWN if asked is None else version_of(asked)}
        return dict(self._versions)

    def why_not(self, case: Case) -> str | None:
        """Why it cannot run a case; None where it can."""
        if not self._repository.is_dir():
            return f"no directory {self._repository}"
        return why_not_found(self._command)

    def worst_case(self, unit: Unit) -> Spend:
        """Every attempt as long as a reply may say it took, every gate to its own limit."""
        seconds = unit.n_candidates * (unit.limit_seconds + self._config.limits.grace_seconds)
        minutes = seconds / self._config.minute_seconds
        price = self._usd_per_minute
        is_serial = unit.action.swarm_id == SERIAL
        return Spend(
            attempts=self._config.handoffs if is_serial else unit.n_candidates,
            agent_minutes=minutes,
            wall_seconds=self._wall_seconds(unit),
            cost_usd=None if price is None else minutes * price,
        )

    def _wall_seconds(self, unit: Unit) -> float:
        n_gates = len(self._config.gates_of(unit.case.issue)) * unit.n_candidates
        gate_seconds = n_gates * self._config.gate_seconds
        return unit.limit_seconds + gate_seconds + self._overhead_seconds

    def request_of(self, unit: Unit) -> BenchRequest:
        """What the command is asked."""
        case = unit.case
        return BenchRequest(
            unit_id=unit.unit_id,
            issue=case.issue,
            planner_input=case.planner_input,
            action=choice_of(unit.action),
            n_candidates=unit.n_candidates,
            limit_seconds=unit.limit_seconds,
            minute_seconds=self._config.minute_seconds,
            gates=self._config.gates_of(case.issue),
            gate_seconds=self._config.gate_seconds,
            seed=unit.seed,
            repeat=unit.repeat,
            repository=str(self._repository.resolve()),
            base_commit=case.base_commit or commit_of(self._repository),
        )

    def run(self, unit: Unit) -> tuple[Result, ...]:
        """Ask, and believe what can be.

        Raises:
            HarnessError: there is no answer, or one that cannot be believed.
        """
        request = self.request_of(unit)
        wall_seconds, grace = self._wall_seconds(unit), self._config.limits.grace_seconds
        try:
            child = run_child(
                filled(self._command, {}),
                cwd=self._repository,
                limit_seconds=wall_seconds,
                stdin=msgspec.json.encode(request, order="deterministic") + b"\n",
                grace_seconds=grace,
            )
        except OSError as error:
            raise HarnessError(NAME, f"it does not start: {error}") from error
        reply = self._believed(child, wall_seconds)
        why = why_refused(reply, unit, wall_ms=child.wall_ms, grace_ms=round(grace * 1000))
        if why is not None:
            raise HarnessError(NAME, f"its reply cannot be: {why}")
        return (_result(reply, request.base_commit),)

    def interrupt(self) -> None:
        """Kill what is running."""
        kill_children()

    def _believed(self, child: Child, wall_seconds: float) -> BenchReply:
        words = last_words(child.stderr)
        said = f"; stderr: {words}" if words else ""
        if child.is_late:
            raise HarnessError(NAME, f"no answer within {wall_seconds:g} s{said}")
        if child.exit_code:
            raise HarnessError(NAME, f"exit code {child.exit_code}{said}")
        if child.is_cut:
            raise HarnessError(NAME, f"a reply of over {MAX_STDOUT_BYTES} bytes{said}")
        if not child.stdout.strip():
            raise HarnessError(NAME, f"no reply{said}")
        try:
            reply = read_document(child.stdout, BenchReply)
        except ContractError as error:
            raise HarnessError(NAME, f"{' '.join(str(error).split())[:400]}{said}") from error
        for toolchain, version in self.versions().items():
            told = reply.toolchain_versions.get(toolchain, version)
            if version not in (told, UNKNOWN):  # the configuration's hash would not be its own
                raise HarnessError(NAME, f"{toolchain} says it is {told[:80]}, not {version[:80]}")
        return reply


def _agent_ms(reply: BenchReply) -> int | None:
    """What it says, else what its attempts come to."""
    if reply.agent_ms is None and reply.attempts:
        return sum(one.duration_ms for one in reply.attempts)
    return reply.agent_ms


def _result(reply: BenchReply, base_commit: str | None) -> Result:
    is_passed = reply.status == "passed"
    metrics = {"overall": 1.0 if is_passed else 0.0, **reply.metrics}
    measured = {
        "duration_ms": reply.duration_ms, "cost_usd": reply.cost_usd, "tokens": reply.tokens,
    }  # fmt: skip
    metrics |= {name: float(value) for name, value in measured.items() if value is not None}
    return Result(
        status=reply.status,
        is_censored=reply.is_censored or reply.status == "timeout",
        gates=reply.gates,
        metrics=metrics,
        duration_ms=reply.duration_ms,
        agent_ms=_agent_ms(reply),
        cost_usd=reply.cost_usd,
        attempts=reply.attempts,
        winner=reply.winner,
        isolation="none",
        base_commit=base_commit,
        reason=reply.reason,
    )
