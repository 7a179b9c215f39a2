"""From turns and a registry to a planner that runs, by every way there is."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from planner_synthesis import (
    AgentCard,
    AgentHost,
    AgentRegistry,
    CandidateScore,
    CapabilityCard,
    InputSpec,
    InteractionTurn,
    JsonLinesSink,
    MemorySink,
    ParamSchema,
    ParamSpec,
    PlannerGenContext,
    PlannerGenerationEvent,
    PlannerPreferences,
    PlannerSynthesis,
    ProposalError,
    RuntimeContext,
    SynthesisConfig,
    TrackRecord,
    context_from_schema,
    explain_synthesis,
    extract_skills,
    generate_planner_generic,
    schema_from_history,
    score_candidates,
)
from planner_synthesis.config import ScoreWeights
from planner_synthesis.rtfs import Kw, Map, StubHost, evaluate
from planner_synthesis.security import RegistryGate

FULL = RuntimeContext(level="full")
TWO_TURNS = (
    InteractionTurn(turn_index=0, prompt="What GitHub repository should I monitor for issues?", answer="mandubian/ccos"),
    InteractionTurn(turn_index=1, prompt="What criteria should trigger automatic triage? (e.g., label:critical, no assignee)",
                    answer="label:bug no:assignee"),
)  # fmt: skip
EXACT = CapabilityCard(
    id="triage.exact",
    expects_context_keys=("github_repository", "criteria"),
    trust_tier="T1",
    local=True,
)
RENAMED = CapabilityCard(
    id="triage.renamed", expects_context_keys=("repo", "query"), trust_tier="T1", local=True
)
WATCH = CapabilityCard(id="github.watch", expects_context_keys=("repo",), trust_tier="T1")
TRIAGE = CapabilityCard(
    id="github.triage", expects_context_keys=("criteria",), effects=(":network",)
)


def request(*caps: CapabilityCard, turns: tuple[InteractionTurn, ...] = TWO_TURNS, security: RuntimeContext = FULL,
            agents: tuple[AgentCard, ...] = (), records: tuple[TrackRecord, ...] = ()) -> PlannerGenContext:  # fmt: skip
    return PlannerGenContext(schema=schema_from_history(turns), history=turns, skills=extract_skills(turns),
                             security=security, registry_caps=caps, registry_agents=agents, track_records=records)  # fmt: skip


def ran(
    synthesis: PlannerSynthesis, context: dict, host: StubHost | None = None
) -> tuple[dict, list]:
    host = host or StubHost()
    value = evaluate(synthesis.rtfs, host=host, context=context)
    assert isinstance(value, Map)
    return {
        key.name: item for key, item in value.entries if isinstance(key, Kw)
    }, host.log_as_json()


def test_a_perfect_match_is_called_directly() -> None:
    asked = request(EXACT, RENAMED)
    synthesis = generate_planner_generic(asked)
    assert synthesis.rtfs == ("(do (let [result (call :triage.exact {:context context})]"
                              ' {:context context :result result :status "processing"}))')  # fmt: skip
    assert synthesis.required_capabilities == ("triage.exact",)
    assert synthesis.expects == ("criteria", "github_repository")
    result, log = ran(synthesis, context_from_schema(asked.schema))
    assert result["status"] == "processing"
    assert [entry["capability"] for entry in log] == ["triage.exact"]


def test_a_light_mapping_is_adapted_and_only_what_is_mapped_is_sent() -> None:
    asked = request(RENAMED)
    synthesis = generate_planner_generic(asked)
    assert {(s.from_, s.to) for s in synthesis.decision_trace.adapters} == {
        ("github_repository", "repo"), ("criteria", "query")}  # fmt: skip
    _, log = ran(synthesis, {**context_from_schema(asked.schema), "secret": "x"})
    assert log[0]["args"] == [{"$map": [[{"$kw": "context"}, {"$map": [
        [{"$kw": "query"}, "label:bug no:assignee"], [{"$kw": "repo"}, "mandubian/ccos"]]}]]}]  # fmt: skip


def test_what_is_missing_at_run_time_is_reported_and_nothing_is_called() -> None:
    synthesis = generate_planner_generic(request(RENAMED))
    result, log = ran(synthesis, {"criteria": "x"})
    assert (result["status"], log) == ("requires-agent", [])
    assert result["missing"].items == (Kw("repo"),)


def test_without_a_candidate_the_planner_says_what_it_needs() -> None:
    synthesis = generate_planner_generic(request())
    result, log = ran(synthesis, {"a": 1})
    assert (result["status"], result["required_capability"], log) == (
        "requires-agent",
        "synth.domain.agent.stub",
        [],
    )
    assert synthesis.decision_trace.fallback.missing_required == ("criteria", "github_repository")
    assert synthesis.stub.startswith('(capability "synth.domain.agent.stub"')
    assert synthesis.expects == ()


def test_a_forbidden_capability_is_never_called_and_only_counted() -> None:
    only_other = RuntimeContext(level="controlled", allowed_capabilities=("triage.renamed",))
    synthesis = generate_planner_generic(request(EXACT, RENAMED, security=only_other))
    assert synthesis.required_capabilities == ("triage.renamed",)
    assert synthesis.decision_trace.n_not_allowed == 1
    assert "triage.exact" not in msgspec.json.encode(synthesis).decode()
    pure = generate_planner_generic(request(EXACT, security=RuntimeContext(level="pure")))
    assert (
        pure.decision_trace.fallback.reason
        == "no candidate is left: 1 not allowed, 0 with a disputed id"
    )


def test_a_capability_that_drops_what_was_asked_is_not_called_unless_the_settings_say_so() -> None:
    asked = request(WATCH)
    synthesis = generate_planner_generic(asked)
    assert synthesis.decision_trace.template == "requires-agent"
    assert "coverage below 1.000" in synthesis.decision_trace.fallback.reason
    lax = SynthesisConfig(min_coverage=500, min_total=300)
    synthesis = generate_planner_generic(asked, config=lax)
    assert synthesis.required_capabilities == ("github.watch",)
    assert synthesis.decision_trace.unused_keys == ("criteria",)
    assert "not used: criteria" in explain_synthesis(synthesis)


def test_nothing_asked_calls_nothing() -> None:
    asked = PlannerGenContext(
        schema=ParamSchema(), security=FULL, registry_caps=(CapabilityCard(id="wipe"),)
    )
    assert generate_planner_generic(asked).required_capabilities == ()


def test_types_are_coerced_defaults_filled_and_optional_inputs_left_out() -> None:
    schema = ParamSchema(params=(
        ParamSpec(key="n", answer="3"), ParamSpec(key="limit", type="int", required=False, default=10),
        ParamSpec(key="note", required=False)))  # fmt: skip
    card = CapabilityCard(id="x", inputs=(InputSpec(key="n", type="int"), InputSpec(key="limit", type="int", required=False),
                                          InputSpec(key="note", type="string", required=False)))  # fmt: skip
    synthesis = generate_planner_generic(
        PlannerGenContext(schema=schema, security=FULL, registry_caps=(card,))
    )
    _, log = ran(synthesis, {"n": "3"})
    sent = {k["$kw"]: v for k, v in log[0]["args"][0]["$map"][0][1]["$map"]}
    assert sent == {"n": 3, "limit": 10}
    result, log = ran(synthesis, {"n": "many"})
    assert (result["status"], log) == ("requires-agent", [])


def test_an_id_that_begins_with_fail_is_tried_like_any_other() -> None:
    card = msgspec.structs.replace(EXACT, id="fail.over")
    assert generate_planner_generic(request(card)).required_capabilities == ("fail.over",)


def test_an_agent_of_the_registry_is_called_by_its_id_when_that_is_allowed() -> None:
    agent = AgentCard(agent_id="triager", skills=("issue triage",), trust_tier="T1")
    synthesis = generate_planner_generic(request(agents=(agent,)))
    assert synthesis.required_capabilities == ("triager",)
    assert synthesis.decision_trace.selected.kind == "agent"
    denied = RuntimeContext(level="controlled", allowed_capabilities=("other",))
    assert (
        generate_planner_generic(request(agents=(agent,), security=denied)).required_capabilities
        == ()
    )


COMPLEX = (
    *TWO_TURNS,
    InteractionTurn(turn_index=2, prompt="In what order?", answer="watch it, then triage"),
)


def complex_request(security: RuntimeContext = FULL) -> PlannerGenContext:
    asked = request(TRIAGE, WATCH, turns=COMPLEX, security=security)
    wanted = tuple(p for p in asked.schema.params if p.key != "order")
    return msgspec.structs.replace(asked, schema=ParamSchema(params=wanted))


def test_a_complex_interaction_gets_an_agent_that_the_planner_delegates_to(tmp_path: Path) -> None:
    registry = AgentRegistry(tmp_path)
    asked = complex_request()
    synthesis = generate_planner_generic(asked, agent_registry=registry)
    agent = synthesis.agent
    assert agent == registry.get(agent.agent_id)
    assert agent.required_capabilities == ("github.triage", "github.watch")
    assert agent.effects == (":compute", ":network")
    assert synthesis.required_capabilities == (agent.agent_id,)
    assert synthesis.decision_trace.selected.id == agent.agent_id
    inner = StubHost()
    host = AgentHost(inner, registry.get, RegistryGate(FULL, {}))
    value = evaluate(synthesis.rtfs, host=host, context=context_from_schema(asked.schema))
    assert [e.get("capability") or e["step"] for e in inner.log_as_json()] == [
        "1. github.watch", "github.watch", "2. github.triage", "github.triage"]  # fmt: skip
    assert value.index["keyword", "result"].index["keyword", "status"] == "completed"
    assert synthesis.decision_trace.agent_steps == ("github.watch", "github.triage")
    assert "takes 2 steps:\n  1. github.watch\n  2. github.triage\n" in explain_synthesis(synthesis)


def test_an_agent_that_may_not_be_called_is_asked_for(tmp_path: Path) -> None:
    listed = RuntimeContext(
        level="controlled", allowed_capabilities=("github.watch", "github.triage")
    )
    synthesis = generate_planner_generic(
        complex_request(listed), agent_registry=AgentRegistry(tmp_path)
    )
    assert synthesis.required_capabilities == ()
    assert synthesis.decision_trace.fallback.stub_id == synthesis.agent.agent_id
    suggested = generate_planner_generic(complex_request())
    assert "is not registered" in suggested.decision_trace.fallback.reason


def test_an_agent_allows_nothing_that_its_caller_may_not_do(tmp_path: Path) -> None:
    registry = AgentRegistry(tmp_path)
    synthesis = generate_planner_generic(complex_request(), agent_registry=registry)
    listed = RuntimeContext(
        level="controlled", allowed_capabilities=(synthesis.agent.agent_id, "github.watch")
    )
    gate = RegistryGate(listed, {})
    inner = StubHost(gate)
    host = AgentHost(inner, registry.get, gate)
    with pytest.raises(Exception, match=r"github\.triage"):
        evaluate(synthesis.rtfs, host=host, context=context_from_schema(complex_request().schema))
    assert inner.refused == ["github.triage"]


def test_one_capability_that_does_it_all_needs_no_agent() -> None:
    synthesis = generate_planner_generic(
        msgspec.structs.replace(complex_request(), registry_caps=(EXACT,))
    )
    assert (synthesis.agent, synthesis.required_capabilities) == (None, ("triage.exact",))
    assert synthesis.decision_trace.complexity == ("words of sequence: then",)


def test_feedback_moves_the_score_and_is_explained() -> None:
    rival = msgspec.structs.replace(EXACT, id="triage.rival")
    before = score_candidates(request(EXACT, rival))
    assert [s.id for s in before] == ["triage.exact", "triage.rival"]
    bad = (TrackRecord(id="triage.exact", n_failure=20),)
    after = score_candidates(request(EXACT, rival, records=bad))
    assert [s.id for s in after] == ["triage.rival", "triage.exact"]
    assert after[1].why == ("trust 0.850 -> 0.283 after 0 successes and 20 failures",)


def test_preferences_decide_what_trust_means() -> None:
    near = CapabilityCard(id="near", expects_context_keys=EXACT.expects_context_keys, local=True)
    known = CapabilityCard(
        id="known", expects_context_keys=EXACT.expects_context_keys, trust_tier="T2"
    )

    def first(preferences: PlannerPreferences) -> str:
        return score_candidates(
            msgspec.structs.replace(request(near, known), preferences=preferences)
        )[0].id

    assert first(PlannerPreferences(prefer_trusted=False)) == "near"
    assert first(PlannerPreferences(prefer_local=False)) == "known"
    assert first(PlannerPreferences(prefer_local=False, prefer_trusted=False)) == "known"  # by id


class Says:
    """A proposer that says one thing."""

    def __init__(self, text: str | None) -> None:
        self.text, self.n_asked = text, 0
        self.told: Sequence[CandidateScore] = ()

    def propose(self, context: PlannerGenContext, *, ranked: Sequence[CandidateScore]) -> str:
        self.n_asked += 1
        self.told = ranked
        if self.text is None:
            raise ProposalError("it timed out")
        return self.text


GOOD = ('(let [w (call "github.watch" {:context {:repo (:github_repository context)}})'
        ' t (call "github.triage" {:context {:criteria (get context :criteria)}})] {:status "completed" :result [w t]})')  # fmt: skip


def test_a_proposer_is_told_the_ranking_of_the_callers_settings() -> None:
    proposer = Says(None)
    config = SynthesisConfig(weights=ScoreWeights(coverage=0, compatibility=0, trust=1000))
    trace = generate_planner_generic(
        request(WATCH, TRIAGE), proposer=proposer, config=config
    ).decision_trace
    assert tuple(proposer.told) == trace.candidates != score_candidates(request(WATCH, TRIAGE))


def test_a_proposal_that_passes_every_check_is_used_where_nothing_else_will_do() -> None:
    synthesis = generate_planner_generic(request(WATCH, TRIAGE), proposer=Says(GOOD))
    assert synthesis.decision_trace.template == "proposal"
    assert synthesis.required_capabilities == ("github.triage", "github.watch")
    assert synthesis.expects == ("criteria", "github_repository")
    assert (
        generate_planner_generic(request(EXACT), proposer=Says(GOOD)).decision_trace.template
        == "direct"
    )


@pytest.mark.parametrize(("text", "why"), [
    (None, "it timed out"), ("", "one-form"), ("not (rtfs", "syntax"), (GOOD + GOOD, "one-form"),
    (GOOD.replace("github.watch", "rm.rf"), "unknown-id"), (GOOD.replace(":criteria)", ":cost)"), "never uses criteria"),
    ('{:status "completed" :a (:criteria context) :b (:github_repository context)}', "it calls nothing"),
    (GOOD.replace("completed", "great"), "no status"), (GOOD.replace("[w t]", "(nth [] 3)"), "run 1"),
    ("(do " * 300 + "1" + ")" * 300, "deep"), ('"' + "x" * 70_000 + '"', "size"),
    (f"(do (slurp 1) {GOOD})", "head"),
])  # fmt: skip
def test_a_proposal_that_fails_a_check_is_replaced_by_the_fallback_with_the_reason(
    text: str | None, why: str
) -> None:
    synthesis = generate_planner_generic(request(WATCH, TRIAGE), proposer=Says(text))
    assert synthesis.decision_trace.template == "requires-agent"
    assert any(why in problem for problem in synthesis.decision_trace.rejected), (
        synthesis.decision_trace.rejected
    )


ASK_FIRST = SynthesisConfig(when_proposer_is_asked="always")


def test_a_proposer_is_asked_before_all_else_only_where_the_settings_say_so() -> None:
    for config, n_asked, template in ((SynthesisConfig(), 0, "direct"), (ASK_FIRST, 1, "proposal")):
        memory, says = MemorySink(), Says(GOOD)
        asked = request(EXACT, WATCH, TRIAGE)
        synthesis = generate_planner_generic(asked, config=config, proposer=says, sink=memory)
        assert (says.n_asked, synthesis.decision_trace.template) == (n_asked, template)
        (event,) = memory.events
        assert (event.template, event.rejected, event.coverage.n_covered) == (template, (), 2)


@pytest.mark.parametrize("caps", [(EXACT,), (RENAMED,), (WATCH, TRIAGE), ()])
@pytest.mark.parametrize("text", [None, "not (rtfs", GOOD.replace("github.watch", "rm.rf")])
def test_a_refused_first_proposal_changes_nothing_but_the_reasons_told(
    caps: tuple[CapabilityCard, ...], text: str | None
) -> None:
    memory, says = MemorySink(), Says(text)
    alone = generate_planner_generic(request(*caps))
    tried = generate_planner_generic(request(*caps), config=ASK_FIRST, proposer=says, sink=memory)
    reasons = tried.decision_trace.rejected
    assert says.n_asked == 1
    assert reasons
    assert all(reason.startswith("proposal: ") for reason in reasons)
    assert memory.events[0].rejected == reasons
    quiet = msgspec.structs.replace(tried.decision_trace, rejected=())
    assert msgspec.structs.replace(tried, decision_trace=quiet) == alone


def test_a_first_proposal_comes_before_an_agent_and_a_refused_one_leaves_the_agent(
    tmp_path: Path,
) -> None:
    def made(folder: str, proposer: Says | None) -> PlannerSynthesis:
        registry = AgentRegistry(tmp_path / folder)
        return generate_planner_generic(
            complex_request(), config=ASK_FIRST, agent_registry=registry, proposer=proposer
        )

    alone, refused = made("alone", None), made("refused", Says("nil"))
    assert alone.agent is not None
    assert (refused.rtfs, refused.agent) == (alone.rtfs, alone.agent)
    asked = complex_request().schema.params
    keys = " ".join(f":{param.key} (get context :{param.key})" for param in asked)
    call = complex_request().registry_caps[0].id
    text = f'(do {{:status "completed" :result (call "{call}" {{:context {{{keys}}}}})}})'
    proposed = made("proposed", Says(text))
    assert (proposed.decision_trace.template, proposed.agent) == ("proposal", None)
    assert AgentRegistry(tmp_path / "proposed").cards() == ()


def test_the_event_tells_scores_adapters_and_durations_but_no_answer(tmp_path: Path) -> None:
    memory, file = MemorySink(), JsonLinesSink(tmp_path / "logs/events.jsonl")
    for sink in (memory, file):
        ticks = itertools.count(0, 1_000_000)
        generate_planner_generic(
            request(RENAMED), sink=sink, clock_ns=lambda ticks=ticks: next(ticks)
        )
    (event,) = memory.events
    assert event.durations_ms == {"rank": 1.0, "synthesize": 1.0, "total": 2.0}
    assert (event.coverage.n_required, event.coverage.covered_ratio) == (2, 1.0)
    (line,) = (tmp_path / "logs/events.jsonl").read_bytes().splitlines()
    assert msgspec.json.decode(line, type=PlannerGenerationEvent) == event
    assert b"planner_generation" in line
    assert b"mandubian" not in line


def test_the_explanation_names_the_winner_its_lead_and_its_inputs() -> None:
    text = explain_synthesis(generate_planner_generic(request(EXACT, RENAMED, WATCH)))
    assert "*  triage.exact" in text
    assert "triage.exact won over triage.renamed: total +" in text
    assert "github_repository <- github_repository: same name" in text
    hostile = msgspec.structs.replace(EXACT, id="x\n\x1b[31mFAKE LINE")
    assert "\x1b" not in explain_synthesis(generate_planner_generic(request(hostile)))
