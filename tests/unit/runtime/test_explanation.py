"""Why an action: what a bundle tells, what a record alone tells, and text that is safe to print."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner_runtime.__main__ import main
from planner_runtime.bundle import Bundle
from planner_runtime.contracts import RunSummary, to_document
from planner_runtime.decision import Decision
from planner_runtime.explaining.explanation import (
    Explanation,
    Record,
    explain_question,
    explain_record,
)
from planner_runtime.explaining.text import explanation_text, plain
from planner_runtime.exploration import ExplorationBudget
from planner_runtime.objective import Objective, Weights
from planner_runtime.outcomes.model import OutcomeModel
from planner_runtime.outcomes.policy_file import OutcomePolicy
from planner_runtime.planner import Planner, load_bundle
from planner_runtime.policy import Limits
from planner_runtime.retrieval.similarity import DAY_MS
from planner_runtime.session import Model
from tests.imitation_files import SURE, write_imitation_bundle
from tests.outcome_bundles import NOW_MS, a_question, an_outcome_planner, write_outcome_bundle

GOLDEN = Path(__file__).parents[2] / "golden"
Opened = tuple[Bundle, Model | OutcomeModel]


def a_run(run_id: str, *, status: str = "failed", days: float = 2, **fields: Any) -> RunSummary:
    ended = NOW_MS - int(days * DAY_MS)
    document = {
        "schema_version": "cyntra.run_summary.v1", "run_id": run_id, "started_ms": ended - 600_000,
        "ended_ms": ended, "job_type": "code", "domain": "code", "issue_id": "7", "tags": ["ui"],
        "action_executed": {"swarm_id": "serial_handoff"}, "runtime": {"duration_ms": 600_000},
        "outcome": {"status": status, "fail_codes": ["tests.failed"] * (status == "failed")},
    }  # fmt: skip
    return msgspec.convert({**document, **fields}, RunSummary)


RUNS = (a_run("wc-7-1"), a_run("wc-9-1", status="success", issue_id="9", tags=["api"], days=0.5))
QUESTION = a_question(dk_risk="medium", similar_runs=RUNS)
# time is free, so that the longest limit is wanted and the cap is felt
POLICY = OutcomePolicy(
    objective=Objective(name="passes", weights=Weights(minute=0.0)),
    limits=Limits(caps={"max_minutes_bin": 45}, reductions_only=True),
)


@pytest.fixture(scope="module")
def imitation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "imitation"
    write_imitation_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "outcome"
    write_outcome_bundle(folder, policy=POLICY)
    return folder


def told_by(folder: Path, question: dict[str, Any] = QUESTION) -> Explanation:
    return explain_question(question, *load_bundle(folder))


def a_record(decision: Decision, question: dict[str, Any] = QUESTION) -> Record:
    return Record(
        planner_input=question,
        planner_action=to_document(decision.action),
        policy_trace=to_document(decision.trace),
    )


def same_as_golden(name: str, told: Explanation) -> None:
    """Of a bundle's id a test has no say: it holds the versions that wrote it."""
    text = explanation_text(told).replace(str(told.bundle_id), "<bundle>")
    assert text == (GOLDEN / name).read_text()


def test_an_imitation_is_explained_as_the_golden_file_says(imitation: Path) -> None:
    same_as_golden("explanation_of_imitation.txt", told_by(imitation))


def test_a_decision_by_outcomes_is_explained_as_the_golden_file_says(outcome: Path) -> None:
    same_as_golden("explanation_by_outcomes.txt", told_by(outcome))


def test_probabilities_are_those_of_the_answer(imitation: Path) -> None:
    told = told_by(imitation)
    answer = Planner.open(imitation, deadline_ms=None).plan(QUESTION)
    assert answer.probs is not None
    assert [head.head for head in told.heads] == list(answer.probs)
    for head in told.heads:
        assert [p for _, p in head.probabilities] == pytest.approx(
            answer.probs[head.head], abs=1e-6
        )
    assert told.confidence == pytest.approx(answer.confidence)
    assert told.threshold == 0.2
    assert told.likeliest[0][0] == told.chosen


def test_an_unsure_model_is_explained_with_what_it_lacked(tmp_path: Path) -> None:
    write_imitation_bundle(tmp_path / "b", threshold=0.99)
    told = told_by(tmp_path / "b")
    assert told.decided_by == "baseline"
    assert told.why == (
        "The baseline answers: the model is less sure than its threshold asks "
        "(low_confidence:0.844 < 0.990)."
    )
    assert told.differs == []
    assert told.heads
    assert told.likeliest[0][0].startswith("speculate_vote")


