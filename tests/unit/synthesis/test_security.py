"""The security filter and the statuses, against upstream's verdicts."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_synthesis.security import (
    SecurityTextError,
    allowed_cards,
    parse_runtime_context,
    permits,
)
from planner_synthesis.statuses import REQUIRES_AGENT, upstream_status
from planner_synthesis.types import AgentCard, CapabilityCard, RuntimeContext

IDS = st.sampled_from(["a", "b", "c", "a.b", ":a"])
EFFECTS = st.lists(st.sampled_from([":network", ":compute", ":file"]), max_size=2).map(tuple)
CAPS = st.lists(st.builds(CapabilityCard, id=IDS, effects=EFFECTS), max_size=6)
AGENTS = st.lists(st.builds(AgentCard, agent_id=IDS, effects=EFFECTS), max_size=4)
CONTEXTS = st.builds(
    RuntimeContext, level=st.sampled_from(["pure", "controlled", "full"]),
    allowed_capabilities=st.lists(IDS, max_size=3).map(tuple),
    allowed_effects=st.none() | EFFECTS, denied_effects=EFFECTS)  # fmt: skip


def semantics(shared_data: Path) -> list[dict]:
    text = (shared_data / "rtfs/semantics_cases.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_upstreams_verdicts_on_capabilities_are_ours(shared_data: Path) -> None:
    cases = semantics(shared_data)
    asked = [case for case in cases if case["kind"] == "is_capability_allowed"]
    assert len(asked) == 17
    for case in asked:
        given_ = case["input"]["context"]
        context = RuntimeContext(
            level=given_["level"], allowed_capabilities=tuple(given_["allowed"])
        )
        assert context.is_capability_allowed(case["input"]["capability"]) is case["expect"], case[
            "id"
        ]


def test_upstreams_verdicts_on_statuses_are_ours_but_for_the_hyphen(shared_data: Path) -> None:
    cases = semantics(shared_data)
    for case in (case for case in cases if case["kind"] == "status"):
        status = case["input"]["status"]
        # the spec's templates say `requires-agent`; upstream's code refuses it (ADR 0021)
        expected = status == REQUIRES_AGENT or case["expect"]["valid"]
        assert (upstream_status(status) is not None) == expected


@given(CAPS, AGENTS, CONTEXTS)
def test_no_forbidden_card_passes_and_every_card_is_accounted_for(
    caps: list[CapabilityCard], agents: list[AgentCard], context: RuntimeContext
) -> None:
    kept = allowed_cards(caps, agents, security=context)
    assert all(permits(context, card.id, effects=card.effects) for card in kept.capabilities)
    assert all(permits(context, card.agent_id, effects=card.effects) for card in kept.agents)
    assert len({card.id for card in kept.capabilities}) == len(kept.capabilities)
    turned = allowed_cards(caps[::-1], agents[::-1], security=context)
    assert set(kept.capabilities) == set(turned.capabilities)
    assert (kept.n_not_allowed, kept.n_conflicting) == (turned.n_not_allowed, turned.n_conflicting)
    n_kept = sum(card in kept.capabilities for card in caps) + sum(
        card in kept.agents for card in agents
    )
    assert n_kept + kept.n_not_allowed + kept.n_conflicting == len(caps) + len(agents)


def test_an_id_with_a_forbidden_card_is_forbidden_whoever_else_claims_it() -> None:
    harmless, harmful = CapabilityCard(id="x"), CapabilityCard(id="x", effects=(":network",))
    context = RuntimeContext(level="full", denied_effects=(":network",))
    assert allowed_cards([harmless, harmful], [], security=context).capabilities == ()
    assert allowed_cards([harmless], [AgentCard(agent_id="x", effects=("network",))], security=context
                         ).n_not_allowed == 2  # fmt: skip


def test_two_different_cards_of_one_id_are_both_left_out_and_equal_ones_are_one() -> None:
    full = RuntimeContext(level="full")
    torn = allowed_cards(
        [CapabilityCard(id="x"), CapabilityCard(id="x", local=True)], [], security=full
    )
    assert (torn.capabilities, torn.n_conflicting) == ((), 2)
    twice = allowed_cards([CapabilityCard(id="x")] * 2, [], security=full)
    assert (twice.capabilities, twice.n_conflicting) == ((CapabilityCard(id="x"),), 0)


def test_a_context_is_read_from_a_word_or_refused() -> None:
    assert parse_runtime_context("full").level == "full"
    assert parse_runtime_context("controlled:b, a,").allowed_capabilities == ("a", "b")
    assert parse_runtime_context("controlled:a:v1.0/b").allowed_capabilities == ("a:v1.0/b",)
    for text in ("", "open", "pure:a", "controlled", "Full"):
        with pytest.raises(SecurityTextError):
            parse_runtime_context(text)
