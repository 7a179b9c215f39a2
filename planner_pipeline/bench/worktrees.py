"""Git worktrees for attempts: made from a copy of the user's repository, which is only ever read.

Belongs here: the copy, a worktree a attempt, what was changed in it. Does not: running anything in
a worktree (``executors``).

An attempt may write whatever it likes into its tree, its ``.git`` file included. Git is therefore
always told where the repository lies and never asks the tree, and nothing that a repository may
configure (hooks, monitors, filters of the user) is run.
"""

import os
import shutil
import stat
import subprocess
import threading
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import msgspec

from planner_pipeline.bench.protocol import HarnessError
from planner_runtime.archives.git_history import git_environment

TIMEOUT_S: Final = 600
_IDENTITY: Final = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (
        ("NAME", "cyntra-planner bench"),
        ("EMAIL", "bench@localhost"),
        ("DATE", "2026-01-01T00:00:00Z"),  # so that equal changes are equal commits
    )
}
_QUIET: Final = (
    "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0",
    "-c", "core.autocrlf=false", "-c", "core.protectNTFS=false", "-c", "core.protectHFS=false",
)  # fmt: skip
# git keeps its settings from the program that reads the user's repository, so they are said again:
# it may be another user's, and any of its commits may be asked for
_UPLOAD: Final = (
    "--upload-pack=git -c safe.directory='*' -c uploadpack.allowAnySHA1InWant=true upload-pack"
)


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt changed, binary files as no lines."""

    head_commit: str
    files: tuple[str, ...] = ()
    insertions: int = 0
    deletions: int = 0

    def forbidden(self, patterns: list[str]) -> list[str]:
        """Changed files that an issue forbids: a path, everything below a folder, or a glob."""
        return [
            file
            for file in self.files
            if any(
                file == pattern.rstrip("/")
                or file.startswith(pattern.rstrip("/") + "/")
                or fnmatch(file, pattern)
                for pattern in patterns
            )
        ]


class Worktree(msgspec.Struct, frozen=True, kw_only=True):
    """One checkout: its tree, no link on the way to it, and where the copy keeps what git knows of
    it.
    """

    tree: Path
    git_dir: Path


class Mirror:
    """A bare copy of a repository, made once below the bench directory.

    Args:
        repo: The user's repository; nothing is ever written to it.
        folder: Where the copy is, or is to be.
    """

    def __init__(self, repo: Path, folder: Path) -> None:
        self._repo, self.folder = repo, folder
        self._lock = threading.Lock()
        self._commits: set[str] = set()  # that the copy is known to have

    def open(self) -> None:
        """Make the copy where there is none. Raises ``HarnessError``."""
        with self._lock:
            if (self.folder / "HEAD").exists():
                return
            part = self.folder.with_name(f".{self.folder.name}.{os.getpid()}")
            shutil.rmtree(part, ignore_errors=True)
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            # no file is shared with the user's repository, not even by a link
            options = ("--quiet", "--bare", "--no-hardlinks", _UPLOAD)
            _git("clone", *options, "--", str(self._repo), str(part))
            try:
                part.rename(self.folder)
            except OSError:  # another process was first
                shutil.rmtree(part, ignore_errors=True)

    def head(self) -> str:
        """The commit that the user's repository has checked out. Raises ``HarnessError``."""
        return _said("-C", str(self._repo), "rev-parse", "HEAD^{commit}")

    def fetch(self, commit: str) -> None:
        """Make sure the copy has a commit. Raises ``HarnessError``: the repository has it not."""
        with self._lock:
            if commit in self._commits:
                return
            git_dir = f"--git-dir={self.folder}"
            if _git(git_dir, "cat-file", "-e", f"{commit}^{{commit}}", must=False) is None:
                options = ("--quiet", "--no-tags", _UPLOAD)
                _git(git_dir, "fetch", *options, "--", str(self._repo), commit)
            self._commits.add(commit)

    def add(self, tree: Path, commit: str) -> Worktree:
        """Check a commit out into ``tree``, which must not exist. Raises ``HarnessError``."""
        tree.parent.mkdir(parents=True, exist_ok=True)
        _git(  # by force: a harness that died left the name of its tree behind
            f"--git-dir={self.folder}",
            *("worktree", "add", "--quiet", "--force", "--detach", str(tree), commit),
        )
        told = (tree / ".git").read_text(encoding="utf-8").removeprefix("gitdir: ").strip()
        return Worktree(tree=tree.resolve(), git_dir=Path(told))

    def commit(self, worktree: Worktree, base: str, message: str) -> Changes:
        """Commit all that was changed since ``base``. Raises ``HarnessError``.

        A repository that the attempt made inside its tree is committed as the files it holds: git
        would look into it with its own configuration, which may name programs to run.
        """
        if worktree.tree.resolve() != worktree.tree or not worktree.tree.is_dir():
            raise HarnessError("worktree", f"{worktree.tree} was replaced")
        _tidy(worktree.tree)
        where = (f"--git-dir={worktree.git_dir}", f"--work-tree={worktree.tree}")
        _git(*where, "add", "--all", "--", ".", cwd=worktree.tree)
        numbers = _said(
            *where, "diff", "--cached", "--numstat", "-z", "--no-renames", "--no-ext-diff",
            "--no-textconv", "--ignore-submodules=all", base, cwd=worktree.tree,
        )  # fmt: skip
        rows = [row.split("\t", 2) for row in numbers.split("\0") if row]
        files = tuple(sorted(row[2] for row in rows if len(row) == 3))
        if files:  # of which an attempt that was handed its tree may have changed none
            _git(
                *where, "commit", "--quiet", "--no-verify", "--allow-empty", "-m", message,
                cwd=worktree.tree,
            )  # fmt: skip
        return Changes(
            head_commit=_said(*where, "rev-parse", "HEAD"),
            files=files,
            insertions=sum(int(row[0]) for row in rows if row[0].isdecimal()),
            deletions=sum(int(row[1]) for row in rows if row[1].isdecimal()),
        )

    def remove(self, worktree: Worktree) -> None:
        """Delete a checkout and what the copy knows of it."""
        shutil.rmtree(worktree.tree, ignore_errors=True)
        if worktree.git_dir.parent.parent == self.folder.resolve():
            shutil.rmtree(worktree.git_dir, ignore_errors=True)


