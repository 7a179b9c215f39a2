from planner_runtime.heuristic import IssueView
from planner_runtime.kernel_config import SHIPPED_CONFIG
from planner_runtime.scheduler import (
    HOUR_MS,
    QueuedIssue,
    critical_path,
    is_ready,
    schedule,
    starved_priority,
)


def queued(issue_id: str, **fields: object) -> QueuedIssue:
    view_fields = {k: fields.pop(k) for k in list(fields) if k in IssueView.__struct_fields__}
    return QueuedIssue(view=IssueView(issue_id=issue_id, **view_fields), **fields)  # type: ignore[arg-type]


def test_an_issue_is_ready_by_every_clause() -> None:
    assert is_ready(queued("1"), {}, ())
    assert is_ready(queued("1", status="ready"), {"2": "done"}, ("2", "unknown"))
    assert not is_ready(queued("1", status="done"), {}, ())
    assert not is_ready(queued("1", tags=frozenset({"needs-human"})), {}, ())
    assert not is_ready(queued("1", is_running=True), {}, ())
    assert not is_ready(queued("1", attempts=3), {}, ())
    assert not is_ready(queued("1"), {"2": "open"}, ("2",))


def test_the_critical_path_is_the_heaviest_chain() -> None:
    issues = [queued("a", dk_size="S"), queued("b", dk_size="XL"), queued("c", dk_size="L")]
    assert critical_path(issues, [("a", "c"), ("a", "b"), ("ghost", "c")]) == ("a", "b")


def test_without_dependencies_the_first_largest_issue_is_the_path() -> None:
    issues = [queued("a"), queued("b", dk_size="XL"), queued("c", dk_size="XL")]
    assert critical_path(issues, []) == ("b",)


def test_a_cycle_of_blockers_ends() -> None:
    assert critical_path([queued("a"), queued("b")], [("a", "b"), ("b", "a")])


def test_waiting_raises_priority_one_step_and_then_to_the_top() -> None:
    waiting = queued("1", dk_priority="P2", ready_since_ms=0)
    assert starved_priority(waiting, 3 * HOUR_MS, 4) == ("P2", False)
    assert starved_priority(waiting, 5 * HOUR_MS, 4) == ("P1", False)
    assert starved_priority(waiting, 25 * HOUR_MS, 4) == ("P0", True)
    assert starved_priority(waiting, 25 * HOUR_MS, 48) == ("P0", True)
    assert schedule(SHIPPED_CONFIG, [waiting], now_ms=5 * HOUR_MS).priorities == {"1": "P1"}


def test_slots_and_tokens_are_packed_in_order_with_reservations() -> None:
    issues = [
        queued("low", dk_risk="low", dk_priority="P1"),
        queued("hot", dk_risk="high", dk_priority="P1", dk_size="XL"),
        queued("late", dk_priority="P3"),
    ]
    cycle = schedule(SHIPPED_CONFIG, issues, now_ms=0)
    # "hot" is the critical path and reserves a second slot; one is left
    assert cycle.dispatched == ("hot", "low")
    assert cycle.speculating == {"hot"}
    assert cycle.skipped == {"late": "no_slots"}


def test_an_issue_that_needs_too_many_tokens_waits() -> None:
    cycle = schedule(SHIPPED_CONFIG, [queued("1", estimated_tokens=400_000)], now_ms=0)
    assert cycle.skipped == {"1": "token_limit"}
