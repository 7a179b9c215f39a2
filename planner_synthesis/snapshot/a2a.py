"""A2A agents as agent cards: from files, or from where an agent publishes its own.

Belongs here: what an A2A card says that ours can hold. Does not: HTTP itself (``http_exchange``),
talking to agents.
Source: Agent2Agent protocol 0.2 to 1.0, "Agent Card", `/.well-known/agent-card.json` (before 0.3
`agent.json`); docs/registries.md.

An A2A card describes skills in words and modes, and no keys. What an agent says of itself is a
claim: its tier is what the reader of the registry gives, and a signature is not checked.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeGuard
from urllib.parse import urlsplit

import msgspec

from planner_synthesis.exchange_failures import ExchangeFailed
from planner_synthesis.snapshot.reading import (
    CardRefused,
    QuarantineRow,
    RegistryReading,
    capped_tier,
    checked_agent,
    merged_readings,
)
from planner_synthesis.snapshot.redaction import KnownSecrets, clean_url, redact, secrets_in
from planner_synthesis.types import AgentCard

WELL_KNOWN: Final = ("/.well-known/agent-card.json", "/.well-known/agent.json")
MAX_BYTES: Final = 4 * 1024 * 1024
# of a card or a skill, what describes how to sign in names no secret, though its fields are called
# so
_SECURITY_FIELDS: Final = ("securitySchemes", "security", "securityRequirements", "signatures")
_TEXT_MODES: Final = re.compile(r"^(text(/.*)?|application/(.*\+)?json|\*/\*|data)$", re.I)


class A2aCards(msgspec.Struct, frozen=True, kw_only=True):
    """A2A agent cards as a source: a file, or the address of an agent.

    Attributes:
        location: Path of a file (one card or a list), or a URL: of a card, or of a host, whose
            well-known address is then asked.
        headers: Sent with the request; never told.
    """

    location: str
    trust_tier: str = "T0"
    timeout_s: float = 10.0
    headers: dict[str, str] = {}

    def __post_init__(self) -> None:
        """Refuse what is no time.

        Raises:
            ValueError: the timeout is not within an hour.
        """
        if not 0 < self.timeout_s <= 3600:
            raise ValueError("a timeout is more than 0 and at most 3600 seconds")

    @property
    def name(self) -> str:
        """The location without credentials."""
        return clean_url(self.location) if self._is_url() else self.location

    def __repr__(self) -> str:
        """The name alone."""
        return f"A2aCards({self.name})"

    def _is_url(self) -> bool:
        return self.location.startswith(("http://", "https://"))

    def read(self) -> RegistryReading:
        """Cards of the location; what cannot be read is a row.

        Raises:
            MissingExtra: it is a URL, and the extra ``arbiter`` (httpx) is not installed.
        """
        try:
            text = self._fetched() if self._is_url() else Path(self.location).read_bytes()
            if len(text) > MAX_BYTES:
                return self._refused(f"there are more than {MAX_BYTES} bytes")
            known = KnownSecrets(
                secrets_in(self.headers, is_secret=True) | secrets_in(self.location)
            )
            return cards_of_a2a(
                json.loads(text), source=self.name, trust_tier=self.trust_tier, known=known
            )
        except OSError as error:
            return self._refused(f"the file cannot be read: {error.strerror}")
        except RecursionError:
            return self._refused("it is nested too deeply")
        except ValueError as error:
            if isinstance(error, _NotFetched):
                return self._refused(str(error))
            return self._refused("it is not JSON")

    def _refused(self, reason: str) -> RegistryReading:
        row = QuarantineRow(source=self.name, position="", reason=reason, kind="source")
        return RegistryReading(quarantine=(row,))

    def _fetched(self) -> bytes:
        from planner_synthesis.http_exchange import exchange

        failure: ExchangeFailed | None = None
        for url in _addresses(self.location):
            try:
                return exchange(
                    "GET", url, headers=self.headers, timeout_s=self.timeout_s, max_bytes=MAX_BYTES
                )
            except ExchangeFailed as error:
                failure = failure or error
                if error.status != 404:
                    break
        raise _NotFetched(f"the agent card cannot be fetched: {failure}")


class _NotFetched(ValueError):
    """No address gave a card."""


def _addresses(location: str) -> tuple[str, ...]:
    """Where a card may be: the address itself if it has a path, else the well-known ones."""
    try:
        path = urlsplit(location).path
    except ValueError:
        return (location,)
    if path.endswith(".json"):
        return (location,)
    query = location.partition("?")
    base, rest = query[0].rstrip("/"), query[1] + query[2]
    return tuple(base + known + rest for known in WELL_KNOWN)


def cards_of_a2a(
    document: Any, *, source: str, trust_tier: str = "T0", known: KnownSecrets | None = None
) -> RegistryReading:
    """Agent cards of a decoded A2A card, of a list of them, or of ``{"agents": [...]}``.

    What makes no card is a row.

    Raises:
        RecursionError: the document is nested deeper than this interpreter can go.
    """
    if isinstance(document, Mapping) and isinstance(document.get("agents"), list):
        document, prefix = document["agents"], "agents"
    else:
        prefix = ""
    entries = document if isinstance(document, list) else [document]
    agents: list[AgentCard] = []
    rows: list[QuarantineRow] = []
    for at, entry in enumerate(entries):
        position = f"{prefix}[{at}]" if isinstance(document, list) else "card"
        try:
            if not isinstance(entry, Mapping):
                raise CardRefused("it is not an object")
            told = _as_json_names(entry)
            secrets = secrets_in(_without_security(told)) | (known.values if known else frozenset())
            card = _agent_card(told, trust_tier)
            agents.append(checked_agent(card, known=KnownSecrets(secrets)))
        except CardRefused as error:
            reason = redact(error.reason)
            rows.append(
                QuarantineRow(source=source, position=position, reason=reason, kind="agent")
            )
    return merged_readings([RegistryReading(agents=tuple(agents), quarantine=tuple(rows))])


def agent_id_of(name: str, provider: str) -> str:
    """Id of an A2A agent; a provider's dots are written %2E, so that no two agents share one.

    >>> agent_id_of("Route planner", "Acme")
    'a2a.Acme.Route planner'
    """
    return f"a2a.{provider.replace('%', '%25').replace('.', '%2E')}.{name}"


def _as_json_names(entry: Mapping[Any, Any]) -> dict[str, Any]:
    """A card whose own fields and whose skills' have their JSON names.

    JSON made of the protocol's definition may have the names of that instead, such as
    ``default_input_modes``. Where both are there, the JSON name counts.
    """
    renamed = _renamed(entry)
    if isinstance(listed := renamed.get("skills"), list):
        renamed["skills"] = [_renamed(one) if isinstance(one, Mapping) else one for one in listed]
    return renamed


def _renamed(fields: Mapping[Any, Any]) -> dict[str, Any]:
    return {_json_name(str(name)): value for name, value in fields.items()} | dict(fields)


def _json_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def _without_security(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A card without what describes how to sign in, its own and that of its skills."""
    told = {key: value for key, value in entry.items() if _json_name(key) not in _SECURITY_FIELDS}
    if isinstance(listed := told.get("skills"), list):
        told["skills"] = [
            _without_security(one) if isinstance(one, Mapping) else one for one in listed
        ]
    return told


