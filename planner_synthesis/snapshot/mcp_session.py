"""A conversation with one MCP server, for code that is not asynchronous.

Belongs here: connecting, listing page by page, calling, deadlines; the only imports of the SDK.
Does not: what a tool means (``mcp``), what a planner may call (``mcp_host``).
Source: Model Context Protocol; the official `mcp` SDK 2.x, an extra.

The SDK refuses a whole page for one tool that it cannot read. A tool like that is taken out of the
page before the SDK sees it and reported, so that it costs no other.
"""

import os
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self

from planner_synthesis.addresses import is_this_machine
from planner_synthesis.extras import missing_extra
from planner_synthesis.snapshot.mcp import McpServer, SessionReason, cards_of_tools
from planner_synthesis.snapshot.reading import QuarantineRow, RegistryReading
from planner_synthesis.snapshot.redaction import redact

try:
    import anyio
    import httpx2
    from anyio.from_thread import start_blocking_portal
    from mcp import Client, MCPError, StdioServerParameters, stdio_client
    from mcp.client.streamable_http import streamable_http_client
except ImportError as error:
    raise missing_extra(error, "mcp", libraries=("anyio", "httpx2", "mcp")) from error

MAX_PAGES: Final = 1_000
MAX_RESPONSE_BYTES: Final = 32 * 1024 * 1024  # of one HTTP response
SHUTDOWN_S: Final = 15.0  # the SDK itself gives a server about six seconds to end
REQUEST_TIMEOUT: Final = -32001  # JSON-RPC code of a request that was not answered in time
FORBIDDEN: Final = (401, 403)  # HTTP statuses
CONNECTION_CLOSED: Final = -32000  # as the SDK says it; servers have other messages for this code


