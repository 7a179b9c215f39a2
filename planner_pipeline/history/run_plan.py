"""Which runs a workspace has, and what each is made of, worked out in columns.

Belongs here: the joins that say which records make a run, and its key. Does not: making runs
(``assemble``), reading records (``sources``).

A run's key is what it is made of: the versions of its records, side by side. Equal keys mean equal
records; no hash of them all is taken, since a hundred thousand would cost more than the joins.
"""

from typing import Final

import msgspec
import polars as pl

from planner_pipeline.sources.workspace import NOTE_SEPARATOR
from planner_runtime.archives.events import Dispatch
from planner_runtime.archives.issues_then import IssueTimeline
from planner_runtime.archives.logged import failure_ids
from planner_runtime.archives.moments import moment_ms
from planner_runtime.archives.runs import VERSION
from planner_runtime.archives.worlds import WORKCELL_PREFIX
from planner_runtime.contracts.canonical import sha256_hex
from planner_runtime.inputs import rfc3339

UNDATED: Final = "undated"
ARCHIVED, LOGGED, WORLD = "archived", "logged", "world"  # what most of a run is told by
# a moment that stands in the calendar beyond doubt, whatever the month
_USUAL: Final = (
    r"^((?:19[7-9]|20[0-9])[0-9]-(?:0[1-9]|1[0-2]))-(?:0[1-9]|1[0-9]|2[0-8])"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?Z$"
)
_HASH_CHARS: Final = 24  # of a hash, in a key: 96 bits
_PLAN: Final = ("month", "run_id", "key", "kind", "name", "dispatch", "sibling", "evolution")


def timeline_of(past: pl.DataFrame, now: pl.DataFrame) -> IssueTimeline:
    """Issues as commits held them, in the order of the commits, and as they stand."""
    tables = (table.select("issue_id", "record_json") for table in (past, now))
    return IssueTimeline(version for table in tables for version in table.iter_rows())


def _key(*versions: str) -> pl.Expr:
    """A key of some columns that hold hashes, or nothing."""
    told = [pl.col(name).str.slice(0, _HASH_CHARS).fill_null("") for name in versions]
    return pl.concat_str([pl.lit(VERSION), *told], separator=":").alias("key")


def _month_of_stamp(name: pl.Expr, pattern: str) -> pl.Expr:
    stamp = name.str.extract(pattern)
    return stamp.str.slice(0, 4) + "-" + stamp.str.slice(4, 2)


def workcell_month(name: pl.Expr) -> pl.Expr:
    """``YYYY-MM`` of a workcell by its own name, or ``undated``."""
    return _month_of_stamp(name, r"^wc-(?s:.*?)-([0-9]{8}T[0-9]{6}Z)").fill_null(UNDATED)


def world_month(name: pl.Expr) -> pl.Expr:
    """``YYYY-MM`` of a world run by its own name, or ``undated``."""
    job = name.str.extract(r"^run_([0-9]{12,14})_").cast(pl.Int64)
    return (
        _month_of_stamp(name, r"_([0-9]{8}T[0-9]{6}Z)$")
        .fill_null(pl.from_epoch(job, "ms").dt.strftime("%Y-%m"))
        .fill_null(UNDATED)
    )


def moment_months(timestamps: pl.Series) -> pl.Series:
    """``YYYY-MM`` of timestamps, or ``undated``; that of the usual ones stands in their text."""
    written = timestamps.str.extract(_USUAL)
    months = [month or _month_of(at) for month, at in zip(written, timestamps, strict=True)]
    return pl.Series("month", months, pl.String)


def _month_of(timestamp: str | None) -> str:
    moment = moment_ms(timestamp)
    return UNDATED if moment is None else rfc3339(moment)[:7]


def plan_runs(
    *,
    archives: pl.DataFrame,
    worlds: pl.DataFrame,
    dispatches: pl.DataFrame,
    timeline: IssueTimeline,
) -> pl.DataFrame:
    """Every run there is to be, each id once.

    A run belongs to the month in which its own name says it began. A world run inside a fab-world
    workcell is evidence for that workcell, not a run of its own.

    Args:
        archives: ``live_table`` of the archives, as ``worlds`` is of the world runs.
        dispatches: Of the event log, in the order they began.

    Returns:
        ``month``, ``run_id``, ``key`` and ``kind``; ``name`` of its directory, ``dispatch`` (a row
        of ``dispatches``), ``sibling`` (the archived workcell of its dispatch) and ``evolution``
        (the run it was a candidate of), where it has them.
    """
    dispatches = dispatches.with_row_index("dispatch").with_columns(
        pl.col("dispatch").cast(pl.Int64)
    )
    cells = dispatches.select("dispatch", name="workcell_ids", has_begun="has_begun").explode(
        ["name", "has_begun"], empty_as_null=False
    )
    told = dispatches.select("dispatch", told_sha="record_sha")
    archived = _archived(archives, worlds, cells.join(told, on="dispatch"), timeline)
    outer = _worlds(archives, worlds)
    logged = _logged(archived, cells, dispatches, timeline)
    plan = [table.select(_PLAN) for table in (archived, outer, logged)]
    return pl.concat(plan).unique("run_id", keep="first", maintain_order=True)


