"""The heuristic baseline: what the kernel does when no planner speaks.

Belongs here: routing, speculation, the exploration controller, and the plan they amount to, clause
by clause. Does not: which issues are ready (``scheduler``), learning.
Source: reference/cyntra-formats.md 6.1 to 6.4; spec section 7.1.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from planner_runtime.actions import (
    NA,
    Action,
    ActionSpace,
    is_valid_action,
    nearest_bin,
    valid_actions,
)
from planner_runtime.contracts.bins import Bin
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.inputs import (
    DEFAULT_PRIORITY,
    DEFAULT_RISK,
    DEFAULT_SIZE,
    WORLD_ISSUE_PREFIX,
    domain_of,
)
from planner_runtime.kernel_config import ExplorationControl, KernelConfig, RoutingRule

SERIAL: Final = "serial_handoff"
SPECULATE: Final = "speculate_vote"
DEFAULT_POPULATION: Final = 3
DEFAULT_TOOLCHAIN: Final = "codex"

ControlMode = Literal["disabled", "trap", "balanced", "chaos"]


class IssueView(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of an issue that the kernel's own rules read."""

    issue_id: str
    title: str = ""
    description: str = ""
    dk_priority: str = DEFAULT_PRIORITY
    dk_risk: str = DEFAULT_RISK
    dk_size: str = DEFAULT_SIZE
    dk_tool_hint: str | None = None
    dk_speculate: bool = False
    tags: frozenset[str] = frozenset()


class ActionRates(msgspec.Struct, frozen=True, kw_only=True):
    """The dynamics report's action summary; None where it has no figure."""

    by_domain: Mapping[str, float] = {}
    overall: float | None = None


class ControlDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What the exploration controller says of an issue."""

    mode: ControlMode
    reason: str
    action_rate: float | None = None
    temperature: float | None = None
    speculate_parallelism: int | None = None
    priority_rank: int = 0


class HeuristicPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel would run: the toolchains in order, one workcell each when speculating."""

    swarm_id: str
    toolchains: tuple[str, ...]
    max_candidates: int
    timeout_cap_seconds: int | None  # the shortest limit among the toolchains
    reason: str


def _matches_any(pattern: Any, text: str) -> bool:
    try:
        return re.search(str(pattern), text) is not None
    except re.error:
        return False  # a broken pattern matches nothing


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else (value,)


def rule_matches(rule: RoutingRule, issue: IssueView) -> bool:
    """Whether every key of the rule's ``match`` fits; an empty match fits all (formats 5)."""
    for key, wanted in rule.match.items():
        if wanted is None:
            continue
        if key in ("dk_tool_hint", "dk_risk", "dk_size"):
            fits = getattr(issue, key) in _listed(wanted)
        elif key == "tags_any":
            fits = not issue.tags.isdisjoint(map(str, _listed(wanted)))
        elif key == "tags_all":
            fits = issue.tags.issuperset(map(str, _listed(wanted)))
        elif key == "title_pattern":
            fits = _matches_any(wanted, issue.title)
        elif key == "description_pattern":
            fits = _matches_any(wanted, issue.description)
        else:
            continue
        if not fits:
            return False
    return True


def first_rule(
    config: KernelConfig, issue: IssueView, *, speculating: bool = False
) -> RoutingRule | None:
    """The first matching rule, or the first matching one that speculates."""
    for rule in config.rules:
        if (rule.speculate or not speculating) and rule_matches(rule, issue):
            return rule
    return None


def should_speculate(
    config: KernelConfig, issue: IssueView, *, critical_path: Collection[str] = ()
) -> bool:
    """Whether several candidates compete for ``issue``. Source: formats 6.1."""
    speculation = config.speculation
    if not speculation.enabled:
        return False
    if issue.dk_speculate or speculation.force:
        return True
    # the search skips rules that do not speculate, so a hinted or world issue can match here too
    if first_rule(config, issue, speculating=True) is not None:
        return True
    return (
        speculation.auto_trigger_on_critical_path
        and issue.issue_id in critical_path
        and issue.dk_risk in speculation.auto_trigger_risk_levels
    )


