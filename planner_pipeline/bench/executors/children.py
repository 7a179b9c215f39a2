"""Other people's programs, run to their end: a wall limit, capped output, nothing left behind.

Belongs here: one trusted process with all that it starts. Does not: isolation (``bench.sandbox``),
what its output means.

Every process it starts inherits a mark in its environment. When the first one has ended, or its
time is over, its process group and whatever else bears the mark is killed: also what moved to a
session of its own. Only a process that did both, moved and cleared its environment, gets away.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

MAX_STDOUT_BYTES: Final = 4 * 1024 * 1024
MAX_STDERR_BYTES: Final = 64 * 1024
GRACE_SECONDS: Final = 5.0
UNKNOWN: Final = "unknown"
_MARK: Final = "CYNTRA_BENCH_CHILD"
_CHUNK: Final = 64 * 1024
_DRAIN_SECONDS: Final = 5.0  # for what lies in a pipe once everybody who wrote to it is dead
_SWEEPS: Final = 100  # a process may be born while the others are looked for
_running: Final[dict[str, subprocess.Popen[bytes]]] = {}  # by token, of this process
_NAME: Final = re.compile(r"\{(\w+)\}")
# a harness that was started by a git hook must not send a child's git to the hook's repository
_GIT_PLACES: Final = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_PREFIX", "GIT_NAMESPACE",
)  # fmt: skip


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended, and what it said.

    Attributes:
        exit_code: Negative for the signal that ended it.
        stdout: Its first bytes; ``is_cut`` where there were more.
        stderr: Its last bytes.
        is_late: Its time was over before it ended.
        n_killed: Processes that were alive when it had ended, or when its time was over.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes
    is_cut: bool
    is_late: bool
    wall_ms: int
    n_killed: int


class _Drain(threading.Thread):
    """Reads a pipe to its end and keeps so many of its first, or last, bytes."""

    def __init__(self, handle: int, most: int, *, keeps_end: bool) -> None:
        super().__init__(daemon=True)
        self._handle, self._most, self._keeps_end = handle, most, keeps_end
        self.kept, self.is_cut = bytearray(), False

    def run(self) -> None:
        """Read until nobody has the other end any more."""
        with open(self._handle, "rb", buffering=0) as pipe:
            while chunk := pipe.read(_CHUNK):
                self.kept += chunk
                if len(self.kept) > self._most:
                    self.is_cut = True
                    if self._keeps_end:
                        del self.kept[: -self._most]
                    else:
                        del self.kept[self._most :]


def _feed(handle: int, data: bytes) -> None:
    with suppress(BrokenPipeError), open(handle, "wb", buffering=0) as pipe:
        for start in range(0, len(data), _CHUNK):
            chunk = memoryview(data)[start : start + _CHUNK]
            while chunk:
                chunk = chunk[pipe.write(chunk) or 0 :]


def inherited_environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """The caller's environment without what git would take for the place of a repository."""
    kept = {name: value for name, value in os.environ.items() if name not in _GIT_PLACES}
    return {**kept, **(changes or {})}


