"""A publisher killed at any of its file operations leaves a store that readers can follow."""

import os
import signal
import sys
from pathlib import Path

import pytest

from planner_pipeline.release.publish import publish_bundle
from planner_runtime.bundle import read_bundle
from planner_runtime.bundles.channels import pointed_folder, promote, rollback
from tests.unit.runtime.bundle_cases import write_imitation_bundle

# what an audit hook hears of a process that touches files
TOUCHES = frozenset(
    """open os.rename os.mkdir os.rmdir os.remove os.listdir os.scandir os.truncate fcntl.flock
    shutil.rmtree""".split()
)


def _publish_and_die(made: Path, store: Path, at: int) -> None:
    """In a child of its own: everything a publisher does, killed at file operation ``at``."""
    left = at

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in TOUCHES:
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(count)
    second = publish_bundle(made / "b", store).manifest.bundle_id
    promote(store, second, by="ci", now_ms=1, channel="candidate")
    promote(store, second, by="ci", now_ms=2)
    rollback(store, by="ci", now_ms=3)


def crash_points(folder: Path, *, stride: int) -> int:
    """Kill a publisher at every ``stride``-th operation; how many of them died."""
    write_imitation_bundle(folder / "made" / "a")
    write_imitation_bundle(folder / "made" / "b", seed=1)
    at = n_killed = 0
    while True:
        store = folder / f"store{at}"
        first = publish_bundle(folder / "made" / "a", store).manifest.bundle_id
        promote(store, first, by="ci", now_ms=0)
        pid = os.fork()
        if pid == 0:
            try:
                _publish_and_die(folder / "made", store, at)
                os._exit(0)
            finally:
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        # a reader gets one bundle, whole; and the next publisher finishes the work
        read_bundle(pointed_folder(store / "channels/current"))
        second = publish_bundle(folder / "made" / "b", store).manifest.bundle_id
        promote(store, second, by="ci", now_ms=9)
        found = read_bundle(pointed_folder(store / "channels/current"))
        assert found.manifest.bundle_id == second
        if code == 0:
            return n_killed
        assert code == -signal.SIGKILL, f"operation {at}"
        n_killed += 1
        at += stride


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_readers_follow_a_store_whose_publisher_was_killed(tmp_path: Path) -> None:
    assert crash_points(tmp_path, stride=9) >= 8


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_readers_follow_a_store_whose_publisher_was_killed_anywhere(tmp_path: Path) -> None:
    assert crash_points(tmp_path, stride=1) >= 50
