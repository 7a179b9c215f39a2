"""What an outcome model says of the actions of one decision, and how its bundle calibrates that.

Belongs here: the protocol, its fake, the calibration document, the way from raw outputs to an
outlook. Does not: the session (``session``), ranking (``objective``), choosing (``policy``).
Spec: section 7.4. Shapes: F features, A actions, C choices of an action, R rows: values that the
ensemble and the doubt in the evidence give, equally likely.
"""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Final, Protocol, runtime_checkable

import msgspec
import numpy as np

from planner_runtime.calibration import Count, RiskControl
from planner_runtime.contracts.planner_action import Ratio
from planner_runtime.objective import Outlook

OUTCOMES: Final = ("p_pass", "p_timeout", "minutes", "wall_minutes", "cost_usd")
_CHANCES: Final = OUTCOMES[:2]
NOVELTY: Final = "novelty"
MODEL_OUTPUTS: Final = (*OUTCOMES, NOVELTY)
_CHANCE_SLACK: Final = 1e-3  # a sum of products in float32 may leave [0, 1] by so much
_LEAST_CHANCE: Final = 1e-6


class OutcomeError(RuntimeError):
    """An outcome model answered what cannot be an outcome, so nothing may be chosen from it."""


class RawOutcomes(msgspec.Struct, frozen=True, kw_only=True):
    """What the model computes, before calibration.

    Attributes:
        p_pass, p_timeout, minutes, wall_minutes: (R, A), finite.
        cost_usd: (R, A); NaN everywhere where the model was shown no prices.
        novelty: How unlike the training rows the decision is.
    """

    p_pass: np.ndarray
    p_timeout: np.ndarray
    minutes: np.ndarray
    wall_minutes: np.ndarray
    cost_usd: np.ndarray
    novelty: float


@runtime_checkable
class OutcomeModel(Protocol):
    """A decision and its actions in, outcomes out."""

    def outcomes(self, features: np.ndarray, actions: np.ndarray) -> RawOutcomes:
        """Outcomes of every action.

        Args:
            features: (F,) float32, as ``outcome_features`` builds them.
            actions: (A, 2 + C) float32, as ``action_numbers`` builds them.

        Raises:
            ModelError: there is no answer, or not of the shape that was asked for.
        """
        ...


class FixedOutcomes:
    """A model that computes its answer with a function it is given: the fake for tests."""

    def __init__(self, answer: Callable[[np.ndarray, np.ndarray], RawOutcomes]) -> None:
        self._answer = answer

    def outcomes(self, features: np.ndarray, actions: np.ndarray) -> RawOutcomes:
        """What the function says."""
        return self._answer(features, actions)


class OutcomeCalibration(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="schema_version",
    tag="cyntra.outcome_calibration.v1",
):
    """``calibration.json`` of an outcome bundle: fitted on held-out rows, only loaded when serving.

    Attributes:
        pass_slope, pass_bias: Of the log-odds of every row's chance to pass. Source: Platt 1999.
        pass_knots: Points (chance, what it turned out to be), rising, between which chances are
            interpolated afterwards; none: they stay as they are.
        confidence_threshold: Below it the planner abstains to the default.
        always_abstains: Whether no threshold could be promised anything of.
        risk: The promise; None where none was asked for.
        novelty_threshold: Above it a decision is none that the model was trained for; None: the
            detector is off.
        n_calibration: Rows that the fit rests on.
    """

    pass_slope: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)] = 1.0
    pass_bias: Annotated[float, msgspec.Meta(ge=-50.0, le=50.0)] = 0.0
    pass_knots: tuple[tuple[Ratio, Ratio], ...] = ()
    confidence_threshold: Ratio
    always_abstains: bool = False
    risk: RiskControl | None = None
    novelty_threshold: Annotated[float, msgspec.Meta(ge=0.0)] | None = None
    n_calibration: Count
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.pass_knots) == 1:
            raise ValueError("one knot is no line")
        for (x, y), (next_x, next_y) in zip(self.pass_knots, self.pass_knots[1:], strict=False):
            if next_x <= x or next_y < y:
                raise ValueError(f"knots must rise: ({next_x}, {next_y}) follows ({x}, {y})")

    def follows(self, confidence: float) -> bool:
        """Whether a decision of such a confidence is followed; never one that is no number."""
        return not self.always_abstains and confidence >= self.confidence_threshold

    def is_novel(self, novelty: float) -> bool:
        """Whether a decision is outside what the model was trained for."""
        return self.novelty_threshold is not None and not novelty <= self.novelty_threshold


