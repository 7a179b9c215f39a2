"""Decisions by outcomes, end to end: every reason, chance as executed, traces that explain."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner_runtime import Planner
from planner_runtime.actions import NA, Action, ActionSpace
from planner_runtime.contracts import (
    ActionExecuted,
    Outcome,
    PlannerInput,
    PolicyTrace,
    RunSummary,
    Runtime,
    input_hash,
    read_document,
    to_document,
)
from planner_runtime.decision import Situation
from planner_runtime.exploration import LAB_TAG, ExplorationBudget
from planner_runtime.kernel_config import SHIPPED_CONFIG, RoutingRule
from planner_runtime.objective import Guardrail, Objective, Weights
from planner_runtime.outcome_planner import record_of_question, toolchain_of
from planner_runtime.outcomes.features import OUTCOME_FEATURES, RECORD_FEATURES
from planner_runtime.outcomes.model import FixedOutcomes, RawOutcomes
from planner_runtime.outcomes.policy_file import OutcomePolicy
from planner_runtime.outcomes.track_record import TrackRecord, record_document
from planner_runtime.planner import Decision, action_of
from planner_runtime.policy import NO_LIMITS, Limits
from planner_runtime.session import FixedModel, ModelError, OnnxOutcomeModel
from tests.outcome_bundles import (
    NOW_MS,
    a_question,
    an_outcome_bundle,
    an_outcome_planner,
    calibration_of,
    flat,
    tiny_onnx,
)

ROOT = Path(__file__).parents[3]
BASELINE = ("serial_handoff", 1, 60, "NA")
SHORTEST = ("serial_handoff", 1, 15, "NA")
ALWAYS = ExplorationBudget(epsilon=1.0, seed="epoch", budget_share=1.0)


def reason(decision: Decision) -> str:
    """Why the model was not followed: in action and trace alike."""
    assert decision.action.reason == decision.trace.fallback_reason
    assert decision.action.abstain_to_default is True
    assert decision.trace.decided_by == "baseline"
    return decision.action.reason or ""


def test_a_sure_model_decides_and_says_what_it_expects() -> None:
    decision = an_outcome_planner().decide(a_question())
    assert action_of(decision.action) == SHORTEST  # as likely to pass, and cheaper
    assert decision.action.abstain_to_default is False
    assert (decision.action.reason, decision.action.probs) == (None, None)
    assert decision.action.confidence == 1.0
    assert decision.baseline == BASELINE
    trace = decision.trace
    assert (trace.decided_by, trace.propensity, trace.bundle_id) == (
        "model", 1.0, "0123456789abcdef",
    )  # fmt: skip
    assert trace.expected is not None
    assert (trace.expected.chosen.minutes, trace.expected.baseline.minutes) == (15.0, 60.0)
    assert trace.expected.chosen.cost_usd is None  # not NaN, which is no JSON
    assert trace.expected.chosen.p_pass == pytest.approx(0.6)
    assert decision.model_choice == SHORTEST
    assert [tuple(action) for action, _ in decision.alternatives] == [
        ("serial_handoff", 1, minutes, "NA") for minutes in (15, 30, 45, 60)
    ]


def test_preferring_the_baseline_is_a_decision_and_no_abstention() -> None:
    planner = an_outcome_planner(
        flat(lambda minutes: minutes / 61.0),
        calibration=calibration_of(always_abstains=True),
        policy=OutcomePolicy(objective=Objective(weights=Weights(minute=0.0))),
    )
    decision = planner.decide(a_question())
    assert action_of(decision.action) == BASELINE
    assert decision.trace.decided_by == "model"
    assert decision.action.abstain_to_default is False
    assert decision.action.confidence == 1.0


def test_another_objective_needs_no_other_bundle() -> None:
    model = flat(lambda minutes: minutes / 200.0)
    frugal = an_outcome_planner(model).decide(a_question())
    passing = Objective(name="passing", weights=Weights(minute=0.0))
    keen = an_outcome_planner(model, planner={"objective": passing}).decide(a_question())
    assert action_of(frugal.action) == SHORTEST
    assert action_of(keen.action) == BASELINE
    assert (frugal.trace.objective, keen.trace.objective) == ("default", "passing")
    assert frugal.trace.objective_hash != keen.trace.objective_hash


def test_without_limits_dearer_actions_and_topologies_are_open() -> None:
    model = flat(lambda minutes: minutes / 200.0)
    asked: dict[str, Any] = {"objective": Objective(weights=Weights(minute=0.0))}
    bound = an_outcome_planner(model, planner=asked).decide(a_question())
    assert bound.trace.binding is not None
    assert bound.trace.binding.bound == "not_a_reduction"
    assert bound.trace.binding.action.budgets.max_minutes_bin == 120
    assert bound.trace.bounds == {"not_a_reduction": 2, "topology": 24}
    free = an_outcome_planner(model, planner={**asked, "limits": NO_LIMITS}).decide(a_question())
    assert action_of(free.action).max_minutes_bin == 120
    assert free.trace.binding is not None
    assert free.trace.binding.bound is None
    assert free.trace.bounds == {}
    assert free.trace.n_open == 30


def test_a_guardrail_is_that_of_the_issues_risk() -> None:
    model = flat(lambda minutes: minutes / 200.0)
    objective = Objective(guardrails={"medium": Guardrail(pass_within=0.1)})
    planner = an_outcome_planner(model, planner={"objective": objective})
    assert action_of(planner.plan(a_question(dk_risk="low"))) == SHORTEST
    guarded = planner.decide(a_question(dk_risk="medium"))
    assert action_of(guarded.action) == ("serial_handoff", 1, 45, "NA")
    assert guarded.trace.bounds["guardrail_pass"] == 2
    assert guarded.trace.binding is not None
    assert guarded.trace.binding.bound == "guardrail_pass"


# the reasons


def test_low_confidence_gives_way_and_still_tells_what_was_preferred() -> None:
    planner = an_outcome_planner(
        flat(spread=0.4), calibration=calibration_of(confidence_threshold=1.0)
    )
    decision = planner.decide(a_question())
    assert reason(decision).startswith("low_confidence:0.")
    assert action_of(decision.action) == BASELINE
    assert decision.model_choice is not None
    assert decision.trace.preferred is not None
    assert tuple(decision.model_choice)[2] == decision.trace.preferred.budgets.max_minutes_bin
    assert 0 < (decision.trace.confidence or 0) < 1
    assert decision.action.model is not None
    assert decision.action.model.checkpoint_id == "0123456789abcdef"


def test_a_model_without_a_promise_is_not_followed() -> None:
    planner = an_outcome_planner(calibration=calibration_of(always_abstains=True))
    assert reason(planner.decide(a_question())).startswith("not_certified:")


def test_a_novel_question_is_not_answered_by_the_model() -> None:
    calibration = calibration_of(novelty_threshold=3.0)
    near = an_outcome_planner(flat(novelty=3.0), calibration=calibration).decide(a_question())
    assert near.trace.decided_by == "model"
    far = an_outcome_planner(flat(novelty=3.5), calibration=calibration).decide(a_question())
    assert reason(far) == "out_of_distribution:3.500 > 3.000"
    assert far.trace.novelty == 3.5


@pytest.mark.parametrize(
    "shift",
    [
        {"record": {"log_minutes_pass": 40.0}},
        {"record": {"logit": -30.0}},
        {"record": {"n_pair": 10**9}},
        {"issue": {"tags": [f"t{i}" for i in range(5_000)]}},
    ],
    ids=["slow", "hopeless", "tried", "tagged"],
)
def test_the_detector_sees_shifted_features_in_a_real_model(shift: dict[str, Any]) -> None:
    """The model's file computes the novelty; the threshold lets every ordinary question pass."""
    record = record_document(TrackRecord().of("claude", "7"))
    model = OnnxOutcomeModel(tiny_onnx(), input_width=len(OUTCOME_FEATURES))
    planner = an_outcome_planner(model, calibration=calibration_of(novelty_threshold=4.0))
    for risk in ("low", "high"):
        for size in ("XS", "M", "XL"):
            asked = a_question(dk_risk=risk, dk_size=size, system_state={"track_record": record})
            assert planner.decide(asked).trace.decided_by == "model"
    shifted = a_question(
        system_state={"track_record": {**record, **shift.get("record", {})}},
        **shift.get("issue", {}),
    )
    assert reason(planner.decide(shifted)).startswith("out_of_distribution:")


