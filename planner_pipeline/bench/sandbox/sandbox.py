"""Running a command under one isolation, from its start to what came of it.

Belongs here: one run, and what must hold before it. Does not: choosing the isolation, mounts,
users, supervising, draining: a module each.
"""

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from planner_pipeline.bench.config import Limits
from planner_pipeline.bench.protocol import HarnessError
from planner_pipeline.bench.sandbox import supervisor
from planner_pipeline.bench.sandbox.command import (
    UNIT_VARIABLE,
    Command,
    Ending,
    Finished,
    Isolation,
)
from planner_pipeline.bench.sandbox.environment import build_environment
from planner_pipeline.bench.sandbox.mounts import (
    HOME,
    bubblewrap_argv,
    interpreter_paths,
)
from planner_pipeline.bench.sandbox.orphans import kill_marked
from planner_pipeline.bench.sandbox.session import Launch, Session
from planner_pipeline.bench.sandbox.users import first_closed, handed_over, lent_user

_RUN_VARIABLE: Final = "CYNTRA_BENCH_RUN"


class Sandbox:
    """Runs commands under one isolation; from several threads at once, if need be.

    Attributes:
        isolation: Which; ``GUARANTEES`` says what that means.
        why: Why it is not a stronger one; None where it is the strongest, or was asked for.
    """

    def __init__(
        self,
        isolation: Isolation,
        *,
        why: str | None = None,
        bubblewrap: Path | None = None,
        can_nest: bool = False,
        python: Path | None = None,
    ) -> None:
        self.isolation: Isolation = isolation
        self.why = why
        self._python = python or Path(sys.executable)
        self._bubblewrap = bubblewrap
        self._can_nest = can_nest

    def run(self, command: Command, limits: Limits) -> Finished:
        """Run a command until nothing of it lives.

        Raises:
            HarnessError: it could not be started, for a reason that is not the command's.
        """
        command = _checked(command)
        token = secrets.token_hex(16)
        with ExitStack() as stack:
            user = stack.enter_context(self._user(command))
            home, scratch = HOME, "/tmp"
            if self.isolation == "subreaper":
                scratch = stack.enter_context(_scratch(user))
                home = f"{scratch}/home"
            environment = build_environment(
                command, python=self._python, home=home, scratch=scratch
            )
            if self.isolation == "subreaper":
                environment[_RUN_VARIABLE] = token
            launch = Launch(
                argv=self._argv(command, limits),
                env={UNIT_VARIABLE: command.unit_mark} if command.unit_mark else {},
                order=self._order(command, limits, environment, user),
                stdin=command.stdin,
                user_id=user,
                most_seconds=command.wall_seconds + limits.grace_seconds,
                keep_bytes=limits.output_kb * 1024,
            )
            session = Session(launch)
            session.run()
            if session.report is None and self.isolation == "subreaper":
                kill_marked(_RUN_VARIABLE, token)
            return self._finished(session)

    @contextmanager
    def _user(self, command: Command) -> Iterator[int]:
        """Whose rights the command has: where this process is root's, those of its own user.

        The kernel does not limit how many processes root has, so a program that only forks would
        take the whole machine: nothing untrusted is ever root's.
        """
        if os.getuid() != 0:
            yield os.getuid()
            return
        has_mounts = self.isolation == "bubblewrap"
        readable = (command.cwd, *command.readable, *interpreter_paths(self._python))
        # what is writable changes hands, so only the way to it matters
        readable = tuple(path for path in readable if not _is_inside(path, command.writable))
        reached = (*readable, *command.writable, Path(tempfile.gettempdir()) / "scratch")
        way = () if has_mounts else _parents(reached)
        if closed := first_closed(readable, on_the_way=way):
            raise HarnessError(
                "sandbox",
                f"{closed} is closed to other users, and untrusted code never runs as root: "
                "open it, or run the bench as another user",
            )
        with lent_user() as user, handed_over(command.writable, user):
            yield user

    def _argv(self, command: Command, limits: Limits) -> tuple[str, ...]:
        python = (sys.executable, "-I", "-S")
        if self._bubblewrap is None:
            return python
        # every sandbox has a root of its own, which the machine's must not replace
        interpreters = {*interpreter_paths(Path(sys.executable)), *interpreter_paths(self._python)}
        is_given = _is_inside(command.cwd, (*command.writable, *command.readable)) or (
            command.cwd == Path("/")
        )
        argv = bubblewrap_argv(
            self._bubblewrap,
            readable=(*interpreters, *command.readable, *(() if is_given else (command.cwd,))),
            writable=command.writable,
            has_network=command.has_network,
            scratch_mb=limits.file_mb,
            can_nest=self._can_nest,
        )
        return (*argv, "--", *python)

    def _order(
        self, command: Command, limits: Limits, environment: dict[str, str], user: int
    ) -> bytes:
        # threads count as well, and whether there are too many processes is watched besides
        tasks = 2 * limits.processes + 32
        if self.isolation == "subreaper" and user == os.getuid():
            tasks += _n_tasks(user)
        fields = {
            "user_id": user,
            "cwd": command.cwd,
            "wall_seconds": command.wall_seconds,
            "grace_seconds": limits.grace_seconds,
            "cpu_seconds": limits.cpu_seconds,
            "process_mb": limits.process_mb,
            "file_mb": limits.file_mb,
            "tasks": tasks,
            "processes": limits.processes,
            "memory_mb": limits.memory_mb,
            "n_argv": len(command.argv),
        }
        texts = {name: str(value) for name, value in fields.items()}
        return supervisor.pack_order(texts, list(command.argv), environment)

    def _finished(self, session: Session) -> Finished:
        report = session.report
        ending: Ending = "signalled"
        code: int | None = None
        if report is None:
            if self.isolation == "bubblewrap" and not session.is_forced:
                raise HarnessError("sandbox", f"the supervisor is gone: {session.why_not()}")
            # here the command may have killed it: both have the same user
            ending = "timeout" if session.is_forced else "signalled"
        elif report.ending == "exited":
            code = os.waitstatus_to_exitcode(report.status)
            ending, code = ("signalled", 128 - code) if code < 0 else ("exited", code)
        elif report.ending == "abandoned":
            raise HarnessError("sandbox", "the supervisor lost its harness")
        else:
            ending = report.ending
        return Finished(
            ending=ending,
            exit_code=code,
            duration_ms=report.duration_ms if report else session.duration_ms,
            stdout=session.stdout.kept(),
            stderr=session.stderr.kept(),
            stdout_dropped=session.stdout.dropped,
            stderr_dropped=session.stderr.dropped,
            n_killed=report.n_killed if report else 0,
            isolation=self.isolation,
            user_id=session.launch.user_id,
            peak_processes=report.peak_processes if report else 0,
            peak_memory_mb=report.peak_memory_mb if report else 0,
        )


