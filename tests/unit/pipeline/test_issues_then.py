"""What an issue was at a past moment: recorded, as a commit has it, by its own stamp, or unknown."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from planner_pipeline.history.run_plan import timeline_of
from planner_pipeline.sources.settings import read_settings_history
from planner_pipeline.sources.workspace import issue_tables
from planner_runtime.archives.beads import read_issues
from planner_runtime.archives.git_history import commits_of, contents, object_ids
from planner_runtime.archives.issues_then import IssueTimeline
from planner_runtime.inputs import epoch_ms
from planner_runtime.keywords import REPAIR_MARKER
from tests.building import examples_of, runs_of

AT = "2026-01-{:02d}T09:00:00Z"


def day(number: int) -> int:
    return epoch_ms(AT.format(number))


class Repository:
    """A workspace under git whose commits are made on given days."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._git("init", "-q", "-b", "main")

    def _git(self, *arguments: str, at: int = 1) -> None:
        stamp = AT.format(at)
        environment = os.environ | {
            "GIT_AUTHOR_DATE": stamp, "GIT_COMMITTER_DATE": stamp,
            "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@b", "GIT_CONFIG_GLOBAL": os.devnull,
        }  # fmt: skip
        subprocess.run(["git", "-C", str(self.root), *arguments], check=True, env=environment)

    def issues(self, *lines: dict[str, Any]) -> "Repository":
        text = "".join(json.dumps(line) + "\n" for line in lines)
        return self.file(".beads/issues.jsonl", text)

    def file(self, name: str, text: str) -> "Repository":
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return self

    def commit(self, at: int) -> "Repository":
        self._git("add", "-A", at=at)
        self._git("commit", "-q", "-m", "x", at=at)
        return self

    def timeline(self) -> IssueTimeline:
        return timeline_of(*issue_tables(read_issues(self.root)))

    def risk(self, at: int) -> str | None:
        state = self.timeline().at("7", day(at))
        return None if state is None else state.raw.get("dk_risk")


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def issue(risk: str, updated: int | None = None, **more: Any) -> dict[str, Any]:
    stamp = {} if updated is None else {"updated": AT.format(updated)}
    return {"id": "7", "dk_risk": risk, **stamp, **more}


def test_the_newest_commit_not_after_the_moment_tells(repo: Repository) -> None:
    repo.issues(issue("low")).commit(2)
    repo.issues(issue("high")).commit(5)
    repo.issues(issue("critical"))  # not committed, not stamped: nobody knows since when
    assert [repo.risk(at) for at in (1, 2, 4, 5, 9)] == [None, "low", "low", "high", "high"]


def test_a_stamp_dates_a_line_before_its_commit(repo: Repository) -> None:
    repo.issues(issue("low", updated=2)).commit(4)
    repo.issues(issue("high", updated=6))
    assert [repo.risk(at) for at in (1, 2, 5, 6)] == [None, "low", "low", "high"]
    state = repo.timeline().at("7", day(3))
    assert state is not None
    assert not state.is_proven_at(day(3))
    assert state.is_proven_at(day(4))


def test_a_line_changed_under_its_old_stamp_is_dated_by_its_commit(repo: Repository) -> None:
    repo.issues(issue("low", updated=2)).commit(3)
    repo.issues(issue("high", updated=2)).commit(6)  # edited by hand
    assert [repo.risk(at) for at in (2, 3, 5, 6)] == ["low", "low", "low", "high"]
    repo.issues(issue("critical", updated=2))
    assert repo.risk(9) == "high"


def test_a_line_that_was_put_back_counts_from_when_it_was(repo: Repository) -> None:
    repo.issues(issue("low", updated=2)).commit(3)
    repo.issues(issue("high", updated=4)).commit(5)
    repo.issues(issue("low", updated=2)).commit(7)
    assert [repo.risk(at) for at in (3, 5, 6, 7)] == ["low", "high", "high", "low"]


def test_without_git_only_the_stamp_tells(tmp_path: Path) -> None:
    path = tmp_path / ".beads/issues.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps(issue("high", updated=5)) + "\n")
    read = read_issues(tmp_path)
    assert read.past == ()
    timeline = timeline_of(*issue_tables(read))
    assert timeline.at("7", day(4)) is None
    state = timeline.at("7", day(5))
    assert state is not None
    assert not state.is_proven_at(day(9))


