import pytest

from planner_runtime.contracts import ActionExecuted, Outcome, RunSummary, Runtime
from planner_runtime.similar_runs import DAY_MS, Query, RunIndex


def a_run(run_id: str, *, started: int, ended: int | None, **fields: object) -> RunSummary:
    return RunSummary(
        run_id=run_id, started_ms=started, ended_ms=ended, job_type="code", domain="code",
        action_executed=ActionExecuted(), outcome=Outcome(status="failed", fail_codes=("lint",)),
        runtime=Runtime(), **fields,  # type: ignore[arg-type]
    )  # fmt: skip


def a_query(cutoff: int, **fields: object) -> Query:
    return Query(job_type="code", domain="code", cutoff_ms=cutoff, **fields)  # type: ignore[arg-type]


def ids(index: RunIndex, query: Query, n: int = 8) -> list[str]:
    return [run.run_id for run in index.similar_runs(query, n=n)]


def test_only_what_had_finished_before_is_seen() -> None:
    index = RunIndex(
        [
            a_run("finished", started=1, ended=9),
            a_run("just finished", started=2, ended=10),
            a_run("running", started=3, ended=11),
            a_run("end unknown", started=4, ended=None),
            a_run("now", started=10, ended=10),
        ]
    )
    assert ids(index, a_query(10)) == ["just finished", "finished"]


def test_a_decision_never_sees_its_own_group() -> None:
    index = RunIndex(
        [a_run("mine", started=1, ended=2, group_id="g"), a_run("other", started=1, ended=2)]
    )
    assert ids(index, a_query(10, group_id="g")) == ["other"]


def test_ties_go_to_the_newer_run_and_then_to_the_smaller_id() -> None:
    runs = [a_run(i, started=s, ended=5) for i, s in (("b", 1), ("a", 1), ("z", 2))]
    assert ids(RunIndex(runs), a_query(10)) == ["z", "a", "b"]
    assert ids(RunIndex(reversed(runs)), a_query(10), n=2) == ["z", "a"]


def test_shared_tags_outweigh_age() -> None:
    old = a_run("old", started=0, ended=1, tags=("ui",))
    new = a_run("new", started=50 * DAY_MS, ended=50 * DAY_MS, tags=("api",))
    query = a_query(60 * DAY_MS, tags=frozenset({"ui"}))
    assert ids(RunIndex([old, new]), query) == ["old", "new"]


def test_failure_signals_are_the_issues_own() -> None:
    own = a_run("own", started=1, ended=2, issue_id="7")
    query = a_query(10, issue_id="7")
    assert RunIndex([own]).failure_signals(query) == {"lint"}
    assert RunIndex([own]).failure_signals(a_query(1, issue_id="7")) == frozenset()


def test_a_world_and_an_objective_filter_where_the_query_has_them() -> None:
    index = RunIndex(
        [
            a_run("here", started=1, ended=2, world_id="w", objective_id="o"),
            a_run("elsewhere", started=1, ended=2, world_id="x", objective_id="o"),
        ]
    )
    assert ids(index, a_query(10, world_id="w", objective_id="o")) == ["here"]
    assert len(ids(index, a_query(10))) == 2


def test_none_may_be_asked_for_and_fewer_than_none_not() -> None:
    index = RunIndex([a_run("a", started=1, ended=2)])
    assert ids(index, a_query(10), n=0) == []
    with pytest.raises(ValueError, match="negative"):
        index.similar_runs(a_query(10), n=-1)
