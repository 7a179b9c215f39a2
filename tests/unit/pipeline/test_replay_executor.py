"""Units on logged attempts against their definition, a few naive lines."""

from itertools import combinations
from pathlib import Path
from statistics import mean, pstdev

import pytest

from planner_pipeline.bench.campaign import Campaign, units_of
from planner_pipeline.bench.config import BenchConfig, Caps
from planner_pipeline.bench.executors.replay import REPLAY_SPACE, ReplayExecutor, replay_cases
from planner_pipeline.bench.ledger import Ledger
from planner_pipeline.bench.protocol import Case, Executor, HarnessError, Result, Unit
from planner_pipeline.sources.trials import Trial, read_trials
from planner_runtime.actions import Action, is_valid_action
from planner_runtime.inputs import epoch_ms
from tests.reference.campaigns import a_runner, recorded
from tests.reference.trials import a_trial

CONFIG = BenchConfig(minute_seconds=60.0)
CAMPAIGN = Campaign(config=CONFIG, config_hash="a" * 64)
SERIAL_15 = Action("serial_handoff", 1, 15, "NA")
# passes within a quarter of an hour, after it, never; with one attempt short of three
ATTEMPTS = {
    "easy": [(True, 4.0, 0.5), (True, 9.0, 0.7), (False, 12.0, 0.2), (True, 20.0, 1.0)],
    "slow": [(True, 40.0, 2.0), (False, 14.0, None), (True, 16.0, 0.4), (False, 70.0, 3.0)],
    "few": [(False, 15.0, 0.1), (True, 15.0, 0.1)],
}


def the_trials() -> list[Trial]:
    return [
        a_trial(number, issue=issue, passed=passed, minutes=minutes, usd=usd)
        for issue, rows in ATTEMPTS.items()
        for number, (passed, minutes, usd) in enumerate(rows, start=1)
    ]


def an_action(k: int, minutes: int) -> Action:
    swarm = "serial_handoff" if k == 1 else "speculate_vote"
    return Action(swarm, k, minutes, "NA")  # type: ignore[arg-type]


def some_cases(trials: list[Trial]) -> dict[str, Case]:
    cases, refused = replay_cases(trials)
    assert not refused
    return {case.issue_id: case for case in cases}


def a_unit(case: Case, action: Action) -> Unit:
    (unit,) = units_of(CAMPAIGN, [case], {case.case_id: [action]})
    return unit


def run(issue: str, action: Action) -> tuple[Result, ...]:
    trials = the_trials()
    return ReplayExecutor(trials, CONFIG).run(a_unit(some_cases(trials)[issue], action))


@pytest.mark.parametrize("minutes", [15, 30, 45, 60, 120])
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("issue", ["easy", "slow"])
def test_a_unit_has_the_value_and_the_spread_of_every_way_to_draw_its_attempts(
    issue: str, k: int, minutes: int
) -> None:
    results = run(issue, an_action(k, minutes))
    subsets = list(combinations(enumerate(ATTEMPTS[issue], start=1), k))
    assert [result.replayed for result in results] == [
        tuple(number for number, _ in subset) for subset in subsets
    ]
    passes, minutes_used, spans, censored = [], [], [], []
    for subset in subsets:
        rows = [row for _, row in subset]
        good = [took for passed, took, _ in rows if passed and took <= minutes]
        passes.append(float(bool(good)))
        minutes_used.append(sum(min(took, minutes) for _, took, _ in rows))
        spans.append(min(good) if good else max(min(took, minutes) for _, took, _ in rows))
        censored.append(not good and any(took > minutes for _, took, _ in rows))
    assert [result.status == "passed" for result in results] == [bool(one) for one in passes]
    told = [result.metrics["overall"] for result in results]
    assert (mean(told), pstdev(told)) == pytest.approx((mean(passes), pstdev(passes)))
    assert [(r.agent_ms or 0) / 60_000 for r in results] == pytest.approx(minutes_used)
    assert [(r.duration_ms or 0) / 60_000 for r in results] == pytest.approx(spans)
    assert [result.is_censored for result in results] == censored
    assert [r.status for r in results if r.is_censored] == ["timeout"] * sum(censored)


def test_a_limit_that_is_met_exactly_cuts_nothing() -> None:
    assert [(r.status, r.is_censored) for r in run("few", SERIAL_15)] == [
        ("failed", False), ("passed", False),
    ]  # fmt: skip


def test_the_price_of_what_was_cut_short_or_not_told_is_not_known() -> None:
    assert [r.cost_usd for r in run("slow", an_action(1, 60))] == [2.0, None, 0.4, None]
    assert [r.metrics.get("cost_usd") for r in run("slow", an_action(1, 120))] == [
        2.0, None, 0.4, 3.0,
    ]  # fmt: skip