def filled(command: Sequence[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """A command with ``{name}`` replaced; ``{python}`` is this interpreter.

    >>> filled(("cyntra", "--issue", "{issue}"), {"issue": "7"})
    ('cyntra', '--issue', '7')
    """
    known = {"python": sys.executable, **values}
    return tuple(_NAME.sub(lambda found: known.get(found[1], found[0]), part) for part in command)


def run_child(
    command: Sequence[str],
    *,
    cwd: Path,
    limit_seconds: float,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> Child:
    """Run a command until it ends or its time is over; then nothing of it is left.

    Args:
        env: Its whole environment; None for ``inherited_environment()``.
        grace_seconds: Between asking it to stop and killing it.

    Raises:
        OSError: it cannot be started.
    """
    token = uuid.uuid4().hex
    environment = dict(inherited_environment() if env is None else env)
    environment[_MARK] = f"{os.environ.get(_MARK, '')}:{token}"
    began = time.monotonic()
    process, drains, feeder = _started(command, cwd, environment, stdin)
    _running[token] = process
    is_late = False
    try:
        try:
            process.wait(timeout=limit_seconds)
        except subprocess.TimeoutExpired:
            is_late = True
        n_killed = len(_marked(token))
        if is_late:
            _signal_group(process, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=grace_seconds)
    finally:
        _signal_group(process, signal.SIGKILL)
        _kill_marked(token)
        process.wait()
        del _running[token]
    for thread in (*drains, feeder):
        thread.join(_DRAIN_SECONDS)
    out, err = drains
    return Child(
        exit_code=process.returncode,
        stdout=bytes(out.kept),
        stderr=bytes(err.kept),
        is_cut=out.is_cut,
        is_late=is_late,
        wall_ms=round((time.monotonic() - began) * 1000),
        n_killed=n_killed,
    )


def kill_children() -> None:
    """Kill what ``run_child`` runs now, in any thread; each call of it then ends as usual."""
    for token, process in list(_running.items()):
        if process.poll() is None:  # else its number may be another's by now
            _signal_group(process, signal.SIGKILL)
        _kill_marked(token)


def _started(
    command: Sequence[str], cwd: Path, environment: Mapping[str, str], stdin: bytes
) -> tuple[subprocess.Popen[bytes], tuple[_Drain, _Drain], threading.Thread]:
    pipes = [os.pipe() for _ in range(3)]
    (in_read, in_write), (out_read, out_write), (err_read, err_write) = pipes
    try:
        process = subprocess.Popen(
            list(command), cwd=cwd, env=dict(environment), start_new_session=True,
            stdin=in_read, stdout=out_write, stderr=err_write,
        )  # fmt: skip
    except BaseException:
        for handle in (in_write, out_read, err_read):
            os.close(handle)
        raise
    finally:
        for handle in (in_read, out_write, err_write):
            os.close(handle)
    out = _Drain(out_read, MAX_STDOUT_BYTES, keeps_end=False)
    err = _Drain(err_read, MAX_STDERR_BYTES, keeps_end=True)
    feeder = threading.Thread(target=_feed, args=(in_write, stdin), daemon=True)
    for thread in (out, err, feeder):
        thread.start()
    return process, (out, err), feeder


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _bears(pid: int, token: bytes) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    mark = _MARK.encode() + b"="
    return any(part.startswith(mark) and token in part for part in environment.split(b"\0"))


def _marked(token: str) -> list[int]:
    """Living processes that bear a mark; a zombie has no environment any more."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if _bears(pid, token.encode())]


def _kill_marked(token: str) -> None:
    for _ in range(_SWEEPS):
        pids = _marked(token)
        if not pids:
            return
        for pid in pids:
            with suppress(OSError):
                handle = os.pidfd_open(pid)  # from here on the number cannot mean another process
                try:
                    if _bears(pid, token.encode()):
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                finally:
                    os.close(handle)
        time.sleep(0.01)


def last_words(data: bytes, most: int = 300) -> str:
    """The end of what somebody wrote, in one line, for a reason that people read.

    >>> last_words(b"Traceback:\\n  ...\\nKeyError: 'id'\\n")
    "Traceback: ... KeyError: 'id'"
    """
    return " ".join(data.decode("utf-8", "replace").split())[-most:]


def why_not_found(command: Sequence[str]) -> str | None:
    """Why a command cannot be started; None where its program is there."""
    program = filled(command, {})[:1]
    if program and shutil.which(program[0]) is not None:
        return None
    return f"no executable {program[0] if program else '(empty command)'} is found"


def version_of(command: Sequence[str]) -> str:
    """The first line a version command prints; "unknown" where there is none."""
    try:
        child = run_child(filled(command, {}), cwd=Path.cwd(), limit_seconds=20.0)
    except OSError:
        return UNKNOWN
    lines = child.stdout.decode("utf-8", "replace").split("\n")
    is_good = child.exit_code == 0 and not child.is_late
    return (lines[0].strip() if is_good else "") or UNKNOWN
