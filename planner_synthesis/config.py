"""Settings of planner synthesis: weights, thresholds, limits.

Belongs here: numbers that a user may change, with their defaults and what they mean.
Does not: tables of words (``vocabulary``), the rules that use the numbers.
Spec: planner-synthesis, "Matching and adaptation" and "When to synthesize an Agent"; ADR 0020.
"""

from typing import Annotated, Final, Literal

import msgspec

PerMille = Annotated[int, msgspec.Meta(ge=0, le=1000)]


class ScoreWeights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Weights in thousandths, so that sums are exact; they add up to 1000."""

    coverage: PerMille = 450
    compatibility: PerMille = 350
    trust: PerMille = 200

    def __post_init__(self) -> None:
        """Refuse weights that do not add up.

        Raises:
            ValueError: the sum is not 1000.
        """
        if self.coverage + self.compatibility + self.trust != 1000:
            raise ValueError("weights must add up to 1000 thousandths")


class TrustRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How feedback moves trust (ADR 0022).

    Attributes:
        prior_strength: Outcomes that the tier itself is worth in the Beta posterior.
        max_shift: How far successes may raise the tier's value, so that nobody earns another tier.
        floor: How far failures may lower it, so that nobody is banished for ever.
    """

    prior_strength: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 10
    max_shift: PerMille = 200
    floor: PerMille = 100


class ComplexityRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an interaction is complex enough for an agent; more than, not from."""

    max_turns: Annotated[int, msgspec.Meta(ge=0)] = 3
    max_refinements: Annotated[int, msgspec.Meta(ge=0)] = 2
    orchestration_words: tuple[str, ...] = (
        "after", "after that", "afterwards", "and then", "finally", "followed by", "once done",
        "step by step", "then",
    )  # fmt: skip


class ProgramLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How large a planner may be, whoever wrote it."""

    max_bytes: Annotated[int, msgspec.Meta(ge=1)] = 64 * 1024
    max_nodes: Annotated[int, msgspec.Meta(ge=1)] = 8_000
    max_depth: Annotated[int, msgspec.Meta(ge=1)] = 48


class SynthesisConfig(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="schema_version",
    tag="cyntra.synthesis_config.v1",
):
    """All settings.

    Attributes:
        min_coverage: Share of required keys that must reach the call. All of them by default: a
            call that drops what was asked may do something else (ADR 0021).
        min_total: Below this score a candidate is not called, as upstream's governance has it.
        max_candidates: How many candidates a trace names.
        max_attempts: How many viable candidates are tried when preflight or dry run refuse one.
        domain: First part of the ids of what is synthesized.
        is_agent_synthesis_on: Whether complex interactions get an agent.
        when_proposer_is_asked: Where nothing in the registry will do, or before all else; either
            way a proposal that fails a check changes nothing but the trace (ADR 0025).
    """

    weights: ScoreWeights = ScoreWeights()
    min_coverage: PerMille = 1000
    min_total: PerMille = 500
    max_candidates: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=100)] = 3
    trust: TrustRule = TrustRule()
    complexity: ComplexityRule = ComplexityRule()
    limits: ProgramLimits = ProgramLimits()
    domain: str = "synth.domain"
    is_agent_synthesis_on: bool = True
    when_proposer_is_asked: Literal["when_nothing_fits", "always"] = "when_nothing_fits"


DEFAULT_CONFIG: Final = SynthesisConfig()
