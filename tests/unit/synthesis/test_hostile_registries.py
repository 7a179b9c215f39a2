"""What a registry says never becomes code: tools with hostile names and keys, through to a run."""

from typing import Any

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
from planner_synthesis.snapshot.mcp import McpServer, cards_of_tools

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
