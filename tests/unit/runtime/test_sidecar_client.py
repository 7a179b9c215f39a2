"""The kernel's side: an answer in time or the baseline with the reason, never an exception."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner_runtime.actions import Action
from planner_runtime.contracts import PlannerAction, PolicyTrace, read_document, to_document
from planner_runtime.decision import Situation, action_of
from planner_runtime.planner import Planner
from planner_runtime.sidecar.client import MAX_BACKOFF_SECONDS, SidecarPlanner
from planner_runtime.sidecar.decider import SidecarDecider
from tests.imitation_files import write_imitation_bundle
from tests.outcome_bundles import a_question
from tests.sidecars import HeldPlanner, Served, a_short_folder, a_sidecar

PATIENT_MS = 20_000.0
BASELINE = to_document(Planner.open(None).plan(a_question(), now_ms=0))


@pytest.fixture(scope="module")
def planner(tmp_path_factory: pytest.TempPathFactory) -> Planner:
    folder = tmp_path_factory.mktemp("bundles") / "imitation"
    write_imitation_bundle(folder)
    return Planner.open(folder, deadline_ms=None)


@pytest.fixture(scope="module")
def running(planner: Planner) -> Iterator[Served]:
    with a_sidecar(planner, max_connections=64, queue_seconds=20.0) as served:
        yield served


def without_time(action: dict[str, Any]) -> Any:
    return json.loads(json.dumps({k: v for k, v in action.items() if k != "created_at"}))


def why(action: dict[str, Any], baseline: Action = Action("serial_handoff", 1, 60, "NA")) -> str:  # noqa: B008
    """The reason of a fallback, which is the baseline in every other respect."""
    assert action_of(read_document(action, PlannerAction)) == baseline
    assert action["abstain_to_default"] is True
    code, _, detail = action["reason"].partition(":")
    assert code == "sidecar_unavailable"
    return str(detail)


def test_an_answer_is_the_one_that_the_planner_gives_in_process(
    running: Served, planner: Planner
) -> None:
    client = SidecarPlanner(running.path, PATIENT_MS)
    for risk in ("low", "high", "low"):
        question = a_question(dk_risk=risk)
        told = client.decide(question)
        decision = planner.decide(question)
        assert without_time(told["action"]) == without_time(to_document(decision.action))
        assert without_time(told["trace"]) == without_time(to_document(decision.trace))
    client.close()
    assert client.predict_action(a_question())["confidence"] > 0.8
    client.close()


def test_a_sidecar_may_stand_where_a_planner_would(running: Served, planner: Planner) -> None:
    client = SidecarPlanner(running.path, PATIENT_MS)
    kept = Action("serial_handoff", 1, 30, "NA")
    situations = (
        None, Situation(baseline=kept), Situation(confidence_threshold=0.99),
        Situation(baseline=kept, enforceable=frozenset({kept}), confidence_threshold=0.5),
    )  # fmt: skip
    for situation in situations:
        decision = SidecarDecider(client).decide(a_question(), now_ms=5, situation=situation)
        assert decision == planner.decide(a_question(), now_ms=5, situation=situation)
    client.close()


def test_so_it_may_where_it_is_absent_or_lies() -> None:
    situation = Situation(baseline=Action("serial_handoff", 1, 30, "NA"))

    def answer(line: bytes) -> bytes:
        number = json.loads(line)["id"]
        return json.dumps(_saying(number, budgets=BUDGETS)).encode() + b"\n"

    with a_short_folder() as folder:
        for lies in (False, True):
            stop = lying_server(folder / "s", answer) if lies else lambda: None
            client = SidecarPlanner(folder / "s", PATIENT_MS)
            decision = SidecarDecider(client).decide(a_question(), situation=situation)
            client.close()
            stop()
            assert why(to_document(decision.action), decision.baseline)
            assert decision.baseline == situation.baseline
            assert decision.trace.fallback_reason == decision.action.reason


def test_threads_may_share_a_client(running: Served, planner: Planner) -> None:
    client = SidecarPlanner(running.path, PATIENT_MS)
    questions = [a_question(id=str(n)) for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(client.predict_action, questions))
    assert [a["input_hash"] for a in told] == [planner.plan(q).input_hash for q in questions]
    client.close()


def test_a_child_process_opens_its_own_connection(running: Served) -> None:
    client = SidecarPlanner(running.path, PATIENT_MS)
    assert client.predict_action(a_question())["confidence"] > 0.8
    mine = client._sock
    client._pid = -1  # as a fork leaves it
    assert client.predict_action(a_question())["confidence"] > 0.8
    assert client._sock is not mine
    client.close()


def test_without_a_server_the_baseline_answers() -> None:
    with a_short_folder() as folder:
        client = SidecarPlanner(folder / "none", PATIENT_MS)
        told = client.decide(a_question())
        assert why(told["action"]) == "[Errno 2] No such file or directory"
        trace = read_document(told["trace"], PolicyTrace)
        assert trace.decided_by == "baseline"
        assert trace.fallback_reason == told["action"]["reason"]


@pytest.mark.parametrize("path", ["", "x" * 200, "\0", "\ud800"])
def test_a_path_that_is_none_gives_the_baseline(path: str) -> None:
    assert why(SidecarPlanner(path, PATIENT_MS).predict_action(a_question()))


@pytest.mark.parametrize("timeout_ms", [0.0, -1.0, float("nan")])
def test_no_time_at_all_gives_the_baseline(running: Served, timeout_ms: float) -> None:
    assert why(SidecarPlanner(running.path, timeout_ms).predict_action(a_question()))


def test_a_slow_answer_is_not_waited_for_nor_taken_for_the_next() -> None:
    held = HeldPlanner(Planner.open(None))
    with a_sidecar(held) as served:
        client = SidecarPlanner(served.path, 100)
        assert why(client.predict_action(a_question())) == "no answer in time"
        held.released.set()
        assert why(client.predict_action(a_question())) == (
            "not asked again yet after: no answer in time"
        )
        patient = SidecarPlanner(served.path, PATIENT_MS)
        question = a_question(dk_risk="high")
        assert patient.predict_action(question)["reason"] == "bundle_dir_missing"
        client.close()
        patient.close()


def test_a_server_that_started_again_is_found_at_once(planner: Planner) -> None:
    with a_short_folder() as folder:
        with a_sidecar(planner, path=folder / "s"):
            client = SidecarPlanner(folder / "s", PATIENT_MS)
            assert client.predict_action(a_question())["confidence"] > 0.8
        with a_sidecar(planner, path=folder / "s"):
            assert client.predict_action(a_question())["confidence"] > 0.8
        assert why(client.predict_action(a_question()))
        client.close()


def test_failures_are_further_and_further_apart() -> None:
    with a_short_folder() as folder:
        client = SidecarPlanner(folder / "none", PATIENT_MS)
        waits = []
        for _ in range(12):
            assert why(client.predict_action(a_question()))
            waits.append(client._backoff)
            assert "not asked again" in why(client.predict_action(a_question()))
            client._retry_at = 0.0  # the wait is over
        assert waits[:3] == [0.05, 0.1, 0.2]
        assert waits[-1] == MAX_BACKOFF_SECONDS
        with a_sidecar(path=folder / "none"):
            assert client.predict_action(a_question())["reason"] == "bundle_dir_missing"
            assert client._backoff == 0.0
            client.close()


def lying_server(path: Path, answer: Callable[[bytes], bytes]) -> Callable[[], None]:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(8)
    listener.settimeout(30)

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock, sock.makefile("rb") as file, contextlib.suppress(ConnectionError):
                for line in file:
                    sock.sendall(answer(line))
                    if not answer(line).endswith(b"\n"):
                        break

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    def stop() -> None:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(30)

    return stop


ACTION = {**BASELINE, "confidence": 0.9}
BUDGETS = BASELINE["budgets"]
LIES: dict[str, Callable[[int], Any]] = {
    "no JSON": lambda _: b"hello\n",
    "no text": lambda _: b"\xff\xff\n",
    "too deep": lambda _: b"[" * 100_000 + b"\n",
    "no object": lambda _: b"[]\n",
    "the end": lambda _: b"",
    "half a line": lambda _: b'{"id":',
    "another's answer": lambda n: {"id": n + 1, "ok": True, "action": ACTION, "trace": {}},
    "no action": lambda n: {"id": n, "ok": True, "trace": {}},
    "no trace": lambda n: {"id": n, "ok": True, "action": ACTION},
    "an error": lambda n: {"id": n, "ok": False, "error": {"reason": "internal"}},
    "an error that is none": lambda n: {"id": n, "ok": False, "error": 3},
    "ok is no truth": lambda n: {"id": n, "ok": 1, "action": ACTION, "trace": {}},
    "another contract": lambda n: _saying(n, schema_version="v9"),
    "a swarm of its own": lambda n: _saying(n, swarm_id="rm -rf"),
    "a swarm that is no text": lambda n: _saying(n, swarm_id=[]),
    "no budgets": lambda n: _saying(n, budgets=None),
    "a budget of its own": lambda n: _saying(n, budgets={**BUDGETS, "max_minutes_bin": 10_000}),
    "a truth for a number": lambda n: _saying(n, budgets={**BUDGETS, "max_candidates_bin": True}),
    "a missing budget": lambda n: _saying(n, budgets={"max_minutes_bin": 15}),
}


def _saying(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": number, "ok": True, "action": {**ACTION, **fields}, "trace": {}}


@pytest.mark.parametrize("name", sorted(LIES))
def test_a_wrong_answer_is_not_followed(name: str) -> None:
    def answer(line: bytes) -> bytes:
        lie = LIES[name](json.loads(line)["id"])
        return lie if isinstance(lie, bytes) else json.dumps(lie).encode() + b"\n"

    with a_short_folder() as folder:
        stop = lying_server(folder / "s", answer)
        client = SidecarPlanner(folder / "s", PATIENT_MS)
        try:
            assert why(client.predict_action(a_question()))
        finally:
            client.close()
            stop()


def test_a_baseline_that_no_contract_knows_is_kept_where_no_sidecar_is() -> None:
    odd = Action("of its own", 7, 8, 9)
    decider = SidecarDecider(SidecarPlanner("/nowhere/at/all", PATIENT_MS))
    decision = decider.decide(a_question(), situation=Situation(baseline=odd))
    assert decision.baseline == odd
    assert (decision.action.reason or "").startswith("sidecar_unavailable:")


def test_a_reply_without_end_is_not_read_for_ever() -> None:
    with a_short_folder() as folder:
        stop = lying_server(folder / "s", lambda _: b"x" * (5 * 1024 * 1024))
        client = SidecarPlanner(folder / "s", PATIENT_MS)
        try:
            assert why(client.predict_action(a_question())) == "a reply of more than 4194304 bytes"
        finally:
            client.close()
            stop()


def test_an_honest_answer_of_that_server_is_followed() -> None:
    """Or the lies would be refused for another reason than their own."""
    with a_short_folder() as folder:
        stop = lying_server(
            folder / "s", lambda line: json.dumps(_saying(json.loads(line)["id"])).encode() + b"\n"
        )
        client = SidecarPlanner(folder / "s", PATIENT_MS)
        try:
            assert client.predict_action(a_question())["confidence"] == 0.9
        finally:
            client.close()
            stop()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@settings(max_examples=80, deadline=None)
@given(question=st.dictionaries(st.text(), JSON, max_size=4), key=st.sampled_from(sorted(a_question())), value=JSON)  # fmt: skip
def test_whatever_is_asked_nothing_is_raised(
    running: Served, question: dict[str, Any], key: str, value: Any
) -> None:
    client = SidecarPlanner(running.path, PATIENT_MS)
    for asked in (question, {**a_question(), key: value}):
        read_document(client.predict_action(asked), PlannerAction)
    client.close()


@pytest.mark.parametrize(
    "question", [{"a": {1, 2}}, {"a": float("nan")}, {"a": b"x"}, {"a": "\ud800"}, {}, None, 3, []]
)
def test_what_is_no_question_does_not_stop_the_next(running: Served, question: Any) -> None:
    client = SidecarPlanner(running.path, PATIENT_MS)
    assert client.predict_action(question)["abstain_to_default"] is True
    assert client.predict_action(a_question())["confidence"] > 0.8
    client.close()


def test_a_question_that_is_too_long_gets_the_baseline(running: Served) -> None:
    client = SidecarPlanner(running.path, PATIENT_MS)
    action = client.predict_action(a_question() | {"universe_id": "x" * 5_000_000})
    assert action["abstain_to_default"] is True
    assert "too_large" in client._last_failure
    client.close()


def test_the_client_itself_needs_the_standard_library_alone() -> None:
    import ast
    import sys

    import planner_runtime.sidecar.client as module

    tree = ast.parse(Path(str(module.__file__)).read_text())
    names = [
        name.split(".")[0]
        for node in tree.body
        for name in (
            [a.name for a in node.names] if isinstance(node, ast.Import)
            else [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        )
    ]  # fmt: skip
    assert len(names) > 5
    assert set(names) <= set(sys.stdlib_module_names)
