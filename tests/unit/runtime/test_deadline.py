"""A decision has its time; what takes longer is the baseline, with the reason ``deadline``."""

import math
import os
import threading
import time
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from planner_runtime.actions import HEADS, ActionSpace
from planner_runtime.bundle import Bundle
from planner_runtime.calibration import Calibration
from planner_runtime.deadline import NEVER, WATCHDOG, Deadline, DeadlineError, Watchdog
from planner_runtime.features import N_FEATURES
from planner_runtime.planner import Planner, action_of
from planner_runtime.session import FixedModel, OnnxModel
from planner_runtime.slow_models import SlowModel, SlowOutcomes, SlowStoppableModel
from tests.outcome_bundles import a_question, an_outcome_bundle, flat

SPACE = ActionSpace()
LOGITS = [[0.0, 9.0], [0, 9.0, 0, 0], [0, 0, 9.0, 0, 0, 0], [0] * 5]
FAST = FixedModel(LOGITS)
LONG = 30.0  # seconds: nobody waits for it


def a_bundle() -> Bundle:
    """One that imitates, from features."""
    draft = an_outcome_bundle()
    card = msgspec.structs.replace(
        draft.manifest.model, arch="fixed", input_width=N_FEATURES, decoding="heads"
    )
    calibration = Calibration(
        temperatures=dict.fromkeys(HEADS, 1.0), confidence_threshold=0.0, n_validation=0
    )
    manifest = msgspec.structs.replace(draft.manifest, model=card)
    return msgspec.structs.replace(draft, manifest=manifest, calibration=calibration, outcome=None)


def a_slow_graph(n_products: int, width: int) -> bytes:
    """Products of matrices, one after another: a computation of seconds in many small steps."""
    nodes, last = [], "wide"
    square = np.eye(width, dtype=np.float32)
    nodes.append(helper.make_node("MatMul", ["square", "square"], ["p0"]))
    for number in range(1, n_products):
        nodes.append(helper.make_node("MatMul", [f"p{number - 1}", "square"], [f"p{number}"]))
    nodes.append(helper.make_node("ReduceMean", [f"p{n_products - 1}"], ["mean"], keepdims=0))
    nodes.append(helper.make_node("MatMul", ["features", "weights"], [last]))
    nodes.append(helper.make_node("Mul", [last, "mean"], ["scaled"]))
    widths = [len(choices) for choices in SPACE.choices]
    starts = np.cumsum([0, *widths])
    constants = [
        numpy_helper.from_array(np.zeros((N_FEATURES, sum(widths)), dtype=np.float32), "weights")
    ]
    for head, (start, stop) in enumerate(pairwise(starts)):
        for name, value in (("from", start), ("to", stop)):
            constants.append(numpy_helper.from_array(np.array([value]), f"{name}{head}"))
        inputs = ["scaled", f"from{head}", f"to{head}", "axis"]
        nodes.append(helper.make_node("Slice", inputs, [f"logits_{HEADS[head]}"]))
    constants.append(numpy_helper.from_array(np.array([1]), "axis"))
    # an input, lest the products be worked out when the session is made
    nodes.insert(0, helper.make_node("Mul", ["unit", "one"], ["square"]))
    nodes.insert(0, helper.make_node("ReduceMax", ["features"], ["top"], keepdims=0))
    nodes.insert(1, helper.make_node("Sub", ["top", "top"], ["nil"]))
    nodes.insert(2, helper.make_node("Exp", ["nil"], ["one"]))
    constants.append(numpy_helper.from_array(square, "unit"))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "slow",
        [value("features", TensorProto.FLOAT, ["batch", N_FEATURES])],
        [
            value(f"logits_{head}", TensorProto.FLOAT, ["batch", n])
            for head, n in zip(HEADS, widths, strict=True)
        ],
        constants,
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


def a_slow_session(n_products: int, width: int) -> OnnxModel:
    widths = {f"logits_{h}": len(c) for h, c in zip(HEADS, SPACE.choices, strict=True)}
    return OnnxModel(
        a_slow_graph(n_products, width), input_kind="features", input_width=N_FEATURES,
        output_widths=widths,
    )  # fmt: skip


def is_late(planner: Planner, **question: Any) -> None:
    """The decision is the baseline's, and says why."""
    asked = a_question(**question)
    decision = planner.decide(asked)
    assert decision.action.reason == "deadline"
    assert decision.trace.fallback_reason == "deadline"
    assert decision.trace.decided_by == "baseline"
    assert decision.action.abstain_to_default is True
    assert decision.action.input_hash is not None
    assert action_of(decision.action) == Planner.open(None).decide(asked).baseline


