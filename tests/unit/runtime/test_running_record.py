"""The record that a serving planner keeps: what it learns, when, and that nobody waits for it long.

Belongs here: ``running_record``. Does not: what a run teaches (``test_track_record``).
"""

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_runtime.bundle import Bundle, read_bundle
from planner_runtime.contracts.run_summary import ActionExecuted, Outcome, RunSummary, Runtime
from planner_runtime.deadline import Deadline, DeadlineError
from planner_runtime.kernel.dispatch import KernelPlanner
from planner_runtime.kernel.running_record import RunningRecord, ServedRecord
from planner_runtime.kernel.settings import PlannerSettings
from planner_runtime.outcomes.track_record import Priors, TrackRecordState, record_of_runs
from planner_runtime.similar_runs import RunIndex
from tests.outcome_bundles import NOW_MS, write_outcome_bundle
from tests.unit.runtime.test_kernel_planner import dispatched

STATE = TrackRecordState(priors=Priors())
LATER_MS = 10**6


def a_run(number: int, *, ended_ms: int | None, issue: str = "7") -> RunSummary:
    return RunSummary(
        run_id=f"r{number}", started_ms=0, ended_ms=ended_ms, job_type="code", domain="code",
        issue_id=issue, toolchain="codex", action_executed=ActionExecuted(),
        outcome=Outcome(status="success" if number % 3 else "failed"),
        runtime=Runtime(duration_ms=60_000),
    )  # fmt: skip


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("record") / "bundle"
    write_outcome_bundle(folder)
    return read_bundle(folder)


@given(sizes=st.lists(st.integers(0, 4), max_size=8), n_again=st.integers(0, 3))
def test_a_record_that_grew_is_the_one_of_all_its_runs(sizes: list[int], n_again: int) -> None:
    index, record, runs = RunIndex(), RunningRecord(STATE), list[RunSummary]()
    for size in sizes:
        added = [a_run(len(runs) + i, ended_ms=len(runs) + i) for i in range(size)]
        runs += added
        index.update([*added, *runs[:n_again]])
        assert record.at(index, LATER_MS).state() == record_of_runs(runs, STATE).state()


def test_a_run_teaches_once_it_is_over_and_not_before() -> None:
    index = RunIndex([a_run(1, ended_ms=None), a_run(2, ended_ms=200), a_run(3, ended_ms=300)])
    record = RunningRecord(STATE)
    assert record.at(index, 250).of("codex", "7").n_pair == 1
    index.add(a_run(1, ended_ms=240))
    assert record.at(index, 250).of("codex", "7").n_pair == 2
    assert record.at(index, 300).of("codex", "7").n_pair == 3


@given(moments=st.lists(st.integers(0, 12), max_size=8))
def test_a_clock_that_steps_back_takes_the_record_back(moments: list[int]) -> None:
    runs = [a_run(n, ended_ms=n) for n in range(10)]
    record, index = RunningRecord(STATE), RunIndex(runs)
    for now_ms in moments:
        ended = [run for run in runs if run.ended_ms is not None and run.ended_ms <= now_ms]
        assert record.at(index, now_ms).state() == record_of_runs(ended, STATE).state()


def test_a_run_that_was_removed_before_anybody_asked_teaches_nothing() -> None:
    index = RunIndex([a_run(1, ended_ms=100), a_run(2, ended_ms=200)])
    index.update((), removed=["r1"])
    assert RunningRecord(STATE).at(index, LATER_MS).of("codex", "7").n_pair == 1


def test_another_history_is_learned_from_whole() -> None:
    record = RunningRecord(STATE)
    record.at(RunIndex([a_run(n, ended_ms=n) for n in range(5)]), LATER_MS)
    other = RunIndex([a_run(n, ended_ms=n) for n in range(3, 7)])
    assert record.at(other, LATER_MS).of("codex", "7").n_pair == 7


def test_what_cannot_be_learned_in_time_is_left_to_the_next(bundle: Bundle) -> None:
    index, served = RunIndex([a_run(n, ended_ms=n) for n in range(50)]), ServedRecord()
    with pytest.raises(DeadlineError):
        served.learn(bundle, index, LATER_MS, Deadline(1e-6))
    record = served.learn(bundle, index, LATER_MS)
    assert record is not None
    assert record.of("codex", "7").n_pair == 50


def test_nobody_waits_longer_than_it_may_for_whoever_is_learning(bundle: Bundle) -> None:
    index, served, is_late = RunIndex([a_run(1, ended_ms=1)]), ServedRecord(), list[bool]()

    def ask() -> None:
        try:
            served.learn(bundle, index, LATER_MS, Deadline(1.0))
        except DeadlineError:
            is_late.append(True)

    with index._lock:  # who learns has to wait for the index, and others for who learns
        learning = threading.Thread(target=served.learn, args=(bundle, index, LATER_MS))
        learning.start()
        while served._lock.acquire(timeout=0):  # until it is being learned
            served._lock.release()
        asking = threading.Thread(target=ask)
        asking.start()
        asking.join(timeout=30)
        assert is_late == [True]
    learning.join()


def test_a_decision_with_too_much_to_learn_is_the_baselines_unless_it_was_prepared(
    tmp_path: Path,
) -> None:
    write_outcome_bundle(tmp_path / "bundle")
    settings = PlannerSettings(mode="enforce", bundle_dir=tmp_path / "bundle", deadline_ms=1e-6)

    class History:
        index = RunIndex([a_run(n, ended_ms=n) for n in range(50)])

    issue = {"id": "7", "dk_tool_hint": "codex"}
    with_nothing_learned = KernelPlanner(settings)
    late = dispatched(with_nothing_learned, history_candidates=History(), issue=issue)
    assert late.fallback_reason == "deadline"
    assert late.planner_input["system_state"] is None
    prepared = KernelPlanner(settings)
    prepared.prepare(History(), now_ms=NOW_MS)
    told = dispatched(prepared, history_candidates=History(), issue=issue)
    assert told.planner_input["system_state"]["track_record"]["n_toolchain"] == 50
    for planner in (with_nothing_learned, prepared):
        planner.close()
