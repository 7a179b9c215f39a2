"""No attempt that was not known then, and none of a held-out system, reaches a prediction."""

from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pytest

from planner_pipeline.bench.trial_study import STUDY_BUDGETS, build_trial_study
from planner_pipeline.experiments.trial_outcomes import (
    TOO_FEW,
    TrialOutcomes,
    held_out_outlooks,
    playable,
    records_of,
    trial_outcomes,
    utilities,
    without_system,
)
from planner_pipeline.sources.trials import Trial
from planner_pipeline.training.outcome_data import Decisions, trial_end_ms
from planner_pipeline.training.outcome_fit import OutcomeConfig
from planner_pipeline.training.outcome_model import FittedOutcomes, OutcomeData
from planner_pipeline.training.track_record_fit import fit_track_record
from planner_runtime.outcomes.track_record import Record
from tests.reference.attempts import some_fitted
from tests.reference.trials import a_trial, many_trials, naive_outcome

TRIALS = many_trials()
SMALL = OutcomeConfig(members=2, epochs=4)


def outcomes_of(trials: list[Trial]) -> TrialOutcomes:
    return trial_outcomes(trials, playable(build_trial_study(trials)))


def changed(trials: list[Trial], which: Callable[[Trial], bool]) -> list[Trial]:
    """The trials with the opposite outcome, and a dollar, where ``which`` says so."""
    return [
        msgspec.structs.replace(t, passed=not t.passed, fail_code=None, cost_usd=1.0)
        if which(t)
        else t
        for t in trials
    ]


def arrays_of(one: msgspec.Struct) -> Iterator[tuple[str, np.ndarray]]:
    for name in one.__struct_fields__:
        value = getattr(one, name)
        if isinstance(value, msgspec.Struct):
            yield from ((f"{name}.{inner}", array) for inner, array in arrays_of(value))
        elif isinstance(value, np.ndarray):
            yield name, value


def same(one: OutcomeData, other: OutcomeData) -> list[str]:
    """Names of arrays that differ."""
    pairs = zip(arrays_of(one), arrays_of(other), strict=True)
    return [
        name
        for (name, mine), (_, yours) in pairs
        if mine.shape != yours.shape
        or not all(
            a == b or (a != a and b != b) for a, b in zip(mine.flat, yours.flat, strict=True)
        )
    ]


def fitted_without(outcomes: TrialOutcomes, system: str) -> FittedOutcomes:
    """A fit whose track record alone is of the other systems."""
    state = fit_track_record(without_system(outcomes.data, system).tries.cells())
    return msgspec.structs.replace(some_fitted(), state=state)


def records(
    outcomes: TrialOutcomes, fitted: FittedOutcomes, system: str, *, as_of: bool
) -> list[Record]:
    data = outcomes.data
    asked = np.flatnonzero(outcomes.system == system)
    decisions = Decisions(*(getattr(data.decisions, n)[asked] for n in Decisions.__struct_fields__))
    return records_of(data.tries, decisions, fitted, system, as_of=as_of)


def test_expected_outcomes_are_the_naive_ones_in_the_order_of_the_cases() -> None:
    outcomes = outcomes_of(TRIALS[::-1])
    for row, case_id in enumerate(outcomes.case_ids):
        _, system, issue = case_id.split("/")
        assert outcomes.system[row] == system
        attempts = [t for t in TRIALS if (t.system, t.issue_id) == (system, issue)]
        for action, (k, minutes) in enumerate(STUDY_BUDGETS):
            passed, cost, _ = naive_outcome(attempts, k, minutes)
            assert outcomes.pass_ratio[row, action] == pytest.approx(passed)
            assert outcomes.minutes[row, action] == pytest.approx(cost)
    assert utilities(outcomes, 0.5) == pytest.approx(outcomes.pass_ratio - 0.5 * outcomes.minutes)


def test_a_case_that_cannot_play_every_action_is_evidence_and_no_case() -> None:
    short = [a_trial(n, issue="short", system="system-0") for n in (1, 2)]
    study = playable(build_trial_study([*TRIALS, *short]))
    assert [(left.case_id, left.reason) for left in study.left_out] == [
        ("bench/system-0/short", TOO_FEW)
    ]
    outcomes = trial_outcomes([*TRIALS, *short], study)
    assert np.isfinite(outcomes.pass_ratio).all()
    assert len(outcomes.data.tries) == len(TRIALS) + 2
    assert outcomes.data.case[-2:].tolist() == [-1, -1]


