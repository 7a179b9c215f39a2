"""What a bench costs beyond toolchains and gates; ``python -m tests.bench.bench_harness``.

Belongs here: a printed table. Does not: assertions on time, which would make the suite flaky.
A candidate is timed from the request for its lease to its settled, recorded end. What its toolchain
and gates took by the supervisor's clock is taken off, one after another or the longest of those
side by side; the rest is the harness: git, sandboxes, archives, ledger, record. Processor time, of
everything together, says how much of that is the machine's other work.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

from planner_pipeline.bench.campaign import Campaign, units_of
from planner_pipeline.bench.protocol import Unit
from planner_pipeline.bench.scripted import Scripted
from planner_runtime.actions import Action
from planner_runtime.contracts.bench_outcome import BenchOutcome
from planner_runtime.heuristic import SPECULATE
from tests.reference.campaigns import a_case, a_runner
from tests.reference.toy_bench import (
    SOLVE,
    a_config,
    a_repository,
    an_executor,
    serial,
    side_by_side,
)

BAR_MS = 150.0  # a candidate, from the issue
ACTIONS = {
    "serial, 1 attempt": (serial(), SOLVE, 1),
    "serial, 3 handoffs": (serial(), "true", 3),
    "vote of 2": (side_by_side(2), SOLVE, 2),
    "vote of 3": (side_by_side(3), SOLVE, 3),
}


def work_ms(outcome: BenchOutcome) -> int:
    """What toolchains and gates took."""
    spans = [one.duration_ms + one.gates_ms for one in outcome.attempts]
    return max(spans) if outcome.action.swarm_id == SPECULATE else sum(spans)


def overheads(
    folder: Path, action: Action, script: str, n: int
) -> tuple[list[float], list[int], float]:
    """Milliseconds of the harness, and of the work, of each of ``n`` candidates; and of the
    processor, a candidate.
    """
    config = a_config(script, minute_seconds=1.0)
    campaign = Campaign(config=config, config_hash="a" * 64)
    executor = an_executor(folder, config)
    cases = [a_case(f"{number:03}") for number in range(n)]
    units = units_of(campaign, cases, {case.case_id: [action] for case in cases})
    harness, work, began = list[float](), list[int](), time.perf_counter()

    def tell(_unit: Unit, outcomes: list[BenchOutcome]) -> None:
        nonlocal began
        took = (time.perf_counter() - began) * 1_000
        work.append(work_ms(outcomes[-1]))
        harness.append(took - work[-1])
        began = time.perf_counter()

    executor.run(units[0])  # makes the copy of the repository
    before, began = os.times(), time.perf_counter()
    a_runner(folder / "bench", campaign, executor, tell=tell).run(units)
    processor = sum(os.times()[:4]) - sum(before[:4])
    return harness, work, processor * 1_000 / n


def of_bookkeeping(folder: Path, n: int) -> float:
    """Milliseconds a candidate of lease, ledger and record alone, at the end of ``n``."""
    campaign = Campaign(config=a_config(SOLVE), config_hash="a" * 64)
    cases = [a_case(f"{number:05}") for number in range(n)]
    units = units_of(campaign, cases, {case.case_id: [serial()] for case in cases})
    a_runner(folder, campaign, Scripted()).run(units[:-100])
    began = time.perf_counter()
    a_runner(folder, campaign, Scripted(), session="s2").run(units[-100:])
    return (time.perf_counter() - began) * 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=30, help="candidates of each kind")
    parser.add_argument("--files", type=int, default=200, help="of the repository")
    arguments = parser.parse_args()
    files = {f"src/{number:05}.py": f"x = {number}\n" * 50 for number in range(arguments.files)}
    print(f"harness, ms a candidate; repository of {arguments.files} files; bar {BAR_MS:g} ms")
    for name, (action, script, n_attempts) in ACTIONS.items():
        with tempfile.TemporaryDirectory() as folder:
            a_repository(Path(folder) / "repo", files)
            harness, work, processor = overheads(Path(folder), action, script, arguments.n)
        print(
            f"  {name:20} median {median(harness):6.1f}  90 % {quantiles(harness, n=10)[-1]:6.1f}"
            f"  work {median(work):5.1f}  processor {processor:6.1f}  of the bar {median(harness) / BAR_MS:.2f},"
            f" an attempt {median(harness) / n_attempts / BAR_MS:.2f}"
        )
    for n in (200, 5_000):
        with tempfile.TemporaryDirectory() as folder:
            print(
                f"  ledger, lease, record after {n:5} units {of_bookkeeping(Path(folder), n):6.1f}"
            )


if __name__ == "__main__":
    main()
