"""Generated issues: seeded, graded, each of them real work."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from planner_pipeline.bench.config import read_config
from planner_pipeline.repair.bugs import Template, break_template, failing_of, templates
from planner_pipeline.repair.mutations import apply, mutations
from planner_pipeline.sample.repair_workspace import LEVELS, N_BUGS, write_repair_workspace
from planner_pipeline.sources.workspace import read_workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repairs") / "workspace"
    write_repair_workspace(folder, n_issues=6, seed=5)
    return folder


def issues_of(folder: Path) -> list[dict[str, object]]:
    lines = (folder / ".beads" / "issues.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def head_of(folder: Path) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_equal_seeds_give_equal_files_and_the_same_commit(workspace: Path, tmp_path: Path) -> None:
    write_repair_workspace(tmp_path / "same", n_issues=6, seed=5)
    write_repair_workspace(tmp_path / "other", n_issues=6, seed=6)
    assert head_of(tmp_path / "same") == head_of(workspace)
    assert head_of(tmp_path / "other") != head_of(workspace)


def test_a_workspace_is_read_without_a_complaint(workspace: Path, tmp_path: Path) -> None:
    read = read_workspace(workspace, tmp_path / "store")
    assert read.quarantine.is_empty()
    assert read.issues.height == 6
    assert read.universes["universe_id"].to_list() == ["repairs"]
    config = read_config(workspace / ".cyntra" / "bench.yaml")
    assert list(config.toolchains) == ["repair-search"]


def test_the_tests_of_every_issue_fail_as_it_says(workspace: Path) -> None:
    for issue in issues_of(workspace):
        (file,) = issue["context_files"]  # type: ignore[misc]
        module = file.removesuffix(".py")
        tests = (workspace / "tests" / f"test_{module}.py").read_text()
        template = Template(name=module, source="", tests=tests)
        (failing,) = failing_of(template, [(workspace / file).read_text()])
        assert failing
        words = [name.removeprefix("test_").replace("_", " ") for name in failing]
        assert all(f"- {one}" in str(issue["description"]) for one in words)


def test_a_gate_of_an_issue_fails_as_pytest_sees_it(workspace: Path) -> None:
    gates = issues_of(workspace)[0]["dk_quality_gates"]
    assert isinstance(gates, dict)
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    for name, code in (("test", 1), ("lint", 0)):
        done = subprocess.run(
            ["sh", "-c", gates[name]], cwd=workspace, env={"PATH": path}, capture_output=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout


def test_a_bug_can_be_undone_and_each_makes_another_test_fail() -> None:
    for template in templates()[:4]:
        broken = break_template(template, 2, random.Random(3))
        source, failing = template.source, set[str]()
        for bug in broken.bugs:
            source = apply(source, bug)
            (found,) = failing_of(template, [source])
            assert found is not None
            assert failing < set(found)
            failing = set(found)
        assert source == broken.source
        assert failing == set(broken.failing)
        before = template.source
        for bug in broken.bugs[:-1]:
            before = apply(before, bug)
        assert before in {apply(source, one) for one in mutations(source)}


def test_more_issues_than_templates_are_other_modules_with_other_bugs(tmp_path: Path) -> None:
    n = len(templates()) + 2
    counts = write_repair_workspace(tmp_path / "w", n_issues=n, seed=1)
    files = [issue["context_files"][0] for issue in issues_of(tmp_path / "w")]  # type: ignore[index]
    assert len(set(files)) == n
    assert sum(counts.by_level.values()) == n
    assert counts.bugs <= sum(N_BUGS[level] * counts.by_level[level] for level in LEVELS)
    assert counts.bugs >= n


def test_a_directory_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(FileExistsError):
        write_repair_workspace(tmp_path, n_issues=1)
    with pytest.raises(ValueError, match="at least one"):
        write_repair_workspace(tmp_path / "new", n_issues=0)