def _agent_card(entry: Mapping[str, Any], trust_tier: str) -> AgentCard:
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise CardRefused("it has no name")
    modes = _texts(entry.get("defaultInputModes"))
    skills: list[str] = []
    listed = entry.get("skills")
    n_usable = 0
    for skill in listed if isinstance(listed, list) else []:
        if isinstance(skill, Mapping):
            own = _texts(skill.get("inputModes")) or modes
            if _takes_text(own):
                n_usable += 1
                skills += [one for one in (skill.get("id"), skill.get("name")) if _is_text(one)]
                skills += _texts(skill.get("tags"))
    if not n_usable and not (_takes_text(modes) and not listed):
        raise CardRefused("none of its skills takes text or JSON, and an answer is nothing else")
    provider = entry.get("provider")
    organization = provider.get("organization") if isinstance(provider, Mapping) else None
    return AgentCard(
        agent_id=agent_id_of(name, organization if isinstance(organization, str) else ""),
        skills=tuple(dict.fromkeys(skills)),
        trust_tier=capped_tier(trust_tier, at_most="T2"),
        local=False,
        doc=entry["description"] if isinstance(entry.get("description"), str) else None,
        effects=(":network",),
    )


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value)


def _texts(values: Any) -> list[str]:
    return [one for one in values if _is_text(one)] if isinstance(values, list) else []


def _takes_text(modes: list[str]) -> bool:
    """Whether an answer can be given; an agent that names no mode takes text."""
    return not modes or any(_TEXT_MODES.match(mode.split(";")[0].strip()) for mode in modes)
