"""Which runs there are: months by name and by moment, every id once, keys of what a run is made of."""

import polars as pl
import pytest

from planner_pipeline.history.run_plan import (
    moment_months,
    plan_runs,
    workcell_month,
    world_month,
)
from planner_pipeline.sources.event_log import dispatch_table
from planner_runtime.archives.events import CreateFailure, Dispatch, LoggedWorkcell
from planner_runtime.archives.issues_then import IssueTimeline
from planner_runtime.archives.moments import moment_ms
from planner_runtime.inputs import rfc3339

NOTHING_KNOWN = IssueTimeline(())


def live(*names: str, note: str = "", sha: str = "a") -> pl.DataFrame:
    return pl.DataFrame(
        {"name": names, "record_sha": [sha * 64] * len(names), "note": [note] * len(names)},
        schema={"name": pl.String, "record_sha": pl.String, "note": pl.String},
    )


def a_dispatch(line: int, *workcells: str, issue: str = "7", failures: int = 0) -> Dispatch:
    at = "2026-01-05T09:00:00Z"
    return Dispatch(
        issue_id=issue, line=line, started_at=at,
        workcells=[LoggedWorkcell(workcell_id=one, created_at=at) for one in workcells],
        create_failures=[CreateFailure(at=at) for _ in range(failures)],
    )  # fmt: skip


def plan(*dispatches: Dispatch, **tables: pl.DataFrame) -> dict[str, dict[str, object]]:
    told = {"archives": live(), "worlds": live()} | tables
    rows = plan_runs(**told, dispatches=dispatch_table(dispatches), timeline=NOTHING_KNOWN)
    return {row["run_id"]: row for row in rows.iter_rows(named=True)}


@pytest.mark.parametrize(
    ("name", "month"),
    [
        ("wc-7-20260105T090000Z", "2026-01"),
        ("wc-a-b-20260205T090000Z-spec-codex", "2026-02"),
        ("wc-7-20260105T090000Z-20260305T090000Z", "2026-01"),
        ("wc-7", "undated"),
        ("x-7-20260105T090000Z", "undated"),
    ],
)
def test_a_workcell_is_of_the_month_in_its_name(name: str, month: str) -> None:
    assert pl.select(workcell_month(pl.lit(name))).item() == month


@pytest.mark.parametrize(
    ("name", "month"),
    [
        ("world_x_seed1_20260401T000407Z", "2026-04"),
        ("run_1775001847625_ab", "2026-04"),
        ("run_1775001847625", "undated"),
        ("world_x_20260401T000407Z_b", "undated"),
    ],
)
def test_a_world_run_is_of_the_month_in_its_name(name: str, month: str) -> None:
    assert pl.select(world_month(pl.lit(name))).item() == month


def test_months_read_off_a_timestamp_are_those_of_its_moment() -> None:
    odd = ["2026-01-31T23:59:59Z", "2026-02-30T00:00:00Z", "2026-01-01T00:30:00+01:00", "x", None,
           "2026-02-28T23:59:59.999Z", "1970-01-01T00:00:00Z", "2026-13-01T00:00:00Z",
           "2026-01-05T24:00:00Z", "2026-01-05T09:00:00", "1969-12-31T00:00:00Z", ""]  # fmt: skip
    moments = [moment_ms(at) for at in odd]
    assert moment_months(pl.Series(odd)).to_list() == [
        "undated" if moment is None else rfc3339(moment)[:7] for moment in moments
    ]


def test_a_workcell_of_two_dispatches_is_planned_once() -> None:
    twice = plan(a_dispatch(1, "wc-a", "wc-b"), a_dispatch(5, "wc-b"))
    assert {run_id: row["dispatch"] for run_id, row in twice.items()} == {"wc-a": 0, "wc-b": 0}
    archived = plan(a_dispatch(1, "wc-a", "wc-b"), a_dispatch(5, "wc-b"), archives=live("wc-b"))
    assert (archived["wc-b"]["kind"], archived["wc-b"]["dispatch"]) == ("archived", 1)


def test_no_id_is_planned_twice_whoever_claims_it() -> None:
    claimed = plan(a_dispatch(1, "wc-a", "world_x"), archives=live("wc-a"), worlds=live("world_x"))
    assert {run_id: row["kind"] for run_id, row in claimed.items()} == {
        "wc-a": "archived", "world_x": "world",
    }  # fmt: skip


def test_a_world_run_of_a_workcells_name_gets_another_one() -> None:
    both = plan(archives=live("x"), worlds=live("x", "fab-world_x"))
    assert set(both) == {"x", "runs/x"}


def test_a_key_tells_every_record_a_run_is_made_of() -> None:
    first = a_dispatch(1, "wc-a", "wc-b", failures=1)
    keys = {run_id: row["key"] for run_id, row in plan(first, archives=live("wc-a")).items()}
    assert len(keys) == 3

    def changed(*dispatches: Dispatch, **tables: pl.DataFrame) -> set[str]:
        now = plan(*dispatches, **({"archives": live("wc-a")} | tables))
        return {run_id for run_id, key in keys.items() if now[run_id]["key"] != key}

    (failed,) = set(keys) - {"wc-a", "wc-b"}
    assert changed(first) == set()
    assert changed(first, a_dispatch(9, issue="8")) == set()
    assert changed(first, a_dispatch(9, issue="7")) == {failed}
    assert changed(first, archives=live("wc-a", sha="b")) == set(keys)
    assert changed(first, worlds=live("fab-world_wc-a")) == set(keys)
    other = a_dispatch(1, "wc-a", "wc-b", "wc-c", failures=1)
    assert changed(other) == set(keys)
