import pytest

from planner_runtime.actions import ActionSpace
from planner_runtime.contracts import PlannerInput, read_document
from planner_runtime.heuristic import (
    ActionRates,
    IssueView,
    baseline_action,
    control_decision,
    dispatch_plan,
    evolve_population,
    should_speculate,
)
from planner_runtime.inputs import build_planner_input, issue_document
from planner_runtime.kernel_config import (
    SHIPPED_CONFIG,
    KernelConfig,
    Speculation,
    kernel_config_of,
)


def an_issue(**fields: object) -> IssueView:
    return IssueView(issue_id="1", **fields)  # type: ignore[arg-type]


BASELINE_TABLE = [
    # formats 6.3, with the shipped configuration and every toolchain there
    (an_issue(dk_risk="low", dk_size="S"), "serial_handoff", ("opencode",), 45),
    (an_issue(dk_risk="low", dk_size="XS"), "serial_handoff", ("opencode",), 45),
    (an_issue(dk_risk="low"), "serial_handoff", ("claude",), 60),
    (an_issue(), "serial_handoff", ("claude",), 60),
    (an_issue(dk_size="XL"), "serial_handoff", ("codex",), 60),
    (an_issue(tags=frozenset({"kernel"})), "serial_handoff", ("codex",), 60),
    (an_issue(tags=frozenset({"asset:world"})), "serial_handoff", ("fab-world",), 120),
    (an_issue(dk_risk="high"), "speculate_vote", ("codex", "claude"), 60),
    (an_issue(dk_risk="critical"), "speculate_vote", ("codex", "claude", "crush"), 45),
    (
        an_issue(dk_risk="high", dk_tool_hint="opencode"),
        "speculate_vote",
        ("opencode", "codex"),
        45,
    ),
    (an_issue(dk_speculate=True), "speculate_vote", ("codex", "claude"), 60),
    (an_issue(dk_speculate=True, dk_tool_hint="crush"), "speculate_vote", ("crush",), 45),
    (
        an_issue(dk_risk="high", tags=frozenset({"asset:world"})),
        "speculate_vote",
        ("codex", "claude"),
        60,
    ),
]


@pytest.mark.parametrize(("issue", "swarm", "toolchains", "minutes"), BASELINE_TABLE)
def test_the_baseline_table_of_formats_holds(
    issue: IssueView, swarm: str, toolchains: tuple[str, ...], minutes: int
) -> None:
    plan = dispatch_plan(SHIPPED_CONFIG, issue)
    assert plan is not None
    assert (plan.swarm_id, plan.toolchains) == (swarm, toolchains)
    assert plan.max_candidates == len(toolchains)
    assert plan.timeout_cap_seconds == minutes * 60


def test_a_serial_hint_is_taken_whether_or_not_it_is_there() -> None:
    plan = dispatch_plan(SHIPPED_CONFIG, an_issue(dk_tool_hint="crush"), available=["claude"])
    assert plan is not None
    assert plan.toolchains == ("crush",)


def test_a_missing_toolchain_gives_way_to_its_fallbacks_in_order() -> None:
    plan = dispatch_plan(SHIPPED_CONFIG, an_issue(), available=["opencode", "codex"])
    assert plan is not None
    assert plan.toolchains == ("codex",)


def test_speculation_without_any_candidate_runs_nothing() -> None:
    assert dispatch_plan(SHIPPED_CONFIG, an_issue(dk_risk="high"), available=["opencode"]) is None


def test_the_critical_path_speculates_only_risky_issues() -> None:
    config = KernelConfig()
    assert should_speculate(config, an_issue(dk_risk="high"), critical_path=("1",))
    assert not should_speculate(config, an_issue(dk_risk="high"), critical_path=("2",))
    assert not should_speculate(config, an_issue(dk_risk="low"), critical_path=("1",))


def test_speculation_can_be_switched_off_and_forced() -> None:
    off = KernelConfig(speculation=Speculation(enabled=False, force=True))
    assert not should_speculate(off, an_issue(dk_speculate=True))
    assert should_speculate(KernelConfig(speculation=Speculation(force=True)), an_issue())


@pytest.mark.parametrize(
    ("rate", "mode", "parallelism", "temperature", "rank"),
    [(0.05, "trap", 3, 0.3, -1), (0.3, "balanced", 2, 0.2, 0), (0.9, "chaos", 1, 0.1, 1)],
)
def test_the_controller_answers_as_formats_say(
    rate: float, mode: str, parallelism: int, temperature: float, rank: int
) -> None:
    decision = control_decision(SHIPPED_CONFIG, an_issue(), ActionRates(overall=rate))
    assert (decision.mode, decision.speculate_parallelism, decision.priority_rank) == (
        mode,
        parallelism,
        rank,
    )
    assert decision.temperature == pytest.approx(temperature)


def test_any_dynamics_report_overrides_a_rules_parallelism() -> None:
    critical = an_issue(dk_risk="critical")
    plan = dispatch_plan(SHIPPED_CONFIG, critical, rates=ActionRates(by_domain={"code": 0.3}))
    assert plan is not None
    assert plan.max_candidates == 2


def test_no_dynamics_report_means_a_disabled_controller() -> None:
    decision = control_decision(SHIPPED_CONFIG, an_issue())
    assert (decision.mode, decision.reason) == ("disabled", "no_dynamics_report")
    assert decision.speculate_parallelism is None


@pytest.mark.parametrize(
    ("swarm", "configured", "expected"),
    [
        ("serial_handoff", None, 1),
        ("speculate_vote", None, 3),
        ("speculate_vote", 5, 5),
        ("x", 0, 3),
    ],
)
def test_evolutions_take_their_population_as_formats_say(
    swarm: str, configured: int | None, expected: int
) -> None:
    assert evolve_population(swarm, configured) == expected


def test_the_baseline_of_an_evolution_is_the_universes_swarm() -> None:
    question = read_document(
        build_planner_input(
            created_at_ms=0, universe_id="medica", job_type="fab-world",
            universe_defaults={"swarm_id": "speculate_vote"},
            issue=issue_document({"id": "world:outora_library", "tags": ["asset:world"]}),
            similar_runs=(), space=ActionSpace(), system_state=None,
        ),
        PlannerInput,
    )  # fmt: skip
    assert baseline_action(ActionSpace(), question, SHIPPED_CONFIG) == (
        "speculate_vote",
        3,
        "NA",
        "NA",
    )


def test_configuration_is_read_with_its_aliases_and_refused_with_its_path() -> None:
    config = kernel_config_of(
        {
            "toolchains": {
                "a": {"timeout_minutes": 2},
                "b": {"timeout_seconds": 9, "timeout_minutes": 2},
            },
            "speculation": {"auto_trigger": {"on_critical_path": False, "risk_levels": ["low"]}},
            "routing": {"rules": [{"match": None, "use": "a"}]},
        }
    )
    assert (config.timeout_of("a"), config.timeout_of("b"), config.timeout_of("c")) == (
        120,
        9,
        1_800,
    )
    assert not config.speculation.auto_trigger_on_critical_path
    assert config.speculation.auto_trigger_risk_levels == ("low",)
    assert config.rules[0].use == ("a",)
    with pytest.raises(ValueError, match="max_parallelism"):
        kernel_config_of({"speculation": {"max_parallelism": "many"}})
