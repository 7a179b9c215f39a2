"""A process that benches in children of its own, so that a test may kill them at any moment.

Belongs here: ``python -m tests.reference.bench_driver`` and its client. Does not: what a bench is.
Importing takes longer than a toy bench, so it is done once; no thread exists when it forks.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, Self

INTERRUPTED = 130
ROOT = Path(__file__).parents[2]


class Driver:
    """The client."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reference.bench_driver"], text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def start(self, repo: Path, out: Path, **order: Any) -> int:
        """Begin a bench; the number of its process.

        Args:
            order: ``crash_at``, a crash point; ``kill_after``, seconds until it is killed;
                ``retry_infra``, whether units whose harness failed run again.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"repo": str(repo), "out": str(out), **order}) + "\n")
        return self._told()

    def wait(self) -> int:
        """How it ended: an exit code, or less than 0 for a signal."""
        return self._told()

    def run(self, repo: Path, out: Path, **order: Any) -> int:
        self.start(repo, out, **order)
        return self.wait()

    def _told(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


def bench(order: dict[str, Any]) -> None:
    """One whole bench: cases, candidates, units, labels."""
    from planner_pipeline.bench.session import BenchRequest, BenchSession, workspace_config

    repo, out = Path(order["repo"]), Path(order["out"])
    config = workspace_config(repo, None)
    session = BenchSession(BenchRequest(repo=repo, out=out, executor="local", config=config))
    if order.get("retry_infra"):
        session.forget_infra_errors()
    session.run()
    session.judge()


def main() -> None:
    import planner_pipeline.bench.session  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started us or not
            try:
                if "crash_at" in order:
                    os.environ["CRASH_AT"] = order["crash_at"]
                bench(order)
                code = 0
            except KeyboardInterrupt:
                code = INTERRUPTED
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        print(pid, flush=True)
        if "kill_after" in order:
            time.sleep(order["kill_after"])
            os.kill(pid, signal.SIGKILL)  # at worst a zombie by now: nobody waited for it
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
