"""What finished runs tell: laws of the filter, and what a bundle carries of it."""

import time

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner_runtime.contracts import (
    ActionExecuted,
    ContractError,
    Outcome,
    RecordDocument,
    RunSummary,
    Runtime,
    canonical_json,
    read_document,
    to_document,
)
from planner_runtime.outcomes.track_record import (
    Belief,
    Pair,
    Priors,
    Record,
    TrackRecord,
    TrackRecordState,
    mean_chance,
    record_document,
    record_of_document,
    record_of_runs,
)


def a_run(
    number: int, *, toolchain: str | None = "claude", issue: str | None = "7",
    status: str = "success", minutes: float | None = 5.0, ended_ms: int | None = None,
    usd: float | None = None,
) -> RunSummary:  # fmt: skip
    return RunSummary(
        run_id=f"run{number}", started_ms=0, job_type="code", domain="code", issue_id=issue,
        toolchain=toolchain, ended_ms=number * 1_000 if ended_ms is None else ended_ms,
        action_executed=ActionExecuted(), outcome=Outcome(status=status),  # type: ignore[arg-type]
        runtime=Runtime(duration_ms=None if minutes is None else int(minutes * 60_000)),
        cost_usd_est=usd,
    )  # fmt: skip


@st.composite
def histories(draw: st.DrawFn) -> list[RunSummary]:
    return [
        a_run(
            number,
            toolchain=draw(st.sampled_from("ab")),
            issue=draw(st.sampled_from("xyz")),
            status=draw(st.sampled_from(["success", "failed", "timeout"])),
            minutes=draw(st.none() | st.floats(0, 200)),
            usd=draw(st.none() | st.floats(0, 9)),
        )
        for number in range(1, draw(st.integers(1, 14)))
    ]


@given(histories(), st.randoms())
def test_runs_are_learned_from_in_the_order_of_their_ends(runs, random) -> None:
    shuffled = list(runs)
    random.shuffle(shuffled)
    one_by_one = TrackRecord()
    for run in runs:
        one_by_one.add_summary(run)
    assert record_of_runs(shuffled).state() == one_by_one.state()


@given(histories(), st.integers(0, 14))
def test_a_carried_state_goes_on_as_if_it_had_never_stopped(runs, cut: int) -> None:
    whole = record_of_runs(runs).state()
    text = canonical_json(to_document(record_of_runs(runs[:cut]).state()))
    carried = read_document(text, TrackRecordState)
    assert record_of_runs(runs[cut:], carried).state() == whole
    assert read_document(canonical_json(to_document(whole)), TrackRecordState) == whole


@given(histories())
def test_what_a_state_knows_is_not_learned_twice_nor_is_the_state_changed(runs) -> None:
    state = record_of_runs(runs).state()
    before = canonical_json(to_document(state))
    record = record_of_runs(runs, state)
    assert record.state() == state
    record.add("a", "x", passed=True, minutes=3.0, usd=1.0)
    assert canonical_json(to_document(state)) == before


def test_a_pair_that_was_not_carried_is_learned_of_whenever_it_ended() -> None:
    state = record_of_runs([a_run(9)]).state()
    record = TrackRecord(state)
    assert record.add_summary(a_run(1, issue="8")) is True
    assert record.add_summary(a_run(2)) is False
    assert record.add_summary(a_run(10)) is True


@pytest.mark.parametrize("missing", [{"toolchain": None}, {"issue": None}])
def test_a_run_without_its_names_tells_nothing(missing: dict) -> None:
    record = TrackRecord()
    assert record.add_summary(a_run(1, **missing)) is False
    unended = msgspec.structs.replace(a_run(1), ended_ms=None)
    assert record.add_summary(unended) is False
    assert record.state() == TrackRecord().state()


@settings(max_examples=200)
@given(
    histories(),
    st.floats(-3, 3), st.sampled_from([0.05, 0.4, 0.8]),
    st.sampled_from("ab"), st.sampled_from("xyz"), st.booleans(),
)  # fmt: skip
def test_a_pass_never_lowers_what_is_believed_of_others_and_a_failure_never_raises_it(
    runs, base: float, alike: float, toolchain: str, issue: str, passed: bool
) -> None:
    """Of pairs without tries of their own: these report the log-odds themselves."""
    record = TrackRecord(TrackRecordState(priors=Priors(base=base, alike=alike)))
    for run in runs:
        record.add_summary(run)
    asked = [(t, i) for t in ("a", "b", "new") for i in ("x", "y", "z", "new")]
    before = {pair: record.of(*pair) for pair in asked}
    record.add(toolchain, issue, passed=passed)
    for pair in asked:
        after = record.of(*pair)
        if after.n_pair == 0:
            moved = after.logit - before[pair].logit
            assert moved >= 0 if passed else moved <= 0


