"""MCP tools as capability cards.

Belongs here: what an MCP server is called, which id a tool has, which effects and trust it gets.
Does not: talking to a server (``mcp_session``), calling tools in a planner (``mcp_host``).
Source: Model Context Protocol 2025-11-25 and 2026-07-28, `tools/list`; docs/registries.md.

All that a server says of itself is a claim. Annotations are hints, as MCP itself says: one that
makes a tool look worse is believed, one that makes it look better only where the reader of the
registry trusts this server's hints.
"""

import hashlib
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from planner_synthesis.snapshot.json_schema import inputs_of_json_schema, secrets_in_schema
from planner_synthesis.snapshot.reading import (
    CardRefused,
    QuarantineRow,
    RegistryReading,
    capped_tier,
    checked_capability,
    merged_readings,
)
from planner_synthesis.snapshot.redaction import (
    MIN_NAME_CHARS,
    KnownSecrets,
    clean_url,
    is_secret_name,
    secrets_in,
)
from planner_synthesis.types import CapabilityCard

# why a conversation with a server ended
SessionReason = Literal["timeout", "unreachable", "protocol"]
_SERVER_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class McpServer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One MCP server: a command that speaks over stdio, or a URL (streamable HTTP).

    Attributes:
        server: Its name in ids, ``mcp.<server>.<tool>``: letters, digits, `_` and `-`. Without a
            dot no two servers can mean one id. Whoever reads the registry chooses it; what the
            server calls itself is not used.
        command: Program and arguments; no shell.
        url: Endpoint, e.g. ``https://example.org/mcp``.
        env: Added to the few variables that a server inherits (``PATH``, ``HOME`` and such).
        headers: Sent with each request, e.g. ``Authorization``; never told.
        trust_tier: Tier of its tools, given by the reader.
        are_hints_trusted: Whether ``readOnlyHint`` and the like may take effects away.
        timeout_s: For connecting and for listing all tools, each.
        call_timeout_s: For each call; ``timeout_s`` where it is None.
    """

    server: str
    command: tuple[str, ...] = ()
    url: str = ""
    env: dict[str, str] = {}
    headers: dict[str, str] = {}
    trust_tier: str = "T0"
    are_hints_trusted: bool = False
    timeout_s: float = 30.0
    call_timeout_s: float | None = None
    max_tools: int = 10_000

    def __post_init__(self) -> None:
        """Refuse a server without a name, or with other than one way to reach it.

        Raises:
            ValueError: the name is none, or command and URL are both there or both missing.
        """
        if not _SERVER_NAME.fullmatch(self.server):
            raise ValueError("a server's name is 1 to 64 letters, digits, '_' and '-'")
        if bool(self.command) == bool(self.url):
            raise ValueError("a server has either a command or a URL")
        if self.url and not _is_http(self.url):
            raise ValueError("a server's URL starts with http:// or https:// and names a host")
        if not all(0 < each <= 3600 for each in (self.timeout_s, self.per_call_s)):
            raise ValueError("a timeout is more than 0 and at most 3600 seconds")

    @property
    def per_call_s(self) -> float:
        """Seconds that a call may take."""
        return self.timeout_s if self.call_timeout_s is None else self.call_timeout_s

    def __repr__(self) -> str:
        """The name alone: command line, environment and headers may hold secrets."""
        return f"McpServer({self.name})"

    def __rich_repr__(self) -> Any:
        """As ``repr``."""
        yield self.name

    @property
    def name(self) -> str:
        """Of the source, in quarantine rows."""
        where = clean_url(self.url) if self.url else "stdio"
        return f"mcp:{self.server} ({where})"

    def secrets(self) -> KnownSecrets:
        """What was given to reach the server, none of which may come back in a card."""
        values = set(self.headers.values()) | secrets_in(self.headers, is_secret=True)
        values |= secrets_in(self.env) | secrets_in(self.url)
        # under whatever name; short ones are settings such as `debug` and `true`
        values |= {value for value in self.env.values() if len(value) >= MIN_NAME_CHARS}
        values |= secrets_in(list(self.command))
        # `--token VALUE`; `--token=VALUE` is found as text
        values |= {
            value
            for option, value in pairwise(self.command)
            if option.startswith("-") and is_secret_name(option.lstrip("-"))
        }
        return KnownSecrets(values)

    def read(self) -> RegistryReading:
        """List the tools of the server.

        A server that cannot be reached, or fails half way, gives a row and the tools listed so far.

        Raises:
            MissingExtra: the extra ``mcp`` is not installed.
        """
        from planner_synthesis.snapshot.mcp_session import read_server

        return read_server(self)


def _is_http(url: str) -> bool:
    try:
        return url.startswith(("http://", "https://")) and bool(urlsplit(url).hostname)
    except ValueError:
        return False


def server_name(*, command: str = "", url: str = "") -> str:
    """A name for a server that was given none: what it is, and a hash that tells it from others.

    >>> server_name(command="python weather.py")
    'weather-49d27586'
    """
    if url:
        stem = clean_url(url).split("//", 1)[-1].split("/", 1)[0]
    else:
        words = [word.rsplit("/", 1)[-1] for word in command.split()]
        scripts = [word for word in words if re.search(r"\.(py|js|mjs|ts|sh)$", word)]
        stem = (scripts or words or [""])[0].split(".")[0]
    stem = re.sub(r"[^A-Za-z0-9]+", "-", stem).strip("-").lower()[:40] or "server"
    return f"{stem}-{hashlib.sha256((command + chr(0) + clean_url(url)).encode()).hexdigest()[:8]}"


def tool_id(server: str, tool: str) -> str:
    """Id of a tool; two servers never share one, since a server's name has no dot."""
    return f"mcp.{server}.{tool}"


