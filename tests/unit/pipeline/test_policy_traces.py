"""Policy traces of a workspace: found, refused, joined with outcomes, or left out with a reason."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from planner_pipeline.evaluation.ope_traces import (
    PolicyGapError,
    baseline_policy,
    decisions_as_arrays,
    features_of,
    numbered_actions,
    proven_chances,
    tabled_policy,
    uniform_policy,
    usable,
)
from planner_pipeline.evaluation.rewards import left_out_words, reward_words, weighted
from planner_pipeline.history.decisions import DecisionRead, logged_decisions
from planner_pipeline.sources.policy_traces import read_policy_traces
from planner_runtime.inputs import blank_planner_input
from planner_runtime.objective import Objective, Weights
from tests.building import run_table, runs_of
from tests.reference.traced_workspace import ACTIONS, a_trace, choice, write_archive


def read(repo: Path) -> DecisionRead:
    return logged_decisions(read_policy_traces(repo), [run_table(runs_of(repo))])


def why(repo: Path) -> dict[str, str]:
    return {one.run_id: one.reason for one in read(repo).left_out}


def test_a_trace_is_found_in_the_manifest_and_beside_it(tmp_path: Path) -> None:
    inside = write_archive(tmp_path, 0, a_trace())
    beside = write_archive(tmp_path, 1, a_trace(), beside=True)
    found = read_policy_traces(tmp_path)
    assert [one.run_id for one in found.traced] == [inside, beside]
    assert [one.file.rsplit("/", 1)[1] for one in found.traced] == [
        "manifest.json",
        "policy_trace.json",
    ]
    assert found.count.is_balanced


@pytest.mark.parametrize(
    ("trace", "reason", "detail"),
    [
        (b"{", "wrong_shape", "truncated"),
        (b'{"schema_version":"cyntra.policy_trace.v9"}', "wrong_shape", "schema_version"),
        (a_trace(propensity=1.5), "wrong_shape", "propensity"),
        (a_trace(propensity=0.0), "bad_value", "no chance"),
        (a_trace(mode="sometimes"), "wrong_shape", "mode"),
        (a_trace(mode="shadow"), "wrong_shape", "mode"),
        (a_trace(extra=1), "wrong_shape", "extra"),
    ],
)
def test_a_bad_trace_is_quarantined_with_its_file(
    tmp_path: Path, trace: bytes, reason: str, detail: str
) -> None:
    name = write_archive(tmp_path, 0, trace)
    write_archive(tmp_path, 1, a_trace())
    found = read_policy_traces(tmp_path)
    (row,) = found.quarantined
    assert row.file.startswith(f".cyntra/archives/{name}/")
    assert row.reason == reason
    assert detail in row.detail
    assert (len(found.traced), found.count.quarantined) == (1, 1)
    assert found.count.is_balanced


def test_an_unreadable_manifest_is_not_lost(tmp_path: Path) -> None:
    name = write_archive(tmp_path, 0, a_trace())
    (tmp_path / ".cyntra/archives" / name / "manifest.json").write_text("[]")
    found = read_policy_traces(tmp_path)
    assert not found.traced
    assert [row.reason for row in found.quarantined] == ["wrong_shape"]


def test_an_archive_without_a_trace_is_counted_as_such(tmp_path: Path) -> None:
    name = write_archive(tmp_path, 0, None)
    assert why(tmp_path) == {name: "no_trace"}


@pytest.mark.parametrize("mode", ["log", "off"])
def test_where_the_baseline_ran_whatever_was_said_no_choice_is_used(
    tmp_path: Path, mode: str
) -> None:
    name = write_archive(tmp_path, 0, a_trace(mode=mode))
    assert why(tmp_path) == {name: "not_enforced"}


def test_what_ran_otherwise_or_by_itself_is_left_out(tmp_path: Path) -> None:
    expected = {
        write_archive(tmp_path, 0, a_trace(ACTIONS[1]), ran_seconds=900): "ran_otherwise",
        write_archive(tmp_path, 1, a_trace(), has_plan=False): "unknown_execution",
        write_archive(tmp_path, 2, a_trace(), passed=None): "no_outcome",
        write_archive(
            tmp_path, 3, a_trace(epsilon=0.5, propensity=0.5), fallback="x"
        ): "ran_otherwise",
        write_archive(tmp_path, 4, a_trace(ACTIONS[0]._replace(max_minutes_bin=45)), ran_seconds=2_700): "not_a_candidate",
    }  # fmt: skip
    used = write_archive(tmp_path, 5, a_trace(), fallback="the baseline decided, as it should")
    assert why(tmp_path) == expected
    assert [one.run_id for one in read(tmp_path).decisions] == [used]


def test_a_decision_carries_its_outcome_and_its_question(tmp_path: Path) -> None:
    write_archive(tmp_path, 0, a_trace(ACTIONS[2], propensity=0.2, epsilon=0.6), issue="a",
                  ran_seconds=3_600, passed=False, minutes=12.0)  # fmt: skip
    (one,) = read(tmp_path).decisions
    assert (one.issue_id, one.passed, one.minutes, one.usd) == (
        "a",
        False,
        12.0,
        1.2000000000000002,
    )
    assert (one.chosen, one.baseline, one.epsilon) == (ACTIONS[2], ACTIONS[0], 0.6)
    assert one.candidates == ACTIONS
    assert one.features is not None


def test_two_archives_of_one_dispatch_are_one_decision(tmp_path: Path) -> None:
    """Candidates of a speculation share issue and moment; the minutes of both are spent."""
    name = write_archive(tmp_path, 0, a_trace(), issue="a", minutes=4.0, passed=False)
    folder = tmp_path / ".cyntra/archives" / name
    twin = folder.with_name(f"{name}-spec-codex")
    twin.mkdir()
    for part in folder.iterdir():
        text = part.read_text().replace(name, twin.name)
        twin.joinpath(part.name).write_text(text)
    proof = json.loads((twin / "proof.json").read_text())
    proof["verification"]["all_passed"] = True
    (twin / "proof.json").write_text(json.dumps(proof))
    found = read(tmp_path)
    (one,) = found.decisions
    assert (one.passed, one.minutes) == (True, 8.0)
    assert [row.reason for row in found.left_out] == ["same_decision"]


def test_what_a_trace_proves_of_the_others_chances(tmp_path: Path) -> None:
    number_of = {action: n for n, action in enumerate(ACTIONS)}
    cases = [
        (a_trace(), [1.0, 0.0, 0.0]),  # certain: nothing else could run
        (a_trace(epsilon=0.6, propensity=0.6), [0.6, 0.2, 0.2]),  # the preferred action
        (
            a_trace(ACTIONS[2], epsilon=0.6, propensity=0.2),
            [0.2, 0.2, 0.2],
        ),  # of which one had more
        (a_trace(epsilon=0.6, propensity=0.45), [0.45, np.nan, np.nan]),  # drawn in another way
        (a_trace(epsilon=0.6, propensity=0.6, n_open=None), [0.6, np.nan, np.nan]),
        (a_trace(epsilon=0.6, propensity=0.6, candidate_set_hash="0" * 64), [0.6, np.nan, np.nan]),
        # one of two that were open: dearer ones were closed, nothing says which others
        (
            a_trace(
                ACTIONS[1],
                epsilon=0.6,
                propensity=0.3,
                n_open=2,
                baseline=choice(ACTIONS[1]),
                bounds={"not_a_reduction": 1},
            ),
            [0.3, 0.3, 0.0],
        ),
        (
            a_trace(
                ACTIONS[0],
                epsilon=0.6,
                propensity=0.3,
                n_open=2,
                baseline=choice(ACTIONS[2]),
                bounds={"guardrail_pass": 1},
            ),
            [0.3, 0.0, 0.3],  # what ran and the baseline are two
        ),
        (
            a_trace(
                ACTIONS[0], epsilon=0.6, propensity=0.3, n_open=2, bounds={"guardrail_pass": 1}
            ),
            [0.3, np.nan, np.nan],
        ),
        (
            a_trace(ACTIONS[1], epsilon=0.6, propensity=0.3, n_open=2, bounds={"cap": 1}),
            [np.nan, 0.3, np.nan],  # a cap may have closed the baseline
        ),
        (a_trace(epsilon=0.6, propensity=0.6, n_open=2), [0.6, np.nan, np.nan]),
    ]
    for number, (trace, _) in enumerate(cases):
        minutes = trace["chosen"]["budgets"]["max_minutes_bin"]
        write_archive(tmp_path, number, trace, issue=f"{number:02d}", ran_seconds=60 * minutes)
    for one, (_, chances) in zip(read(tmp_path).decisions, cases, strict=True):
        assert proven_chances(one, number_of) == pytest.approx(chances, nan_ok=True)


def explored(repo: Path) -> DecisionRead:
    for number in range(6):
        taken = number % 3
        trace = a_trace(ACTIONS[taken], epsilon=0.6, propensity=0.6 if taken == 0 else 0.2)
        minutes = 60 * int(ACTIONS[taken].max_minutes_bin)
        write_archive(repo, number, trace, issue=f"i{number // 2}", ran_seconds=minutes)
    return read(repo)


def test_policies_become_rows_of_probabilities(tmp_path: Path) -> None:
    decisions = explored(tmp_path).decisions
    logged = decisions_as_arrays(decisions, uniform_policy(decisions), np.arange(6.0))
    assert logged.target == pytest.approx(np.full((6, 3), 1 / 3))
    assert len(np.unique(logged.cluster)) == 3
    assert logged.q_hat is not None
    baseline = decisions_as_arrays(decisions, baseline_policy(decisions), np.arange(6.0))
    assert list(baseline.weights) == pytest.approx([1 / 0.6, 0, 0, 1 / 0.6, 0, 0])
    again = decisions_as_arrays(decisions[::-1], baseline_policy(decisions[::-1]), np.arange(6.0))
    assert list(numbered_actions(decisions, [])) == list(numbered_actions(decisions[::-1], []))
    assert list(again.weights) == pytest.approx(list(baseline.weights)[::-1])


def a_table(key: str, names: list[str], chances: tuple[float, ...]) -> pl.DataFrame:
    rows = [
        {key: name, "swarm_id": a.swarm_id, "max_candidates_bin": a.max_candidates_bin,
         "max_minutes_bin": str(a.max_minutes_bin), "max_iterations_bin": "NA", "probability": p}
        for name in names for a, p in zip(ACTIONS, chances, strict=True)
    ]  # fmt: skip
    return pl.DataFrame(rows)


@pytest.mark.parametrize("key", ["run_id", "issue_id"])
def test_a_policy_can_be_a_table_of_runs_or_issues(tmp_path: Path, key: str) -> None:
    decisions = explored(tmp_path).decisions
    names = sorted({getattr(one, key) for one in decisions})
    policy = tabled_policy(decisions, a_table(key, names, (0.0, 0.25, 0.75)))
    assert [of[ACTIONS[2]] for of in policy] == [0.75] * 6
    with pytest.raises(PolicyGapError, match="says nothing") as gap:
        tabled_policy(decisions, a_table(key, names[1:], (0.0, 0.25, 0.75)))
    assert gap.value.decision_ids
    with pytest.raises(PolicyGapError, match="sum to 1"):
        tabled_policy(decisions, a_table(key, names, (0.5, 0.25, 0.75)))
    with pytest.raises(ValueError, match="run_id or issue_id"):
        tabled_policy(decisions, a_table("name", names, (0.0, 0.25, 0.75)))


def test_a_policy_over_all_candidates_needs_to_know_them(tmp_path: Path) -> None:
    write_archive(tmp_path, 0, a_trace(candidate_set_hash="0" * 64))
    (one,) = read(tmp_path).decisions
    assert one.candidates is None
    with pytest.raises(PolicyGapError, match="not known"):
        uniform_policy([one])


def test_a_question_that_no_contract_knows_has_no_features(tmp_path: Path) -> None:
    write_archive(tmp_path, 0, a_trace(), planner_input={"created_at": "2026-01-01T00:00:00Z"})
    write_archive(tmp_path, 1, a_trace(), planner_input=blank_planner_input() | {"job_type": "x"})
    decisions = read(tmp_path).decisions
    assert [one.features is None for one in decisions] == [False, True]
    assert features_of(decisions).shape[0] == 2


def test_a_reward_needs_only_what_it_weighs(tmp_path: Path) -> None:
    assert weighted(Weights(minute=0))(True, None, None) == 1.0
    assert weighted(Weights())(False, None, 1.0) is None
    assert weighted(Weights(usd=2))(True, 10.0, 0.2) == pytest.approx(0.5)
    decisions = explored(tmp_path).decisions
    kept, worth, left_out = usable(decisions, lambda passed, minutes, usd: None)
    assert not kept
    assert not len(worth)
    assert {one.reason for one in left_out} == {"no_usd"}


def test_a_reward_tells_what_it_leaves_out_of_an_objective() -> None:
    assert left_out_words(Objective()) == []
    waits = Objective(
        name="x", rule="pareto", weights=Weights(wall_minute=1.0, risk=0.5, usd=2, minute=0)
    )
    assert reward_words(waits) == (
        '1 x pass - 2 x dollars (objective "x"; its rule "pareto" is judged by its weights; its '
        "weight of waiting is left out; its weight of a timeout is left out)"
    )
