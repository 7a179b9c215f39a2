"""That the overlay forces an action: the kernel's own rules, asked about any issue and any config."""

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from planner_pipeline.bench.executors.cyntra_overlay import (
    Forced,
    estimated_tokens,
    forced_by,
    mismatch,
    overlaid,
    ready_issue,
    view_of_issue,
)
from planner_pipeline.sample.settings import config_yaml
from planner_runtime.actions import Action, ActionSpace, executed_action
from planner_runtime.archives.workcell_files import RecordedPlan
from planner_runtime.contracts import ExecutedPlan
from planner_runtime.heuristic import ActionRates, IssueView, dispatch_plan
from planner_runtime.kernel_config import KernelConfig, kernel_config_of
from planner_runtime.scheduler import QueuedIssue, schedule

NAMES = ("codex", "claude", "opencode", "crush", "fab-world", "comfyui")
TAGS = ("asset:world", "asset:image", "kernel", "complex", "needs-human", "escalation")
SHIPPED = yaml.safe_load(config_yaml())


def some(values: Any) -> Any:
    return st.lists(st.sampled_from(values), unique=True, max_size=3)


def sometimes(**fields: Any) -> Any:
    return st.fixed_dictionaries({}, optional=fields)


COUNTS, RATIOS = st.integers(1, 6), st.floats(0, 1)
MATCHES = sometimes(
    dk_risk=some(("low", "medium", "high", "critical")), dk_size=st.sampled_from(("S", "XL")),
    dk_tool_hint=st.sampled_from(NAMES), tags_any=some(TAGS), tags_all=some(TAGS),
    title_pattern=st.sampled_from(("^Fix", "(", ".")),
)  # fmt: skip
RULES = st.fixed_dictionaries(  # mostly ones that would have another number compete
    {"speculate": st.sampled_from((True, True, False)), "parallelism": st.integers(-1, 5)},
    optional={"match": MATCHES, "use": some(NAMES) | st.sampled_from(NAMES)},
)
SECTIONS = {
    "include": st.just("base.yaml"),
    "planner": sometimes(mode=st.sampled_from(("log", "enforce")), enabled=st.booleans()),
    "toolchain_priority": st.lists(st.sampled_from(NAMES), unique=True, min_size=1),
    "toolchains": st.dictionaries(
        st.sampled_from(NAMES),
        st.none() | sometimes(timeout_minutes=COUNTS, timeout_seconds=COUNTS, model=st.just("m")),
    ),
    "routing": st.fixed_dictionaries(
        {"rules": st.lists(RULES, max_size=4)},
        optional={"fallbacks": st.dictionaries(st.sampled_from(NAMES), some(NAMES))},
    ),
    "speculation": sometimes(
        enabled=st.booleans(), default_parallelism=COUNTS, max_parallelism=COUNTS,
        vote_threshold=RATIOS, auto_trigger_on_critical_path=st.booleans(),
        auto_trigger=sometimes(risk_levels=some(("low", "high"))),
    ),
    "control": sometimes(
        enabled=st.booleans(), action_low=RATIOS, action_high=RATIOS, parallelism_step=COUNTS,
    ),
    "scheduling": st.fixed_dictionaries(
        {"max_concurrent_workcells": COUNTS, "max_concurrent_tokens": st.integers(1, 400_000)}
    ),
    "gates": st.just({"test_command": "pytest"}),
}  # fmt: skip
EMPTIED = some(("routing", "speculation", "control", "scheduling"))
CONFIGS = st.builds(
    lambda full, absent, empty: {
        name: None if name in empty else value for name, value in full.items() if name not in absent
    },
    st.fixed_dictionaries(SECTIONS), some(sorted(SECTIONS)), EMPTIED,
)  # fmt: skip
ISSUES = sometimes(
    title=st.sampled_from(("Fix it", "Make it")), description=st.none() | st.text(max_size=5),
    dk_risk=st.sampled_from(("low", "medium", "high", "critical", "odd")),
    dk_size=st.sampled_from(("XS", "S", "M", "L", "XL")),
    dk_tool_hint=st.sampled_from((None, "unheard-of", *NAMES)), dk_speculate=st.booleans(),
    tags=some(TAGS), status=st.sampled_from(("open", "done", "escalated", "running")),
    dk_attempts=st.sampled_from(("0", "3", 7)), dk_max_attempts=st.integers(0, 3),
    dk_estimated_tokens=st.sampled_from(("90000", 0, 500_000)),
)  # fmt: skip
ACTIONS = st.one_of(
    st.tuples(st.just("speculate_vote"), st.sampled_from((3, 2, 1))),
    st.tuples(st.just("serial_handoff"), st.just(1)),
)
AVAILABLE = st.none() | st.lists(st.sampled_from(NAMES), unique=True)
RATES = st.none() | RATIOS.map(lambda rate: ActionRates(overall=rate))


