"""The kernel's own best-of-K reports, whole and damaged in every way."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner_pipeline.bench.kernel_bench import (
    FROM_ISSUE,
    KernelBench,
    SkippedCase,
    action_in,
    read_kernel_bench,
    status_of,
)
from planner_runtime.actions import Action
from planner_runtime.contracts import BenchOutcome, input_hash, read_document, to_document
from planner_runtime.decision import action_of
from planner_runtime.inputs import blank_planner_input

FLAT = {
    "swarm_id": "serial_handoff", "max_candidates_bin": 1, "max_minutes_bin": "NA",
    "max_iterations_bin": "NA",
}  # fmt: skip
NESTED = {
    "schema_version": "cyntra.planner_action.v1", "swarm_id": "speculate_vote", "confidence": 1.0,
    "budgets": {"max_candidates_bin": 2, "max_minutes_bin": 30, "max_iterations_bin": "NA"},
}  # fmt: skip
REPORT = {
    "schema_version": "cyntra.planner_best_of_k_bench.v1", "generated_at": "2026-02-01T10:00:00Z",
    "bench_dir": "/home/somebody/run", "bench_config_hash": "b4c0ffee", "k": 2, "seed": 3,
    "sampling": {"temperature": 0.0, "top_p": 1.0}, "case_count": 2,
    "results_path": "/etc/passwd",
}  # fmt: skip


def a_candidate(**changes: Any) -> dict[str, Any]:
    told = {
        "action": FLAT, "verified": True, "status": "success", "duration_ms": 1500,
        "cost_usd": None, "workcell_id": "wc-7-20260201T090000Z-bench", "details": {"x": 1},
    }  # fmt: skip
    return told | changes


LATE = a_candidate(
    action=NESTED, verified=False, status="timeout", duration_ms=9000.5, cost_usd=0.5,
    workcell_id="wc-7-20260201T090100Z-spec-codex",
)  # fmt: skip


def an_entry(*candidates: Any, **changes: Any) -> dict[str, Any]:
    listed = list(candidates) or [a_candidate(), LATE]
    told = {
        "bench_config_hash": "b4c0ffee", "issue_id": "7", "title": "Fix it", "job_type": "code",
        "candidates": listed, "winner": listed[0],
    }  # fmt: skip
    return told | changes


def read(folder: Path, *entries: Any, report: Any = REPORT) -> KernelBench:
    (folder / "results").mkdir(exist_ok=True)
    (folder / "bench_report.json").write_text(json.dumps(report))
    (folder / "results" / "best_of_k.json").write_text(json.dumps(list(entries)))
    found = read_kernel_bench(folder)
    assert found.count.is_balanced
    for outcome in found.outcomes:
        assert read_document(to_document(outcome), BenchOutcome) == outcome
    return found


def archive(folder: Path, workcell_id: str, manifest: Any) -> None:
    place = folder / "archives" / workcell_id
    place.mkdir(parents=True)
    (place / "manifest.json").write_text(
        manifest if isinstance(manifest, str) else json.dumps(manifest)
    )


def test_candidates_become_outcomes_of_their_actions(tmp_path: Path) -> None:
    found = read(tmp_path, an_entry())
    assert found.quarantined == ()
    first, late = found.outcomes
    assert action_of(first.action) == Action("serial_handoff", 1, "NA", "NA")
    assert action_of(late.action) == Action("speculate_vote", 2, 30, "NA")
    assert (first.status, first.is_censored, first.duration_ms) == ("passed", False, 1500)
    assert (late.status, late.is_censored, late.duration_ms) == ("timeout", True, 9000)
    assert first.metrics == {"overall": 1.0, "duration_ms": 1500.0}
    assert late.metrics == {"overall": 0.0, "duration_ms": 9000.0, "cost_usd": 0.5}
    assert (first.executor, first.repeat, first.seed, first.issue_id) == ("cyntra", 0, 3, "7")
    assert first.unit_id != late.unit_id
    assert first.bench_config_hash == late.bench_config_hash
    (case,) = found.cases
    assert case.winner == first.unit_id


def test_where_nothing_is_archived_the_hash_is_of_the_issue_and_says_so(tmp_path: Path) -> None:
    found = read(tmp_path, an_entry(), an_entry(issue_id=8, title="Other"))
    assert [case.input_source for case in found.cases] == ["issue", "issue"]
    assert found.cases[0].input_hash != found.cases[1].input_hash
    assert {outcome.reason for outcome in found.outcomes} == {FROM_ISSUE}
    assert found.cases[0].case_id == "7@2026-02-01T10:00:00Z"


@pytest.mark.parametrize("which", [0, 1])
def test_what_was_asked_is_in_the_manifest_of_the_winner_or_of_another(
    tmp_path: Path, which: int
) -> None:
    asked = json.loads(json.dumps(blank_planner_input()))
    archive(
        tmp_path, (a_candidate(), LATE)[which]["workcell_id"], {"planner": {"planner_input": asked}}
    )
    found = read(tmp_path, an_entry())
    (case,) = found.cases
    assert (case.input_source, case.planner_input) == ("manifest", asked)
    assert case.input_hash == input_hash(asked)
    assert case.case_id == f"7@{asked['created_at']}"
    assert {(one.input_hash, one.reason) for one in found.outcomes} == {(case.input_hash, None)}


def test_a_broken_manifest_is_quarantined_once_and_the_issue_stands_in(tmp_path: Path) -> None:
    archive(tmp_path, a_candidate()["workcell_id"], "{")
    found = read(tmp_path, an_entry())
    assert [row.reason for row in found.quarantined] == ["unfinished_file"]
    assert found.cases[0].input_source == "issue"
    assert len(found.outcomes) == 2


def test_no_workcell_id_leads_out_of_the_bench(tmp_path: Path) -> None:
    inside = tmp_path / "run"
    inside.mkdir()
    archive(tmp_path, "wc-secret", {"planner": {"planner_input": blank_planner_input()}})
    candidate = a_candidate(workcell_id="wc-x/../../../archives/wc-secret")
    assert read(inside, an_entry(candidate)).cases[0].input_source == "issue"


def test_nothing_passed_means_no_winner_whatever_the_report_says(tmp_path: Path) -> None:
    failed = a_candidate(verified=False, status="failed")
    found = read(tmp_path, an_entry(failed, LATE))
    assert [one.status for one in found.outcomes] == ["failed", "timeout"]
    assert (found.cases[0].winner, found.quarantined) == (None, ())


def test_a_winner_that_did_not_pass_where_another_did_is_told(tmp_path: Path) -> None:
    found = read(tmp_path, an_entry(winner=LATE))
    assert found.cases[0].winner is None
    assert [row.detail for row in found.quarantined] == ["entry 0: its winner did not pass"]
    assert len(found.outcomes) == 2


def test_skipped_entries_are_counted_and_are_no_outcomes(tmp_path: Path) -> None:
    skipped = {"issue_id": "9", "title": "t", "job_type": "fab-world", "skipped": True,
               "skip_reason": "code jobs only"}  # fmt: skip
    found = read(tmp_path, skipped, an_entry())
    assert found.skipped == (SkippedCase(issue_id="9", reason="code jobs only"),)
    assert (found.count.accepted, found.count.quarantined, len(found.cases)) == (3, 0, 1)


@pytest.mark.parametrize(
    ("verified", "status", "expected"),
    [
        (True, "success", "passed"), (True, "timeout", "passed"), (False, "success", "failed"),
        (False, "partial", "failed"), (False, "failed", "failed"), (False, "timeout", "timeout"),
        (False, "error", "error"), (False, None, "failed"),
    ],
)  # fmt: skip
def test_a_status_is_what_was_verified_first(
    verified: bool, status: str | None, expected: str
) -> None:
    assert status_of(verified, status) == expected


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        ({"action": ["serial_handoff", 1, "NA", "NA"]}, "bad_value", "must be an object, not list"),
        ({"action": None}, "bad_value", "must be an object, not NoneType"),
        ({"action": FLAT | {"max_minutes_bin": 37}}, "bad_value", "no action: Invalid enum value 37"),
        ({"action": {"swarm_id": "serial_handoff"}}, "bad_value", "missing required field"),
        ({"action": NESTED | {"budgets": 3}}, "bad_value", "budgets must be an object"),
        ({"action": {**FLAT, "swarm_id": None}}, "bad_value", "$.swarm_id"),
        ({"duration_ms": -1}, "bad_value", "duration_ms -1"),
        ({"duration_ms": 1e300}, "bad_value", "duration_ms 1e+300"),
        ({"cost_usd": -0.1}, "bad_value", "cost_usd -0.1"),
        ({"verified": "yes"}, "wrong_shape", "candidate 0: Expected `bool`"),
        ({"status": 3}, "wrong_shape", "$.status"),
    ],
)  # fmt: skip
def test_a_malformed_candidate_is_quarantined_and_spares_the_others(
    tmp_path: Path, changes: dict[str, Any], reason: str, detail: str
) -> None:
    found = read(tmp_path, an_entry(a_candidate(**changes), LATE))
    (row,) = found.quarantined
    assert (row.file, row.line, row.reason) == ("results/best_of_k.json", None, reason)
    assert row.detail.startswith("entry 0")
    assert detail in row.detail
    assert [one.status for one in found.outcomes] == ["timeout"]


def test_one_action_twice_in_a_case_counts_once(tmp_path: Path) -> None:
    found = read(tmp_path, an_entry(a_candidate(), a_candidate(verified=False)))
    assert [row.reason for row in found.quarantined] == ["duplicate_id"]
    assert [one.status for one in found.outcomes] == ["passed"]


@pytest.mark.parametrize(
    ("report", "results", "reasons"),
    [
        (None, "[]", ["no_content"]),
        (json.dumps(REPORT), None, ["no_content"]),
        (None, None, ["no_content", "no_content"]),
        ("{", "[]", ["unfinished_file"]),
        (json.dumps(REPORT), "{}", ["wrong_shape"]),
        (json.dumps(REPORT), "[1, null, {}]", ["wrong_shape"] * 3),
        (json.dumps(REPORT | {"schema_version": "v9"}), "[]", ["wrong_shape"]),
        (json.dumps(REPORT | {"seed": "x"}), "[]", ["wrong_shape"]),
    ],
)  # fmt: skip
def test_a_report_that_cannot_be_used_gives_reasons_and_no_outcomes(
    tmp_path: Path, report: str | None, results: str | None, reasons: list[str]
) -> None:
    (tmp_path / "results").mkdir()
    for name, text in (("bench_report.json", report), ("results/best_of_k.json", results)):
        if text is not None:
            (tmp_path / name).write_text(text)
    found = read_kernel_bench(tmp_path)
    assert [row.reason for row in found.quarantined] == reasons
    assert (found.outcomes, found.cases) == ((), ())


def test_equal_reports_give_equal_outcomes_wherever_they_lie(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    assert read(here, an_entry()) == read(there, an_entry())


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_no_junk_anywhere_in_a_report_is_ever_more_than_a_reason(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    entry = an_entry(a_candidate(), LATE)
    at = data.draw(st.sampled_from([entry, *entry["candidates"], NESTED["budgets"]]))
    key = data.draw(st.sampled_from(sorted(at)))
    text = json.dumps([entry])
    changed = json.dumps([{**entry, key: data.draw(JUNK)}]) if at is entry else text
    if at is not entry:
        before = json.dumps(at)
        changed = text.replace(before, json.dumps({**at, key: data.draw(JUNK)}))
    folder = tmp_path_factory.mktemp("junk")
    read(folder, *json.loads(changed))


def test_both_forms_of_an_action_are_the_same_action() -> None:
    nested = {
        "swarm_id": FLAT["swarm_id"],
        "budgets": {k: v for k, v in FLAT.items() if k != "swarm_id"},
    }
    assert action_in(FLAT) == action_in(nested)