def _tidy(tree: Path) -> None:
    """Make a tree one that git can take: no repositories in it, no pipes, nothing closed to us.

    A candidate must not be able to stop its harness with what it leaves.
    """
    waiting = [str(tree)]
    while waiting:
        folder = waiting.pop()
        for entry in _entries(folder):
            is_own = entry.name == ".git" and folder == str(tree)
            if entry.name.lower() == ".git" and not is_own:
                _delete(entry)
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                if not os.access(entry.path, os.R_OK):
                    os.chmod(entry.path, 0o600)
            elif not entry.is_symlink():
                os.unlink(entry.path)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What is in a directory; nothing where it lies too deep to be opened."""
    try:
        os.chmod(folder, stat.S_IMODE(os.lstat(folder).st_mode) | stat.S_IRWXU)
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _delete(entry: os.DirEntry[str]) -> None:
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry.path)
    else:
        os.unlink(entry.path)


def _git(*arguments: str, cwd: Path | None = None, must: bool = True) -> bytes | None:
    environment = git_environment() | _IDENTITY  # trees belong to whoever ran the attempt
    try:
        done = subprocess.run(
            ["git", *_QUIET, *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, env=environment, cwd=cwd,
            timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HarnessError("git", str(error)) from error
    if done.returncode == 0:
        return done.stdout
    if not must:
        return None
    command = next((word for word in arguments if not word.startswith("-")), "")
    raise HarnessError(f"git {command}", done.stderr.decode(errors="replace").strip()[-500:])


def _said(*arguments: str, cwd: Path | None = None) -> str:
    data = _git(*arguments, cwd=cwd)
    assert data is not None
    return data.decode(errors="backslashreplace").strip("\n")
