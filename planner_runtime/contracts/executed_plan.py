"""``executed_plan.v1``: what the kernel really ran; the source of imitation labels.

Belongs here: the shape. Does not: mapping it to bins (``actions``). Spec: section 3.3, formats 7.4.
"""

from typing import Annotated

import msgspec


class ExecutedPlan(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="schema_version",
    tag="cyntra.executed_plan.v1",
):
    """What ran. A null budget was not enforced. Open, as the kernel's schema is."""

    swarm_id_executed: str
    max_candidates_executed: Annotated[int, msgspec.Meta(ge=1)] | None
    timeout_seconds_executed: Annotated[int, msgspec.Meta(ge=1)] | None
    max_iterations_executed: Annotated[int, msgspec.Meta(ge=1)] | None
    fallback_applied: bool
    fallback_reason: str | None = None
