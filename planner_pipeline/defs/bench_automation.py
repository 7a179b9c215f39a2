"""When issues are benched by themselves: new ones, a rolling window, what a new epoch made stale.

Belongs here: the sensor and the schedules. Does not: running anything. All are off until somebody
turns them on: they spend what agents cost, up to the caps of the configuration.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg

from planner_pipeline.bench.cases import OPEN
from planner_pipeline.bench.session import benched_issues
from planner_pipeline.defs.assets.bench import ISSUES, bench_candidates, bench_outcomes
from planner_pipeline.defs.bench_resource import BenchSettings
from planner_pipeline.defs.resources import Settings
from planner_runtime.archives.beads import IssueRecord, read_issues
from planner_runtime.inputs import epoch_ms

WINDOW_DAYS: Final = 30
BENCHED: Final = "benched"
JUDGED: Final = "judged"

benched_job = dg.define_asset_job(BENCHED, selection=[bench_candidates, bench_outcomes])
judged_job = dg.define_asset_job(
    JUDGED, selection=["winner_labels", "outcome_dataset", "bench_figures"]
)


def _requests(issues: Sequence[str], moment: datetime, *, fresh: bool) -> Iterator[dg.RunRequest]:
    config = {"ops": {"bench_candidates": {"config": {"fresh": fresh}}}}
    for issue_id in issues:
        yield dg.RunRequest(
            run_key=f"{issue_id} {moment:%Y-%m-%d} {'fresh' if fresh else 'again'}",
            partition_key=issue_id,
            run_config=config,
        )


def updated_within(issues: Sequence[IssueRecord], moment: datetime, days: int) -> list[str]:
    """Ids of open issues that were written to in the last ``days``; one without a readable date
    counts as written today.
    """
    edge_ms = round((moment - timedelta(days=days)).timestamp() * 1_000)
    found = []
    for issue in issues:
        try:
            updated_ms = epoch_ms(str(issue.raw.get("updated")))
        except ValueError:
            updated_ms = edge_ms
        if issue.status in OPEN and updated_ms >= edge_ms:
            found.append(issue.issue_id)
    return found


@dg.sensor(job=benched_job, minimum_interval_seconds=300)
def new_issues(context: dg.SensorEvaluationContext, settings: Settings) -> dg.SensorResult:
    """Every open issue becomes a partition, and is benched once."""
    known = set(context.instance.get_dynamic_partitions(str(ISSUES.name)))
    is_open = [one for one in read_issues(settings.repo_dir).issues if one.status in OPEN]
    new = [issue.issue_id for issue in is_open if issue.issue_id not in known]
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=issue_id, partition_key=issue_id) for issue_id in new],
        dynamic_partitions_requests=[ISSUES.build_add_request(new)] if new else [],
    )


@dg.schedule(job=benched_job, cron_schedule="0 2 * * *")
def nightly_window(
    context: dg.ScheduleEvaluationContext, settings: Settings
) -> list[dg.RunRequest]:
    """Issues of the last 30 days are asked again, from today's commit."""
    moment = context.scheduled_execution_time or datetime.now(UTC)
    known = set(context.instance.get_dynamic_partitions(str(ISSUES.name)))
    recent = updated_within(read_issues(settings.repo_dir).issues, moment, WINDOW_DAYS)
    return list(_requests([one for one in recent if one in known], moment, fresh=True))


@dg.schedule(job=benched_job, cron_schedule="0 3 * * *")
def stale_after_new_epoch(
    context: dg.ScheduleEvaluationContext, bench: BenchSettings, settings: Settings
) -> list[dg.RunRequest]:
    """Issues whose outcomes are of another configuration or other toolchains than today's."""
    moment = context.scheduled_execution_time or datetime.now(UTC)
    known = set(context.instance.get_dynamic_partitions(str(ISSUES.name)))
    benched = [one for one in benched_issues(settings.out_dir / "bench") if one in known]
    stale = bench.session(settings, benched).stale_issues() if benched else []
    return list(_requests(stale, moment, fresh=False))
