"""The program between the harness and an untrusted command: starts it, watches it, ends it all.

Belongs here: limits, watching, killing and reaping, as a script of its own. It is process 1 of a
PID namespace, or else the reaper of all that descends from it. Does not: output (the harness
drains it), mounts (bubblewrap makes them), choosing users. It runs with ``python -I -S``, alone,
and imports only what starts in a millisecond, hence ``_signal`` (``signal`` needs ``enum``).
"""

import _signal  # type: ignore[import-not-found]
import os
import resource
import select
import sys
import time

POLL_SECONDS = 0.05
SWEEP_SECONDS = 0.002
FIELDS = (
    "user_id", "cwd", "wall_seconds", "grace_seconds", "cpu_seconds", "process_mb",
    "file_mb", "tasks", "processes", "memory_mb", "n_argv",
)  # fmt: skip
_MB = 1024 * 1024
_PAGE_KB = resource.getpagesize() // 1024
_SIGKILL, _SIGTERM, _SIGSTOP = _signal.SIGKILL, _signal.SIGTERM, _signal.SIGSTOP


def pack_order(fields: dict[str, str], argv: list[str], env: dict[str, str]) -> bytes:
    """An order as bytes: fields, arguments, environment, each ended by a zero byte."""
    head = [fields[name] for name in FIELDS]
    texts = [*head, *argv, *(f"{name}={value}" for name, value in env.items())]
    return b"".join(os.fsencode(text) + b"\0" for text in texts)


def parse_order(data: bytes) -> tuple[dict[str, str], list[str], dict[str, str]]:
    """The inverse of ``pack_order``."""
    texts = [os.fsdecode(text) for text in data.split(b"\0")[:-1]]
    fields = dict(zip(FIELDS, texts, strict=False))
    rest = texts[len(FIELDS) :]
    n_argv = int(fields["n_argv"])
    env = dict(text.split("=", 1) for text in rest[n_argv:])
    return fields, rest[:n_argv], env


def stat_of(pid: int) -> tuple[str, int] | None:
    """State letter and parent of a process; None where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # the name stands in parentheses and may hold anything, parentheses included
            state, parent, *_ = file.read().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return None
    return state.decode(), int(parent)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found.extend(map(int, file.read().split()))
    except OSError:
        pass  # it ended meanwhile; its children are now ours, and the next look finds them
    return found


def _children_by_parent() -> dict[int, list[int]]:
    """For kernels without ``/proc/<pid>/task/<tid>/children``."""
    by_parent: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := stat_of(int(name))):
            by_parent.setdefault(stat[1], []).append(int(name))
    return by_parent


def descendants(root: int) -> list[int]:
    """All processes below one, zombies included; whoever moves during the look may be missed."""
    fast = os.path.exists(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    by_parent = {} if fast else _children_by_parent()
    found: dict[int, None] = {}
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        new = _children(pid) if fast else by_parent.get(pid, [])
        waiting.extend(child for child in new if child not in found)
        found.update(dict.fromkeys(new))
    return list(found)


def signal_each(pids: list[int], root: int, number: int) -> None:
    """Signal processes of a tree; a number that meanwhile names a stranger is left alone."""
    family = {root, *pids}
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            continue
        try:
            stat = stat_of(pid)
            if stat is not None and stat[1] in family:
                _signal.pidfd_send_signal(handle, number)
        except OSError:
            pass
        finally:
            os.close(handle)


def kill_below(root: int) -> int:
    """Stop, then kill, all that descends from a process; how many there were.

    Stopping first is what wins against a program that forks faster than it is killed.
    """
    stopped: set[int] = set()
    for _ in range(50):
        new = [pid for pid in descendants(root) if pid not in stopped]
        if not new:
            break
        signal_each(new, root, _SIGSTOP)
        stopped.update(new)
    signal_each(descendants(root), root, _SIGKILL)
    return len(stopped)


def _memory_kb(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm", "rb") as file:
                total += int(file.read().split()[1]) * _PAGE_KB
        except (OSError, IndexError):
            continue
    return total


def _shared_memory_kb(pids: list[int]) -> int:
    """As ``_memory_kb`` with pages that several share counted once; slow, so only in doubt."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
                total += next(int(line.split()[1]) for line in file if line.startswith(b"Pss:"))
        except (OSError, StopIteration):
            total += _memory_kb([pid])
    return total