@pytest.mark.parametrize("risk", ["low", "high"])
def test_a_model_that_is_late_is_not_followed(risk: str) -> None:
    is_late(Planner(a_bundle(), SlowModel(FAST, seconds=0.05), deadline_ms=10), dk_risk=risk)


def test_a_model_that_can_be_stopped_is_not_waited_for() -> None:
    started = time.monotonic()
    is_late(Planner(a_bundle(), SlowStoppableModel(FAST, seconds=LONG), deadline_ms=10))
    assert time.monotonic() - started < LONG / 2


def test_outcomes_that_are_late_are_not_followed() -> None:
    model = SlowOutcomes(flat(), seconds=0.05)
    is_late(Planner(an_outcome_bundle(), model, deadline_ms=10))
    planner = Planner(an_outcome_bundle(), model, deadline_ms=None)
    assert planner.decide(a_question()).trace.decided_by == "model"


def test_without_a_deadline_a_slow_model_decides() -> None:
    for model in (SlowModel(FAST, seconds=0.02), SlowStoppableModel(FAST, seconds=0.02)):
        decision = Planner(a_bundle(), model, deadline_ms=None).decide(a_question())
        assert decision.trace.decided_by == "model"
        assert decision.action.reason is None


def test_a_session_is_stopped_in_the_middle_of_its_graph() -> None:
    """The products take minutes; what the watchdog leaves of them is one."""
    session = a_slow_session(n_products=4_000, width=512)
    started = time.monotonic()
    is_late(Planner(a_bundle(), session, deadline_ms=50))
    assert time.monotonic() - started < LONG
    with pytest.raises(DeadlineError):
        session.logits_by(np.zeros(N_FEATURES, dtype=np.float32), Deadline(20))


def test_a_session_that_was_stopped_answers_the_next_question() -> None:
    session = a_slow_session(n_products=60, width=256)
    row = np.zeros(N_FEATURES, dtype=np.float32)
    expected = session.logits(row)
    with pytest.raises(DeadlineError):
        session.logits_by(row, Deadline(0.05))
    again = session.logits_by(row, NEVER)
    assert [one.tolist() for one in again] == [one.tolist() for one in expected]


def test_one_thread_watches_over_every_decision() -> None:
    session = a_slow_session(n_products=2, width=8)
    planner = Planner(a_bundle(), session, deadline_ms=60_000)
    planner.plan(a_question())
    threads = set(threading.enumerate())
    assert all(one.daemon for one in threads if one.name == "planner-deadline")
    for _ in range(50):
        assert planner.decide(a_question()).action.reason is None
    assert set(threading.enumerate()) == threads


def test_a_watchdog_calls_each_at_its_moment_and_nobody_who_is_done() -> None:
    watchdog, called = Watchdog(), []
    rung = {name: threading.Event() for name in ("late", "soon", "never")}

    def stop(name: str) -> Any:
        def ring() -> None:
            called.append(name)
            rung[name].set()

        return ring

    done = stop("never")
    watchdog.watch(Deadline(60), stop("late"))
    watchdog.watch(Deadline(30), done)
    watchdog.watch(Deadline(5), stop("soon"))
    watchdog.forget(done)
    assert rung["late"].wait(LONG)
    assert called == ["soon", "late"]
    rung["soon"].clear()
    watchdog.watch(Deadline(1), stop("soon"))  # it sleeps without a moment to wake at, and wakes
    assert rung["soon"].wait(LONG)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process.*:DeprecationWarning")
def test_a_forked_process_has_a_watchdog_of_its_own() -> None:
    parent, child = os.pipe()
    watchdog_known = threading.Event()
    WATCHDOG.watch(Deadline(1), watchdog_known.set)
    assert watchdog_known.wait(LONG)
    pid = os.fork()
    if pid == 0:
        rung = threading.Event()
        WATCHDOG.watch(Deadline(1), rung.set)
        os.write(child, b"y" if rung.wait(LONG) else b"n")
        os._exit(0)
    os.close(child)
    assert os.read(parent, 1) == b"y"
    os.waitpid(pid, 0)
    os.close(parent)


@pytest.mark.parametrize("ms", [0, -1, math.nan, -math.inf])
def test_a_deadline_that_nobody_can_keep_is_wrong_use(ms: float) -> None:
    with pytest.raises(ValueError, match="above 0 ms"):
        Planner(None, None, deadline_ms=ms)


def test_what_is_read_takes_part_of_the_time() -> None:
    planner = Planner(a_bundle(), FAST, deadline_ms=1e-6)
    is_late(planner)
    assert (planner.plan(b"{").reason or "").startswith("invalid_input:")
