"""Campaigns on a scripted executor: order, tries, caps, stops, seeds, and who else is there."""

import itertools
import threading
import time
from pathlib import Path

import pytest

from planner_pipeline.bench.campaign import attempt_seed, outcome_of, spend_of, worst_case_of
from planner_pipeline.bench.config import Caps
from planner_pipeline.bench.ledger import FILE, Ledger, LedgerError
from planner_pipeline.bench.protocol import Executor, HarnessError, Result, Spend, Unit
from planner_pipeline.bench.scripted import Scripted, key_of, result_of
from planner_pipeline.bench.units import UnitStore
from planner_runtime.contracts.bench_outcome import BenchOutcome
from planner_runtime.contracts.reading import read_document, to_document
from tests.reference.campaigns import (
    ACTIONS,
    PAIR,
    SERIAL,
    a_campaign,
    a_runner,
    recorded,
    some_units,
)

BROKEN = HarnessError("sandbox", "it does not start")


def test_units_run_repeat_by_repeat_case_by_case_candidate_by_candidate(tmp_path: Path) -> None:
    campaign, executor = a_campaign(repeats=2), Scripted()
    units = some_units(campaign, names=("2", "1"))
    end = a_runner(tmp_path, campaign, executor).run(units)
    expected = [
        (f"{case}@then", action, repeat)
        for repeat, case, action in itertools.product((0, 1), "12", ACTIONS)
    ]
    assert [key_of(unit) for unit in executor.started] == expected
    assert (end.ending, end.n_units, end.n_run, end.n_kept, end.n_busy) == ("done", 8, 8, 0, 0)
    assert list(recorded(tmp_path)) == sorted(unit.unit_id for unit in units)


def test_an_outcome_tells_its_unit_and_is_a_document_anybody_can_read(tmp_path: Path) -> None:
    executor: Executor = Scripted()
    campaign = a_campaign()
    (unit, *_) = some_units(campaign)
    a_runner(tmp_path, campaign, executor).run([unit])
    (outcome,) = recorded(tmp_path).values()
    assert read_document(to_document(outcome), BenchOutcome) == outcome
    assert (outcome.unit_id, outcome.seed, outcome.repeat) == (unit.unit_id, unit.seed, 0)
    assert (outcome.executor, outcome.tries, outcome.minute_seconds) == ("scripted", 1, 60.0)
    assert (outcome.started_at or "") <= (outcome.ended_at or "")


def test_what_was_finished_is_kept_and_not_run_again(tmp_path: Path) -> None:
    campaign, executor = a_campaign(), Scripted()
    units = some_units(campaign)
    assert a_runner(tmp_path, campaign, executor).run(units[:3]).n_run == 3
    end = a_runner(tmp_path, campaign, executor, session="s2").run(units)
    assert (end.n_run, end.n_kept) == (1, 3)
    assert len(executor.started) == 4


def test_a_harness_that_fails_once_is_tried_again(tmp_path: Path) -> None:
    campaign = a_campaign()
    units = some_units(campaign)
    executor = Scripted(errors={key_of(units[1]): (BROKEN,)})
    end = a_runner(tmp_path, campaign, executor).run(units)
    assert (end.ending, end.n_run, end.n_infra_errors) == ("done", 4, 0)
    outcome = recorded(tmp_path)[units[1].unit_id]
    assert (outcome.tries, outcome.status) == (2, result_of(units[1]).status)
    assert len(executor.started) == 5


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (BROKEN, "sandbox: it does not start"), (OSError(28, "disk full"), "OSError: [Errno 28]"),
        (RuntimeError("no such thread"), "RuntimeError: no such thread"),
        (AssertionError(), "AssertionError"), (AttributeError("x"), "AttributeError: x"),
        (HarnessError("git", "\ud800 is no text"), "git: ? is no text"),
    ],
)  # fmt: skip
def test_a_harness_that_fails_twice_is_no_verdict_on_the_candidate(
    tmp_path: Path, error: Exception, why: str
) -> None:
    campaign = a_campaign()
    units = some_units(campaign)
    executor = Scripted(errors={key_of(units[0]): (error, error)})
    end = a_runner(tmp_path, campaign, executor).run(units)
    assert (end.ending, end.n_run, end.n_infra_errors) == ("done", 4, 1)
    outcome = recorded(tmp_path)[units[0].unit_id]
    assert (outcome.status, outcome.tries, outcome.metrics) == ("infra_error", 2, {})
    assert (outcome.reason or "").startswith(why)
    assert len(executor.started) == 5


