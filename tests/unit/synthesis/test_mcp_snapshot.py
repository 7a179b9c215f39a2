"""MCP servers as registries: real servers over stdio and HTTP, well-behaved and not."""

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_synthesis.snapshot import RegistryReading
from planner_synthesis.snapshot.mcp import McpServer, cards_of_tools, server_name, tool_id
from planner_synthesis.types import InputSpec
from tests.fixtures.mcp_server import HOSTILE_NAME
from tests.unit.synthesis.local_http import a_local_server
from tests.unit.synthesis.mcp_servers import a_rude_server, a_stdio_server, an_http_server


def ids_of(reading: RegistryReading) -> set[str]:
    return {card.id for card in reading.capabilities}


def test_tools_are_listed_over_stdio_page_by_page() -> None:
    reading = a_stdio_server("gh", "--page", "2").read()
    assert reading == a_stdio_server("gh", "--page", "100").read()
    assert {"mcp.gh.monitor", "mcp.gh.slow", "mcp.gh." + HOSTILE_NAME} <= ids_of(reading)
    monitor = next(card for card in reading.capabilities if card.id == "mcp.gh.monitor")
    assert monitor.inputs == (
        InputSpec(key="criteria", type="string"),
        InputSpec(key="limit", type="int", required=False, default=10),
        InputSpec(key="mode", type="enum", required=False, enum_values=("fast", "thorough")),
        InputSpec(key="repository", type="string"),
    )
    assert (monitor.trust_tier, monitor.local) == ("T0", True)
    assert {row.kind for row in reading.quarantine} == {"input"}
    assert "CANARY" not in repr(reading)


def test_tools_are_listed_over_streamable_http() -> None:
    with an_http_server("web") as server:
        reading = server.read()
    assert ids_of(reading) == {
        card_id.replace("mcp.gh.", "mcp.web.") for card_id in ids_of(a_stdio_server("gh").read())
    }
    assert not any(card.local for card in reading.capabilities)
    assert all(":network" in card.effects for card in reading.capabilities)


def test_bad_tools_are_rows_and_cost_no_other() -> None:
    reading = a_rude_server("rules").read()
    names = ("good", "task_too", "untyped_root", "odd_parts")
    assert ids_of(reading) == {f"mcp.rude.{name}" for name in names}
    left_out = [row.position for row in reading.quarantine if row.is_left_out]
    assert left_out == [f"tools[{at}]" for at in range(1, 10)]
    assert "as a task" in reading.quarantine[8].reason
    assert "CANARY" not in repr(reading)


@pytest.mark.parametrize(
    ("mode", "n_tools", "reason"),
    [
        ("circle", 2, "do not end"), ("half", 1, ""), ("silent", 0, "no answer"),
        ("no-list", 0, "as expected"), ("drip", 2, "no answer"), ("endless", 20, "more than 20"),
    ],
)  # fmt: skip
def test_a_server_that_misbehaves_ends_in_a_row_and_keeps_what_came(
    mode: str, n_tools: int, reason: str
) -> None:
    timeout_s = 6 if n_tools else 3  # long enough for what is to come
    reading = a_rude_server(mode, timeout_s=timeout_s, max_tools=20).read()
    (row,) = [row for row in reading.quarantine if row.kind == "source"]
    assert row.reason
    assert reason in row.reason
    assert len(reading.capabilities) >= n_tools


@pytest.mark.parametrize(
    "server",
    [
        McpServer(server="s", command=("/no/such/program",)),
        McpServer(server="s", command=(sys.executable, "-c", "raise SystemExit(3)"), timeout_s=20),
        McpServer(server="s", url="http://127.0.0.1:9/mcp?token=CANARY-7777", timeout_s=20),
        McpServer(server="s", url="http://joe:CANARY-7777@127.0.0.1:9/mcp", timeout_s=20),
    ],
)
def test_a_server_that_is_not_there_is_one_row_without_secrets(server: McpServer) -> None:
    reading = server.read()
    assert reading.capabilities == ()
    assert [row.kind for row in reading.quarantine] == ["source"]
    assert "CANARY" not in repr(reading)
    assert "CANARY" not in repr(server)


