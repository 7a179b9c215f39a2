"""``.beads/issues.jsonl``: the issues as they stand now.

Belongs here: reading the file as the kernel does. Does not: what an issue was at a past moment
(``history``). Source: formats 1.1 and 1.2.
"""

from pathlib import Path
from typing import Any

import msgspec

from planner_pipeline.sources.files import (
    Quarantine,
    SourceCount,
    as_text,
    excerpt,
    read_json_lines,
    relative,
)

SOURCE = "issues"


class IssueRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One issue: its id, where it stands, and the line as it was written."""

    issue_id: str
    line: int
    status: str
    raw: dict[str, Any]


class IssueRead(msgspec.Struct, frozen=True, kw_only=True):
    """All issues of a workspace and what could not be read."""

    issues: tuple[IssueRecord, ...]
    quarantined: tuple[Quarantine, ...]
    count: SourceCount


def read_issues(repo: Path) -> IssueRead:
    """Issues in file order; a later line of the same id replaces an earlier one.

    An issue without a usable id is quarantined, as is the line a later one replaces.
    """
    path = repo / ".beads" / "issues.jsonl"
    by_id: dict[str, IssueRecord] = {}
    refused: list[Quarantine] = []
    n = 0
    for number, row in read_json_lines(repo, path, dict[str, Any], SOURCE):
        n += 1
        if isinstance(row, Quarantine):
            refused.append(row)
            continue
        issue_id = as_text(row.get("id"))
        text = excerpt(msgspec.json.encode(row))
        name = relative(repo, path)
        if not issue_id:
            refused.append(
                Quarantine(
                    source=SOURCE, file=name, line=number, reason="bad_value",
                    detail="an issue needs an id", excerpt=text,
                )
            )  # fmt: skip
            continue
        if (earlier := by_id.pop(issue_id, None)) is not None:
            refused.append(
                Quarantine(
                    source=SOURCE, file=name, line=earlier.line, reason="duplicate_id",
                    detail=f"issue {issue_id} is written again in line {number}",
                    excerpt=excerpt(msgspec.json.encode(earlier.raw)),
                )
            )  # fmt: skip
        status = row.get("status")
        by_id[issue_id] = IssueRecord(
            issue_id=issue_id,
            line=number,
            status=status if isinstance(status, str) else "open",
            raw=row,
        )
    count = SourceCount(source=SOURCE, discovered=n, accepted=len(by_id), quarantined=len(refused))
    return IssueRead(issues=tuple(by_id.values()), quarantined=tuple(refused), count=count)
