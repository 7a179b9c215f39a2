"""What is changed in a copied workspace so that the kernel's own rules choose the wanted action.

Belongs here: the configuration's overlay, the issue made ready, and whether a recorded plan is what
was wanted. Does not: files (``cyntra_copy``), the rules themselves (``planner_runtime.heuristic``).
Source: formats 5 (configuration), 6.1 (readiness, speculation), 6.2 (controller), 6.3 (dispatch).

All functions are pure. That the overlay forces an action is proven against the kernel's rules as
``planner_runtime`` has them, for any issue and any configuration (``test_cyntra_overlay``).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from planner_runtime.archives.workcell_files import RecordedPlan
from planner_runtime.heuristic import SERIAL, SPECULATE, IssueView, first_rule
from planner_runtime.inputs import count_of, issue_document
from planner_runtime.kernel_config import KernelConfig
from planner_runtime.scheduler import DEFAULT_TOKENS, HUMAN_TAGS

WORLD_TOOLCHAIN: Final = "fab-world"  # builds worlds; it does not compete at code
DEFAULT_MAX_ATTEMPTS: Final = 3


class Forced(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel is made to do with one issue.

    Attributes:
        seconds: Time limit of every toolchain.
        toolchains: Those that may compete, in order, a hint first; the kernel takes as many of
            them as are available. Empty where one works alone: then its own routing chooses.
    """

    swarm_id: str
    n_candidates: int
    seconds: int
    toolchains: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """For people, e.g. ``speculate_vote of 2, 1800 s``."""
        return f"{self.swarm_id} of {self.n_candidates}, {self.seconds} s"


def view_of_issue(raw: Mapping[str, Any]) -> IssueView:
    """A line of ``.beads/issues.jsonl`` as the kernel's rules see it."""
    issue = issue_document(raw)
    description = raw.get("description")
    return IssueView(
        issue_id=issue["issue_id"],
        title=issue["title"],
        description=description if isinstance(description, str) else "",
        dk_priority=issue["dk_priority"],
        dk_risk=issue["dk_risk"],
        dk_size=issue["dk_size"],
        dk_tool_hint=issue["dk_tool_hint"],
        dk_speculate=bool(issue.get("dk_speculate")),
        tags=frozenset(issue["tags"]),
    )


def forced_by(
    config: KernelConfig, issue: IssueView, *, swarm_id: str, n_candidates: int, seconds: int
) -> Forced:
    """What an action means for an issue under a workspace's configuration.

    Those that compete are the ones its own first speculating rule names for the issue, then all
    others by priority: with as many candidates as the kernel would have taken, they are the same.

    Raises:
        ValueError: the kernel has no such swarm.
    """
    if swarm_id not in (SERIAL, SPECULATE):
        raise ValueError(f"the kernel has no swarm {swarm_id}")
    if swarm_id == SERIAL:
        return Forced(swarm_id=SERIAL, n_candidates=1, seconds=seconds)
    rule = first_rule(config, issue, speculating=True)
    hinted = (issue.dk_tool_hint,) if issue.dk_tool_hint else ()
    named = (*hinted, *(rule.use if rule is not None else ()))
    others = (name for name in config.toolchain_priority if name != WORLD_TOOLCHAIN)
    return Forced(
        swarm_id=SPECULATE,
        n_candidates=n_candidates,
        seconds=seconds,
        # named by nobody, the kernel takes them all, whatever they are
        toolchains=tuple(dict.fromkeys((*named, *others))) or config.toolchain_priority,
    )


