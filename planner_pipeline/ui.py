"""Dagster's and MLflow's pages on loopback, started together and stopped together.

Belongs here: two child processes. Does not: definitions or tracking.
Source: reference/stack.md 3 (how each of the two can be stopped at all).
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from planner_pipeline.materialize import prepare_dagster_home
from planner_pipeline.tracking import MlflowTracker

WORKSPACE_FILE = Path(__file__).resolve().parent.parent / "workspace.yaml"
START_SECONDS = 180


def _start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    # started from a background shell, children inherit an ignored SIGINT and could never be stopped
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def serve(repo: Path, out: Path, *, dagster_port: int, mlflow_port: int) -> int:
    """Serve both until interrupted; 0 then, 1 when either cannot start or stops by itself.

    Where ``MLFLOW_TRACKING_URI`` names a server, MLflow is served there already: its address is
    printed, and Dagster alone is started.
    """
    uri = MlflowTracker(out).uri
    ports = {"Dagster": dagster_port, "MLflow": mlflow_port}
    if uri.startswith(("http://", "https://")):
        print(f"MLflow: {uri}", flush=True)
        del ports["MLflow"]
    for port in ports.values():
        if not _is_free(port):
            print(f"error: port {port} is taken; choose another", file=sys.stderr)
            return 1
    out.mkdir(parents=True, exist_ok=True)
    home = prepare_dagster_home(out)
    os.environ["CYNTRA_PLANNER_REPO"] = str(repo.resolve())
    os.environ["CYNTRA_PLANNER_OUT"] = str(out.resolve())
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # saves a dozen processes
    location = ("-w", str(WORKSPACE_FILE))
    if not WORKSPACE_FILE.exists():  # installed from a wheel
        location = ("-m", "planner_pipeline.code_location")
    commands = {
        "Dagster": ["dagster", "dev", *location],
        "MLflow": ["mlflow", "server", "--workers", "1", "--backend-store-uri", uri],
    }
    pages = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    probes = {"Dagster": "/server_info", "MLflow": "/health"}
    children = {
        name: _start(
            [sys.executable, "-m", *commands[name], "--host", "127.0.0.1", "--port", str(port)],
            home / f"{name.lower()}.log",
        )
        for name, port in ports.items()
    }
    for stop in (signal.SIGINT, signal.SIGTERM):  # the first is ignored in a background shell
        signal.signal(stop, signal.default_int_handler)
    try:
        deadline = time.monotonic() + START_SECONDS
        waiting = {name: page + probes[name] for name, page in pages.items()}
        while waiting:
            for name in [name for name, url in waiting.items() if _answers(url)]:
                print(f"{name}: {pages[name]}", flush=True)
                del waiting[name]
            dead = [name for name, child in children.items() if child.poll() is not None]
            if dead or time.monotonic() > deadline:
                print(
                    f"error: {(dead or list(waiting))[0]} did not start, see {home}",
                    file=sys.stderr,
                )
                return 1
            time.sleep(0.5)
        print("Press Ctrl-C to stop.", flush=True)
        while all(child.poll() is None for child in children.values()):
            time.sleep(1)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        for child in children.values():
            _stop(child)
