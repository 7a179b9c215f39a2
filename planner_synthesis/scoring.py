"""The order of candidates: what may be called, how well it fits, how far it is trusted.

Belongs here: `score_candidates`, the exact score, the total order, the search for the best few.
Does not: the filter (``security``), the quick look at every card (``shortlist``), names and inputs
(``matching``), trust (``trust``).
Spec: planner-synthesis, "Scoring"; ADR 0020.

Parts are whole numbers of 1e-9, so no sum depends on its order. To look at each card briefly and at
few closely, every card gets a bound that its score cannot pass; cards are then scored from the
highest bound down until no bound can pass the worst that is kept. The result is exact.
"""

import heapq
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import Final, NamedTuple

import msgspec

from planner_synthesis.config import DEFAULT_CONFIG, SynthesisConfig
from planner_synthesis.matching import Match, SchemaView, input_specs, match_inputs
from planner_synthesis.questions import words_in
from planner_synthesis.relevance import Conversation
from planner_synthesis.security import allowed_cards
from planner_synthesis.shortlist import Card, Shaped, Shortlist, id_of
from planner_synthesis.trust import (
    UNIT,
    posterior_trust,
    records_by_id,
    trust_sentence,
    trust_units,
)
from planner_synthesis.types import (
    AgentCard,
    CandidateScore,
    CapabilityCard,
    InputSpec,
    PlannerGenContext,
)

