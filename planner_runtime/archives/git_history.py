"""What files of a workspace held at past commits, when the workspace is a git repository.

Belongs here: asking git, read-only and without running anything a repository may have configured.
Does not: what the files mean. A commit's committer date is when its content is known to have been.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import msgspec

TIMEOUT_S: Final = 120
# nothing of the repository's or the user's configuration may start a program or a pager
_QUIET: Final = (
    "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.pager=cat",
    "-c", "protocol.allow=never", "--no-pager", "--no-optional-locks", "--literal-pathspecs",
)  # fmt: skip


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """A commit that changed one of the files asked for."""

    sha: str
    committed_ms: int


def git_environment() -> dict[str, str]:
    """Nothing of the user's environment or configuration; directories of anybody's may be read."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
    }


def _git(repo: Path, *arguments: str, stdin: bytes = b"") -> bytes | None:
    """Standard output of a git command; None when git is missing, refuses or takes too long."""
    if shutil.which("git") is None:
        return None
    try:
        done = subprocess.run(
            ["git", *_QUIET, "-C", str(repo), *arguments],
            input=stdin, capture_output=True, env=git_environment(), timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def head_commit(repo: Path) -> str | None:
    """The commit that is checked out; None where ``repo`` is no git repository with one."""
    if not (repo / ".git").exists():
        return None
    said = _git(repo, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    return None if said is None else said.decode().strip()


def commits_of(repo: Path, *paths: str) -> list[Commit]:
    """Commits of the checked-out branch that changed some of ``paths``, oldest first.

    Merged branches count when they were merged: before, the workspace did not hold their content.
    """
    if not (repo / ".git").exists():
        return []
    listed = _git(repo, "log", "--first-parent", "-m", "--format=%H %ct", "HEAD", "--", *paths)
    commits = []
    for line in (listed or b"").decode("ascii", "replace").splitlines():
        sha, _, seconds = line.partition(" ")
        if len(sha) >= 40 and seconds.isdigit():
            commits.append(Commit(sha=sha, committed_ms=int(seconds) * 1000))
    return sorted(dict.fromkeys(reversed(commits)), key=lambda commit: commit.committed_ms)


def contents(repo: Path, commits: list[Commit], path: str) -> list[bytes | None]:
    """What ``path`` held at each commit; None where it was not there."""
    wanted = "".join(f"{commit.sha}:./{path}\n" for commit in commits).encode()
    told = _git(repo, "cat-file", "--batch", stdin=wanted) if commits else b""
    found: list[bytes | None] = []
    at = 0
    while told and at < len(told):
        end = told.index(b"\n", at)
        header = told[at:end].split(b" ")
        at = end + 1
        if len(header) == 3 and header[1] == b"blob" and header[2].isdigit():
            size = int(header[2])
            found.append(told[at : at + size])
            at += size + 1
        elif len(header) == 3 and header[2].isdigit():  # a tree, say
            found.append(None)
            at += int(header[2]) + 1
        else:
            found.append(None)
    return [*found, *[None] * (len(commits) - len(found))]


def object_ids(repo: Path, commits: list[Commit], path: str) -> list[str | None]:
    """Git's own content hash of a file or directory at each commit; None where it was not there."""
    wanted = "".join(f"{commit.sha}:./{path}\n" for commit in commits).encode()
    told = _git(repo, "cat-file", "--batch-check", stdin=wanted) if commits else b""
    lines = (told or b"").decode("utf-8", "replace").splitlines()
    ids = [line.split(" ")[0] if line.count(" ") == 2 else None for line in lines]
    return [*ids, *[None] * (len(commits) - len(ids))]
