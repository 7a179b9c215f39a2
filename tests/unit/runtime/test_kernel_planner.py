"""A dispatch through the kernel's planner: every mode, every reason, nothing ever raised.

Belongs here: ``kernel.dispatch`` with real planners and with fakes. Does not: the checks themselves
(``test_modes``), the loop through archives (``tests/integration/test_serving_page``).
"""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_runtime import LivePlanner, Planner
from planner_runtime.actions import ActionSpace
from planner_runtime.contracts import PlannerAction, PlannerInput, PolicyTrace, read_document
from planner_runtime.contracts.planner_input import RecordDocument
from planner_runtime.kernel.dispatch import KernelPlanner
from planner_runtime.kernel.modes import Caps
from planner_runtime.kernel.selection import PlannerSelection
from planner_runtime.kernel.settings import PlannerSettings
from planner_runtime.policy import NO_LIMITS
from tests.outcome_bundles import (
    NOW_MS,
    an_outcome_planner,
    calibration_of,
    flat,
    tiny_onnx,
    write_outcome_bundle,
)

SPACE = ActionSpace()


class SaysAnything:
    """A planner of the kernel's own kind, which answers what it is told to."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def predict_action(self, planner_input: dict[str, Any]) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def an_answer(
    swarm: str = "serial_handoff", candidates: object = 1, minutes: object = 30
) -> dict[str, Any]:
    return {
        "schema_version": "cyntra.planner_action.v1", "created_at": "2026-01-01T00:00:00Z",
        "swarm_id": swarm, "confidence": 0.9,
        "budgets": {"max_candidates_bin": candidates, "max_minutes_bin": minutes, "max_iterations_bin": "NA"},
    }  # fmt: skip


def dispatched(planner: KernelPlanner, **given: Any) -> PlannerSelection:
    told: dict[str, Any] = {
        "issue": {"id": "7", "title": "Fix the parser", "tags": ["ui"], "dk_risk": "low"},
        "job_type": "code", "universe_id": "unknown", "universe_defaults": {},
        "action_space": SPACE, "history_candidates": [], "system_state": None, "now_ms": NOW_MS,
        "baseline_swarm_id": "serial_handoff", "baseline_max_candidates": 1,
        "baseline_timeout_cap_seconds": 3_600, "max_iterations": None, **given,
    }  # fmt: skip
    return planner.decide(**told)


def a_planner(mode: str = "enforce", answering: Any = None, **settings: Any) -> KernelPlanner:
    told = PlannerSettings(mode=mode, **settings)  # type: ignore[arg-type]
    return KernelPlanner(told, planner=answering)


def is_the_baseline(selection: PlannerSelection) -> bool:
    return (
        selection.swarm_id_executed,
        selection.max_candidates_executed,
        selection.timeout_seconds_override,
    ) == ("serial_handoff", 1, None)


def keeps_its_contracts(selection: PlannerSelection) -> PolicyTrace | None:
    read_document(selection.planner_input, PlannerInput)
    read_document(selection.planner_action, PlannerAction)
    trace = selection.policy_trace
    return None if trace is None else read_document(trace, PolicyTrace)


def test_a_planner_that_is_off_leaves_the_baseline_and_says_nothing_of_a_fallback() -> None:
    selection = dispatched(a_planner("off", SaysAnything(an_answer())))
    assert is_the_baseline(selection)
    assert (selection.fallback_applied, selection.fallback_reason) == (False, None)
    assert selection.planner_action["confidence"] == 1.0
    assert selection.planner_action["model"] == {"checkpoint_id": "baseline_heuristic_v0"}
    assert selection.planner_action["budgets"]["max_minutes_bin"] == 60
    trace = keeps_its_contracts(selection)
    assert trace is not None
    assert (trace.mode, trace.decided_by, trace.propensity) == ("off", "baseline", 1.0)


def test_a_planner_that_logs_records_the_plan_and_runs_the_baseline() -> None:
    selection = dispatched(a_planner("log", an_outcome_planner(flat())))
    assert is_the_baseline(selection)
    assert selection.fallback_reason == "log_only"
    assert selection.planner_action["budgets"]["max_minutes_bin"] == 15
    assert selection.planner_action["abstain_to_default"] is True
    trace = keeps_its_contracts(selection)
    assert trace is not None
    assert (trace.mode, trace.decided_by, trace.propensity) == ("log", "baseline", 1.0)
    assert trace.chosen.budgets.max_minutes_bin == 60
    assert trace.preferred is not None
    assert trace.preferred.budgets.max_minutes_bin == 15
    assert trace.expected is not None
    assert trace.expected.chosen == trace.expected.baseline  # of what ran
    assert trace.expected.preferred != trace.expected.baseline


def test_a_fallback_of_the_planner_keeps_the_world_and_the_bundle_it_was_made_in(
    tmp_path: Path,
) -> None:
    write_outcome_bundle(tmp_path / "bundle", model=tiny_onnx(nan=True))
    planner = Planner.open(tmp_path / "bundle")
    assert planner.bundle is not None
    selection = dispatched(a_planner(answering=planner))
    trace = keeps_its_contracts(selection)
    assert (selection.fallback_reason or "").startswith("inference_failed")
    assert trace is not None
    assert trace.bundle_id == planner.bundle.manifest.bundle_id
    assert trace.stability.kernel_config_hash is not None


def test_a_live_planner_given_by_hand_is_asked_with_the_record_as_the_configured_one_is(
    tmp_path: Path,
) -> None:
    write_outcome_bundle(tmp_path / "bundle")
    settings = {"bundle_dir": tmp_path / "bundle", "confidence_threshold": 0.0}
    with LivePlanner(tmp_path / "bundle", poll_seconds=None) as live:
        by_hand = dispatched(a_planner(answering=live))
    configured = a_planner(**settings)
    by_itself = dispatched(configured)
    configured.close()
    assert by_hand.planner_input == by_itself.planner_input
    assert "track_record" in by_hand.planner_input["system_state"]


def test_a_plan_that_is_followed_overrides_the_limit_and_is_traced_as_run() -> None:
    selection = dispatched(a_planner(answering=an_outcome_planner(flat())))
    assert (selection.fallback_applied, selection.timeout_seconds_override) == (False, 900)
    assert selection.planner_action["abstain_to_default"] is False
    trace = keeps_its_contracts(selection)
    assert trace is not None
    assert (trace.mode, trace.decided_by) == ("enforce", "model")
    assert trace.chosen.budgets.max_minutes_bin == 15


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "invalid_action_type"),
        ("run it twice", "invalid_action_type"),
        (ValueError("no such input"), "inference_failed:ValueError: no such input"),
        ({"confidence": 1.0}, "malformed_prediction"),
        (an_answer("mob"), "prediction_out_of_space"),
        (an_answer(candidates=2), "prediction_invalid"),
        (an_answer() | {"confidence": 0.1}, "low_confidence"),
        (an_answer("speculate_vote", 2), "swarm_mismatch"),
        (an_answer(minutes=120), "timeout_exceeds_cap"),
    ],
)
def test_what_cannot_be_followed_leaves_nothing_of_itself_in_force(
    answer: object, reason: str
) -> None:
    selection = dispatched(a_planner(answering=SaysAnything(answer)))
    assert is_the_baseline(selection)
    assert (selection.fallback_applied, selection.fallback_reason) == (True, reason)
    assert selection.planner_action["abstain_to_default"] is True
    assert selection.planner_action["reason"] == reason


def test_candidates_that_were_lowered_do_not_outlive_a_plan_whose_minutes_are_refused() -> None:
    """The fault of the kernel's own integration: formats 7.3."""
    answer = an_answer("speculate_vote", 1, 60)
    selection = dispatched(
        a_planner(answering=SaysAnything(answer)), baseline_swarm_id="speculate_vote",
        baseline_max_candidates=3, baseline_timeout_cap_seconds=2_700,
    )  # fmt: skip
    assert selection.fallback_reason == "timeout_exceeds_cap"
    assert selection.max_candidates_executed == 3


