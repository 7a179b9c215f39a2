"""The workspace's git repository: which commit, and a copy of it that cannot reach back.

Belongs here: asking git for a commit, and cloning. Does not: what the kernel finds in the copy
(``cyntra_copy``).

A clone shares no file with its source and has no remote: whatever is pushed, committed or collected
in it, the source's bytes stay as they are.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from planner_pipeline.bench.executors.children import inherited_environment, last_words
from planner_pipeline.bench.protocol import HarnessError

TIMEOUT_SECONDS: Final = 600
MAIN: Final = "main"  # the branch the kernel's workcells start from (formats 2.1)
# nothing that the repository or its user configured may start a program
_QUIET: Final = (
    "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.pager=cat",
    "-c", "protocol.allow=never", "-c", "protocol.file.allow=always", "-c", "gc.auto=0",
    "-c", "advice.detachedHead=false", "--no-pager", "--no-optional-locks",
)  # fmt: skip
_IDENTITY: Final = ("user.name", "user.email")


def _git(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Raises ``HarnessError`` when git is missing or does not end."""
    environment = inherited_environment(
        {
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
        }
    )
    try:
        return subprocess.run(
            ["git", *_QUIET, *map(str, arguments)],
            capture_output=True, env=environment, timeout=TIMEOUT_SECONDS, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HarnessError("git", str(error)) from error


def commit_of(repository: Path, revision: str = "HEAD") -> str | None:
    """The full id of a commit; None where there is no such commit, or no repository."""
    if shutil.which("git") is None or not repository.is_dir():
        return None
    asked = f"{revision}^{{commit}}"
    done = _git("-C", repository, "rev-parse", "--verify", "--quiet", "--end-of-options", asked)
    return done.stdout.decode("ascii", "replace").strip() if done.returncode == 0 else None


def clone_at(repository: Path, target: Path, revision: str | None) -> str:
    """Clone a repository with its branch ``main`` at a commit, and tell which it is.

    Args:
        revision: None for the repository's HEAD.

    Raises:
        HarnessError: there is no such commit, or no clone can be made.
    """
    commit = commit_of(repository, revision or "HEAD")
    if commit is None:
        raise HarnessError("workspace copy", f"{repository} has no commit {revision or 'HEAD'}")
    steps: tuple[tuple[str | Path, ...], ...] = (
        ("clone", "--quiet", "--no-hardlinks", "--no-checkout", "--template=", repository, target),
        ("-C", target, "remote", "remove", "origin"),
        ("-C", target, "checkout", "--quiet", "-f", "-B", MAIN, commit),
    )
    for step in steps:
        done = _git(*step)
        if done.returncode:
            raise HarnessError("workspace copy", f"git failed: {last_words(done.stderr)}")
    for name in _IDENTITY:  # of the repository alone: the user's own is inherited anyway
        told = _git("-C", repository, "config", "--local", "--get", name)
        if told.returncode == 0:
            _git("-C", target, "config", name, told.stdout.decode("utf-8", "replace").rstrip("\n"))
    return commit
