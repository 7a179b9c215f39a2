"""Each leak a data set builder is known for, planted: the cut at the decision's moment notices it.

One workspace as it ended, and one as it was when the second attempt at an issue was decided. The
decision's example is the same from both, unless something looks past its moment.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from planner_pipeline.history.past_runs import PastRuns, columns_of_runs
from planner_pipeline.history.planner_inputs import InputBuilder
from planner_runtime.actions import ActionSpace
from planner_runtime.archives.issues_then import IssueState, IssueTimeline
from planner_runtime.archives.runs import RunRecord
from planner_runtime.contracts import canonical_json
from planner_runtime.inputs import issue_document
from planner_runtime.keywords import REPAIR_MARKER
from planner_runtime.retrieval.shelf import RunColumns
from tests.building import examples_of, run_table, runs_of
from tests.unit.pipeline.test_issues_then import AT, Repository, day

THEN = {"id": "7", "dk_risk": "low", "tags": ["ui"], "title": "roof", "description": "it leaks",
        "dk_attempts": "1", "updated": AT.format(2)}  # fmt: skip
NOW = {**THEN, "dk_risk": "critical", "tags": ["ui", "later"], "dk_attempts": "3",
       "description": f"rewritten {REPAIR_MARKER}raise mesh density{REPAIR_MARKER}",
       "updated": AT.format(9)}  # fmt: skip
PLAN = {"swarm_id_executed": "serial_handoff", "max_candidates_executed": 1}
DECISION = "wc-7-20260104T090000Z"


def archive(root: Path, workcell: str, proof: dict[str, Any] | None) -> None:
    folder = root / ".cyntra/archives" / workcell
    folder.mkdir(parents=True)
    manifest = {"workcell_id": workcell, "job_type": "code", "planner": {"executed_plan": PLAN}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    if proof is not None:
        (folder / "proof.json").write_text(json.dumps(proof))


def outcome(started: int, ended: int, *, passed: bool = False) -> dict[str, Any]:
    return {
        "status": "success", "issue_id": "7",
        "verification": {"all_passed": passed, "blocking_failures": [] if passed else ["test"]},
        "metadata": {"started_at": AT.format(started), "completed_at": AT.format(ended)},
    }  # fmt: skip


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    """The workspace as it ended, and as it was at the decision."""
    for name in ("ended", "then"):
        (tmp_path / name).mkdir()
        repo = Repository(tmp_path / name)
        repo.issues(THEN).commit(2)
        archive(repo.root, "wc-7-20260103T090000Z", outcome(3, 3))
        if name == "then":
            archive(repo.root, DECISION, None)
            continue
        archive(repo.root, DECISION, outcome(4, 5, passed=True))
        archive(repo.root, "wc-8-20260103T100000Z", outcome(3, 6))  # running at the decision
        archive(repo.root, "wc-7-20260106T090000Z", outcome(6, 7))
        repo.issues(NOW).commit(9)
    return tmp_path / "ended", tmp_path / "then"


def example_of(repo: Path) -> bytes:
    (found,) = [e for e in examples_of(runs_of(repo)) if e.example_id == DECISION]
    return canonical_json(found.planner_input)


def test_the_example_is_the_same_from_the_files_of_its_moment(both: tuple[Path, Path]) -> None:
    ended, then = (example_of(repo) for repo in both)
    assert ended == then
    told = json.loads(ended)
    assert (told["issue"]["dk_risk"], told["issue"]["dk_attempts"]) == ("low", 1)
    assert [r["run_id"] for r in told["history"]["last_n_similar_runs"]] == [
        "wc-7-20260103T090000Z"
    ]


def newest(self: IssueTimeline, issue_id: str | None, moment: int) -> IssueState | None:
    states = self.states(issue_id)
    return states[-1] if states else None


def attempts_of_now(self: PastRuns, query: object) -> int:
    return len(self._of_issue.get("7", ()))


def started_is_enough(runs: pl.DataFrame) -> RunColumns:
    return columns_of_runs(runs)._replace(ended=runs["started_ms"].to_numpy())


LEAKS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "the issue as Beads have it now": lambda m: m.setattr(IssueTimeline, "at", newest),
    "attempts counted to this day": lambda m: m.setattr(
        PastRuns, "failed_attempts", attempts_of_now
    ),
    "runs that had started but not ended": lambda m: m.setattr(
        "planner_pipeline.history.past_runs.columns_of_runs", started_is_enough
    ),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_is_noticed(
    both: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    LEAKS[name](monkeypatch)
    ended, then = (example_of(repo) for repo in both)
    assert ended != then


def test_repair_hints_taken_for_proven_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line carries the stamp of day 2, and its hints were appended on day 9."""
    for name, text in (("ended", NOW["description"]), ("then", "rewritten ")):
        (tmp_path / name).mkdir()
        repo = Repository(tmp_path / name)
        archive(repo.root, DECISION, None)
        repo.issues({**THEN, "description": text})
    assert example_of(tmp_path / "ended") == example_of(tmp_path / "then")
    monkeypatch.setattr(IssueState, "is_proven_at", lambda self, moment: True)
    assert example_of(tmp_path / "ended") != example_of(tmp_path / "then")


def test_an_mtime_dates_nothing(both: tuple[Path, Path]) -> None:
    before = example_of(both[0])
    for path in both[0].rglob("*"):
        if ".git" not in path.parts:
            os.utime(path, (day(1) // 1000, day(1) // 1000))
    assert example_of(both[0]) == before


def test_candidates_of_one_dispatch_stay_unseen_and_unparted() -> None:
    def candidate(run_id: str, started: int, ended: int, group: str) -> RunRecord:
        return RunRecord(
            run_id=run_id, kind="workcell", group_id=group, issue_id="7", job_type="code",
            domain="code", decided_ms=day(4), started_ms=started, ended_ms=ended, status="failed",
            issue=issue_document({"id": "7", "tags": ["ui"]}, attempts=0),
        )  # fmt: skip

    own = candidate("own", day(3), day(4), "g")
    other = candidate("other", day(3), day(4), "h")
    builder = InputBuilder(run_table([own, other]), space=ActionSpace(), n_similar=8)
    seen = builder.planner_input(candidate("asking", day(4), day(5), "g"))["history"]
    assert [run["run_id"] for run in seen["last_n_similar_runs"]] == ["other"]