@pytest.mark.parametrize(
    "result", [(), (Result(status="passed", cost_usd=-1.0),), (Result(status="won"),)]  # type: ignore[arg-type]
)  # fmt: skip
def test_a_result_that_nobody_could_read_again_is_the_harnesss_failure(
    tmp_path: Path, result: tuple[Result, ...]
) -> None:
    class Odd(Scripted):
        def run(self, unit: Unit) -> tuple[Result, ...]:
            return result

    campaign = a_campaign()
    (unit, *_) = some_units(campaign)
    assert a_runner(tmp_path, campaign, Odd()).run([unit]).n_infra_errors == 1
    assert "result of scripted" in (recorded(tmp_path)[unit.unit_id].reason or "")


def test_the_worst_case_is_known_before_anything_starts(tmp_path: Path) -> None:
    campaign = a_campaign()
    worst = Spend(attempts=1, agent_minutes=15.0, wall_seconds=9.0, cost_usd=0.25)
    executor = Scripted(worst=worst)
    n_units, spend = worst_case_of(executor, some_units(campaign))
    assert n_units == 4
    assert (spend.attempts, spend.agent_minutes) == (2 * (1 + 2), 2 * (15.0 + 30.0))
    assert (spend.wall_seconds, spend.cost_usd) == (36.0, 1.5)
    unpriced = worst_case_of(Scripted(), some_units(campaign))[1]
    assert unpriced.cost_usd is None
    assert worst_case_of(Scripted(), []) == (
        0, Spend(attempts=0, agent_minutes=0.0, wall_seconds=0.0, cost_usd=0.0),
    )  # fmt: skip
    assert not executor.started
    assert not (tmp_path / FILE).exists()


def test_a_cap_ends_a_campaign_with_what_is_finished(tmp_path: Path) -> None:
    campaign, executor = a_campaign(caps=Caps(attempts=5)), Scripted()
    units = some_units(campaign, actions=(PAIR,), names=("1", "2", "3", "4"))
    runner = a_runner(tmp_path, campaign, executor)
    end = runner.run(units)  # reserves 2, takes 1: after the fourth unit 4 are spent
    assert (end.ending, end.n_run, end.reason) == ("done", 4, None)
    more = some_units(campaign, actions=(PAIR,), names=("5",))
    end = a_runner(tmp_path, campaign, executor, session="s2").run(more)
    assert (end.ending, end.n_run) == ("cap", 0)
    assert end.reason == "cap on attempts: 1 left, 2 needed"
    assert len(recorded(tmp_path)) == 4
    assert UnitStore(tmp_path).abandoned() == []
    raised = a_campaign(caps=Caps(attempts=6))
    assert a_runner(tmp_path, raised, executor, session="s3").run(more).n_run == 1


def test_at_a_cap_what_runs_beside_it_still_counts(tmp_path: Path) -> None:
    campaign = a_campaign(caps=Caps(attempts=1), jobs=2)
    units = some_units(campaign, actions=(SERIAL,))
    end = a_runner(tmp_path, campaign, Scripted(seconds=0.2)).run(units)
    assert (end.ending, end.n_run) == ("cap", 1)
    assert len(recorded(tmp_path)) == 1
    assert Ledger(tmp_path, Caps(), session="look").totals().n_open == 0