class McpFailure(Exception):
    """A server could not be talked to; ``reason`` is for code, ``message`` for people."""

    def __init__(self, reason: SessionReason, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


def sifted_tool(tool: Any) -> dict[str, Any] | None:
    """What of a tool the SDK can read and a card needs; None when that makes no tool."""
    if not isinstance(tool, Mapping) or not isinstance(tool.get("name"), str):
        return None
    schema = tool.get("inputSchema")
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
        return None
    sifted: dict[str, Any] = {
        "name": tool["name"],
        "inputSchema": {"type": "object", **schema},
    }
    for field in ("title", "description"):
        if isinstance(tool.get(field), str):
            sifted[field] = tool[field]
    hints = tool.get("annotations")
    if isinstance(hints, Mapping):
        sifted["annotations"] = {name: on for name, on in hints.items() if isinstance(on, bool)}
    execution = tool.get("execution")
    if isinstance(execution, Mapping) and execution.get("taskSupport") == "required":
        sifted["execution"] = {"taskSupport": "required"}
    return sifted


def _for_the_sdk(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool whose schemas say no more than the SDK's own types hold; cards are made of the rest.

    It never has the output schema either: the SDK would check results by it, with patterns of the
    server's choice.
    """
    schema = dict(tool["inputSchema"])
    listed, required = schema.get("properties"), schema.get("required")
    properties = listed.items() if isinstance(listed, Mapping) else ()
    names = required if isinstance(required, list) else []
    schema["properties"] = {key: one for key, one in properties if isinstance(one, Mapping)}
    schema["required"] = [name for name in names if isinstance(name, str)]
    if not isinstance(schema.get("$schema", ""), str):
        del schema["$schema"]
    return {**tool, "inputSchema": schema}


class _SiftedStream:
    """The SDK's stream of incoming messages, with unreadable tools taken out of listings."""

    def __init__(self, stream: Any, pages: list[list[Any]]) -> None:
        self._stream, self._pages = stream, pages

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def receive(self) -> Any:
        received = await self._stream.receive()
        result = getattr(getattr(received, "message", None), "result", None)
        if isinstance(result, dict) and isinstance(result.get("tools"), list):
            self._pages.append(result["tools"])
            sifted = [sifted_tool(tool) for tool in result["tools"]]
            result["tools"] = [_for_the_sdk(tool) for tool in sifted if tool is not None]
        return received

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stream.aclose()


class _CappedStream(httpx2.AsyncByteStream):
    """A response's body that ends in an error where it is too long; the SDK caps only events."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        n_bytes = 0
        async for chunk in self._stream:
            n_bytes += len(chunk)
            if n_bytes > MAX_RESPONSE_BYTES:
                raise httpx2.ReadError(f"the answer has more than {MAX_RESPONSE_BYTES} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _cap(response: Any) -> None:
    """Keep a response from filling the memory, packed or not."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise httpx2.ReadError("the answer is packed, which was not asked for")
    response.stream = _CappedStream(response.stream)


@asynccontextmanager
async def _transport(
    server: McpServer, pages: list[list[Any]], refusals: list[int]
) -> AsyncIterator[Any]:
    async def take_note(response: Any) -> None:
        if response.request.method == "POST":
            refusals[:] = [response.status_code] if response.is_error else []

    async with AsyncExitStack() as stack:
        if server.command:
            parameters = StdioServerParameters(
                command=server.command[0], args=list(server.command[1:]), env=dict(server.env)
            )
            # what a server writes to its error output may hold anything, secrets too
            with Path(os.devnull).open("w", encoding="utf-8") as silence:
                streams = await stack.enter_async_context(stdio_client(parameters, errlog=silence))
        else:
            http = await stack.enter_async_context(
                httpx2.AsyncClient(
                    headers={"Accept-Encoding": "identity", **server.headers},
                    timeout=max(server.timeout_s, server.per_call_s),
                    event_hooks={"response": [take_note, _cap]},
                    trust_env=not is_this_machine(server.url),
                )
            )
            streams = await stack.enter_async_context(
                streamable_http_client(server.url, http_client=http)
            )
        yield _SiftedStream(streams[0], pages), streams[1]


class McpSession:
    """An open conversation, to be used in a ``with`` statement and by one thread at a time.

    Every method ends within the server's timeouts, whatever the server does; closing may take
    ``SHUTDOWN_S`` more.
    """

    def __init__(self, server: McpServer) -> None:
        self.server = server
        self._known = server.secrets()
        self._pages: list[list[Any]] = []
        self._refusals: list[
            int
        ] = []  # HTTP statuses from 400 of what was sent; the SDK hides them
        self._stack = ExitStack()
        self._client: Any = None

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            McpFailure: the server cannot be reached, does not speak MCP, or takes too long.
        """
        self._portal = self._stack.enter_context(start_blocking_portal())
        self._stop: Any = self._portal.call(anyio.Event)
        started: Future[Any] = Future()
        self._whole = self._portal.start_task_soon(self._converse, started)
        try:
            self._client = started.result(self.server.timeout_s)
        except BaseException as error:
            self._whole.cancel()
            self._stack.close()
            raise self._failure(error) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._portal.call(self._stop.set)
        try:
            self._whole.result(SHUTDOWN_S)
        except BaseException as error:  # the conversation is over; how it ended changes nothing
            self._whole.cancel()
            if isinstance(error, KeyboardInterrupt):
                raise
        finally:
            self._stack.close()

    async def _converse(self, started: "Future[Any]") -> None:
        try:
            client = Client(
                _transport(self.server, self._pages, self._refusals),
                read_timeout_seconds=self.server.timeout_s,
            )
            async with client:
                started.set_result(client)
                await self._stop.wait()
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            raise

    def _failure(self, error: BaseException) -> McpFailure:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, KeyboardInterrupt):
            raise error
        message = redact(str(error).split("\n", 1)[0], known=self._known)[:300]
        told = f"{type(error).__name__}: {message}" if message else type(error).__name__
        code = error.code if isinstance(error, MCPError) else None
        if isinstance(error, TimeoutError | httpx2.TimeoutException) or code == REQUEST_TIMEOUT:
            return McpFailure("timeout", "no answer in the time that it is given")
        for status in self._refusals:
            if status in FORBIDDEN:
                return McpFailure("unreachable", f"the server refuses: HTTP status {status}")
            told += f" (HTTP status {status})"
        if isinstance(error, OSError | httpx2.HTTPError | CancelledError):
            return McpFailure("unreachable", f"the server cannot be reached: {told}")
        if code == CONNECTION_CLOSED and message == "Connection closed":
            return McpFailure("unreachable", "the server ended or closed the connection")
        return McpFailure("protocol", f"the server does not speak MCP as expected: {told}")

    def _await(self, function: Any, *args: Any, timeout_s: float) -> Any:
        pending = self._portal.start_task_soon(function, *args)
        try:
            return pending.result(max(timeout_s, 0.0))
        except BaseException as error:
            pending.cancel()
            raise self._failure(error) from None

    def list_page(self, cursor: str | None, *, timeout_s: float) -> tuple[list[Any], str | None]:
        """One page of tools as the server sent them, and the cursor of the next.

        Raises:
            McpFailure: no page came.
        """

        async def ask() -> Any:
            return await self._client.list_tools(cursor=cursor, cache_mode="refresh")

        self._pages.clear()
        result = self._await(ask, timeout_s=timeout_s)
        kept = {tool.name for tool in result.tools}
        sent = [tool for page in self._pages for tool in page]
        return [_unless_dropped(tool, kept) for tool in sent], result.next_cursor

    def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a tool.

        Returns:
            ``CallToolResult`` as JSON: ``content``, ``structuredContent``, ``isError``.

        Raises:
            McpFailure: no result came.
        """

        async def ask() -> Any:
            return await self._client.call_tool(
                tool, arguments, read_timeout_seconds=self.server.per_call_s
            )

        result = self._await(ask, timeout_s=self.server.per_call_s)
        dumped: dict[str, Any] = result.model_dump(by_alias=True, exclude_unset=True, mode="json")
        return dumped


def _unless_dropped(tool: Any, kept: set[str]) -> Any:
    sifted = sifted_tool(tool)
    if sifted is None:
        return tool
    return sifted if sifted["name"] in kept else {"name": None}


def listed_tools(session: McpSession) -> tuple[list[Any], QuarantineRow | None]:
    """All tools of a server within its deadline, and why there may be more."""
    tools: list[Any] = []
    seen: set[str] = set()
    cursor: str | None = None
    deadline = time.monotonic() + session.server.timeout_s
    for _ in range(MAX_PAGES):
        try:
            page, cursor = session.list_page(cursor, timeout_s=deadline - time.monotonic())
        except McpFailure as failure:
            return tools, _source_row(session.server, failure.message, f"tools[{len(tools)}]")
        tools += page
        if len(tools) > session.server.max_tools:
            reason = f"it lists more than {session.server.max_tools} tools"
            return tools[: session.server.max_tools], _source_row(
                session.server, reason, f"tools[{session.server.max_tools}]"
            )
        if cursor is None:
            return tools, None
        if cursor in seen:
            break
        seen.add(cursor)
    reason = "its pages do not end"
    return tools, _source_row(session.server, reason, f"tools[{len(tools)}]")


def _source_row(server: McpServer, reason: str, position: str = "") -> QuarantineRow:
    return QuarantineRow(source=server.name, position=position, reason=reason, kind="source")


def read_server(server: McpServer) -> RegistryReading:
    """Connect, list every tool, close. What fails is a row; tools listed before it are kept."""
    try:
        with McpSession(server) as session:
            tools, row = listed_tools(session)
    except McpFailure as failure:
        return RegistryReading(quarantine=(_source_row(server, failure.message),))
    reading = cards_of_tools(server, tools)
    rows = (*reading.quarantine, *((row,) if row else ()))
    return RegistryReading(capabilities=reading.capabilities, quarantine=rows)