def _is_inside(path: Path, trees: Iterable[Path]) -> bool:
    return any(path.is_relative_to(tree) for tree in trees)


def _parents(paths: Iterable[Path]) -> set[Path]:
    return {parent for path in paths for parent in path.resolve().parents}


def _checked(command: Command) -> Command:
    """The same with absolute paths. Raises ``HarnessError`` where one of them cannot be given."""
    if not command.argv or "\0" in "".join((*command.argv, *command.env, *command.env.values())):
        raise HarnessError("sandbox", "the command is empty, or holds a zero byte")
    cwd = Path(os.path.abspath(command.cwd))
    writable = tuple(Path(os.path.abspath(path)) for path in command.writable)
    readable = tuple(Path(os.path.abspath(path)) for path in command.readable)
    if bad := next((path for path in (cwd, *writable) if not path.is_dir()), None):
        raise HarnessError("sandbox", f"{bad} is not a directory")
    if bad := next((path for path in readable if not path.exists()), None):
        raise HarnessError("sandbox", f"{bad} does not exist")
    writable = tuple(p for p in writable if not _is_inside(p, (w for w in writable if w != p)))
    for path in (*writable, *(path for path in readable if _is_inside(path, writable))):
        # a link that an earlier command left there would hand out what it points to
        tree = next(tree for tree in writable if path.is_relative_to(tree))
        if tree.is_symlink() or not path.resolve().is_relative_to(tree.resolve()):
            raise HarnessError("sandbox", f"{path} is a symbolic link, or behind one")
    return msgspec.structs.replace(command, cwd=cwd, writable=writable, readable=readable)


@contextmanager
def _scratch(user: int) -> Iterator[str]:
    """A directory for temporary files, with a home in it; gone with all that it holds."""
    folder = tempfile.mkdtemp(prefix="cyntra-bench-")
    try:
        os.mkdir(f"{folder}/home", 0o700)
        for path in (folder, f"{folder}/home"):
            os.chown(path, user, -1)
        yield folder
    finally:
        # unlike shutil's, this one has no bound on how deep directories lie in each other
        subprocess.run(["rm", "-rf", "--", folder], check=False, capture_output=True)


def _n_tasks(user: int) -> int:
    """Threads that a user has by now; the kernel counts them all against one limit."""
    total = 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if path.stat().st_uid == user:
                total += len(os.listdir(path / "task"))
        except OSError:
            continue
    return total
