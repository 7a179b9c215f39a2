"""The bench from Dagster: a partition an issue, a pool, a sensor, two schedules."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from planner_pipeline.bench.session import benched_issues
from planner_pipeline.bench.units import UnitStore
from planner_pipeline.definitions import HISTORY, JUDGED, build_defs
from planner_pipeline.defs.assets.bench import ISSUES, POOL
from planner_pipeline.defs.bench_automation import (
    BENCHED,
    new_issues,
    nightly_window,
    stale_after_new_epoch,
)
from planner_pipeline.defs.bench_resource import BenchSettings
from planner_pipeline.defs.resources import Settings
from planner_pipeline.materialize import DAGSTER_YAML

# answers at once what the bench asks of an orchestrator; candidates side by side always pass
ORCHESTRATOR = """
import json, sys
request = json.load(sys.stdin)
n = request["n_candidates"]
reply = {
    "schema_version": "cyntra.bench_reply.v1",
    "status": "passed" if n > 1 else "failed",
    "duration_ms": 10,
    "agent_ms": 10 * n,
    "cost_usd": 0.01 * n,
    "metrics": {"overall": float(n > 1)},
}
print(json.dumps(reply))
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    repo = tmp_path / "workspace"
    (repo / ".beads").mkdir(parents=True)
    issues = [
        {"id": "1", "title": "a", "status": "open", "updated": "2026-11-20T00:00:00Z"},
        {"id": "2", "title": "b", "status": "ready", "updated": "2026-01-01T00:00:00Z"},
        {"id": "3", "title": "c", "status": "done", "updated": "2026-11-20T00:00:00Z"},
    ]
    text = "".join(json.dumps(issue) + "\n" for issue in issues)
    (repo / ".beads" / "issues.jsonl").write_text(text)
    (repo / "orchestrator.py").write_text(ORCHESTRATOR)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(repo)]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    return repo


def bench_of(repo: Path, **settings: object) -> BenchSettings:
    given = {"executor": "command", "k": 3, "minute_seconds": 0.05}
    command = [sys.executable, str(repo / "orchestrator.py")]
    return BenchSettings(**{**given, "command": command, **settings})  # type: ignore[arg-type]


def defs_of(repo: Path, **settings: object) -> dg.Definitions:
    out = repo.parent / "out"
    return build_defs(repo=repo, out=out, dataset_only=True, bench=bench_of(repo, **settings))


def run_partition(
    defs: dg.Definitions, instance: dg.DagsterInstance, issue_id: str
) -> dict[str, object]:
    result = defs.resolve_job_def(BENCHED).execute_in_process(
        instance=instance, partition_key=issue_id
    )
    assert result.success
    (made,) = result.asset_materializations_for_node("bench_outcomes")
    return {name: value.value for name, value in made.metadata.items()}


def test_an_issue_is_a_partition_that_runs_once_and_is_judged_with_the_others(
    workspace: Path,
) -> None:
    defs, out = defs_of(workspace), workspace.parent / "out"
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(ISSUES.name), ["1", "2"])
        assert defs.resolve_job_def(HISTORY).execute_in_process(instance=instance).success
        assert run_partition(defs, instance, "1")["ran"] == 3
        assert run_partition(defs, instance, "2")["ran"] == 3
        again = run_partition(defs, instance, "1")
        assert (again["ran"], again["kept"]) == (0, 3)
        assert defs.resolve_job_def(JUDGED).execute_in_process(instance=instance).success
        outcomes = dg.AssetKey("bench_outcomes")
        assert instance.get_materialized_partitions(outcomes) == {"1", "2"}
    labels = pl.read_parquet(out / "assets" / "winner_labels.parquet")
    assert labels["is_label"].to_list() == [True, True]
    assert set(labels["swarm_id"]) == {"speculate_vote"}
    rows = pl.read_parquet(out / "assets" / "outcome_dataset.parquet")
    assert rows.height == 6
    for name in ("bench_config_hash", "seed", "toolchain_versions", "minute_seconds"):
        assert rows[name].null_count() == 0, name
    report = json.loads((out / "assets" / "bench_figures.json").read_bytes())
    assert (report["n_cases"], report["n_labels"]) == (2, 2)


