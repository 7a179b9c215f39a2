"""``cyntra``: the real kernel, unchanged, in a copy of the workspace that leaves it one choice.

Belongs here: running the kernel on a unit. Does not: what is changed in the copy
(``cyntra_overlay``), the copy (``cyntra_copy``), reading what came of it (``cyntra_results``,
``cyntra_worlds``). Spec: section 9.3; formats 5 to 7.

An issue is run with ``cyntra run --once --issue ID``. A world is run with ``cyntra evolve``, whose
``--population`` is known from formats 6.4, which also tells that generations and a seed can be set;
the names of its other options are taken from there and may be set in ``evolve_command``.

The kernel and its toolchains are the user's own and trusted: they inherit the environment, and
nothing but the copy holds them in, so ``isolation`` is "none". A unit's seed reaches evolutions
only: nothing in the kernel takes one for code.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, get_args

import msgspec

from planner_pipeline.bench.config import BenchConfig, BenchConfigError
from planner_pipeline.bench.executors.children import (
    Child,
    filled,
    inherited_environment,
    kill_children,
    last_words,
    run_child,
    version_of,
    why_not_found,
)
from planner_pipeline.bench.executors.cyntra_copy import (
    CARRIED,
    copy_workspace,
    hide_beads_program,
    keep_what_ran,
    write_beads,
    write_config,
)
from planner_pipeline.bench.executors.cyntra_overlay import (
    Forced,
    estimated_tokens,
    forced_by,
    overlaid,
    ready_issue,
    view_of_issue,
)
from planner_pipeline.bench.executors.cyntra_results import (
    WHAT,
    dispatch_result,
    has_ended,
    read_left,
)
from planner_pipeline.bench.executors.cyntra_worlds import (
    evolution_result,
    generations_of,
    is_world,
    universe_of,
    world_of,
)
from planner_pipeline.bench.executors.repositories import commit_of
from planner_pipeline.bench.protocol import Case, HarnessError, Result, Spend, Unit
from planner_pipeline.sources.settings import read_config_document, read_universes
from planner_runtime.contracts.bins import MinutesBin
from planner_runtime.kernel_config import KernelConfig, kernel_config_of

NAME: Final = "cyntra"


class CyntraSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the kernel is called.

    Attributes:
        command: The kernel; the commands below are its arguments, ``{name}`` replaced.
        n_gates: Gates of an issue that names none itself, each with the configured limit; the
            kernel gives them none.
        grace_seconds: What a run may take beyond its toolchains' limit and its gates.
        carried: Paths taken from the working tree rather than from the commit.
    """

    command: tuple[str, ...] = ("cyntra",)
    version_command: tuple[str, ...] = ("--version",)
    run_command: tuple[str, ...] = ("run", "--once", "--issue", "{issue}")
    evolve_command: tuple[str, ...] = (
        "evolve", "--universe", "{universe}", "--world", "{world}", "--population", "{population}",
        "--generations", "{generations}", "--seed", "{seed}",
    )  # fmt: skip
    n_gates: Annotated[int, msgspec.Meta(ge=0)] = 3
    grace_seconds: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    carried: tuple[str, ...] = CARRIED


