"""What a bench's report counts, and what it says beside the figures."""

from pathlib import Path

import msgspec

from planner_pipeline.bench.config import BenchConfig
from planner_pipeline.bench.protocol import Case
from planner_pipeline.experiments.bench_report import BenchReport, as_markdown, bench_report
from planner_runtime.actions import ActionSpace
from planner_runtime.contracts import BenchOutcome, read_document
from planner_runtime.decision import action_of

EXAMPLE = Path(__file__).parents[3] / "schemas/examples/valid/bench_outcome.json"


def an_outcome(issue_id: str, **fields: object) -> BenchOutcome:
    example = read_document(EXAMPLE.read_bytes(), BenchOutcome)
    return msgspec.structs.replace(
        example,
        issue_id=issue_id,
        case_id=f"{issue_id}@0",
        unit_id=f"{int(issue_id):016x}",
        **fields,
    )


def report_on(outcomes: list[BenchOutcome]) -> BenchReport:
    cases = [
        Case(
            case_id=one.case_id, issue_id=one.issue_id, job_type="code", issue={}, planner_input={},
            input_hash=one.input_hash, baseline=action_of(one.action),
        )
        for one in outcomes
    ]  # fmt: skip
    return bench_report(
        outcomes, cases, job_type="code", space=ActionSpace(), choices={}, n_labels=1,
        config=BenchConfig(),
    )  # fmt: skip


def value_of(report: BenchReport, policy: str, figure: str) -> float | None:
    (found,) = [f for f in report.figures if (f.policy, f.figure) == (policy, figure)]
    return found.value


def test_unknown_agent_time_is_bounded_from_above_and_said() -> None:
    known = [an_outcome("1"), an_outcome("2")]
    told = report_on(known)
    assert value_of(told, "default", "minutes_per_pass") == 3_900 / 50  # agent_ms, 50 ms a minute
    assert not any("upper bound" in note for note in told.notes)
    unknown = [an_outcome("1", agent_ms=None), an_outcome("2", agent_ms=None)]
    bounded = report_on(unknown)
    assert value_of(bounded, "default", "minutes_per_pass") == 2 * 2_310 / 50  # two candidates
    assert any("of 2 outcomes" in note and "upper bound" in note for note in bounded.notes)


def test_failures_of_the_harness_are_counted_and_score_nothing() -> None:
    failed = an_outcome("3", status="infra_error", agent_ms=None, duration_ms=None)
    report = report_on([an_outcome("1"), an_outcome("2", status="failed"), failed])
    assert (report.n_cases, report.n_outcomes, report.n_infra_errors) == (2, 2, 1)
    assert value_of(report, "default", "pass_rate") == 0.5
    assert "1 failures of the harness" in as_markdown(report)


def test_a_bench_without_outcomes_has_no_figures() -> None:
    report = report_on([])
    assert report.figures == ()
    assert "nothing yet" in as_markdown(report)