def archive(root: Path, at: int, **manifest_issue: Any) -> None:
    workcell = f"wc-7-{AT.format(at).replace('-', '').replace(':', '')}"
    plan = {"swarm_id_executed": "serial_handoff", "max_candidates_executed": 1}
    manifest = {"workcell_id": workcell, "job_type": "code", "planner": {"executed_plan": plan}}
    if manifest_issue:
        manifest["issue"] = {"id": "7", **manifest_issue}
    folder = root / ".cyntra/archives" / workcell
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_an_input_holds_the_issue_of_its_own_moment(repo: Repository) -> None:
    repo.issues(issue("low", dk_size="S", tags=["old"], description="parser crash")).commit(2)
    repo.issues(issue("critical", dk_size="XL", tags=["new"], description="rewritten")).commit(5)
    archive(repo.root, 3)
    archive(repo.root, 6, title="as dispatched", tags=["told"], description="spoken then")
    first, second = examples_of(runs_of(repo.root))
    issue_then, issue_later = first.planner_input["issue"], second.planner_input["issue"]
    assert (issue_then["dk_risk"], issue_then["dk_size"], issue_then["tags"]) == (
        "low", "S", ["old"],
    )  # fmt: skip
    assert "parser" in issue_then["keywords"]
    assert (issue_later["dk_risk"], issue_later["tags"]) == ("critical", ["told"])
    assert issue_later["keywords"] == ["dispatched", "spoken"]
    runs = runs_of(repo.root)
    assert [run.evidence["issue"] for run in runs] == [
        "issues.jsonl@git", "manifest.json+issues.jsonl@git",
    ]  # fmt: skip


def test_what_nothing_tells_is_null_and_flagged(tmp_path: Path) -> None:
    archive(tmp_path, 3, title="then", tags=["ui"])
    (run,) = runs_of(tmp_path)
    (example,) = examples_of([run])
    told = example.planner_input["issue"]
    assert [told[f] for f in ("dk_priority", "dk_risk", "dk_size", "dk_tool_hint")] == [None] * 4
    assert (told["title"], told["tags"]) == ("then", ["ui"])
    assert run.evidence["issue"] == "manifest.json"  # and no issues.jsonl: its state is unknown


HINTS = f"fix the roof {REPAIR_MARKER}raise mesh density{REPAIR_MARKER}"


def test_repair_hints_are_cut_unless_it_is_proven_that_they_existed(repo: Repository) -> None:
    """An unproven line may have had its hints appended after the moment its stamp names."""
    repo.issues(issue("low", updated=2, title="x", description=HINTS)).commit(5)
    archive(repo.root, 3)
    archive(repo.root, 6)
    archive(repo.root, 4, description=HINTS)
    stamped, told, proven = examples_of(runs_of(repo.root))
    assert "density" not in stamped.planner_input["issue"]["keywords"]
    assert "roof" in stamped.planner_input["issue"]["keywords"]
    assert "density" in told.planner_input["issue"]["keywords"]
    assert "density" in proven.planner_input["issue"]["keywords"]


def test_settings_are_known_by_their_content_at_every_commit(repo: Repository) -> None:
    repo.file(".cyntra/config.yaml", "a: 1\n").commit(2)
    repo.file("universes/u/universe.yaml", "b: 1\n").file("prompts/p.md", "go").commit(3)
    repo.file(".cyntra/config.yaml", "a: 2\n").commit(4)
    repo.file(".cyntra/config.yaml", "a: 1\n").commit(5)
    states = read_settings_history(repo.root)
    assert [state.committed_ms for state in states] == [day(d) for d in (2, 3, 4, 5)]
    assert states[0].universe is None
    assert states[0].kernel_config == states[1].kernel_config == states[3].kernel_config
    assert states[2].kernel_config not in (None, states[0].kernel_config)
    assert states[1].prompt_frontier == states[3].prompt_frontier != None  # noqa: E711


def test_a_repository_without_commits_or_without_git_tells_nothing(
    repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.issues(issue("low", updated=2))
    assert commits_of(repo.root, ".beads/issues.jsonl") == []
    assert contents(repo.root, [], "x") == object_ids(repo.root, [], "x") == []
    repo.commit(3)
    assert len(commits_of(repo.root, ".beads/issues.jsonl")) == 1
    monkeypatch.setenv("PATH", str(tmp_path / "nothing here"))
    assert commits_of(repo.root, ".beads/issues.jsonl") == []


def test_a_repositorys_own_settings_run_nothing(repo: Repository, tmp_path: Path) -> None:
    repo.issues(issue("low")).commit(2)
    ran = tmp_path / "ran"
    with (repo.root / ".git/config").open("a") as config:
        config.write(f'[core]\n\tfsmonitor = "touch {ran}"\n\tpager = "touch {ran}"\n')
        config.write(f'[diff]\n\texternal = "touch {ran}"\n[log]\n\tshowSignature = true\n')
        config.write(f'[gpg]\n\tprogram = "touch {ran}"\n')
    assert repo.risk(3) == "low"
    assert not ran.exists()
