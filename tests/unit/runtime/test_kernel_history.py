"""A kernel's history of a workspace in which anything may lie, and at any moment."""

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner_runtime.actions import ActionSpace
from planner_runtime.contracts.run_summary import RunSummary
from planner_runtime.kernel.history import KernelHistory
from planner_runtime.kernel.history_snapshot import SnapshotError, read_snapshot
from planner_runtime.kernel.question import Histories, KernelQuestion
from planner_runtime.retrieval.similarity import Query

LATER_S = 10_000.0  # all that a test wrote is at rest by then


class Workspace:
    """A workspace that a test fills, and the clock by which its files are young or at rest."""

    def __init__(self, root: Path) -> None:
        self.root, self.archives = root, root / ".cyntra/archives"
        self.archives.mkdir(parents=True)
        self.ahead_s = 0.0

    def clock(self) -> float:
        return os.stat(self.root).st_mtime + self.ahead_s

    def history(self, **options: Any) -> KernelHistory:
        return KernelHistory(self.root, clock=self.clock, **options)

    def archive(self, minute: int, *, issue: str = "7", passed: bool = True) -> Path:
        """One archived workcell that ran in the given minute of a day."""
        at = f"2026-01-05T{minute // 60:02}:{minute % 60:02}"
        name = f"wc-{issue}-{at.replace('-', '').replace(':', '')}00Z"
        folder = self.archives / name
        folder.mkdir()
        self.write(folder / "manifest.json", {
            "workcell_id": name, "job_type": "code", "toolchain": "codex",
            "issue": {"id": issue, "title": "Cache expires", "description": None, "tags": ["api"]},
        })  # fmt: skip
        self.write(folder / "proof.json", {
            "status": "success" if passed else "partial",
            "verification": {
                "gates": {"test": {"passed": passed}}, "all_passed": passed,
                "blocking_failures": [] if passed else ["test"],
            },
            "metadata": {"started_at": f"{at}:01Z", "completed_at": f"{at}:31Z", "duration_ms": 30_000},
        })  # fmt: skip
        return folder

    @staticmethod
    def write(path: Path, document: Any) -> None:
        path.write_text(json.dumps(document))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "repo")


def ids(history: KernelHistory) -> list[str]:
    return [run.run_id for run in history.runs()]


def reasons(history: KernelHistory) -> list[tuple[str, str]]:
    return [(Path(row.file).name, row.reason) for row in history.quarantined]


def test_no_workspace_is_an_empty_history(tmp_path: Path) -> None:
    history = KernelHistory(tmp_path / "nowhere")
    assert (history.runs(), history.refresh(), len(history)) == ([], 0, 0)


def test_archives_that_appear_are_added_once(workspace: Workspace) -> None:
    history = workspace.history()
    first = workspace.archive(1)
    assert (history.refresh(), history.refresh()) == (1, 0)
    second = workspace.archive(2, passed=False)
    assert (history.refresh(), ids(history)) == (1, [first.name, second.name])
    failed = history.runs()[1]
    assert (failed.outcome.status, failed.outcome.fail_codes) == ("failed", ("test",))
    assert [run.run_id for run in history.index.similar_runs(_question(), n=8)] == ids(history)[
        ::-1
    ]


def _question(**facts: Any) -> Query:
    known: dict[str, Any] = {"cutoff_ms": 2 * 10**12, "tags": frozenset({"api"}), **facts}
    return Query(job_type="code", domain="code", **known)


def test_a_decision_sees_only_what_was_over_by_then(workspace: Workspace) -> None:
    for minute in range(5):
        workspace.archive(minute)
    history = workspace.history()
    for run in history.runs():
        assert run.ended_ms is not None
        seen = history.index.similar_runs(_question(cutoff_ms=run.ended_ms - 1), n=9)
        assert run not in seen
        assert all(one.ended_ms is not None and one.ended_ms < run.ended_ms for one in seen)


def test_half_of_an_archive_waits_until_it_is_whole(workspace: Workspace) -> None:
    folder = workspace.archive(1)
    whole = (folder / "proof.json").read_bytes()
    (folder / "proof.json").write_bytes(whole[:40])
    history = workspace.history()
    assert (ids(history), reasons(history)) == ([], [("proof.json", "unfinished_file")])
    assert [count.pending for count in history.counts] == [1, 0]
    workspace.ahead_s = LATER_S
    assert history.refresh() == 0
    (folder / "proof.json").write_bytes(whole)  # in place: its directory's mtime stays
    assert (history.refresh(), ids(history), reasons(history)) == (1, [folder.name], [])