def test_a_try_that_failed_was_paid_for_and_the_next_needs_room_of_its_own(tmp_path: Path) -> None:
    campaign = a_campaign(caps=Caps(attempts=3))
    units = some_units(campaign, actions=(PAIR,), names=("1",))
    executor = Scripted(errors={key_of(units[0]): (BROKEN,)})
    end = a_runner(tmp_path, campaign, executor).run(units)
    assert (end.ending, end.n_run) == ("cap", 0)
    assert Ledger(tmp_path, Caps(), session="look").totals().attempts == 2
    raised = a_campaign(caps=Caps(attempts=4))
    a_runner(tmp_path, raised, executor, session="s2").run(units)
    assert recorded(tmp_path)[units[0].unit_id].tries == 2


def test_units_that_replay_or_tell_nothing_are_settled_for_nothing_or_at_their_worst() -> None:
    worst = Spend(attempts=3, agent_minutes=9.0, wall_seconds=1.0, cost_usd=2.0)
    campaign = a_campaign()
    (unit, *_) = some_units(campaign)

    def spent(**told: object) -> tuple[int, float, float | None]:
        result = Result(status="failed", **told)  # type: ignore[arg-type]
        outcome = outcome_of(campaign, "x", unit, result, moments_ms=(0, 0), tries=1)
        spend = spend_of([outcome], worst, 60.0)
        return spend.attempts, spend.agent_minutes, spend.cost_usd

    assert spent() == (3, 9.0, 2.0)
    assert spent(agent_ms=90_000, cost_usd=0.5) == (3, 1.5, 0.5)
    assert spent(replayed=(1,), agent_ms=90_000, cost_usd=0.5) == (0, 0.0, 0.0)


def test_dollars_that_nobody_can_tell_stop_a_campaign_that_caps_them(tmp_path: Path) -> None:
    campaign = a_campaign(caps=Caps(cost_usd=1.0))
    executor = Scripted()
    with pytest.raises(LedgerError, match="no price is known"):
        a_runner(tmp_path, campaign, executor).run(some_units(campaign))
    assert not executor.started
    assert UnitStore(tmp_path).abandoned() == []


def test_a_stop_records_nothing_of_what_runs_and_it_runs_again(tmp_path: Path) -> None:
    campaign, executor = a_campaign(), Scripted(seconds=0.1)
    units = some_units(campaign)
    runner = a_runner(tmp_path, campaign, executor, tell=lambda _unit, _outcomes: runner.stop())
    end = runner.run(units)
    assert (end.ending, end.n_run, end.reason) == ("stopped", 1, None)
    second = a_runner(tmp_path, campaign, executor, session="s2")
    stopper = threading.Timer(0.05, second.stop)
    stopper.start()
    end = second.run(units)
    stopper.join()
    assert (end.ending, end.n_run, end.n_kept) == ("stopped", 0, 1)
    assert len(recorded(tmp_path)) == 1
    assert len(executor.started) == 2
    end = a_runner(tmp_path, campaign, executor, session="s3").run(units)
    assert (end.ending, end.n_run, end.n_kept) == ("done", 3, 1)
    assert {outcome.tries for outcome in recorded(tmp_path).values()} == {1}


def test_whoever_is_interrupted_kills_what_runs_and_keeps_what_is_finished(tmp_path: Path) -> None:
    campaign, executor = a_campaign(jobs=2), Scripted(seconds=30.0)
    units = some_units(campaign)
    quick = Scripted()
    assert a_runner(tmp_path, campaign, quick).run(units[:1]).n_run == 1
    began = time.monotonic()

    class Impatient(Scripted):
        def run(self, unit: Unit) -> tuple[Result, ...]:
            if unit is units[1]:
                raise KeyboardInterrupt  # as if it had come while the campaign waits
            return executor.run(unit)

        def interrupt(self) -> None:
            executor.interrupt()

    with pytest.raises(KeyboardInterrupt):
        a_runner(tmp_path, campaign, Impatient(), session="s2").run(units)
    assert time.monotonic() - began < 5.0
    assert executor.n_interrupts >= 1
    assert list(recorded(tmp_path)) == [units[0].unit_id]
    assert UnitStore(tmp_path).abandoned() == []
    assert a_runner(tmp_path, campaign, quick, session="s3").run(units).n_run == 3