def control_decision(
    config: KernelConfig, issue: IssueView, rates: ActionRates | None = None
) -> ControlDecision:
    """The exploration controller's word on ``issue``. Source: formats 6.2."""
    control: ExplorationControl = config.control
    rate = None
    if rates is not None:
        domain = domain_of("code", sorted(issue.tags))
        rate = rates.by_domain.get(domain, rates.overall)
    if not control.enabled or rate is None:
        return ControlDecision(mode="disabled", reason="no_dynamics_report")
    default, most = config.speculation.default_parallelism, config.speculation.max_parallelism
    step, base = control.parallelism_step, control.temperature_base
    if rate < control.action_low:
        return ControlDecision(
            mode="trap",
            reason="action_below_low",
            action_rate=rate,
            temperature=min(control.temperature_max, base + control.temperature_step),
            speculate_parallelism=min(most, default + step),
            priority_rank=-1,
        )
    if rate > control.action_high:
        return ControlDecision(
            mode="chaos",
            reason="action_above_high",
            action_rate=rate,
            temperature=max(control.temperature_min, base - control.temperature_step),
            speculate_parallelism=max(1, default - step),
            priority_rank=1,
        )
    return ControlDecision(
        mode="balanced",
        reason="action_in_band",
        action_rate=rate,
        temperature=base,
        speculate_parallelism=default,
    )


def _adapters(config: KernelConfig, available: Collection[str] | None) -> list[str]:
    """Toolchains with an adapter that can be run; ``available`` None means all of them."""
    names = config.toolchain_priority
    return [name for name in names if available is None or name in available]


def serial_plan(
    config: KernelConfig, issue: IssueView, *, available: Collection[str] | None = None
) -> HeuristicPlan:
    """One workcell with one toolchain. Source: formats 6.3."""
    rule = first_rule(config, issue)
    uses = rule.use if rule is not None else ()
    if issue.dk_tool_hint in config.toolchain_priority:
        toolchain = str(issue.dk_tool_hint)  # the kernel does not ask whether a hint is available
        reason = "tool_hint"
    else:
        usable = _adapters(config, available)
        wanted = [
            *uses,
            *(fallback for name in uses for fallback in config.fallbacks.get(name, ())),
            *config.toolchain_priority,
        ]
        last_resort = next(iter(config.toolchain_priority), DEFAULT_TOOLCHAIN)
        toolchain = next((name for name in wanted if name in usable), last_resort)
        reason = "routing_rule" if toolchain in uses else "routing_fallback"
    return HeuristicPlan(
        swarm_id=SERIAL,
        toolchains=(toolchain,),
        max_candidates=1,
        timeout_cap_seconds=config.timeout_of(toolchain),
        reason=reason,
    )


def planned_parallelism(
    config: KernelConfig, issue: IssueView, rates: ActionRates | None = None
) -> int:
    """How many candidates speculation asks for: the controller's word, else the first speculating
    rule's, else the default. Source: formats 6.2 and 6.3.
    """
    control = control_decision(config, issue, rates).speculate_parallelism
    if control is not None:
        return control
    rule = first_rule(config, issue, speculating=True)
    if rule is not None and rule.parallelism is not None and rule.parallelism > 0:
        return rule.parallelism
    return config.speculation.default_parallelism


def speculate_plan(
    config: KernelConfig,
    issue: IssueView,
    *,
    available: Collection[str] | None = None,
    rates: ActionRates | None = None,
) -> HeuristicPlan | None:
    """Competing workcells, or None when no candidate's toolchain is available: the kernel then
    runs nothing. Source: formats 6.3.
    """
    rule = first_rule(config, issue, speculating=True)
    hinted = (issue.dk_tool_hint,) if issue.dk_tool_hint else ()
    wanted = tuple(dict.fromkeys((*hinted, *(rule.use if rule is not None else ()))))
    usable = _adapters(config, available)
    candidates = [name for name in wanted or config.toolchain_priority if name in usable]
    if not candidates:
        return None
    n = max(1, min(planned_parallelism(config, issue, rates), len(candidates)))
    chosen = tuple(candidates[:n])
    return HeuristicPlan(
        swarm_id=SPECULATE,
        toolchains=chosen,
        max_candidates=n,
        timeout_cap_seconds=min(config.timeout_of(name) for name in chosen),
        reason="speculation",
    )