def _section(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    return dict(value) if isinstance(value, Mapping) else {}


def _at_least(value: Any, least: int) -> int:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return max(least, value) if is_number else least


def overlaid(
    document: Mapping[str, Any],
    forced: Forced,
    *,
    priority: Sequence[str],
    estimated_tokens: int = DEFAULT_TOKENS,
) -> dict[str, Any]:
    """A configuration under which the kernel does what is wanted, whatever it said before.

    Args:
        document: ``.cyntra/config.yaml`` with its includes resolved; it is not changed.
        priority: Every toolchain that gets an adapter (``toolchain_priority``).
        estimated_tokens: Of the issue, which must fit a cycle.
    """
    n = forced.n_candidates
    changed = {name: value for name, value in document.items() if name != "include"}
    changed["planner"] = {"mode": "off"}  # a planner could lower candidates and time
    # once there is a dynamics report, the controller's parallelism would replace the rule's
    changed["control"] = {**_section(document, "control"), "enabled": False}
    toolchains = _section(document, "toolchains")
    changed["toolchains"] = {
        name: {
            **{k: v for k, v in _section(toolchains, name).items() if k != "timeout_minutes"},
            "timeout_seconds": forced.seconds,
        }
        for name in dict.fromkeys((*toolchains, *priority))
    }
    scheduling = _section(document, "scheduling")
    slots = _at_least(scheduling.get("max_concurrent_workcells"), n)
    tokens = _at_least(scheduling.get("max_concurrent_tokens"), n * estimated_tokens)
    changed["scheduling"] = {
        **scheduling, "max_concurrent_workcells": slots, "max_concurrent_tokens": tokens,
    }  # fmt: skip
    speculation = _section(document, "speculation")
    if forced.swarm_id == SERIAL:
        changed["speculation"] = {**speculation, "enabled": False}
        return changed
    changed["speculation"] = {
        **speculation,
        "enabled": True,
        "default_parallelism": n,
        "max_parallelism": _at_least(speculation.get("max_parallelism"), n),
    }
    routing = _section(document, "routing")
    rules = routing.get("rules")
    # the first speculating rule that matches gives candidates and parallelism; an empty match
    # matches every issue, also those that no rule of the workspace lets compete
    rule = {"match": {}, "speculate": True, "parallelism": n, "use": list(forced.toolchains)}
    routing["rules"] = [rule, *(rules if isinstance(rules, list) else ())]
    changed["routing"] = routing
    return changed


def ready_issue(raw: Mapping[str, Any]) -> dict[str, Any]:
    """An issue that the scheduler finds ready: open, with an attempt left, not a person's."""
    issue = dict(raw) | {"status": "open"}
    tags = issue.get("tags")
    if isinstance(tags, list):
        issue["tags"] = [tag for tag in tags if tag not in HUMAN_TAGS]
    told = issue.get("dk_max_attempts")
    most = DEFAULT_MAX_ATTEMPTS if told is None else count_of(told)
    if most < 1:
        most = issue["dk_max_attempts"] = 1
    if count_of(issue.get("dk_attempts")) >= most:
        issue["dk_attempts"] = str(most - 1)  # a string, as the kernel itself writes it
    return issue


def estimated_tokens(raw: Mapping[str, Any]) -> int:
    """What the scheduler reserves for an issue."""
    return count_of(raw.get("dk_estimated_tokens")) or DEFAULT_TOKENS


def mismatch(
    forced: Forced, plan: RecordedPlan, *, available: Collection[str] | None
) -> tuple[str, bool] | None:
    """What a recorded plan says otherwise, and whether only too few toolchains were available.

    Args:
        available: Toolchains the kernel found, as it recorded them; None where it did not.
    """
    executed = Forced(
        swarm_id=plan.swarm_id_executed,
        n_candidates=plan.max_candidates_executed or 0,
        seconds=int(plan.timeout_seconds_executed or 0),
    )
    if executed == msgspec.structs.replace(forced, toolchains=()):
        return None
    is_short = (
        available is not None
        and executed.seconds == forced.seconds
        and executed.swarm_id == forced.swarm_id == SPECULATE
        and executed.n_candidates == len(set(available) & set(forced.toolchains))
        and executed.n_candidates < forced.n_candidates
    )
    return f"wanted {forced.words}, executed {executed.words}", is_short
