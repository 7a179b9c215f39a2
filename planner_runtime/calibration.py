"""Calibration as it is applied: temperatures, and the confidence to act on.

Belongs here: the document in the bundle and its reading. Does not: fitting it
(``planner_pipeline.evaluation``). Spec: section 7.4; formats 7.4 (file shape).
"""

from typing import Annotated

import msgspec

from planner_runtime.contracts.planner_action import Ratio

Temperature = Annotated[float, msgspec.Meta(ge=0.01, le=100.0)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class RiskControl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is promised of the decisions that are followed, and on how many rows it rests.

    Attributes:
        target: Most of the followed decisions that may turn out worse than the default.
        failure: How likely, at most, the promise is wrong by bad luck of the rows it rests on.
        n: Rows that neither stopped the training nor fitted a temperature.
        n_followed: Of them, those at or above the threshold.
        n_worse: Of those, the ones that were worse than the default.
        bound: What the share of worse ones is not above, with probability 1 - ``failure``.
        measure: What "worse" means, in words.
    """

    target: Ratio
    failure: Ratio
    n: Count
    n_followed: Count
    n_worse: Count
    bound: Ratio
    measure: str


class Calibration(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="schema_version",
    tag="cyntra.planner_calibration.v1",
):
    """Fitted on the validation split, only loaded when serving.

    Attributes:
        temperatures: By head, or of ``joint``.
        confidence_threshold: Below it the planner abstains to the default.
        always_abstains: Whether no threshold could be promised anything of, so that the model is
            never followed.
        risk: The promise; None where none was asked for.
    """

    temperatures: dict[str, Temperature]
    confidence_threshold: Ratio
    n_validation: int
    always_abstains: bool = False
    risk: RiskControl | None = None
    notes: tuple[str, ...] = ()

    def follows(self, confidence: float) -> bool:
        """Whether a decision of such a confidence is followed; never one that is no number."""
        return not self.always_abstains and confidence >= self.confidence_threshold
