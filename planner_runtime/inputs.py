"""Building planner inputs: the issue with the kernel's defaults, its history, its action space.

Belongs here: what every writer of a planner input must do alike. Does not: choosing which runs
are similar (``similar_runs``) or finding the issue's state at a past moment (``history``).
Spec: section 3.1; formats 1.2 (aliases, defaults) and 7.4 (shape).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from planner_runtime.actions import ActionSpace
from planner_runtime.contracts.reading import to_document
from planner_runtime.contracts.run_summary import Domain, RunSummary
from planner_runtime.keywords import extract_keywords, without_repair_block

PRIORITIES: Final = ("P0", "P1", "P2", "P3")
RISKS: Final = ("low", "medium", "high", "critical")
SIZES: Final = ("XS", "S", "M", "L", "XL")
DEFAULT_PRIORITY: Final = "P2"  # the kernel's, for an issue that does not say. Source: formats 1.2
DEFAULT_RISK: Final = "medium"
DEFAULT_SIZE: Final = "M"
WORLD_ISSUE_PREFIX: Final = "world:"  # a world evolution has no issue; this names its world


def rfc3339(epoch_ms: int) -> str:
    """UTC timestamp of a Unix epoch in milliseconds.

    Raises:
        ValueError: the moment is outside the years 1 to 9999.

    >>> rfc3339(1_000)
    '1970-01-01T00:00:01.000Z'
    """
    try:
        moment = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    except (OverflowError, OSError) as error:
        raise ValueError(f"{epoch_ms} ms is outside the calendar") from error
    whole = moment.replace(microsecond=epoch_ms % 1000 * 1000)
    return whole.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch_ms(timestamp: str) -> int:
    """Unix epoch in milliseconds of an RFC 3339 timestamp; without an offset it is UTC.

    Raises:
        ValueError: the text is no such timestamp.

    >>> epoch_ms("1970-01-01T00:00:01Z")
    1000
    """
    moment = datetime.fromisoformat(timestamp)
    if moment.tzinfo is None:
        moment = datetime.fromisoformat(timestamp + "+00:00")
    return round(moment.timestamp() * 1000)


def job_type_of(tags: Sequence[str]) -> str:
    """The kernel's job type of an issue: ``fab-world`` iff tagged so. Source: formats 2.3."""
    return "fab-world" if "asset:world" in tags else "code"


def domain_of(job_type: str, tags: Sequence[str]) -> Domain:
    """Domain of a run: worlds, single assets, or code. Spec: section 5.1; formats 6.2."""
    if job_type == "fab-world" or "asset:world" in tags:
        return "fab_world"
    return "fab_asset" if any(tag.startswith("asset:") for tag in tags) else "code"


def group_of(issue_id: str | None, decided_ms: int) -> str:
    """The group of the runs of one dispatch: they share issue and moment.

    >>> group_of("7", 1000)
    '7@1000'
    """
    return f"{issue_id}@{decided_ms}"


def _one_of(value: Any, allowed: Sequence[str], default: str) -> str:
    return value if isinstance(value, str) and value in allowed else default


def count_of(value: Any) -> int:
    """A non-negative count the kernel may have written as a string; 0 when it is none.

    >>> count_of("3"), count_of(None), count_of(-1)
    (3, 0, 0)
    """
    try:
        return min(max(0, int(value)), 2**53)
    except (TypeError, ValueError, OverflowError):
        return 0


def issue_document(
    raw: Mapping[str, Any], *, attempts: int | None = None, has_hints: bool = True
) -> dict[str, Any]:
    """The ``issue`` section from a Beads issue, with the kernel's aliases and defaults.

    Args:
        raw: One line of ``.beads/issues.jsonl``, or a manifest's ``issue``.
        attempts: Failed attempts known at the time; None takes the issue's own count.
        has_hints: Whether the repair hints that the kernel appends to a description after a failed
            gate were there at the time; else they are cut off.
    """
    listed = raw.get("tags")
    if not isinstance(listed, list | tuple):
        listed = ()
    tags = [tag for tag in listed if isinstance(tag, str) and tag.strip()]
    title = str(raw.get("title") or "")
    description = raw.get("description")
    text = description if isinstance(description, str) else ""
    if not has_hints:
        text = without_repair_block(text)
    hint = raw.get("dk_tool_hint") or raw.get("tool_hint")
    speculates = {"dk_speculate": True} if raw.get("dk_speculate") else {}  # "false" is true: 1.2
    return {
        "issue_id": str(raw.get("issue_id") or raw.get("id") or ""),
        "title": title,
        "dk_priority": _one_of(
            raw.get("dk_priority") or raw.get("priority"), PRIORITIES, DEFAULT_PRIORITY
        ),
        "dk_risk": _one_of(raw.get("dk_risk") or raw.get("risk"), RISKS, DEFAULT_RISK),
        "dk_size": _one_of(raw.get("dk_size") or raw.get("size"), SIZES, DEFAULT_SIZE),
        "dk_tool_hint": hint if isinstance(hint, str) else None,
        "dk_attempts": count_of(raw.get("dk_attempts")) if attempts is None else attempts,
        "tags": sorted(set(tags)),
        "keywords": list(extract_keywords(f"{title}\n{text}")),
        **speculates,
    }


def run_document(run: RunSummary) -> dict[str, Any]:
    """A past run as an input shows it."""
    return {"schema_version": run.schema_version, **to_document(run)}


def build_planner_input(
    *,
    created_at_ms: int,
    universe_id: str,
    job_type: str,
    universe_defaults: Mapping[str, str | None],
    issue: Mapping[str, Any],
    similar_runs: Sequence[RunSummary],
    space: ActionSpace,
    system_state: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """A ``planner_input.v1`` document.

    Args:
        created_at_ms: Moment of the decision, Unix epoch in milliseconds.
        similar_runs: Best first; every one finished before ``created_at_ms``.
        issue: As ``issue_document`` builds it; further keys are kept.

    Raises:
        ValueError: ``created_at_ms`` is outside the calendar.
    """
    return {
        "schema_version": "cyntra.planner_input.v1",
        "created_at": rfc3339(created_at_ms),
        "universe_id": universe_id,
        "job_type": job_type,
        "universe_defaults": dict(universe_defaults),
        "issue": dict(issue),
        "history": {"last_n_similar_runs": [run_document(run) for run in similar_runs]},
        "action_space": space.to_document(),
        "system_state": None if system_state is None else dict(system_state),
    }


def blank_planner_input() -> dict[str, Any]:
    """A planner input about an issue of which nothing is known, asked at the epoch."""
    return build_planner_input(
        created_at_ms=0,
        universe_id="",
        job_type="code",
        universe_defaults={},
        issue=issue_document({}),
        similar_runs=(),
        space=ActionSpace(),
        system_state=None,
    )
