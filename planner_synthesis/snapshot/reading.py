"""What reading a registry gives: cards, and a row for everything that could not become one.

Belongs here: the types of a reading, admitting a card, `discover_registry_snapshots`.
Does not: the formats of registries (``files``, ``ccos``, ``mcp``, ``a2a``).
Spec: planner-synthesis, "New API surface"; settled in docs/registries.md.
"""

import math
from collections.abc import Callable, Iterable
from typing import Final, Literal, Protocol

import msgspec

from planner_synthesis.documents import canonical_bytes
from planner_synthesis.snapshot.redaction import NO_SECRETS, KnownSecrets, holds_secret, redact
from planner_synthesis.types import (
    AgentCard,
    CapabilityCard,
    InputSpec,
    RegistrySnapshot,
    Scalar,
)

MAX_ID_CHARS: Final = 512
MAX_DOC_CHARS: Final = 2_000
MAX_KEYS: Final = 1_000
KNOWN_TIERS: Final = ("T0", "T1", "T2")

EntryKind = Literal["source", "capability", "agent", "input"]


class QuarantineRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that was offered and not taken, or taken with a reservation.

    Attributes:
        source: File or server, without credentials.
        position: Where in it, e.g. ``capabilities[3]`` or ``tools[0].inputSchema``.
        reason: One sentence; it never quotes a value that may be a secret.
        is_left_out: False when a card was made all the same.
    """

    source: str
    position: str
    reason: str
    kind: EntryKind = "capability"
    is_left_out: bool = True


class RegistryReading(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cards of one or more registries, and what did not become one."""

    capabilities: tuple[CapabilityCard, ...] = ()
    agents: tuple[AgentCard, ...] = ()
    quarantine: tuple[QuarantineRow, ...] = ()

    def snapshot(self) -> RegistrySnapshot:
        """The cards as a snapshot."""
        return RegistrySnapshot(capabilities=self.capabilities, agents=self.agents)


class RegistrySource(Protocol):
    """Somewhere cards come from."""

    @property
    def name(self) -> str:
        """What the source is called in quarantine rows; no credentials."""
        ...

    def read(self) -> RegistryReading:
        """All cards. What fails is a row, not an exception."""
        ...


class CardRefused(ValueError):
    """A card that cannot be taken: ``reason`` without the value at fault."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def checked_name(name: str, *, what: str, known: KnownSecrets = NO_SECRETS) -> str:
    """An id or key as it is.

    Raises:
        CardRefused: it is empty, too long, not encodable, or holds a secret.
    """
    if not name:
        raise CardRefused(f"{what} is empty")
    if len(name) > MAX_ID_CHARS:
        raise CardRefused(f"{what} is longer than {MAX_ID_CHARS} characters")
    if not _is_unicode(name):
        raise CardRefused(f"{what} is not valid Unicode")
    if holds_secret(name, known=known):
        raise CardRefused(f"{what} holds what looks like a secret")
    return name


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def clean_doc(text: str | None, *, known: KnownSecrets = NO_SECRETS) -> str | None:
    """A description without secrets, cut to ``MAX_DOC_CHARS`` characters; None when empty."""
    if not text:
        return None
    text = _cut(text, 8 * MAX_DOC_CHARS).encode("utf-8", "replace").decode("utf-8")
    return _cut(redact(text, known=known), MAX_DOC_CHARS) or None


def _cut(text: str, n_chars: int) -> str:
    """A text's first words, since half a word may be half a secret."""
    if len(text) <= n_chars:
        return text
    words = text[: n_chars + 1].rsplit(None, 1)
    return words[0] if len(words) == 2 else ""


def clean_input(spec: InputSpec, *, known: KnownSecrets = NO_SECRETS) -> InputSpec:
    """An input whose default and choices hold no secret and nothing that RTFS cannot say.

    A choice that cannot be told makes the input a plain string.

    Raises:
        CardRefused: its key cannot be taken.
    """
    checked_name(spec.key, what="the key of an input", known=known)
    if not _can_be_told(spec.default, known):
        spec = msgspec.structs.replace(spec, default=None)
    if not all(_can_be_told(value, known) for value in spec.enum_values):
        spec = msgspec.structs.replace(spec, type="string", enum_values=())
    return spec


def _can_be_told(value: Scalar, known: KnownSecrets) -> bool:
    """Whether a value is Unicode without a secret, or a finite number of at most 64 bits."""
    if isinstance(value, str):
        return _is_unicode(value) and redact(value, known=known) == value
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or -(2**63) <= value < 2**63