def test_fewer_attempts_than_candidates_are_no_label(tmp_path: Path) -> None:
    trials = the_trials()
    unit = a_unit(some_cases(trials)["few"], an_action(3, 15))
    with pytest.raises(HarnessError, match="2 attempts were logged, 3 are needed"):
        ReplayExecutor(trials, CONFIG).run(unit)
    end = a_runner(tmp_path, CAMPAIGN, ReplayExecutor(trials, CONFIG)).run([unit])
    assert end.n_infra_errors == 1
    (outcome,) = recorded(tmp_path).values()
    assert (outcome.status, outcome.replayed) == ("infra_error", None)
    assert outcome.reason == "replay: 2 attempts were logged, 3 are needed"


def test_a_case_that_cannot_be_replayed_is_refused_with_its_own_reason() -> None:
    trials = [a_trial(1, minutes=None), a_trial(2, minutes=None)]
    cases, refused = replay_cases([*the_trials(), *trials])
    assert {case.issue_id for case in cases} == set(ATTEMPTS)
    assert [one.reason for one in refused] == ["no attempt has a duration"]
    executor: Executor = ReplayExecutor([*the_trials(), *trials], CONFIG)
    timeless = Case(
        case_id=refused[0].issue_id, issue_id="task-1", job_type="code", issue={},
        planner_input={}, input_hash="0" * 64, baseline=SERIAL_15,
    )  # fmt: skip
    assert executor.why_not(timeless) == "no attempt has a duration"
    with pytest.raises(HarnessError, match="no attempt has a duration"):
        executor.run(a_unit(timeless, SERIAL_15))
    assert executor.why_not(cases[0]) is None
    assert ReplayExecutor([], CONFIG).why_not(cases[0]) == "no attempt at it was logged"


def test_a_replayed_campaign_costs_nothing_and_is_the_same_every_time(tmp_path: Path) -> None:
    trials = the_trials()
    cases = list(some_cases(trials).values())
    campaign = Campaign(config=BenchConfig(caps=Caps(attempts=1)), config_hash="a" * 64)
    told = []
    for name in ("a", "b"):
        executor = ReplayExecutor(trials if name == "a" else trials[::-1], CONFIG)
        units = units_of(campaign, cases, {case.case_id: [SERIAL_15] for case in cases})
        assert a_runner(tmp_path / name, campaign, executor).run(units).n_run == 3
        totals = Ledger(tmp_path / name, Caps(), session="look").totals()
        assert (totals.attempts, totals.agent_minutes, totals.cost_usd) == (0, 0.0, 0.0)
        told.append(
            {
                key: (one.status, one.metrics, one.replayed)
                for key, one in recorded(tmp_path / name).items()
            }
        )
    assert told[0] == told[1]


def test_cases_know_their_past_and_the_kernels_own_plan_and_nothing_else() -> None:
    cases = some_cases(the_trials())
    for case in cases.values():
        assert case.baseline == SERIAL_15 or is_valid_action(case.baseline, job_type="code")
        assert case.planner_input["action_space"] == REPLAY_SPACE.to_document()
        asked = epoch_ms(case.planner_input["created_at"])
        seen = case.planner_input["history"]["last_n_similar_runs"]
        assert all(epoch_ms(run["started_at"]) < asked for run in seen if "started_at" in run)
    assert ReplayExecutor(the_trials(), CONFIG).versions() == {"alpha": "alpha"}


def test_the_real_yardsticks_are_those_of_the_data_sets_readme(shared_data: Path) -> None:
    """Its table speaks of this copy; its pass ratios, .452 .464 .523 .550, of a fuller one."""
    table = shared_data / "agent-trials" / "terminal_bench.trials.csv.gz"
    trials = read_trials([table]).trials
    cases, refused = replay_cases(trials)
    assert (len(cases), len(refused)) == (330, 512 - 330)
    executor = ReplayExecutor(trials, CONFIG)
    known = {
        (1, 15): (0.452, {0.04: 0.2101}), (1, 30): (0.464, {0.01: 0.4040, 0.02: 0.3371}),
        (2, 30): (0.523, {}), (3, 30): (0.550, {0.003: 0.4904}),
    }  # fmt: skip
    minutes = {}
    for budget, (nearly, utilities) in known.items():
        runs = [executor.run(a_unit(case, an_action(*budget))) for case in cases]
        passed = mean(mean(float(one.status == "passed") for one in some) for some in runs)
        minutes[budget] = mean(mean((one.agent_ms or 0) / 60_000 for one in some) for some in runs)
        assert passed == pytest.approx(nearly, abs=0.01)
        for cost_weight, utility in utilities.items():
            assert round(passed - cost_weight * minutes[budget], 4) == utility
    assert minutes[3, 30] == pytest.approx(3 * minutes[1, 30])
