"""What a registry says never becomes code: tools with hostile names and keys, through to a run."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from planner_synthesis import (
    InteractionTurn,
    PlannerGenContext,
    RuntimeContext,
    context_from_schema,
    generate_planner_generic,
    schema_from_history,
)
from planner_synthesis.preflight import callable_effects
from planner_synthesis.rtfs import HostCall, StubHost, evaluate, print_form, read_program
from planner_synthesis.security import RegistryGate
from planner_synthesis.snapshot.files import parse_snapshot
from planner_synthesis.snapshot.mcp import McpServer, cards_of_tools
from planner_synthesis.types import RegistrySnapshot

SERVER = McpServer(server="s", command=("x",))
HOSTILE = st.sampled_from(
    ['")) (call "s.evil" {}) ("', ":a :b", "a\nb", "; c", "#|", "true", "nil", "if", "(do nil)", "{:a 1}",
     "@x", "^{:a 1}", "`~@", "a:v1/b", "mcp.s.evil", "\\", '\\"', "\u2028", "\x00", "resource://x)", "ab"]
)  # fmt: skip
WORDS = HOSTILE | st.text(min_size=1, max_size=8)
TOOLS = st.lists(
    st.builds(
        lambda name, keys, doc: {
            "name": name,
            "description": doc,
            "inputSchema": {
                "type": "object",
                "properties": {"repository": {"type": "string"}, **{key: {} for key in keys}},
                "required": ["repository"],
            },
        },
        WORDS,
        st.lists(WORDS, max_size=2),
        WORDS,
    ),
    min_size=1,
    max_size=4,
)


SCALARS = (
    st.integers() | st.floats() | st.booleans()
    | st.sampled_from([2**63, -(2**63) - 1, 10**300, float("nan"), float("inf"), "\ud800", "a\udfffb", 1e308])
)  # fmt: skip
KINDS = st.sampled_from(["integer", "number", "string", "boolean", None])


@given(KINDS, SCALARS, st.lists(SCALARS, max_size=2), st.booleans())
def test_no_default_or_choice_of_a_tool_keeps_a_planner_from_being_made_or_a_file_from_being_written(
    kind: str | None, default: Any, choices: list[Any], is_required: bool
) -> None:
    odd: dict[str, Any] = {"default": default} | ({"type": kind} if kind else {})
    odd |= {"enum": choices} if choices else {}
    required = ["repository", *(["odd"] if is_required else [])]
    schema = {"properties": {"repository": {}, "odd": odd}, "required": required}
    caps = cards_of_tools(SERVER, [{"name": "t", "inputSchema": schema}]).capabilities
    turns = (InteractionTurn(turn_index=0, prompt="Which repository?", answer="a/b"),)
    generate_planner_generic(
        PlannerGenContext(
            schema=schema_from_history(turns),
            security=RuntimeContext(level="full"),
            registry_caps=caps,
        )
    )
    text = msgspec.json.encode(RegistrySnapshot(capabilities=caps))
    assert parse_snapshot(text, source="s").capabilities == caps


@given(TOOLS, WORDS)
def test_a_planner_calls_nothing_but_cards_whatever_a_registry_says(
    tools: list[dict[str, Any]], answer: str
) -> None:
    caps = cards_of_tools(SERVER, tools).capabilities
    turns = (InteractionTurn(turn_index=0, prompt="Which repository?", answer=answer),)
    schema = schema_from_history(turns)
    security = RuntimeContext(level="full")
    synthesis = generate_planner_generic(
        PlannerGenContext(schema=schema, history=turns, security=security, registry_caps=caps)
    )
    (form,) = read_program(synthesis.rtfs)
    assert print_form(form) == synthesis.rtfs
    registry = callable_effects(caps, ())
    answers = {card_id: (lambda _: {"ok": True}) for card_id in registry}
    host = StubHost(RegistryGate(security, registry), answers)
    evaluate(synthesis.rtfs, host=host, context=context_from_schema(schema))
    called = {entry.capability for entry in host.log if isinstance(entry, HostCall)}
    assert called <= set(synthesis.required_capabilities) <= {card.id for card in caps}
    if caps:
        assert synthesis.required_capabilities, "a tool that takes what was asked is called"
