"""The order of candidates: what may be called, how well it fits, how far it is trusted.

Belongs here: `score_candidates`, the exact score, the total order, the search for the best few.
Does not: the filter (``security``), names and inputs (``matching``), trust (``trust``).
Spec: planner-synthesis, "Scoring"; ADR 0020.

Parts are whole numbers of 1e-9, so no sum depends on its order. To look at each card briefly and at
few closely, every card gets a bound that its score cannot pass; cards are then scored from the
highest bound down until no bound can pass the worst that is kept. The result is exact.
"""

import heapq
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import Final

import msgspec

from planner_synthesis.config import DEFAULT_CONFIG, SynthesisConfig
from planner_synthesis.matching import Match, SchemaView, input_specs, match_inputs
from planner_synthesis.questions import words_in
from planner_synthesis.relevance import Conversation
from planner_synthesis.security import allowed_cards
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
_UNKNOWN: Final = (0, 0)
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
    bounded = scorer.bounds(allowed.capabilities)
    for agent in allowed.agents:
        scorer.bound_agent(agent, bounded)
    return Ranking(
        best=tuple(map(scorer.candidate, scorer.best(bounded))),
        n_considered=sum(map(len, bounded.values())),
        n_not_allowed=allowed.n_not_allowed,
        n_conflicting=allowed.n_conflicting,
    )