def test_own_tries_weigh_more_than_effects() -> None:
    record = TrackRecord()
    for _ in range(20):
        record.add("a", "x", passed=True)
        record.add("a", "y", passed=False)
    own, other = record.of("a", "x"), record.of("a", "y")
    assert (own.n_pair, own.pair_pass, other.pair_pass) == (20, 1.0, 0.0)
    assert own.logit > 1.5
    assert other.logit < -1.5
    assert own.logit_variance < record.of("a", "new").logit_variance


def test_an_unknown_name_is_an_average_one_with_all_its_doubt() -> None:
    record = TrackRecord()
    record.add("a", "x", passed=True, minutes=2.0)
    p = record.priors
    for pair in ((None, None), ("new", "new"), ("", "")):
        told = record.of(*pair)
        assert told.logit == p.base
        assert told.logit_variance == p.toolchain + p.issue
        assert told.log_minutes_pass == p.minutes_pass
        assert (told.n_toolchain, told.n_issue, told.n_pair) == (0, 0, 0)
    assert record.of("a", "new").n_toolchain == record.of("new", "x").n_issue == 1


def test_a_limit_that_cut_a_try_is_a_lower_bound_of_its_time() -> None:
    def believed(minutes: float, timed_out: bool) -> float:
        record = TrackRecord()
        record.add("a", "x", passed=False, minutes=minutes, timed_out=timed_out)
        return record.of("a", "x").log_minutes_fail

    assert believed(2.0, timed_out=True) > believed(2.0, timed_out=False)
    assert believed(0.06, timed_out=True) == pytest.approx(Priors().minutes_fail, abs=0.01)
    assert believed(1e6, timed_out=True) == pytest.approx(believed(1e6, timed_out=False))


def test_times_and_prices_are_learned_on_their_logs() -> None:
    record = TrackRecord()
    for number in range(400):
        record.add("a", f"i{number}", passed=True, minutes=20.0, usd=10.0)
    told = record.of("a", "new")
    assert told.log_minutes_pass == pytest.approx(np.log(20), abs=0.25)
    assert told.log_usd == pytest.approx(np.log(0.5), abs=0.25)


@given(histories())
def test_every_belief_stays_a_distribution(runs) -> None:
    state = record_of_runs(runs * 20).state()
    for beliefs in (state.logits, state.minutes, state.usd):
        for belief in beliefs.values():
            assert np.isfinite(belief.mean)
            assert 0 < belief.variance <= 100


def test_a_run_and_a_start_cost_the_same_however_many_there_were() -> None:
    def best_of(work, n: int = 7) -> float:
        took = []
        for _ in range(n):
            start = time.perf_counter()
            work()
            took.append(time.perf_counter() - start)
        return min(took)

    def state_of(n: int) -> TrackRecordState:
        return TrackRecordState(
            priors=Priors(),
            logits={f"i:{i}": Belief(0.0, 1.0) for i in range(n)},
            runs={f"i:{i}": 1 for i in range(n)},
            pairs={"a": {str(i): Pair(1, 1, 1) for i in range(n)}},
        )

    small, large = state_of(10), state_of(30_000)

    def work(state: TrackRecordState) -> None:
        for number in range(50):
            record = TrackRecord(state)
            record.add("a", "5", passed=True, minutes=1.0)
            record.of("a", str(number))

    assert best_of(lambda: work(large)) < 5 * best_of(lambda: work(small))


def test_a_mean_chance_lies_between_one_half_and_the_sure_one() -> None:
    assert 0.5 < mean_chance(2.0, 4.0) < mean_chance(2.0, 0.0) == 1 / (1 + np.exp(-2.0))
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    exact = (weights / (1 + np.exp(-(1.0 + 1.5 * nodes)))).sum() / weights.sum()
    assert mean_chance(1.0, 1.5**2) == pytest.approx(exact, abs=0.01)


@given(histories())
def test_a_record_survives_the_way_through_a_planner_input(runs) -> None:
    record = record_of_runs(runs).of("a", "x")
    document = record_document(record)
    back = record_of_document(msgspec.convert(document, RecordDocument))
    for name in Record.__struct_fields__:
        assert getattr(back, name) == pytest.approx(getattr(record, name), abs=1e-6)


@pytest.mark.parametrize(
    "damage",
    [
        {"priors": {"toolchain": 0.0}},
        {"priors": {"alike": 1.5}},
        {"priors": {}, "logits": {"t:a": [0.0, -1.0]}},
        {"priors": {}, "logits": {"t:a": [0.0]}},
        {"priors": {}, "pairs": {"a": 3}},
        {"priors": {}, "mood": "good"},
        {},
    ],
)
def test_a_state_that_is_none_is_refused(damage: dict) -> None:
    with pytest.raises(ContractError):
        read_document({"schema_version": "cyntra.track_record.v1", **damage}, TrackRecordState)