def effects_of(hints: Mapping[str, Any], *, is_remote: bool, are_trusted: bool) -> tuple[str, ...]:
    """Effect labels of a tool.

    Args:
        hints: ``ToolAnnotations`` as JSON; a hint that is no boolean is no hint.
        is_remote: Reached over HTTP.
        are_trusted: Whether a hint may take an effect away.

    >>> hints = {"readOnlyHint": True, "openWorldHint": False}
    >>> effects_of(hints, is_remote=False, are_trusted=False)
    (':destructive', ':network', ':process', ':write')
    >>> effects_of(hints, is_remote=False, are_trusted=True)
    (':process', ':read')
    """

    def hint(name: str) -> bool | None:
        value = hints.get(name)
        return value if isinstance(value, bool) else None

    is_read_only = are_trusted and hint("readOnlyHint") is True
    is_gentle = is_read_only or (are_trusted and hint("destructiveHint") is False)
    is_closed = are_trusted and hint("openWorldHint") is False
    effects = {":read" if is_read_only else ":write"}
    effects |= set() if is_gentle else {":destructive"}
    effects |= {":network"} if is_remote or not is_closed else set()
    effects |= set() if is_remote else {":process"}
    return tuple(sorted(effects))


def card_of_tool(
    server: McpServer, tool: Mapping[str, Any]
) -> tuple[CapabilityCard, tuple[tuple[str, str], ...]]:
    """The card of one tool, and notes on its schema: (path, sentence).

    Args:
        tool: As in ``tools/list``, decoded; nothing of it is trusted to have a type.

    Raises:
        CardRefused: it has no name that an id can be made of, or its parts cannot be taken.
    """
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise CardRefused("it has no name")
    schema = tool.get("inputSchema")
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
        raise CardRefused("its inputSchema is not that of an object")
    execution = tool.get("execution")
    if isinstance(execution, Mapping) and execution.get("taskSupport") == "required":
        raise CardRefused("it can only be called as a task, and a planner waits for its results")
    annotations = tool.get("annotations")
    hints = annotations if isinstance(annotations, Mapping) else {}
    reading = inputs_of_json_schema(schema)
    description = tool.get("description") or tool.get("title")
    known = KnownSecrets(server.secrets().values | secrets_in_schema(schema))
    card = CapabilityCard(
        id=tool_id(server.server, name),
        expects_context_keys=tuple(spec.key for spec in reading.inputs),
        trust_tier=capped_tier(server.trust_tier, at_most="T2"),
        local=bool(server.command),
        doc=description if isinstance(description, str) else None,
        inputs=reading.inputs,
        effects=effects_of(hints, is_remote=bool(server.url), are_trusted=server.are_hints_trusted),
    )
    return checked_capability(card, known=known), reading.notes


def cards_of_tools(server: McpServer, tools: list[Any]) -> RegistryReading:
    """Cards of a listing; of two tools with one name the first is taken."""
    cards: dict[str, CapabilityCard] = {}
    rows: list[QuarantineRow] = []
    for at, tool in enumerate(tools):
        position = f"tools[{at}]"
        try:
            if not isinstance(tool, Mapping):
                raise CardRefused("it is not an object")
            card, notes = card_of_tool(server, tool)
            if card.id in cards:
                raise CardRefused("an earlier tool has this name")
        except CardRefused as error:
            rows.append(QuarantineRow(source=server.name, position=position, reason=error.reason))
            continue
        cards[card.id] = card
        rows += [
            QuarantineRow(
                source=server.name,
                position=f"{position}.inputSchema{'.' + path if path else ''}"[:300],
                reason=sentence,
                kind="input",
                is_left_out=False,
            )
            for path, sentence in notes
        ]
    reading = RegistryReading(capabilities=tuple(cards.values()), quarantine=tuple(rows))
    return merged_readings([reading])