_BATCH: Final = 1_000  # cards
_OFF_TOPIC_PERCENT: Final = 80  # of the fit of keys, for each reason why it may not be meant
_VIABLE: Final = 1 << 62  # above any score: what may be called comes before what may not


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A scored candidate with what its emission needs."""

    score: CandidateScore
    match: Match
    inputs: tuple[InputSpec, ...]
    effects: tuple[str, ...]
    takes_whole_context: bool = False


class Ranking(msgspec.Struct, frozen=True, kw_only=True):
    """The best candidates, best first, and how many cards there were of each kind."""

    best: tuple[Candidate, ...]
    n_considered: int
    n_not_allowed: int
    n_conflicting: int


def score_candidates(
    context: PlannerGenContext, *, config: SynthesisConfig = DEFAULT_CONFIG
) -> tuple[CandidateScore, ...]:
    """Scores of the best candidates that the security context allows, best first.

    At most ``config.max_candidates``. Viable ones come first; equal ones are told apart by
    coverage, compatibility, trust, the preference for speed, words of the id that were said, kind
    and id, so that neither the order of the registry nor the hash seed matters.
    """
    return tuple(candidate.score for candidate in rank_candidates(context, config=config).best)


def rank_candidates(
    context: PlannerGenContext, *, config: SynthesisConfig = DEFAULT_CONFIG
) -> Ranking:
    """As ``score_candidates``, with matches and counts."""
    allowed = allowed_cards(
        context.registry_caps, context.registry_agents, security=context.security
    )
    view = SchemaView(context.schema, (skill.skill for skill in context.skills))
    scorer = _Scorer(context, view, config)
    for keys in _key_batches(allowed.capabilities, allowed.agents):
        scorer.learn(keys)
    found = Shortlist(scorer.known, scorer.bound, scorer.records)
    found.add_capabilities(allowed.capabilities)
    for agent in allowed.agents:
        has_skill = scorer.skill_overlap(agent) > 0
        found.add_agent(agent, has_skill=has_skill, n_keys=len(view.params))
    return Ranking(
        best=tuple(map(scorer.candidate, scorer.best(found))),
        n_considered=len(found),
        n_not_allowed=allowed.n_not_allowed,
        n_conflicting=allowed.n_conflicting,
    )


Rank = tuple[int | str, ...]


class Ranked(NamedTuple):
    """A card in its place, with the parts of its score in 1e-9."""

    rank: Rank
    card: Card
    compatibility: int
    trust: int
    total: int


def _key_batches(
    cards: Sequence[CapabilityCard], agents: Sequence[AgentCard]
) -> Iterable[set[str]]:
    """All keys that candidates name, a few thousand at a time: a set that fits the cache."""
    for start in range(0, len(cards), _BATCH):
        batch = cards[start : start + _BATCH]
        keys = set(chain.from_iterable([card.expects_context_keys for card in batch]))
        inputs = [card.inputs for card in batch if card.inputs]
        keys.update([spec.key for spec in chain.from_iterable(inputs)])
        yield keys
    yield set(chain.from_iterable([agent.supported_context_keys for agent in agents]))


class _Scorer:
    """Scores of one context; nothing in it outlives a call."""

    def __init__(
        self, context: PlannerGenContext, view: SchemaView, config: SynthesisConfig
    ) -> None:
        self.view, self.config, self.context = view, config, context
        self.records = records_by_id(context.track_records)
        self.conversation = Conversation(context.history, context.skills)
        self.skills = [frozenset(words_in(skill.skill)) for skill in context.skills]
        self.known: dict[str, tuple[int, int]] = {}
        self._trust: dict[tuple[str, bool], int] = {}
        self._covered: dict[int, int] = {}
        self._matches: dict[int, Match] = {}
        self._overlaps: dict[tuple[str, ...], int] = {}

    def learn(self, keys: Collection[str]) -> None:
        """For each key that has links: a bit for each schema key, and the best sureness."""
        names, known = self.view.names, self.known
        for key in names.that_may_be_linked(keys):
            if key not in known and (links := names.links(key)):
                bits = sum(1 << link.at for link in links)
                known[key] = (bits, max(link.sureness for link in links))

    def trust(self, card_id: str, tier: str, is_local: bool) -> int:
        """Trust part of a card, in 1e-9."""
        if card_id in self.records:
            value = posterior_trust(tier, self.records[card_id], self.config.trust)
            return trust_units(value, is_local=is_local, preferences=self.context.preferences)
        found = self._trust.get((tier, is_local))
        if found is None:
            value = posterior_trust(tier, None, self.config.trust)
            found = trust_units(value, is_local=is_local, preferences=self.context.preferences)
            self._trust[tier, is_local] = found
        return found

    def total(self, coverage: int, compatibility: int, trust: int) -> int:
        """Weighted sum of parts, in 1e-9."""
        weights = self.config.weights
        return (
            weights.coverage * coverage
            + weights.compatibility * compatibility
            + weights.trust * trust
        ) // 1000

    def is_viable(self, coverage: int, total: int, n_missing: int) -> bool:
        """Whether a candidate with these parts may be called."""
        return (
            n_missing == 0
            and coverage > 0
            and coverage * 1000 >= self.config.min_coverage * UNIT
            and total * 1000 >= self.config.min_total * UNIT
        )

    def covered(self, bits: int) -> int:
        """Coverage when every key of ``bits`` is used."""
        found = self._covered.get(bits)
        if found is None:
            used = frozenset(i for i in range(len(self.view.params)) if bits >> i & 1)
            found = self._covered[bits] = self.view.coverage(used)
        return found

    def bound(self, card_id: str, card: Card, bits: int, compatible: int, n_unmet: int) -> int:
        """What the rank of a card cannot pass."""
        trust = self.trust(card_id, card.trust_tier, card.local)
        coverage = self.covered(bits)
        total = self.total(coverage, compatible, trust)
        return total + (_VIABLE if self.is_viable(coverage, total, n_unmet) else 0)

    def best(self, shortlist: Shortlist) -> list[Ranked]:
        """The best few cards with their ranks, best first."""
        n, kept = self.config.max_candidates, list[Ranked]()
        for bound in shortlist.bounds():
            if len(kept) == n and _reached(kept[-1].rank) > bound:
                break
            entries = shortlist.foremost(bound, n, self.conversation)
            ranked = kept + [self.ranked(entry) for entry in entries]
            kept = heapq.nsmallest(n, ranked, key=lambda one: one.rank)
        return kept

    def match(self, entry: Shaped) -> Match:
        """What weighs of a card's match; cards of one shape share it."""
        found = self._matches.get(entry.shape)
        if found is None:
            found = self._matches[entry.shape] = self._match(entry.card, entry.n_unmet)
        return found

    def _match(self, card: Card, n_unmet: int) -> Match:
        if isinstance(card, AgentCard):
            return self._match_of_agent(card)
        weighed = [
            spec
            for spec in input_specs(card)
            if spec.key in self.known or (spec.required and spec.default is not None)
        ]
        return match_inputs(weighed, self.view, n_unmet=n_unmet)

    def _match_of_agent(self, agent: AgentCard) -> Match:
        overlap = self.skill_overlap(agent)
        if not agent.supported_context_keys:
            return Match(
                steps=(), coverage=self.covered(-1) if overlap else 0, compatibility=overlap // 2,
                missing=(), optional=(), n_adapters=0, leaves_out=False,
            )  # fmt: skip
        match = match_inputs(agent_inputs(agent), self.view)
        if not self.skills:
            return match
        mean = (match.compatibility + overlap) // 2
        return msgspec.structs.replace(match, compatibility=mean)

    def skill_overlap(self, agent: AgentCard) -> int:
        """Share of the interaction's skills that an agent has, in 1e-9."""
        if not self.skills:
            return 0
        found = self._overlaps.get(agent.skills)
        if found is None:
            has = [frozenset(words_in(skill)) for skill in agent.skills]
            n = sum(any(skill <= words for words in has) for skill in self.skills)
            found = self._overlaps[agent.skills] = UNIT * n // len(self.skills)
        return found

    def ranked(self, entry: Shaped) -> Ranked:
        """A card with its place in the total order: the smaller, the better."""
        card, match = entry.card, self.match(entry)
        card_id = id_of(card)
        trust = self.trust(card_id, card.trust_tier, card.local)
        compatibility = self.compatibility(card_id, match)
        total = self.total(match.coverage, compatibility, trust)
        is_viable = self.is_viable(match.coverage, total, match.n_missing)
        is_viable = is_viable and self.conversation.unasked_verb(card_id) is None
        ease = (match.n_adapters, -len(match.steps))
        if not self.context.preferences.optimize_for_speed:
            ease = (ease[1], ease[0])
        rank = (
            0 if is_viable else 1, -total, -match.coverage, -compatibility, -trust, *ease,
            -self.conversation.n_said(card_id), int(isinstance(card, AgentCard)), card_id,
        )  # fmt: skip
        return Ranked(rank, card, compatibility, trust, total)

    def compatibility(self, card_id: str, match: Match) -> int:
        """How well a candidate fits, in 1e-9; less for each reason why it may be off topic."""
        fit = match.compatibility
        for _ in self.conversation.off_topic(card_id):
            fit = fit * _OFF_TOPIC_PERCENT // 100
        return fit

    def candidate(self, ranked: Ranked) -> Candidate:
        """A ranked card as it is told, with all of its inputs."""
        card, card_id = ranked.card, id_of(ranked.card)
        if isinstance(card, AgentCard):
            match, inputs = self._match_of_agent(card), agent_inputs(card)
        else:
            inputs = input_specs(card)
            match = match_inputs(inputs, self.view)
        is_agent = isinstance(card, AgentCard)
        score = CandidateScore(
            id=card_id,
            kind="agent" if is_agent else "capability",
            coverage=match.coverage / UNIT,
            compatibility=ranked.compatibility / UNIT,
            trust_bias=ranked.trust / UNIT,
            total=ranked.total / UNIT,
            is_viable=ranked.rank[0] == 0,
            missing_inputs=match.missing,
            n_adapters=match.n_adapters,
            why=self.reasons(card_id, card, match, ranked.total),
        )
        return Candidate(
            score=score, match=match, inputs=inputs, effects=card.effects,
            takes_whole_context=is_agent and not inputs,
        )  # fmt: skip

    def reasons(self, card_id: str, card: Card, match: Match, total: int) -> tuple[str, ...]:
        """What keeps a candidate from being called, and what feedback did to it."""
        config, why = self.config, []
        if match.missing:
            why.append(f"nothing meets {', '.join(match.missing)}")
        if match.coverage * 1000 < config.min_coverage * UNIT:
            unused = self.view.uncounted(step.from_ for step in match.steps)
            below = f"coverage below {config.min_coverage / 1000:.3f}"
            why.append(f"{below}: takes no {', '.join(unused)}")
        if total * 1000 < config.min_total * UNIT:
            why.append(f"total below {config.min_total / 1000:.3f}")
        unasked = self.conversation.unasked_verb(card_id)
        if unasked is not None:
            why.append(f"nobody asked to {unasked} anything")
        why += self.conversation.off_topic(card_id)
        moved = trust_sentence(card.trust_tier, self.records.get(card_id), config.trust)
        return (*why, moved) if moved else tuple(why)


def agent_inputs(agent: AgentCard) -> tuple[InputSpec, ...]:
    """Keys that an agent supports: it can do without any of them."""
    keys = sorted(set(agent.supported_context_keys))
    return tuple(InputSpec(key=key, required=False) for key in keys)


def _reached(rank: Rank) -> int:
    """A rank on the scale of the bounds."""
    nonviable, minus_total = rank[0], rank[1]
    assert isinstance(minus_total, int)
    return -minus_total + (0 if nonviable else _VIABLE)
