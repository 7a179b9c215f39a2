"""The toolchain ``repair-search``: reads an issue, changes the tree it stands in, reports.

Belongs here: the command, its clock, what it writes and prints. Does not: the search itself
(``climb``), running tests (``forked_tests``), reading the request (``request``).

Run as ``python -P -m planner_pipeline.repair.search`` in the tree, with a request on stdin. Exit
codes: 0 all gates pass, 1 they do not yet and the best tree was kept, 2 the request is unusable,
3 the tests cannot be run. The last line on stdout is JSON.

How much work a budget buys is declared, not measured: ``(budget - startup) * 0.85 / pace``
evaluations, each in a slot of ``pace`` seconds. An evaluation that is done earlier waits for the
end of its slot, so that equal seeds do equal work on every machine that can keep the pace.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from planner_pipeline.repair.climb import Climb, NoTestsError, Tree, climb
from planner_pipeline.repair.request import (
    Request,
    RequestError,
    parse_request,
    read_sources,
    split_gates,
)
from planner_pipeline.repair.verdict import Verdict, most_lines

NAME: Final = "repair-search"
VERSION: Final = "1"
PACE_SECONDS: Final = 0.05  # 16 ms of a CPU, so that two CPUs hold three searches twice over
STARTUP_SECONDS: Final = 0.45  # sandbox, Python, pytest and its session, three at a time
END_SECONDS: Final = 0.1  # of these, kept for the end: the last gates, the report
PRICE_USD: Final = 0.0001
SLACK: Final = 0.15
GATE_SECONDS: Final = 10.0


class TestsError(Exception):
    """pytest did not get as far as collecting."""

    __test__ = False


def evaluations_for(
    budget_seconds: float, *, pace: float = PACE_SECONDS, startup: float = STARTUP_SECONDS
) -> int:
    """Evaluations that a budget buys.

    >>> [evaluations_for(seconds) for seconds in (0.1, 0.75, 3.0, 6.0)]
    [0, 5, 43, 94]
    """
    return int(max(0.0, budget_seconds - startup) * (1.0 - SLACK) / pace + 1e-9)


def seconds_since_start() -> float:
    """How long this process has been there, its interpreter's own start included."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    born = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - born


def write_tree(tree: Tree, before: Tree) -> None:
    """Write the files that differ, each at once."""
    for path in sorted(tree):
        if tree[path] == before.get(path):
            continue
        part = f"{path}.part"
        mode = os.stat(path).st_mode
        with open(part, "w", encoding="utf-8", newline="") as file:
            file.write(tree[path])
        os.chmod(part, mode & 0o777)
        os.replace(part, path)


def _passes(command: str) -> bool:
    """Whether a gate passes on what is on disk."""
    try:
        done = subprocess.run(
            ["sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=GATE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


class _Attempt:
    """One attempt: a tree on disk, a budget, a clock."""

    def __init__(self, request: Request, options: argparse.Namespace, started: float) -> None:
        self._root = Path(os.path.realpath("."))
        self._request, self._options = request, options
        self._first_slot = started + max(0.0, options.startup - END_SECONDS)
        self._on_disk: Tree = read_sources(self._root, request)
        self._tests, self._others = split_gates(self._root, request.gates)
        self.most = evaluations_for(
            request.budget_seconds, pace=options.pace, startup=options.startup
        )

    def _say(self, line: str) -> None:
        print(line.replace(f"{self._root}/", ""), flush=True)

    def _pause(self, n_evaluations: int) -> None:
        end_of_slot = self._first_slot + n_evaluations * self._options.pace
        time.sleep(max(0.0, end_of_slot - time.monotonic()))

    def _keep(self, tree: Tree, is_last: bool) -> bool:
        before = self._on_disk
        write_tree(tree, before)
        if is_last and not all(map(_passes, self._others)):
            write_tree(before, tree)
            return False
        self._on_disk = tree
        return True

    def run(self) -> Climb:
        """Search, in pytest's session.

        Raises:
            TestsError: there is no session.
        """
        from planner_pipeline.repair.forked_tests import TestSession

        climbs: list[Climb] = []

        def work(session: TestSession) -> None:
            def judge(tree: Tree, *, stop_at: int | None = None) -> Verdict:
                verdict = session.verdict_of(tree, stop_at=stop_at)
                if not judged:
                    session.most_lines = most_lines(verdict)
                judged.append(verdict.was_killed)
                return verdict

            judged: list[bool] = []
            climbs.append(
                climb(
                    self._on_disk,
                    judge,
                    seed=f"{self._request.issue_id} {self._request.seed} {self._request.attempt}",
                    most=self.most,
                    keep=self._keep,
                    say=self._say,
                    pause=self._pause,
                )
            )

        code = TestSession(work).run(self._tests)
        if not climbs:
            raise TestsError(f"pytest ended with {code} before it collected a test")
        return climbs[0]

    def is_done(self, done: Climb) -> bool:
        """Whether all gates pass; those that are no tests were asked when a change was kept."""
        return done.n_failing == 0 and (bool(done.kept) or all(map(_passes, self._others)))

    def report(self, done: Climb) -> dict[str, object]:
        """The last line: the two numbers the kernel reads, and what was done."""
        kept = [
            {
                "file": os.path.relpath(kept.path, self._root),
                "line": kept.line,
                "kind": kept.kind,
                "evaluation": kept.evaluation,
                "failing": list(kept.n_failing),
            }
            for kept in done.kept
        ]
        return {
            "tokens_used": done.n_evaluations,
            "cost": round(done.n_evaluations * self._options.price, 9),
            "toolchain": f"{NAME} {VERSION}",
            "budget": self.most,
            "failing": done.n_failing,
            "is_out_of_budget": done.is_out_of_budget,
            "kept": kept,
        }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=NAME, description="Repair Python by seeded mutation until the gates pass."
    )
    parser.add_argument("--version", action="version", version=f"{NAME} {VERSION}")
    for name, default, what in (
        ("--pace", PACE_SECONDS, "seconds of an evaluation's slot"),
        ("--startup", STARTUP_SECONDS, "seconds of the budget that starting takes"),
        ("--price", PRICE_USD, "declared price of an evaluation in USD"),
    ):
        parser.add_argument(name, type=float, default=default, help=f"{what} ({default})")
    options = parser.parse_args(arguments)
    if options.pace <= 0 or options.startup < 0 or options.price < 0:
        parser.error("the pace must be positive, startup and price not negative")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an attempt; returns the exit code."""
    started = time.monotonic() - seconds_since_start()
    options = _options(arguments)
    try:
        attempt = _Attempt(parse_request(sys.stdin.buffer.read()), options, started)
        done = attempt.run()
    except (RequestError, SyntaxError) as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 2
    except (NoTestsError, TestsError, OSError) as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 3
    is_done = attempt.is_done(done)
    print(json.dumps(attempt.report(done)), flush=True)
    return 0 if is_done else 1


if __name__ == "__main__":
    sys.exit(main())
