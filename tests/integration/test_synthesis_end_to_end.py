"""From a conversation to a tool that is really called: collector, schema, snapshot, planner, run.

The MCP servers are real processes; the SDK speaks to them over stdio and over HTTP.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from planner_synthesis import (
    AgentHost,
    AgentRegistry,
    InteractionTurn,
    MemorySink,
    PlannerGenContext,
    PlannerSynthesis,
    RuntimeContext,
    check_planner,
    context_from_schema,
    discover_registry_snapshots,
    explain_synthesis,
    extract_skills,
    generate_planner_generic,
    schema_from_history,
)
from planner_synthesis.collector import DEMO_ANSWERS, DEMO_PROMPTS, collect_turns
from planner_synthesis.mcp_host import McpHost
from planner_synthesis.preflight import callable_effects
from planner_synthesis.rtfs import Map, evaluate
from planner_synthesis.security import RegistryGate
from planner_synthesis.snapshot.ccos import CcosExport
from planner_synthesis.snapshot.mcp import McpServer
from planner_synthesis.telemetry_otel import attributes_of
from planner_synthesis.types import CapabilityCard, RegistrySnapshot
from tests.unit.synthesis.mcp_servers import a_stdio_server, an_http_server

ROOT = Path(__file__).parents[2]


def controlled(*ids: str) -> RuntimeContext:
    return RuntimeContext(level="controlled", allowed_capabilities=ids)


def a_context(
    caps: tuple[CapabilityCard, ...],
    *,
    security: RuntimeContext,
    answers: tuple[str, ...] = DEMO_ANSWERS,
) -> PlannerGenContext:
    said = iter(answers)
    turns = collect_turns(DEMO_PROMPTS, ask=lambda _: next(said))
    return PlannerGenContext(
        schema=schema_from_history(turns),
        history=turns,
        skills=extract_skills(turns),
        security=security,
        registry_caps=caps,
    )


@pytest.fixture(scope="module", params=["stdio", "http"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[McpServer, Path | None]]:
    if request.param == "stdio":
        log = tmp_path_factory.mktemp("mcp") / "calls.jsonl"
        yield a_stdio_server("gh", "--page", "3", "--log", str(log)), log
    else:
        with an_http_server("gh") as server:
            yield server, None


def run(
    synthesis: PlannerSynthesis, context: PlannerGenContext, server: McpServer
) -> tuple[Any, McpHost]:
    with McpHost([server], security=context.security, cards=context.registry_caps) as host:
        values = context_from_schema(context.schema)
        return evaluate(synthesis.rtfs, host=host, context=values), host


def test_a_conversation_ends_in_a_call_of_the_tool(served: tuple[McpServer, Path | None]) -> None:
    server, log = served
    caps, agents = discover_registry_snapshots([server])
    assert agents == ()
    context = a_context(caps, security=controlled("mcp.gh.monitor", "mcp.gh.slow"))
    synthesis = generate_planner_generic(context)
    assert synthesis.required_capabilities == ("mcp.gh.monitor",)
    report = check_planner(
        synthesis.rtfs,
        security=context.security,
        registry=callable_effects(caps, agents),
        required_capabilities=synthesis.required_capabilities,
        expects=synthesis.expects,
    )
    assert report.findings == ()
    value, host = run(synthesis, context, server)
    sent = {"repository": "mandubian/ccos", "criteria": "label:bug no:assignee"}
    assert [(call.capability_id, call.arguments, call.outcome) for call in host.calls] == [
        ("mcp.gh.monitor", sent, "ok")
    ]
    if log is not None:
        assert json.loads(log.read_text()) == {"tool": "monitor", "arguments": sent}
    assert isinstance(value, Map)
    assert value.index["keyword", "status"] == "processing"
    result = value.index["keyword", "result"]
    assert isinstance(result, Map)
    assert result.index["keyword", "watching"] == "mandubian/ccos"


def test_a_forbidden_tool_ends_in_requires_agent(served: tuple[McpServer, Path | None]) -> None:
    server, _ = served
    caps, _ = discover_registry_snapshots([server])
    for security in (
        RuntimeContext(),
        controlled("mcp.gh.slow"),
        RuntimeContext(level="full", denied_effects=(":write",)),
    ):
        context = a_context(caps, security=security)
        synthesis = generate_planner_generic(context)
        trace = synthesis.decision_trace
        assert (trace.template, synthesis.required_capabilities) == ("requires-agent", ())
        assert "monitor" not in msgspec.json.encode(trace).decode(), "what is forbidden is counted"
        assert trace.n_not_allowed > 0
        value, host = run(synthesis, context, server)
        assert isinstance(value, Map)
        assert value.index["keyword", "status"] == "requires-agent"
        assert host.calls == []


def test_a_planner_that_is_forbidden_only_later_is_stopped_by_the_host() -> None:
    server = a_stdio_server("gh")
    caps, _ = discover_registry_snapshots([server])
    allowed = a_context(caps, security=controlled("mcp.gh.monitor"))
    synthesis = generate_planner_generic(allowed)
    later = msgspec.structs.replace(allowed, security=controlled("mcp.gh.slow"))
    with pytest.raises(Exception, match="not allowed") as stopped:
        run(synthesis, later, server)
    assert type(stopped.value).__name__ == "SecurityViolation"


def test_answers_that_look_like_code_reach_the_tool_as_data() -> None:
    server = a_stdio_server("gh")
    caps, _ = discover_registry_snapshots([server])
    answers = ('")) (call "mcp.gh.delete_everything" {}) ; \n', ":context {:a [")
    context = a_context(caps, security=controlled("mcp.gh.monitor"), answers=answers)
    synthesis = generate_planner_generic(context)
    assert synthesis.required_capabilities == ("mcp.gh.monitor",)
    _, host = run(synthesis, context, server)
    (call,) = host.calls
    assert call.capability_id == "mcp.gh.monitor"
    assert sorted((call.arguments or {}).values()) == sorted(answer.strip() for answer in answers)


def test_a_complex_conversation_ends_in_an_agent_that_calls_several_tools(tmp_path: Path) -> None:
    """Agent synthesis, registration, delegation, and a run of its plan with real tools."""
    server = a_stdio_server("gh")
    caps, _ = discover_registry_snapshots([server])
    said = [
        *zip(DEMO_PROMPTS, DEMO_ANSWERS, strict=True),
        ("Which email should be notified after that?", "joe@example.org"),
        (DEMO_PROMPTS[1], "label:critical"),
        (DEMO_PROMPTS[1], "label:p0"),
    ]
    turns = tuple(
        InteractionTurn(turn_index=at, prompt=prompt, answer=answer)
        for at, (prompt, answer) in enumerate(said)
    )
    registry = AgentRegistry(tmp_path / "agents")
    context = PlannerGenContext(
        schema=schema_from_history(turns),
        history=turns,
        security=RuntimeContext(level="full"),
        registry_caps=tuple(
            card for card in caps if card.id in ("mcp.gh.monitor", "mcp.gh.notify")
        ),
    )
    synthesis = generate_planner_generic(context, agent_registry=registry)
    assert synthesis.agent is not None
    assert synthesis.agent.required_capabilities == ("mcp.gh.monitor", "mcp.gh.notify")
    assert synthesis.required_capabilities == (synthesis.agent.agent_id,)
    effects = callable_effects(context.registry_caps, registry.cards())
    gate = RegistryGate(context.security, effects)
    with McpHost([server], security=context.security, cards=caps) as tools:
        host = AgentHost(tools, registry.get, gate)
        value = evaluate(synthesis.rtfs, host=host, context=context_from_schema(context.schema))
    assert [(call.capability_id, call.arguments, call.outcome) for call in tools.calls] == [
        ("mcp.gh.monitor", {"repository": "mandubian/ccos", "criteria": "label:p0"}, "ok"),
        ("mcp.gh.notify", {"email": "joe@example.org"}, "ok"),
    ]
    assert isinstance(value, Map)
    assert value.index["keyword", "status"] == "processing"


def test_no_canary_reaches_any_output(tmp_path: Path) -> None:
    """Secrets in an MCP server's descriptions and in a CCOS export, through every output."""
    export = tmp_path / "ccos.json"
    manifest = {
        "id": "ccos.monitor",
        "description": "Monitor with key CANARY-TOKEN-1",
        "provider": {"Http": {"base_url": "https://u:CANARY-PW-2@h/x?k=CANARY-Q-3",
                              "auth_token": "CANARY-TOKEN-1", "timeout_ms": 1}},
        "metadata": {"context/keys": "repository,criteria", "api_key": "CANARY-META-4"},
        "attestation": {"signature": "CANARY-SIG-5", "authority": "a"},
    }  # fmt: skip
    export.write_text(json.dumps({"capabilities": [manifest], "agents": []}))
    rows: list[Any] = []
    caps, agents = discover_registry_snapshots(
        [a_stdio_server("gh"), CcosExport(path=export)], on_quarantine=rows.append
    )
    ids = controlled(*(card.id for card in caps))
    sink = MemorySink()
    context = a_context(caps, security=ids)
    synthesis = generate_planner_generic(context, sink=sink)
    outputs = [
        repr(caps), repr(agents), repr(rows), msgspec.json.encode(synthesis).decode(),
        explain_synthesis(synthesis), repr(sink.events), repr(attributes_of(sink.events[0])),
    ]  # fmt: skip
    assert synthesis.decision_trace.selected is not None
    assert [text for text in outputs if "CANARY" in text] == []


