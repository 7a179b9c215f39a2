"""What a bench certifies of a policy by outcomes, and what it shows of one."""

from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from planner_pipeline.artifacts import write_parquet
from planner_pipeline.experiments.bench_policy import (
    LEAST,
    Compared,
    Evidence,
    certify,
    compared,
    evidence_of,
    promise_of,
    split_in_time,
    what_if_of_bench,
)
from planner_pipeline.experiments.benched_cases import bench_bytes, benched_cases, read_bench
from planner_runtime.bundle import Bundle
from planner_runtime.kernel_config import SHIPPED_CONFIG
from planner_runtime.objective import DEFAULT_OBJECTIVE, Objective, Weights
from planner_runtime.outcomes.model import OutcomeCalibration, OutcomeModel
from planner_runtime.outcomes.policy_file import OutcomePolicy
from planner_runtime.outcomes.track_record import Priors, TrackRecordState
from planner_runtime.planner import Planner
from tests.outcome_bundles import NOW_MS, a_question, an_outcome_bundle, calibration_of, flat
from tests.reference.benched_tables import BASELINE, QUICK, a_bench, an_outcome, both_tried

ABSTAINS = calibration_of(always_abstains=True, confidence_threshold=1.0)
WEIGHTS = DEFAULT_OBJECTIVE.weights


def asked(
    table: pl.DataFrame, *, model: OutcomeModel | None = None, **bundle: Any
) -> tuple[Bundle, Evidence]:
    made = an_outcome_bundle(**({"calibration": ABSTAINS} | bundle))
    return made, evidence_of(
        Planner(made, model or flat(), deadline_ms=None), made, benched_cases(table)
    )


def certified(table: pl.DataFrame) -> tuple[Bundle, list[Compared], tuple[str, ...]]:
    """A bundle as the bench certifies it, and what it did in the bench."""
    _, evidence = asked(table)
    decisions = compared(evidence, WEIGHTS)
    found = certify(decisions, DEFAULT_OBJECTIVE)
    calibration = OutcomeCalibration(
        confidence_threshold=1.0 if found.threshold is None else found.threshold,
        always_abstains=found.threshold is None,
        risk=found.risk,
        n_calibration=1,
        notes=found.notes,
    )
    return an_outcome_bundle(calibration=calibration), decisions, found.notes


def test_a_bench_is_read_as_cases_with_means_of_their_outcomes(tmp_path: Path) -> None:
    assert read_bench(tmp_path) is None
    assert bench_bytes(tmp_path) == b""
    rows = [
        an_outcome(1, QUICK, asked_ms=NOW_MS + 1),
        an_outcome(0, QUICK, passed=False, repeat=1, minutes=5.0),
        an_outcome(0, QUICK, minutes=15.0),
        an_outcome(0, BASELINE, minutes=60.0),
    ]
    write_parquet(a_bench(rows), tmp_path / "outcomes.parquet")
    table = read_bench(tmp_path)
    assert table is not None
    assert bench_bytes(tmp_path)
    first, second = benched_cases(table)
    assert (first.case_id, second.case_id) == ("case-000", "case-001")
    assert [one.minutes for one in first.tried[QUICK]] == [15.0, 5.0]
    (one,) = compared(asked(table)[1], WEIGHTS)
    assert one.gain == pytest.approx((0.5 - 0.1) - (1.0 - 0.6))
    assert not one.is_worse


def test_enough_decisions_that_are_not_worse_certify_a_threshold() -> None:
    bundle, _, notes = certified(both_tried(LEAST))
    assert bundle.outcome is not None
    calibration = bundle.outcome.calibration
    assert (calibration.confidence_threshold, calibration.always_abstains) == (0.0, False)
    assert calibration.risk is not None
    assert (calibration.risk.n_followed, calibration.risk.n_worse) == (LEAST, 0)
    assert "0.01 x agent-minutes" in calibration.risk.measure
    assert notes == (
        f"certified: {LEAST} decisions of the bench about {LEAST} issues differ from the baseline "
        "and have outcomes of both actions, 0 of them worse",
    )
    decision = Planner(bundle, flat(), deadline_ms=None).decide(a_question(id="new"), now_ms=0)
    assert decision.action.budgets.max_minutes_bin == 15
    assert not decision.action.abstain_to_default