def test_another_kernel_configuration_is_another_epoch() -> None:
    same = an_outcome_planner(planner={"kernel_config": msgspec.json.decode(
        msgspec.json.encode(SHIPPED_CONFIG), type=type(SHIPPED_CONFIG))})  # fmt: skip
    assert same.decide(a_question()).trace.decided_by == "model"
    other = msgspec.structs.replace(
        SHIPPED_CONFIG, timeout_seconds={**SHIPPED_CONFIG.timeout_seconds, "claude": 1800}
    )
    decision = an_outcome_planner(planner={"kernel_config": other}).decide(a_question())
    assert reason(decision) == "epoch_mismatch:kernel_config.timeout_seconds"
    assert action_of(decision.action) == ("serial_handoff", 1, 30, "NA")  # the caller's baseline
    odd = msgspec.structs.replace(
        SHIPPED_CONFIG, rules=(RoutingRule(match={"dk_size": float("nan")}), *SHIPPED_CONFIG.rules)
    )
    unsayable = an_outcome_planner(planner={"kernel_config": odd}).decide(a_question())
    assert reason(unsayable) == "epoch_mismatch:kernel_config.rules"


def test_a_run_that_was_told_to_speculate_is_of_the_same_epoch() -> None:
    speculation = msgspec.structs.replace(SHIPPED_CONFIG.speculation, force=True)
    forced = msgspec.structs.replace(SHIPPED_CONFIG, speculation=speculation)
    decision = an_outcome_planner(planner={"kernel_config": forced}).decide(a_question())
    assert decision.trace.decided_by == "model"
    assert decision.baseline.swarm_id == action_of(decision.action).swarm_id == "speculate_vote"