WORKER = """
import sys, msgspec
from planner_synthesis import PlannerGenContext, generate_planner_generic
context = msgspec.json.decode(sys.stdin.buffer.read(), type=PlannerGenContext)
sys.stdout.buffer.write(msgspec.json.encode(generate_planner_generic(context)))
"""


def test_neither_the_order_of_the_registry_nor_the_hash_seed_matters(tmp_path: Path) -> None:
    servers = [a_stdio_server("gh"), a_stdio_server("lab")]
    caps, _ = discover_registry_snapshots(servers)
    assert (caps, ()) == discover_registry_snapshots(servers[::-1])
    context = a_context(caps, security=RuntimeContext(level="full"))
    answers = set()
    for seed in ("0", "1", "4242"):
        shuffled = list(caps)
        random.Random(int(seed)).shuffle(shuffled)
        request = msgspec.structs.replace(context, registry_caps=tuple(shuffled))
        done = subprocess.run(
            [sys.executable, "-c", WORKER],
            input=msgspec.json.encode(request),
            capture_output=True,
            check=True,
            timeout=120,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        )
        answers.add(done.stdout)
    assert len(answers) == 1
    assert b"mcp.gh.monitor" in answers.pop(), "of two equal tools the first by id"


def test_the_base_distribution_imports_everything_but_the_extras() -> None:
    """Every module that needs no extra is there without one, and says which where it needs one."""
    poisoned = ("mcp", "anyio", "httpx", "httpx2", "opentelemetry", "numpy", "pydantic")
    code = f"""
import sys, importlib, pkgutil
for name in {poisoned!r}:
    sys.modules[name] = None
import planner_synthesis
from planner_synthesis.extras import MissingExtra
missing = []
for module in pkgutil.walk_packages(planner_synthesis.__path__, "planner_synthesis."):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except MissingExtra as error:
        missing.append((module.name, error.extra))
print(sorted(missing))
from planner_synthesis.__main__ import main
sys.exit(main(["snapshot", "mcp", "--stdio", "x"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip() == str(
        [
            ("planner_synthesis.http_exchange", "arbiter"),
            ("planner_synthesis.snapshot.mcp_session", "mcp"),
            ("planner_synthesis.telemetry_otel", "otel"),
        ]
    )
    assert (done.returncode, done.stderr) == (
        2,
        "error: this needs more: pip install 'cyntra-planner[mcp]'\n",
    )


def test_two_servers_cannot_be_mistaken_for_one_another() -> None:
    caps, _ = discover_registry_snapshots([a_stdio_server("gh"), a_stdio_server("lab")])
    snapshot = RegistrySnapshot(capabilities=caps)
    assert len({card.id for card in snapshot.capabilities}) == len(caps)
    context = a_context(caps, security=controlled("mcp.lab.monitor"))
    synthesis = generate_planner_generic(context)
    assert synthesis.required_capabilities == ("mcp.lab.monitor",)
    servers = [a_stdio_server("gh"), a_stdio_server("lab")]
    with McpHost(servers, security=context.security, cards=caps) as host:
        evaluate(synthesis.rtfs, host=host, context=context_from_schema(context.schema))
    assert [(call.capability_id, call.outcome) for call in host.calls] == [
        ("mcp.lab.monitor", "ok")
    ]
