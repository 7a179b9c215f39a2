"""What a kernel follows of a plan: formats 7.3, check by check, the caps last.

Belongs here: ``kernel.modes`` and ``kernel.settings``. Does not: whole dispatches (``test_kernel_planner``).
"""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_runtime.actions import NA, Action, ActionSpace, valid_actions
from planner_runtime.kernel.modes import (
    Caps,
    Enforced,
    KernelBaseline,
    baseline_in,
    enforceable_actions,
    judge,
    kept,
)
from planner_runtime.kernel.settings import planner_settings_of

SPACE = ActionSpace()
SPECULATE = KernelBaseline(
    swarm_id="speculate_vote", caps=Caps(max_candidates=2, timeout_seconds=2_700)
)
SERIAL = KernelBaseline(
    swarm_id="serial_handoff", caps=Caps(max_candidates=1, timeout_seconds=3_600)
)


def an_answer(
    swarm_id: object = "speculate_vote",
    candidates: object = 2,
    minutes: object = 45,
    iterations: object = NA,
    *,
    confidence: object = 0.9,
) -> dict[str, object]:
    return {
        "swarm_id": swarm_id,
        "budgets": {
            "max_candidates_bin": candidates,
            "max_minutes_bin": minutes,
            "max_iterations_bin": iterations,
        },
        "confidence": confidence,
    }


def judged(
    answer: object, baseline: KernelBaseline = SPECULATE, *, job_type: str = "code"
) -> Enforced | str:
    return judge(
        answer, space=SPACE, job_type=job_type, baseline=baseline, confidence_threshold=0.2
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "invalid_action_type"),
        ([1, 2], "invalid_action_type"),
        (an_answer(confidence=0.1), "low_confidence"),
        (an_answer(confidence=None), "low_confidence"),
        (an_answer(confidence=float("nan")), "low_confidence"),
        (an_answer(confidence=True), "low_confidence"),
        (an_answer(None), "malformed_prediction"),
        (an_answer(""), "malformed_prediction"),
        (an_answer("mob"), "prediction_out_of_space"),
        (an_answer(candidates=7), "prediction_out_of_space"),
        (an_answer(candidates=True), "prediction_out_of_space"),
        (an_answer(minutes=[45]), "prediction_out_of_space"),
        ({"swarm_id": "speculate_vote", "confidence": 1.0}, "prediction_out_of_space"),
        (an_answer(iterations=3), "prediction_invalid"),
        (an_answer("serial_handoff", 2), "prediction_invalid"),
        (an_answer("serial_handoff", 1), "swarm_mismatch"),
        (an_answer(candidates=3), "max_candidates_exceeds_cap"),
        (an_answer(candidates=1, minutes=60), "timeout_exceeds_cap"),
        (an_answer(candidates=3, minutes=60), "max_candidates_exceeds_cap"),
    ],
)
def test_the_first_check_that_fails_names_the_fallback(answer: object, reason: str) -> None:
    assert judged(answer) == reason


def test_a_plan_within_the_caps_is_enforced_and_na_keeps_the_baselines_budget() -> None:
    assert judged(an_answer(candidates=1, minutes=30)) == Enforced(
        swarm_id="speculate_vote", max_candidates=1, timeout_seconds_override=1_800
    )
    assert judged(an_answer(candidates=NA, minutes=NA)) == kept(SPECULATE)
    assert judged(an_answer(minutes=45)) == Enforced(
        swarm_id="speculate_vote", max_candidates=2, timeout_seconds_override=2_700
    )


def test_rounds_of_an_evolution_are_a_cap_of_their_own() -> None:
    evolve = KernelBaseline(
        swarm_id="speculate_vote", caps=Caps(max_candidates=3, max_iterations=3)
    )
    over = judged(an_answer(iterations=5), evolve, job_type="fab-world")
    assert over == "max_iterations_exceeds_cap"
    within = judged(an_answer(candidates=2, minutes=NA, iterations=2), evolve, job_type="fab-world")
    assert within == Enforced(swarm_id="speculate_vote", max_candidates=2, max_iterations=2)


def test_another_topology_runs_only_where_the_kernel_offers_it_and_within_its_own_caps() -> None:
    refused = judged(an_answer("speculate_vote", 2, 45), SERIAL)
    assert refused == "swarm_mismatch"
    open_to_both = KernelBaseline(
        swarm_id="serial_handoff",
        caps=SERIAL.caps,
        alternatives=(("speculate_vote", Caps(max_candidates=2, timeout_seconds=2_700)),),
    )
    assert judged(an_answer("speculate_vote", 2, 45), open_to_both) == Enforced(
        swarm_id="speculate_vote", max_candidates=2, timeout_seconds_override=2_700
    )
    assert judged(an_answer("speculate_vote", 3, 45), open_to_both) == "max_candidates_exceeds_cap"
    assert judged(an_answer("speculate_vote", 2, 60), open_to_both) == "timeout_exceeds_cap"
    # "NA" is what the other topology would have, not what the baseline has
    assert judged(an_answer("speculate_vote", NA, NA), open_to_both) == Enforced(
        swarm_id="speculate_vote", max_candidates=2
    )