@pytest.mark.parametrize(
    "behave",
    [
        lambda r: r.reply("", status=500),
        lambda r: r.reply("", status=302, headers={"Location": "http://127.0.0.1:9/elsewhere"}),
        lambda r: r.reply("no json"),
        lambda r: r.reply(b" " * 40_000_000, headers={"Content-Type": "application/json"}),
        lambda r: r.reply(
            b"x", headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}
        ),
        lambda r: r.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + b" " * 9999),
        lambda r: r.drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 900),
    ],
    ids=["500", "redirect", "text", "huge", "packed", "drips", "drips-headers"],
)
def test_an_http_server_that_does_not_speak_mcp_ends_in_a_row(behave: Any) -> None:
    with a_local_server(behave) as local:
        server = McpServer(
            server="s", url=local.url, timeout_s=2, headers={"Authorization": "Bearer CANARY-7777"}
        )
        reading = server.read()
        assert {path for _, path, _, _ in local.seen} == {"/"}
    assert (reading.capabilities, [row.kind for row in reading.quarantine]) == ((), ["source"])
    assert "CANARY" not in repr(reading)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "the server refuses: HTTP status 401"), (500, "(HTTP status 500)")],
)
def test_a_refusal_over_http_tells_its_status(status: int, reason: str) -> None:
    with a_local_server(lambda r: r.reply("CANARY", status=status)) as local:
        (row,) = McpServer(server="s", url=local.url, timeout_s=20).read().quarantine
    assert row.reason.endswith(reason)


def test_a_server_that_ends_is_said_to_have_ended() -> None:
    leaves = McpServer(server="s", command=(sys.executable, "-c", ""), timeout_s=20)
    (row,) = leaves.read().quarantine
    assert row.reason == "the server ended or closed the connection"


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "https://h/mcp", "headers": {"Authorization": "Bearer plain-words-9"}},
        {"url": "https://joe:plain-words-9@h/mcp"}, {"url": "https://h/mcp?k=plain-words-9"},
        {"command": ("x", "--token", "plain-words-9")}, {"command": ("x", "--api-key=plain-words-9")},
        {"command": ("x",), "env": {"GITHUB_TOKEN": "plain-words-9"}},
        {"command": ("x",), "env": {"GITHUB_PAT": "plain-words-9"}},
    ],
    ids=str,
)  # fmt: skip
def test_secrets_given_to_a_server_do_not_come_back_in_its_cards(fields: dict[str, Any]) -> None:
    secret = "plain-words-9"
    tool = {
        "name": "echo",
        "description": f"You sent {secret}.",
        "inputSchema": {"type": "object", "properties": {"a": {"default": secret}}},
    }
    reading = cards_of_tools(McpServer(server="s", **fields), [tool, {**tool, "name": secret}])
    assert secret not in repr(reading)
    assert len(reading.capabilities) == 1


def test_hints_take_effects_away_only_where_they_are_trusted() -> None:
    def effects(**fields: Any) -> tuple[str, ...]:
        hints = {"readOnlyHint": True, "openWorldHint": False}
        tool = {"name": "t", "inputSchema": {"type": "object"}, "annotations": hints}
        server = McpServer(server="s", command=("x",), **fields)
        return cards_of_tools(server, [tool]).capabilities[0].effects

    assert effects() == (":destructive", ":network", ":process", ":write")
    assert effects(are_hints_trusted=True) == (":process", ":read")


@given(
    st.lists(
        st.tuples(st.from_regex(r"[A-Za-z0-9_-]{1,5}", fullmatch=True), st.text()), max_size=20
    )
)
def test_two_tools_share_an_id_only_if_server_and_name_are_the_same(
    pairs: list[tuple[str, str]],
) -> None:
    assert len({tool_id(*pair) for pair in pairs}) == len(set(pairs))


@pytest.mark.parametrize("name", ["", "a.b", "a b", "a/b", "x" * 65, "é"])
def test_a_server_name_that_could_mean_two_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        McpServer(server=name, command=("x",))


@pytest.mark.parametrize(
    "fields", [{}, {"command": ("x",), "url": "http://h"}, {"url": "file:///etc/passwd"},
               {"command": ("x",), "timeout_s": 0}],
)  # fmt: skip
def test_a_server_that_cannot_be_reached_one_way_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"server|timeout"):
        McpServer(server="s", **fields)


def test_a_name_is_made_for_a_server_that_has_none() -> None:
    names = {
        server_name(command="python weather.py"), server_name(command="python weather.py --eu"),
        server_name(url="https://h.example/mcp"), server_name(url="https://h.example/other"),
    }  # fmt: skip
    assert len(names) == 4
    assert all(McpServer(server=name, command=("x",)) for name in names)
    secret = server_name(url="https://u:CANARY-1@h.example/mcp?k=CANARY-2")
    assert secret == server_name(url="https://h.example/mcp")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["name", "inputSchema", "type", "properties", "description", "annotations"])
        | st.text(max_size=3),
        inner, max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


@given(st.lists(JSON | st.fixed_dictionaries({"name": st.text(), "inputSchema": JSON}), max_size=5))
def test_any_listing_gives_cards_or_rows_for_every_tool(tools: list[Any]) -> None:
    reading = cards_of_tools(McpServer(server="s", command=("x",)), tools)
    n_left_out = sum(row.is_left_out for row in reading.quarantine)
    assert len(reading.capabilities) + n_left_out == len(tools)
