"""Whatever a schema, a proposer or a sink does, a planner comes back, and its texts pass our checks."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from planner_synthesis import (
    AgentRegistry,
    CandidateScore,
    CapabilityCard,
    InputSpec,
    InteractionTurn,
    JsonLinesSink,
    ParamSchema,
    ParamSpec,
    PlannerGenContext,
    PlannerGenerationEvent,
    PlannerSynthesis,
    RuntimeContext,
    SynthesisConfig,
    explain_synthesis,
    extract_skills,
    generate_planner_generic,
)
from planner_synthesis.config import DEFAULT_CONFIG, ComplexityRule, ProgramLimits
from planner_synthesis.fallback import NoRoomError
from planner_synthesis.preflight import callable_effects, check_planner
from planner_synthesis.rtfs import Vector, evaluate, print_form, read_program

FULL = RuntimeContext(level="full")
HALF = "\ud800"
CARD = CapabilityCard(id="x.y", expects_context_keys=("k",), trust_tier="T2")


def asked(*keys: str, cards: tuple[CapabilityCard, ...] = ()) -> PlannerGenContext:
    schema = ParamSchema(params=tuple(ParamSpec(key=key) for key in keys))
    return PlannerGenContext(schema=schema, security=FULL, registry_caps=cards)


def check_texts(synthesis: PlannerSynthesis, context: PlannerGenContext) -> None:
    """Each text alone, as anybody would check it who is given it."""
    effects = callable_effects(context.registry_caps, context.registry_agents)
    for text in filter(None, (synthesis.rtfs, synthesis.capability, synthesis.stub)):
        report = check_planner(text, security=context.security, registry=effects)
        assert report.findings == ()
        assert print_form(read_program(text)[0]) == text
    msgspec.json.encode(synthesis)


def missing_of(synthesis: PlannerSynthesis) -> Sequence[object]:
    missing = evaluate(synthesis.rtfs, context={}).index["keyword", "missing"]
    assert isinstance(missing, Vector)
    return missing.items


@pytest.mark.parametrize("keys", [
    ("budget",), ("a", "b/c", "x y", '") (call "x'), (), ("",), tuple(f"k{n}" for n in range(9_000)),
    tuple("k" * n for n in range(1, 1_001)), ("k" * 70_000, "a"), (f"k{HALF}", "a"), tuple('"' * n for n in range(1, 400)),
    tuple("😀" * n for n in range(1, 300)),
], ids=["one", "odd", "none", "empty", "many", "large", "long", "half", "quotes", "wide"])  # fmt: skip
def test_every_text_of_a_planner_that_calls_nothing_passes_our_own_checks(
    keys: tuple[str, ...],
) -> None:
    context = asked(*keys)
    synthesis = generate_planner_generic(context)
    check_texts(synthesis, context)
    fallback = synthesis.decision_trace.fallback
    assert fallback is not None
    n_out = len(keys) - len(missing_of(synthesis))
    assert n_out < len(keys) or n_out == 0
    said = f"; {n_out} of {len(keys)} required keys are not named"
    assert fallback.reason.endswith(said) == (n_out > 0)
    assert generate_planner_generic(context) == synthesis


def test_a_stub_gives_back_the_keys_that_it_expects() -> None:
    stub = generate_planner_generic(asked("a", "not a keyword")).stub
    report = check_planner(stub, security=FULL, registry={}, expects=["a", "not a keyword"])
    assert (report.findings, report.hands_context_on) == ((), False)
    value = evaluate(print_form(report.body), context={"a": 1, "not a keyword": 2, "secret": 3})
    assert sorted(value.index["keyword", "context"].index.values()) == [1, 2]


def test_limits_without_room_for_any_planner_are_an_error_with_data() -> None:
    for limits in (ProgramLimits(max_nodes=4), ProgramLimits(max_bytes=99), ProgramLimits(max_depth=1)):  # fmt: skip
        config = SynthesisConfig(limits=limits)
        with pytest.raises(NoRoomError) as refused:
            generate_planner_generic(asked("k", cards=(CARD,)), config=config)
        assert refused.value.problems
    narrow = SynthesisConfig(limits=ProgramLimits(max_bytes=400))
    synthesis = generate_planner_generic(asked(*"abcdefghijklmnop"), config=narrow)
    assert len(synthesis.stub) <= 400
    assert 0 < len(missing_of(synthesis)) < 16


def test_a_planner_whose_capability_has_no_room_is_not_returned() -> None:
    """The body alone would fit; what a registry is given would not."""
    long = "x" * 600
    context = asked("k", cards=(msgspec.structs.replace(CARD, id=long),))
    n_bytes = len(generate_planner_generic(context).rtfs) + 10
    narrow = SynthesisConfig(limits=ProgramLimits(max_bytes=n_bytes))
    synthesis = generate_planner_generic(context, config=narrow)
    assert synthesis.required_capabilities == ()
    assert synthesis.decision_trace.rejected == (f"{long}: size: longer than {n_bytes} bytes",)


@pytest.mark.parametrize("cards", [
    (CapabilityCard(id=f"x{HALF}", expects_context_keys=("k",)), CapabilityCard(id=f"x{HALF}", expects_context_keys=("k", "l"))),
    (CapabilityCard(id="x", expects_context_keys=(f"k{HALF}",)),),
    (CapabilityCard(id="x", inputs=(InputSpec(key="k", default=HALF),)), CapabilityCard(id="x", inputs=(InputSpec(key="k"),))),
    (CapabilityCard(id="x", expects_context_keys=("k",), effects=(f":n{HALF}",)),),
])  # fmt: skip
@pytest.mark.parametrize("key", ["k", f"k{HALF}"])
def test_half_a_surrogate_pair_is_in_no_text_and_in_no_trace(
    cards: tuple[CapabilityCard, ...], key: str, tmp_path: Path
) -> None:
    context = asked(key, cards=cards)
    config = SynthesisConfig(domain=f"d{HALF}")
    sink = JsonLinesSink(tmp_path / "events.jsonl")
    synthesis = generate_planner_generic(context, config=config, sink=sink)
    check_texts(synthesis, context)
    if synthesis.decision_trace.fallback is not None:
        assert synthesis.decision_trace.fallback.stub_id == "d\\ud800.agent.stub"
    line = (tmp_path / "events.jsonl").read_bytes()
    assert msgspec.json.decode(line, type=PlannerGenerationEvent).template
    assert synthesis.decision_trace.notes == ()


def test_an_agent_that_no_file_can_hold_is_not_registered(tmp_path: Path) -> None:
    turns = (InteractionTurn(turn_index=0, prompt="a, then b", answer="x"),)
    cards = tuple(
        CapabilityCard(id=key, expects_context_keys=(key,), effects=(f":n{HALF}",)) for key in "ab"
    )
    context = msgspec.structs.replace(
        asked("a", "b", cards=cards), history=turns, skills=extract_skills(turns)
    )
    registry = AgentRegistry(tmp_path)
    config = SynthesisConfig(complexity=ComplexityRule(max_turns=0))
    synthesis = generate_planner_generic(context, config=config, agent_registry=registry)
    assert (synthesis.agent, registry.agents()) == (None, ())
    assert any(why.startswith("agent: unprintable") for why in synthesis.decision_trace.rejected)


class Raises:
    """A proposer, and a sink, that fails as it was told, or says what it was told."""

    def __init__(self, with_what: object) -> None:
        self.with_what = with_what

    def propose(self, context: PlannerGenContext, *, ranked: Sequence[CandidateScore]) -> str:
        if isinstance(self.with_what, Exception):
            raise self.with_what
        return self.with_what  # type: ignore[return-value]

    def emit(self, event: PlannerGenerationEvent) -> None:
        assert isinstance(self.with_what, Exception)
        raise self.with_what


@pytest.mark.parametrize(("says", "why"), [
    (None, "proposal: no text but NoneType"), (b"nil", "proposal: no text but bytes"),
    (KeyError("k"), "proposal: the proposer failed: KeyError: 'k'"), (RuntimeError(""), "proposal: the proposer failed: RuntimeError:"),
    (ValueError(HALF), "proposal: the proposer failed: ValueError: \\ud800"),
    (OSError("token=sk-1234567890abcdefghijklmnop"), "proposal: the proposer failed: OSError: "),
])  # fmt: skip
@pytest.mark.parametrize("when", ["always", "when_nothing_fits"])
def test_a_proposer_that_fails_in_any_way_leaves_the_planner_that_would_have_been(
    says: object, why: str, when: str
) -> None:
    config = msgspec.structs.replace(DEFAULT_CONFIG, when_proposer_is_asked=when)
    for cards in ((), (CARD,)):
        context = asked("k", cards=cards)
        synthesis = generate_planner_generic(context, config=config, proposer=Raises(says))
        assert synthesis.rtfs == generate_planner_generic(context).rtfs
        if when == "always" or not cards:
            (reason,) = synthesis.decision_trace.rejected
            assert reason.startswith(why)
            assert "sk-1234567890" not in reason


@pytest.mark.parametrize("error", [OSError("disk full"), KeyError("x"), UnicodeEncodeError("utf-8", HALF, 0, 1, "no")])  # fmt: skip
def test_a_sink_that_fails_loses_its_event_and_not_the_planner(error: Exception) -> None:
    context = asked("k", cards=(CARD,))
    synthesis = generate_planner_generic(context, sink=Raises(error))
    (note,) = synthesis.decision_trace.notes
    assert note.startswith(f"the sink did not take the event: {type(error).__name__}: ")
    assert "\nnote: the sink did not take the event: " in explain_synthesis(synthesis)
    quiet = msgspec.structs.replace(synthesis.decision_trace, notes=())
    assert msgspec.structs.replace(synthesis, decision_trace=quiet) == generate_planner_generic(
        context
    )
    msgspec.json.encode(synthesis)
