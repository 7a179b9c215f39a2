"""What an issue was at a past moment, from every version of ``.beads/issues.jsonl`` there is.

Belongs here: dating a line. Does not: reading versions (``sources.beads``), what a run recorded of
its issue itself (``workcells``). Source: formats 1.3 (the kernel stamps ``updated`` on each write).
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from planner_runtime.archives.beads import IssueRecord
from planner_runtime.archives.moments import moment_ms
from planner_runtime.contracts.canonical import sha256_hex


class IssueState(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an issue.

    Attributes:
        from_ms: The first moment at which it is known to have held.
        committed_ms: When a commit proved it; None for the file as it stands.
    """

    from_ms: int
    committed_ms: int | None
    raw: dict[str, Any]

    def is_proven_at(self, moment: int) -> bool:
        """Whether a commit not after ``moment`` holds it, not only its own stamp."""
        return self.committed_ms is not None and self.committed_ms <= moment


def issue_state(record: IssueRecord) -> IssueState | None:
    """A version with the moment it began; None where nothing tells.

    A line is dated by its own ``updated`` stamp, unless the version committed after that moment did
    not hold it: then somebody changed it without a stamp, and only its commit is known.
    """
    stamp = record.raw.get("updated")
    updated = moment_ms(stamp) if isinstance(stamp, str) else None
    if updated is not None and (record.after_ms is None or updated > record.after_ms):
        bounded = updated if record.committed_ms is None else min(updated, record.committed_ms)
        return IssueState(from_ms=bounded, committed_ms=record.committed_ms, raw=record.raw)
    if record.committed_ms is None:
        return None
    return IssueState(from_ms=record.committed_ms, committed_ms=record.committed_ms, raw=record.raw)


class IssueTimeline:
    """Every dated version of every issue; those of an issue are looked at when it is asked about.

    Args:
        versions: Issue ids and ``IssueRecord`` as JSON: those that commits hold in the order of the
            commits, then those of the file as it stands.
    """

    def __init__(self, versions: Iterable[tuple[str, str | bytes]]) -> None:
        self._texts: dict[str, list[str | bytes]] = {}
        for issue_id, text in versions:
            self._texts.setdefault(issue_id, []).append(text)
        self._known: dict[str, list[IssueState]] = {}
        self._decoder = msgspec.json.Decoder(IssueRecord)

    def states(self, issue_id: str | None) -> list[IssueState]:
        """The dated versions of an issue, oldest first."""
        key = issue_id or ""
        known = self._known.get(key)
        if known is None:
            records = [self._decoder.decode(text) for text in self._texts.get(key, ())]
            known = [state for one in records if (state := issue_state(one)) is not None]
            known.sort(key=lambda state: state.from_ms)  # stable: of one moment the later version
            self._known[key] = known
        return known

    def at(self, issue_id: str | None, moment: int) -> IssueState | None:
        """The newest version that held at ``moment``; None where none is known."""
        held = [state for state in self.states(issue_id) if state.from_ms <= moment]
        return held[-1] if held else None

    def version(self, issue_id: str) -> str:
        """Hash of all that is known of an issue; empty for nothing."""
        states = self.states(issue_id)
        return "" if not states else sha256_hex(msgspec.json.encode(states, order="deterministic"))
