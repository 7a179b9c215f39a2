"""Eight threads across fifty reloads: the same answers as one thread.

Belongs here: the run. Does not: what a live planner is (``planner_runtime.live``).
Run: ``python -m tests.fuzz.threads --n 100000``; exit code 1 when an answer differs. Every answer is
compared with that of a planner of its own, alone on the bundle that the answer says it is from.
At the end decisions during reloads are timed against those outside of one.
"""

import argparse
import os
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from planner_runtime import LivePlanner, Planner, PlannerAction
from tests.outcome_bundles import write_outcome_bundle
from tests.unit.runtime.bundle_cases import QUESTIONS, write_imitation_bundle

NAMES = ("a", "b", "c")


class Worker(threading.Thread):
    """Asks the same questions over and over, and compares."""

    def __init__(
        self, live: LivePlanner, alone: dict[tuple[str | None, int], PlannerAction], n: int
    ) -> None:
        super().__init__()
        self.live, self.alone, self.n = live, alone, n
        self.n_wrong = 0
        self.n_late = 0
        self.n_done = 0
        self.served: Counter[str | None] = Counter()

    def run(self) -> None:
        for number in range(self.n):
            i = number % len(QUESTIONS)
            decision = self.live.decide(QUESTIONS[i], now_ms=0)
            self.served[decision.trace.bundle_id] += 1
            if (decision.action.reason or "").startswith("deadline"):
                self.n_late += 1  # an answer of the clock, not of the bundle
            else:
                self.n_wrong += decision.action != self.alone[decision.trace.bundle_id, i]
            self.n_done += 1


class Outcome(NamedTuple):
    """Answers given, wrong ones, those the deadline cut short, and reloads that took over."""

    n_done: int
    n_wrong: int
    n_late: int
    served: Counter[str | None]
    n_reloads: int


def run(n: int, *, n_threads: int, n_reloads: int, folder: Path) -> Outcome:
    """``n`` decisions in each of some threads, while bundles take over from one another."""
    write_imitation_bundle(folder / "a")
    write_imitation_bundle(folder / "b", seed=1)
    write_outcome_bundle(folder / "c")
    alone: dict[tuple[str | None, int], PlannerAction] = {}
    for name in NAMES:
        planner = Planner.open(folder / name)
        assert planner.bundle is not None
        for i, question in enumerate(QUESTIONS):
            alone[planner.bundle.manifest.bundle_id, i] = planner.plan(question, now_ms=0)
    (folder / "current").symlink_to("a")
    total, took_over = n * n_threads, 0
    with LivePlanner(folder / "current", poll_seconds=None, deadline_ms=None) as live:
        workers = [Worker(live, alone, n) for _ in range(n_threads)]
        for worker in workers:
            worker.start()
        for number in range(1, n_reloads + 1):
            while sum(w.n_done for w in workers) < total * number // (n_reloads + 1):
                time.sleep(0.001)
            (folder / "new").symlink_to(NAMES[number % len(NAMES)])
            os.replace(folder / "new", folder / "current")
            took_over += live.check_now()
        for worker in workers:
            worker.join()
    served: Counter[str | None] = Counter()
    for worker in workers:
        served += worker.served
    return Outcome(
        n_done=sum(w.n_done for w in workers),
        n_wrong=sum(w.n_wrong for w in workers),
        n_late=sum(w.n_late for w in workers),
        served=served,
        n_reloads=took_over,
    )


def time_reloads(folder: Path, *, n: int = 20_000) -> str:
    """Medians and p99 of a decision, with and without a thread that reloads all the time."""
    stop = threading.Event()

    def reload_on() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            (folder / "new").symlink_to(NAMES[number % 2])
            os.replace(folder / "new", folder / "current")
            live.check_now()

    def times() -> np.ndarray:
        taken = np.empty(n)
        for number in range(n):
            started = time.perf_counter()
            live.decide(QUESTIONS[number % len(QUESTIONS)], now_ms=0)
            taken[number] = time.perf_counter() - started
        return taken * 1e3

    with LivePlanner(folder / "current", poll_seconds=None, deadline_ms=None) as live:
        steady = times()
        reloader = threading.Thread(target=reload_on)
        reloader.start()
        reloading = times()
        stop.set()
        reloader.join()
        n_loads = live.status().n_loads

    def told(taken: np.ndarray) -> str:
        return f"p50 {np.percentile(taken, 50):.2f} ms p99 {np.percentile(taken, 99):.2f} ms"

    return f"decisions: steady {told(steady)}; under {n_loads} reloads on end {told(reloading)}"


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description="threads across reloads: the same answers")
    parser.add_argument("--n", type=int, default=100_000, help="decisions of each thread")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--reloads", type=int, default=50)
    arguments = parser.parse_args()
    started, cpu = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        found = run(
            arguments.n,
            n_threads=arguments.threads,
            n_reloads=arguments.reloads,
            folder=Path(folder),
        )
        print(time_reloads(Path(folder)))
    for bundle_id, count in found.served.most_common():
        print(f"{count:9}  answers of bundle {bundle_id}")
    print(
        f"fuzz threads: {arguments.threads} threads, {found.n_done} decisions, "
        f"{found.n_reloads} reloads, {found.n_wrong} wrong, {found.n_late} past their deadline, "
        f"{time.monotonic() - started:.0f} s wall, "
        f"{time.process_time() - cpu:.0f} s CPU, "
        f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB"
    )
    is_good = not found.n_wrong and found.n_reloads == arguments.reloads
    is_whole = found.n_done == arguments.n * arguments.threads
    return 0 if is_good and is_whole and len(found.served) == len(NAMES) else 1


if __name__ == "__main__":
    sys.exit(main())
