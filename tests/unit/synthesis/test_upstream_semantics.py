"""Upstream's verdicts on planners and agents: those we share, and those we depart from and why."""

import json
from pathlib import Path

import pytest

import planner_synthesis
from planner_synthesis import (
    CandidateScore,
    CapabilityCard,
    InteractionTurn,
    PlannerGenContext,
    PlannerSynthesis,
    RuntimeContext,
    SynthesisConfig,
    extract_skills,
    generate_planner_generic,
    schema_from_history,
    score_candidates,
)

FULL = RuntimeContext(level="full")


def cases(shared_data: Path, kind: str) -> dict[str, dict]:
    lines = (shared_data / "rtfs/semantics_cases.jsonl").read_text().splitlines()
    return {case["id"]: case for case in map(json.loads, lines) if case["kind"] == kind}


def planner_of(case: dict) -> PlannerSynthesis:
    asked = case["input"]
    turns = tuple(InteractionTurn(turn_index=i, **turn) for i, turn in enumerate(asked["turns"]))
    caps = tuple(
        CapabilityCard(id=manifest["id"], local=manifest["provider"] == "local",
                       expects_context_keys=tuple(manifest["metadata"]["context/keys"].split(",")))
        for manifest in asked["marketplace"]
    )  # fmt: skip
    context = PlannerGenContext(schema=schema_from_history(turns), history=turns, registry_caps=caps,
                                skills=extract_skills(turns), security=FULL)  # fmt: skip
    return generate_planner_generic(context, config=SynthesisConfig(domain=asked["domain"]))


def test_a_manifest_that_takes_all_keys_is_called(shared_data: Path) -> None:
    """Shared: the id. Departure: our keys have no `unknown/`, so they are renamed on the way."""
    case = cases(shared_data, "planner_v0_1")["sem-052"]
    synthesis = planner_of(case)
    assert all(text in synthesis.rtfs for text in case["expect"]["contains"])
    assert [(s.from_, s.to) for s in synthesis.decision_trace.adapters] == [
        ("q1", "unknown/q1"),
        ("q2", "unknown/q2"),
    ]


@pytest.mark.parametrize("name", ["sem-053", "sem-054"])
def test_an_empty_marketplace_gives_a_planner_that_asks_for_an_agent(
    shared_data: Path, name: str
) -> None:
    """Departure: upstream embeds a plan as text and calls it processed; ours says what it needs.
    The stub says so too, in the spelling of the spec."""
    synthesis = planner_of(cases(shared_data, "planner_v0_1")[name])
    assert "synth.domain.agent.stub" in synthesis.rtfs
    assert '"requires-agent"' in synthesis.stub


def test_a_score_below_half_is_not_delegated_to(shared_data: Path) -> None:
    """Shared: the threshold of 0.50. The rule on EU agents is one of upstream's demo, and not ours."""
    asked = cases(shared_data, "validate_delegation")
    for name in ("sem-060", "sem-061"):
        score, is_fine = asked[name]["input"]["score"], asked[name]["expect"] == "ok"
        assert (score * 1000 >= SynthesisConfig().min_total) == is_fine


def one_score(coverage_keys: str, **card: object) -> CandidateScore:
    turns = (
        InteractionTurn(turn_index=0, prompt="What alpha?"),
        InteractionTurn(turn_index=1, prompt="What beta?"),
    )
    caps = (CapabilityCard(id="x", expects_context_keys=tuple(coverage_keys.split()), **card),)  # type: ignore[arg-type]
    context = PlannerGenContext(
        schema=schema_from_history(turns), registry_caps=caps, security=FULL
    )
    (score,) = score_candidates(context)
    return score


def test_the_score_is_the_specs_and_not_that_of_upstreams_agent_registry() -> None:
    """Departure: upstream multiplies by trust and takes cost off; the spec adds 0.45, 0.35, 0.20."""
    perfect = one_score("alpha beta", local=True, trust_tier="T2")
    assert (perfect.coverage, perfect.compatibility, perfect.trust_bias, perfect.total) == (
        1,
        1,
        1,
        1,
    )
    half = one_score("alpha", local=True, trust_tier="T1")
    assert (half.coverage, half.compatibility) == (0.5, 1)
    assert half.total == pytest.approx(0.45 * 0.5 + 0.35 + 0.2 * (0.85 + 1) / 2)
    assert (half.is_viable, half.why) == (False, ("coverage below 1.000: takes no beta",))
    unmet = one_score("alpha beta gamma")
    assert (unmet.coverage, unmet.compatibility) == (1, pytest.approx(2 / 3))
    assert unmet.missing_inputs == ("gamma",)


def test_every_public_name_is_there_and_no_other_is_promised() -> None:
    names = planner_synthesis.__all__
    assert len(names) == len(set(names))
    assert all(hasattr(planner_synthesis, name) for name in names)
