"""All records of a workspace -> its runs, each once, in a total order.

Belongs here: joining archives, events, world runs and issues. Does not: single runs
(``workcells``, ``worlds``).
"""

from collections.abc import Iterable, Sequence

import msgspec

from planner_pipeline.history.runs import RunRecord
from planner_pipeline.history.workcells import workcell_run
from planner_pipeline.history.worlds import WORKCELL_PREFIX, world_runs
from planner_pipeline.sources.archives import ArchiveRecord
from planner_pipeline.sources.beads import IssueRecord
from planner_pipeline.sources.events import WorkcellEnd
from planner_pipeline.sources.world_runs import WorldRunRecord


def run_order(run: RunRecord) -> tuple[bool, int, str]:
    """Total order of runs: by decision, undated ones last, ties by id."""
    return run.decided_ms is None, run.decided_ms or 0, run.run_id


def assemble_runs(
    *,
    archives: Sequence[ArchiveRecord],
    ends: Iterable[WorkcellEnd],
    worlds: Sequence[WorldRunRecord],
    issues: Iterable[IssueRecord],
) -> list[RunRecord]:
    """Every run of a workspace in the order of its decisions.

    A world run inside a fab-world workcell is evidence for that workcell, not a run of its own.
    """
    issue_of = {issue.issue_id: issue for issue in issues}
    end_of = {end.workcell_id: end for end in ends}
    built = {run.run_id: run for run in world_runs(worlds)}
    runs = []
    for archive in archives:
        inner = built.pop(f"{WORKCELL_PREFIX}{archive.workcell_id}", None)
        runs.append(
            workcell_run(
                archive,
                beads=issue_of.get(archive.issue_id or ""),
                end=end_of.get(archive.workcell_id),
                world=inner,
            )
        )
    taken = {run.run_id for run in runs}
    for run in built.values():
        if run.run_id in taken:  # a directory of one name in both places: two runs, two ids
            run = msgspec.structs.replace(run, run_id=f"runs/{run.run_id}")  # noqa: PLW2901
        runs.append(run)
    return sorted(runs, key=run_order)
