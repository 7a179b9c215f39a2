"""Laws of synthesis: nothing forbidden, nothing by chance, nothing hostile becomes code."""

import os
import random
import subprocess
import sys
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from planner_synthesis import (
    AgentCard,
    CapabilityCard,
    InteractionTurn,
    ParamSchema,
    ParamSpec,
    PlannerGenContext,
    PlannerSynthesis,
    RuntimeContext,
    context_from_schema,
    explain_synthesis,
    generate_planner_generic,
    schema_from_history,
)
from planner_synthesis.agents import MIN_STEPS
from planner_synthesis.preflight import callable_effects, check_planner
from planner_synthesis.program_walk import BUILTINS, SPECIAL_FORMS
from planner_synthesis.rtfs import (
    Form,
    List,
    Map,
    StubHost,
    Sym,
    Vector,
    evaluate,
    print_form,
    read_program,
)
from planner_synthesis.rtfs.host import HostCall
from planner_synthesis.security import RegistryGate, permits
from planner_synthesis.templates import context_form
from tests.reference.registries import CONTEXTS, fitting_contexts

ROOT = Path(__file__).parents[2]
# what may be a symbol of an emitted program, whatever anybody said
NAMES = BUILTINS | SPECIAL_FORMS | {
    "capability", "context", "context-adapted", "missing", "result", "c", "k", "kept", "parts", "year", "month",
    "day", "last-day", "text", "number", "whole", "word"}  # fmt: skip
HOSTILE = st.sampled_from([
    '"', '")', '" (call :evil {}) "', "x) (call :evil {})", ":evil", ":a:b", "a b", "a\nb", "; comment", "#| |#", "\\", '\\"',
    "(call :evil {:a 1})", "true", "nil", "##NaN", "#(call :evil)", "@context", "`~x", "^{:a 1}", "<missing>", "\x00", "\u2028",
    '{"$kw": "evil"}', "evil", "context", "call", "resource://x)", "2025-01-01T00:00:00Z", "0", "-1", "é", "😀", "../../etc"])  # fmt: skip
TEXTS = st.lists(HOSTILE | st.text(max_size=6), min_size=1, max_size=3).map("".join)


def symbols(form: Form) -> set[str]:
    match form:
        case Sym(name):
            return {name}
        case Vector(items) | List(items):
            return set().union(*map(symbols, items))
        case Map(entries):
            return set().union(*(symbols(value) for _, value in entries))
        case _:
            return set()


def is_ours(name: str) -> bool:
    stem, _, number = name.rpartition("-")
    return name in NAMES or (stem in ("value", "context", "result") and number.isdigit())


def check_it(synthesis: PlannerSynthesis, context: PlannerGenContext) -> None:
    """All that must hold of whatever is returned."""
    effects = callable_effects(context.registry_caps, context.registry_agents)
    for called in synthesis.required_capabilities:
        assert permits(context.security, called, effects=effects[called])
    for text in filter(None, (synthesis.rtfs, synthesis.capability, synthesis.stub)):
        (form,) = read_program(text)
        assert print_form(form) == text
        assert all(map(is_ours, symbols(form))), symbols(form)
    for text, expects in ((synthesis.rtfs, synthesis.expects), (synthesis.capability, None)):
        report = check_planner(text, security=context.security, registry=effects, expects=expects,
                               required_capabilities=synthesis.required_capabilities)  # fmt: skip
        assert report.is_ok, report.findings
    if synthesis.stub is not None:
        assert check_planner(synthesis.stub, security=context.security, registry={}).findings == ()
    for values in (context_from_schema(context.schema), {}):
        host = StubHost(
            RegistryGate(context.security, effects), {i: lambda args: None for i in effects}
        )
        value = evaluate(synthesis.rtfs, host=host, context=context_form(values))
        assert value.index["keyword", "status"] in ("processing", "requires-agent")
        assert {e.capability for e in host.log if isinstance(e, HostCall)} <= set(
            synthesis.required_capabilities
        )
    assert synthesis.stub is None or synthesis.required_capabilities == ()


@settings(max_examples=200, deadline=None)
@given(CONTEXTS | fitting_contexts())
def test_whatever_is_returned_is_allowed_checked_and_runs(context: PlannerGenContext) -> None:
    synthesis = generate_planner_generic(context)
    check_it(synthesis, context)
    assert explain_synthesis(synthesis).endswith("\n")