def test_what_chance_drew_needs_no_confidence_but_keeps_the_caps() -> None:
    drawn = {"space": SPACE, "job_type": "code", "confidence_threshold": 0.2, "by_chance": True}
    unsure = an_answer(candidates=1, confidence=0.0)
    assert isinstance(judge(unsure, baseline=SPECULATE, **drawn), Enforced)  # type: ignore[arg-type]
    over = an_answer(candidates=3, confidence=0.0)
    assert judge(over, baseline=SPECULATE, **drawn) == "max_candidates_exceeds_cap"  # type: ignore[arg-type]


choices = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.none()),
    st.sampled_from(["serial_handoff", "speculate_vote", NA, 1, 2, 3, 15, 30, 45, 60, 120]),
)  # fmt: skip


@given(
    swarm=choices, candidates=choices, minutes=choices, iterations=choices, confidence=choices,
    most=st.integers(1, 4), seconds=st.one_of(st.none(), st.integers(1, 10_000)),
    serial=st.booleans(), job_type=st.sampled_from(["code", "fab-world", "other"]),
)  # fmt: skip
def test_whatever_is_answered_nothing_above_the_caps_ever_runs(
    swarm: object,
    candidates: object,
    minutes: object,
    iterations: object,
    confidence: object,
    most: int,
    seconds: int | None,
    serial: bool,
    job_type: str,
) -> None:
    baseline = KernelBaseline(
        swarm_id="serial_handoff" if serial else "speculate_vote",
        caps=Caps(max_candidates=most, timeout_seconds=seconds),
    )
    answer = an_answer(swarm, candidates, minutes, iterations, confidence=confidence)
    found = judged(answer, baseline, job_type=job_type)
    if isinstance(found, str):
        return
    assert found.swarm_id == baseline.swarm_id
    assert 1 <= found.max_candidates <= most
    override = found.timeout_seconds_override
    assert override is None or seconds is None or 0 < override <= seconds


@given(
    most=st.integers(1, 4), seconds=st.integers(600, 8_000),
    job_type=st.sampled_from(["code", "fab-world", "other"]),
)  # fmt: skip
def test_enforceable_actions_are_those_that_the_judge_lets_pass(
    most: int, seconds: int, job_type: str
) -> None:
    baseline = KernelBaseline(
        swarm_id="speculate_vote", caps=Caps(max_candidates=most, timeout_seconds=seconds)
    )
    passed = {
        action
        for action in valid_actions(SPACE, job_type)
        if not isinstance(judged(an_answer(*action), baseline, job_type=job_type), str)
    }
    assert enforceable_actions(SPACE, job_type, baseline) == passed


def test_the_baseline_is_snapped_to_the_nearest_bins() -> None:
    assert baseline_in(SPACE, "code", SPECULATE) == Action("speculate_vote", 2, 45, NA)
    assert baseline_in(SPACE, "code", SERIAL) == Action("serial_handoff", 1, 60, NA)
    unknown = KernelBaseline(swarm_id="mob", caps=Caps(max_candidates=9))
    assert baseline_in(SPACE, "code", unknown) == Action("mob", 3, NA, NA)
    rounds = KernelBaseline(
        swarm_id="serial_handoff", caps=Caps(max_candidates=2, max_iterations=3)
    )
    assert baseline_in(SPACE, "code", rounds) == Action("serial_handoff", 1, NA, NA)


@pytest.mark.parametrize(
    ("section", "mode"),
    [
        (None, "off"),
        ({}, "off"),
        ({"mode": "log"}, "log"),
        ({"mode": "enforce"}, "enforce"),
        ({"mode": "on"}, "off"),
        ({"mode": 1}, "off"),
        ({"enabled": True}, "enforce"),
        ({"enabled": False}, "off"),
        ({"enabled": True, "mode": "log"}, "log"),
        ({"enabled": "yes"}, "off"),
    ],
)
def test_the_mode_is_read_as_the_kernel_reads_it(section: object, mode: str) -> None:
    assert planner_settings_of({"planner": section}, Path("/repo")).mode == mode


def test_paths_of_the_settings_start_at_the_repository() -> None:
    section = {"mode": "log", "bundle_dir": "models/current", "public_key": "/etc/key.pem"}
    settings = planner_settings_of({"planner": section}, Path("/repo"))
    assert settings.bundle_dir == Path("/repo/models/current")
    assert settings.public_key == Path("/etc/key.pem")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("confidence_threshold", "high"),
        ("confidence_threshold", 1.5),
        ("confidence_threshold", float("nan")),
        ("deadline_ms", 0),
        ("topology_changes", "yes"),
        ("require_signature", 1),
        ("bundle_dir", 3),
        ("bundle_dir", "a\0b"),
    ],
)
def test_a_value_that_nobody_can_use_switches_the_planner_off_and_is_named(
    key: str, value: object
) -> None:
    settings = planner_settings_of({"planner": {"mode": "enforce", key: value}}, Path("/repo"))
    assert settings.mode == "off"
    assert settings.refused[0].startswith(f"planner.{key}")


def test_a_planner_section_that_is_no_section_is_off_and_named() -> None:
    settings = planner_settings_of({"planner": ["enforce"]}, Path("/repo"))
    assert settings.mode == "off"
    assert settings.refused == ("planner: not a section",)