def test_another_topology_runs_where_the_configuration_allows_it() -> None:
    answer = SaysAnything(an_answer("speculate_vote", 2, 45))
    others = {"speculate_vote": Caps(max_candidates=2, timeout_seconds=2_700)}
    refused = dispatched(a_planner(answering=answer), alternatives=others)
    assert refused.fallback_reason == "swarm_mismatch"
    allowed = dispatched(a_planner(answering=answer, topology_changes=True), alternatives=others)
    assert allowed.fallback_applied is False
    assert (allowed.swarm_id_executed, allowed.max_candidates_executed) == ("speculate_vote", 2)
    assert allowed.timeout_seconds_override == 2_700


def test_a_model_of_outcomes_changes_topology_within_the_other_ones_caps() -> None:
    likes_two = flat(lambda minutes: 0.3 + 0.001 * minutes)
    planner = an_outcome_planner(likes_two, planner={"limits": NO_LIMITS})
    others = {"speculate_vote": Caps(max_candidates=2, timeout_seconds=2_700)}
    selection = dispatched(a_planner(answering=planner, topology_changes=True), alternatives=others)
    assert selection.fallback_applied is False
    trace = keeps_its_contracts(selection)
    assert trace is not None
    assert "kernel" in trace.bounds
    closed = dispatched(a_planner(answering=planner))
    assert closed.swarm_id_executed == "serial_handoff"