class CyntraExecutor:
    """Runs units by the kernel itself; several at a time do not meet.

    Args:
        workspace: A git repository with ``.beads`` and ``.cyntra``; nothing in it is changed.
        keep: Where what the kernel left of each unit is moved: ``keep/<unit id>`` is a workspace
            again, with its archives, runs, log, configuration and issues, and what was printed.
        scratch: Where copies are made; None for the system's place for temporary files.

    Raises:
        BenchConfigError: a budget is no whole number of seconds, which is all the kernel knows.
    """

    name: Final = NAME

    def __init__(
        self,
        workspace: Path,
        *,
        config: BenchConfig,
        keep: Path,
        settings: CyntraSettings | None = None,
        scratch: Path | None = None,
    ) -> None:
        self._workspace, self._config, self._keep = workspace, config, keep
        self._settings, self._scratch = settings or CyntraSettings(), scratch
        self._versions: dict[str, str] | None = None
        for minutes in {*get_args(MinutesBin), config.default_minutes} - {"NA"}:
            seconds = minutes * config.minute_seconds
            if abs(seconds - max(1, round(seconds))) > 1e-6:
                told = f"{minutes} minutes are {seconds:g} s, and a kernel counts whole seconds"
                raise BenchConfigError(f"minute_seconds {config.minute_seconds:g}: {told}")

    def versions(self) -> dict[str, str]:
        """The kernel's own version, and those of the configured toolchains, asked once."""
        if self._versions is None:
            asked = {NAME: (*self._settings.command, *self._settings.version_command)}
            for name, toolchain in self._config.toolchains.items():
                if toolchain.version_command is not None:
                    asked[name] = toolchain.version_command
            self._versions = {name: version_of(command) for name, command in asked.items()}
        return dict(self._versions)

    def why_not(self, case: Case) -> str | None:
        """Why it cannot run a case; None where it can."""
        missing = why_not_found(self._settings.command)
        if missing is not None:
            return missing
        if commit_of(self._workspace, case.base_commit or "HEAD") is None:
            at = f"commit {case.base_commit}" if case.base_commit else "commits"
            return f"{self._workspace} is no git repository with {at}"
        if is_world(case) and self._universe(case) is None:
            return f"no universe {case.planner_input.get('universe_id')!r} in {self._workspace}"
        return None

    def worst_case(self, unit: Unit) -> Spend:
        """Every attempt to its limit; candidates of a world share one limit."""
        minutes = unit.limit_seconds / self._config.minute_seconds
        n_attempts = unit.n_candidates
        if is_world(unit.case):
            n_attempts *= generations_of(unit.action)
        else:
            minutes *= unit.n_candidates
        prices = [one.usd_per_minute for one in self._config.toolchains.values()]
        known = [price for price in prices if price is not None]
        return Spend(
            attempts=n_attempts,
            agent_minutes=minutes,
            wall_seconds=self._wall_seconds(unit),
            cost_usd=max(known) * minutes if known and len(known) == len(prices) else None,
        )

    def _wall_seconds(self, unit: Unit) -> float:
        if is_world(unit.case):
            return unit.limit_seconds
        own = unit.case.issue.get("dk_quality_gates")
        n_gates = len(own) if isinstance(own, dict) and own else self._settings.n_gates
        gate_seconds = n_gates * unit.n_candidates * self._config.gate_seconds
        return unit.limit_seconds + gate_seconds + self._settings.grace_seconds

    def run(self, unit: Unit) -> tuple[Result, ...]:
        """Run a unit in a copy of its own, which is gone afterwards.

        Raises:
            HarnessError: the copy, the kernel or the action failed; the candidate is not judged.
        """
        try:
            with self._place() as place:
                return (
                    self._evolve(unit, place) if is_world(unit.case) else self._do(unit, place),
                )
        except OSError as error:
            raise HarnessError(NAME, f"{type(error).__name__}: {error}") from error

    def interrupt(self) -> None:
        """Kill what is running."""
        kill_children()

    @contextmanager
    def _place(self) -> Iterator[Path]:
        place = Path(tempfile.mkdtemp(prefix="cyntra-bench-", dir=self._scratch))
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _copied(self, unit: Unit, copy: Path) -> str:
        base, carried = unit.case.base_commit, self._settings.carried
        return copy_workspace(self._workspace, copy, base_commit=base, carried=carried)

    def _document(self) -> dict[str, Any]:
        """The workspace's configuration as one document; empty where it has none."""
        document, refused = read_config_document(self._workspace)
        for row in refused:
            raise HarnessError("configuration", f"{row.file}: {row.reason}: {row.detail[:200]}")
        return document or {}

    def _universe(self, case: Case) -> str | None:
        return universe_of(case, read_universes(self._workspace).universes)

    def _do(self, unit: Unit, place: Path) -> Result:
        """Let the kernel work on an issue."""
        copy, issue = place / "workspace", unit.case.issue
        base_commit = self._copied(unit, copy)
        document = self._document()
        try:
            config = kernel_config_of(document)
            forced = self._forced(unit, config)
            changed = overlaid(
                document,
                forced,
                priority=config.toolchain_priority,
                estimated_tokens=estimated_tokens(issue),
            )
        except ValueError as error:
            raise HarnessError("configuration", str(error)) from error
        write_config(copy, changed)
        write_beads(self._workspace, copy, ready_issue(issue))
        child = self._ran(self._settings.run_command, {"issue": unit.case.issue_id}, unit, place)
        try:
            words = last_words(child.stderr)
            if child.is_late:
                limit = self._wall_seconds(unit)
                raise HarnessError(WHAT, f"no answer within {limit:g} s; stderr: {words}")
            if child.exit_code and not has_ended(copy, unit.case.issue_id):
                raise HarnessError(WHAT, f"exit code {child.exit_code}; stderr: {words}")
            left = read_left(copy, unit.case.issue_id, said=last_words(child.stdout))
            return dispatch_result(
                left, unit, forced, wall_ms=child.wall_ms, base_commit=base_commit
            )
        finally:
            self._kept(copy, unit, child)

    def _forced(self, unit: Unit, config: KernelConfig) -> Forced:
        return forced_by(
            config,
            view_of_issue(unit.case.issue),
            swarm_id=unit.action.swarm_id,
            n_candidates=unit.n_candidates,
            seconds=round(unit.limit_seconds),
        )

    def _evolve(self, unit: Unit, place: Path) -> Result:
        """Let the kernel evolve a world."""
        copy = place / "workspace"
        universe = self._universe(unit.case)
        if universe is None:
            raise HarnessError(NAME, f"no universe for {unit.case.issue_id}")
        base_commit = self._copied(unit, copy)
        write_config(copy, self._document())
        values = {
            "universe": universe,
            "world": world_of(unit.case),
            "population": str(unit.n_candidates),
            "generations": str(generations_of(unit.action)),
            "seed": str(unit.seed),
        }
        child = self._ran(self._settings.evolve_command, values, unit, place)
        try:
            return evolution_result(copy, unit, child, universe=universe, base_commit=base_commit)
        finally:
            self._kept(copy, unit, child)

    def _ran(
        self, arguments: tuple[str, ...], values: Mapping[str, str], unit: Unit, place: Path
    ) -> Child:
        copy = place / "workspace"
        paths = {"PATH": hide_beads_program(place / "bin"), "PWD": str(copy)}
        return run_child(
            filled((*self._settings.command, *arguments), values),
            cwd=copy,
            env=inherited_environment(paths),
            limit_seconds=self._wall_seconds(unit),
            grace_seconds=self._config.limits.grace_seconds,
        )

    def _kept(self, copy: Path, unit: Unit, child: Child) -> None:
        said = {"kernel-stdout.log": child.stdout, "kernel-stderr.log": child.stderr}
        keep_what_ran(copy, self._keep, unit.unit_id, said)
