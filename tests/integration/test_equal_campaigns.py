"""A bench for real: repair-search in a sandbox, twice, with the same result."""

import json
from pathlib import Path

import polars as pl
import pytest

from planner_pipeline.bench.cases import CaseBuilder, stored_cases
from planner_pipeline.bench.imported import import_report
from planner_pipeline.bench.session import workspace_config
from planner_pipeline.defs.bench_resource import BenchSettings
from planner_pipeline.defs.resources import Settings
from planner_pipeline.experiments.bench_report import as_markdown, report_of, short_lines
from planner_pipeline.sample.repair_workspace import write_repair_workspace
from planner_pipeline.sources.workspace import read_workspace

JUDGED = ("case_id", "swarm_id", "max_candidates_bin", "max_minutes_bin", "is_label", "ties")


@pytest.mark.slow
def test_two_identical_campaigns_have_equal_candidates_outcomes_and_winners(tmp_path: Path) -> None:
    repo = tmp_path / "workspace"
    write_repair_workspace(repo, n_issues=2, seed=2)
    labels, outcomes, candidates = [], [], []
    for name in ("one", "two"):
        settings = Settings(repo=str(repo), out=str(tmp_path / name))
        # a minute long enough for a machine that does other things as well
        session = BenchSettings(k=3, minute_seconds=0.1).session(settings, None)
        end = session.run()
        assert (end.ending, end.n_run, end.n_infra_errors) == ("done", 6, 0)
        judged = session.judge()
        report = report_of(session, judged)
        labels.append(judged.labels.select(JUDGED))
        outcomes.append(judged.outcomes.select("unit_id", "seed", "passed"))
        candidates.append(session.candidates())
        assert session.run().n_kept == 6  # nothing is left to run
    assert candidates[0].equals(candidates[1])
    assert outcomes[0].equals(outcomes[1])
    assert labels[0].equals(labels[1])
    assert {figure.policy for figure in report.figures} >= {"default", "oracle", "best_fixed"}
    assert "0.1 s of the clock" in as_markdown(report)
    assert short_lines(report)[0].startswith("heuristic")
    archived = read_workspace(tmp_path / "two/bench/workspace", tmp_path / "store")
    assert archived.quarantine.is_empty()
    n_attempts = sum(len(one.attempts) for one in session.outcomes())
    assert archived.archives.live.rows == n_attempts


def test_a_case_holds_until_its_issue_changes(tmp_path: Path) -> None:
    repo, bench = tmp_path / "workspace", tmp_path / "bench"
    write_repair_workspace(repo, n_issues=2, seed=2)
    cases, refused = stored_cases(CaseBuilder(repo, tmp_path), ["1", "2", "9"], bench)
    assert [one.issue_id for one in refused] == ["9"]
    again, _ = stored_cases(CaseBuilder(repo, tmp_path), ["1", "2"], bench)
    assert again == cases
    beads = repo / ".beads" / "issues.jsonl"
    first, second = beads.read_text().splitlines()
    changed = json.dumps(json.loads(first) | {"dk_risk": "critical"})
    beads.write_text(f"{changed}\n{second}\n")
    other, _ = stored_cases(CaseBuilder(repo, tmp_path), ["1", "2"], bench)
    assert {case.issue_id for case in other} == {"1", "2"}
    before = {case.issue_id: case for case in cases}
    after = {case.issue_id: case for case in other}
    assert after["2"] == before["2"]
    assert after["1"].baseline != before["1"].baseline


def test_a_closed_issue_without_a_known_commit_is_no_case_and_says_why(tmp_path: Path) -> None:
    repo = tmp_path / "workspace"
    write_repair_workspace(repo, n_issues=1, seed=2)
    beads = repo / ".beads" / "issues.jsonl"
    beads.write_text(json.dumps(json.loads(beads.read_text()) | {"status": "done"}) + "\n")
    _, (refused,) = stored_cases(CaseBuilder(repo, tmp_path), ["1"], tmp_path / "bench")
    assert refused.reason == "it is done, and no decision about it is in the data set"


def test_a_report_of_the_kernels_own_bench_is_judged_by_our_rule(tmp_path: Path) -> None:
    repo, folder = tmp_path / "workspace", tmp_path / "run_20260110T000000Z"
    write_repair_workspace(repo, n_issues=1, seed=2)
    (folder / "results").mkdir(parents=True)
    report = {
        "schema_version": "cyntra.planner_best_of_k_bench.v1",
        "generated_at": "2026-01-10T00:00:00Z",
        "bench_config_hash": "ab" * 32, "k": 2, "seed": 0, "case_count": 2,
    }  # fmt: skip
    (folder / "bench_report.json").write_text(json.dumps(report))

    def candidate(minutes: int, *, verified: bool) -> dict[str, object]:
        action = {
            "swarm_id": "serial_handoff", "max_candidates_bin": 1, "max_minutes_bin": minutes,
            "max_iterations_bin": "NA",
        }  # fmt: skip
        status = "success" if verified else "timeout"
        return {"action": action, "verified": verified, "status": status, "duration_ms": 1000}

    cases = [
        {"issue_id": "1", "title": "a", "job_type": "code", "bench_config_hash": "ab" * 32,
         "candidates": [candidate(60, verified=False), candidate(30, verified=True)]},
        {"issue_id": "2", "title": "b", "job_type": "code", "bench_config_hash": "ab" * 32,
         "candidates": [candidate(60, verified=False), candidate(30, verified=False)]},
        "nonsense",
    ]  # fmt: skip
    (folder / "results" / "best_of_k.json").write_text(json.dumps(cases))
    done = import_report(
        folder, tmp_path / "bench", config=workspace_config(repo, None),
        objective={"overall": "max"}, space=CaseBuilder(repo, tmp_path).space,
    )  # fmt: skip
    told = dict(done.labels.select("issue_id", "reason").iter_rows())
    assert told == {"1": "label", "2": "nothing_passed"}
    assert done.labels.filter(issue_id="1")["max_minutes_bin"].to_list() == ["30"]
    assert len(done.report.quarantined) == 1
    written = tmp_path / "bench" / "imported" / folder.name
    assert pl.read_parquet(written / "quarantine.parquet").height == 1
    assert pl.read_parquet(written / "winners.parquet").height == 1
