"""Commands on planners: generate, check, run, feedback, demo.

Belongs here: what each command does with what it was given, and its exit code.
Does not: arguments (``__main__``, ``command_inputs``), snapshots (``snapshot_commands``).
Source: issue 8, "CLI". Exit codes: 0 done; 1 the answer is no; 2 something given cannot be used.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from importlib import import_module
from typing import Any

import msgspec

from planner_synthesis.agent_host import AgentHost
from planner_synthesis.agent_registry import AgentRegistry, DamagedRecordError
from planner_synthesis.arbiter import ArbiterProposer
from planner_synthesis.arbiter_http import HttpArbiter
from planner_synthesis.collector import DEMO_ANSWERS, DEMO_PROMPTS, collect_turns
from planner_synthesis.command_inputs import (
    BadInput,
    named_servers,
    print_json,
    read_context,
    read_history,
    read_registry,
    read_text,
    runtime_context,
    secret_of,
    without_controls,
)
from planner_synthesis.config import DEFAULT_CONFIG, SynthesisConfig
from planner_synthesis.explain import explain_synthesis
from planner_synthesis.generate import generate_planner_generic
from planner_synthesis.mcp_host import McpHost
from planner_synthesis.preflight import PreflightReport, callable_effects, check_planner
from planner_synthesis.rtfs.errors import RtfsError
from planner_synthesis.rtfs.evaluator import evaluate
from planner_synthesis.rtfs.host import Host, HostCall, StubHost
from planner_synthesis.rtfs.json_values import to_plain_json
from planner_synthesis.schema import context_from_schema, schema_from_history
from planner_synthesis.security import RegistryGate
from planner_synthesis.skills import extract_skills
from planner_synthesis.snapshot.reading import RegistryReading
from planner_synthesis.snapshot.redaction import redact
from planner_synthesis.telemetry import JsonLinesSink
from planner_synthesis.types import PlannerGenContext, RuntimeContext


def generate(args: argparse.Namespace) -> int:
    """Write a planner for a history; JSON, or with ``--explain`` a page for people."""
    registry = read_registry(args.registry)
    agents = _agents(args)
    turns = read_history(args.history)
    context = PlannerGenContext(
        schema=schema_from_history(turns),
        history=turns,
        skills=extract_skills(turns),
        security=runtime_context(args),
        registry_caps=registry.capabilities,
        registry_agents=registry.agents + (agents.cards() if agents else ()),
        track_records=agents.track_records() if agents else (),
    )
    synthesis = generate_planner_generic(
        context,
        config=_config(args),
        sink=JsonLinesSink(args.events) if args.events else None,
        agent_registry=agents,
        proposer=_proposer(args),
    )
    n_shut = synthesis.decision_trace.n_not_allowed
    if n_shut:
        print(f"note: --security does not allow {n_shut} of the cards", file=sys.stderr)
    if args.out:
        args.out.write_text(synthesis.rtfs + "\n", encoding="utf-8")
    if args.explain:
        page = synthesis.rtfs + "\n\n" + explain_synthesis(synthesis)
        print(without_controls(page), end="")
    else:
        print_json(synthesis)
    for note in synthesis.decision_trace.notes:
        print(f"error: {without_controls(note)}", file=sys.stderr)
    return 2 if synthesis.decision_trace.notes else 0


def _agents(args: argparse.Namespace) -> AgentRegistry | None:
    if args.agents and args.agents.exists() and not args.agents.is_dir():
        raise BadInput(f"{args.agents}: not a directory")
    return AgentRegistry(args.agents) if args.agents else None


def _config(args: argparse.Namespace) -> SynthesisConfig:
    if args.arbiter_first and not args.arbiter:
        raise BadInput("--arbiter-first needs --arbiter")
    return (
        SynthesisConfig(when_proposer_is_asked="always") if args.arbiter_first else DEFAULT_CONFIG
    )


def _proposer(args: argparse.Namespace) -> ArbiterProposer | None:
    if not args.arbiter:
        return None
    if not args.model:
        raise BadInput("--arbiter needs --model")
    import_module("planner_synthesis.http_exchange")  # without its extra, say so before all else
    try:
        arbiter = HttpArbiter(
            url=args.arbiter,
            model=args.model,
            api_key=secret_of(args.arbiter_key_env),
            timeout_s=args.arbiter_timeout_s,
        )
    except ValueError as error:
        raise BadInput(str(error)) from error
    return ArbiterProposer(arbiter)


def _effects(
    registry: RegistryReading, agents: AgentRegistry | None, named: Iterable[str]
) -> dict[str, tuple[str, ...]]:
    """Effects of every id that may be called.

    Args:
        named: Ids that count as known, with the default effect, where no card says otherwise.
    """
    cards = registry.agents + (agents.cards() if agents else ())
    return dict.fromkeys(named, ()) | callable_effects(registry.capabilities, cards)


def check(args: argparse.Namespace) -> int:
    """Say whether a program is a planner that may run; 1 when it is not."""
    security = runtime_context(args)
    registry, agents = read_registry(args.registry), _agents(args)
    text = read_text(args.file)
    if args.registry:
        report = check_planner(text, security=security, registry=_effects(registry, agents, ()))
    else:  # what it calls cannot be looked up anywhere: all else is checked
        report = _check_all_but_ids(text, security, registry, agents)
        print("note: no --registry: ids were not looked up", file=sys.stderr)
    print_json(
        {
            "is_ok": report.is_ok,
            "findings": report.findings,
            "capability_ids": report.capability_ids,
            "context_keys": report.context_keys,
        }
    )
    return 0 if report.is_ok else 1


def _check_all_but_ids(
    text: str, security: RuntimeContext, registry: RegistryReading, agents: AgentRegistry | None
) -> PreflightReport:
    """Preflight as if there were whatever the text calls."""
    named = check_planner(text, security=security, registry={}).capability_ids
    return check_planner(text, security=security, registry=_effects(registry, agents, named))


def run(args: argparse.Namespace) -> int:
    """Run a planner against stubs, or check it and run it against MCP servers; 1 when it fails.

    Against stubs what preflight finds is told and hinders nothing: nothing real can happen.
    """
    text, context = read_text(args.file), _context(args)
    registry, agents = read_registry(args.registry), _agents(args)
    security = runtime_context(args, unless_given="full" if args.stub else "pure")
    servers = named_servers(
        args.mcp,
        args.mcp_http,
        timeout_s=args.timeout_s,
        variables=args.env,
        headers=args.header_env,
    )
    if bool(servers) == args.stub:
        raise BadInput("run takes either --stub or MCP servers")
    named = () if args.registry and servers else security.allowed_capabilities
    effects = _effects(registry, agents, named)
    report = check_planner(text, security=security, registry=effects)
    if servers and not report.is_ok:
        print_json({"error": "preflight", "findings": report.findings, "log": []})
        return 1
    if args.stub:
        if not args.registry:
            report = _check_all_but_ids(text, security, registry, agents)
        for finding in report.findings:
            note = without_controls(f"{finding.code}: {finding.message}")
            print(f"note: preflight: {redact(' '.join(note.split()))}", file=sys.stderr)
    with ExitStack() as stack:
        host: Host
        stub, tools = StubHost(RegistryGate(security, effects)), None
        host = stub
        if servers:
            cards = registry.capabilities
            host = tools = stack.enter_context(McpHost(servers, security=security, cards=cards))
        if agents:
            host = AgentHost(host, agents.get, RegistryGate(security, effects))
        try:
            value = to_plain_json(evaluate(text, host=host, context=context))
        except RtfsError as error:
            print_json(
                {"error": error.kind, "message": redact(str(error)), "log": _log(stub, tools)}
            )
            return 1
        print_json({"value": value, "log": _log(stub, tools)})
    return 0


def _context(args: argparse.Namespace) -> dict[str, Any]:
    if args.context:
        return read_context(args.context)
    return dict(context_from_schema(schema_from_history(read_history(args.history))))


def _log(stub: StubHost, tools: McpHost | None) -> list[Any]:
    if tools is not None:
        return [msgspec.to_builtins(call) for call in tools.calls]
    return [
        {"capability": call.capability, "args": [to_plain_json(one) for one in call.args]}
        for call in stub.log
        if isinstance(call, HostCall)
    ]


def feedback(args: argparse.Namespace) -> int:
    """Record how a capability or an agent did; ``generate --agents`` counts it."""
    record = AgentRegistry(args.agents).record_feedback(
        args.id, is_success=args.outcome == "success"
    )
    print_json(record)
    return 0


def demo(args: argparse.Namespace) -> int:
    """Ask the two questions of the demo and write the turns."""
    if len(args.answer) > len(DEMO_PROMPTS):
        raise BadInput(f"the demo asks {len(DEMO_PROMPTS)} questions")
    is_interactive = os.environ.get("CCOS_INTERACTIVE_ASK") == "1"
    scripted: Iterator[str] = iter([*args.answer, *DEMO_ANSWERS[len(args.answer) :]])

    def ask(prompt: str) -> str | None:
        if not is_interactive:
            return _as_unicode(next(scripted))
        print(prompt, file=sys.stderr)
        return _as_unicode(sys.stdin.readline().rstrip("\r\n")) or None

    turns = collect_turns(DEMO_PROMPTS, ask=ask)
    if args.out:
        data = msgspec.json.format(msgspec.json.encode(turns), indent=1)
        args.out.write_bytes(data + b"\n")
    print_json(turns)
    return 0


def _as_unicode(text: str) -> str:
    """What was typed; bytes that the locale cannot read are taken as UTF-8, or marked."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _give_up_output_that_fails() -> None:
    """Where the output takes nothing, leave nothing for the interpreter to fail on at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def guarded(command: Any, args: argparse.Namespace) -> int:
    """Run a command; what it was given and cannot use is one line and exit code 2."""
    try:
        code = int(command(args))
        sys.stdout.flush()  # what cannot be written is to be known while it can be told
        return code
    except (BadInput, DamagedRecordError, ImportError) as error:
        message = str(error)
    except OSError as error:
        file = error.filename2 or error.filename
        message = f"{file}: {error.strerror}" if file else str(error.strerror or error)
        _give_up_output_that_fails()
    print(f"error: {redact(' '.join(message.split()))}", file=sys.stderr)
    return 2
