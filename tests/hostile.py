"""What tests of the sandbox share: a place to work in, hostile programs, and who still lives.

Belongs here: ways to run a program in a sandbox. Does not: fixtures (``conftest``), the programs.
"""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from planner_pipeline.bench.config import Limits
from planner_pipeline.bench.sandbox import UNIT_VARIABLE, Command, Finished, Sandbox
from planner_pipeline.bench.sandbox.mounts import interpreter_paths
from planner_pipeline.bench.sandbox.users import first_closed

REPOSITORY = Path(__file__).parents[1]
# small, so that what reaches a limit reaches it soon and never troubles the machine
LIMITS = Limits(
    cpu_seconds=5, process_mb=1_000, file_mb=8, processes=40, memory_mb=400, output_kb=64,
    grace_seconds=0.2,
)  # fmt: skip
# a harness in a process of its own: where it runs, which interpreter, what
HARNESS = """
import sys
from pathlib import Path
from planner_pipeline.bench.config import Limits
from planner_pipeline.bench.sandbox import Command, open_sandbox
isolation, python, tree, mark, program = sys.argv[1:]
tree = Path(tree)
sandbox = open_sandbox(isolation, python=Path(python))
command = Command(argv=(python, "-c", program), cwd=tree, writable=(tree,), wall_seconds=60,
                  unit_mark=mark)
print(sandbox.run(command, Limits(grace_seconds=0.2)).stdout.decode())
"""


def an_open_python() -> Path | None:
    """An interpreter that a user of its own can run, should this process be root's."""
    for python in (Path(sys.executable), Path("/usr/local/bin/python3"), Path("/usr/bin/python3")):
        if python.exists():
            paths = interpreter_paths(python)
            way = {parent for path in paths for parent in path.resolve().parents}
            if os.getuid() != 0 or not first_closed(paths, on_the_way=way):
                return python
    return None


def living(mark: str) -> list[int]:
    """Processes with a mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{UNIT_VARIABLE}={mark}".encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def wait_until_gone(mark: str, seconds: float = 5.0) -> list[int]:
    """Who still lives when nobody does any more, or the time is over."""
    until = time.monotonic() + seconds
    while (left := living(mark)) and time.monotonic() < until:
        time.sleep(0.02)
    return left


class Place:
    """A tree that commands may write, beside it what they may not, and a way to run them."""

    def __init__(self, sandbox: Sandbox, python: Path, folder: Path) -> None:
        self.sandbox, self.python, self.folder = sandbox, python, folder
        self.tree, self.outside = folder / "tree", folder / "outside"
        for path in (self.tree, self.outside):
            path.mkdir()

    @property
    def has_own_user(self) -> bool:
        """Whether commands run as a user of their own."""
        return os.getuid() == 0

    def run(self, program: str, *, limits: Limits = LIMITS, **fields: Any) -> Finished:
        """Run a Python program in the tree; whatever it does, nothing of it lives afterwards."""
        return self.run_argv(str(self.python), "-c", program, limits=limits, **fields)

    def run_argv(self, *argv: str, limits: Limits = LIMITS, **fields: Any) -> Finished:
        """Run any program in the tree."""
        mark = secrets.token_hex(8)
        command = Command(
            argv=argv, cwd=self.tree, writable=(self.tree,), wall_seconds=10.0, unit_mark=mark
        )
        began = time.monotonic()
        command = msgspec.structs.replace(command, **fields)
        finished = self.sandbox.run(command, limits)
        # starting and, on a busy machine, being scheduled take their time as well
        assert time.monotonic() - began < command.wall_seconds + limits.grace_seconds + 5.0
        assert not living(mark)
        return finished

    @contextmanager
    def harness(
        self, program: str, mark: str, env: dict[str, str] | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """A harness in a process of its own that runs a program in the tree."""
        isolation = self.sandbox.isolation
        arguments = (isolation, str(self.python), str(self.tree), mark, program)
        path = os.pathsep.join([str(REPOSITORY), *sys.path])
        with subprocess.Popen(
            [sys.executable, "-c", HARNESS, *arguments],
            # its scratch directories, which it cannot remove once it is killed, go with the place
            env={"PATH": os.defpath, "PYTHONPATH": path, "TMPDIR": str(self.folder), **(env or {})},
            stdout=subprocess.PIPE,
            text=True,
        ) as harness:
            try:
                yield harness
            finally:
                harness.kill()


def told(finished: Finished) -> Any:
    """What a program printed as JSON."""
    return json.loads(finished.stdout)
