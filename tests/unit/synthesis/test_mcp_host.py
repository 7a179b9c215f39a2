"""A planner's calls of MCP tools: really made, only where allowed, every failure typed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_synthesis.mcp_host import (
    McpCallFailed,
    McpHost,
    arguments_of,
    json_of,
    rtfs_of,
    value_of_result,
)
from planner_synthesis.rtfs.errors import RtfsError, SecurityViolation
from planner_synthesis.rtfs.forms import Kw, List, Map, Sym, Vector
from planner_synthesis.snapshot.mcp import McpServer
from planner_synthesis.types import RuntimeContext
from tests.unit.synthesis.mcp_servers import a_rude_server, a_stdio_server, an_http_server

FULL = RuntimeContext(level="full")


def a_map(**entries: Any) -> Map:
    return Map(tuple((Kw(key), value) for key, value in entries.items()))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[McpHost, Path]]:
    log = tmp_path_factory.mktemp("mcp") / "calls.jsonl"
    server = a_stdio_server("gh", "--log", str(log), "--page", "100")
    with McpHost([server], security=FULL) as host:
        yield host, log


@pytest.fixture
def log(shared: tuple[McpHost, Path]) -> Path:
    shared[1].unlink(missing_ok=True)
    return shared[1]


@pytest.fixture
def host(shared: tuple[McpHost, Path]) -> McpHost:
    shared[0].calls.clear()
    return shared[0]


def calls_in(log: Path) -> list[Any]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_a_tool_is_really_called_and_gets_what_it_names_and_nothing_else(
    host: McpHost, log: Path
) -> None:
    context = a_map(repository="a/b", criteria="bugs", limit=3, mode=None, password="mine")
    value = host.call("mcp.gh.monitor", [a_map(context=context)])
    sent = {"repository": "a/b", "criteria": "bugs", "limit": 3}
    assert calls_in(log) == [{"tool": "monitor", "arguments": sent}]
    assert value == Map(((Kw("watching"), "a/b"), (Kw("open-issues"), 3), ("odd key", None)))
    assert [(call.capability_id, call.arguments, call.outcome) for call in host.calls] == [
        ("mcp.gh.monitor", sent, "ok")
    ]


def test_a_map_that_is_no_context_is_sent_as_it_is(host: McpHost, log: Path) -> None:
    host.call("mcp.gh.echo", [a_map(context=a_map(a=1))])
    host.call("mcp.gh.slow", [])
    assert [call["arguments"] for call in calls_in(log)] == [{"context": {"a": 1}}, {}]


def test_contents_without_structure_are_text_or_a_vector(host: McpHost) -> None:
    picture = a_map(**{"type": "image", "mime-type": "image/png"})
    assert host.call("mcp.gh.many", []) == Vector(("one", "two", picture))
    assert host.call("mcp.gh.slow", [a_map(seconds=0.0)]) == a_map(seconds=0.0)


@pytest.mark.parametrize(
    ("capability_id", "args", "reason"),
    [
        ("mcp.gh.fails", [], "tool"), ("mcp.gh.none", [], "unknown"), ("mcp.no.monitor", [], "unknown"),
        ("other.id", [], "unknown"), ("mcp.gh", [], "unknown"), ("", [], "unknown"),
        ("mcp.gh.huge", [], "too large"), ("mcp.gh.echo", [1], "arguments"),
        ("mcp.gh.echo", [a_map(), a_map()], "arguments"),
        ("mcp.gh.echo", [a_map(value=float("nan"))], "arguments"),
        ("mcp.gh.echo", [a_map(value=Sym("x"))], "arguments"),
        ("mcp.gh.echo", [Map(((Kw("a"), 1), ("a", 2)))], "arguments"),
    ],
)  # fmt: skip
def test_a_failure_has_a_type_and_a_reason(
    host: McpHost, capability_id: str, args: list[Any], reason: str
) -> None:
    with pytest.raises(McpCallFailed) as failed:
        host.call(capability_id, args)
    assert failed.value.reason == reason == host.calls[-1].outcome
    assert "CANARY" not in str(failed.value)


def test_a_tool_that_takes_too_long_ends_in_time_and_the_next_call_works() -> None:
    with McpHost([a_stdio_server("gh", call_timeout_s=3)], security=FULL) as host:
        host.call("mcp.gh.many", [])
        with pytest.raises(McpCallFailed) as failed:
            host.call("mcp.gh.slow", [a_map(seconds=60.0)])
        assert failed.value.reason == "timeout"
        assert host.call("mcp.gh.slow", [a_map(seconds=0.0)]) == a_map(seconds=0.0)


@pytest.mark.parametrize(
    "security",
    [
        RuntimeContext(),
        RuntimeContext(
            level="controlled", allowed_capabilities=("mcp.gh.monito", ":mcp.gh.monitor")
        ),
        RuntimeContext(level="full", denied_effects=(":write",)),
        RuntimeContext(level="full", allowed_effects=(":read", ":process")),
    ],
)
def test_a_forbidden_tool_is_not_called(security: RuntimeContext, log: Path) -> None:
    server = a_stdio_server("gh", "--log", str(log))
    with McpHost([server], security=security) as host:
        with pytest.raises(SecurityViolation):
            host.call("mcp.gh.monitor", [])
        assert [call.outcome for call in host.calls] == ["forbidden"]
    assert calls_in(log) == []


def test_a_server_is_not_started_for_a_forbidden_call(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    server = McpServer(server="s", command=("touch", str(mark)), timeout_s=5)
    with McpHost([server], security=RuntimeContext()) as host, pytest.raises(SecurityViolation):
        host.call("mcp.s.x", [])
    assert not mark.exists()


def test_a_tool_that_changed_since_the_snapshot_is_not_called(log: Path) -> None:
    server = a_stdio_server("gh", "--log", str(log))
    cards = server.read().capabilities
    changed = [
        msgspec.structs.replace(card, doc="it was harmless")
        if card.id == "mcp.gh.monitor"
        else card
        for card in cards
        if card.id != "mcp.gh.echo"
    ]
    with McpHost([server], security=FULL, cards=changed) as host:
        for capability_id in ("mcp.gh.monitor", "mcp.gh.echo"):
            with pytest.raises(SecurityViolation, match="snapshot"):
                host.call(capability_id, [])
        host.call("mcp.gh.slow", [a_map(seconds=0.0)])
    assert [call["tool"] for call in calls_in(log)] == ["slow"]


def test_a_server_that_is_not_there_or_answers_nonsense_is_a_typed_failure() -> None:
    gone = McpServer(server="gone", command=("/no/such/program",), timeout_s=5)
    with McpHost([gone, a_rude_server("rules")], security=FULL) as host:
        for capability_id, reason in (("mcp.gone.x", "unreachable"), ("mcp.rude.good", "protocol")):
            with pytest.raises(McpCallFailed) as failed:
                host.call(capability_id, [])
            assert failed.value.reason == reason


def test_a_tool_is_called_over_http() -> None:
    with an_http_server("web") as server, McpHost([server], security=FULL) as host:
        context = a_map(context=a_map(repository="a/b", criteria="c"))
        value = host.call("mcp.web.monitor", [context])
        assert isinstance(value, Map)
        assert value.index["keyword", "watching"] == "a/b"


def test_a_server_inherits_no_secret_of_the_environment(
    host: McpHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SECRET_TOKEN", "CANARY")
    assert "MY_SECRET_TOKEN" not in str(host.call("mcp.gh.env", []))


def test_a_step_is_noted(host: McpHost) -> None:
    host.step("Ask")
    assert host.steps == ["Ask"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=15,
)  # fmt: skip


@given(JSON)
def test_json_comes_back_from_rtfs_as_it_was(value: Any) -> None:
    assert json.dumps(json_of("c", rtfs_of("c", value))) == json.dumps(value)


@given(JSON)
def test_any_result_is_a_value_or_a_typed_error(value: Any) -> None:
    server = McpServer(server="s", command=("x",))
    for result in (
        {"structuredContent": value},
        {"content": value if isinstance(value, list) else []},
    ):
        value_of_result("c", result, server=server)


def test_what_a_card_has_of_a_schemas_parts_is_sent() -> None:
    part = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a", "c"]}
    schema = {"$defs": {"P": part}, "allOf": [{"$ref": "#/$defs/P"}, {"properties": {"b": {}}}]}
    sent = a_map(context=a_map(a="x", b="y", c="z", d="other"))
    assert arguments_of("c", [sent], {"inputSchema": schema}) == {"a": "x", "b": "y", "c": "z"}


def test_a_resource_and_a_link_keep_where_they_are_and_what_they_say() -> None:
    link = {"type": "resource_link", "uri": "demo://2", "name": "two", "mimeType": "text/plain"}
    text = {"uri": "demo://1", "mimeType": "text/plain", "text": "hello"}
    packed = {"uri": "demo://3", "mimeType": "application/gzip", "blob": "H4sIAAAA"}
    embedded = [{"type": "resource", "resource": one} for one in (text, packed)]
    told = value_of_result(
        "c", {"content": [link, *embedded]}, server=McpServer(server="s", command=("x",))
    )
    assert json_of("c", told) == [
        {"type": "resource_link", "mime-type": "text/plain", "uri": "demo://2", "name": "two"},
        {"type": "resource", "mime-type": "text/plain", "uri": "demo://1", "text": "hello"},
        {"type": "resource", "mime-type": "application/gzip", "uri": "demo://3"},
    ]


def test_what_json_cannot_hold_or_rtfs_cannot_hold_is_refused() -> None:
    with pytest.raises(McpCallFailed):
        rtfs_of("c", {"n": 2**63})
    deep: Any = []
    for _ in range(400):
        deep = [deep]
    with pytest.raises(RtfsError):
        rtfs_of("c", deep)


def test_values_of_every_kind_have_their_json() -> None:
    tool = {"inputSchema": {"properties": {"k": {}}}}
    value = a_map(k=Vector((Kw("a/b"), True, None, List((1, 2.5)), Map(((3, "x"),)))))
    assert arguments_of("c", [value], tool) == {"k": ["a/b", True, None, [1, 2.5], {"3": "x"}]}
