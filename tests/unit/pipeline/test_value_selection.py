"""Candidates by a model of utilities: the best one, then what might be better, or a fallback."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from planner_pipeline.bench.candidates import Decision, Lesson, is_anchor, select_campaign
from planner_pipeline.bench.config import BenchConfig, Toolchain
from planner_pipeline.bench.pass_counts import PassCounts
from planner_pipeline.bench.protocol import Case
from planner_pipeline.bench.session import BenchRequest, BenchSession
from planner_pipeline.experiments.bench_rows import bench_data, numbers_of, ran_of
from planner_pipeline.experiments.bench_value import (
    LEAST_ISSUES,
    LEAST_TRIES,
    OutcomeLearner,
    too_little,
)
from planner_pipeline.training.outcome_fit import OutcomeConfig
from planner_pipeline.training.outcome_model import features_of
from planner_pipeline.training.value_fit import expected_of, fit_value, outcomes_by_case
from planner_runtime.actions import Action, ActionSpace, valid_actions
from planner_runtime.contracts.bench_outcome import BenchOutcome
from planner_runtime.decision import choice_of
from planner_runtime.outcomes.track_record import TrackRecord
from tests.reference.campaigns import a_case
from tests.reference.toy_bench import a_workspace

SPACE = ActionSpace()
VALUE = BenchConfig(select="value", k=3)
SERIAL = Action("serial_handoff", 1, 15, "NA")
PAIR = Action("speculate_vote", 2, 30, "NA")
QUICK = OutcomeConfig(members=2, epochs=30)


class Declared:
    """A model that is told: utilities of some actions by row, 0 for all others."""

    def __init__(self, rows: int = 4, **told: Sequence[float]) -> None:
        self.rows, self.told = rows, told

    def utilities(self, actions: Sequence[Action], case: Decision) -> np.ndarray:
        names = [f"{a.swarm_id[:5]}_{a.max_candidates_bin}_{a.max_minutes_bin}" for a in actions]
        iterations = [a.max_iterations_bin for a in actions]
        columns = [
            self.told.get(name, [0.0] * self.rows) if bin_ == "NA" else [0.0] * self.rows
            for name, bin_ in zip(names, iterations, strict=True)
        ]
        return np.array(columns).T


def an_outcome(case: Case, action: Action, *, is_passed: bool) -> BenchOutcome:
    told = {
        "schema_version": "cyntra.bench_outcome.v1", "unit_id": "0" * 16,
        "bench_config_hash": "0" * 64, "case_id": case.case_id, "issue_id": case.issue_id,
        "input_hash": "0" * 64, "job_type": "code",
        "action": msgspec.to_builtins(choice_of(action)), "seed": 0, "executor": "test",
        "status": "passed" if is_passed else "failed", "minute_seconds": 60.0,
        "agent_ms": 120_000, "duration_ms": 60_000,
    }  # fmt: skip
    return msgspec.convert(told, BenchOutcome)


def a_world(n_issues: int = 16, *, repeats: int = 2) -> tuple[list[Case], list[BenchOutcome]]:
    """A vote of two mostly passes, a serial run mostly fails."""
    cases = [a_case(f"{n:02}") for n in range(n_issues)]
    outcomes = [
        an_outcome(case, action, is_passed=(action == PAIR) != (n % 8 == 7))
        for n, case in enumerate(cases)
        for action in (SERIAL, PAIR)
        for _ in range(repeats)
    ]
    return cases, outcomes


def test_what_the_model_holds_for_best_comes_right_after_baseline_and_bundle() -> None:
    model = Declared(specu_3_30=[0.4] * 4, seria_1_60=[0.9, 0.3, 0.2, 0.1])
    found = select_campaign([a_case()], space=SPACE, config=VALUE, model=model)[0]
    assert found.actions[:2] == (SERIAL, Action("speculate_vote", 3, 30, "NA"))
    assert found.reasons == ("baseline", "best", "uncertainty")
    also = {found.case_id: (PAIR,)}
    with_bundle = select_campaign([a_case()], space=SPACE, config=VALUE, model=model, also=also)[0]
    assert with_bundle.reasons == ("baseline", "model", "best")
    assert with_bundle.actions[2] == found.actions[1]


def test_doubt_counts_where_it_may_change_the_choice_and_not_where_it_cannot() -> None:
    model = Declared(
        specu_2_30=[0.5, 0.5, 0.5, 0.5],
        seria_1_60=[0.7, 0.1, 0.1, 0.1],  # may be better than the best
        specu_3_60=[0.4, -9.0, 0.4, -9.0],  # far more uncertain, never better
    )
    found = select_campaign([a_case()], space=SPACE, config=VALUE, model=model)[0]
    assert found.actions == (SERIAL, PAIR, Action("serial_handoff", 1, 60, "NA"))
    assert found.reasons == ("baseline", "best", "uncertainty")


def test_a_second_action_of_the_same_doubt_adds_less_than_one_of_another() -> None:
    four = msgspec.structs.replace(VALUE, k=4)
    model = Declared(
        specu_2_30=[0.5, 0.5, 0.5, 0.5],
        seria_1_60=[0.9, 0.1, 0.1, 0.1],
        seria_1_45=[0.85, 0.1, 0.1, 0.1],  # nearly as good, in the same row
        specu_3_60=[0.1, 0.7, 0.1, 0.1],
    )
    found = select_campaign([a_case()], space=SPACE, config=four, model=model)[0]
    assert found.actions[2:] == (
        Action("serial_handoff", 1, 60, "NA"), Action("speculate_vote", 3, 60, "NA"),
    )  # fmt: skip


def test_the_order_of_cases_is_no_matter_and_anchors_stay_what_they_are() -> None:
    config = msgspec.structs.replace(VALUE, anchors=0.3)
    cases = [a_case(str(n)) for n in range(12)]
    model = Declared(seria_1_60=[0.4, 0.1, 0.1, 0.1], specu_2_30=[0.2] * 4)
    found = select_campaign(cases, space=SPACE, config=config, model=model, words="m:1")
    again = select_campaign(cases[::-1], space=SPACE, config=config, model=model, words="m:1")
    assert found == again
    plain = select_campaign(cases, space=SPACE, config=BenchConfig(k=3, anchors=0.3))
    for one, other in zip(found, plain, strict=True):
        assert one.is_anchor == other.is_anchor == is_anchor(one.case_id, config)
        if one.is_anchor:
            assert set(one.actions) == set(other.actions) == set(valid_actions(SPACE, "code"))
            assert set(one.reasons) == {"baseline", "anchor"}
        assert "select=value" in one.policy
        assert one.policy.endswith(" model=m:1")


@pytest.mark.parametrize("shape", [(4, 3), (4,)])
def test_utilities_that_do_not_fit_the_actions_are_refused(shape: tuple[int, ...]) -> None:
    class Broken:
        def utilities(self, actions: Sequence[Action], case: Decision) -> np.ndarray:
            return np.zeros(shape)

    with pytest.raises(ValueError, match="finite numbers"):
        select_campaign([a_case()], space=SPACE, config=VALUE, model=Broken())


def test_a_model_of_outcomes_chooses_what_passed_and_carries_its_hash(tmp_path: Path) -> None:
    cases, outcomes = a_world()
    learner, new = OutcomeLearner(tmp_path, fit=QUICK), a_case("new")
    lesson = learner(outcomes, [*cases, new], VALUE)
    assert lesson.words.startswith("outcomes.v1:")
    found = select_campaign(
        [new], space=SPACE, config=VALUE, model=lesson.fit(), words=lesson.words
    )
    assert found[0].reasons[:2] == ("baseline", "best")
    assert found[0].actions[1].swarm_id == "speculate_vote"
    # equal outcomes in any order are the same model, others are another
    same = learner(outcomes[::-1], [new, *cases], VALUE)
    assert same.words == lesson.words
    refound = select_campaign([new], space=SPACE, config=VALUE, model=same.fit(), words=same.words)
    assert refound == found
    assert learner(outcomes[:-1], [*cases, new], VALUE).words != lesson.words


def test_too_little_falls_back_to_counting_passes_and_says_why(tmp_path: Path) -> None:
    cases, outcomes = a_world(3)
    lesson = OutcomeLearner(tmp_path)(outcomes, cases, VALUE)
    assert isinstance(lesson.fit(), PassCounts)
    found = select_campaign(
        cases, space=SPACE, config=VALUE, model=lesson.fit(), words=lesson.words
    )
    assert f"{LEAST_TRIES} at {LEAST_ISSUES} are needed" in found[0].policy
    assert "select=value" in found[0].policy
    assert found[0].reasons[:2] == ("baseline", "other_topology")
    nothing = OutcomeLearner(tmp_path)([], cases, VALUE)
    assert nothing.words == "pass_counts (fallback: nothing was tried yet)"
    alike = [an_outcome(case, SERIAL, is_passed=False) for case in a_world()[0] for _ in range(2)]
    of_alike = OutcomeLearner(tmp_path)(alike, a_world()[0], VALUE)
    assert "every try came to the same" in of_alike.words


def test_a_passed_vote_is_some_tries_and_a_failed_one_is_as_many_failures() -> None:
    case = a_case()
    outcomes = [an_outcome(case, PAIR, is_passed=n > 0) for n in range(4)]
    questions = {case.case_id: case.planner_input}
    tries = bench_data(ran_of(outcomes), questions, BenchConfig()).data.tries
    # three of four votes of two passed: each try passes about every other time
    assert (len(tries), int(tries.passed.sum())) == (8, 3)
    assert np.isnan(tries.minutes[~tries.passed]).sum() == 3
    assert too_little(None) is not None


def test_a_logged_attempt_counts_once_under_its_loosest_serial_limit() -> None:
    case = a_case()
    long = Action("serial_handoff", 1, 60, "NA")
    single, both = ((1,), (2,)), ((1, 2),)
    subsets: dict[Action, tuple[tuple[int, ...], ...]] = {
        long: single, SERIAL: single, PAIR: both,
    }  # fmt: skip
    outcomes = [
        msgspec.structs.replace(
            an_outcome(case, action, is_passed=action == long), replayed=attempts
        )
        for action, of_action in subsets.items()
        for attempts in of_action
    ]
    questions = {case.case_id: case.planner_input}
    found = bench_data(ran_of(outcomes), questions, BenchConfig())
    assert found.is_replayed
    assert found.data.tries.passed.tolist() == [True, True]


def test_cases_that_wait_are_chosen_for_again_and_those_that_ran_are_not(tmp_path: Path) -> None:
    repo = a_workspace(tmp_path / "repo", k=2)
    config = msgspec.structs.replace(
        VALUE, k=2, gates={"check": "true"}, toolchains={"toy": Toolchain(command=("true",))}
    )
    request = BenchRequest(
        repo=repo, out=tmp_path / "out", executor="command", config=config, command=("true",)
    )

    def opened(name: str, best: str) -> BenchSession:
        lesson = Lesson(name, lambda: Declared(4, **{best: [0.5] * 4}))
        return BenchSession(request, lambda *_: lesson)

    first = opened("m:1", "specu_2_30")
    assert {one.actions[1] for one in first.selections} == {PAIR}
    ran = first.units[0]
    outcome = an_outcome(ran.case, ran.action, is_passed=True)
    first.store.save(ran.unit_id, [msgspec.structs.replace(outcome, unit_id=ran.unit_id)])
    second = {one.case_id: one for one in opened("m:2", "specu_3_30").selections}
    assert second[ran.case.case_id].policy.endswith("model=m:1")
    (other,) = set(second) - {ran.case.case_id}
    assert second[other].policy.endswith("model=m:2")
    assert second[other].actions[1] == Action("speculate_vote", 3, 30, "NA")
    counted = BenchSession(request)
    assert "fallback" in {one.case_id: one for one in counted.selections}[other].policy


def test_rows_of_one_case_keep_the_mean_and_are_wider_than_the_models_own_doubt() -> None:
    cases, outcomes = a_world()
    questions = {case.case_id: case.planner_input for case in cases}
    found = bench_data(ran_of(outcomes), questions, VALUE)
    fitted = fit_value(found.data, QUICK, is_calibrated=False)
    records = [TrackRecord(fitted.state).of("test", "new")] * 2
    features = features_of(records, found.data.base[:2])
    numbers = numbers_of([SERIAL, Action("serial_handoff", 1, 60, "NA")], VALUE)
    mean = expected_of(fitted, features, numbers)["p_pass"]
    rows = outcomes_by_case(fitted, features, numbers)["p_pass"]
    assert len(rows) == 21 * len(mean)
    assert rows.mean(axis=0) == pytest.approx(mean.mean(axis=0), abs=0.05)
    assert (rows.std(axis=0) > mean.std(axis=0)).all()
