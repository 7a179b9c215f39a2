"""All records of a workspace -> its runs, month by month, each run put together once.

Belongs here: making the runs of a plan, the parts of the run table. Does not: which runs there are
and what they are made of (``run_plan``), single runs (``workcells``, ``logged``, ``worlds``).
A run whose key is known is not made again.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import msgspec
import polars as pl

from planner_pipeline.history.run_plan import (
    ARCHIVED,
    LOGGED,
    WORLD,
    following_start,
    plan_runs,
    timeline_of,
)
from planner_pipeline.history.run_rows import run_row
from planner_pipeline.parts import Part, Parts, keep_parts, read_part, reusable, write_part
from planner_pipeline.sources.store import Progress, Stored, no_progress
from planner_pipeline.tables import RUNS, check_table, polars_schema
from planner_runtime.archives.events import Dispatch
from planner_runtime.archives.logged import logged_runs
from planner_runtime.archives.runs import RunRecord
from planner_runtime.archives.workcell_files import ArchiveRecord
from planner_runtime.archives.workcells import workcell_run
from planner_runtime.archives.world_files import WorldRunRecord
from planner_runtime.archives.worlds import WORKCELL_PREFIX, world_run


class RunAssembly:
    """The runs of a workspace, from the tables that ``sources`` makes."""

    def __init__(
        self,
        *,
        archives: Stored,
        worlds: Stored,
        dispatches: pl.DataFrame,
        past_issues: pl.DataFrame,
        issues: pl.DataFrame,
    ) -> None:
        self._archives, self._worlds, self._dispatches = archives, worlds, dispatches
        self._live_archives, self._live_worlds = archives.live_table(), worlds.live_table()
        self._timeline = timeline_of(past_issues, issues)
        plan = plan_runs(
            archives=self._live_archives, worlds=self._live_worlds,
            dispatches=dispatches, timeline=self._timeline,
        )  # fmt: skip
        self._archived = plan.filter(kind=ARCHIVED)
        self._plan = {
            str(month): runs
            for (month,), runs in plan.partition_by(
                "month", as_dict=True, maintain_order=True
            ).items()
        }

    @property
    def months(self) -> list[str]:
        """Months that have runs, ``YYYY-MM`` or ``undated``."""
        return sorted(self._plan)

    def runs(self, plan: pl.DataFrame) -> Iterator[RunRecord]:
        """The runs of some rows of ``plan_runs``, made anew."""
        of_kind = {kind: plan.filter(kind=kind) for kind in (ARCHIVED, LOGGED, WORLD)}
        yield from self._archived_runs(of_kind[ARCHIVED])
        yield from self._logged_runs(of_kind[LOGGED])
        yield from self._world_runs(of_kind[WORLD])

    def _archived_runs(self, plan: pl.DataFrame) -> Iterator[RunRecord]:
        inner = {
            world.run_id: world for world in self._world_records(WORKCELL_PREFIX + plan["name"])
        }
        number_of = dict(plan.select("name", "dispatch").iter_rows())
        dispatch_of = self._dispatches_of(plan["dispatch"])
        rows = self._live_archives.join(plan, on="name", how="semi", maintain_order="left")
        for record in self._archives.records(ArchiveRecord, rows):
            world = inner.get(f"{WORKCELL_PREFIX}{record.workcell_id}")
            yield workcell_run(
                record,
                timeline=self._timeline,
                dispatch=dispatch_of.get(number_of[record.workcell_id]),
                world=None if world is None else world_run(world, None),
            )

    def _dispatches_of(self, numbers: pl.Series) -> dict[int | None, Dispatch]:
        wanted = numbers.drop_nulls().unique().sort()
        texts = self._dispatches["record_json"].gather(wanted)
        decoder = msgspec.json.Decoder(Dispatch)
        return {n: decoder.decode(text) for n, text in zip(wanted, texts, strict=True)}

    def _logged_runs(self, plan: pl.DataFrame) -> Iterator[RunRecord]:
        kept = self._archived.filter(pl.col("name").is_in(plan["sibling"].implode()))
        siblings = {run.run_id: run for run in self._archived_runs(kept)}
        dispatch_of = self._dispatches_of(plan["dispatch"])
        next_start = self._dispatches.select(following_start()).to_series()
        for (number, sibling), rows in plan.group_by("dispatch", "sibling", maintain_order=True):
            assert isinstance(number, int)
            runs = logged_runs(
                dispatch_of[number],
                archived=siblings.get(sibling),
                timeline=self._timeline,
                next_started_at=next_start[number],
            )
            made = {run.run_id: run for run in runs}
            yield from (made[run_id] for run_id in rows["run_id"])

    def _world_runs(self, plan: pl.DataFrame) -> Iterator[RunRecord]:
        evolutions = {world.run_id: world for world in self._world_records(plan["evolution"])}
        planned = {
            name: (run_id, evolution)
            for name, run_id, evolution in plan.select("name", "run_id", "evolution").iter_rows()
        }
        for world in self._world_records(plan["name"]):
            run_id, evolution = planned[world.run_id]
            built = world_run(world, evolutions.get(evolution))
            if built is not None:
                yield msgspec.structs.replace(built, run_id=run_id)

    def _world_records(self, names: pl.Series) -> Iterator[WorldRunRecord]:
        rows = self._live_worlds.filter(pl.col("name").is_in(names.implode()))
        return self._worlds.records(WorldRunRecord, rows)

    def write_month(
        self, folder: Path, month: str, previous: Iterable[Part], known: dict[tuple[str, str], Part]
    ) -> tuple[Part, bool]:
        """The part of a month, and whether it was there already.

        Args:
            previous: Parts of an earlier table whose rows may be taken over.
            known: Those that are still what was written, by month and key.
        """
        plan = self._plan[month].sort("run_id")
        told = pl.concat_str(["key", pl.col("run_id").str.len_bytes(), "run_id"], separator=" ")
        key = sha256(plan.select(told.str.join("\n")).item().encode()).hexdigest()[:32]
        if (month, key) in known:
            return known[month, key], True
        schema = polars_schema(RUNS)
        kept = pl.DataFrame(schema=schema)
        for part in previous:
            if part.month == month and (month, part.key) in known:
                found = read_part(folder, part)
                kept = found if found.columns == kept.columns else kept  # or of an earlier program
        keys = plan.select("run_id", row_key="key")
        kept = kept.join(keys, on=["run_id", "row_key"], how="semi")
        missing = plan.join(kept, on="run_id", how="anti", maintain_order="left")
        key_of = dict(keys.iter_rows())
        made = pl.DataFrame(
            [run_row(run, row_key=key_of[run.run_id]) for run in self.runs(missing)],
            schema=schema, orient="row",
        )  # fmt: skip
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
