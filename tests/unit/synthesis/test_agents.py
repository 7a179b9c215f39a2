"""Agents: steps, files, feedback, the host that runs them, trust."""

import json
import multiprocessing
from fractions import Fraction
from pathlib import Path

import pytest

from planner_synthesis import AgentDescriptor, AgentHost, AgentRegistry, RtfsExecution, TrackRecord
from planner_synthesis.agent_registry import DamagedRecordError, agent_card
from planner_synthesis.agents import choose_steps
from planner_synthesis.config import DEFAULT_CONFIG, TrustRule
from planner_synthesis.rtfs import (
    BudgetExceeded,
    HostFailure,
    Kw,
    Limits,
    Map,
    SecurityViolation,
    StubHost,
    evaluate,
)
from planner_synthesis.scoring import rank_candidates
from planner_synthesis.security import RegistryGate
from planner_synthesis.trust import posterior_trust, records_by_id, tier_value, trust_units
from planner_synthesis.types import (
    CapabilityCard,
    ParamSchema,
    ParamSpec,
    PlannerGenContext,
    PlannerPreferences,
    RuntimeContext,
)

FULL = RuntimeContext(level="full")
GATE = RegistryGate(FULL, {})


def an_agent(agent_id: str, plan: str = "(do context)") -> AgentDescriptor:
    return AgentDescriptor(agent_id=agent_id, execution_mode=RtfsExecution(plan=plan))


def steps_for(*cards: CapabilityCard, keys: str) -> list[str]:
    schema = ParamSchema(
        params=tuple(ParamSpec(key=key, source_turn=i) for i, key in enumerate(keys.split()))
    )
    context = PlannerGenContext(schema=schema, security=FULL, registry_caps=cards)
    from msgspec.structs import replace

    best = rank_candidates(
        context, config=replace(DEFAULT_CONFIG, min_coverage=1, min_total=0)
    ).best
    return [c.score.id for c in choose_steps([c for c in best if c.score.is_viable], schema)]


def card(card_id: str, *keys: str) -> CapabilityCard:
    return CapabilityCard(id=card_id, expects_context_keys=keys)


def test_steps_cover_every_key_in_the_order_of_the_conversation() -> None:
    assert steps_for(card("z", "a"), card("y", "b", "c"), card("x", "c"), keys="a b c") == [
        "z",
        "y",
    ]
    assert steps_for(card("z", "c"), card("y", "a"), card("x", "b"), keys="a b c") == [
        "y",
        "x",
        "z",
    ]


def test_no_steps_when_a_key_stays_unused_or_one_candidate_is_enough() -> None:
    assert steps_for(card("z", "a"), card("y", "b"), keys="a b c") == []
    assert steps_for(card("z", "a", "b"), card("y", "b"), keys="a b") == []
    assert steps_for(keys="a") == []


def test_an_agent_is_kept_and_found_by_any_id(tmp_path: Path) -> None:
    registry = AgentRegistry(tmp_path / "agents")
    assert (registry.agents(), registry.get("x")) == ((), None)
    for agent_id in ("a", "../../etc/passwd", "", "b/c"):
        registry.register(an_agent(agent_id))
    assert [agent.agent_id for agent in registry.agents()] == sorted(
        ["a", "../../etc/passwd", "", "b/c"]
    )
    assert {path.parent.parent for path in tmp_path.rglob("*.json")} == {tmp_path / "agents"}
    registry.register(an_agent("a", plan="(do 1)"))
    assert registry.get("a").execution_mode.plan == "(do 1)"
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_damaged_file_is_named_and_not_passed_over(tmp_path: Path) -> None:
    registry = AgentRegistry(tmp_path)
    registry.register(an_agent("a"))
    (path,) = (tmp_path / "agents").glob("*.json")
    path.write_text("{")
    with pytest.raises(DamagedRecordError) as refused:
        registry.agents()
    assert refused.value.path == path


@pytest.mark.parametrize("kind", ["agents", "records"])
@pytest.mark.parametrize("change", ["left out", "another", "one more field"])
def test_a_file_without_its_version_is_damage(tmp_path: Path, kind: str, change: str) -> None:
    registry = AgentRegistry(tmp_path)
    registry.register(an_agent("a"))
    registry.record_feedback("a", is_success=True)
    (path,) = (tmp_path / kind).glob("*.json")
    document = json.loads(path.read_bytes())
    if change == "left out":
        del document["schema_version"]
    elif change == "another":
        document["schema_version"] = document["schema_version"].replace("v1", "v2")
    else:
        document["x"] = 1
    path.write_text(json.dumps(document))
    with pytest.raises(DamagedRecordError, match=r"schema_version|unknown field") as refused:
        registry.get("a")
    assert refused.value.path == path


