"""What a serving planner counts: every reason once, text that a scraper reads, threads."""

import ast
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import planner_runtime
from planner_runtime.actions import Action
from planner_runtime.contracts import to_document
from planner_runtime.decision import Decision
from planner_runtime.metrics import LATENCY_BOUNDS, Metrics
from planner_runtime.planner import Planner
from planner_runtime.policy import Bound
from planner_runtime.prometheus_text import Family, Sample, exposition
from planner_runtime.reasons import BOUND_REASONS, FALLBACK_REASONS, LOAD_REASONS, reason_code
from planner_runtime.sidecar.counts import SidecarCounts
from planner_runtime.sidecar.protocol import SIDECAR_ERRORS
from tests.outcome_bundles import a_question, an_outcome_planner
from tests.prometheus_reader import Exposed, read_exposition

RUNTIME = Path(planner_runtime.__file__).parent
ROOT = Path(__file__).parents[3]


SOME_DECISION = Planner.open(None).decide(a_question(), now_ms=0)


def a_decision(reason: str | None = None, *, model_spoke: bool = False) -> Decision:
    decision = SOME_DECISION
    by = "model" if reason is None else "baseline"
    trace = msgspec.structs.replace(decision.trace, decided_by=by, fallback_reason=reason)
    choice = Action("serial_handoff", 1, 15, "NA") if model_spoke else None
    return msgspec.structs.replace(decision, trace=trace, model_choice=choice)


def read(metrics: Metrics) -> dict[str, Exposed]:
    return read_exposition(metrics.prometheus())


def test_a_decision_is_counted_by_who_decided_and_why() -> None:
    metrics = Metrics()
    metrics.observe_decision(a_decision(), 0.0002)
    metrics.observe_decision(a_decision("low_confidence:0.1 < 0.2", model_spoke=True), 0.003)
    metrics.observe_decision(a_decision("deadline"), 0.2)
    counts = metrics.snapshot()
    assert counts["decisions"] == {"model": 1, "baseline": 2, "exploration": 0}
    assert counts["fallbacks"] == {"deadline": 1, "low_confidence": 1}
    assert counts["abstentions"] == 1
    assert counts["latency"]["count"] == 3
    assert counts["latency"]["sum_seconds"] == pytest.approx(0.2032)


def test_chance_is_counted_where_it_could_have_chosen() -> None:
    metrics, planner = Metrics(), an_outcome_planner()
    metrics.observe_decision(planner.decide(a_question()), 0.0)
    assert metrics.snapshot()["exploration_draws"] == 0
    decision = planner.decide(a_question())
    drawn = msgspec.structs.replace(decision.trace.exploration, enabled=True, epsilon=0.1, u=0.9)
    trace = msgspec.structs.replace(decision.trace, exploration=drawn)
    metrics.observe_decision(msgspec.structs.replace(decision, trace=trace), 0.0)
    assert metrics.snapshot()["exploration_draws"] == 1


def test_loads_are_counted_and_the_serving_bundle_is_named_once() -> None:
    metrics = Metrics()
    metrics.observe_load(True, None)
    metrics.observe_load(False, "sha256_mismatch: planner.onnx")
    metrics.observe_load(False, "bundle_dir_not_found:/nowhere")
    metrics.observe_load(False, None)
    metrics.observe_bundle("first")
    metrics.observe_bundle('se"co\\nd\n')
    found = read(metrics)
    assert found["cyntra_planner_loads_total"].value() == 1
    failures = found["cyntra_planner_load_failures_total"]
    assert failures.value(reason="sha256_mismatch") == 1
    assert failures.value(reason="bundle_dir_not_found") == 1
    assert failures.value(reason="other") == 1
    info = found["cyntra_planner_bundle_info"]
    assert [dict(labels) for _, labels, _ in info.samples] == [{"bundle_id": 'se"co\\nd\n'}]


@settings(deadline=None)
@given(st.lists(st.text(), max_size=30))
def test_no_reason_can_make_labels_without_end(reasons: list[str]) -> None:
    metrics = Metrics()
    for reason in [*reasons, *FALLBACK_REASONS, *LOAD_REASONS]:
        metrics.observe_load(False, reason)
        metrics.observe_decision(a_decision(reason or "x"), 0.0)
    counts = metrics.snapshot()
    assert set(counts["fallbacks"]) <= {*FALLBACK_REASONS, "other"}
    assert set(counts["load_failures"]) <= {*FALLBACK_REASONS, *LOAD_REASONS, "other"}
    assert sum(counts["fallbacks"].values()) == counts["decisions"]["baseline"]