def test_several_jobs_run_units_side_by_side_and_record_the_same(tmp_path: Path) -> None:
    one, many = a_campaign(repeats=3), a_campaign(repeats=3, jobs=4)
    units = some_units(one)
    a_runner(tmp_path / "one", one, Scripted()).run(units)
    began = time.monotonic()
    end = a_runner(tmp_path / "many", many, Scripted(seconds=0.2)).run(some_units(many))
    assert time.monotonic() - began < 12 * 0.2
    assert end.n_run == 12
    first, second = recorded(tmp_path / "one"), recorded(tmp_path / "many")
    assert {key: (o.status, o.seed) for key, o in first.items()} == {
        key: (o.status, o.seed) for key, o in second.items()
    }


def test_a_unit_that_another_harness_runs_is_left_to_it(tmp_path: Path) -> None:
    campaign, executor = a_campaign(), Scripted()
    units = some_units(campaign)
    lease = UnitStore(tmp_path).lease(units[1].unit_id)
    assert lease is not None
    end = a_runner(tmp_path, campaign, executor).run(units)
    assert (end.ending, end.n_run, end.n_busy) == ("done", 3, 1)
    assert units[1] not in executor.started
    lease.release()
    assert a_runner(tmp_path, campaign, executor, session="s2").run(units).n_run == 1


def test_a_unit_whose_harness_died_twice_is_not_started_a_third_time(tmp_path: Path) -> None:
    campaign, executor = a_campaign(caps=Caps(attempts=4)), Scripted()
    units = some_units(campaign, actions=(SERIAL,))
    for _ in range(2):  # a lease that is let go without a word is one of a dead harness
        lease = UnitStore(tmp_path).lease(units[0].unit_id)
        assert lease is not None
        lease._file.close()
    end = a_runner(tmp_path, campaign, executor).run(units)
    assert (end.n_run, end.n_infra_errors) == (2, 1)
    outcome = recorded(tmp_path)[units[0].unit_id]
    assert (outcome.status, outcome.reason) == ("infra_error", "the harness died while it ran")
    assert executor.started == [units[1]]
    assert Ledger(tmp_path, Caps(), session="look").totals().attempts == 1


def test_every_candidate_has_a_seed_of_its_own_the_same_in_every_campaign() -> None:
    names = tuple(map(str, range(20)))
    units = some_units(a_campaign(repeats=5), names)
    assert len({unit.seed for unit in units}) == len(units)
    assert len({attempt_seed(unit.seed, n) for unit in units for n in (1, 2, 3)}) == 3 * len(units)
    assert max(unit.seed for unit in units) < 2**31
    again = some_units(a_campaign(repeats=5), tuple(reversed(names)))
    assert again == units
    fewer = some_units(a_campaign(repeats=2), names[:3], actions=(PAIR,))
    seeds = {key_of(unit): unit.seed for unit in units}
    assert all(seeds[key_of(unit)] == unit.seed for unit in fewer)
    other = some_units(a_campaign(repeats=5, seed=1), names)
    assert not {unit.seed for unit in units} & {unit.seed for unit in other}


def test_two_identical_campaigns_give_equal_candidates(tmp_path: Path) -> None:
    told = []
    for name in ("a", "b"):
        campaign = a_campaign(repeats=2)
        a_runner(tmp_path / name, campaign, Scripted()).run(some_units(campaign))
        told.append(
            {
                key: to_document(outcome) | {"started_at": "", "ended_at": ""}
                for key, outcome in recorded(tmp_path / name).items()
            }
        )
    assert told[0] == told[1]
    assert {row["status"] for row in told[0].values()} == {"passed", "failed"}
