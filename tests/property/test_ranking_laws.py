"""Laws of ranking: the quick search finds what scoring every card finds, in any order of cards."""

import random
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from planner_synthesis.assignment import best_assignment
from planner_synthesis.config import DEFAULT_CONFIG, SynthesisConfig
from planner_synthesis.scoring import rank_candidates, score_candidates
from planner_synthesis.security import permits
from planner_synthesis.trust import posterior_trust, tier_value
from planner_synthesis.types import PlannerGenContext, TrackRecord
from tests.reference.registries import CONTEXTS, TIERS, fitting_contexts

FEW = SynthesisConfig(max_candidates=2)
MANY = SynthesisConfig(max_candidates=1000)


def shuffled(context: PlannerGenContext, seed: int) -> PlannerGenContext:
    from msgspec.structs import replace

    caps, agents = list(context.registry_caps), list(context.registry_agents)
    random.Random(seed).shuffle(caps)
    random.Random(seed + 1).shuffle(agents)
    return replace(context, registry_caps=tuple(caps), registry_agents=tuple(agents))


@settings(max_examples=300)
@given(CONTEXTS | fitting_contexts())
def test_the_best_few_are_the_first_of_all(context: PlannerGenContext) -> None:
    everyone = score_candidates(context, config=MANY)
    assert score_candidates(context, config=FEW) == everyone[:2]
    assert rank_candidates(context, config=MANY).n_considered == len(everyone)


@given(CONTEXTS | fitting_contexts(), st.integers(0, 99))
def test_the_order_of_the_registry_does_not_matter(context: PlannerGenContext, seed: int) -> None:
    turned = shuffled(context, seed)
    assert rank_candidates(context, config=FEW) == rank_candidates(turned, config=FEW)


@given(CONTEXTS | fitting_contexts())
def test_scores_are_the_weighted_sum_and_fall(context: PlannerGenContext) -> None:
    scores = score_candidates(context, config=MANY)
    for s in scores:
        assert (
            abs(s.total - (0.45 * s.coverage + 0.35 * s.compatibility + 0.2 * s.trust_bias)) < 3e-9
        )
        assert not (s.is_viable and s.missing_inputs)
    ranks = [(not s.is_viable, -s.total) for s in scores]
    assert ranks == sorted(ranks)


@given(CONTEXTS | fitting_contexts())
def test_no_forbidden_id_is_ever_a_candidate(context: PlannerGenContext) -> None:
    effects = {}
    for card in context.registry_caps:
        effects.setdefault(card.id, []).append(card.effects)
    for agent in context.registry_agents:
        effects.setdefault(agent.agent_id, []).append(agent.effects)
    for score in score_candidates(context, config=MANY):
        assert all(permits(context.security, score.id, effects=e) for e in effects[score.id])


@given(st.lists(st.dictionaries(st.integers(0, 3), st.integers(1, 9), max_size=4), max_size=4))
def test_the_assignment_is_worth_as_much_as_the_best_of_all(worth: list[dict[int, int]]) -> None:
    def total(columns: tuple[int | None, ...] | list[int | None]) -> int:
        return sum(worth[row][c] for row, c in enumerate(columns) if c is not None)

    def is_legal(columns: tuple[int | None, ...]) -> bool:
        used = [c for c in columns if c is not None]
        return len(used) == len(set(used)) and all(
            c is None or c in worth[row] for row, c in enumerate(columns))  # fmt: skip

    found = best_assignment(worth, 4)
    assert is_legal(tuple(found))
    every = filter(is_legal, product([None, 0, 1, 2, 3], repeat=len(worth)))
    assert total(found) == max(map(total, every))


@given(TIERS, st.integers(0, 10_000), st.integers(0, 10_000))
def test_feedback_moves_trust_within_bounds_and_in_its_own_direction(
    tier: str, good: int, bad: int
) -> None:
    rule = DEFAULT_CONFIG.trust
    before = tier_value(tier)
    after = posterior_trust(tier, TrackRecord(id="x", n_success=good, n_failure=bad), rule)
    assert (after - before) * 1000 <= rule.max_shift
    assert 0 <= after <= 1
    assert after * 1000 >= min(before * 1000, rule.floor)
    better = posterior_trust(tier, TrackRecord(id="x", n_success=good + 1, n_failure=bad), rule)
    assert better >= after