def forcing(
    document: dict[str, Any], raw: dict[str, Any], swarm: str, n: int, seconds: int = 1800
) -> tuple[Forced, KernelConfig]:
    config = kernel_config_of(document)
    forced = forced_by(config, view_of_issue(raw), swarm_id=swarm, n_candidates=n, seconds=seconds)
    changed = overlaid(
        document, forced, priority=config.toolchain_priority, estimated_tokens=estimated_tokens(raw)
    )
    return forced, kernel_config_of(yaml.safe_load(yaml.safe_dump(changed)))


@given(CONFIGS, ISSUES, ACTIONS, AVAILABLE, RATES, st.booleans(), st.sampled_from((1, 1800, 7200)))
@settings(max_examples=300, deadline=None)
def test_the_kernels_rules_choose_exactly_the_wanted_swarm_number_and_time(
    document, fields, action, available, rates, is_critical, seconds
) -> None:
    raw = ready_issue({"id": "7", **fields})
    before = copy.deepcopy(document)
    forced, config = forcing(document, raw, *action, seconds)
    assert document == before
    view = view_of_issue(raw)
    plan = dispatch_plan(
        config, view, available=available, rates=rates, critical_path=("7",) * is_critical
    )
    if action[0] == "serial_handoff":
        assert plan is not None
        found = (plan.swarm_id, plan.max_candidates, plan.timeout_cap_seconds)
        assert found == ("serial_handoff", 1, seconds)
        return
    usable = [
        name for name in forced.toolchains
        if name in config.toolchain_priority and (available is None or name in available)
    ]  # fmt: skip
    if not usable:  # the kernel then runs nothing, whatever it is told
        assert plan is None
        return
    assert plan is not None
    assert plan.swarm_id == "speculate_vote"
    assert plan.toolchains == tuple(usable[: action[1]])
    assert plan.max_candidates == min(action[1], len(usable))
    assert plan.timeout_cap_seconds == seconds
    if view.dk_tool_hint in usable:
        assert plan.toolchains[0] == view.dk_tool_hint


@given(CONFIGS, ISSUES, ACTIONS)
@settings(max_examples=150, deadline=None)
def test_the_scheduler_takes_the_issue_with_all_of_its_candidates(document, fields, action) -> None:
    raw = ready_issue({"id": "7", **fields})
    _, config = forcing(document, raw, *action)
    mine = QueuedIssue(
        view=view_of_issue(raw), status=raw["status"], attempts=int(raw.get("dk_attempts", 0)),
        max_attempts=int(raw.get("dk_max_attempts", 3)), estimated_tokens=estimated_tokens(raw),
    )  # fmt: skip
    cycle = schedule(config, [mine], now_ms=0)
    assert cycle.dispatched == ("7",)
    assert cycle.speculating == ({"7"} if action[0] == "speculate_vote" else set())
    assert config.scheduling.max_concurrent_workcells >= action[1]


