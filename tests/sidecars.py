"""Sidecars for tests: a server in a thread on a short path, a caller that says what it likes.

Belongs here: what several test modules need of them. Does not: bundles (``imitation_files``).
"""

import contextlib
import json
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from planner_runtime.decision import Decision, Question, Situation
from planner_runtime.metrics import Metrics
from planner_runtime.planner import Planner
from planner_runtime.served_planner import FixedPlanner, ServedPlanner
from planner_runtime.sidecar.protocol import ServingLimits
from planner_runtime.sidecar.server import Sidecar


@contextlib.contextmanager
def a_short_folder() -> Iterator[Path]:
    """A folder of ours alone whose path leaves room for a socket's name."""
    folder = Path(tempfile.mkdtemp(prefix="cy", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class HeldPlanner:
    """A planner that waits until it is released, as a model without end would."""

    def __init__(self, planner: Planner) -> None:
        self.planner = planner
        self.n_entered = threading.Semaphore(0)
        self.released = threading.Event()

    def decide(
        self, planner_input: Question, *, now_ms: int | None = None,
        situation: Situation | None = None,
    ) -> Decision:  # fmt: skip
        self.n_entered.release()
        assert self.released.wait(30)
        return self.planner.decide(planner_input, now_ms=now_ms, situation=situation)

    def check_now(self) -> bool:
        return False

    def close(self) -> None:
        pass


class Served:
    """A running server and the way to it."""

    def __init__(self, sidecar: Sidecar, metrics: Metrics) -> None:
        self.sidecar, self.metrics = sidecar, metrics
        self.path = sidecar.path
        self.abandoned: int | None = None
        self.log: list[str] = []
        self.thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        self.abandoned = self.sidecar.serve()

    def stop(self) -> None:
        self.sidecar.stop()
        self.thread.join(30)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def a_sidecar(
    served: ServedPlanner | Planner | None = None, *, path: Path | None = None, **limits: Any
) -> Iterator[Served]:
    """A server in a thread; stopped at the end, if it is still running."""
    uids = limits.pop("allowed_uids", None)
    metrics = Metrics()
    behind = Planner.open(None) if served is None else served
    if isinstance(behind, Planner):
        behind = FixedPlanner(behind, metrics)
    with a_short_folder() as folder:
        lines: list[str] = []
        sidecar = Sidecar(
            behind, path or folder / "s", metrics=metrics, limits=ServingLimits(**limits),
            log=lines.append, allowed_uids=uids,
        )  # fmt: skip
        running = Served(sidecar, metrics)
        running.log = lines
        running.thread.start()
        try:
            yield running
        finally:
            if isinstance(behind, HeldPlanner):
                behind.released.set()
            running.stop()


class Caller:
    """A connection that sends bytes and reads lines."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        try:
            self.sock.connect(str(path))
        except OSError:
            self.sock.close()
            raise
        self.file = self.sock.makefile("rb")

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()
        self.sock.close()

    def send(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.sock.sendall(data)

    def read(self) -> Any:
        """The next line as JSON; None at the end."""
        try:
            line = self.file.readline()
        except ConnectionResetError:
            return None
        return json.loads(line) if line else None

    def ask(self, **request: Any) -> Any:
        self.send(json.dumps(request).encode() + b"\n")
        return self.read()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
