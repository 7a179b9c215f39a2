"""Whatever fails, the answer is the same: the kernel's own action, to the last bit, and a reason.

Source: reference/reliability.md 5. Every way to fail is put before every question; the answer is held
against that of a planner that never had a bundle.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from planner_runtime.actions import HEADS, ActionSpace
from planner_runtime.bundle import OUTCOME_MEMBERS
from planner_runtime.calibration import Calibration
from planner_runtime.kernel_config import SHIPPED_CONFIG, Scheduling
from planner_runtime.objective import Objective
from planner_runtime.outcomes.features import OUTCOME_FEATURES
from planner_runtime.planner import Planner
from planner_runtime.policy import Limits
from planner_runtime.session import FixedModel, ModelError, OnnxOutcomeModel
from planner_runtime.slow_models import SlowModel, SlowOutcomes, SlowStoppableModel
from tests.fuzz.decisions import ordinary_questions
from tests.imitation_bundles import a_session, an_imitation_bundle, fixed_logits
from tests.outcome_bundles import (
    a_question,
    an_outcome_bundle,
    calibration_of,
    flat,
    tiny_onnx,
    write_outcome_bundle,
)

NAN = float("nan")
ELSEWHERE = ActionSpace(swarm_ids=("unheard_of",))
SURE = FixedModel([[9.0, 0.0], [9.0, 0, 0, 0], [9.0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 9.0]])
QUESTIONS = {
    "plain": a_question(),
    "high risk": a_question(dk_risk="high"),
    "one toolchain": a_question(
        dk_risk="critical", system_state={"available_toolchains": ["claude"]}
    ),
    "few minutes": a_question(space=ActionSpace(max_minutes_bins=(15, 30))),
    "no NA": a_question(space=ActionSpace(max_minutes_bins=(120,), max_candidates_bins=(1, 3))),
    **{f"ordinary {number}": q for number, q in enumerate(ordinary_questions())},
}


class Failing:
    """A model that raises."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def logits(self, row: np.ndarray) -> list[np.ndarray]:
        raise self._error


def imitating(model: Any, *, deadline_ms: float | None = None, **bundle: Any) -> Planner:
    return Planner(an_imitation_bundle(**bundle), model, deadline_ms=deadline_ms)


def calibrated(**fields: Any) -> Calibration:
    told = {"temperatures": dict.fromkeys(HEADS, 1.0), "confidence_threshold": 0.0, **fields}
    return Calibration(n_validation=0, **told)


def by_outcomes(model: Any = None, *, planner: Any = None, **bundle: Any) -> Planner:
    options = {"deadline_ms": None, **(planner or {})}
    return Planner(an_outcome_bundle(**bundle), model or flat(), **options)


def session_of(**graph: Any) -> OnnxOutcomeModel:
    return OnnxOutcomeModel(tiny_onnx(**graph), input_width=len(OUTCOME_FEATURES))


