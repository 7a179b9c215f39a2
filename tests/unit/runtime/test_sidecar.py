"""The sidecar with a real socket: its answers, hostile callers, limits, and how it ends."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner_runtime.contracts import to_document
from planner_runtime.planner import Planner
from planner_runtime.served_planner import FixedPlanner
from planner_runtime.sidecar.protocol import SIDECAR_ERRORS
from tests.imitation_files import write_imitation_bundle
from tests.outcome_bundles import a_question, write_outcome_bundle
from tests.prometheus_reader import read_exposition
from tests.sidecars import Caller, HeldPlanner, Served, a_sidecar, open_descriptors


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "imitation"
    write_imitation_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def running(bundle: Path) -> Iterator[Served]:
    with a_sidecar(Planner.open(bundle, deadline_ms=None), read_seconds=1.0) as served:
        yield served


def errors_of(served: Served) -> dict[str, float]:
    found = read_exposition(served.sidecar.prometheus())["cyntra_planner_sidecar_errors_total"]
    return {dict(labels)["reason"]: n for _, labels, n in found.samples if n}


def get(path: Path, target: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    with Caller(path) as caller:
        caller.send(f"{method} {target} HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n".encode())
        status = int(caller.file.readline().split()[1])
        headers = {}
        while (line := caller.file.readline()) != b"\r\n":
            name, _, value = line.decode().strip().partition(": ")
            headers[name.lower()] = value
        return status, headers, caller.file.read()


QUESTIONS = [a_question(id=str(n), dk_risk=risk) for n, risk in enumerate(["low", "high"] * 4)]


def test_an_answer_is_the_one_that_the_planner_gives_in_process(
    running: Served, bundle: Path
) -> None:
    planner = Planner.open(bundle, deadline_ms=None)
    with Caller(running.path) as caller:
        for number, question in enumerate(QUESTIONS):
            told = caller.ask(id=number, kind="decide", planner_input=question, now_ms=5)
            decision = planner.decide(question, now_ms=5)
            assert told["ok"] is True
            assert told["id"] == number
            assert told["action"] == json.loads(json.dumps(to_document(decision.action)))
            assert told["trace"] == json.loads(json.dumps(to_document(decision.trace)))
        planned = caller.ask(kind="plan", planner_input=QUESTIONS[0], now_ms=5)
        assert set(planned) == {"id", "ok", "action"}


def test_concurrent_callers_get_the_answers_that_one_would(running: Served, bundle: Path) -> None:
    planner = Planner.open(bundle, deadline_ms=None)
    wanted = [to_document(planner.plan(q, now_ms=5)) for q in QUESTIONS]

    def ask_all(_: int) -> list[Any]:
        told = []
        with Caller(running.path) as caller:
            for question in QUESTIONS:
                reply = caller.ask(kind="plan", planner_input=question, now_ms=5)
                while not reply["ok"]:
                    assert reply["error"]["reason"] == "overloaded"
                    reply = caller.ask(kind="plan", planner_input=question, now_ms=5)
                told.append(reply["action"])
        return told

    with ThreadPoolExecutor(8) as pool:
        for told in pool.map(ask_all, range(16)):
            assert told == json.loads(json.dumps(wanted))


def test_requests_may_be_sent_ahead_and_are_answered_in_order(running: Served) -> None:
    lines = b"".join(
        json.dumps({"id": n, "kind": "plan", "planner_input": a_question()}).encode() + b"\n"
        for n in range(50)
    )
    with Caller(running.path) as caller:
        caller.send(lines)
        assert [caller.read()["id"] for _ in range(50)] == list(range(50))


def test_an_invalid_question_gets_the_baseline_as_in_process(running: Served) -> None:
    with Caller(running.path) as caller:
        told = caller.ask(kind="plan", planner_input={"schema_version": "none"})
        assert told["action"]["reason"].startswith("invalid_input:")


GARBAGE = [
    b"", b"null", b"[]", b"{", b"{}", b'"plan"', b"\xff\xfe\x00", b'{"kind":"destroy"}', b"NaN",
    b'{"kind":"plan"}', b'{"kind":"plan","planner_input":{},"also":1}', b"[" * 100_000,
    b'{"kind":"plan","planner_input":' + b"[" * 100_000, b'{"kind":1}', b'{"id":{},"kind":"health"}',
    b'{"kind":"plan","planner_input":{},"now_ms":"soon"}', b"GET /metrics", b"\r",
    b'{"kind":"health","kind":"destroy"}', b'{"id":"\\ud800","kind":"health"}', b"HELO me",
]  # fmt: skip


@pytest.mark.parametrize("line", GARBAGE, ids=lambda line: line[:20])
def test_garbage_gets_an_error_and_the_connection_lives_on(running: Served, line: bytes) -> None:
    with Caller(running.path) as caller:
        caller.send(line + b"\n")
        told = caller.read()
        assert told["ok"] is False
        assert told["error"]["reason"] == "bad_request"
        assert told["error"]["detail"]
        assert caller.ask(kind="health")["ok"] is True


def test_an_error_carries_the_id_of_its_request(running: Served) -> None:
    with Caller(running.path) as caller:
        assert caller.ask(id="mine", kind="destroy")["id"] == "mine"
        assert caller.ask(id=7, kind="plan")["id"] == 7


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_any_bytes_leave_the_server_answering(running: Served, parts: list[bytes]) -> None:
    with Caller(running.path) as caller:
        for part in parts:
            caller.send(part)
    with Caller(running.path) as caller:
        assert caller.ask(kind="health")["health"]["status"] == "serving"


def test_a_line_that_is_too_long_is_refused_before_it_ends() -> None:
    with a_sidecar(max_request_bytes=1000) as served:
        with Caller(served.path) as caller:
            caller.send(b"x" * 1000 + b"\n")
            assert caller.read()["error"]["reason"] == "bad_request"
            caller.send(b"x" * 1001 + b"\n")
            assert caller.read()["error"]["reason"] == "too_large"
            assert caller.read() is None
        with Caller(served.path) as caller:
            caller.send(b"x" * 5_000_000)
            assert caller.read()["error"]["reason"] == "too_large"
            assert caller.read() is None


def test_a_request_of_four_mebibytes_is_read_and_one_byte_more_is_not(running: Served) -> None:
    empty = b'{"kind":"plan","planner_input":""}'
    longest = empty[:-2] + b"x" * (4 * 1024 * 1024 - len(empty)) + empty[-2:]
    with Caller(running.path) as caller:
        caller.send(longest + b"\n")
        assert caller.read()["action"]["reason"].startswith("invalid_input:")
        caller.send(longest + b" \n")
        assert caller.read()["error"]["reason"] == "too_large"


def test_a_request_that_trickles_is_cut_off() -> None:
    with a_sidecar(read_seconds=0.3) as served, Caller(served.path) as caller:
        stopped = threading.Event()

        def trickle() -> None:
            while not stopped.wait(0.02):
                caller.send(b" ")

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            assert caller.read()["error"]["reason"] == "timeout"
            assert caller.read() is None
        finally:
            stopped.set()
            thread.join()
        assert errors_of(served) == {"timeout": 1}


def test_a_connection_that_asks_nothing_is_closed() -> None:
    with a_sidecar(idle_seconds=0.1) as served, Caller(served.path) as caller:
        assert caller.ask(kind="health")["ok"]
        assert caller.read() is None
        assert errors_of(served) == {}


def test_half_a_request_harms_nobody(running: Served) -> None:
    before = errors_of(running).get("truncated", 0)
    with Caller(running.path) as caller:
        caller.send(b'{"kind":"pl')
        caller.sock.shutdown(socket.SHUT_WR)
        assert caller.read()["error"]["reason"] == "truncated"
        assert caller.read() is None
    assert errors_of(running)["truncated"] == before + 1


def test_who_leaves_before_the_answer_harms_nobody(running: Served) -> None:
    request = json.dumps({"kind": "decide", "planner_input": a_question()}).encode() + b"\n"
    for _ in range(30):
        with Caller(running.path) as caller:
            caller.send(request * 3)
    with Caller(running.path) as caller:
        assert caller.ask(kind="plan", planner_input=a_question())["ok"]


def test_who_reads_no_answers_is_dropped() -> None:
    request = json.dumps({"kind": "metrics"}).encode() + b"\n"
    with a_sidecar(write_seconds=0.2, max_connections=1) as served, Caller(served.path) as caller:
        caller.sock.settimeout(0.5)
        with pytest.raises((TimeoutError, ConnectionError)):
            caller.sock.sendall(request * 20_000)
        until_free(served)


def until_free(served: Served) -> None:
    for _ in range(500):
        with Caller(served.path) as caller:
            told = caller.ask(kind="health")
            if told and told["ok"]:
                return
        time.sleep(0.02)
    raise AssertionError("no connection gets free")


def test_connections_above_the_limit_are_told_so_and_leave_the_others_alone() -> None:
    with a_sidecar(max_connections=3) as served:
        callers = [Caller(served.path) for _ in range(3)]
        assert all(caller.ask(kind="health")["ok"] for caller in callers)
        for _ in range(20):
            with Caller(served.path) as late:
                assert late.read()["error"]["reason"] == "too_many_connections"
                assert late.read() is None
        assert all(caller.ask(kind="health")["ok"] for caller in callers)
        for caller in callers:
            caller.__exit__()
        until_free(served)


def test_a_slow_decision_holds_up_neither_health_nor_metrics() -> None:
    held = HeldPlanner(Planner.open(None))
    with a_sidecar(held, max_running=1, queue_seconds=0.01) as served:
        slow, other = Caller(served.path), Caller(served.path)
        with slow, other:
            slow.send(json.dumps({"kind": "plan", "planner_input": a_question()}).encode() + b"\n")
            assert held.n_entered.acquire(timeout=30)
            assert other.ask(kind="health")["health"]["status"] == "baseline"
            gauges = read_exposition(other.ask(kind="metrics")["text"])
            assert gauges["cyntra_planner_sidecar_running_decisions"].value() == 1
            told = other.ask(id=3, kind="plan", planner_input=a_question())
            assert told["error"]["reason"] == "overloaded"
            assert told["id"] == 3
            held.released.set()
            assert slow.read()["ok"]
            assert other.ask(kind="plan", planner_input=a_question())["ok"]


class Failing(FixedPlanner):
    """A planner with a fault of ours in it."""

    def decide(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("a fault")


def test_a_fault_of_ours_is_an_error_and_the_connection_lives_on() -> None:
    from planner_runtime.metrics import Metrics

    with a_sidecar(Failing(Planner.open(None), Metrics())) as served, Caller(served.path) as caller:
        told = caller.ask(id=1, kind="plan", planner_input=a_question())
        assert told["error"] == {"reason": "internal", "detail": "RuntimeError: a fault"}
        assert caller.ask(kind="health")["ok"]
        assert served.log == ["a plan failed: RuntimeError: a fault"]


def test_health_names_the_bundle_or_why_there_is_none(running: Served, tmp_path: Path) -> None:
    with Caller(running.path) as caller:
        health = caller.ask(kind="health")["health"]
        assert health["status"] == "serving"
        assert len(health["bundle_id"]) == 16
        assert health["reason"] is None
    with (
        a_sidecar(Planner.open(tmp_path / "none", deadline_ms=None)) as served,
        Caller(served.path) as caller,
    ):
        health = caller.ask(kind="health")["health"]
        assert health["status"] == "baseline"
        assert health["reason"].startswith("bundle_dir_not_found:")


def test_metrics_over_http_are_what_a_scraper_reads(running: Served) -> None:
    with Caller(running.path) as caller:
        caller.ask(kind="plan", planner_input=a_question())
    status, headers, body = get(running.path, "/metrics")
    assert status == 200
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert int(headers["content-length"]) == len(body)
    found = read_exposition(body.decode())
    assert found["cyntra_planner_decisions_total"].value(decided_by="model") >= 1
    assert found["cyntra_planner_loads_total"].value() == 1
    info = found["cyntra_planner_bundle_info"].samples
    assert [value for _, _, value in info] == [1]
    reasons = {dict(labels)["reason"] for _, labels, _ in
               found["cyntra_planner_sidecar_errors_total"].samples}  # fmt: skip
    assert reasons == set(SIDECAR_ERRORS)


def test_http_knows_two_pages_and_two_methods(running: Served) -> None:
    status, _, body = get(running.path, "/healthz?probe=1")
    assert (status, json.loads(body)["status"]) == (200, "serving")
    assert get(running.path, "/secrets")[0] == 404
    assert get(running.path, "/metrics", "POST")[0] == 405
    assert get(running.path, "/metrics", "HEAD")[2] == b""


def test_headers_without_end_are_refused(running: Served) -> None:
    with Caller(running.path) as caller:
        caller.send(b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 10_000)
        assert caller.read()["error"]["reason"] == "too_large"
    with Caller(running.path) as caller:
        caller.send(b"GET /metrics HTTP/1.1\r\nX: y\r\n")
        caller.sock.shutdown(socket.SHUT_WR)
        assert caller.read()["error"]["reason"] == "truncated"
    assert get(running.path, "/healthz")[0] == 200


def test_an_explanation_is_counted_as_no_decision(running: Served, tmp_path: Path) -> None:
    before = running.metrics.snapshot()["decisions"]
    with Caller(running.path) as caller:
        told = caller.ask(kind="explain", planner_input=a_question())
        assert told["explanation"]["decided_by"] == "model"
        assert told["text"].startswith("issue ")
        assert caller.ask(kind="explain", planner_input={})["error"]["reason"] == "bad_request"
    assert running.metrics.snapshot()["decisions"] == before
    write_outcome_bundle(tmp_path / "outcome")
    with (
        a_sidecar(Planner.open(tmp_path / "outcome", deadline_ms=None)) as served,
        Caller(served.path) as caller,
    ):
        assert caller.ask(kind="explain", planner_input=a_question())["explanation"]["outcomes"]


def test_nothing_is_left_open_by_those_who_have_left() -> None:
    with a_sidecar() as served:
        with Caller(served.path) as caller:
            caller.ask(kind="health")
        before = open_descriptors()
        for _ in range(100):
            with Caller(served.path) as caller:
                caller.ask(kind="health")
        until_free(served)
        for _ in range(500):
            if open_descriptors() <= before + 2:
                return
            time.sleep(0.02)
        raise AssertionError(f"{open_descriptors()} descriptors, {before} before")


def test_stopping_lets_a_running_decision_end_and_takes_the_socket_away() -> None:
    held = HeldPlanner(Planner.open(None))
    with a_sidecar(held, grace_seconds=20.0) as served:
        with Caller(served.path) as slow, Caller(served.path) as idle:
            assert idle.ask(kind="health")["ok"]
            slow.send(json.dumps({"kind": "plan", "planner_input": a_question()}).encode() + b"\n")
            assert held.n_entered.acquire(timeout=30)
            served.sidecar.stop()
            assert idle.read() is None
            assert not served.path.exists()
            with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
                Caller(served.path)
            held.released.set()
            assert slow.read()["ok"]
            assert slow.read() is None
        served.thread.join(30)
        assert served.abandoned == 0


def test_a_decision_without_end_does_not_hold_up_stopping() -> None:
    held = HeldPlanner(Planner.open(None))
    with a_sidecar(held, grace_seconds=0.05) as served, Caller(served.path) as slow:
        slow.send(json.dumps({"kind": "plan", "planner_input": a_question()}).encode() + b"\n")
        assert held.n_entered.acquire(timeout=30)
        served.stop()
        assert served.abandoned == 1
