"""``.beads/issues.jsonl``: the issues as they stand now, and as git remembers them.

Belongs here: reading the file as the kernel does, in every version there is. Does not: which
version held at a past moment (``history``). Source: formats 1.1 and 1.2.
"""

from pathlib import Path
from typing import Any, Final

import msgspec

from planner_runtime.archives.files import (
    Quarantine,
    SourceCount,
    as_text,
    count_rows,
    decode,
    excerpt,
    relative,
)
from planner_runtime.archives.git_history import commits_of, contents
from planner_runtime.archives.lines import read_json_lines

SOURCE: Final = "issues"
FILE: Final = ".beads/issues.jsonl"


class IssueRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One issue as some version of the file has it.

    Attributes:
        line: Of the file, 1-based; of a past version 0.
        committed_ms: When the version was committed; None for the file as it stands.
        after_ms: When the version before it was committed, which did not hold this line yet.
        raw: The line as it was written.
    """

    issue_id: str
    line: int = 0
    status: str = "open"
    committed_ms: int | None = None
    after_ms: int | None = None
    raw: dict[str, Any]


class IssueRead(msgspec.Struct, frozen=True, kw_only=True):
    """All issues of a workspace and what could not be read.

    Attributes:
        issues: As they stand, in file order.
        past: Every line that a commit added, in the order of the commits.
    """

    issues: tuple[IssueRecord, ...]
    past: tuple[IssueRecord, ...]
    quarantined: tuple[Quarantine, ...]
    count: SourceCount


def _issue(
    raw: dict[str, Any], *, line: int = 0, committed_ms: int | None = None, after_ms: int | None
) -> IssueRecord | None:
    issue_id, status = as_text(raw.get("id")), raw.get("status")
    if not issue_id:
        return None
    return IssueRecord(
        issue_id=issue_id,
        line=line,
        status=status if isinstance(status, str) else "open",
        committed_ms=committed_ms,
        after_ms=after_ms,
        raw=raw,
    )


def read_issues(repo: Path) -> IssueRead:
    """Issues in file order; a later line of the same id replaces an earlier one.

    An issue without a usable id is quarantined, as is the line a later one replaces.
    """
    path = repo / FILE
    name = relative(repo, path)
    past, last_commit_ms = read_past_issues(repo)
    by_id: dict[str, IssueRecord] = {}
    refused: list[Quarantine] = []
    for number, row in read_json_lines(repo, path, dict[str, Any], SOURCE):
        if isinstance(row, Quarantine):
            refused.append(row)
            continue
        issue = _issue(row, line=number, after_ms=last_commit_ms)
        if issue is None:
            refused.append(
                Quarantine(
                    source=SOURCE, file=name, line=number, reason="bad_value",
                    detail="an issue needs an id", excerpt=excerpt(msgspec.json.encode(row)),
                )
            )  # fmt: skip
            continue
        if (earlier := by_id.pop(issue.issue_id, None)) is not None:
            refused.append(
                Quarantine(
                    source=SOURCE, file=name, line=earlier.line, reason="duplicate_id",
                    detail=f"issue {issue.issue_id} is written again in line {number}",
                    excerpt=excerpt(msgspec.json.encode(earlier.raw)),
                )
            )  # fmt: skip
        by_id[issue.issue_id] = issue
    return IssueRead(
        issues=tuple(by_id.values()),
        past=tuple(past),
        quarantined=tuple(refused),
        count=count_rows(SOURCE, len(by_id), refused),
    )


def read_past_issues(repo: Path) -> tuple[list[IssueRecord], int | None]:
    """Every line that some commit added to the file, oldest first, and when the last one was made.

    A line that no version could use is left out: it is history, nobody can mend it.
    """
    commits = commits_of(repo, FILE)
    before: set[bytes] = set()
    after_ms: int | None = None
    past: list[IssueRecord] = []
    for commit, data in zip(commits, contents(repo, commits, FILE), strict=True):
        lines = {line.strip() for line in (data or b"").split(b"\n")}
        for line in sorted(lines - before):
            if not line or line.startswith(b"#"):
                continue
            raw = decode(line, dict[str, Any], source=SOURCE, file=FILE, line=0)
            if isinstance(raw, Quarantine):
                continue
            issue = _issue(raw, committed_ms=commit.committed_ms, after_ms=after_ms)
            if issue is not None:
                past.append(issue)
        before, after_ms = lines, commit.committed_ms
    return past, after_ms
