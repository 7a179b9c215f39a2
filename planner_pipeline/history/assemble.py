"""All records of a workspace -> its runs, month by month, each run put together once.

Belongs here: which records make a run, its key, the parts of the run table. Does not: single runs
(``workcells``, ``logged``, ``worlds``).
A run's key is the hash of everything it is made of; a run whose key is known is not made again.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from planner_pipeline.history.issues_then import IssueTimeline
from planner_pipeline.history.logged import logged_ids, logged_runs
from planner_pipeline.history.moments import moment_ms
from planner_pipeline.history.runs import RunRecord, run_row
from planner_pipeline.history.workcells import workcell_run
from planner_pipeline.history.worlds import WORKCELL_PREFIX, started_month, world_run
from planner_pipeline.parts import Part, Parts, keep_parts, read_part, reusable, write_part
from planner_pipeline.sources.archives import ArchiveRecord, split_workcell_id
from planner_pipeline.sources.beads import IssueRecord
from planner_pipeline.sources.events import Dispatch
from planner_pipeline.sources.store import Progress, Stored, no_progress
from planner_pipeline.sources.workspace import NOTE_SEPARATOR
from planner_pipeline.sources.world_runs import WorldRunRecord
from planner_pipeline.tables import RUNS, check_table, polars_schema, read_records

VERSION: Final = "1"  # raised when the same records start to make other runs
UNDATED: Final = "undated"
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


class RunPlan(msgspec.Struct, frozen=True):
    """A run that is to be in the table: where its records are, and its key."""

    run_id: str
    key: str
    name: str  # of its directory; for workcells that only the log knows the number of the dispatch


class MonthPlan(msgspec.Struct):
    """The runs of a month, by what they are made of."""

    archived: list[RunPlan] = []
    logged: list[RunPlan] = []
    worlds: list[RunPlan] = []

    def all(self) -> list[RunPlan]:
        """Every run of the month."""
        return [*self.archived, *self.logged, *self.worlds]


def _hash(*parts: str | bytes) -> str:
    told = [part if isinstance(part, bytes) else part.encode() for part in parts]
    return sha256(b"\0".join((VERSION.encode(), *told))).hexdigest()[:32]  # no part holds a NUL


def month_of(moment: int | None) -> str:
    """``YYYY-MM`` of a moment in Unix ms, or ``undated``."""
    if moment is None:
        return UNDATED
    return datetime.fromtimestamp(moment / 1000, UTC).strftime("%Y-%m")


def _stamp_month(stamp: str | None) -> str:
    return f"{stamp[:4]}-{stamp[4:6]}" if stamp else UNDATED


class RunAssembly:
    """The runs of a workspace. A run belongs to the month in which its own name says it began.

    A world run inside a fab-world workcell is evidence for that workcell, not a run of its own.
    """

    def __init__(
        self,
        *,
        archives: Stored,
        worlds: Stored,
        dispatches: Iterable[Dispatch],
        past_issues: Iterable[IssueRecord] = (),
        issues: Iterable[IssueRecord] = (),
    ) -> None:
        self._archives, self._worlds = archives, worlds
        self._live_archives, self._live_worlds = archives.live_table(), worlds.live_table()
        self._timeline = IssueTimeline(past_issues, issues)
        self._dispatches = list(dispatches)
        self._dispatch_of = {
            workcell.workcell_id: number
            for number, dispatch in enumerate(self._dispatches)
            for workcell in dispatch.workcells
        }
        self._next_start: dict[int, str | None] = {}
        following: dict[str, str | None] = {}
        for number in range(len(self._dispatches) - 1, -1, -1):
            dispatch = self._dispatches[number]
            self._next_start[number] = following.get(dispatch.issue_id)
            following[dispatch.issue_id] = dispatch.started_at
        self.months = self._plan()

    @classmethod
    def of_tables(
        cls,
        *,
        archives: Stored,
        worlds: Stored,
        dispatches: pl.DataFrame,
        past_issues: pl.DataFrame,
        issues: pl.DataFrame,
    ) -> "RunAssembly":
        """The same from the tables that ``sources`` makes."""
        return cls(
            archives=archives,
            worlds=worlds,
            dispatches=read_records(dispatches, Dispatch),
            past_issues=read_records(past_issues, IssueRecord),
            issues=read_records(issues, IssueRecord),
        )

    def _plan(self) -> dict[str, MonthPlan]:
        months: dict[str, MonthPlan] = {}
        world_sha = dict(self._live_worlds.select("name", "record_sha").iter_rows())
        archived: dict[int, tuple[str, str]] = {}  # by dispatch: its archived workcell and its key
        names = set(self._live_archives["name"])
        inner = {f"{WORKCELL_PREFIX}{name}" for name in names}
        for name, sha, note in self._live_archives.select("name", "record_sha", "note").iter_rows():
            number = self._dispatch_of.get(name)
            told = b"" if number is None else _ENCODER.encode(self._dispatches[number])
            issue = self._timeline.version(note) if note else ""
            key = _hash(sha, told, issue, world_sha.get(f"{WORKCELL_PREFIX}{name}", ""))
            if number is not None:
                archived[number] = (name, key)
            month = months.setdefault(_stamp_month(split_workcell_id(name)[1]), MonthPlan())
            month.archived.append(RunPlan(name, key, name))
        self._plan_logged(months, names, archived)
        evolution_of = {
            candidate: (name, sha)
            for name, sha, note in self._live_worlds.filter(pl.col("note") != "")
            .select("name", "record_sha", "note")
            .iter_rows()
            for candidate in note.split(NOTE_SEPARATOR)
        }
        for name, sha in world_sha.items():
            if name in inner:
                continue
            evolution, evolution_sha = evolution_of.get(name, (name, ""))
            run_id = f"runs/{name}" if name in names else name
            month = months.setdefault(started_month(evolution) or UNDATED, MonthPlan())
            month.worlds.append(RunPlan(run_id, _hash(run_id, sha, evolution_sha), name))
        self._evolution_of = {name: evolution for name, (evolution, _) in evolution_of.items()}
        return dict(sorted(months.items()))

    def _plan_logged(
        self, months: dict[str, MonthPlan], names: set[str], archived: dict[int, tuple[str, str]]
    ) -> None:
        self._sibling: dict[int, str] = {}
        taken: set[str] = set()
        for number, dispatch in enumerate(self._dispatches):
            kept, key = archived.get(number, (None, ""))
            if kept is not None:
                self._sibling[number] = kept
            ids = [one for one in logged_ids(dispatch, names) if one not in taken]
            if not ids:
                continue
            taken.update(ids)
            key = _hash(
                _ENCODER.encode(dispatch), key, self._next_start[number] or "",
                self._timeline.version(dispatch.issue_id),
            )  # fmt: skip
            where = month_of(moment_ms(dispatch.started_at))
            month = months.setdefault(where, MonthPlan())
            month.logged += [RunPlan(one, _hash(key, one), str(number)) for one in ids]

    def runs(self, plan: MonthPlan) -> Iterator[tuple[RunPlan, RunRecord]]:
        """The runs of a plan, made anew."""
        by_name = {one.name: one for one in plan.archived}
        for run in self._archived_runs(set(by_name)):
            yield by_name[run.run_id], run
        numbers = {int(one.name) for one in plan.logged}
        kept = {self._sibling[number] for number in numbers if number in self._sibling}
        siblings = {run.run_id: run for run in self._archived_runs(kept)}
        made: dict[str, dict[str, RunRecord]] = {}
        for one in plan.logged:
            if one.name not in made:
                number = int(one.name)
                runs = logged_runs(
                    self._dispatches[number],
                    archived=siblings.get(self._sibling.get(number, "")),
                    timeline=self._timeline,
                    next_started_at=self._next_start[number],
                )
                made[one.name] = {run.run_id: run for run in runs}
            yield one, made[one.name][one.run_id]
        by_name = {one.name: one for one in plan.worlds}
        parents = {self._evolution_of[name] for name in by_name if name in self._evolution_of}
        evolutions = {world.run_id: world for world in self._world_records(parents)}
        for world in self._world_records(set(by_name)):
            built = world_run(world, evolutions.get(self._evolution_of.get(world.run_id, "")))
            one = by_name[world.run_id]
            if built is not None:
                yield one, msgspec.structs.replace(built, run_id=one.run_id)

    def _archived_runs(self, names: set[str]) -> Iterator[RunRecord]:
        inner = {
            world.run_id: world
            for world in self._world_records({f"{WORKCELL_PREFIX}{name}" for name in names})
        }
        rows = self._live_archives.filter(pl.col("name").is_in(list(names)))
        for record in self._archives.records(ArchiveRecord, rows):
            number = self._dispatch_of.get(record.workcell_id)
            world = inner.get(f"{WORKCELL_PREFIX}{record.workcell_id}")
            yield workcell_run(
                record,
                timeline=self._timeline,
                dispatch=None if number is None else self._dispatches[number],
                world=None if world is None else world_run(world, None),
            )

    def _world_records(self, names: set[str]) -> Iterator[WorldRunRecord]:
        rows = self._live_worlds.filter(pl.col("name").is_in(list(names)))
        return self._worlds.records(WorldRunRecord, rows)

    def write_month(
        self, folder: Path, month: str, previous: Iterable[Part], known: dict[tuple[str, str], Part]
    ) -> tuple[Part, bool]:
        """The part of a month, and whether it was there already.

        Args:
            previous: Parts of an earlier table whose rows may be taken over.
            known: Those that are still what was written, by month and key.
        """
        plan = self.months[month]
        wanted = {one.run_id: one.key for one in plan.all()}
        key = _hash(*(f"{run_id} {wanted[run_id]}" for run_id in sorted(wanted)))
        if (month, key) in known:
            return known[month, key], True
        schema = polars_schema(RUNS)
        kept = pl.DataFrame(schema=schema)
        for part in previous:
            if part.month == month and (month, part.key) in known:
                kept = read_part(folder, part)
        keys = pl.DataFrame(
            {"run_id": list(wanted), "row_key": list(wanted.values())},
            schema={"run_id": pl.String, "row_key": pl.String},
        )
        kept = kept.join(keys, on=["run_id", "row_key"], how="semi")
        have = set(kept["run_id"])
        missing = MonthPlan(
            *([one for one in some if one.run_id not in have]
              for some in (plan.archived, plan.logged, plan.worlds))
        )  # fmt: skip
        rows: list[dict[str, Any]] = [
            run_row(run, row_key=one.key) for one, run in self.runs(missing)
        ]
        made = pl.DataFrame(rows, schema=schema, orient="row")
        table = pl.concat([kept, made]).sort("decided_ms", "run_id", nulls_last=True)
        return write_part(folder, month, key, check_table(RUNS, table)), False


def write_runs(
    assembly: RunAssembly,
    folder: Path,
    *,
    months: Sequence[str] | None = None,
    progress: Progress = no_progress,
) -> Parts:
    """The run table, a part a month, each in the order of its decisions.

    Args:
        folder: Of the table; months that did not change since the last time are left as they are.
        months: Only these are looked at; None for all.
    """
    earlier = Parts.load(folder).parts
    known = reusable(folder, earlier)
    chosen = [month for month in assembly.months if months is None or month in months]
    parts = [] if months is None else [part for part in earlier if part.month not in months]
    n_reused = 0
    for number, month in enumerate(chosen, start=1):
        part, is_known = assembly.write_month(folder, month, earlier, known)
        parts.append(part)
        n_reused += is_known
        progress("run_summaries", number, len(chosen))
    parts.sort(key=lambda part: part.month)
    table = Parts(folder=str(folder), parts=tuple(parts), n_reused=n_reused)
    keep_parts(table)
    return table
