"""The event log as it grows: cut anywhere, it tells what it would tell read at once."""

import json
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner_runtime.archives.dispatch_log import DispatchLog
from planner_runtime.archives.events import LOG, Dispatch, read_events

KINDS = (
    "issue.started", "workcell.created", "workcell.started", "workcell.completed",
    "workcell.create_failed", "speculate.voting", "issue.completed", "issue.failed",
)  # fmt: skip


def a_log(luck: random.Random, n: int) -> bytes:
    """Events of a few issues in any order, with lines that are none."""
    lines: list[bytes] = []
    for number in range(n):
        issue = luck.choice("123")
        event = {
            "type": luck.choice(KINDS), "timestamp": f"2026-01-05T00:{number // 60:02}:{number % 60:02}Z",
            "issue_id": issue, "workcell_id": luck.choice((None, f"wc-{issue}-{number // 9}")),
            "data": {"toolchain": "codex", "speculate": luck.random() < 0.5},
        }  # fmt: skip
        odd = (b"", b"# a comment", b'{"type": ', b"\xff", b'{"type": 3}')
        lines.append(luck.choice(odd) if luck.random() < 0.1 else json.dumps(event).encode())
    return b"\n".join(lines) + (b"\n" if luck.random() < 0.5 else b"")


def as_told(log: DispatchLog, dispatches: tuple[Dispatch, ...]) -> None:
    """Holds a log to the dispatches that the whole file tells of."""
    starts: dict[str, list[Dispatch]] = {}
    cells: dict[str, int] = {}
    for one in dispatches:
        starts.setdefault(one.issue_id, []).append(one)
        assert log.dispatch(one.line) == one
        cells.update((cell.workcell_id, one.line) for cell in one.workcells)
    assert {name: log.line_of(name) for name in cells} == cells
    following = {
        one.line: after.started_at if after else None
        for told in starts.values()
        for one, after in zip(told, [*told[1:], None], strict=True)
        if one.create_failures
    }
    assert log.failing == following


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 80), cuts=st.lists(st.floats(0, 1), max_size=8))
def test_a_log_that_grew_tells_what_it_tells_at_once(seed: int, n: int, cuts: list[float]) -> None:
    data = a_log(random.Random(seed), n)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / LOG
        path.parent.mkdir(parents=True)
        log, at = DispatchLog(Path(folder)), 0
        for cut in [*sorted(int(part * len(data)) for part in cuts), len(data)]:
            with path.open("ab") as file:
                file.write(data[at:cut])
            at = cut
            log.refresh()
            resumed = DispatchLog(Path(folder), log.kept())
            resumed.refresh()
            whole = read_events(Path(folder))
            is_half = any(row.reason == "unfinished_line" for row in whole.quarantined)
            if not is_half:
                as_told(log, whole.dispatches)
                assert [row.line for row in log.refused] == [row.line for row in whole.quarantined]
            for one in whole.dispatches:
                for cell in one.workcells:
                    assert resumed.line_of(cell.workcell_id) == log.line_of(cell.workcell_id)
        assert log.refresh() == set()


def write(repo: Path, data: bytes) -> None:
    path = repo / LOG
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.mark.parametrize("seed", range(8))
def test_a_log_that_was_begun_anew_is_read_anew(tmp_path: Path, seed: int) -> None:
    luck = random.Random(seed)
    write(tmp_path, a_log(luck, 50))
    log = DispatchLog(tmp_path)
    log.refresh()
    write(tmp_path, a_log(luck, luck.choice((1, 20, 90))))
    assert log.refresh() is None
    as_told(log, read_events(tmp_path).dispatches)
    (tmp_path / LOG).unlink()
    assert log.refresh() is None
    assert log.line_of("wc-1-0") is None


def test_a_line_that_gets_its_newline_late_is_taken_once(tmp_path: Path) -> None:
    failed = {
        "type": "workcell.create_failed",
        "timestamp": "2026-01-05T00:00:00Z",
        "issue_id": "1",
    }
    line = json.dumps(failed).encode()
    write(tmp_path, line)
    log = DispatchLog(tmp_path)
    assert log.refresh() == {1}
    write(tmp_path, line + b"\n")
    assert log.refresh() == set()
    write(tmp_path, line + b"\n" + line)
    log.refresh()
    assert len(log.dispatch(1).create_failures) == 2
    write(tmp_path, line + b"and more\n")
    assert log.refresh() is None
    assert log.failing == {}