Card = CapabilityCard | AgentCard
Rank = tuple[int | str, ...]


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
        self._known: dict[str, tuple[int, int]] = {}
        self._trust: dict[tuple[str, bool], int] = {}
        self._covered: dict[int, int] = {}
        self._matches: dict[tuple[object, ...], Match] = {}

    def learn(self, keys: Collection[str]) -> None:
        """For each key that has links: a bit for each schema key, and the best sureness."""
        names, known = self.view.names, self._known
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

    def bounds(self, cards: Iterable[CapabilityCard]) -> dict[int, list[Card]]:
        """Cards that share a key with the schema, by what their rank cannot pass."""
        known, found = self._known, dict[int, list[Card]]()
        linked = known.keys()
        for card in cards:
            keys = card.expects_context_keys
            if card.inputs:
                bits, sure, n_unmet, n = self._bound_of_inputs(card)
            elif linked.isdisjoint(keys):
                continue
            else:
                bits = sure = n_unmet = 0
                if len(set(keys)) != len(keys):
                    keys = tuple(dict.fromkeys(keys))
                n = len(keys)
                for key in keys:
                    bit, sureness = known.get(key, _UNKNOWN)
                    if bit:
                        bits |= bit
                        sure += sureness
                    else:
                        n_unmet += 1
            if bits:
                compatible = UNIT * sure // (100 * n)
                bound = self._bound(card.id, card, bits, compatible, n_unmet)
                found.setdefault(bound, []).append(card)
        return found

    def _bound_of_inputs(self, card: CapabilityCard) -> tuple[int, int, int, int]:
        """Bits, sureness in percent, unmet inputs and inputs, where the card describes some."""
        known, bits, n_unmet = self._known, 0, 0
        described: list[str] = []
        for spec in card.inputs:
            described.append(spec.key)
            link = known.get(spec.key)
            if link is not None:
                bits |= link[0]
            elif spec.required and spec.default is None:
                n_unmet += 1
        n = len(described)
        if card.expects_context_keys and list(card.expects_context_keys) != described:
            for key in set(card.expects_context_keys).difference(described):
                bit = known.get(key, _UNKNOWN)[0]
                bits |= bit
                n_unmet += not bit
                n += 1
        return bits, 100 * (n - n_unmet), n_unmet, n

    def _bound(self, card_id: str, card: Card, bits: int, compatible: int, n_unmet: int) -> int:
        trust = self.trust(card_id, card.trust_tier, card.local)
        coverage = self.covered(bits)
        total = self.total(coverage, compatible, trust)
        return total + (_VIABLE if self.is_viable(coverage, total, n_unmet) else 0)

    def bound_agent(self, agent: AgentCard, found: dict[int, list[Card]]) -> None:
        """Add an agent that shares a key or, where it names no keys, a skill."""
        bits = 0
        for key in agent.supported_context_keys:
            bits |= self._known.get(key, _UNKNOWN)[0]
        if not agent.supported_context_keys and self.skill_overlap(agent):
            bits = (1 << len(self.view.params)) - 1
        if bits:
            bound = self._bound(agent.agent_id, agent, bits, UNIT, 0)
            found.setdefault(bound, []).append(agent)

    def best(self, bounded: dict[int, list[Card]]) -> list[tuple[Rank, Card, Match]]:
        """The best few cards with their ranks, best first."""
        n, kept = self.config.max_candidates, list[tuple[Rank, Card, Match]]()
        for bound in sorted(bounded, reverse=True):
            if len(kept) == n and _reached(kept[-1][0]) > bound:
                break
            ranked = kept + [self.ranked(card) for card in bounded[bound]]
            kept = heapq.nsmallest(n, ranked, key=lambda entry: entry[0])
        return kept

    def match(self, card: Card) -> Match:
        """The card's match; cards with the same inputs share one."""
        if isinstance(card, CapabilityCard):
            # 1 and true are equal in Python, and so would be two inputs with these defaults
            kinds = tuple([type(spec.default) for spec in card.inputs])
            shape = (card.expects_context_keys, card.inputs, kinds)
            found = self._matches.get(shape)
            if found is None:
                found = self._matches[shape] = match_inputs(input_specs(card), self.view)
            return found
        overlap = self.skill_overlap(card)
        if not card.supported_context_keys:
            return Match(
                steps=(), coverage=self.covered(-1) if overlap else 0, compatibility=overlap // 2,
                missing=(), optional=(), n_adapters=0, leaves_out=False,
            )  # fmt: skip
        match = match_inputs(agent_inputs(card), self.view)
        if not self.skills:
            return match
        mean = (match.compatibility + overlap) // 2
        return msgspec.structs.replace(match, compatibility=mean)

    def skill_overlap(self, agent: AgentCard) -> int:
        """Share of the interaction's skills that an agent has, in 1e-9."""
        if not self.skills:
            return 0
        has = [frozenset(words_in(skill)) for skill in agent.skills]
        n = sum(any(skill <= words for words in has) for skill in self.skills)
        return UNIT * n // len(self.skills)

    def ranked(self, card: Card) -> tuple[Rank, Card, Match]:
        """A card with its place in the total order: the smaller, the better."""
        match = self.match(card)
        is_agent = isinstance(card, AgentCard)
        card_id = card.agent_id if isinstance(card, AgentCard) else card.id
        trust = self.trust(card_id, card.trust_tier, card.local)
        compatibility = self.compatibility(card_id, match)
        total = self.total(match.coverage, compatibility, trust)
        is_viable = self.is_viable(match.coverage, total, len(match.missing))
        is_viable = is_viable and self.conversation.unasked_verb(card_id) is None
        ease = (match.n_adapters, -len(match.steps))
        if not self.context.preferences.optimize_for_speed:
            ease = (ease[1], ease[0])
        rank = (
            0 if is_viable else 1, -total, -match.coverage, -compatibility, -trust,
            *ease, -self.conversation.n_said(card_id), int(is_agent), card_id,
        )  # fmt: skip
        return rank, card, match

    def compatibility(self, card_id: str, match: Match) -> int:
        """How well a candidate fits, in 1e-9; less for each reason why it may be off topic."""
        fit = match.compatibility
        for _ in self.conversation.off_topic(card_id):
            fit = fit * _OFF_TOPIC_PERCENT // 100
        return fit

    def candidate(self, entry: tuple[Rank, Card, Match]) -> Candidate:
        """A ranked card as it is told."""
        rank, card, match = entry
        is_agent = isinstance(card, AgentCard)
        card_id = card.agent_id if isinstance(card, AgentCard) else card.id
        trust = self.trust(card_id, card.trust_tier, card.local)
        compatibility = self.compatibility(card_id, match)
        total = self.total(match.coverage, compatibility, trust)
        score = CandidateScore(
            id=card_id,
            kind="agent" if is_agent else "capability",
            coverage=match.coverage / UNIT,
            compatibility=compatibility / UNIT,
            trust_bias=trust / UNIT,
            total=total / UNIT,
            is_viable=rank[0] == 0,
            missing_inputs=match.missing,
            n_adapters=match.n_adapters,
            why=self.reasons(card_id, card, match, total),
        )
        inputs = agent_inputs(card) if isinstance(card, AgentCard) else input_specs(card)
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
