"""The security filter: what the runtime context forbids is no candidate.

Belongs here: the filter over a snapshot, ids that are told apart, reading `controlled:a,b`.
Does not: the runtime context itself (``types``), enforcing it in a run (``rtfs.host``).
Spec: planner-synthesis, "Security & policy"; rtfs.md 2.5: upstream's check does not look at
effects, so both are applied here.
"""

from collections.abc import Iterable, Mapping
from typing import Final, cast, get_args

import msgspec

from planner_synthesis.types import AgentCard, CapabilityCard, RuntimeContext, SecurityLevel

LEVELS: Final = get_args(SecurityLevel)


class SecurityTextError(ValueError):
    """A text does not name a runtime context.

    Attributes:
        text: What was given.
    """

    def __init__(self, text: str) -> None:
        super().__init__(f"expected pure, full or controlled:id,id, got {text!r}")
        self.text = text


class AllowedCards(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot after the filter; forbidden cards are counted, not kept.

    Attributes:
        n_not_allowed: Cards that level or effects forbid.
        n_conflicting: Cards that share their id with one that says otherwise.
    """

    capabilities: tuple[CapabilityCard, ...]
    agents: tuple[AgentCard, ...]
    n_not_allowed: int
    n_conflicting: int


def parse_runtime_context(text: str) -> RuntimeContext:
    """A context from `pure`, `full` or `controlled:a,b`.

    Raises:
        SecurityTextError: the text is none of these.
    """
    level, colon, ids = text.partition(":")
    if level not in LEVELS or bool(colon) != (level == "controlled"):
        raise SecurityTextError(text)
    allowed = tuple(sorted({part.strip() for part in ids.split(",") if part.strip()}))
    return RuntimeContext(level=cast(SecurityLevel, level), allowed_capabilities=allowed)


def allowed_cards(
    capabilities: Iterable[CapabilityCard], agents: Iterable[AgentCard], *, security: RuntimeContext
) -> AllowedCards:
    """Cards that the context allows, by id and by effects.

    An id that two different capabilities (or agents) claim is called by neither: which of them
    would run, and with which effects, nobody could say. An id with a forbidden card is forbidden
    whoever else has it.
    """
    all_caps, all_agents = tuple(capabilities), tuple(agents)
    caps = {card.id: card for card in all_caps}
    by_agent = {card.agent_id: card for card in all_agents}
    torn: set[str] = set()
    if len(caps) != len(all_caps) or len(by_agent) != len(all_agents):
        torn |= {card.id for card in all_caps if not _say_the_same(caps[card.id], card)}
        torn |= {c.agent_id for c in all_agents if not _say_the_same(by_agent[c.agent_id], c)}
    shut = _forbidden_ids(all_caps, all_agents, security)
    n_shut = sum(card.id in shut for card in all_caps) if shut else 0
    n_shut += sum(card.agent_id in shut for card in all_agents) if shut else 0
    out = torn | shut
    if not out:
        return AllowedCards(
            capabilities=tuple(caps.values()), agents=tuple(by_agent.values()),
            n_not_allowed=0, n_conflicting=0,
        )  # fmt: skip
    torn_only = torn - shut
    return AllowedCards(
        capabilities=tuple([card for card in caps.values() if card.id not in out]),
        agents=tuple([card for card in by_agent.values() if card.agent_id not in out]),
        n_not_allowed=n_shut,
        n_conflicting=sum(card.id in torn_only for card in all_caps)
        + sum(card.agent_id in torn_only for card in all_agents),
    )


def _say_the_same(one: CapabilityCard | AgentCard, other: CapabilityCard | AgentCard) -> bool:
    """Equality that tells 1 from true, which Python's does not, whatever text they hold."""
    return one is other or repr(one) == repr(other)


def _forbidden_ids(
    capabilities: tuple[CapabilityCard, ...],
    agents: tuple[AgentCard, ...],
    security: RuntimeContext,
) -> set[str]:
    """Ids of which at least one card is forbidden."""
    is_bound_by_effects = security.allowed_effects is not None or bool(security.denied_effects)
    if security.level == "full" and not is_bound_by_effects:
        return set()
    claims = [(card.id, card.effects) for card in capabilities]
    claims += [(card.agent_id, card.effects) for card in agents]
    if security.level == "pure":
        return {card_id for card_id, _ in claims}
    shut: set[str] = set()
    if security.level == "controlled":
        allowed = frozenset(security.allowed_capabilities)
        shut = {card_id for card_id, _ in claims if card_id not in allowed}
    if is_bound_by_effects:
        verdicts = {effects: security.are_effects_allowed(effects) for _, effects in claims}
        shut |= {card_id for card_id, effects in claims if not verdicts[effects]}
    return shut


def permits(security: RuntimeContext, capability_id: str, *, effects: tuple[str, ...] = ()) -> bool:
    """Whether a call of this id with these effects is allowed."""
    return security.is_capability_allowed(capability_id) and security.are_effects_allowed(effects)


class RegistryGate:
    """What a host asks before a call: the runtime context, with the effects of a registry.

    An id that the registry does not know has the default effect.
    """

    def __init__(self, security: RuntimeContext, registry: Mapping[str, tuple[str, ...]]) -> None:
        self.security, self.registry = security, registry

    def is_allowed(self, capability_id: str, /) -> bool:
        """Whether this capability may be called, by level and by effects."""
        effects = self.registry.get(capability_id, ())
        return permits(self.security, capability_id, effects=effects)
