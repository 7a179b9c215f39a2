"""What issues were when, read again only when their file or the checked-out commit is another.

Belongs here: when to read. Does not: reading (``beads``), dating versions (``issues_then``).
Most runs recorded their own issue, so most workspaces are never asked.
"""

import os
from pathlib import Path

import msgspec

from planner_runtime.archives.beads import FILE, read_issues
from planner_runtime.archives.git_history import head_commit
from planner_runtime.archives.issues_then import IssueTimeline

_GIT_FILES = (".git/HEAD", ".git/logs/HEAD", ".git/packed-refs")


def _status(path: Path) -> tuple[int, int, int, int]:
    try:
        info = os.lstat(path)
    except (OSError, ValueError):
        return (0, 0, 0, 0)
    return (info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


class IssuesSeen:
    """The issue timeline of a workspace."""

    def __init__(self, repo: Path) -> None:
        self._repo = repo
        self._encoder = msgspec.json.Encoder(order="deterministic")
        self._status: tuple[object, ...] | None = None
        self._timeline = IssueTimeline(())

    def timeline(self) -> IssueTimeline:
        """Every version there is now."""
        status = self._look()
        if status != self._status:
            read = read_issues(self._repo)
            self._timeline = IssueTimeline(
                (one.issue_id, self._encoder.encode(one)) for one in (*read.past, *read.issues)
            )
            self._status = status
        return self._timeline

    def _look(self) -> tuple[object, ...]:
        git = self._repo / ".git"
        if not git.is_dir():  # a linked worktree: only git itself knows where its branch is
            return (_status(self._repo / FILE), head_commit(self._repo))
        named = [_status(self._repo / name) for name in _GIT_FILES]
        try:
            head = (git / "HEAD").read_text(errors="replace").strip()
        except OSError:
            head = ""
        branch = _status(git / head.removeprefix("ref: ")) if head.startswith("ref: ") else head
        return (_status(self._repo / FILE), *named, head, branch)
