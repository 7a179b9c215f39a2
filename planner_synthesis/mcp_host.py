"""A host whose capabilities are tools of MCP servers: `(call "mcp.<server>.<tool>" ...)` runs one.

Belongs here: what a planner may call, its arguments as JSON, results as RTFS values, typed errors.
Does not: talking to servers (``snapshot.mcp_session``), cards (``snapshot.mcp``).
Source: rtfs.md 1.4, 2.5 and 2.6 (the host enforces the runtime context and logs each call); Model
Context Protocol, `tools/call`.

A planner hands over its context, ``{:context {...}}``; a tool gets of it what its schema names and
nothing else. Nil stands for "no value": such an argument is not sent.
"""

import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any, Final, Literal, Protocol, Self

import msgspec

from planner_synthesis.documents import canonical_bytes
from planner_synthesis.extras import MissingExtra
from planner_synthesis.rtfs.errors import BadJson, HostFailure, SecurityViolation
from planner_synthesis.rtfs.forms import Form, Kw, List, Map, Vector
from planner_synthesis.rtfs.json_values import from_python
from planner_synthesis.snapshot.json_schema import inputs_of_json_schema
from planner_synthesis.snapshot.mcp import McpServer, SessionReason, cards_of_tools, tool_id
from planner_synthesis.snapshot.redaction import redact
from planner_synthesis.types import CapabilityCard, RuntimeContext

MAX_RESULT_BYTES: Final = 1024 * 1024
CallReason = Literal[SessionReason, "unknown", "tool", "arguments", "too large"]


class McpCallFailed(HostFailure):
    """A tool was not called, or did not do what was asked; ``reason`` is for code."""

    def __init__(self, capability_id: str, reason: CallReason, message: str) -> None:
        super().__init__(capability_id, message)
        self.reason = reason