def test_what_can_never_be_used_is_quarantined_and_counted(workspace: Workspace) -> None:
    good = workspace.archive(1)
    (workspace.archive(2) / "proof.json").write_text('{"status": nothing}')
    odd = workspace.archives / "wc-8-20260105T090000Z"
    odd.mkdir()
    (odd / "manifest.json").write_bytes(b'\xff\xfe{"workcell_id": 3}')
    (workspace.archives / "notes.txt").write_text("nothing")
    history = workspace.history()
    assert good.name in ids(history)
    found = reasons(history)
    assert ("proof.json", "bad_json") in found
    assert ("manifest.json", "bad_json") in found
    assert (odd.name, "no_content") in found
    assert ("notes.txt", "not_regular") in found
    assert all(count.is_balanced for count in history.counts)
    assert [count.quarantined for count in history.counts] == [2, 0]


def test_links_pipes_and_giants_are_survived(workspace: Workspace) -> None:
    good, piped, giant, linked = (workspace.archive(minute) for minute in range(4))
    (piped / "proof.json").unlink()
    os.mkfifo(piped / "proof.json")
    with (giant / "telemetry.jsonl").open("wb") as file:
        file.truncate(1 << 33)
    (linked / "proof.json").unlink()
    (linked / "proof.json").symlink_to(linked / "proof.json")
    (workspace.archives / "loop").symlink_to(workspace.archives)
    os.mkfifo(workspace.archives / "pipe")
    (workspace.root / ".cyntra/logs").mkdir()
    os.mkfifo(workspace.root / ".cyntra/logs/events.jsonl")
    history = workspace.history()
    assert {good.name, giant.name} <= set(ids(history))
    found = reasons(history)
    assert found.count(("proof.json", "not_regular")) == 2
    assert ("telemetry.jsonl", "too_large") in found
    assert {("loop", "not_regular"), ("pipe", "not_regular")} <= set(found)
    assert ("events.jsonl", "not_regular") in found
    history.refresh()
    assert reasons(history) == found


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_read_when_it_may(workspace: Workspace) -> None:
    folder = workspace.archive(1)
    folder.chmod(0)
    history = workspace.history()
    assert ids(history) == []
    folder.chmod(0o700)
    assert (history.refresh(), ids(history)) == (1, [folder.name])


def test_archives_that_are_deleted_are_gone(workspace: Workspace) -> None:
    kept, lost = workspace.archive(1), workspace.archive(2)
    history = workspace.history()
    shutil.rmtree(lost)
    assert (history.refresh(), ids(history)) == (0, [kept.name])
    assert history.index.similar_runs(_question(), n=8) == history.runs()
    shutil.rmtree(workspace.archives)
    history.refresh()
    assert (ids(history), len(history.index)) == ([], 0)


def test_what_is_at_rest_is_read_again_only_by_a_thorough_look(workspace: Workspace) -> None:
    folder = workspace.archive(1)
    workspace.ahead_s = LATER_S
    history = workspace.history()
    proof = json.loads((folder / "proof.json").read_text())
    workspace.write(
        folder / "proof.json",
        proof | {"status": "timeout", "verification": {"blocking_failures": ["timeout"]}},
    )
    history.refresh()
    assert history.runs()[0].outcome.status == "success"
    history.refresh(thorough=True)
    assert history.runs()[0].outcome.status == "timeout"


def test_a_world_run_is_watched_until_it_is_over(workspace: Workspace) -> None:
    folder = workspace.root / ".cyntra/runs/run_1767603600000_build"
    folder.mkdir(parents=True)
    stage = {"id": "bake", "status": "running", "started_at": "2026-01-05T09:00:00Z"}
    world = {"world_id": "w", "created_at": "2026-01-05T09:00:00Z", "stages": [stage]}
    workspace.write(folder / "manifest.json", world)
    workspace.ahead_s = LATER_S
    history = workspace.history()
    assert (history.refresh(), ids(history)) == (0, [])
    stage |= {"status": "success", "duration_ms": 4_000_000}
    workspace.write(folder / "manifest.json", world)
    history.refresh()
    assert ids(history) == [folder.name]
    assert workspace.history(include_world=False).runs() == []


