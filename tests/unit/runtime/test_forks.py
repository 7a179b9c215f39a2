"""A forked child of a kernel that decides: it never waits for a thread that it does not have."""

import contextlib
import os
import signal
import threading
from pathlib import Path

import pytest

from planner_runtime import fork_safe_lock
from planner_runtime.kernel.dispatch import KernelPlanner
from planner_runtime.kernel.settings import PlannerSettings
from planner_runtime.similar_runs import RunIndex
from tests.outcome_bundles import write_outcome_bundle
from tests.unit.runtime.test_kernel_planner import dispatched


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_decides_whatever_its_parents_threads_held(tmp_path: Path) -> None:
    write_outcome_bundle(tmp_path / "bundle")
    planner = KernelPlanner(PlannerSettings(mode="enforce", bundle_dir=tmp_path / "bundle"))
    index = RunIndex()
    before = dispatched(planner)
    held, is_held, is_over = list(fork_safe_lock._ALL), threading.Event(), threading.Event()

    def hold() -> None:
        with contextlib.ExitStack() as stack:
            for lock in held:
                stack.enter_context(lock)
            is_held.set()
            is_over.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    is_held.wait()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)  # a child that waits is killed, and so has no exit code 0
        index.update(())
        os._exit(0 if dispatched(planner) == before else 1)
    is_over.set()
    holder.join()
    assert len(held) >= 5
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    planner.close()


def test_every_lock_of_a_decision_is_one_that_a_child_finds_open() -> None:
    """The sidecar does not fork and its client looks at its process; a watchdog starts anew."""
    package = Path(fork_safe_lock.__file__).parent
    own = {package / "fork_safe_lock.py", package / "deadline.py"}
    others = {
        path
        for path in package.rglob("*.py")
        if "threading.Lock" in path.read_text() or "threading.RLock" in path.read_text()
    }
    assert {path for path in others - own if path.parent.name != "sidecar"} == set()