@pytest.mark.parametrize(
    ("planner", "reason"),
    [
        (an_outcome_planner(calibration=calibration_of(always_abstains=True)), "not_certified:"),
        (
            an_outcome_planner(
                flat(spread=0.4), calibration=calibration_of(confidence_threshold=0.95)
            ),
            "low_confidence:",
        ),
        (
            an_outcome_planner(
                flat(novelty=9.0), calibration=calibration_of(novelty_threshold=1.0)
            ),
            "out_of_distribution:",
        ),
        (Planner.open(None), "bundle_dir_missing"),
        (Planner.open(Path("/nowhere/at/all")), "bundle_dir_not_found:/nowhere/at/all"),
    ],
)
def test_a_model_that_abstains_or_is_not_there_leaves_the_kernels_own_baseline(
    planner: Planner, reason: str
) -> None:
    selection = dispatched(a_planner(answering=planner))
    assert is_the_baseline(selection)
    assert (selection.fallback_reason or "").startswith(reason)
    keeps_its_contracts(selection)


def test_without_a_model_the_answer_is_called_unavailable() -> None:
    selection = dispatched(a_planner())
    assert selection.fallback_reason == "bundle_dir_missing"
    assert selection.planner_action["model"] == {"checkpoint_id": "unavailable"}
    assert selection.planner_action["confidence"] == 0.0


def test_a_machine_without_onnxruntime_runs_the_baseline_and_says_so(tmp_path: Path) -> None:
    write_outcome_bundle(tmp_path / "bundle")
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from pathlib import Path\n"
        "from planner_runtime import Planner, LivePlanner\n"
        "from planner_runtime.inputs import blank_planner_input\n"
        f"place = Path({str(tmp_path / 'bundle')!r})\n"
        "for planner in (Planner.open(place), LivePlanner(place, poll_seconds=None)):\n"
        "    print(planner.plan(blank_planner_input()).reason)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    assert all(line.startswith("onnx_import_failed:") for line in lines)