@settings(deadline=None)
@given(st.lists(st.floats(), max_size=40))
def test_a_histogram_counts_every_time_in_its_bucket(times: list[float]) -> None:
    metrics, decision = Metrics(), a_decision()
    for seconds in times:
        metrics.observe_decision(decision, seconds)
    found = read(metrics)["cyntra_planner_decision_seconds"]
    for bound in LATENCY_BOUNDS:  # infinite times are above every bound, whatever their sign
        below = sum(abs(t) != float("inf") and t <= bound for t in times)
        assert found.value("_bucket", le=repr(bound)) == below
    assert found.value("_bucket", le="+Inf") == found.value("_count") == len(times)
    finite = [t for t in times if abs(t) < float("inf") and t > 0]
    total = 0.0
    for t in finite:
        total += t
    assert found.value("_sum") == total


def test_threads_lose_no_count() -> None:
    metrics, decision = Metrics(), a_decision("deadline")

    def observe() -> None:
        for _ in range(2_000):
            metrics.observe_decision(decision, 0.001)
            metrics.prometheus() if _ % 500 == 0 else None

    threads = [threading.Thread(target=observe) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = metrics.snapshot()
    assert counts["fallbacks"] == {"deadline": 16_000}
    assert counts["latency"]["count"] == 16_000


def test_every_family_has_its_help_and_type_before_its_samples() -> None:
    metrics = Metrics()
    metrics.observe_decision(a_decision("deadline"), 0.1)
    found = read(metrics)
    assert all(name.startswith("cyntra_planner_") for name in found)
    assert {exposed.kind for exposed in found.values()} == {"counter", "gauge", "histogram"}
    assert all(exposed.told for exposed in found.values())


@settings(deadline=None)
@given(st.text(), st.text())
def test_any_label_value_and_help_survive_the_format(value: str, told: str) -> None:
    text = exposition([Family("x", "gauge", told, (Sample(1.5, (("label", value),)),))])
    found = read_exposition(text)["x"]
    assert found.value(label=value) == 1.5
    assert found.told == told


def _strings(tree: ast.AST) -> Iterator[str]:
    """The opening text of every string that is no docstring, formatted ones included."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body and isinstance(node.body[0], ast.Expr)
    }  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value
        if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
            yield str(node.values[0].value)


def _codes(tree: ast.AST) -> Iterator[str]:
    for text in _strings(tree):  # "code:detail" with two words or more; words alone are no code
        if found := re.match(r"([a-z0-9]+(?:_[a-z0-9]+)+):(?=\S|$)", text):
            yield found[1]


def test_every_reason_in_the_source_is_in_the_closed_set() -> None:
    found = {
        code: path.name
        for path in RUNTIME.rglob("*.py")
        for code in _codes(ast.parse(path.read_text()))
    }
    assert len(found) >= 10
    assert {code: name for code, name in found.items() if code not in FALLBACK_REASONS} == {}


def _refusals(tree: ast.AST) -> Iterator[str]:
    """Codes of faults and of refusals, wherever a call gives one as it stands."""
    place = {"Fault": 1, "_refused": 0, "self._refuse": 0}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        told: list[ast.AST] = [word.value for word in node.keywords if word.arg == "reason"]
        if (at := place.get(ast.unparse(node.func))) is not None and len(node.args) > at:
            told.append(node.args[at])
        if ast.unparse(node.func) in {*place, "self._observe"}:
            for code in (c for part in told for c in ast.walk(part)):
                if isinstance(code, ast.Constant) and isinstance(code.value, str):
                    yield code.value


def test_every_refusal_in_the_source_is_in_the_closed_set() -> None:
    found = {
        code: path.name
        for path in RUNTIME.rglob("*.py")
        for code in _refusals(ast.parse(path.read_text()))
    }
    assert {"rolled_back", "signature_missing", "size_mismatch"} <= set(found)
    assert {code: name for code, name in found.items() if code not in LOAD_REASONS} == {}


def test_every_bound_has_its_words() -> None:
    assert sorted(BOUND_REASONS) == sorted(Bound.__args__)  # type: ignore[attr-defined]


def test_a_reason_is_its_code_and_a_detail() -> None:
    assert reason_code("invalid_input:$.issue: no: such: thing") == "invalid_input"
    assert reason_code("") == reason_code("Deadline") == reason_code(" deadline") == "other"


def test_the_counts_are_json() -> None:
    metrics = Metrics()
    metrics.observe_decision(a_decision("deadline"), 0.1)
    assert msgspec.json.decode(msgspec.json.encode(metrics.snapshot())) == metrics.snapshot()
    assert to_document(a_decision().trace)["decided_by"] == "model"


def test_the_page_lists_every_reason_error_and_metric() -> None:
    page = (ROOT / "docs" / "sidecar.md").read_text()
    for table in (FALLBACK_REASONS, LOAD_REASONS, SIDECAR_ERRORS):
        for code, meaning in table.items():
            assert f"| `{code}` | {meaning} |" in page
    families = [*Metrics().families(), *SidecarCounts().families()]
    for family in families:
        assert f"| `{family.name}` | {family.kind} |" in page
    example = (ROOT / "tests/golden/explanation_by_outcomes.txt").read_text()
    assert f"```\n{example}```" in page
