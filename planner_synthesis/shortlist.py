"""Which cards of a registry are worth a closer look: what their rank cannot pass, and their shape.

Belongs here: one quick pass over every card, buckets of equal bounds, equal cards in a bucket.
Does not: the exact score and the order (``scoring``), which keys mean the same (``names``).
Source: ADR 0020.

A card's shape is all of it that can weigh but its id: inputs that may be met, how many cannot, its
trust. Cards of one shape have one match. A shape is kept as a number, since a hundred thousand
small tuples would keep the garbage collector busy.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, NamedTuple

from planner_synthesis.coercions import is_value_of
from planner_synthesis.relevance import Conversation
from planner_synthesis.trust import UNIT
from planner_synthesis.types import AgentCard, CapabilityCard

Card = CapabilityCard | AgentCard
BoundOf = Callable[[str, Card, int, int, int], int]
_UNKNOWN: Final = (0, 0)


class Shaped(NamedTuple):
    """A card with the number of its shape and how many required inputs nothing can meet."""

    card: Card
    shape: int
    n_unmet: int


class _Bucket(NamedTuple):
    """Cards of one bound, in parallel lists."""

    cards: list[Card]
    shapes: list[int]
    unmet: list[int]
    ids: list[str]


def id_of(card: Card) -> str:
    """The id of a capability or of an agent."""
    return card.agent_id if isinstance(card, AgentCard) else card.id


class Shortlist:
    """Cards that share a key with a schema, by what their rank cannot pass.

    Args:
        known: For each key that has links: a bit for each schema key, and the best sureness.
        bound_of: What the rank of a card cannot pass, of its id, the card, the bits it shares, its
            compatibility at best in 1e-9 and how many required inputs stay unmet.
        apart: Ids whose trust is their own.
    """

    def __init__(
        self,
        known: Mapping[str, tuple[int, int]],
        bound_of: BoundOf,
        apart: Collection[str] = (),
    ) -> None:
        self._known, self._bound_of, self._apart = known, bound_of, apart
        self._buckets: dict[int, _Bucket] = {}
        self._kinds: dict[tuple[object, ...], int] = {}
        self._bucket_of: list[_Bucket] = []  # by number of a kind

    def __len__(self) -> int:
        return sum(len(bucket.cards) for bucket in self._buckets.values())

    def bounds(self) -> list[int]:
        """Every bound that some card has, highest first."""
        return sorted(self._buckets, reverse=True)

    def add_capabilities(self, cards: Iterable[CapabilityCard]) -> None:
        """Take those that share a key."""
        known, linked = self._known, self._known.keys()
        for card in cards:
            keys = card.expects_context_keys
            if card.inputs:
                self._add_described(card)
            elif not linked.isdisjoint(keys):
                if len(set(keys)) != len(keys):
                    keys = tuple(dict.fromkeys(keys))
                bits = sure = n_unmet = 0
                met: list[str] = []
                for key in keys:
                    bit, sureness = known.get(key, _UNKNOWN)
                    if bit:
                        bits |= bit
                        sure += sureness
                        met.append(key)
                    else:
                        n_unmet += 1
                self._add(card, bits, UNIT * sure // (100 * len(keys)), n_unmet, tuple(met))

    def _add_described(self, card: CapabilityCard) -> None:
        """A card that describes inputs: optional ones that nothing can meet do not weigh."""
        known, bits, n_unmet = self._known, 0, 0
        described: list[str] = []
        weighed: list[object] = []
        for spec in card.inputs:
            key, required = spec.key, spec.required
            described.append(key)
            meets_itself = required and spec.default is not None
            link = known.get(key)
            if link is not None:
                bits |= link[0]
            elif not meets_itself:
                n_unmet += required
                continue
            own = meets_itself and is_value_of(spec.default, spec)
            weighed.append((key, spec.type, required, spec.enum_values, own))
        n = len(described)
        if card.expects_context_keys and list(card.expects_context_keys) != described:
            for key in sorted(set(card.expects_context_keys).difference(described)):
                bit = known.get(key, _UNKNOWN)[0]
                bits |= bit
                n_unmet += not bit
                n += 1
                if bit:
                    weighed.append(key)
        if bits:
            self._add(card, bits, UNIT * (n - n_unmet) // n, n_unmet, tuple(weighed))

    def add_agent(self, agent: AgentCard, *, has_skill: bool, n_keys: int) -> None:
        """Take an agent that shares a key or, where it names no keys, a skill.

        Args:
            n_keys: Of the schema, all of which an agent that names none can take.
        """
        bits = 0
        for key in agent.supported_context_keys:
            bits |= self._known.get(key, _UNKNOWN)[0]
        if not agent.supported_context_keys and has_skill:
            bits = (1 << n_keys) - 1
        met = sorted({key for key in agent.supported_context_keys if key in self._known})
        if bits:
            self._add(agent, bits, UNIT, 0, ("agent", *met, agent.skills, not met))

    def _add(
        self, card: Card, bits: int, compatible: int, n_unmet: int, shape: tuple[object, ...]
    ) -> None:
        card_id = id_of(card)
        own = card_id if card_id in self._apart else None
        kind = (shape, n_unmet, compatible, card.trust_tier, card.local, own)
        number = self._kinds.get(kind)
        if number is None:
            number = self._kinds[kind] = len(self._kinds)
            bound = self._bound_of(card_id, card, bits, compatible, n_unmet)
            self._bucket_of.append(self._buckets.setdefault(bound, _Bucket([], [], [], [])))
        bucket = self._bucket_of[number]
        bucket.cards.append(card)
        bucket.shapes.append(number)
        bucket.unmet.append(n_unmet)
        bucket.ids.append(card_id)

    def foremost(self, bound: int, n: int, conversation: Conversation) -> list[Shaped]:
        """Cards of a bound that can be among the best ``n`` of it.

        Cards that differ in nothing that weighs but their ids come in the order of these.
        """
        bucket = self._buckets[bound]
        if len(bucket.cards) <= 2 * n:
            return list(map(Shaped, bucket.cards, bucket.shapes, bucket.unmet))
        equals = defaultdict[tuple[int, int], list[int]](list)
        for at, kind in enumerate(zip(bucket.shapes, conversation.topics(bucket.ids), strict=True)):
            equals[kind].append(at)
        first = [heapq.nsmallest(n, alike, bucket.ids.__getitem__) for alike in equals.values()]
        return [
            Shaped(bucket.cards[at], bucket.shapes[at], bucket.unmet[at])
            for alike in first
            for at in alike
        ]