def _archived(
    archives: pl.DataFrame, worlds: pl.DataFrame, cells: pl.DataFrame, timeline: IssueTimeline
) -> pl.DataFrame:
    inner = worlds.filter(pl.col("name").str.starts_with(WORKCELL_PREFIX)).select(
        pl.col("name").str.strip_prefix(WORKCELL_PREFIX), inner_sha="record_sha"
    )
    last = cells.unique("name", keep="last", maintain_order=True)
    return (
        archives.join(last, on="name", how="left", maintain_order="left")
        .join(inner, on="name", how="left", maintain_order="left")
        .join(_versions(archives["note"], timeline), left_on="note", right_on="issue_id",
              how="left", maintain_order="left")
        .with_columns(
            _key("record_sha", "told_sha", "issue_sha", "inner_sha"),
            month=workcell_month(pl.col("name")), run_id="name", kind=pl.lit(ARCHIVED),
            sibling=pl.lit(None, pl.String), evolution=pl.lit(None, pl.String),
        )
    )  # fmt: skip


def _versions(issues: pl.Series, timeline: IssueTimeline) -> pl.DataFrame:
    ids = issues.unique().sort().to_list()
    return pl.DataFrame(
        {"issue_id": ids, "issue_sha": [timeline.version(one) for one in ids]},
        schema={"issue_id": pl.String, "issue_sha": pl.String},
    )


def _worlds(archives: pl.DataFrame, worlds: pl.DataFrame) -> pl.DataFrame:
    inner = archives.select(name=WORKCELL_PREFIX + pl.col("name"))
    evolution_of = (
        worlds.filter(pl.col("note") != "")
        .select(
            pl.col("note").str.split(NOTE_SEPARATOR), evolution="name", evolution_sha="record_sha"
        )
        .explode("note")
        .unique("note", keep="last", maintain_order=True)
    )
    is_taken = pl.col("name").is_in(archives["name"].implode())
    return (
        worlds.join(inner, on="name", how="anti", maintain_order="left")
        .select("name", "record_sha")
        .join(evolution_of, left_on="name", right_on="note", how="left", maintain_order="left")
        .with_columns(
            _key("record_sha", "evolution_sha"),
            month=world_month(pl.col("evolution").fill_null(pl.col("name"))),
            run_id=pl.when(is_taken).then("runs/" + pl.col("name")).otherwise("name"),
            kind=pl.lit(WORLD), dispatch=pl.lit(None, pl.Int64), sibling=pl.lit(None, pl.String),
        )
    )  # fmt: skip


def _logged(
    archived: pl.DataFrame, cells: pl.DataFrame, dispatches: pl.DataFrame, timeline: IssueTimeline
) -> pl.DataFrame:
    """Workcells that left no archive. What a failed creation is made of includes when the issue's
    next dispatch began.
    """
    siblings = (
        archived.filter(pl.col("dispatch").is_not_null())
        .unique("dispatch", keep="last", maintain_order=True)
        .select("dispatch", sibling="name", sibling_key="key")
    )
    lost = cells.filter("has_begun").join(archived, on="name", how="anti", maintain_order="left")
    lost = lost.select("dispatch", run_id="name", next_sha=pl.lit(None, pl.String))
    runs = pl.concat([lost, _failures(dispatches)]).sort("dispatch", maintain_order=True)
    runs = runs.unique("run_id", keep="first", maintain_order=True)
    of = dispatches.select("dispatch", "issue_id", "started_at", told_sha="record_sha")
    of = of.join(runs, on="dispatch", how="semi", maintain_order="left")
    of = of.with_columns(month=moment_months(of["started_at"])).join(
        _versions(of["issue_id"], timeline), on="issue_id", how="left", maintain_order="left"
    )
    return (
        runs.join(of, on="dispatch", maintain_order="left")
        .join(siblings, on="dispatch", how="left", maintain_order="left")
        .with_columns(
            pl.concat_str(
                [_key("told_sha", "issue_sha", "next_sha"), pl.col("sibling_key").fill_null("")],
                separator=":",
            ).alias("key"),
            kind=pl.lit(LOGGED), name=pl.lit(None, pl.String), evolution=pl.lit(None, pl.String),
        )
    )  # fmt: skip


def _failures(dispatches: pl.DataFrame) -> pl.DataFrame:
    following = dispatches.with_columns(next_at=following_start())
    failed = following.filter(pl.col("n_create_failures") > 0)
    rows = [
        (number, run_id, sha256_hex((next_at or "").encode()))
        for number, text, next_at in failed.select("dispatch", "record_json", "next_at").iter_rows()
        for run_id in failure_ids(msgspec.json.decode(text, type=Dispatch))
    ]
    schema = {"dispatch": pl.Int64, "run_id": pl.String, "next_sha": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def following_start() -> pl.Expr:
    """When the next dispatch of the same issue began, in a table of dispatches."""
    return pl.col("started_at").shift(-1).over("issue_id")