def failing(error: BaseException) -> FixedOutcomes:
    def answer(features: np.ndarray, actions: np.ndarray) -> RawOutcomes:
        raise error

    return FixedOutcomes(answer)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (flat(lambda minutes: minutes * np.nan), "p_pass is not finite"),
        (flat(novelty=float("inf")), "novelty is not finite"),
        (failing(ModelError("no memory")), "no memory"),
        (failing(MemoryError()), "MemoryError"),
        (failing(RuntimeError("x")), "RuntimeError: x"),
        (FixedOutcomes(lambda features, actions: None), "AttributeError"),  # type: ignore[arg-type]
        (OnnxOutcomeModel(tiny_onnx(nan=True), input_width=len(OUTCOME_FEATURES)), "not finite"),
    ],
)  # fmt: skip
def test_a_model_that_fails_is_not_followed(model: FixedOutcomes, why: str) -> None:
    decision = an_outcome_planner(model).decide(a_question(dk_risk="high"))
    assert reason(decision).startswith("inference_failed:")
    assert why in reason(decision)
    assert action_of(decision.action) == ("speculate_vote", 2, 60, "NA")
    assert decision.model_choice is None
    assert decision.trace.expected is None
    assert decision.action.model is not None
    assert decision.action.model.checkpoint_id == "baseline_heuristic_v0"


def test_an_outlook_on_other_actions_is_not_followed() -> None:
    def answer(features: np.ndarray, actions: np.ndarray) -> RawOutcomes:
        return flat().outcomes(features, actions[:-1])

    assert reason(an_outcome_planner(FixedOutcomes(answer)).decide(a_question())).startswith(
        "inference_failed:"
    )


def test_a_baseline_that_the_bundle_does_not_know_is_kept_with_the_reason() -> None:
    space = ActionSpace(max_minutes_bins=(15, 30))
    decision = an_outcome_planner(space=space).decide(a_question())
    assert reason(decision).startswith("no_valid_action:the bundle does not know the baseline")
    assert action_of(decision.action) == BASELINE


def test_a_space_that_the_bundle_does_not_know_falls_back() -> None:
    asked = a_question(space=ActionSpace(swarm_ids=("unheard_of",)))
    decision = an_outcome_planner().decide(asked)
    assert reason(decision) == "no_valid_action:the bundle knows none of the offered actions"
    nothing = a_question(space=ActionSpace(swarm_ids=("serial_handoff",), max_candidates_bins=(2,)))
    assert reason(an_outcome_planner().decide(nothing)).startswith("no_valid_action:the input")


def test_only_what_both_know_may_be_chosen() -> None:
    asked = a_question(space=ActionSpace(max_minutes_bins=(30, 60, 120)))
    assert action_of(an_outcome_planner().plan(asked)) == ("serial_handoff", 1, 30, "NA")


