"""A unit's record is written once and whole, and one process at a time may run it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from planner_pipeline.bench.units import DamagedUnitError, UnitStore, why_unreadable
from planner_runtime.actions import Action
from planner_runtime.contracts.bench_outcome import BenchOutcome
from planner_runtime.decision import choice_of

UNIT = "0123456789abcdef"


def an_outcome(**changes: Any) -> BenchOutcome:
    told: dict[str, Any] = {
        "unit_id": UNIT, "bench_config_hash": "0" * 64, "case_id": "7@then", "issue_id": "7",
        "input_hash": "1" * 64, "job_type": "code", "seed": 5, "executor": "scripted",
        "action": choice_of(Action("serial_handoff", 1, 60, "NA")), "status": "passed",
        "minute_seconds": 60.0,
    }  # fmt: skip
    return BenchOutcome(**{**told, **changes})


def record_of(folder: Path) -> Path:
    return folder / "units" / UNIT[:2] / f"{UNIT}.jsonl"


# holds a unit until its standard input ends; "die" leaves without a word
HOLDER = """
import os, sys
from pathlib import Path
from planner_pipeline.bench.units import UnitStore
lease = UnitStore(Path(sys.argv[1])).lease(sys.argv[2])
print("held" if lease else "busy", lease.tries if lease else 0, flush=True)
if sys.stdin.read() == "die":
    os._exit(1)
if lease:
    lease.release()
"""


@contextmanager
def a_holder(folder: Path, *, end: str = "") -> Iterator[str]:
    """Another process that asks for the unit; what it was told."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), UNIT], text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.communicate(end, timeout=30)


def test_a_record_reads_back_as_it_was_saved(tmp_path: Path) -> None:
    store = UnitStore(tmp_path)
    outcomes = [an_outcome(replayed=(1, 2)), an_outcome(replayed=(2, 3), status="failed")]
    assert UNIT not in store
    assert store.save(UNIT, outcomes)
    assert UNIT in store
    assert store.read(UNIT) == outcomes
    assert list(store.every()) == [outcomes]


def test_the_first_record_of_a_unit_stays(tmp_path: Path) -> None:
    store = UnitStore(tmp_path)
    assert store.save(UNIT, [an_outcome(seed=1)]) is True
    assert UnitStore(tmp_path).save(UNIT, [an_outcome(seed=2)]) is False
    assert store.read(UNIT)[0].seed == 1
    assert [path.name for path in record_of(tmp_path).parent.iterdir()] == [f"{UNIT}.jsonl"]


def test_a_file_that_was_half_written_is_no_record(tmp_path: Path) -> None:
    store = UnitStore(tmp_path)
    folder = record_of(tmp_path).parent
    folder.mkdir(parents=True)
    (folder / f".{UNIT}.99999.part").write_bytes(b'{"schema_version":"cyntra.ben')
    assert UNIT not in store
    assert list(store.every()) == []
    assert store.save(UNIT, [an_outcome()])
    assert list(store.every()) == [[an_outcome()]]


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"{", b"[]\n", b'{"schema_version":"cyntra.bench_outcome.v2"}\n', b"\xff"]
)
def test_a_record_that_cannot_be_read_is_named(tmp_path: Path, data: bytes) -> None:
    store = UnitStore(tmp_path)
    store.save(UNIT, [an_outcome()])
    record_of(tmp_path).write_bytes(data)
    with pytest.raises(DamagedUnitError, match="delete it to run the unit again") as damaged:
        store.read(UNIT)
    assert damaged.value.path == record_of(tmp_path)
    with pytest.raises(DamagedUnitError):
        list(store.every())
    store.forget(UNIT)
    assert store.save(UNIT, [an_outcome()])