class Supervisor:
    """One command, from its start until nothing of it lives."""

    def __init__(self, control: int, order: bytes) -> None:
        self.control = control
        self.fields, self.argv, self.env = parse_order(order)
        self.user = int(self.fields["user_id"])
        self.is_init = os.getpid() == 1
        self.parent = os.getppid()
        self.status: int | None = None  # of the command's first process, as waitpid tells it
        self.has_children = True
        self.peak_processes = self.peak_kb = 0

    def number(self, name: str) -> float:
        """A field of the order as a number."""
        return float(self.fields[name])

    def tell(self, text: str) -> None:
        """A line to the harness, which may be gone."""
        try:  # noqa: SIM105 - contextlib takes longer to import than all of this program
            os.write(self.control, text.encode() + b"\n")
        except OSError:
            pass

    # -- the command ---------------------------------------------------------------------------

    def start(self) -> bool:
        """Fork and execute; False where the command could not even be prepared."""
        reason, say = os.pipe()
        self.main = os.fork()
        if self.main == 0:
            self._become(say)
        os.close(say)
        with open(reason, "rb") as file:
            why = file.read().decode()
        self.tell(f"failed {why}" if why else "started")
        return not why

    def _become(self, say: int) -> None:
        """In the child: give up everything, then be the command. Never returns."""
        try:
            os.setsid()
            # what Python chose, or whoever started the harness, such as nohup, would be inherited
            for number in range(1, 32):
                if number not in (_SIGKILL, _SIGSTOP):
                    _signal.signal(number, _signal.SIG_DFL)
            os.umask(0o022)
            if self.user != os.getuid():
                os.setgroups([])
                os.setresgid(self.user, self.user, self.user)
                os.setresuid(self.user, self.user, self.user)
            os.chdir(self.fields["cwd"])
            self._limit()
        except Exception as error:
            os.write(say, f"{type(error).__name__}: {error}".encode())
            os._exit(125)
        try:
            os.execve(self._program(), self.argv, self.env)
        except (OSError, ValueError, MemoryError) as error:
            os.write(2, f"sandbox: cannot run {self.argv[0]}: {error}\n".encode())
            os._exit(127 if isinstance(error, FileNotFoundError | NotADirectoryError) else 126)

    def _program(self) -> str:
        """The file to execute; ``os.execvpe`` would import modules that its user may not read."""
        name = self.argv[0]
        folders = [] if "/" in name else self.env.get("PATH", "").split(":")
        found = (f"{folder}/{name}" for folder in folders)
        return next((path for path in found if os.access(path, os.X_OK)), name)

    def _limit(self) -> None:
        cpu = int(self.number("cpu_seconds"))
        wanted = (
            (resource.RLIMIT_CPU, cpu, cpu + 1),  # a second between asking and killing
            (resource.RLIMIT_FSIZE, *(int(self.number("file_mb")) * _MB,) * 2),
            (resource.RLIMIT_CORE, 0, 0),
            (resource.RLIMIT_NPROC, *(int(self.number("tasks")),) * 2),
            (resource.RLIMIT_AS, *(int(self.number("process_mb")) * _MB,) * 2),
        )
        for kind, soft, hard in wanted:
            most = resource.getrlimit(kind)[1]
            if most == resource.RLIM_INFINITY or hard <= most:
                most = hard
            resource.setrlimit(kind, (min(soft, most), most))

    # -- its processes -------------------------------------------------------------------------

    def members(self) -> list[int]:
        """Every process of the command."""
        if self.is_init:
            return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]
        return descendants(os.getpid())

    def n_living(self) -> int:
        """How many of them have not ended."""
        stats = map(stat_of, self.members())
        return sum(stat is not None and stat[0] not in "ZX" for stat in stats)

    def reap(self) -> None:
        """Collect whoever ended; the kernel gives every orphan of the command to this process."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.has_children = False  # and so nothing of the command is left
                return
            if pid == 0:
                return
            if pid == self.main:
                self.status = status

    def signal_all(self, number: int) -> None:
        """Signal every process of the command."""
        if self.is_init:
            self._signal_everyone(number)
        elif self.user != os.getuid():
            # nobody else has this user, so the kernel can do it in one go
            child = os.fork()
            if child == 0:
                os.setresuid(self.user, self.user, self.user)
                self._signal_everyone(number)
                os._exit(0)
            os.waitpid(child, 0)
        elif number == _SIGKILL:
            kill_below(os.getpid())
        else:
            signal_each(self.members(), os.getpid(), number)

    @staticmethod
    def _signal_everyone(number: int) -> None:
        try:  # noqa: SIM105
            os.kill(-1, number)
        except OSError:
            pass  # there is nobody

    def kill_all(self) -> None:
        """Kill until the kernel says that no child is left."""
        while True:
            self.reap()
            if not self.has_children:
                return
            self.signal_all(_SIGKILL)
            time.sleep(SWEEP_SECONDS)

    # -- watching ------------------------------------------------------------------------------

    def over_limit(self) -> str:
        """Which limit of all processes together is passed; empty where none is."""
        pids = self.members()
        memory_kb, limit_kb = _memory_kb(pids), self.number("memory_mb") * 1024
        if memory_kb > limit_kb:
            memory_kb = _shared_memory_kb(pids)
        self.peak_processes = max(self.peak_processes, len(pids))
        self.peak_kb = max(self.peak_kb, memory_kb)
        if len(pids) > self.number("processes"):
            return "processes"
        return "memory" if memory_kb > limit_kb else ""

    def watch(self, until: float, *, is_stopping: bool = False) -> str:
        """Wait for the end; why the wait is over.

        Args:
            until: On the monotonic clock.
            is_stopping: Wait for all processes rather than for the first.
        """
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        if not is_stopping:
            poll.register(os.pidfd_open(self.main), select.POLLIN)
        while True:
            left = until - time.monotonic()
            wait = min(POLL_SECONDS / 5 if is_stopping else POLL_SECONDS, max(left, 0.0))
            events = poll.poll(wait * 1000)
            self.reap()
            if not self.has_children or (self.status is not None and not is_stopping):
                return "exited"
            if left <= 0:
                return "timeout"
            if any(fd == self.control for fd, _ in events) or os.getppid() != self.parent:
                return "abandoned"  # the harness closed its end, or died
            if reason := self.over_limit():
                return reason

    def supervise(self) -> None:
        """Run the command to its end and tell how it went."""
        if not self.start():
            return
        began = time.monotonic()
        ending = self.watch(began + self.number("wall_seconds"))
        ended = time.monotonic()
        n_killed = self.n_living() if self.has_children else 0
        if ending == "timeout":
            self.signal_all(_SIGTERM)
            self.watch(ended + self.number("grace_seconds"), is_stopping=True)
        self.kill_all()
        if ending != "exited":
            ended = time.monotonic()
        duration_ms = round((ended - began) * 1000)
        status = -1 if self.status is None else self.status
        numbers = (status, duration_ms, n_killed, self.peak_processes, self.peak_kb // 1024)
        self.tell(f"ended {ending} {' '.join(map(str, numbers))}")


def become_reaper() -> None:
    """Inherit the orphans among one's descendants, and let none of them gain privileges."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    set_subreaper, set_no_new_privileges = 36, 38
    for option in (set_subreaper, set_no_new_privileges):
        if libc.prctl(option, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def main() -> None:
    """Read the order, say whether it can be done, do it."""
    control, order, program = map(int, sys.argv[1:])
    os.close(program)
    os.set_inheritable(control, False)
    with open(order, "rb") as file:
        supervisor = Supervisor(control, file.read())
    if not supervisor.is_init:
        become_reaper()
    supervisor.supervise()
    os._exit(0)  # whatever else the interpreter would tidy up ends with it


if __name__ == "__main__":
    main()
