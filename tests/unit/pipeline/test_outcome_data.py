"""Records of training decisions: never a run that had not ended, never the decision's own."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner_pipeline.training.outcome_data import (
    NEVER,
    Decisions,
    Tries,
    records_apart,
    records_as_of,
    tries_of_trials,
)
from planner_pipeline.training.track_record_fit import fit_track_record
from planner_runtime.outcomes.track_record import Priors, Record
from tests.reference.track_records import some_tries
from tests.reference.trials import a_trial

HOUR_MS = 3_600_000


def decisions_of(tries: Tries, *, hours_before: float = 2.5) -> Decisions:
    """One decision a try, some hours before its end."""
    decided = tries.ended_ms - int(hours_before * HOUR_MS)
    return Decisions(tries.toolchain, tries.issue, decided)


@given(seed=st.integers(0, 10_000), hour=st.integers(0, 40), data=st.data())
@settings(max_examples=40, deadline=None)
def test_taking_away_what_ended_later_changes_no_record(
    seed: int, hour: int, data: st.DataObject
) -> None:
    tries = some_tries(3, 6, seed=seed)
    moment = hour * HOUR_MS
    decisions = Decisions(
        np.array(["chain-0", "chain-1", None, "new"], dtype=object),
        np.array(["task-000", "task-001", "task-002", "task-000"], dtype=object),
        np.full(4, moment),
    )
    before = tries.ended_ms <= moment
    expected = records_as_of(tries.choose(before), decisions)
    assert records_as_of(tries, decisions) == expected
    changed = msgspec.structs.replace(
        tries, passed=np.where(before, tries.passed, ~tries.passed),
        minutes=np.where(before, tries.minutes, 999.0),
    )  # fmt: skip
    order = np.array(data.draw(st.permutations(range(len(tries)))), dtype=int)
    assert records_as_of(changed.choose(order), decisions) == expected


def test_a_record_grows_with_what_had_ended_and_a_run_without_an_end_is_in_none() -> None:
    tries = some_tries(2, 4)
    decisions = decisions_of(tries)
    for row, record in enumerate(records_as_of(tries, decisions)):
        ended = tries.ended_ms <= decisions.decided_ms[row]
        mine = tries.toolchain == decisions.toolchain[row]
        here = tries.issue == decisions.issue[row]
        assert record.n_toolchain == (ended & mine).sum()
        assert record.n_issue == (ended & here).sum()
        assert record.n_pair == (ended & mine & here).sum()
    unknown = msgspec.structs.replace(tries, ended_ms=np.full(len(tries), NEVER))
    blank = records_as_of(unknown, decisions)
    assert {record.n_issue for record in blank} == {0}
    assert len(set(blank)) == 1


def apart(tries: Tries, decisions: Decisions) -> list[Record]:
    return records_apart(tries, decisions, priors=Priors())


def test_a_record_apart_never_holds_the_own_future_nor_the_own_tries() -> None:
    tries = some_tries(3, 8, seed=1)
    decisions = decisions_of(tries)
    found = apart(tries, decisions)
    for row in range(0, len(tries), 4):
        mine = tries.toolchain == decisions.toolchain[row]
        later = mine & (tries.ended_ms > decisions.decided_ms[row])
        assert later[row]
        other = msgspec.structs.replace(
            tries, passed=tries.passed ^ later, minutes=np.where(later, 500.0, tries.minutes)
        )
        alone = Decisions(*(getattr(decisions, n)[[row]] for n in Decisions.__struct_fields__))
        assert apart(other, alone) == [found[row]]
        assert found[row].n_toolchain == (mine & ~later).sum()


def test_a_record_apart_holds_others_at_any_time_and_the_own_past() -> None:
    tries = some_tries(3, 8, seed=2, share=1.0)
    decisions = decisions_of(tries)
    row = len(tries) // 2
    alone = Decisions(*(getattr(decisions, n)[[row]] for n in Decisions.__struct_fields__))
    (found,) = apart(tries, alone)
    mine = tries.toolchain == decisions.toolchain[row]
    here = tries.issue == decisions.issue[row]
    past = tries.ended_ms <= decisions.decided_ms[row]
    assert found.n_issue == (here & (~mine | past)).sum()
    for rows in (here & ~mine & ~past, mine & past):
        changed = msgspec.structs.replace(tries, passed=np.where(rows, False, tries.passed))
        opposite = msgspec.structs.replace(tries, passed=np.where(rows, True, tries.passed))
        assert apart(changed, alone)[0].logit < apart(opposite, alone)[0].logit


def test_states_of_others_are_fitted_once_and_kept() -> None:
    tries = some_tries(3, 5)
    states: dict = {}
    one = records_apart(tries, decisions_of(tries), priors=Priors(), states=states)
    assert sorted(states) == ["chain-0", "chain-1", "chain-2"]
    assert states["chain-0"] == fit_track_record(tries.cells().without("chain-0"), Priors())
    assert records_apart(tries, decisions_of(tries), priors=Priors(), states=states) == one


def test_a_toolchain_alone_has_its_own_past_and_nothing_else() -> None:
    tries = some_tries(1, 6)
    decisions = decisions_of(tries)
    assert apart(tries, decisions) == records_as_of(tries, decisions)


def test_trials_become_tries_and_those_cut_by_a_limit_say_so() -> None:
    tries = tries_of_trials(
        [a_trial(1, usd=0.5), a_trial(2, passed=False, minutes=30.0), a_trial(3, minutes=None)]
    )
    assert tries.passed.tolist() == [True, False, True]
    assert tries.timed_out.tolist() == [False, True, False]
    assert tries.minutes == pytest.approx([4.0, 30.0, np.nan], nan_ok=True)
    assert tries.ended_ms.tolist() == [HOUR_MS + 240_000, 2 * HOUR_MS + 1_800_000, NEVER]
    with pytest.raises(ValueError, match="no trial"):
        tries_of_trials([])