class Unreadable:
    """An issue whose every attribute fails."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("the issue is locked")


def test_an_issue_that_cannot_be_read_is_run_as_the_kernel_would() -> None:
    for mode in ("enforce", "log"):
        selection = dispatched(a_planner(mode, an_outcome_planner()), issue=Unreadable())
        assert is_the_baseline(selection)
        assert (selection.fallback_reason or "").startswith("planner_input_failed:RuntimeError")
        keeps_its_contracts(selection)


@pytest.mark.parametrize(
    "given_",
    [
        {"issue": {"id": "7", "title": "half a pair: \ud800"}},
        {"universe_id": "\udfff"},
        {"system_state": {"load": float("nan")}},
        {"system_state": {"load": object()}},
        {"system_state": {1: "one", "a": "b"}},
        {"action_space": None},
        {"baseline_timeout_cap_seconds": "an hour"},
        {"max_iterations": "many"},
        {"alternatives": ["speculate_vote"]},
    ],
)
def test_what_no_record_can_hold_is_run_as_the_kernel_would(given_: dict[str, Any]) -> None:
    for mode in ("off", "log", "enforce"):
        for answering in (None, SaysAnything(an_answer()), an_outcome_planner()):
            selection = dispatched(a_planner(mode, answering, topology_changes=True), **given_)
            assert msgspec.json.encode(selection)
            assert is_the_baseline(selection)
            assert (selection.fallback_reason or "").startswith("planner_input_failed:")
            keeps_its_contracts(selection)


def test_a_job_type_that_is_none_is_run_as_the_kernel_would() -> None:
    for mode in ("off", "log", "enforce"):
        for answering in (None, SaysAnything("no plan"), an_outcome_planner()):
            assert is_the_baseline(dispatched(a_planner(mode, answering), job_type=None))


def test_an_answer_that_is_no_document_is_called_so_in_a_log_too() -> None:
    for mode in ("log", "enforce"):
        selection = dispatched(a_planner(mode, SaysAnything("not a document")))
        assert selection.fallback_reason == "invalid_action_type"


class Broken:
    """A planner whose own code is broken."""

    def decide(self, planner_input: Any, *, now_ms: Any = None, situation: Any = None) -> Any:
        raise KeyError("a fault of ours")


def test_a_fault_of_the_planner_never_reaches_the_kernel() -> None:
    selection = dispatched(a_planner(answering=Broken()))
    assert is_the_baseline(selection)
    assert (selection.fallback_reason or "").startswith("planner_failed:KeyError")


def test_the_kernels_own_issue_object_asks_what_its_fields_ask() -> None:
    fields = {"id": "7", "title": "Fix the parser", "tags": ["ui"], "dk_risk": "low",
              "description": "it fails on commas", "dk_attempts": 2}  # fmt: skip
    planner = a_planner("off")
    by_object = dispatched(planner, issue=SimpleNamespace(**fields)).planner_input
    assert by_object == dispatched(planner, issue=fields).planner_input
    assert by_object["issue"]["dk_attempts"] == 2


def test_a_bundle_from_the_configuration_is_asked_with_the_record_of_every_run(
    tmp_path: Path,
) -> None:
    write_outcome_bundle(tmp_path / "bundle")
    lines: list[str] = []
    document = {"planner": {"mode": "enforce", "bundle_dir": "bundle"}}
    planner = KernelPlanner.of_config(document, tmp_path, log=lines.append)
    run = {
        "schema_version": "cyntra.run_summary.v1", "run_id": "wc-7-1", "started_ms": NOW_MS - 9_000_000,
        "ended_ms": NOW_MS - 8_000_000, "issue_id": "7", "job_type": "code", "domain": "code",
        "toolchain": "claude", "outcome": {"status": "success"}, "action_executed": {},
        "runtime": {"duration_ms": 60_000},
    }  # fmt: skip
    later = run | {"run_id": "wc-7-2", "ended_ms": NOW_MS + 1}
    issue = {"id": "7", "title": "x", "dk_tool_hint": "claude", "dk_risk": "low"}
    selection = dispatched(planner, issue=issue, history_candidates=[run, later])
    planner.close()
    told = selection.planner_input["system_state"]["track_record"]
    record = read_document(told, RecordDocument)
    assert (record.n_pair, record.pair_pass) == (1, 1.0)  # not the one that has not ended
    assert lines
    assert planner.metrics.snapshot()["loads"] == 1


def test_a_sidecar_from_the_configuration_is_asked_and_missed(tmp_path: Path) -> None:
    document = {"planner": {"mode": "enforce", "socket": "nobody.sock", "bundle_dir": "x"}}
    selection = dispatched(KernelPlanner.of_config(document, tmp_path))
    assert is_the_baseline(selection)
    assert (selection.fallback_reason or "").startswith("sidecar_unavailable:")


def test_every_fallback_of_a_kernel_is_counted_once(tmp_path: Path) -> None:
    write_outcome_bundle(tmp_path / "bundle")
    settings = PlannerSettings(mode="enforce", bundle_dir=tmp_path / "bundle")
    planner = KernelPlanner(settings)
    dispatched(planner)
    dispatched(planner, baseline_timeout_cap_seconds=600)  # less than any bin
    dispatched(planner, issue=Unreadable())
    dispatched(planner, job_type="nothing-of-the-kind")
    planner.close()
    told = planner.metrics.snapshot()
    assert sum(told["decisions"].values()) == 3
    assert told["fallbacks"]["planner_input_failed"] == 1
    assert told["fallbacks"]["timeout_exceeds_cap"] == 1


def test_a_configuration_that_cannot_be_used_is_off_and_says_so(tmp_path: Path) -> None:
    lines: list[str] = []
    document = {"planner": {"mode": "enforce", "deadline_ms": "soon"}}
    planner = KernelPlanner.of_config(document, tmp_path, log=lines.append)
    assert dispatched(planner).fallback_applied is False
    assert lines == ["planner is off: planner.deadline_ms: not a number from 1 to 60000"]


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)  # fmt: skip


@given(answer=anything, issue=anything, state=anything, history=anything, defaults=anything)
def test_whatever_a_kernel_passes_it_gets_something_to_run(
    answer: Any, issue: Any, state: Any, history: Any, defaults: Any
) -> None:
    for mode in ("off", "log", "enforce"):
        selection = dispatched(
            a_planner(mode, SaysAnything(answer)), issue=issue, system_state=state,
            history_candidates=history, universe_defaults=defaults,
        )  # fmt: skip
        assert selection.swarm_id_executed == "serial_handoff"
        assert selection.max_candidates_executed == 1