Damage = Callable[[bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "truncated": lambda data: data[:-5],
    "wrong_hash": lambda data: data[:-9] + bytes([data[-9] ^ 16]) + data[-8:],
    "bad_header": lambda data: data[1:],
    "other_version": lambda data: data.replace(b'"made_by":"', b'"made_by":"0', 1),
    "bad_content": lambda data: _with_payload(b"no zlib at all"),
    "too_large": lambda data: _with_payload(b"x", n_unpacked=1 << 40),
}


def _with_payload(payload: bytes, **facts: Any) -> bytes:
    import hashlib

    from planner_runtime.kernel.history_snapshot import MADE_BY, TAG

    header = {
        "schema_version": TAG, "made_by": MADE_BY, "n_runs": 1, "n_bytes": len(payload),
        "n_unpacked": 5, "sha256": hashlib.sha256(payload).hexdigest(), **facts,
    }  # fmt: skip
    return json.dumps(header).encode() + b"\n" + payload


@pytest.mark.parametrize("reason", DAMAGES)
def test_a_damaged_snapshot_says_why_and_archives_are_read(
    workspace: Workspace, tmp_path: Path, reason: str
) -> None:
    for minute in range(5):
        workspace.archive(minute)
    workspace.ahead_s = LATER_S
    history, path = workspace.history(), tmp_path / "history.snapshot"
    history.write_snapshot(path)
    path.write_bytes(DAMAGES[reason](path.read_bytes()))
    resumed = workspace.history(snapshot=path)
    assert resumed.snapshot_error is not None
    assert resumed.snapshot_error.reason == reason
    assert resumed.runs() == history.runs()


def test_no_single_flipped_bit_of_a_snapshot_is_used(workspace: Workspace, tmp_path: Path) -> None:
    workspace.archive(1)
    workspace.ahead_s = LATER_S
    path = tmp_path / "history.snapshot"
    history = workspace.history()
    history.write_snapshot(path)
    data, kept = path.read_bytes(), read_snapshot(path)
    for bit in range(0, 8 * len(data), 7):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            found = read_snapshot(path)
        except SnapshotError:
            continue
        assert found == kept  # the count of runs in the header, which nobody relies on


@pytest.mark.parametrize("where", ["nowhere", "folder", "pipe"])
def test_a_snapshot_that_is_no_file_is_none(
    workspace: Workspace, tmp_path: Path, where: str
) -> None:
    folder = workspace.archive(1)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    history = workspace.history(snapshot=tmp_path / where)
    assert history.snapshot_error is not None
    assert ids(history) == [folder.name]


def test_a_snapshot_and_what_came_after_is_what_archives_tell(
    workspace: Workspace, tmp_path: Path
) -> None:
    folders = [workspace.archive(minute) for minute in range(6)]
    workspace.ahead_s = LATER_S
    path = tmp_path / "history.snapshot"
    workspace.history().write_snapshot(path)
    shutil.rmtree(folders[0])  # deleted since
    (folders[1] / "rollout.json").write_text("{}")  # added to since
    os.utime(folders[1], (1e9, 1e9))
    proof = folders[2] / "proof.json"
    shutil.rmtree(folders[2])  # made anew, with another outcome
    workspace.archive(2, passed=False)
    os.utime(proof.parent, (2e9, 2e9))
    workspace.archive(9)
    resumed = workspace.history(snapshot=path)
    assert resumed.snapshot_error is None
    assert resumed.runs() == workspace.history().runs()
    assert resumed.index.similar_runs(_question(), n=9) == workspace.history().index.similar_runs(
        _question(), n=9
    )


def test_threads_never_see_half_of_a_refresh(workspace: Workspace) -> None:
    """Archives appear two at a time, and leave two at a time: nobody ever counts an odd number."""
    history, odd, stop = workspace.history(), list[int](), threading.Event()

    def read() -> None:
        while not stop.is_set():
            found = history.index.similar_runs(_question(), n=200)
            if len(found) % 2 or len(history.runs()) % 2 or len(history) % 2:
                odd.append(len(found))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    staged = workspace.root / "staged"
    staged.mkdir()
    for minute in range(0, 80, 2):
        pair = [workspace.archive(minute + n, issue=str(minute)) for n in (0, 1)]
        history.refresh()
        if minute % 8 == 6:
            for folder in pair:
                shutil.rmtree(folder)
            history.refresh()
    stop.set()
    for reader in readers:
        reader.join()
    assert odd == []
    assert len(history) == 60


def test_a_question_is_not_kept_waiting_by_a_refresh(workspace: Workspace) -> None:
    is_reading, may_go_on = threading.Event(), threading.Event()

    def clock() -> float:
        is_reading.set()
        may_go_on.wait(timeout=60)
        return workspace.clock()

    may_go_on.set()
    workspace.archive(1)
    history = KernelHistory(workspace.root, clock=clock)
    is_reading.clear()
    may_go_on.clear()
    refreshing = threading.Thread(target=history.refresh)
    refreshing.start()
    assert is_reading.wait(timeout=60)
    asked = KernelQuestion(
        issue={"id": "7"}, job_type="code", universe_id="u", universe_defaults={},
        action_space=ActionSpace(), system_state=None, now_ms=2_000_000_000_000,
    )  # fmt: skip
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(Histories().question(asked, history)))
    asking.start()
    asking.join(timeout=30)
    has_answer = len(answers) == 1
    may_go_on.set()
    refreshing.join()
    asking.join()
    assert has_answer
    question, _ = answers[0]
    assert len(question["history"]["last_n_similar_runs"]) == 1


def test_runs_are_in_the_order_of_their_starts(workspace: Workspace) -> None:
    for minute in (3, 1, 2):
        workspace.archive(minute)
    runs: list[RunSummary] = workspace.history().runs()
    assert [run.started_ms for run in runs] == sorted(run.started_ms for run in runs)
