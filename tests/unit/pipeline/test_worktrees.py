"""What an attempt leaves in its tree may be anything: it is never run, and never stops the harness."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from planner_pipeline.bench.protocol import HarnessError
from planner_pipeline.bench.worktrees import Changes, Mirror, Worktree
from tests.reference.toy_bench import (
    SOLVE,
    a_config,
    a_repository,
    a_unit,
    an_executor,
    digest_of,
    git,
    serial,
)

# every way in which a repository's configuration names a program; PAYLOAD tells who ran it
ARMED = r"""
arm() {
  rm -rf "$1/.git"; git init -q "$1"; cd "$1"
  git config user.name x; git config user.email x@x
  for hook in pre-commit post-checkout post-index-change commit-msg prepare-commit-msg \
    reference-transaction post-commit; do
    printf '%s\n' '#!/bin/sh' "$payload" > .git/hooks/$hook; chmod +x .git/hooks/$hook
  done
  [ "$1" = . ] || { touch inner; git -c core.hooksPath=/dev/null add -A
    git -c core.hooksPath=/dev/null commit -qm inner; }
  git config core.fsmonitor "$payload; false"
  git config core.sshCommand "$payload"; git config core.pager "$payload"
  git config core.editor "$payload"; git config diff.external "$payload"
  git config diff.evil.textconv "$payload; cat"; git config filter.evil.clean "$payload; cat"
  git config filter.evil.smudge "$payload; cat"; git config filter.evil.process "$payload"
  git config alias.add "!$payload"; git config gpg.program "$payload"
  git config commit.gpgSign true; git config core.attributesFile .gitattributes
  echo '* filter=evil diff=evil' > .gitattributes
  [ "$1" = . ] || { rm inner; echo changed > inner; cd ..; }
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    a_repository(tmp_path / "repo")
    return tmp_path


@pytest.fixture
def mirror(folder: Path) -> Mirror:
    mirror = Mirror(folder / "repo", folder / "mirror.git")
    mirror.open()
    return mirror


def armed(folder: Path) -> str:
    """Arms repositories; the canary appears where anybody but the attempt itself runs something."""
    payload = f'test -n "$CYNTRA_BENCH_UNIT" || touch {folder}/canary'
    return f"payload='{payload}'\n{ARMED}"


@pytest.mark.parametrize("where", [".", "sub", "deep/er"])
def test_nothing_that_an_attempts_repository_names_is_run_by_the_harness(
    folder: Path, where: str
) -> None:
    """Also not in a second handoff, when git already knows of the inner repository."""
    config = a_config(
        f"{armed(folder)}\nif [ -e half ]; then {SOLVE}; exit; fi\n"
        f"touch half; mkdir -p {where}; (arm {where}) || exit 3"
    )
    (result,) = an_executor(folder, config).run(a_unit(config, serial()))
    assert (result.status, result.winner) == ("passed", 2), result
    assert not (folder / "canary").exists()
    git(folder / "repo", "fsck", "--strict")


def test_the_canary_of_these_tests_sings(folder: Path) -> None:
    """Git asked plainly would have run it."""
    payload = f"touch {folder}/canary"
    git(folder / "repo", "config", "core.fsmonitor", f"{payload}; false")
    git(folder / "repo", "status")
    assert (folder / "canary").exists()


def test_what_the_users_repository_names_is_not_run_either(folder: Path) -> None:
    repo = folder / "repo"
    for key in ("core.fsmonitor", "core.sshCommand", "core.pager", "uploadpack.packObjectsHook"):
        git(repo, "config", key, f"touch {folder}/canary; false")
    for hook in ("post-checkout", "pre-commit", "reference-transaction", "post-index-change"):
        (repo / ".git" / "hooks" / hook).write_text(f"#!/bin/sh\ntouch {folder}/canary\n")
        (repo / ".git" / "hooks" / hook).chmod(0o755)
    before = digest_of(repo)
    config = a_config(SOLVE)
    (result,) = an_executor(folder, config).run(a_unit(config, serial()))
    assert result.status == "passed"
    assert not (folder / "canary").exists()
    assert digest_of(repo) == before


def a_pipe(tree: Path) -> None:
    (tree / "answer.py").unlink()
    os.mkfifo(tree / "answer.py")
    os.mkfifo(tree / "other")


def a_closed_file(tree: Path) -> None:
    (tree / "shut").mkdir()
    (tree / "shut" / "x").write_text("x")
    (tree / "shut" / "x").chmod(0)
    (tree / "shut").chmod(0)


def odd_names(tree: Path) -> None:
    for name in ("git~1", "a\\.git", "a\nb", " ", "-rf", "*", "ünï"):
        (tree / name).write_text("x")
    (tree / os.fsdecode(b"\xff")).write_text("x")
    (tree / ".GIT").mkdir()
    (tree / ".GIT" / "config").write_text("x")


def a_link_as_a_repository(tree: Path) -> None:
    (tree / "sub").mkdir()
    (tree / "sub" / ".git").symlink_to("/etc")
    (tree / "file").mkdir()
    (tree / "file" / ".git").write_text("gitdir: /nowhere\n")
    (tree / "loop").symlink_to(tree)


def no_pointer(tree: Path) -> None:
    (tree / ".git").unlink()
    (tree / ".git").mkdir()
    (tree / ".git" / "index.lock").touch()


def very_deep(tree: Path) -> None:
    """Deeper than a path can name."""
    step = "mkdir $name; cd $name; touch x"
    script = f"name=$(printf %0200d 0); for n in $(seq 30); do {step}; done"
    subprocess.run(["sh", "-c", script], cwd=tree, check=True)


@pytest.mark.parametrize(
    "leave", [a_pipe, a_closed_file, odd_names, a_link_as_a_repository, no_pointer, very_deep],
    ids=lambda leave: leave.__name__,
)  # fmt: skip
def test_nothing_that_an_attempt_leaves_stops_the_harness(
    folder: Path, mirror: Mirror, leave: Callable[[Path], None]
) -> None:
    worktree = mirror.add(folder / "work" / "tree", mirror.head())
    leave(worktree.tree)
    changes = mirror.commit(worktree, mirror.head(), "x")
    assert bool(changes.files) == (leave is not no_pointer)
    for name in changes.files:
        name.encode()  # goes into an archive as text
    mirror.remove(worktree)
    assert not worktree.tree.exists()
    assert Path("/etc/passwd").exists()


def test_a_tree_that_was_replaced_is_not_followed(folder: Path, mirror: Mirror) -> None:
    worktree = mirror.add(folder / "work" / "tree", mirror.head())
    other = folder / "other"
    (other / "sub" / ".git").mkdir(parents=True)
    shutil.rmtree(worktree.tree)
    worktree.tree.symlink_to(other)
    with pytest.raises(HarnessError, match="was replaced"):
        mirror.commit(worktree, mirror.head(), "x")
    assert (other / "sub" / ".git").is_dir()
    worktree.tree.unlink()
    with pytest.raises(HarnessError, match="was replaced"):
        mirror.commit(worktree, mirror.head(), "x")


def test_equal_changes_are_equal_commits(folder: Path, mirror: Mirror) -> None:
    found = []
    for name in ("a", "b"):
        worktree = mirror.add(folder / name / "tree", mirror.head())
        (worktree.tree / "answer.py").write_text("answer = 42\nmore\n")
        (worktree.tree / "picture").write_bytes(b"\0\1\2")
        found.append(mirror.commit(worktree, mirror.head(), "x"))
    assert found[0] == found[1]
    assert found[0].files == ("answer.py", "picture")
    assert (found[0].insertions, found[0].deletions) == (2, 1)


def test_a_tree_of_a_harness_that_died_is_made_again(folder: Path, mirror: Mirror) -> None:
    for _ in range(3):
        worktree = mirror.add(folder / "work" / "tree", mirror.head())
        shutil.rmtree(folder / "work")
    assert isinstance(worktree, Worktree)
    assert len(list((mirror.folder / "worktrees").iterdir())) == 1


def test_the_copy_is_made_whole_or_not_at_all(folder: Path) -> None:
    (folder / f".mirror.git.{os.getpid()}").mkdir()  # what a dead one of the same number left
    mirror = Mirror(folder / "repo", folder / "mirror.git")
    mirror.open()
    assert mirror.head() == git(folder / "mirror.git", "rev-parse", "HEAD")
    with pytest.raises(HarnessError, match="git fetch"):
        mirror.fetch("f" * 40)
    with pytest.raises(HarnessError, match="git clone"):
        Mirror(folder / "nowhere", folder / "none.git").open()
    assert {path.name for path in folder.iterdir()} >= {"repo", "mirror.git"}
    assert not (folder / "none.git").exists()


@pytest.mark.parametrize(
    ("patterns", "forbidden"),
    [
        (["src"], ["src/a.py", "src/deep/b.py"]), (["src/"], ["src/a.py", "src/deep/b.py"]),
        (["*.py"], ["src/a.py", "src/deep/b.py"]), (["src/a.py"], ["src/a.py"]),
        (["sr", "src/a", "b.py"], []), ([], []), (["*"], ["key", "src/a.py", "src/deep/b.py"]),
    ],
)  # fmt: skip
def test_a_forbidden_path_is_a_file_a_folder_or_a_glob(
    patterns: list[str], forbidden: list[str]
) -> None:
    changes = Changes(head_commit="0" * 40, files=("key", "src/a.py", "src/deep/b.py"))
    assert changes.forbidden(patterns) == forbidden