def test_too_few_decisions_certify_nothing_and_say_how_many_are_needed() -> None:
    bundle, _, notes = certified(both_tried(20, n_worse=1))
    assert bundle.outcome is not None
    assert bundle.outcome.calibration.always_abstains
    assert notes == (
        "no promise: 20 decisions of the bench about 20 issues differ from the baseline and have "
        "outcomes of both actions, 1 of them worse; 46 are needed, of which one may be worse",
    )
    decision = Planner(bundle, flat(), deadline_ms=None).decide(a_question(id="new"), now_ms=0)
    assert (decision.trace.fallback_reason or "").startswith("not_certified")


def test_a_policy_that_is_often_worse_is_not_certified() -> None:
    bundle, _, (note,) = certified(both_tried(80, n_worse=40))
    assert bundle.outcome is not None
    assert bundle.outcome.calibration.always_abstains
    assert "40 of them worse; no threshold keeps it" in note


def test_an_empty_bench_certifies_nothing() -> None:
    bundle, decisions, (note,) = certified(a_bench([]))
    assert not decisions
    assert "0 decisions" in note
    assert bundle.outcome is not None
    assert bundle.outcome.calibration.always_abstains


def test_a_decision_counts_only_where_both_outcomes_are_known_and_confidence_decides() -> None:
    dollars = Objective(name="usd", weights=Weights(usd=0.1))
    only_quick = a_bench([an_outcome(0, QUICK)])
    assert not compared(asked(only_quick)[1], WEIGHTS)
    unmeasured = a_bench([an_outcome(0, QUICK, agent_ms=None), an_outcome(0, BASELINE)])
    assert not compared(asked(unmeasured)[1], WEIGHTS)
    table = both_tried(1)
    assert len(compared(asked(table)[1], WEIGHTS)) == 1
    assert not compared(asked(table)[1], dollars.weights)
    novel = {"calibration": calibration_of(novelty_threshold=1.0)}
    assert not compared(asked(table, model=flat(novelty=2.0), **novel)[1], WEIGHTS)
    agrees = flat(lambda minutes: minutes / 80)  # longer is better: the baseline is preferred
    assert not compared(asked(table, model=agrees)[1], WEIGHTS)


def test_guardrails_of_the_risk_class_hold_on_the_bench_as_when_serving() -> None:
    question = a_question(id="issue-0", dk_risk="critical")
    table = a_bench([an_outcome(0, action, question=question) for action in (BASELINE, QUICK)])
    worse = flat(lambda minutes: 0.6 + 0.0001 * minutes)
    _, evidence = asked(table, model=worse)
    (decision,) = evidence.decisions
    assert decision.trace.bounds["guardrail_pass"]
    assert not compared(evidence, WEIGHTS)


def test_a_case_that_the_fit_may_know_is_left_out() -> None:
    state = TrackRecordState(priors=Priors(), until_ms=NOW_MS, runs={"i:issue-0": 3})
    _, evidence = asked(both_tried(3), track_record=state)
    assert [case.issue_id for case in evidence.cases] == ["issue-1", "issue-2"]
    assert evidence.n_learned == 1
    earlier = msgspec.structs.replace(state, until_ms=NOW_MS - 1)
    assert asked(both_tried(3), track_record=earlier)[1].n_learned == 0


def test_a_promise_is_checked_on_later_cases_where_the_earlier_are_enough() -> None:
    bundle, decisions, _ = certified(both_tried(100, days_apart=1))
    promise, besides = promise_of(bundle, decisions)
    assert promise is not None
    assert besides is None
    assert (promise.n, promise.later_n, promise.later_followed) == (60, 40, 40)
    assert (promise.threshold, promise.later_worse, promise.kept) == (0.0, 0, True)
    at_once, none_later, words = certified(both_tried(100))
    promise, besides = promise_of(at_once, none_later)
    assert promise is not None
    assert (promise.n, promise.later_n, promise.kept) == (100, 0, None)
    assert "none is left to check it" in (besides or "")
    assert words


def test_a_promise_says_when_the_bench_is_another_than_it_rests_on() -> None:
    bundle, decisions, _ = certified(both_tried(LEAST))
    promise, besides = promise_of(bundle, decisions[1:])
    assert promise is not None
    assert (promise.n, promise.later_n, promise.kept) == (LEAST, 0, None)
    assert "has changed" in (besides or "")
    assert promise_of(an_outcome_bundle(), decisions) == (None, None)