def test_outcomes_are_those_that_the_decision_rested_on(outcome: Path) -> None:
    told = told_by(outcome)
    decision = Planner.open(outcome, deadline_ms=None).decide(QUESTION)
    trace = decision.trace
    assert trace.expected is not None
    by_role = {role: one for one in told.outcomes for role in one.roles}
    assert by_role["chosen"].expected == trace.expected.chosen
    assert by_role["baseline"].expected == trace.expected.baseline
    assert by_role["baseline"].bound == "cap"  # 60 minutes, 45 are allowed
    assert by_role["unconstrained"].expected.lower is not None
    shown = {one.action: one.expected.lower for one in told.outcomes}
    for action, lower in decision.alternatives:
        name = "serial_handoff, 1 candidate, " + f"{action.max_minutes_bin} minutes"
        assert shown[name] == pytest.approx(lower, abs=1e-6)
    assert told.limits == {
        "caps": {"max_minutes_bin": 45.0}, "reductions_only": True, "topology_changes": False,
    }  # fmt: skip
    assert told.bounds == dict(trace.bounds)
    assert told.binding is not None
    assert told.binding[1] == by_role["unconstrained"].bound == "cap"


def test_where_nothing_is_open_no_outcome_is_told(tmp_path: Path) -> None:
    write_outcome_bundle(tmp_path / "b", policy=OutcomePolicy(limits=Limits(caps={"max_minutes_bin": 10})))  # fmt: skip
    told = told_by(tmp_path / "b")
    assert told.reason is not None
    assert told.reason.startswith("no_action_open")
    assert told.outcomes == []


def test_a_record_tells_what_the_bundle_told_of_it(imitation: Path, outcome: Path) -> None:
    for folder in (imitation, outcome):
        by_bundle = told_by(folder)
        by_record = explain_record(
            a_record(Planner.open(folder, deadline_ms=None).decide(QUESTION))
        )
        assert by_record.similar_runs == by_bundle.similar_runs
        for field in ("why", "chosen", "baseline", "differs", "decided_by", "confidence", "bounds",
                      "binding", "novelty", "heads", "objective", "bundle_id"):  # fmt: skip
            assert getattr(by_record, field) == getattr(by_bundle, field), field
        roles = {role for one in by_record.outcomes for role in one.roles}
        assert roles == ({"chosen", "baseline", "preferred"} if by_record.objective else set())
        assert by_record.limits is by_record.threshold is None  # of the bundle alone
        assert explanation_text(by_record)


def test_what_chance_chose_is_told_by_its_record() -> None:
    planner = an_outcome_planner(
        planner={"exploration": ExplorationBudget(epsilon=1.0, seed="s", budget_share=1.0)}
    )
    questions = [a_question(id=str(n), dk_priority="P3") for n in range(40)]
    decisions = [(q, planner.decide(q)) for q in questions]
    question, drawn = next((q, d) for q, d in decisions if d.trace.decided_by == "exploration")
    told = explain_record(a_record(drawn, question))
    assert told.why.startswith("Chance chose among the open actions, with a chance of ")
    assert "propensity" in explanation_text(told)


def test_a_record_without_a_trace_is_explained_as_far_as_it_goes() -> None:
    decision = Planner.open(None).decide(QUESTION)
    record = msgspec.structs.replace(a_record(decision), policy_trace=None)
    told = explain_record(record)
    assert told.decided_by == "baseline"
    assert told.baseline is None
    assert "not recorded" in explanation_text(told)


def test_what_ran_instead_is_told() -> None:
    ran = {
        "schema_version": "cyntra.executed_plan.v1", "swarm_id_executed": "serial_handoff",
        "max_candidates_executed": 1, "timeout_seconds_executed": 3600,
        "max_iterations_executed": None, "fallback_applied": True, "fallback_reason": "log_only",
    }  # fmt: skip
    record = a_record(Planner.open(None).decide(QUESTION))
    text = explanation_text(explain_record(msgspec.structs.replace(record, executed_plan=ran)))
    assert "what ran    serial_handoff, candidates 1, seconds 3600, fallback log_only\n" in text


