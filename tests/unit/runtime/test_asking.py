"""Questions about issues: what they show of history, and histories that come as lists."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner_runtime.actions import ActionSpace
from planner_runtime.contracts import ActionExecuted, Outcome, RunSummary, Runtime, read_document
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.inputs import run_document
from planner_runtime.kernel.asking import CandidateIndex, build_question
from planner_runtime.similar_runs import Query, RunIndex

ISSUE = {"id": "7", "title": "Cache expires early", "tags": ["api", "cache"], "dk_attempts": "2"}
NOW_MS = 1_767_700_000_000


def a_run(run_id: str, **facts: Any) -> RunSummary:
    started = facts.pop("started_ms", NOW_MS - 100_000)
    known: dict[str, Any] = {
        "run_id": run_id, "started_ms": started, "ended_ms": started + 50_000, "job_type": "code",
        "domain": "code", "issue_id": "7", "tags": ("api",), "action_executed": ActionExecuted(),
        "outcome": Outcome(status="failed", fail_codes=("test",)), "runtime": Runtime(),
    }  # fmt: skip
    return RunSummary(**known | facts)


def ask(history: Any, now_ms: int = NOW_MS) -> dict[str, Any]:
    return build_question(
        issue=ISSUE, job_type="code", history=history, now_ms=now_ms, space=ActionSpace()
    )


def shown(question: dict[str, Any]) -> list[str]:
    return [run["run_id"] for run in question["history"]["last_n_similar_runs"]]


def test_a_question_keeps_its_contract_and_tells_of_the_issue() -> None:
    question = read_document(ask(RunIndex([a_run("a")])), PlannerInput)
    assert question.issue.dk_attempts == 2
    assert question.issue.keywords == ("cache", "early", "expires")
    assert question.history.last_n_similar_runs == (a_run("a"),)


def test_a_question_shows_nothing_of_its_future() -> None:
    runs = [a_run(str(n), started_ms=NOW_MS + n * 10_000) for n in range(-20, 20)]
    index = RunIndex(runs)
    for now_ms in (NOW_MS - 300_000, NOW_MS, NOW_MS + 70_000):
        seen = {run["run_id"] for run in ask(index, now_ms)["history"]["last_n_similar_runs"]}
        over = {run.run_id for run in runs if (run.ended_ms or 0) <= now_ms}
        assert seen <= over
        assert len(seen) == min(8, len(over))


def test_a_question_may_be_changed_without_changing_the_next() -> None:
    index = RunIndex([a_run("a")])
    ask(index)["history"]["last_n_similar_runs"][0]["run_id"] = "changed"
    assert shown(ask(index)) == ["a"]


def test_a_run_that_became_another_is_shown_as_it_is() -> None:
    index = RunIndex([a_run("a")])
    ask(index)
    index.add(a_run("a", cost_usd_est=2.0))
    assert ask(index)["history"]["last_n_similar_runs"] == [
        msgspec.json.decode(msgspec.json.encode(run_document(a_run("a", cost_usd_est=2.0))))
    ]


def test_elements_that_are_no_runs_are_counted_and_left_out() -> None:
    candidates: list[Any] = [run_document(a_run("a")), {}, None, 7, {"run_id": "x"}, a_run("b")]
    index = CandidateIndex().taking(candidates)
    assert (shown(ask(index)), index.n_refused) == (["a", "b"], 4)


def test_a_list_that_grew_or_is_the_same_is_not_indexed_again() -> None:
    candidates: list[Any] = [run_document(a_run(f"{n:03}")) for n in range(300)]
    taken = CandidateIndex().taking(candidates)
    before = {run.run_id: run for run in taken.index.similar_runs(_query(), n=300)}
    candidates.append(run_document(a_run("new")))
    again = [dict(one) for one in candidates]
    for grown in (candidates, list(candidates), again):
        taken.taking(grown)
        after = {run.run_id: run for run in taken.index.similar_runs(_query(), n=400)}
        assert after.keys() == before.keys() | {"new"}
        assert all(after[run_id] is run for run_id, run in before.items())


def _query() -> Query:
    return Query(job_type="code", domain="code", cutoff_ms=NOW_MS, issue_id="7")


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_lists_one_after_another_are_asked_as_if_each_were_the_first(seed: int) -> None:
    luck = random.Random(seed)
    pool: list[Any] = [run_document(a_run(str(n % 9), cost_usd_est=n / 2)) for n in range(20)]
    pool += [None, {"run_id": 3}, a_run("as a struct")]
    taken = CandidateIndex()
    for _ in range(6):
        candidates = [luck.choice(pool) for _ in range(luck.randrange(8))]
        if luck.random() < 0.5:
            candidates = [dict(one) if isinstance(one, dict) else one for one in candidates]
        found, expected = taken.taking(candidates), CandidateIndex().taking(candidates)
        assert found.n_refused == expected.n_refused
        assert found.index.similar_runs(_query(), n=30) == expected.index.similar_runs(
            _query(), n=30
        )


@settings(max_examples=60, deadline=None)
@given(
    starts=st.lists(st.integers(0, 12), min_size=1, max_size=150),
    seed=st.integers(0, 10**6),
)
def test_an_index_that_grew_is_at_every_prefix_one_that_was_built(
    starts: list[int], seed: int
) -> None:
    luck = random.Random(seed)
    runs = [
        a_run(
            f"{luck.randrange(10**5)}-{n}", started_ms=NOW_MS - start * 50_000,
            tags=tuple(luck.choices("abc", k=2)), issue_id=luck.choice("78"),
            group_id=luck.choice((None, "g")),
        )
        for n, start in enumerate(starts)
    ]  # fmt: skip
    grown = RunIndex()
    for n, run in enumerate(runs, start=1):
        grown.add(run)
        if luck.random() < 0.2 or n == len(runs):
            query = Query(
                job_type="code", domain="code", cutoff_ms=NOW_MS - luck.randint(0, 500_000),
                issue_id="7", group_id=luck.choice((None, "g")), tags=frozenset("ab"),
            )  # fmt: skip
            built = RunIndex(runs[:n])
            assert grown.similar_runs(query, n=8) == built.similar_runs(query, n=8)
            assert grown.failure_signals(query) == built.failure_signals(query)
            assert [grown.similar_runs(query, n=8)] * 5 == built.similar_runs_of([query] * 5, n=8)


def test_fewer_than_no_runs_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="negative"):
        build_question(
            issue=ISSUE,
            job_type="code",
            history=RunIndex(),
            now_ms=0,
            space=ActionSpace(),
            n_similar=-1,
        )