class McpCall(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the host's log.

    Attributes:
        arguments: As sent; None where nothing was sent.
        outcome: ``ok``, ``forbidden`` or the reason of the failure.
    """

    capability_id: str
    arguments: dict[str, Any] | None
    outcome: str
    duration_ms: float


class ToolSession(Protocol):
    """An open conversation with one server; ``snapshot.mcp_session.McpSession`` is one."""

    server: McpServer

    def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a tool; ``CallToolResult`` as JSON."""
        ...


class _OpenServer:
    """A conversation and the tools that it listed."""

    def __init__(self, session: ToolSession, tools: Iterable[Any]) -> None:
        listed = [tool for tool in tools if isinstance(tool, Mapping)]
        self.session = session
        self.cards = {card.id: card for card in cards_of_tools(session.server, listed).capabilities}
        self.tools: dict[str, Mapping[str, Any]] = {}
        for tool in listed:
            if isinstance(tool.get("name"), str):
                self.tools.setdefault(tool_id(session.server.server, tool["name"]), tool)


class McpHost:
    """Calls MCP tools for a planner; use it in a ``with`` statement.

    A server is started when a planner first calls one of its tools, after the call was allowed.

    Args:
        servers: Whose tools may be called.
        security: What is allowed, by id and by effects.
        cards: The snapshot that the planner was made from. A tool whose card is now another is not
            called: what was checked is not what would run. Without it, what the server says when
            it is asked counts.
    """

    def __init__(
        self,
        servers: Sequence[McpServer],
        *,
        security: RuntimeContext,
        cards: Iterable[CapabilityCard] = (),
    ) -> None:
        self.servers = {server.server: server for server in servers}
        self.security = security
        self.cards = {card.id: card for card in cards}
        self.calls: list[McpCall] = []
        self.steps: list[str] = []
        self._open: dict[str, _OpenServer] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Nothing is started yet.

        Raises:
            MissingExtra: there are servers, and the extra ``mcp`` is not installed.
        """
        if self.servers and find_spec("mcp") is None:
            raise MissingExtra("mcp")
        return self

    def __exit__(self, *_: object) -> None:
        self._open.clear()
        self._stack.close()

    def step(self, name: str) -> None:
        """Take note of a step."""
        self.steps.append(name)

    def call(self, capability_id: str, args: Sequence[Any]) -> Any:
        """Call a tool.

        Args:
            capability_id: ``mcp.<server>.<tool>``.
            args: None, or one map.

        Returns:
            The structured result; without one the text, or a vector of contents.

        Raises:
            SecurityViolation: not allowed by level or effects, or no longer the tool of the
                snapshot.
            McpCallFailed: anything else that can go wrong.
        """
        started = time.monotonic()
        arguments: dict[str, Any] | None = None
        outcome = "forbidden"
        try:
            self._enforce_level(capability_id)
            outcome = "unknown"
            opened = self._opened(capability_id)
            outcome = "forbidden"
            self._enforce_card(capability_id, opened)
            outcome = "arguments"
            arguments = arguments_of(capability_id, args, opened.tools[capability_id])
            result = opened.session.call(capability_id.split(".", 2)[2], arguments)
            value = value_of_result(capability_id, result, server=opened.session.server)
            outcome = "ok"
        except McpCallFailed as failure:
            outcome = failure.reason
            raise
        except SecurityViolation:
            raise
        except Exception as error:
            typed = self._typed(capability_id, error)
            outcome = typed.reason
            raise typed from None
        finally:
            self.calls.append(
                McpCall(
                    capability_id=capability_id,
                    arguments=arguments,
                    outcome=outcome,
                    duration_ms=(time.monotonic() - started) * 1000,
                )
            )
        return value

    def _typed(self, capability_id: str, error: Exception) -> McpCallFailed:
        from planner_synthesis.snapshot.mcp_session import McpFailure

        if isinstance(error, McpFailure):
            return McpCallFailed(capability_id, error.reason, error.message)
        raise error

    def _enforce_level(self, capability_id: str) -> None:
        if not self.security.is_capability_allowed(capability_id):
            raise SecurityViolation(capability_id)
        card = self.cards.get(capability_id)
        if card is not None and not self.security.are_effects_allowed(card.effects):
            raise SecurityViolation(capability_id, "not allowed: its effects are denied")

    def _opened(self, capability_id: str) -> _OpenServer:
        parts = capability_id.split(".", 2)
        server = self.servers.get(parts[1]) if len(parts) == 3 and parts[0] == "mcp" else None
        if server is None:
            raise McpCallFailed(capability_id, "unknown", "no MCP server of this host has this id")
        opened = self._open.get(server.server)
        if opened is None:
            from planner_synthesis.snapshot.mcp_session import McpSession, listed_tools

            session = self._stack.enter_context(McpSession(server))
            opened = self._open[server.server] = _OpenServer(session, listed_tools(session)[0])
        if capability_id not in opened.cards:
            raise McpCallFailed(capability_id, "unknown", "the server has no such tool")
        return opened

    def _enforce_card(self, capability_id: str, opened: _OpenServer) -> None:
        card = opened.cards[capability_id]
        known = self.cards.get(capability_id)
        if self.cards and known is None:
            raise SecurityViolation(capability_id, "not in the snapshot")
        if known is not None and _as_said(known) != _as_said(card):
            raise SecurityViolation(capability_id, "no longer the tool of the snapshot")
        if not self.security.are_effects_allowed((known or card).effects):
            raise SecurityViolation(capability_id, "not allowed: its effects are denied")


def _as_said(card: CapabilityCard) -> bytes:
    """What the server says of a tool; tier, place and effects are its reader's."""
    return canonical_bytes(msgspec.structs.replace(card, trust_tier="", local=False, effects=()))


def arguments_of(
    capability_id: str, args: Sequence[Any], tool: Mapping[str, Any]
) -> dict[str, Any]:
    """What a tool is sent.

    ``{:context {...}}`` means those entries of that map that the tool's schema names, unless the
    tool itself has an input named ``context``. Any other map is sent as it is.

    Raises:
        McpCallFailed: there is more than one argument, it is no map, or holds what JSON cannot.
    """
    if len(args) > 1 or (args and not isinstance(args[0], Map)):
        raise McpCallFailed(capability_id, "arguments", "a tool takes one map")
    names = {spec.key for spec in inputs_of_json_schema(tool.get("inputSchema")).inputs}
    given: dict[str, Any] = json_of(capability_id, args[0]) if args else {}
    inner = given.get("context")
    if given.keys() == {"context"} and "context" not in names and isinstance(inner, dict):
        given = {key: value for key, value in inner.items() if key in names}
    return {key: value for key, value in given.items() if value is not None}


def json_of(capability_id: str, value: Any) -> Any:
    """An RTFS value as JSON; a keyword is its name, and so is a key.

    Raises:
        McpCallFailed: a function, a symbol, a number that JSON lacks, or two keys of one name.
    """
    is_number = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    if value is None or isinstance(value, str) or is_number:
        return value
    if isinstance(value, Kw):
        return value.name
    if isinstance(value, Vector | List):
        return [json_of(capability_id, item) for item in value.items]
    if isinstance(value, Map):
        pairs = [
            (key.name if isinstance(key, Kw) else str(key), json_of(capability_id, item))
            for key, item in value.entries
        ]
        if len(dict(pairs)) != len(pairs):
            raise McpCallFailed(capability_id, "arguments", "two keys of a map have one name")
        return dict(pairs)
    raise McpCallFailed(capability_id, "arguments", "JSON has no such value")


def rtfs_of(capability_id: str, value: Any) -> Form:
    """JSON as an RTFS value: objects are maps with keyword keys where a key can be one.

    Raises:
        McpCallFailed: a whole number of more than 64 bits, text that is not Unicode.
        FormTooDeep: nested deeper than a form may be.
    """
    try:
        return from_python(value)
    except BadJson as error:
        raise McpCallFailed(capability_id, "protocol", f"the result: {error.reason}") from error


def value_of_result(capability_id: str, result: Mapping[str, Any], *, server: McpServer) -> Form:
    """What a tool gave, as an RTFS value.

    Raises:
        McpCallFailed: the tool says that it failed, or gave more than ``MAX_RESULT_BYTES``.
    """
    content = [part for part in result.get("content") or [] if isinstance(part, Mapping)]
    texts = [str(part.get("text", "")) for part in content if part.get("type") == "text"]
    if result.get("isError"):
        told = redact(" ".join(texts)[:2_000], known=server.secrets())
        told = re.sub(r"\s+", " ", told).strip()[:300]
        raise McpCallFailed(capability_id, "tool", told or "the tool says that it failed")
    if len(msgspec.json.encode(result)) > MAX_RESULT_BYTES:
        raise McpCallFailed(
            capability_id, "too large", f"the result has more than {MAX_RESULT_BYTES} bytes"
        )
    if result.get("structuredContent") is not None:
        return rtfs_of(capability_id, result["structuredContent"])
    if len(texts) == len(content) == 1:
        return texts[0]
    return rtfs_of(capability_id, [_told_part(part) for part in content])


def _told_part(part: Mapping[str, Any]) -> Any:
    """Text as it is; of a resource or a link what it is, where, and its text. No picture or sound.

    A field that is not there is left out.
    """
    if part.get("type") == "text":
        return str(part.get("text", ""))
    inner = part.get("resource")
    said = inner if isinstance(inner, Mapping) else part
    told = {"type": part.get("type"), "mime-type": said.get("mimeType")}
    told |= {name: said.get(name) for name in ("uri", "name", "title", "text")}
    return {name: value for name, value in told.items() if isinstance(value, str)}