@settings(max_examples=100, deadline=None)
@given(CONTEXTS | fitting_contexts(), st.integers(0, 99))
def test_the_order_of_the_registry_changes_nothing(context: PlannerGenContext, seed: int) -> None:
    caps, agents = list(context.registry_caps), list(context.registry_agents)
    random.Random(seed).shuffle(caps)
    random.Random(seed + 1).shuffle(agents)
    turned = msgspec.structs.replace(
        context, registry_caps=tuple(caps), registry_agents=tuple(agents)
    )
    assert msgspec.json.encode(generate_planner_generic(context)) == msgspec.json.encode(
        generate_planner_generic(turned)
    )


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=3, unique=True), TEXTS, TEXTS)
def test_hostile_ids_keys_answers_and_descriptions_never_become_code(
    capability_id: str, keys: list[str], answer: str, doc: str
) -> None:
    schema = ParamSchema(
        params=tuple(ParamSpec(key=key, answer=answer, prompt=doc) for key in keys)
    )
    cards = (CapabilityCard(id=capability_id, expects_context_keys=tuple(keys), trust_tier=doc, doc=doc, local=True),
             CapabilityCard(id="decoy", expects_context_keys=("x",)))  # fmt: skip
    allowed = RuntimeContext(level="controlled", allowed_capabilities=(capability_id,))
    context = PlannerGenContext(schema=schema, security=allowed, registry_caps=cards)
    synthesis = generate_planner_generic(context)
    check_it(synthesis, context)
    assert synthesis.required_capabilities == (capability_id,)
    host = StubHost(None, {capability_id: lambda args: None})
    evaluate(synthesis.rtfs, host=host, context=context_form(context_from_schema(schema)))
    (entry,) = host.log
    assert entry.capability == capability_id
    (sent,) = entry.args
    values = sent.index["keyword", "context"]
    assert sorted(values.index.values()) == sorted(v for v in context_from_schema(schema).values())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.none() | TEXTS), max_size=4))
def test_hostile_questions_and_answers_give_a_planner_all_the_same(
    said: list[tuple[str, str | None]],
) -> None:
    turns = tuple(
        InteractionTurn(turn_index=i, prompt=p, answer=a) for i, (p, a) in enumerate(said)
    )
    schema = schema_from_history(turns)
    card = CapabilityCard(id="x", expects_context_keys=schema.keys(), trust_tier="T1")
    context = PlannerGenContext(
        schema=schema, history=turns, security=RuntimeContext(level="full"), registry_caps=(card,))  # fmt: skip
    check_it(generate_planner_generic(context), context)


AGENT_KEYS = st.lists(TEXTS, min_size=MIN_STEPS, max_size=3, unique=True)


@settings(max_examples=100, deadline=None)
@given(AGENT_KEYS, TEXTS)
def test_a_hostile_agent_plan_is_no_code_either(keys: list[str], prefix: str) -> None:
    turns = (InteractionTurn(turn_index=0, prompt="x", answer="first this, then that"),)
    schema = ParamSchema(params=tuple(ParamSpec(key=key) for key in keys))
    cards = tuple(
        CapabilityCard(id=f"{prefix}{i}", expects_context_keys=(key,)) for i, key in enumerate(keys)
    )
    context = PlannerGenContext(schema=schema, history=turns, registry_caps=cards,
                                registry_agents=(AgentCard(agent_id='a"', skills=("x",)),),
                                security=RuntimeContext(level="full"))  # fmt: skip
    synthesis = generate_planner_generic(context)
    check_it(synthesis, context)
    if synthesis.agent is not None:
        (form,) = read_program(synthesis.agent.execution_mode.plan)
        assert all(map(is_ours, symbols(form)))


SCRIPT = """
import msgspec, sys
from planner_synthesis import *
turns = tuple(InteractionTurn(turn_index=i, prompt=p, answer=a) for i, (p, a) in enumerate([
    ("What repository?", "a/b"), ("Which labels? (bug, docs, or ci)", "bug"), ("How many?", "3"), ("And then?", "notify")]))
caps = tuple(CapabilityCard(id=f"cap.{i}", expects_context_keys=k, effects=(":network", ":file")) for i, k in enumerate(
    [("repo", "label"), ("repo",), ("labels", "many"), ("notify", "repository"), ("then", "n", "x")]))
context = PlannerGenContext(schema=schema_from_history(turns), history=turns, skills=extract_skills(turns), registry_caps=caps,
    registry_agents=(AgentCard(agent_id="ag", skills=("issue triage", "research")),),
    security=RuntimeContext(level="full", denied_effects=(":exec", ":disk")))
sys.stdout.buffer.write(msgspec.json.encode(generate_planner_generic(context)))
sys.stdout.buffer.write(msgspec.json.encode(score_candidates(context)))
"""


def test_the_hash_seed_changes_nothing() -> None:
    outputs = {
        subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, cwd=ROOT,
                       env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}).stdout
        for seed in ("0", "1", "2", "3")
    }  # fmt: skip
    assert len(outputs) == 1
    assert b"cap." in outputs.pop()