def test_a_file_in_the_place_of_another_is_damage_and_no_other_agent(tmp_path: Path) -> None:
    registry = AgentRegistry(tmp_path)
    registry.register(an_agent("a", plan="(do 1)"))
    (ours,) = (tmp_path / "agents").glob("*.json")
    registry.register(an_agent("b", plan="(do 2)"))
    (theirs,) = set((tmp_path / "agents").glob("*.json")) - {ours}
    ours.write_bytes(theirs.read_bytes())
    for read in (lambda: registry.get("a"), registry.agents, registry.cards):
        with pytest.raises(DamagedRecordError, match="'b', which belongs elsewhere"):
            read()
    assert registry.get("b").execution_mode.plan == "(do 2)"


def _feed(folder: Path) -> None:
    for _ in range(10):
        AgentRegistry(folder).record_feedback("x", is_success=True)


def test_feedback_of_several_processes_is_all_there(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_feed, args=(tmp_path,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    registry = AgentRegistry(tmp_path)
    registry.record_feedback("x", is_success=False)
    assert registry.track_records() == (TrackRecord(id="x", n_success=20, n_failure=1),)


def test_feedback_shows_in_the_agent_and_its_card(tmp_path: Path) -> None:
    registry = AgentRegistry(tmp_path)
    registry.register(an_agent("a"))
    registry.record_feedback("a", is_success=True)
    assert registry.get("a").n_success == 1
    assert registry.cards() == (agent_card(registry.get("a")),)


def test_an_agent_runs_its_plan_and_nothing_else_changes() -> None:
    agents = {"a": an_agent("a", '(do (step "one" (call "x" {:q (:q context)})))')}
    inner = StubHost()
    value = evaluate('(call "a" {:context {:q 1}})', host=AgentHost(inner, agents.get, GATE))
    assert value == inner.call("x", [None])
    assert inner.log_as_json()[0] == {"step": "one"}
    evaluate('(call "b" 1)', host=AgentHost(inner, agents.get, GATE))
    assert inner.log_as_json()[-1] == {"capability": "b", "args": [1]}


def test_an_agent_that_calls_itself_ends() -> None:
    agents = {"a": an_agent("a", '(call "a" {:context context})')}
    with pytest.raises(HostFailure, match="8 agents"):
        evaluate('(call "a" {:context {}})', host=AgentHost(StubHost(), agents.get, GATE))


def test_agents_that_call_agents_share_one_budget_with_the_program() -> None:
    """Eight agents that each call the next four times would be 87,380 runs."""
    n_runs: dict[str, int] = {}

    def find(agent_id: str) -> AgentDescriptor | None:
        n_runs[agent_id] = n_runs.get(agent_id, 0) + 1
        called = f'(fn [x] (call "a{int(agent_id[1:]) + 1}" {{:context context}}))'
        return an_agent(agent_id, f"(do (let [r (map {called} [1 2 3 4])] {{:result r}}))")

    host = AgentHost(StubHost(), lambda i: find(i) if i < "a7" else None, GATE)
    with pytest.raises(BudgetExceeded, match="steps"):
        evaluate('(call "a0" {:context {}})', host=host, limits=Limits(steps=2_000))
    assert sum(n_runs.values()) < 2_000
    n_runs.clear()
    with pytest.raises(BudgetExceeded, match="steps"):
        host.call("a0", [Map(((Kw("context"), Map()),))])
    assert sum(n_runs.values()) < 100_000


def test_calls_of_an_agent_in_a_row_are_paid_by_the_program_that_calls() -> None:
    agents = {"a": an_agent("a", "(do (let [r (map (fn [x] x) [1 2 3 4 5 6 7 8 9])] {:result r}))")}
    host = AgentHost(StubHost(), agents.get, GATE)
    calls = '(map (fn [x] (call "a" {:context {}})) [1 2 3 4 5 6 7 8])'
    with pytest.raises(BudgetExceeded, match="steps"):
        evaluate(calls, host=host, limits=Limits(steps=200))
    assert len(evaluate(calls, host=host, limits=Limits(steps=1_000)).items) == 8


def test_reading_a_long_plan_again_and_again_is_paid_for() -> None:
    plan = "(do {:n 1}) ; " + "x" * 50_000
    host = AgentHost(StubHost(), {"a": an_agent("a", plan)}.get, GATE)
    calls = '(map (fn [x] (:n (call "a" {:context {}}))) [1 2 3 4 5 6 7 8])'
    with pytest.raises(BudgetExceeded, match="steps"):
        evaluate(calls, host=host, limits=Limits(steps=7_000))


@pytest.mark.parametrize(
    "plan",
    ["(do (try (call \"x\" {:context context}) (catch E e {:status \"completed\"})))",
     "(call (:id context) {:context context})", "(do 1) (do 2)", "(do (let [a 1] b))", "(do"],
)  # fmt: skip
def test_a_plan_that_preflight_refuses_is_not_run_whoever_registered_it(
    tmp_path: Path, plan: str
) -> None:
    registry = AgentRegistry(tmp_path)
    registry.register(an_agent("a", plan))
    inner = StubHost()
    with pytest.raises(HostFailure, match="does not pass preflight"):
        evaluate('(call "a" {:context {:id "x"}})', host=AgentHost(inner, registry.get, GATE))
    assert inner.log == []


def test_an_agent_is_not_run_without_leave_or_without_a_context() -> None:
    agents = {"a": an_agent("a")}
    pure = RegistryGate(RuntimeContext(level="pure"), {})
    with pytest.raises(SecurityViolation):
        evaluate('(call "a" {:context {}})', host=AgentHost(StubHost(), agents.get, pure))
    with pytest.raises(HostFailure, match="takes"):
        evaluate('(call "a" 1)', host=AgentHost(StubHost(), agents.get, GATE))


@pytest.mark.parametrize(("tier", "value"), [
    ("T0", "0.6"), ("T0Sandbox", "0.6"), ("sandbox", "0.6"), ("t1_trusted", "0.85"), ("Trusted", "0.85"), ("T2Privileged", "1"),
    ("untrusted", "0.6"), ("", "0"), ("T3", "0"), ("T10", "0"), ("T0 T1", "0"), ("very trusted", "0"), ("T1\nT2", "0"),
])  # fmt: skip
def test_a_tier_has_its_value_and_what_is_no_tier_has_none(tier: str, value: str) -> None:
    assert tier_value(tier) == Fraction(value)


def test_the_posterior_is_the_mean_within_bounds() -> None:
    rule = TrustRule(prior_strength=10, max_shift=200, floor=100)
    record = TrackRecord(id="x", n_success=1, n_failure=3)
    assert posterior_trust("T0", record, rule) == Fraction(7, 14)
    assert posterior_trust("T0", TrackRecord(id="x", n_success=999), rule) == Fraction(8, 10)
    assert posterior_trust("T0", TrackRecord(id="x", n_failure=20), rule) == Fraction(6, 30)
    assert posterior_trust("T1", TrackRecord(id="x", n_success=999), rule) == Fraction(2015, 2018)
    assert posterior_trust("", TrackRecord(id="x", n_failure=999), rule) == 0
    strict = TrustRule(floor=500)
    assert posterior_trust("T0", TrackRecord(id="x", n_failure=999), strict) == Fraction(1, 2)
    assert posterior_trust("T0", TrackRecord(id="x"), rule) == Fraction(6, 10)


@pytest.mark.parametrize("tier", ["T0", "T1", "T2"])
def test_the_floor_that_ships_is_where_failures_end_for_every_known_tier(tier: str) -> None:
    rule = DEFAULT_CONFIG.trust
    worst = posterior_trust(tier, TrackRecord(id="x", n_failure=10_000), rule)
    assert worst == Fraction(rule.floor, 1000) < tier_value(tier)
    forgiven = TrackRecord(id="x", n_failure=10_000, n_success=10_000)
    assert posterior_trust(tier, forgiven, rule) > worst


def test_trust_is_the_mean_of_what_is_preferred() -> None:
    def units(**preferences: bool) -> int:
        return trust_units(
            Fraction(1, 2), is_local=True, preferences=PlannerPreferences(**preferences)
        )

    assert units() == 750_000_000
    assert units(prefer_local=False) == 500_000_000
    assert units(prefer_trusted=False) == 1_000_000_000
    assert units(prefer_local=False, prefer_trusted=False) == 0


def test_two_records_of_one_id_are_added() -> None:
    records = [TrackRecord(id="x", n_success=1), TrackRecord(id="x", n_failure=2)]
    assert records_by_id(records) == {"x": TrackRecord(id="x", n_success=1, n_failure=2)}