def test_a_cap_holds_where_the_model_is_not_followed_as_well() -> None:
    limits = Limits(caps={"max_minutes_bin": 50})
    held = ("serial_handoff", 1, 45, "NA")
    unsure = calibration_of(always_abstains=True)
    abstaining = an_outcome_planner(planner={"limits": limits}, calibration=unsure)
    broken = an_outcome_planner(failing(ModelError("x")), planner={"limits": limits})
    for planner in (abstaining, broken):
        decision = planner.decide(a_question())
        assert action_of(decision.action) == held
        assert decision.baseline == BASELINE
    assert an_outcome_planner(planner={"limits": limits}).decide(a_question()).trace.bounds["cap"]


def test_caps_that_leave_nothing_leave_the_baseline_and_say_so() -> None:
    planner = an_outcome_planner(planner={"limits": Limits(caps={"max_minutes_bin": 5})})
    decision = planner.decide(a_question())
    assert reason(decision).startswith("no_action_open:")
    assert action_of(decision.action) == BASELINE


def test_an_objective_in_a_unit_that_nobody_knows_opens_nothing() -> None:
    objective = Objective(weights=Weights(usd=1.0))
    decision = an_outcome_planner(planner={"objective": objective}).decide(a_question())
    assert reason(decision) == "no_action_open:not_a_reduction, topology, unknown_outcome"
    known = an_outcome_planner(flat(cost=0.01), planner={"objective": objective})
    assert known.decide(a_question()).trace.decided_by == "model"


@pytest.mark.parametrize(
    "overrides",
    [
        {"objective": Objective(rule="constrained")},
        {"objective": Objective(caution=float("nan"))},
        {"limits": Limits(caps={"swarm_id": 1})},
        {"limits": Limits(caps={"max_minutes_bin": float("nan")})},
    ],
)
def test_a_policy_that_cannot_decide_is_refused_in_every_answer(overrides: dict[str, Any]) -> None:
    decision = an_outcome_planner(planner=overrides).decide(a_question())
    assert reason(decision).startswith("policy_refused:")
    assert action_of(decision.action) == BASELINE


def test_a_bundle_of_outcomes_with_another_model_is_not_followed() -> None:
    for model in (None, FixedModel([[0.0]])):
        assert reason(Planner(an_outcome_bundle(), model).decide(a_question()))


@given(st.binary(max_size=200) | st.text(max_size=200) | st.dictionaries(st.text(), st.integers()))
@settings(max_examples=100)
def test_whatever_is_asked_there_is_an_answer(question: Any) -> None:
    decision = an_outcome_planner().decide(question)
    assert reason(decision).startswith("invalid_input:")
    assert action_of(decision.action) == BASELINE


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2**60), st.floats(), st.text(max_size=5), st.just([]),
    st.sampled_from(["NA", "P3", "high", "2026-01-01T00:00:00Z"]), st.just({}),
)  # fmt: skip


def _places(document: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [prefix] if prefix else []
    children: Any = ()
    if isinstance(document, dict):
        children = document.items()
    elif isinstance(document, list):
        children = enumerate(document)
    for key, value in children:
        found += _places(value, (*prefix, key))
    return found


@given(st.data())
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_a_damaged_question_gets_an_answer_and_a_trace_that_is_json(data: st.DataObject) -> None:
    record = record_document(TrackRecord().of("claude", "7"))
    question = json.loads(json.dumps(a_question(system_state={"track_record": record})))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(_places(question)))
        parent = question
        for step in path[:-1]:
            parent = parent[step]
        parent[path[-1]] = data.draw(JUNK)
    decision = an_outcome_planner(planner={"exploration": ALWAYS}).decide(question)
    text = msgspec.json.encode(decision.trace)
    assert read_document(text, PolicyTrace) == decision.trace
    assert 0 < decision.trace.propensity <= 1


@given(st.integers(0, 2**32 - 1), st.sampled_from(["nan", "inf", "big", "shape", "fine"]))
@settings(max_examples=100, deadline=None)
def test_whatever_a_model_says_there_is_an_answer_in_json(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)

    def answer(features: np.ndarray, actions: np.ndarray) -> RawOutcomes:
        shape = (int(rng.integers(1, 4)), len(actions) - (kind == "shape"))
        parts = {n: rng.random(shape) for n in RawOutcomes.__struct_fields__ if n != "novelty"}
        for values in parts.values():
            if rng.random() < 0.3:
                spoilt = {"nan": np.nan, "inf": np.inf, "big": 1e300}.get(kind, 0.5)
                values[rng.random(shape) < 0.5] = spoilt
        return RawOutcomes(**parts, novelty=float(rng.random()))

    decision = an_outcome_planner(FixedOutcomes(answer)).decide(a_question())
    assert read_document(msgspec.json.encode(decision.trace), PolicyTrace) == decision.trace
    assert (decision.action.confidence or 0.0) <= 1


