"""From the start of a supervisor to its end: talk to it, feed it, drain it, and outlast it.

Belongs here: the harness's side of one run. Does not: what is started, or under which isolation.
"""

import fcntl
import marshal
import os
import select
import selectors
import socket
import subprocess
import time
from functools import cache
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import Final, Literal

import msgspec

from planner_pipeline.bench.protocol import HarnessError
from planner_pipeline.bench.sandbox import supervisor
from planner_pipeline.bench.sandbox.output import CappedOutput
from planner_pipeline.bench.sandbox.supervisor import kill_below

START_SECONDS: Final = 30.0
# a supervisor that has not reported by then cannot do its work, and this process does it
LATE_SECONDS: Final = 0.6
_CHUNK: Final = 1 << 18


@cache
def compiled_supervisor() -> int:
    """A descriptor of the supervisor's program, compiled once: that takes 8 ms, a third of a run.

    Being memory of this process's, it is there in every file system, and it leaves nothing behind.
    """
    source = Path(supervisor.__file__).read_bytes()
    code = marshal.dumps(compile(source, supervisor.__file__, "exec"))
    # as importlib writes it: a magic number, then flags, time and size, which nobody checks here
    program = os.memfd_create("supervisor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(program, MAGIC_NUMBER + bytes(12) + code)
    # every later run executes it, so whoever gets hold of it must not change it
    fcntl.fcntl(program, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK)
    return program


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """A supervisor to start.

    Attributes:
        argv: Starts a Python; its program and the program's arguments follow.
        env: The supervisor's own, not the command's.
        user_id: Owns the streams, so that the command may open /dev/stderr by name.
        most_seconds: What the command may take, grace included.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    order: bytes
    stdin: bytes
    user_id: int
    most_seconds: float
    keep_bytes: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The supervisor's last words.

    Attributes:
        status: As waitpid tells it; -1 where the command's first process was stopped unseen.
    """

    ending: Literal["exited", "timeout", "memory", "processes", "abandoned"]
    status: int
    duration_ms: int
    n_killed: int
    peak_processes: int
    peak_memory_mb: int


class Session:
    """One supervisor and its command, as the harness sees them.

    Attributes:
        report: None where the supervisor was killed, or had to be.
        is_forced: Whether this process had to end it.
        duration_ms: Since the command started, as this process saw it.
    """

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.stdout, self.stderr = (CappedOutput(launch.keep_bytes) for _ in range(2))
        self.report: Report | None = None
        self.is_started = self.is_forced = False
        self._said = bytearray()
        self._stdin = memoryview(launch.stdin)
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Start it and wait until nothing of it lives.

        Raises:
            HarnessError: it did not come to run the command.
        """
        self._control, theirs = socket.socketpair()
        kept, passed, program = [], [theirs.detach()], compiled_supervisor()
        try:
            passed.append(os.memfd_create("order"))  # unlike arguments, nobody else can read it
            os.pwrite(passed[1], self.launch.order, 0)
            for _ in range(2):
                reading, writing = self._pipe()
                kept.append(reading)
                passed.append(writing)
            if self.launch.stdin:
                reading, writing = self._pipe()
                kept.append(writing)
                passed.append(reading)
            self._process = subprocess.Popen(
                [*self.launch.argv, f"/proc/self/fd/{program}", *map(str, (*passed[:2], program))],
                stdin=passed[4] if self.launch.stdin else subprocess.DEVNULL,
                stdout=passed[2], stderr=passed[3], pass_fds=(*passed[:2], program),
                env=self.launch.env, cwd="/", start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self._control.close()
            for fd in kept:
                os.close(fd)
            raise HarnessError("sandbox", f"{self.launch.argv[0]}: {error.strerror}") from error
        finally:
            for fd in passed:
                os.close(fd)
        self._streams = {kept[0]: self.stdout, kept[1]: self.stderr}
        self._in = kept[2] if self.launch.stdin else -1
        try:
            self._converse()
        finally:
            self._end()
        if not self.is_started:
            raise HarnessError("sandbox", self.why_not())

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        if self.launch.user_id != os.getuid():
            os.fchown(ends[0], self.launch.user_id, -1)
        return ends

    def why_not(self) -> str:
        """Why it did not run, or did not report, for people."""
        said = " ".join(self._said.decode(errors="replace").split()[1:])
        return said or " ".join(self.stderr.kept().decode(errors="replace").split()) or "no answer"

    # -- while it runs -------------------------------------------------------------------------

    def _converse(self) -> None:
        self._selector.register(self._control, selectors.EVENT_READ, self._hear)
        for fd in self._streams:
            os.set_blocking(fd, False)
            self._selector.register(fd, selectors.EVENT_READ, self._drain)
        if self._in >= 0:
            os.set_blocking(self._in, False)
            self._selector.register(self._in, selectors.EVENT_WRITE, self._feed)
        self._began = time.monotonic()
        self._until = self._began + START_SECONDS
        while self._control.fileno() in self._selector.get_map():
            left = self._until - time.monotonic()
            if left <= 0:
                self._force()
                return
            for key, _ in self._selector.select(left):
                key.data(key.fd)

    def _hear(self, fd: int) -> None:
        said = os.read(fd, 4096)
        self._said += said
        if not said:
            self._selector.unregister(fd)
        elif not self.is_started and self._said.startswith(b"started\n"):
            self.is_started = True
            self._began = time.monotonic()
            self._until = self._began + self.launch.most_seconds + LATE_SECONDS

    def _drain(self, fd: int) -> bool:
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        self._streams[fd].feed(data)
        if not data:
            self._selector.unregister(fd)
        return bool(data)

    def _feed(self, fd: int) -> None:
        try:
            self._stdin = self._stdin[os.write(fd, self._stdin[:_CHUNK]) :]
        except BlockingIOError:
            return
        except OSError:  # nobody reads it any more
            self._stdin = self._stdin[:0]
        if not self._stdin:
            self._selector.unregister(fd)
            os.close(fd)
            self._in = -1

    # -- the end -------------------------------------------------------------------------------

    def _force(self) -> None:
        """End everything from here: whoever is late is not asked again."""
        self.is_forced = True
        kill_below(self._process.pid)
        self._process.kill()

    def _is_over(self, seconds: float) -> bool:
        """Whether it ends in time; unlike ``wait`` with a timeout, this sleeps no longer."""
        handle = os.pidfd_open(self._process.pid)
        try:
            return bool(select.select([handle], [], [], seconds)[0])
        finally:
            os.close(handle)

    def _end(self) -> None:
        self._control.close()  # which tells a supervisor that still runs to end it all
        if not self._is_over(2 * LATE_SECONDS):
            self._force()
        self._process.wait()
        for fd in self._streams:
            # every writer is dead, so this ends; were one not, an empty pipe ends it as well
            while fd in self._selector.get_map() and self._drain(fd):
                pass
            os.close(fd)
        if self._in >= 0:
            os.close(self._in)
        self._selector.close()
        self.report = _parse_report(bytes(self._said))
        self.duration_ms = round((time.monotonic() - self._began) * 1000)


def _parse_report(said: bytes) -> Report | None:
    try:
        _, _, last = said.partition(b"\nended ")
        words = dict(zip(Report.__struct_fields__, last.decode().split(), strict=True))
        return msgspec.convert(words, Report, strict=False)
    except (UnicodeDecodeError, ValueError):
        return None