def dispatch_plan(
    config: KernelConfig,
    issue: IssueView,
    *,
    available: Collection[str] | None = None,
    rates: ActionRates | None = None,
    critical_path: Collection[str] = (),
) -> HeuristicPlan | None:
    """What the kernel dispatches for a ready issue; None when it would run nothing."""
    if should_speculate(config, issue, critical_path=critical_path):
        return speculate_plan(config, issue, available=available, rates=rates)
    return serial_plan(config, issue, available=available)


def evolve_population(swarm_id: str, configured: int | None = None) -> int:
    """Population of a world evolution. Source: formats 6.4."""
    if configured is not None and configured > 0:
        return configured
    return 1 if swarm_id == SERIAL else DEFAULT_POPULATION


def issue_view(planner_input: PlannerInput) -> IssueView:
    """The kernel's view of the issue in a planner input, which carries no description."""
    issue = planner_input.issue
    return IssueView(
        issue_id=issue.issue_id,
        title=issue.title,
        dk_priority=issue.dk_priority or DEFAULT_PRIORITY,
        dk_risk=issue.dk_risk or DEFAULT_RISK,
        dk_size=issue.dk_size or DEFAULT_SIZE,
        dk_tool_hint=issue.dk_tool_hint,
        dk_speculate=issue.dk_speculate is True,
        tags=frozenset(issue.tags),
    )


def _loosest_bin(value: float | None, bins: Sequence[Bin]) -> Bin:
    numbers = [b for b in bins if b != NA]
    if value is None and NA not in bins:
        return max(numbers)
    return nearest_bin(value if numbers else None, bins)


def plan_to_action(space: ActionSpace, plan: HeuristicPlan, *, job_type: str) -> Action:
    """The joint action of a heuristic plan, budgets snapped to bins. Source: formats 6.3.

    A budget the plan does not enforce is "NA", or the largest bin where the space has no "NA".
    Where the space does not offer the swarm, or a rule forbids the combination, the valid action
    that differs in the fewest choices stands in; ties go to the first.

    Raises:
        ValueError: the space has no valid action for ``job_type``.
    """
    cap = plan.timeout_cap_seconds
    wanted = Action(
        plan.swarm_id,
        _loosest_bin(plan.max_candidates, space.max_candidates_bins),
        _loosest_bin(None if cap is None else cap / 60, space.max_minutes_bins),
        _loosest_bin(None, space.max_iterations_bins),
    )
    if wanted.swarm_id in space.swarm_ids and is_valid_action(wanted, job_type=job_type):
        return wanted
    offered = valid_actions(space, job_type)
    if not offered:
        raise ValueError(f"the action space has no valid action for {job_type!r}")
    return min(offered, key=lambda a: sum(x != y for x, y in zip(a, wanted, strict=True)))


def baseline_action(
    space: ActionSpace,
    planner_input: PlannerInput,
    config: KernelConfig,
    *,
    rates: ActionRates | None = None,
) -> Action:
    """The kernel's own answer to a planner input, as far as the input tells: it holds no
    description for ``description_pattern`` rules and not what is on the critical path.

    A world evolution (issue id ``world:...``) takes the universe's swarm and its population; a
    dispatch takes routing and speculation; where the kernel would run nothing, its serial plan.

    Raises:
        ValueError: the action space has no valid action for the job type.
    """
    if planner_input.issue.issue_id.startswith(WORLD_ISSUE_PREFIX):
        swarm = planner_input.universe_defaults.swarm_id or SPECULATE
        plan: HeuristicPlan | None = HeuristicPlan(
            swarm_id=swarm,
            toolchains=(),
            max_candidates=evolve_population(swarm),
            timeout_cap_seconds=None,
            reason="universe_defaults",
        )
    else:
        state = planner_input.system_state
        available = None if state is None else state.available_toolchains
        view = issue_view(planner_input)
        plan = dispatch_plan(config, view, available=available, rates=rates)
        plan = plan or serial_plan(config, view, available=available)
    assert plan is not None
    return plan_to_action(space, plan, job_type=planner_input.job_type)