# the track record


def a_run(number: int, *, ended_ms: int | None, status: str = "success") -> RunSummary:
    return RunSummary(
        run_id=f"r{number}", started_ms=0, ended_ms=ended_ms, job_type="code", domain="code",
        issue_id="7", toolchain="claude", action_executed=ActionExecuted(),
        outcome=Outcome(status=status), runtime=Runtime(duration_ms=60_000),  # type: ignore[arg-type]
    )  # fmt: skip


def record_seen(question: dict[str, Any], **bundle: Any) -> np.ndarray:
    """The record's part of what the model is shown."""
    seen = []

    def answer(features: np.ndarray, actions: np.ndarray) -> RawOutcomes:
        seen.append(features)
        return flat().outcomes(features, actions)

    an_outcome_planner(FixedOutcomes(answer), **bundle).decide(question)
    return seen[0][: len(RECORD_FEATURES)]


def test_a_record_in_the_question_is_what_the_model_is_shown() -> None:
    record = TrackRecord().of("claude", "7")
    told = record_document(msgspec.structs.replace(record, logit=1.25, n_pair=3))
    assert record_seen(a_question(system_state={"track_record": told}))[0] == 1.25


def test_else_history_that_had_ended_is_learned_on_top_of_the_bundle() -> None:
    place = RECORD_FEATURES.index("record.n_pair")
    runs = (
        a_run(1, ended_ms=NOW_MS), a_run(2, ended_ms=NOW_MS + 1), a_run(3, ended_ms=None),
        a_run(4, ended_ms=NOW_MS - 1, status="failed"),
    )  # fmt: skip
    asked = a_question(similar_runs=runs, dk_tool_hint="claude")
    assert record_seen(asked)[place] == pytest.approx(np.log1p(2))
    carried = TrackRecord()
    carried.add_summary(runs[3])
    assert record_seen(asked, track_record=carried.state())[place] == pytest.approx(np.log1p(2))


def test_a_question_without_a_record_hashes_as_it_always_did() -> None:
    asked = a_question(system_state={"hour_bucket": "09"})
    assert "track_record" not in asked["system_state"]
    assert input_hash(asked) != input_hash(
        a_question(system_state={"hour_bucket": "09", "track_record": None})
    )


def test_a_record_that_is_none_makes_the_question_invalid() -> None:
    told = record_document(TrackRecord().of("claude", "7"))
    for change in ({"logit": "high"}, {"mood": 1.0}, {"n_pair": -1}, {"log_usd": 1e300}):
        asked = a_question(system_state={"track_record": {**told, **change}})
        found = reason(an_outcome_planner().decide(asked))
        assert found.startswith("invalid_input:$.system_state.track_record")


@pytest.mark.parametrize(
    ("hint", "available", "expected"),
    [
        ("crush", ["claude"], "crush"),
        (None, ["codex"], "codex"),
        (None, None, "claude"),  # as the shipped rules route it
        (None, ["codex", "opencode"], "codex"),
    ],
)
def test_the_toolchain_is_the_one_that_would_run(
    hint: str | None, available: list[str] | None, expected: str
) -> None:
    state = {"available_toolchains": available}
    asked = read_document(a_question(dk_tool_hint=hint, system_state=state), PlannerInput)
    assert toolchain_of(asked, SHIPPED_CONFIG) == expected
    carried = TrackRecord()
    carried.add(expected, "7", passed=True)
    record = record_of_question(asked, carried.state(), SHIPPED_CONFIG)
    assert record.n_pair == 1


# chance


def explored(planner: Planner, n: int, **issue: Any) -> list[Decision]:
    return [planner.decide(a_question(title=f"Issue {i}", **issue)) for i in range(n)]