def calibrated(
    p: np.ndarray, slope: float, bias: float, knots: Sequence[tuple[float, float]] = ()
) -> np.ndarray:
    """Chances after Platt's line and the points after it, of the same shape; greater ones are never
    made smaller.
    """
    held = np.clip(np.asarray(p, dtype=np.float64), _LEAST_CHANCE, 1 - _LEAST_CHANCE)
    logit = np.log(held / (1 - held))
    x = np.clip(slope * logit + bias, -700.0, 700.0)
    chance: np.ndarray = 1 / (1 + np.exp(-x))
    if knots:
        xs, ys = zip(*knots, strict=True)
        chance = np.interp(chance, xs, ys)
    return chance


def calibrated_chance(p: np.ndarray, calibration: OutcomeCalibration) -> np.ndarray:
    """Chances to pass as a bundle calibrates them."""
    return calibrated(p, calibration.pass_slope, calibration.pass_bias, calibration.pass_knots)


def _fault(name: str, least: float, most: float) -> str | None:
    """What is wrong with an outcome between two numbers, which are NaN where anything is."""
    if not (math.isfinite(least) and math.isfinite(most)):
        return f"{name} is not finite"
    if least < -_CHANCE_SLACK:
        return f"{name} is negative"
    if name in _CHANCES and most > 1 + _CHANCE_SLACK:
        return f"{name} is above 1"
    return None


def _checked(raw: RawOutcomes) -> np.ndarray:
    """(5, R, A) float64 in the order of ``OUTCOMES``, chances held in [0, 1], the rest from 0 on.

    Raises:
        OutcomeError: as ``outlook_of``.
    """
    shape = np.shape(raw.p_pass)
    parts = [getattr(raw, name) for name in OUTCOMES]
    for name, part in zip(OUTCOMES, parts, strict=True):
        if len(shape) != 2 or np.shape(part) != shape or 0 in shape:
            raise OutcomeError(f"{name} has shape {np.shape(part)}, not {shape}")
    values = np.array(parts, dtype=np.float64)
    leasts = np.minimum.reduce(values, axis=(1, 2)).tolist()
    mosts = np.maximum.reduce(values, axis=(1, 2)).tolist()
    for name, value, least, most in zip(OUTCOMES, values, leasts, mosts, strict=True):
        fault = _fault(name, least, most)
        if fault is not None and not (name == "cost_usd" and np.isnan(value).all()):
            raise OutcomeError(fault)
    np.clip(values[: len(_CHANCES)], 0.0, 1.0, out=values[: len(_CHANCES)])
    np.maximum(values[len(_CHANCES) :], 0.0, out=values[len(_CHANCES) :])
    return values


def outlook_of(raw: RawOutcomes, calibration: OutcomeCalibration) -> Outlook:
    """What is expected of every action, calibrated.

    Raises:
        OutcomeError: an output is not finite, is no chance or no quantity, or they differ in shape.
    """
    if not np.isfinite(raw.novelty):
        raise OutcomeError("novelty is not finite")
    p_pass, p_timeout, minutes, wall_minutes, cost_usd = _checked(raw)
    return Outlook(
        p_pass=calibrated_chance(p_pass, calibration),
        p_timeout=p_timeout,
        minutes=minutes,
        wall_minutes=wall_minutes,
        cost_usd=cost_usd,
    )
