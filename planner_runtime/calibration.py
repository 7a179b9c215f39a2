"""Calibration as it is applied: one temperature per head and the confidence to act on.

Belongs here: the document in the bundle and its reading. Does not: fitting it
(``planner_pipeline.evaluation.calibration``). Spec: section 7.4; formats 7.4 (file shape).
"""

from typing import Annotated

import msgspec

from planner_runtime.actions import HEADS
from planner_runtime.contracts.planner_action import Ratio

Temperature = Annotated[float, msgspec.Meta(ge=0.01, le=100.0)]


class Calibration(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="schema_version",
    tag="cyntra.planner_calibration.v1",
):
    """Fitted on the validation split, only loaded when serving."""

    temperatures: dict[str, Temperature]
    confidence_threshold: Ratio  # below it the planner abstains to the default
    n_validation: int
    notes: tuple[str, ...] = ()

    def in_head_order(self) -> tuple[float, ...]:
        """The temperatures in the order of ``HEADS``; ``read_bundle`` saw that all are there."""
        return tuple(self.temperatures[head] for head in HEADS)