def test_a_drawn_action_carries_its_propensity_and_who_drew_it() -> None:
    planner = an_outcome_planner(planner={"exploration": ALWAYS})
    decisions = explored(planner, 200, dk_priority="P3")
    assert {d.trace.decided_by for d in decisions} == {"exploration"}
    assert {d.trace.propensity for d in decisions} == {0.25}  # of four open actions, evenly
    assert {d.trace.n_open for d in decisions} == {4}
    assert {d.action.reason for d in decisions} == {"exploration"}
    assert {d.trace.fallback_reason for d in decisions} == {None}
    assert {d.action.abstain_to_default for d in decisions} == {False}
    chosen = Counter(action_of(d.action).max_minutes_bin for d in decisions)
    assert set(chosen) == {15, 30, 45, 60}
    assert all(d.action.confidence == 1.0 and d.model_choice == SHORTEST for d in decisions)
    for d in decisions:
        assert d.trace.expected is not None
        assert d.trace.expected.chosen.minutes == action_of(d.action).max_minutes_bin


def test_propensities_of_exploit_and_explore_are_those_of_the_rule() -> None:
    budget = ExplorationBudget(epsilon=0.4, seed="e", budget_share=1.0)
    planner = an_outcome_planner(planner={"exploration": budget})
    for d in explored(planner, 300, dk_priority="P3"):
        greedy = action_of(d.action) == SHORTEST
        assert d.trace.propensity == pytest.approx(0.7 if greedy else 0.1)
        assert (d.trace.exploration.u < 0.4) == (d.trace.decided_by == "exploration")  # type: ignore[operator]
        assert d.trace.exploration.enabled is True


def test_an_inverse_propensity_average_counts_every_action_once() -> None:
    budget = ExplorationBudget(epsilon=0.5, seed="e", budget_share=1.0)
    decisions = explored(
        an_outcome_planner(planner={"exploration": budget}), 1_500, dk_priority="P3"
    )
    for minutes in (15, 30, 45, 60):
        weights = [
            (action_of(d.action).max_minutes_bin == minutes) / d.trace.propensity for d in decisions
        ]
        error = np.std(weights) / np.sqrt(len(weights))
        assert abs(np.mean(weights) - 1) < 4 * error


@pytest.mark.parametrize("issue", [{"dk_priority": "P0"}, {"dk_priority": "P2"}, {}])
def test_issues_that_matter_are_not_explored(issue: dict[str, Any]) -> None:
    for d in explored(an_outcome_planner(planner={"exploration": ALWAYS}), 20, **issue):
        assert d.trace.decided_by == "model"
        assert d.trace.propensity == 1.0
        assert d.trace.exploration.enabled is False


def test_the_lab_may_explore_whatever_the_priority() -> None:
    planner = an_outcome_planner(planner={"exploration": ALWAYS})
    (decision,) = explored(planner, 1, dk_priority="P0", tags=[LAB_TAG])
    assert decision.trace.decided_by == "exploration"


@pytest.mark.parametrize(
    ("fields", "may"),
    [
        ({"calibration": calibration_of(always_abstains=True)}, True),
        ({"calibration": calibration_of(novelty_threshold=0.5), "model": flat(novelty=1.0)}, False),
        ({"model": failing(ModelError("x"))}, False),
        ({"config": msgspec.structs.replace(SHIPPED_CONFIG, fallbacks={})}, False),
    ],
    ids=["not_certified", "out_of_distribution", "inference_failed", "epoch_mismatch"],
)
def test_an_unsure_model_may_be_explored_and_one_that_must_not_be_asked_may_not(
    fields: dict[str, Any], may: bool
) -> None:
    planner = an_outcome_planner(
        fields.get("model"),
        planner={"exploration": ALWAYS, "kernel_config": fields.get("config")},
        **({"calibration": fields["calibration"]} if "calibration" in fields else {}),
    )
    for d in explored(planner, 30, dk_priority="P3"):
        assert (d.trace.decided_by == "exploration") == may
        assert d.trace.propensity == (0.25 if may else 1.0)
        assert (d.trace.fallback_reason or "") != ""


def test_drawing_stays_in_the_safe_set() -> None:
    limits = Limits(caps={"max_minutes_bin": 30})
    planner = an_outcome_planner(planner={"exploration": ALWAYS, "limits": limits})
    minutes = {action_of(d.action).max_minutes_bin for d in explored(planner, 60, dk_priority="P3")}
    assert minutes == {15, 30}