@pytest.mark.parametrize("minutes", [15, 30, 45, 60, 120])
@pytest.mark.parametrize("swarm", ["serial_handoff", "speculate_vote"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_under_the_shipped_configuration_every_action_is_executed_as_its_own_bin(
    minutes: int, swarm: str, n: int
) -> None:
    n = 1 if swarm == "serial_handoff" else n
    _, config = forcing(SHIPPED, {"id": "7", "dk_risk": "low"}, swarm, n, minutes * 60)
    plan = dispatch_plan(config, IssueView(issue_id="7", dk_risk="low"))
    assert plan is not None
    executed = ExecutedPlan(
        swarm_id_executed=plan.swarm_id, max_candidates_executed=plan.max_candidates,
        timeout_seconds_executed=plan.timeout_cap_seconds, max_iterations_executed=None,
        fallback_applied=False,
    )  # fmt: skip
    assert executed_action(ActionSpace(), executed) == Action(swarm, n, minutes, "NA")


@pytest.mark.parametrize("risk", ["high", "critical"])
def test_what_the_kernel_would_have_done_anyway_is_done_with_the_same_toolchains(risk: str) -> None:
    view = IssueView(issue_id="7", dk_risk=risk)
    plain = dispatch_plan(kernel_config_of(SHIPPED), view)
    assert plain is not None
    raw = {"id": "7", "dk_risk": risk}
    _, config = forcing(SHIPPED, raw, "speculate_vote", plain.max_candidates)
    forced = dispatch_plan(config, view)
    assert forced is not None
    assert forced.toolchains == plain.toolchains


def test_nothing_else_of_the_configuration_changes() -> None:
    document = {**SHIPPED, "include": "x.yaml", "gates": {"test_command": "pytest"}, "odd": [1]}
    document["toolchains"] = {"codex": {"timeout_minutes": 60, "model": "m"}, "other": None}
    document["planner"] = {"mode": "enforce", "bundle_dir": "b"}
    forced = Forced(swarm_id="speculate_vote", n_candidates=5, seconds=90, toolchains=("codex",))
    changed = overlaid(document, forced, priority=("codex", "claude"))
    assert "include" not in changed
    assert changed["planner"] == {"mode": "off"}
    assert changed["toolchains"] == {
        "codex": {"model": "m", "timeout_seconds": 90},
        "other": {"timeout_seconds": 90},
        "claude": {"timeout_seconds": 90},
    }
    assert changed["control"] == {"enabled": False}
    assert changed["scheduling"]["max_concurrent_workcells"] == 5
    assert changed["speculation"]["max_parallelism"] == 5
    assert changed["routing"]["rules"][1:] == SHIPPED["routing"]["rules"]
    touched = {
        "include",
        "planner",
        "toolchains",
        "control",
        "scheduling",
        "speculation",
        "routing",
    }
    assert {k: changed[k] for k in document if k not in touched} == {
        k: document[k] for k in document if k not in touched
    }
    alone = Forced(swarm_id="serial_handoff", n_candidates=1, seconds=90)
    serial = overlaid(document, alone, priority=("codex",))
    assert serial["routing"] == SHIPPED["routing"]
    assert serial["speculation"] == {**SHIPPED["speculation"], "enabled": False}


def test_fab_world_competes_only_where_somebody_names_it() -> None:
    forced, _ = forcing(SHIPPED, {"id": "7"}, "speculate_vote", 3)
    assert forced.toolchains == ("codex", "claude", "opencode", "crush")
    hinted, _ = forcing(SHIPPED, {"id": "7", "dk_tool_hint": "fab-world"}, "speculate_vote", 3)
    assert hinted.toolchains[0] == "fab-world"


def test_a_swarm_the_kernel_does_not_have_cannot_be_forced() -> None:
    with pytest.raises(ValueError, match="no swarm tournament"):
        forcing(SHIPPED, {"id": "7"}, "tournament", 2)


def test_an_issue_is_made_ready_and_otherwise_left_as_it_is() -> None:
    raw = {
        "id": 7, "status": "escalated", "dk_attempts": "3", "tags": ["ui", "needs-human"], "x": 1,
    }  # fmt: skip
    before = copy.deepcopy(raw)
    ready = ready_issue(raw)
    assert raw == before
    assert ready == {"id": 7, "status": "open", "dk_attempts": "2", "tags": ["ui"], "x": 1}
    assert ready_issue({"id": "1", "dk_attempts": "1"})["dk_attempts"] == "1"
    assert ready_issue({"id": "1", "dk_max_attempts": 0})["dk_max_attempts"] == 1


TWO = Forced(swarm_id="speculate_vote", n_candidates=2, seconds=900, toolchains=("codex", "claude"))


@pytest.mark.parametrize(
    ("swarm", "n", "seconds", "available", "is_short"),
    [
        ("speculate_vote", 1, 900, ["codex"], True),
        ("speculate_vote", 1, 900, ["codex", "comfyui"], True),
        ("speculate_vote", 1, 900, ["codex", "claude"], False),
        ("speculate_vote", 1, 900, None, False),
        ("speculate_vote", 3, 900, ["codex"], False),
        ("speculate_vote", 1, 901, ["codex"], False),
        ("serial_handoff", 1, 900, ["codex"], False),
        ("speculate_vote", None, 900, ["codex"], False),
        ("speculate_vote", 2, None, None, False),
    ],
)
def test_another_plan_than_the_wanted_one_is_told_and_a_shortage_told_apart(
    swarm: str, n: int | None, seconds: int | None, available: list[str] | None, is_short: bool
) -> None:
    plan = RecordedPlan(
        swarm_id_executed=swarm, max_candidates_executed=n, timeout_seconds_executed=seconds
    )
    differs = mismatch(TWO, plan, available=available)
    assert differs is not None
    assert differs[1] == is_short
    assert differs[0].startswith("wanted speculate_vote of 2, 900 s, executed ")


def test_the_wanted_plan_is_no_mismatch() -> None:
    plan = RecordedPlan(
        swarm_id_executed="speculate_vote", max_candidates_executed=2,
        timeout_seconds_executed=900,
    )  # fmt: skip
    assert mismatch(TWO, plan, available=None) is None