def capped_tier(tier: str, *, at_most: str) -> str:
    """A trust tier that a registry claims, no higher than its reader allows.

    An unknown tier is kept as it is: it counts as nothing.
    """
    if tier in KNOWN_TIERS and at_most in KNOWN_TIERS:
        return min(tier, at_most)
    return tier if tier not in KNOWN_TIERS else at_most


def checked_capability(card: CapabilityCard, *, known: KnownSecrets = NO_SECRETS) -> CapabilityCard:
    """A capability card in canonical form, without secrets.

    Raises:
        CardRefused: its id, a key, an effect or its tier cannot be taken.
    """
    checked_name(card.id, what="the id", known=known)
    if len(card.inputs) + len(card.expects_context_keys) > MAX_KEYS:
        raise CardRefused(f"it has more than {MAX_KEYS} keys")
    inputs = tuple(clean_input(spec, known=known) for spec in card.inputs)
    if len({spec.key for spec in inputs}) != len(inputs):
        raise CardRefused("an input is described twice")
    return msgspec.structs.replace(
        card,
        expects_context_keys=_names(card.expects_context_keys, "a context key", known),
        effects=_names(card.effects, "an effect", known),
        trust_tier=card.trust_tier and checked_name(card.trust_tier, what="the tier", known=known),
        inputs=tuple(sorted(inputs, key=lambda spec: spec.key)),
        doc=clean_doc(card.doc, known=known),
    )


def checked_agent(card: AgentCard, *, known: KnownSecrets = NO_SECRETS) -> AgentCard:
    """An agent card in canonical form, without secrets.

    Raises:
        CardRefused: its id, a key, a skill, an effect or its tier cannot be taken.
    """
    checked_name(card.agent_id, what="the id", known=known)
    if len(card.skills) + len(card.supported_context_keys) > MAX_KEYS:
        raise CardRefused(f"it has more than {MAX_KEYS} keys and skills")
    return msgspec.structs.replace(
        card,
        skills=_names(card.skills, "a skill", known),
        supported_context_keys=_names(card.supported_context_keys, "a context key", known),
        effects=_names(card.effects, "an effect", known),
        trust_tier=card.trust_tier and checked_name(card.trust_tier, what="the tier", known=known),
        doc=clean_doc(card.doc, known=known),
    )


def _names(names: tuple[str, ...], what: str, known: KnownSecrets) -> tuple[str, ...]:
    return tuple(sorted({checked_name(name, what=what, known=known) for name in names}))


def merged_readings(readings: Iterable[RegistryReading]) -> RegistryReading:
    """Readings as one, in canonical order; a card that is there twice, unchanged, is kept once."""
    readings = list(readings)
    capabilities = {canonical_bytes(card): card for each in readings for card in each.capabilities}
    agents = {canonical_bytes(card): card for each in readings for card in each.agents}
    return RegistryReading(
        capabilities=tuple(
            card for _, card in sorted(capabilities.items(), key=lambda item: (item[1].id, item[0]))
        ),
        agents=tuple(
            card for _, card in sorted(agents.items(), key=lambda item: (item[1].agent_id, item[0]))
        ),
        quarantine=tuple(row for each in readings for row in each.quarantine),
    )


def read_registries(sources: Iterable[RegistrySource]) -> RegistryReading:
    """Every source, read once; a name that an earlier source has is refused, not merged."""
    readings: list[RegistryReading] = []
    names: set[str] = set()
    for source in sources:
        if source.name in names:
            reason = "another source has this name, so its ids could be mistaken for those"
            row = QuarantineRow(source=source.name, position="", reason=reason, kind="source")
            readings.append(RegistryReading(quarantine=(row,)))
            continue
        names.add(source.name)
        readings.append(source.read())
    return merged_readings(readings)


def discover_registry_snapshots(
    sources: Iterable[RegistrySource],
    *,
    on_quarantine: Callable[[QuarantineRow], None] | None = None,
) -> tuple[tuple[CapabilityCard, ...], tuple[AgentCard, ...]]:
    """Cards of all sources, in an order that does not depend on theirs.

    Args:
        sources: ``SnapshotFile``, ``CcosExport``, ``McpServer``, ``A2aCards`` or your own.
        on_quarantine: Told of everything that did not become a card, in the order met. Without it
            use ``read_registries``, which returns the rows.

    Source: planner-synthesis, "New API surface".
    """
    reading = read_registries(sources)
    for row in reading.quarantine if on_quarantine else ():
        on_quarantine(row)  # type: ignore[misc]  # the line above knows that it is there
    return reading.capabilities, reading.agents