def test_without_a_system_every_try_still_belongs_to_its_decision() -> None:
    data = outcomes_of(TRIALS).data
    for system in ("system-0", "system-1", "system-2"):
        left = without_system(data, system)
        assert len(left.decisions) == 12
        assert system not in {*left.decisions.toolchain, *left.tries.toolchain}
        assert (left.decisions.toolchain[left.case] == left.tries.toolchain).all()
        assert (left.decisions.issue[left.case] == left.tries.issue).all()
        assert len(left.base) == len(left.choices) == 12
        kept = data.decisions.toolchain != system
        assert ((left.base == data.base[kept]).sum(axis=0) < 12).sum() <= 2  # earlier failures
        mine = {
            (t, i, k, m): r
            for t, i, k, m, r in zip(
                left.decisions.toolchain[left.scored.decision],
                left.decisions.issue[left.scored.decision],
                left.scored.candidates,
                left.scored.minutes,
                left.scored.ratio,
                strict=True,
            )
        }
        assert len(mine) == 12 * len(STUDY_BUDGETS)
        for row in np.flatnonzero(kept[data.scored.decision]):
            decision = data.scored.decision[row]
            key = (
                data.decisions.toolchain[decision], data.decisions.issue[decision],
                data.scored.candidates[row], data.scored.minutes[row],
            )  # fmt: skip
            assert mine[key] == data.scored.ratio[row]


def test_history_alone_stays_history_alone() -> None:
    trials = [*TRIALS, *(a_trial(n, issue="short", system="system-0") for n in (1, 2))]
    left = without_system(outcomes_of(trials).data, "system-1")
    assert left.case[-2:].tolist() == [-1, -1]
    assert (left.case[:-2] >= 0).all()


@pytest.mark.parametrize("system", ["system-0", "system-1", "system-2"])
def test_the_data_without_a_system_is_that_of_a_world_without_it(system: str) -> None:
    """Down to the failures at an issue that a decision's own document counts."""
    rest = [t for t in TRIALS if t.system != system]
    at_once = [a_trial(n, issue="task-0", system=system, minutes=0.0) for n in range(1, 6)]
    mine, apart = outcomes_of([*rest, *at_once]).data, outcomes_of(rest).data
    for data in (outcomes_of(TRIALS).data, mine):
        assert same(without_system(data, system), apart) == []


@pytest.mark.parametrize("system", ["system-0", "system-1", "system-2"])
def test_what_a_held_out_system_did_changes_nothing_of_its_fit(system: str) -> None:
    one = without_system(outcomes_of(TRIALS).data, system)
    other = without_system(outcomes_of(changed(TRIALS, lambda t: t.system == system)).data, system)
    assert same(one, other) == []
    assert "tries.passed" in same(one, outcomes_of(TRIALS).data)


def test_no_later_attempt_of_its_own_reaches_a_held_out_systems_decision() -> None:
    system = "system-1"
    outcomes = outcomes_of(TRIALS)
    fitted = fitted_without(outcomes, system)
    before = records(outcomes, fitted, system, as_of=False)
    decided = outcomes.data.decisions.decided_ms[outcomes.system == system]
    for row, moment in enumerate(decided.tolist()):

        def is_later(t: Trial, moment: int = moment) -> bool:
            return t.system == system and trial_end_ms(t) > moment

        after = records(outcomes_of(changed(TRIALS, is_later)), fitted, system, as_of=False)
        assert after[row] == before[row]
    own = records(
        outcomes_of(changed(TRIALS, lambda t: t.system == system)), fitted, system, as_of=False
    )
    assert own[-1] != before[-1]  # what had ended does count


def test_as_of_a_decision_nothing_that_had_not_ended_is_known_of_anybody() -> None:
    outcomes = outcomes_of(TRIALS)
    fitted = fitted_without(outcomes, "system-1")
    before = records(outcomes, fitted, "system-1", as_of=True)
    decided = outcomes.data.decisions.decided_ms[outcomes.system == "system-1"]
    assert before != records(outcomes, fitted, "system-1", as_of=False)
    for row, moment in enumerate(decided.tolist()):

        def is_later(t: Trial, moment: int = moment) -> bool:
            return trial_end_ms(t) > moment

        later = changed(TRIALS, is_later)
        assert later != TRIALS
        assert records(outcomes_of(later), fitted, "system-1", as_of=True)[row] == before[row]


def test_an_attempt_that_took_no_time_is_unknown_to_the_decision_that_starts_it() -> None:
    trials = [a_trial(n, issue=i, minutes=0.0) for i in ("a", "b") for n in (1, 2, 3)]
    outcomes = outcomes_of([*trials, *TRIALS])
    found = records(outcomes, fitted_without(outcomes, "alpha"), "alpha", as_of=False)
    assert [record.n_pair for record in found] == [0, 0]


def test_the_canary_dies_in_no_prediction() -> None:
    """The whole way, with a fit for each system: what the last attempts came to is news to all."""
    trials = many_trials(n_systems=2, n_issues=4)
    system = "system-1"

    def is_canary(t: Trial) -> bool:
        return t.system == system and t.attempt > 1  # after the last of its decisions

    seen: list[str] = []
    before = held_out_outlooks(outcomes_of(trials), SMALL, on_fit=lambda s, fitted: seen.append(s))
    outcomes = outcomes_of(changed(trials, is_canary))
    after = held_out_outlooks(outcomes, SMALL)
    assert seen == ["system-0", "system-1"]
    for row, name in enumerate(outcomes.system.tolist()):
        is_same = np.array_equal(before[row].p_pass, after[row].p_pass)
        assert is_same == (name == system)  # of others, these attempts are evidence