def test_the_budget_is_counted_and_can_be_carried_on() -> None:
    budget = ExplorationBudget(epsilon=1.0, seed="e", budget_share=0.1)
    planner = an_outcome_planner(planner={"exploration": budget})
    decisions = explored(planner, 100, dk_priority="P3")
    assert planner.exploration_counts == (100, 10)
    assert sum(d.trace.decided_by == "exploration" for d in decisions) == 10
    going_on = an_outcome_planner(
        planner={"exploration": budget, "exploration_counts": planner.exploration_counts}
    )
    explored(going_on, 9, dk_priority="P3")
    assert going_on.exploration_counts == (109, 10)
    explored(going_on, 1, dk_priority="P3")
    assert going_on.exploration_counts == (110, 11)


def test_the_budget_holds_among_threads() -> None:
    budget = ExplorationBudget(epsilon=1.0, seed="e", budget_share=0.1)
    planner = an_outcome_planner(planner={"exploration": budget})
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(explored, planner, 50, dk_priority="P3") for _ in range(4)]:
            done.result()
    assert planner.exploration_counts == (200, 20)


def test_equal_questions_get_equal_answers() -> None:
    budget = ExplorationBudget(epsilon=0.5, seed="e", budget_share=1.0)
    one, other = (
        [d.trace for d in map(
            lambda i, p=planner: p.decide(a_question(title=str(i), dk_priority="P3"), now_ms=0),
            range(30))]
        for planner in (an_outcome_planner(planner={"exploration": budget}) for _ in range(2))
    )  # fmt: skip
    assert one == other


# the record


def golden_trace() -> PolicyTrace:
    """A decision that was drawn by chance and felt a guardrail, with nothing left to defaults."""
    objective = Objective(
        name="golden", rule="utility", weights=Weights(passed=1.0, minute=0.005, usd=0.01),
        caution=0.25, guardrails={"high": Guardrail(pass_within=0.1, saving=0.05)},
    )  # fmt: skip
    budget = ExplorationBudget(epsilon=0.5, seed="golden", budget_share=1.0)
    planner = an_outcome_planner(
        flat(lambda minutes: 0.4 + minutes / 400, spread=0.4, novelty=1.5, cost=0.05),
        calibration=calibration_of(novelty_threshold=4.0),
        planner={"objective": objective, "exploration": budget},
    )
    asked = a_question(title="Tidy the docs", dk_priority="P3", dk_risk="high")
    return planner.decide(asked, now_ms=NOW_MS).trace


def test_the_example_of_a_trace_is_what_a_planner_writes() -> None:
    written = (ROOT / "schemas/examples/valid/policy_trace.json").read_bytes()
    assert read_document(written, PolicyTrace) == golden_trace()


def test_a_trace_from_before_outcomes_is_still_one() -> None:
    written = json.loads((ROOT / "tests/golden/policy_trace_of_imitation.json").read_text())
    trace = read_document(written, PolicyTrace)
    assert trace.objective is None
    assert {k: v for k, v in to_document(trace).items() if k in written} == written


def test_a_kernel_that_says_what_it_would_enforce_gets_nothing_else() -> None:
    """Its own baseline is what gains are measured from, and what stands in."""
    kernels_own = Action("serial_handoff", 1, 45, NA)
    allowed = frozenset({Action("serial_handoff", 1, 30, NA), kernels_own})
    planner = an_outcome_planner(flat(lambda minutes: 0.9 - 0.001 * minutes))
    free = planner.decide(a_question())
    assert action_of(free.action).max_minutes_bin == 15
    situation = Situation(baseline=kernels_own, enforceable=allowed)
    held = planner.decide(a_question(), situation=situation)
    assert held.baseline == kernels_own
    assert action_of(held.action) == Action("serial_handoff", 1, 30, NA)
    assert held.trace.bounds["kernel"] == 1  # 15 minutes; the rest other limits had closed
    unsure = Situation(baseline=kernels_own, enforceable=allowed, confidence_threshold=1.0)
    spread = an_outcome_planner(flat(lambda minutes: 0.9 - 0.001 * minutes, spread=0.2))
    kept = spread.decide(a_question(), situation=unsure)
    assert action_of(kept.action) == kernels_own
    assert (kept.action.reason or "").startswith("low_confidence:")


def test_a_question_that_cannot_be_read_is_answered_by_the_kernels_own_baseline() -> None:
    kernels_own = Action("speculate_vote", 2, 45, NA)
    for planner in (an_outcome_planner(), Planner.open(None)):
        decision = planner.decide(b"{", situation=Situation(baseline=kernels_own))
        assert action_of(decision.action) == kernels_own