def test_no_moment_is_on_both_sides_of_a_split() -> None:
    def at(moment: int, n: int) -> list[Compared]:
        return [
            Compared(
                case_id=f"{moment}-{i}", issue_id="one", asked_ms=moment, confidence=1.0, gain=0.0
            )
            for i in range(n)
        ]

    earlier, later = split_in_time([*at(1, 40), *at(2, 30), *at(3, 30)])
    assert {one.asked_ms for one in earlier} == {1, 2}
    assert {one.asked_ms for one in later} == {3}
    assert split_in_time(at(1, 200)) == (sorted(at(1, 200), key=lambda one: one.case_id), [])


def test_the_page_shows_outcomes_of_the_bench_by_hand() -> None:
    rows = []
    for number in range(4):
        named: dict[str, Any] = {"example_id": f"example-{number}"} if number < 3 else {}
        rows.append(an_outcome(number, BASELINE, passed=number != 3, **named))
        if number != 2:
            rows.append(an_outcome(number, QUICK, passed=number != 0, **named))
    rows.append(an_outcome(9, QUICK))  # no outcome of its baseline
    bundle, evidence = asked(a_bench(rows))
    imitation = {"example-0": BASELINE, "example-1": QUICK, "example-2": BASELINE}
    page = what_if_of_bench(bundle, evidence, SHIPPED_CONFIG, imitation)
    assert page is not None
    assert (page.source, page.n_cases, page.n_issues, page.promise) == ("bench", 4, 4, None)
    points = {point.name: point for point in page.points}
    assert set(points) == {
        "baseline", "serial_handoff 1 60 NA", "serial_handoff 1 15 NA", "best fixed action",
        "value policy", "imitation", "oracle",
    }  # fmt: skip
    base, value = points["baseline"], points["value policy"]
    assert base.pass_rate is not None
    assert (base.pass_rate.value, base.pass_rate.n) == (0.75, 4)
    assert value.pass_rate is not None
    assert value.pass_rate.value == pytest.approx(2 / 3)
    assert value.pass_rate.n == 3
    assert value.gain is not None
    assert value.gain.value == pytest.approx(0.45)  # as many passes, 45 minutes a decision fewer
    copied = points["imitation"].pass_rate
    assert copied is not None
    assert (copied.value, copied.n) == (1.0, 3)
    assert page.n_differences == 4
    assert "4 benched cases of 4 issues" in page.notes[0]
    assert "was benched in 3 of them" in page.notes[0]


def test_a_page_needs_two_cases_with_an_outcome_of_the_baseline() -> None:
    bundle, evidence = asked(both_tried(1))
    assert what_if_of_bench(bundle, evidence, SHIPPED_CONFIG, {}) is None
    bundle, evidence = asked(both_tried(2))
    page = what_if_of_bench(bundle, evidence, SHIPPED_CONFIG, {})
    assert page is not None
    assert all(point.kind != "imitation" for point in page.points)


def test_a_page_says_what_of_the_objective_it_leaves_out() -> None:
    policy = OutcomePolicy(objective=Objective(name="r", weights=Weights(risk=0.1, usd=0.1)))
    bundle, evidence = asked(both_tried(2), policy=policy, model=flat(cost=0.1))
    page = what_if_of_bench(bundle, evidence, SHIPPED_CONFIG, {})
    assert page is not None
    told = " ".join(page.notes)
    assert "its weight of a timeout is left out" in told
    assert "Dollars are in no utility" in told


def test_the_page_of_a_certified_bundle_shows_its_promise_and_replayed_attempts_once() -> None:
    rows = [
        an_outcome(number, action, replayed=[0], unit_id=f"{number}{action}{unit}")
        for number in range(LEAST)
        for action in (BASELINE, QUICK)
        for unit in range(2)
    ]
    bundle, _, _ = certified(a_bench(rows))
    _, evidence = asked(a_bench(rows), calibration=bundle.outcome and bundle.outcome.calibration)
    page = what_if_of_bench(bundle, evidence, SHIPPED_CONFIG, {})
    assert page is not None
    assert page.promise is not None
    assert (page.promise.n, page.promise.threshold) == (LEAST, 0.0)
    assert page.points[0].pass_rate is not None
    assert page.points[0].pass_rate.n == LEAST
