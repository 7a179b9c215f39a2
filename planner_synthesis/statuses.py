"""Statuses that a planner's result may have.

Belongs here: the vocabulary, the two spellings of one status.
Does not: emitting (``templates``).
Source: rtfs.md 2.1 (upstream's ``status.rs``); ADR 0021 settles the spelling.
"""

from typing import Final

PROCESSING: Final = "processing"
# as the spec's templates spell it; upstream's code spells `requires_agent` and refuses the hyphen
REQUIRES_AGENT: Final = "requires-agent"
COMPLETED: Final = "completed"
UPSTREAM_STATUSES: Final = frozenset(
    "collecting_info ready_for_execution requires_agent agent_unavailable_retry processing"
    " completed refinement_exhausted".split()
)


def upstream_status(status: str) -> str | None:
    """A status as upstream spells it; None when upstream has no such status.

    >>> upstream_status("requires-agent"), upstream_status("done")
    ('requires_agent', None)
    """
    spelled = "requires_agent" if status == REQUIRES_AGENT else status
    return spelled if spelled in UPSTREAM_STATUSES else None
