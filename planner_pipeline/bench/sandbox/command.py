"""What a sandbox is given, what it gives back, and what each isolation promises.

Belongs here: the types and the list of guarantees. Does not: starting or stopping anything.
"""

from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

import msgspec

Isolation = Literal["bubblewrap", "subreaper"]
Ending = Literal["exited", "signalled", "timeout", "memory", "processes"]
UNIT_VARIABLE: Final = "CYNTRA_BENCH_UNIT"

_ALWAYS: Final = (
    "is over at its time limit plus grace, and none of its processes lives on",
    "CPU time, memory, file size and number of processes are limited",
    "output is read to its end and kept up to a cap",
    "the environment is built from nothing; the harness's own cannot be read through /proc",
    "set-user-id programs gain nothing",
)
GUARANTEES: Final = MappingProxyType[Isolation, tuple[str, ...]](
    {
        "bubblewrap": (
            *_ALWAYS,
            "only its own trees can be written",
            "only system files, the interpreter and what it is given can be read",
            "no network, the machine's own included, unless it is allowed",
            "no other process can be seen, signalled or traced",
            "/tmp, /dev/shm and IPC objects are its own and go with it",
        ),
        "subreaper": _ALWAYS,
    }
)


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A program and all that it may have.

    Attributes:
        cwd: Where it starts; it may read it, and write it only where ``writable`` says so.
        env: On top of what every command gets.
        writable: Existing directories of its own, one running command's at a time.
        readable: Further paths it may read.
        has_network: Whether it shares the machine's network.
        wall_seconds: From its start to the request to stop.
        unit_mark: Put into its environment, so that ``reap_orphans`` finds what a killed harness
            left.
    """

    argv: tuple[str, ...]
    cwd: Path
    stdin: bytes = b""
    env: dict[str, str] = {}
    writable: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    has_network: bool = False
    wall_seconds: float
    unit_mark: str = ""


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended; by then none of its processes lives.

    Attributes:
        ending: "memory" and "processes" are limits of all its processes together.
        exit_code: 128 + signal where "signalled", as a shell tells it; None where it was stopped.
            A program that is not there is 127, one that cannot be run 126.
        duration_ms: From its start to its own end, or until the last process was gone.
        stdout, stderr: The first quarter and the last three of what may be kept, between them a
            line that tells what is missing.
        n_killed: Processes that were alive when it was stopped, or after its first had ended.
        user_id: Whose rights it had: never root's.
        peak_processes, peak_memory_mb: As sampled; short peaks are missed.
    """

    ending: Ending
    exit_code: int | None
    duration_ms: int
    stdout: bytes
    stderr: bytes
    stdout_dropped: int
    stderr_dropped: int
    n_killed: int
    isolation: Isolation
    user_id: int
    peak_processes: int
    peak_memory_mb: int