def test_a_similar_run_is_told_with_what_makes_it_alike() -> None:
    own, other = explain_question(QUESTION, None, None).similar_runs
    assert (own.is_same_issue, own.shared_tags, own.age_hours) == (True, ("ui",), 48.0)
    assert own.shared_fail_codes == ("tests.failed",)
    assert own.score_parts["same_issue"] == 200_000
    assert own.score_parts["tags"] == 500_000
    assert (other.is_same_issue, other.shared_tags, other.status) == (False, (), "success")
    assert other.score_parts == {
        "tags": 0, "failures": 0, "keywords": 0, "same_issue": 0, "recency": 150_000,
    }  # fmt: skip


def test_another_size_of_head_goes_by_number(imitation: Path) -> None:
    question = json.loads(json.dumps(QUESTION))
    question["action_space"]["max_minutes_bins"] = [45, 60]
    decision = Planner.open(imitation, deadline_ms=None).decide(question)
    (minutes,) = [
        head
        for head in explain_record(a_record(decision, question)).heads
        if head.head == "max_minutes_bin"
    ]
    assert [name for name, _ in minutes.probabilities] == [f"#{n}" for n in range(len(SURE[2]))]


@settings(deadline=None)
@given(st.text())
def test_no_name_can_move_a_cursor(name: str) -> None:
    question = a_question(title=name, similar_runs=(a_run(name, tags=["ui", name]),))
    try:
        told = explain_question(question, None, None)
    except ValueError:  # a lone surrogate is no text
        return
    text = explanation_text(told)
    assert all(line.isprintable() for line in text.split("\n"))
    assert plain(name).isprintable()


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(list(argv))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command_prints_text_or_json(
    imitation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "q.json"
    file.write_text(json.dumps(QUESTION))
    code, text, _ = run(capsys, "explain", "--bundle", str(imitation), "--input", str(file))
    assert (code, text) == (0, explanation_text(told_by(imitation)))
    code, out, _ = run(
        capsys, "explain", "--bundle", str(imitation), "--input", str(file), "--json"
    )
    assert code == 0
    assert msgspec.json.decode(out, type=Explanation) == told_by(imitation)


@pytest.mark.parametrize("whole", [True, False])
def test_the_command_reads_a_manifest_or_its_planner_object(
    whole: bool, outcome: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planner: Any = to_document(a_record(Planner.open(outcome, deadline_ms=None).decide(QUESTION)))
    planner["timeout_seconds_override"] = None
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps({"workcell_id": "wc", "planner": planner} if whole else planner))
    code, out, _ = run(capsys, "explain", "--trace", str(file), "--json")
    assert code == 0
    assert json.loads(out)["objective"] == "passes"


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (("--bundle", "DIR"), "--bundle needs --input"),
        (("--bundle", "DIR", "--input", "none.json"), "none.json: No such file"),
        (("--trace", "none.json"), "none.json: No such file"),
        (("--trace", "FILE", "--input", "FILE"), "--trace brings its own input"),
        (("--trace", "FILE"), "no recorded decision"),
        (("--bundle", "DIR", "--input", "FILE"), "DIR: "),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(
    argv: tuple[str, ...], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "q.json"
    file.write_text("{}")
    places = {"DIR": str(tmp_path), "FILE": str(file)}
    code, out, err = run(capsys, "explain", *(places.get(word, word) for word in argv))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert text.replace("DIR", str(tmp_path)) in err


@pytest.mark.parametrize("record", [b"", b"[]", b"3", b'{"planner":3}', b'{"planner":{}}', b"\xff",
                                    b'{"planner_input":{},"planner_action":{}}', b"[" * 100_000])  # fmt: skip
def test_a_damaged_record_is_refused(
    record: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.json").write_bytes(record)
    code, _, err = run(capsys, "explain", "--trace", str(tmp_path / "m.json"))
    assert (code, err.count("\n")) == (1, 1)


def test_verify_prints_ids_and_the_golden_count(
    imitation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "verify", str(imitation))
    assert code == 0
    assert out.splitlines()[0] == f"ok {imitation}"
    assert f"bundle {load_bundle(imitation)[0].manifest.bundle_id}: " in out
    assert "golden 2 of 2 answered as shipped\n" in out
    code, out, _ = run(capsys, "verify", str(tmp_path / "none"))
    assert (code, out.startswith("FAULT ")) == (1, True)
