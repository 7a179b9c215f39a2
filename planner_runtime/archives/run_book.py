"""The runs of a workspace as they become known: only what is new or changed is read.

Belongs here: which runs a change touches, and making those anew. Does not: single runs
(``workcells``, ``worlds``, ``logged``), watching directories (``watched``), an index of runs
(``kernel.history``). The joins are those of the pipeline's ``history.run_plan``, one run at a time;
a test holds both to the same runs.

A run is made of its directory, its dispatch in the event log, the world run inside it, and, where
it did not record its issue, of the issue's versions. When one of these changes it is made again
from the files themselves; records are not kept.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from planner_runtime.archives import workcell_files, world_files
from planner_runtime.archives.dispatch_log import DispatchLog
from planner_runtime.archives.files import Quarantine, SourceCount
from planner_runtime.archives.issues_seen import IssuesSeen
from planner_runtime.archives.issues_then import IssueTimeline
from planner_runtime.archives.logged import logged_runs
from planner_runtime.archives.run_parts import (
    Cell,
    Change,
    KeptRuns,
    Todo,
    World,
    candidates_of,
    guarded,
    note_of,
    odd,
)
from planner_runtime.archives.runs import RunRecord, run_summary
from planner_runtime.archives.watched import Watched
from planner_runtime.archives.workcell_files import ArchiveRecord, read_archive
from planner_runtime.archives.workcells import workcell_run
from planner_runtime.archives.world_files import WorldRunRecord, read_world_run
from planner_runtime.archives.worlds import WORKCELL_PREFIX, world_run
from planner_runtime.contracts.run_summary import RunSummary

NO_ISSUES: Final = IssueTimeline(())


class RunBook:
    """Every run of a workspace.

    Args:
        include_world: Whether world runs and evolutions are runs; inside a fab-world workcell they
            are evidence in any case.
        kept: Where to go on from.
    """

    def __init__(
        self,
        repo: Path,
        *,
        include_world: bool = True,
        kept: KeptRuns | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._repo, self._include_world = repo, include_world
        self._archives, self._worlds = (
            Watched(repo, one.FOLDER, one.PARTS, one.SOURCE, clock)
            for one in (workcell_files, world_files)
        )
        self._log = DispatchLog(repo, None if kept is None else kept.log)
        self._issues = IssuesSeen(repo)
        self._cells: dict[str, Cell] = {}
        self._world: dict[str, World] = {}
        self._failures: dict[int, tuple[tuple[str, RunSummary], ...]] = {}
        self._world_of: dict[str, str] = {}  # by run id
        self._failing_of: dict[str, set[int]] = {}  # by run id
        self._evolutions_of: dict[str, set[str]] = {}
        self._versions: dict[str, str] = {}
        self._compared = NO_ISSUES
        self._refused: dict[str, list[Quarantine]] = {}  # by folder and name
        self._strays: tuple[Quarantine, ...] = ()
        self.runs: dict[str, RunSummary] = {}
        if kept is not None:
            self._go_on_from(kept)

    def _go_on_from(self, kept: KeptRuns) -> None:
        for watched, known in ((self._archives, kept.cells), (self._worlds, kept.worlds)):
            watched.trust({name: mark for name, (mark, _) in known.items()})
        self._cells = {name: cell for name, (_, cell) in kept.cells.items()}
        for name, (_, world) in kept.worlds.items():
            self._put_world(name, world)
        for line, runs in kept.failures.items():
            self._put_failures(line, runs)
        self._versions = dict(kept.versions)
        told = ((name, cell.summary) for name, cell in self._cells.items())
        self.runs = {run_id: one for run_id, one in told if one is not None}
        for run_id in {*self._world_of, *self._failing_of} - self._cells.keys():
            if (summary := self._effective(run_id)) is not None:
                self.runs[run_id] = summary

    def kept(self) -> KeptRuns:
        """What another process goes on from."""
        return KeptRuns(
            cells={
                name: (self._archives.marks[name], cell)
                for name, cell in self._cells.items()
                if cell.is_whole and not self._archives.is_watched(name)
            },
            worlds={
                name: (self._worlds.marks[name], world)
                for name, world in self._world.items()
                if world.is_whole and not self._worlds.is_watched(name)
            },
            failures=self._failures,
            versions=self._versions,
            log=self._log.kept(),
        )

    @property
    def quarantined(self) -> list[Quarantine]:
        """What could not be used, or not yet, in order."""
        rows = [row for rows in self._refused.values() for row in rows]
        rows += [*self._strays, *self._log.refused]
        return sorted(rows, key=lambda row: (row.source, row.file, row.line or 0, row.reason))

    @property
    def counts(self) -> tuple[SourceCount, ...]:
        """How many directories of each source were met, and what became of them."""
        counts = []
        for source, watched, used in (
            (workcell_files.SOURCE, self._archives, self._cells),
            (world_files.SOURCE, self._worlds, self._world),
        ):
            unused = [name for name in watched.marks if name not in used]
            rows = (self._refused.get(f"{source}/{name}", ()) for name in unused)
            n_pending = sum(any(row.is_pending for row in refused) for refused in rows)
            n_strays = sum(row.source == source for row in self._strays)
            counts.append(
                SourceCount(
                    source=source, discovered=len(watched.marks) + n_strays,
                    accepted=len(watched.marks) - len(unused),
                    quarantined=len(unused) - n_pending + n_strays, pending=n_pending,
                )
            )  # fmt: skip
        return tuple(counts)

    def refresh(self, *, thorough: bool = False) -> Change:
        """Read what is new, and make the runs it touches."""
        archives = self._archives.look(thorough=thorough)
        worlds = self._worlds.look(thorough=thorough)
        self._strays = (*archives.refused, *worlds.refused)
        n_before = len(self._cells) + len(self._world)
        gone = len([n for n in archives.gone if n in self._cells])
        gone += len([n for n in worlds.gone if n in self._world])
        todo = Todo()
        lines = self._log.refresh()
        if lines is None:
            todo.cells.update(self._cells)
            todo.lines.update(self._failures, self._log.failing)
        else:
            todo.lines.update(lines)
        for name in archives.gone:
            self._lose_cell(name, todo)
        todo.cells.update(archives.changed)
        self._note_worlds(worlds.changed, worlds.gone, todo)
        for line in () if lines is None else lines:
            told = self._log.dispatch(line).workcells
            todo.cells.update(w.workcell_id for w in told if w.workcell_id in self._cells)
        self._note_issues(todo)
        for name in sorted(todo.cells):
            self._make_cell(name, todo)
        for name in sorted(todo.worlds):
            self._make_world(name, todo)
        for line in sorted(todo.lines):
            self._make_failures(line, todo)
        self._archives.rest(lambda name: name not in self._cells or not self._cells[name].is_whole)
        self._worlds.rest(self._is_unfinished)
        n_new = len(self._cells) + len(self._world) - n_before + gone
        return self._change(todo.run_ids, n_new)

    def _is_unfinished(self, name: str) -> bool:
        world = self._world.get(name)
        return world is None or not (world.is_whole and world.is_over)

    def _change(self, run_ids: Iterable[str], n_new: int) -> Change:
        changed, removed = {}, []
        for run_id in run_ids:
            now, before = self._effective(run_id), self.runs.get(run_id)
            if now is None:
                if before is not None:
                    removed.append(run_id)
                    del self.runs[run_id]
            elif now != before:
                changed[run_id] = self.runs[run_id] = now
        removed.sort()
        return Change(changed=changed, removed=tuple(removed), n_new=n_new)

    def _effective(self, run_id: str) -> RunSummary | None:
        """Of one id: the archived workcell, else the world run, else what the log tells."""
        if (cell := self._cells.get(run_id)) is not None:
            return cell.summary
        if (name := self._world_of.get(run_id)) is not None:
            return self._world[name].summary if self._include_world else None
        if lines := self._failing_of.get(run_id):
            return dict(self._failures[min(lines)])[run_id]
        return None

    def _timeline(self, issue_id: str | None) -> IssueTimeline:
        """The versions of an issue, which a run is made of from now on."""
        if issue_id is None:
            return NO_ISSUES
        timeline = self._issues.timeline()
        self._versions[issue_id] = timeline.version(issue_id)
        return timeline

    def _note_issues(self, todo: Todo) -> None:
        """What is made of issues that are not what they were."""
        if not self._versions:
            return
        timeline = self._issues.timeline()
        if timeline is self._compared:
            return
        self._compared = timeline
        other = {one for one, sha in self._versions.items() if timeline.version(one) != sha}
        if other:
            todo.cells.update(name for name, cell in self._cells.items() if cell.note in other)
            for line in self._log.failing:
                if self._log.dispatch(line).issue_id in other:
                    todo.lines.add(line)
            self._versions.update((one, timeline.version(one)) for one in other)

    def _read_cell(self, name: str) -> tuple[ArchiveRecord | None, list[Quarantine]]:
        where = workcell_files
        return guarded(read_archive, self._repo, where.FOLDER, name, where.SOURCE)

    def _read_world(self, name: str) -> tuple[WorldRunRecord | None, list[Quarantine]]:
        where = world_files
        return guarded(read_world_run, self._repo, where.FOLDER, name, where.SOURCE)

    def _run_of(self, record: ArchiveRecord, line: int | None) -> RunRecord:
        inner = None
        if WORKCELL_PREFIX + record.workcell_id in self._world:
            inner, _ = self._read_world(WORKCELL_PREFIX + record.workcell_id)
        return workcell_run(
            record,
            timeline=self._timeline(note_of(record)),
            dispatch=None if line is None else self._log.dispatch(line),
            world=None if inner is None else world_run(inner, None),
        )

    def _make_cell(self, name: str, todo: Todo) -> None:
        before = self._cells.get(name)
        self._archives.begin(name)
        record, refused = self._read_cell(name)
        line, run = self._log.line_of(name), None
        if record is not None:
            try:
                run = self._run_of(record, line)
            except Exception as error:  # whatever stands in a file, a kernel goes on
                refused = [*refused, odd(workcell_files.SOURCE, workcell_files.FOLDER, name, error)]
        self._note_refused(f"{workcell_files.SOURCE}/{name}", refused)
        self._archives.note(name, is_finished=not refused)
        if record is None or run is None:
            self._lose_cell(name, todo)
            return
        self._cells[name] = Cell(
            line=line, note=note_of(record), is_whole=not refused, summary=run_summary(run)
        )
        todo.run_ids.add(name)
        lines = (line, None if before is None else before.line)
        todo.lines.update(one for one in lines if one is not None)
        if before is None:
            todo.worlds.update({name, WORKCELL_PREFIX + name} & self._world.keys())

    def _lose_cell(self, name: str, todo: Todo) -> None:
        cell = self._cells.pop(name, None)
        if name not in self._archives.marks:
            self._refused.pop(f"{workcell_files.SOURCE}/{name}", None)
        if cell is None:
            return
        todo.run_ids.add(name)
        todo.worlds.update({name, WORKCELL_PREFIX + name} & self._world.keys())
        if cell.line is not None:
            todo.lines.add(cell.line)

    def _note_worlds(self, changed: Iterable[str], gone: Iterable[str], todo: Todo) -> None:
        """Read run directories, and note all that is made of them."""
        left = set(gone)
        for name in (*changed, *gone):
            before = self._world.get(name)
            record, refused = None, list[Quarantine]()
            if name not in left:
                self._worlds.begin(name)
                record, refused = self._read_world(name)
            self._note_refused(f"{world_files.SOURCE}/{name}", refused)
            now = None if record is None else World(
                candidates=candidates_of(record), is_whole=not refused,
                run_id=None if before is None else before.run_id,
                summary=None if before is None else before.summary,
            )  # fmt: skip
            if name not in left:
                self._worlds.note(name, is_finished=False)  # until ``rest`` finds it over
            if before is not None:
                todo.run_ids.update(() if before.run_id is None else (before.run_id,))
                self._drop_world(name)
            if now is not None:
                self._put_world(name, now)
                todo.worlds.add(name)
            for world in (before, now):
                todo.worlds.update(() if world is None else world.candidates)
            if name.startswith(WORKCELL_PREFIX):
                todo.cells.update({name.removeprefix(WORKCELL_PREFIX)} & self._cells.keys())

    def _make_world(self, name: str, todo: Todo) -> None:
        known = self._world.get(name)
        if known is None:
            return
        run_id = summary = run = None
        record, refused = self._read_world(name)
        try:
            run = None if record is None else world_run(record, self._evolution_of(name))
        except Exception as error:  # whatever stands in a file, a kernel goes on
            refused = [*refused, odd(world_files.SOURCE, world_files.FOLDER, name, error)]
            self._note_refused(f"{world_files.SOURCE}/{name}", refused)
        is_inner = name.startswith(WORKCELL_PREFIX)
        is_inner = is_inner and name.removeprefix(WORKCELL_PREFIX) in self._cells
        if run is not None and not is_inner:
            run_id = f"runs/{name}" if name in self._cells else name
            summary = run_summary(msgspec.structs.replace(run, run_id=run_id))
        is_over = run is None or run.ended_ms is not None
        todo.run_ids.update(one for one in (known.run_id, run_id) if one is not None)
        self._drop_world(name)
        self._put_world(
            name,
            msgspec.structs.replace(known, run_id=run_id, summary=summary, is_over=is_over),
        )

    def _evolution_of(self, name: str) -> WorldRunRecord | None:
        evolutions = self._evolutions_of.get(name)
        return self._read_world(max(evolutions))[0] if evolutions else None

    def _put_world(self, name: str, world: World) -> None:
        self._world[name] = world
        for candidate in world.candidates:
            self._evolutions_of.setdefault(candidate, set()).add(name)
        if world.run_id is not None:
            self._world_of[world.run_id] = name

    def _drop_world(self, name: str) -> None:
        world = self._world.pop(name)
        for candidate in world.candidates:
            self._evolutions_of[candidate].discard(name)
        if world.run_id is not None:
            self._world_of.pop(world.run_id, None)

    def _make_failures(self, line: int, todo: Todo) -> None:
        runs: tuple[tuple[str, RunSummary], ...] = ()
        if line in self._log.failing:
            dispatch = self._log.dispatch(line)
            own = [
                one.workcell_id
                for one in dispatch.workcells
                if (cell := self._cells.get(one.workcell_id)) is not None and cell.line == line
            ]
            sibling = self._read_cell(max(own))[0] if own else None
            made = logged_runs(
                dispatch,
                archived=None if sibling is None else self._run_of(sibling, line),
                timeline=self._timeline(dispatch.issue_id) if sibling is None else NO_ISSUES,
                next_started_at=self._log.failing[line],
            )
            told = ((run.run_id, run_summary(run)) for run in made)
            runs = tuple((run_id, one) for run_id, one in told if one is not None)
        before = self._failures.get(line, ())
        todo.run_ids.update(run_id for run_id, _ in (*before, *runs))
        self._put_failures(line, runs)

    def _put_failures(self, line: int, runs: tuple[tuple[str, RunSummary], ...]) -> None:
        for run_id, _ in self._failures.pop(line, ()):
            self._failing_of[run_id].discard(line)
        if runs:
            self._failures[line] = runs
        for run_id, _ in runs:
            self._failing_of.setdefault(run_id, set()).add(line)

    def _note_refused(self, key: str, refused: list[Quarantine]) -> None:
        if refused:
            self._refused[key] = refused
        else:
            self._refused.pop(key, None)
