"""Reading the event log from where it ended is reading it whole, wherever that was."""

import json
import random
from pathlib import Path

import pytest

from planner_pipeline.defs.versions import content_version
from planner_pipeline.sources import event_log
from planner_pipeline.sources.event_log import dispatch_table, read_event_log
from planner_runtime.archives import events, lines
from planner_runtime.archives.events import read_events

KINDS = (
    "issue.started", "issue.started", "workcell.created", "workcell.started", "workcell.completed",
    "workcell.failed", "workcell.create_failed", "speculate.voting", "issue.completed",
    "issue.failed",
)  # fmt: skip
ODD = (
    b"\n", b"# a comment\n", b"{broken}\n", b'{"type": 1}\n', b"{}{}\n", b'{"type":"x"\n', b"  \n",
    b'{"type": "issue.started", "timestamp": "t", "issue_id": "' + b"1" * 400 + b'"}\n',
    b"[" + b" " * 300 + b"]\n", b"\xff\n", b'{"type":"issue.started","timestamp":"t"}\r\n',
)  # fmt: skip


def a_line(luck: random.Random) -> bytes:
    if luck.random() < 0.1:
        return luck.choice(ODD)
    issue = luck.randrange(4)
    data = {
        "toolchain": luck.choice(["codex", "claude", None, 7]),
        "speculate": luck.random() < 0.5,
    }
    line = {
        "type": luck.choice(KINDS), "timestamp": f"t{luck.randrange(99)}", "issue_id": issue,
        "data": data,
    }  # fmt: skip
    if luck.random() < 0.7:
        line["workcell_id"] = f"wc-{issue}-{luck.randrange(6)}"
    return json.dumps(line).encode() + b"\n"


def assert_read_as_whole(repo: Path, store: Path) -> None:
    whole, resumed = read_events(repo), read_event_log(repo, store)
    table = dispatch_table(whole.dispatches)
    assert resumed.dispatches.rows() == table.rows()
    assert content_version(resumed.dispatches) == content_version(table)
    assert (resumed.quarantined, resumed.count) == (whole.quarantined, whole.count)


def write_log(repo: Path, data: bytes) -> None:
    path = repo / events.LOG
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture(autouse=True)
def small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs of a few hundred lines meet every rule that those of a million do."""
    monkeypatch.setattr(events, "SETTLED_AFTER", 5)
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 256)
    monkeypatch.setattr(lines, "LINES_CHUNK", 700)


@pytest.mark.parametrize("seed", range(60))
def test_a_log_that_grew_is_read_as_if_it_had_always_been_so_long(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    luck = random.Random(seed)
    monkeypatch.setattr(event_log, "WORTH_KEEPING", luck.choice([1, 4, 1_000_000]))
    data = b"".join(a_line(luck) for _ in range(luck.randrange(1, 250)))
    cuts = sorted(luck.randrange(len(data) + 1) for _ in range(luck.randrange(1, 6)))
    for cut in (*cuts, len(data), len(data)):
        write_log(tmp_path, data[:cut])
        assert_read_as_whole(tmp_path, tmp_path / "store")


@pytest.mark.parametrize("seed", range(12))
def test_a_log_that_was_changed_shortened_or_begun_anew_is_read_whole(
    tmp_path: Path, seed: int
) -> None:
    luck = random.Random(seed)
    listed = [a_line(luck) for _ in range(80)]
    write_log(tmp_path, b"".join(listed))
    assert_read_as_whole(tmp_path, tmp_path / "store")
    changed = list(listed)
    changed[luck.randrange(80)] = a_line(luck)
    for others in (changed, listed[:40], listed[1:], [a_line(luck) for _ in range(90)], []):
        write_log(tmp_path, b"".join(others))
        assert_read_as_whole(tmp_path, tmp_path / "store")
    (tmp_path / events.LOG).unlink()
    assert_read_as_whole(tmp_path, tmp_path / "store")


def test_only_what_is_new_of_a_log_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    luck = random.Random(0)
    listed = [a_line(luck) for _ in range(200)]
    write_log(tmp_path, b"".join(listed[:190]))
    read_event_log(tmp_path, tmp_path / "store")
    decoded: list[bytes] = []
    real = lines._Lines.of_chunk

    def spy(self: object, number: int, chunk: bytes) -> object:
        decoded.append(chunk)
        return real(self, number, chunk)  # type: ignore[arg-type]

    monkeypatch.setattr(lines._Lines, "of_chunk", spy)
    write_log(tmp_path, b"".join(listed))
    read_event_log(tmp_path, tmp_path / "store")
    assert b"".join(decoded) == b"".join(listed[190:])


@pytest.mark.parametrize("name", [event_log.KEPT, event_log.CLOSED])
def test_what_was_kept_of_a_log_is_not_believed_when_it_is_damaged(
    tmp_path: Path, name: str
) -> None:
    luck = random.Random(1)
    write_log(tmp_path, b"".join(a_line(luck) for _ in range(100)))
    read_event_log(tmp_path, tmp_path / "store")
    path = tmp_path / "store" / events.SOURCE / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    assert_read_as_whole(tmp_path, tmp_path / "store")
    path.unlink()
    assert_read_as_whole(tmp_path, tmp_path / "store")