OTHER_EPOCH = msgspec.structs.replace(
    SHIPPED_CONFIG, scheduling=Scheduling(max_concurrent_tokens=1)
)
WAYS: dict[str, tuple[Callable[[], Planner], str]] = {
    "no bundle": (lambda: Planner.open(None), "bundle_dir_missing"),
    "no such bundle": (lambda: Planner.open(Path("/nowhere/at/all")), "bundle_dir_not_found"),
    "a file for a bundle": (lambda: Planner.open(Path(__file__)), "bundle_load_failed"),
    "slow": (lambda: imitating(SlowModel(SURE, seconds=0.02), deadline_ms=5), "deadline"),
    "slow, stopped": (
        lambda: imitating(SlowStoppableModel(SURE, seconds=60), deadline_ms=5), "deadline",
    ),
    "late before the model": (lambda: imitating(a_session(), deadline_ms=1e-6), "deadline"),
    "slow outcomes": (
        lambda: by_outcomes(SlowOutcomes(flat(), seconds=0.02), planner={"deadline_ms": 5}),
        "deadline",
    ),
    "NaN logits": (lambda: imitating(FixedModel(fixed_logits(NAN))), "inference_failed"),
    "infinite logits": (lambda: imitating(FixedModel(fixed_logits(math.inf))), "inference_failed"),
    "too few logits": (lambda: imitating(FixedModel([[0.0]] * 4)), "inference_failed"),
    "no memory in the model": (lambda: imitating(Failing(MemoryError())), "inference_failed"),
    "a failing model": (lambda: imitating(Failing(ModelError("x"))), "inference_failed"),
    "a strange error": (lambda: imitating(Failing(RuntimeError("\ud800"))), "inference_failed"),
    "NaN temperatures": (
        lambda: imitating(SURE, calibration=calibrated(temperatures=dict.fromkeys(HEADS, NAN))),
        "inference_failed",
    ),
    "no temperatures": (
        lambda: imitating(SURE, calibration=calibrated(temperatures={})), "inference_failed",
    ),
    "NaN threshold": (
        lambda: imitating(SURE, calibration=calibrated(confidence_threshold=NAN)),
        "low_confidence",
    ),
    "not certified": (
        lambda: imitating(SURE, calibration=calibrated(always_abstains=True)), "not_certified",
    ),
    "unsure": (lambda: imitating(FixedModel(fixed_logits()), threshold=0.99), "low_confidence"),
    "no shared action": (lambda: imitating(SURE, space=ELSEWHERE), "no_valid_action"),
    "NaN outcomes": (lambda: by_outcomes(session_of(nan=True)), "inference_failed"),
    "no shared outcome": (lambda: by_outcomes(space=ELSEWHERE), "no_valid_action"),
    "outcomes of NaN": (
        lambda: by_outcomes(flat(lambda minutes: minutes * NAN)), "inference_failed",
    ),
    "NaN slope": (
        lambda: by_outcomes(calibration=calibration_of(pass_slope=NAN)), "no_action_open",
    ),
    "NaN novelty threshold": (
        lambda: by_outcomes(calibration=calibration_of(novelty_threshold=NAN)),
        "out_of_distribution",
    ),
    "novel": (
        lambda: by_outcomes(flat(novelty=9.0), calibration=calibration_of(novelty_threshold=1.0)),
        "out_of_distribution",
    ),
    "another epoch": (
        lambda: by_outcomes(planner={"kernel_config": OTHER_EPOCH}), "epoch_mismatch",
    ),
    "an objective without its price": (
        lambda: by_outcomes(planner={"objective": Objective(rule="constrained")}),
        "policy_refused",
    ),
    "caps that leave nothing": (
        lambda: by_outcomes(planner={"limits": Limits(caps={"max_candidates_bin": 0})}),
        "no_action_open",
    ),
    "outcomes without their model": (
        lambda: Planner(an_outcome_bundle(), SURE, deadline_ms=None), "inference_failed",
    ),
}  # fmt: skip


def is_the_baseline(planner: Planner, question: Any, codes: tuple[str, ...]) -> None:
    """The answer is that of a planner without a bundle, but for its reason and who gave it."""
    decision = planner.decide(question, now_ms=0)
    kernel = Planner.open(None, deadline_ms=None).decide(question, now_ms=0)
    code = (decision.action.reason or "").split(":")[0]
    assert code in codes, decision.action.reason
    assert decision.baseline == kernel.baseline
    shared = {"probs": None, "confidence": 0.0, "reason": None, "model": None}
    ours, theirs = (
        msgspec.json.encode(msgspec.structs.replace(one.action, **shared))
        for one in (decision, kernel)
    )
    assert ours == theirs
    assert decision.action.abstain_to_default is True
    assert decision.trace.decided_by == "baseline"
    assert msgspec.json.encode(decision.trace.chosen) == msgspec.json.encode(kernel.trace.chosen)
    assert decision.trace.fallback_reason == decision.action.reason


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("asked", QUESTIONS)
def test_whatever_fails_the_answer_is_the_kernels_own(way: str, asked: str) -> None:
    make, code = WAYS[way]
    # actions that the bundle of outcomes lacks are found out before anything else of it
    is_the_baseline(make(), QUESTIONS[asked], (code,))


def damages() -> Iterator[tuple[str, Callable[[Path], object]]]:
    for name in ("manifest.json", *OUTCOME_MEMBERS):
        yield f"{name} gone", lambda folder, name=name: (folder / name).unlink()
        yield f"{name} empty", lambda folder, name=name: (folder / name).write_bytes(b"")
        yield f"{name} noise", lambda folder, name=name: (folder / name).write_bytes(b"\xff" * 99)
        yield f"{name} a folder", lambda folder, name=name: [
            (folder / name).unlink(), (folder / name).mkdir(),
        ]  # fmt: skip
    yield "one file more", lambda folder: (folder / "more").write_bytes(b"")


@pytest.mark.parametrize(("damage", "do"), [pytest.param(*one, id=one[0]) for one in damages()])
def test_a_damaged_bundle_is_none(damage: str, do: Any, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    write_outcome_bundle(folder, check=False)
    do(folder)
    planner = Planner.open(folder, deadline_ms=None)
    for question in QUESTIONS.values():
        is_the_baseline(planner, question, ("bundle_load_failed",))


@pytest.mark.parametrize("question", [b"", b"\xff", "{}", {}, {"issue": 1}, None, 7, [b"x"]])
def test_of_what_cannot_be_read_every_planner_makes_the_same(question: Any) -> None:
    told = set()
    for make, _ in WAYS.values():
        decision = make().decide(question, now_ms=0)
        assert (decision.action.reason or "").startswith("invalid_input:")
        told.add(msgspec.json.encode(decision.action))
    assert len(told) == 1
