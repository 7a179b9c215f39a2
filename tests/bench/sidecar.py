"""What the way through the sidecar costs, beside the same decisions in-process, in one run.

Belongs here: a printed table. Does not: assertions on time, which would make the suite flaky.
``python -m tests.bench.sidecar [--bundle DIR] [--n N]``; without a bundle, a tiny one with constant
logits is written, so that next to nothing but the way is measured.
"""

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from planner_runtime.contracts import RunSummary
from planner_runtime.decision import Decision
from planner_runtime.metrics import Metrics
from planner_runtime.planner import Planner
from planner_runtime.sidecar.client import SidecarPlanner
from tests.imitation_files import write_imitation_bundle
from tests.outcome_bundles import NOW_MS, a_question
from tests.sidecars import Caller, a_short_folder

ROOT = Path(__file__).parents[2]


def a_run(number: int) -> RunSummary:
    document = {
        "run_id": f"wc-{number}", "started_ms": NOW_MS - 10_000_000 * number, "job_type": "code",
        "ended_ms": NOW_MS - 9_000_000 * number, "domain": "code", "issue_id": str(number),
        "tags": ["ui", "parser"], "action_executed": {"swarm_id": "serial_handoff"},
        "runtime": {"duration_ms": 600_000}, "keywords": ["fix", "parser", "tree"],
        "outcome": {"status": "failed", "fail_codes": ["tests.failed"]},
    }  # fmt: skip
    return msgspec.convert(document, RunSummary)


def questions() -> list[dict[str, Any]]:
    runs = tuple(a_run(number) for number in range(1, 9))
    return [a_question(id=str(n), similar_runs=runs) for n in range(64)]


def timed(work: Callable[[int], object], n: int) -> np.ndarray:
    """(n, 2) wall and CPU milliseconds of this process; the first tenth only warms up."""
    times = np.empty((n, 2))
    for i in range(-n // 10, n):
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        work(i)
        if i >= 0:
            times[i] = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
    return times / 1e6


@contextmanager
def a_server(bundle: Path, path: Path) -> Iterator["subprocess.Popen[str]"]:
    argv = [sys.executable, "-m", "planner_runtime", "serve", "--bundle", str(bundle)]
    with subprocess.Popen(
        [*argv, "--socket", str(path)], stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stderr is not None
        while "listens on" not in process.stderr.readline():
            assert process.poll() is None
        yield process
        process.terminate()


def crowded(path: Path, asked: list[dict[str, Any]], n: int) -> np.ndarray:
    """As ``timed``, of one caller among four."""
    stopped = threading.Event()

    def crowd() -> None:
        client = SidecarPlanner(path, 5_000)
        while not stopped.is_set():
            client.predict_action(asked[0])
        client.close()

    threads = [threading.Thread(target=crowd) for _ in range(3)]
    for thread in threads:
        thread.start()
    client = SidecarPlanner(path, 5_000)
    times = timed(lambda i: client.predict_action(asked[i % len(asked)]), n)
    stopped.set()
    for thread in threads:
        thread.join()
    client.close()
    return times


def observation_us(decision: Decision, n: int = 200_000) -> float:
    """CPU microseconds of counting one decision."""
    metrics = Metrics()
    start = time.process_time()
    for _ in range(n):
        metrics.observe_decision(decision, 0.0003)
    return (time.process_time() - start) / n * 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--n", type=int, default=3_000)
    arguments = parser.parse_args()
    asked, n = questions(), arguments.n
    with a_short_folder() as folder:
        bundle = arguments.bundle or folder / "bundle"
        if arguments.bundle is None:
            write_imitation_bundle(bundle)
        planner = Planner.open(bundle, deadline_ms=None)
        texts = [msgspec.json.encode(question) for question in asked]
        absent = SidecarPlanner(folder / "none", 100)
        with a_server(bundle, folder / "s"):
            client = SidecarPlanner(folder / "s", 5_000)
            followed = client.decide(asked[0])["action"].get("reason")
            with Caller(folder / "s") as caller:
                rows = {
                    "in-process decide()": timed(lambda i: planner.decide(asked[i % 64]), n),
                    "in-process decide(), from JSON": timed(
                        lambda i: planner.decide(texts[i % 64]), n
                    ),
                    "sidecar: decide()": timed(lambda i: client.decide(asked[i % 64]), n),
                    "sidecar: health alone": timed(lambda i: caller.ask(kind="health"), n),
                    "sidecar: decide(), 4 callers": crowded(folder / "s", asked, n // 4),
                }
            client.close()
        rows["absent: the baseline"] = timed(lambda i: absent.decide(asked[i % 64]), n)
        size = len(msgspec.json.encode(asked[0]))
        print(f"a question of {size} bytes, n={n}, first answer's reason: {followed}")
        print(f"{'':<30} {'wall p50 ms':>12} {'wall p99 ms':>12} {'own CPU p50 ms':>15}")
        for name, times in rows.items():
            p50, p99 = np.percentile(times[:, 0], (50, 99))
            print(f"{name:<30} {p50:>12.3f} {p99:>12.3f} {np.median(times[:, 1]):>15.3f}")
        print(f"counting one decision: {observation_us(planner.decide(asked[0])):.2f} us CPU")


if __name__ == "__main__":
    main()