def test_every_open_issue_becomes_a_partition_and_a_run_once(workspace: Path) -> None:
    settings = Settings(repo=str(workspace), out=str(workspace.parent / "out"))
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance)
        found = new_issues(context, settings=settings)
        assert isinstance(found, dg.SensorResult)
        assert [request.partition_key for request in found.run_requests or ()] == ["1", "2"]
        (added,) = found.dynamic_partitions_requests or ()
        assert list(added.partition_keys) == ["1", "2"]
        instance.add_dynamic_partitions(str(ISSUES.name), list(added.partition_keys))
        again = new_issues(context, settings=settings)
        assert isinstance(again, dg.SensorResult)
        assert not again.run_requests
        assert not again.dynamic_partitions_requests


def test_the_nightly_schedule_asks_again_about_issues_of_the_last_month(workspace: Path) -> None:
    settings = Settings(repo=str(workspace), out=str(workspace.parent / "out"))
    home = workspace.parent / "home"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        instance.add_dynamic_partitions(str(ISSUES.name), ["1", "2"])
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=datetime(2026, 11, 25, 2, tzinfo=UTC)
        )
        (request,) = nightly_window(context, settings=settings)
        assert request.partition_key == "1"
        assert request.run_config["ops"]["bench_candidates"]["config"] == {"fresh": True}


def test_what_a_new_epoch_made_stale_is_asked_for_and_nothing_else(workspace: Path) -> None:
    settings = Settings(repo=str(workspace), out=str(workspace.parent / "out"))
    home = workspace.parent / "home"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        instance.add_dynamic_partitions(str(ISSUES.name), ["1", "2"])
        assert run_partition(defs_of(workspace), instance, "1")["ran"] == 3
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=datetime(2026, 11, 25, 3, tzinfo=UTC)
        )
        same = bench_of(workspace)
        assert stale_after_new_epoch(context, settings=settings, bench=same) == []
        other = bench_of(workspace, minute_seconds=0.04)
        (request,) = stale_after_new_epoch(context, settings=settings, bench=other)
        assert request.partition_key == "1"


def test_a_fresh_case_starts_from_todays_commit_and_an_old_one_goes_on(workspace: Path) -> None:
    out = workspace.parent / "out"
    settings = Settings(repo=str(workspace), out=str(out))
    bench = bench_of(workspace)
    first = bench.session(settings, ["1"])
    assert first.run().n_run == 3
    (workspace / "new.txt").write_text("x")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(workspace)]
    for command in (["add", "-A"], ["commit", "-qm", "second"]):
        subprocess.run([*git, *command], check=True)
    same = bench.session(settings, ["1"])
    assert same.cases == first.cases
    assert same.run().n_kept == 3
    fresh = bench.session(settings, ["1"], fresh=True)
    assert fresh.cases[0].base_commit != first.cases[0].base_commit
    assert fresh.run().n_run == 3
    assert benched_issues(out / "bench") == ["1"]


@pytest.mark.slow
def test_the_pool_lets_one_run_bench_at_a_time(workspace: Path, tmp_path: Path) -> None:
    """Two processes materialize a partition each; with a limit of 1 their units never overlap."""
    slow = ORCHESTRATOR.replace("import json, sys", "import json, sys, time; time.sleep(0.4)")
    (workspace / "orchestrator.py").write_text(slow)
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(DAGSTER_YAML)
    program = f"""
import os, sys
from pathlib import Path
import dagster as dg
from tests.integration.test_bench_assets import defs_of, run_partition
with dg.DagsterInstance.get() as instance:
    if sys.argv[1] == "init":
        instance.add_dynamic_partitions({str(ISSUES.name)!r}, ["1", "2"])
    else:
        run_partition(defs_of(Path({str(workspace)!r})), instance, sys.argv[1])
"""
    environment = {
        "DAGSTER_HOME": str(home), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[2]), "DAGSTER_DISABLE_TELEMETRY": "1",
    }  # fmt: skip
    subprocess.run([sys.executable, "-c", program, "init"], env=environment, check=True)
    started = time.monotonic()
    both = [
        subprocess.Popen([sys.executable, "-c", program, issue], env=environment)
        for issue in ("1", "2")
    ]
    assert [process.wait(timeout=120) for process in both] == [0, 0], time.monotonic() - started
    store = UnitStore(workspace.parent / "out" / "bench")
    spans = {"1": list[tuple[str, str]](), "2": list[tuple[str, str]]()}
    for (outcome,) in store.every():
        spans[outcome.issue_id].append((outcome.started_at or "", outcome.ended_at or ""))
    one, two = (
        (min(start for start, _ in spans[issue]), max(end for _, end in spans[issue]))
        for issue in ("1", "2")
    )
    assert one[1] <= two[0] or two[1] <= one[0], (one, two)
    assert POOL == "bench"
