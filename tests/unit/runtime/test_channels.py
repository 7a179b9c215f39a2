"""Pointer files: a reader meets the old one or the new one, and rollback finds its way back."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from planner_runtime.bundles.channels import (
    ChannelError,
    Pointer,
    bundle_folder,
    channels_of,
    pointed_folder,
    promote,
    read_pointer,
    rollback,
    write_pointer,
)

A, B, C = ("a" * 16, "b" * 16, "c" * 16)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for bundle_id in (A, B, C):
        bundle_folder(tmp_path, bundle_id).mkdir(parents=True)
    return tmp_path


def where(store: Path) -> tuple[str | None, ...]:
    return tuple(p.bundle_id[0] if p else None for p in channels_of(store).values())


def test_promoting_keeps_what_was_current_as_previous(store: Path) -> None:
    assert where(store) == (None, None, None)
    promote(store, A, by="ci", now_ms=0)
    assert where(store) == ("a", None, None)
    promote(store, B, by="ci", now_ms=1, channel="candidate")
    promote(store, B, by="ci", now_ms=2)
    assert where(store) == ("b", "a", "b")
    promote(store, B, by="ci", now_ms=3)  # again is no change of what came before
    assert where(store) == ("b", "a", "b")
    assert pointed_folder(store / "channels" / "current") == bundle_folder(store, B)


def test_a_pointer_is_one_line_that_says_who_and_when(store: Path) -> None:
    promote(store, A, by="ann", now_ms=1_767_603_600_000)
    assert (store / "channels/current").read_text() == (
        f'{{"bundle_id":"{A}","by":"ann","promoted_at":"2026-01-05T09:00:00.000Z"}}\n'
    )


def test_rollback_swaps_current_and_previous(store: Path) -> None:
    for bundle_id in (A, B, C):
        promote(store, bundle_id, by="ci", now_ms=0)
    assert rollback(store, by="ann", now_ms=1).bundle_id == B
    assert where(store) == ("b", "c", None)
    assert rollback(store, by="ann", now_ms=2).bundle_id == C
    assert where(store) == ("c", "b", None)
    assert read_pointer(store / "channels/current").by == "ann"


def test_there_is_no_way_back_to_what_is_not_there(store: Path) -> None:
    with pytest.raises(ChannelError, match="No such file"):
        rollback(store, by="ann", now_ms=0)
    promote(store, A, by="ci", now_ms=0)
    promote(store, B, by="ci", now_ms=0)
    bundle_folder(store, A).rmdir()
    with pytest.raises(ChannelError, match="gone"):
        rollback(store, by="ann", now_ms=0)
    assert where(store)[:2] == ("b", "a")
    with pytest.raises(ChannelError, match="no such bundle"):
        promote(store, "d" * 16, by="ci", now_ms=0)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "null", "a" * 5_000, "\xff", '{"bundle_id":"../../etc","by":"x","promoted_at":"2026-01-01T00:00:00Z"}',
     f'{{"bundle_id":"{A}","by":"x","promoted_at":"soon"}}', f'{{"bundle_id":"{A}"}}'],
)  # fmt: skip
def test_what_is_no_pointer_leads_nowhere(store: Path, text: str) -> None:
    (store / "channels").mkdir()
    (store / "channels/current").write_text(text, encoding="latin-1")
    with pytest.raises(ChannelError):
        pointed_folder(store / "channels/current")


def _move_for_ever(store: Path) -> None:
    while True:
        for bundle_id in (A, B):
            promote(store, bundle_id, by="ci", now_ms=0)


def test_a_killed_publisher_leaves_pointers_that_can_be_read_and_followed(store: Path) -> None:
    context = multiprocessing.get_context("fork")
    for number in range(12):
        process = context.Process(target=_move_for_ever, args=(store,))
        process.start()
        time.sleep(0.01 + 0.003 * number)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        found = channels_of(store)  # raises on half a pointer
        for pointer in found.values():
            assert pointer is None or bundle_folder(store, pointer.bundle_id).is_dir()
    promote(store, C, by="ann", now_ms=0)  # the lock died with its holder
    assert where(store)[0] == "c"


def test_writing_leaves_nothing_else_behind(store: Path) -> None:
    write_pointer(
        store / "channels/current",
        Pointer(bundle_id=A, promoted_at="2026-01-01T00:00:00Z", by="x"),
    )
    assert os.listdir(store / "channels") == ["current"]