def test_a_record_cut_anywhere_is_never_taken_for_a_shorter_one(tmp_path: Path) -> None:
    store = UnitStore(tmp_path)
    store.save(UNIT, [an_outcome()])
    whole = record_of(tmp_path).read_bytes()
    for length in range(0, len(whole) - 1, 7):
        record_of(tmp_path).write_bytes(whole[:length])
        with pytest.raises(DamagedUnitError):
            store.read(UNIT)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"cost_usd": -1.0}, "cost_usd"), ({"metrics": {"overall": float("nan")}}, "metrics"),
        ({"seed": -1}, "seed"), ({"status": "won"}, "status"), ({"issue_id": "\ud800"}, "surrogate"),
    ],
)  # fmt: skip
def test_what_could_not_be_read_again_is_found_before_it_is_written(
    changes: dict[str, Any], why: str
) -> None:
    assert why in (why_unreadable([an_outcome(**changes)]) or "")
    assert why_unreadable([an_outcome()]) is None
    assert why_unreadable([]) == "there is no outcome"


def test_one_process_at_a_time_may_run_a_unit(tmp_path: Path) -> None:
    store = UnitStore(tmp_path)
    with a_holder(tmp_path) as told:
        assert told == "held 1"
        assert store.lease(UNIT) is None
        assert store.abandoned() == []
        other = store.lease("f" * 16)
        assert other is not None
        other.release()
    lease = store.lease(UNIT)
    assert lease is not None
    assert lease.tries == 1  # it was released, so it never ran
    assert store.lease(UNIT) is None  # nor may another thread
    with a_holder(tmp_path) as told:
        assert told == "busy 0"
    lease.release()
    assert not list((tmp_path / "leases").iterdir())


def test_a_harness_that_died_counts_as_a_try(tmp_path: Path) -> None:
    store = UnitStore(tmp_path)
    for tries in (1, 2):
        with a_holder(tmp_path, end="die") as told:
            assert told == f"held {tries}"
        assert store.abandoned() == [UNIT]
    lease = store.lease(UNIT)
    assert lease is not None
    assert lease.tries == 3
    assert store.abandoned() == []
    lease.release()


def test_whoever_leaves_on_purpose_did_not_try(tmp_path: Path) -> None:
    store = UnitStore(tmp_path)
    for _ in range(3):
        lease = store.lease(UNIT)
        assert lease is not None
        assert lease.tries == 1
        lease.leave()
    assert store.abandoned() == []
    with a_holder(tmp_path, end="die"):
        pass
    for _ in range(3):  # the try of the dead one still counts
        lease = store.lease(UNIT)
        assert lease is not None
        assert lease.tries == 2
        lease.leave()


def test_a_try_within_a_lease_counts(tmp_path: Path) -> None:
    store = UnitStore(tmp_path)
    lease = store.lease(UNIT)
    assert lease is not None
    lease.count()
    assert lease.tries == 2
    lease.leave()
    again = store.lease(UNIT)
    assert again is not None
    assert again.tries == 2
    again.release()


def test_the_lease_of_a_unit_that_was_recorded_is_cleared_away(tmp_path: Path) -> None:
    store = UnitStore(tmp_path)
    with a_holder(tmp_path, end="die"):
        pass
    store.save(UNIT, [an_outcome()])
    assert store.abandoned() == [UNIT]  # what it left is reaped once
    assert store.abandoned() == []


def test_a_unit_that_is_forgotten_has_all_of_its_tries_again(tmp_path: Path) -> None:
    store = UnitStore(tmp_path)
    for _ in range(2):
        with a_holder(tmp_path, end="die"):
            pass
    store.save(UNIT, [an_outcome(status="infra_error")])
    store.forget(UNIT)
    assert UNIT not in store
    lease = store.lease(UNIT)
    assert lease is not None
    assert lease.tries == 1
    store.forget(UNIT)  # and nobody's lease is taken away
    assert store.lease(UNIT) is None
    lease.release()
    store.forget(UNIT)  # nothing is there


def test_nothing_is_abandoned_where_nothing_was_started(tmp_path: Path) -> None:
    assert UnitStore(tmp_path).abandoned() == []
    assert list(UnitStore(tmp_path).every()) == []
