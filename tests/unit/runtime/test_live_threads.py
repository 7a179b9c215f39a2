"""A live planner among threads, forks and event loops: the same answers, and nobody waits."""

import asyncio
import gc
import os
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

from planner_runtime import LivePlanner, Planner
from planner_runtime.bundle import MANIFEST
from tests.unit.runtime.bundle_cases import QUESTIONS
from tests.unit.runtime.live_cases import Store, make_bundles, model_of, wait_until


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundles(tmp_path_factory.mktemp("made"))


@pytest.fixture
def store(tmp_path: Path, made: Path) -> Store:
    return Store(tmp_path / "store", made)


def test_a_thread_looks_by_itself_until_it_is_closed(store: Store) -> None:
    store.use("a")
    with store.live(poll_seconds=0.01) as live:
        b = store.use("b")
        wait_until(lambda: model_of(live) == b)
    store.use("a")
    time.sleep(0.05)
    assert model_of(live) == b
    assert not [t for t in threading.enumerate() if t.name == "planner-bundle"]


def test_a_planner_that_nobody_has_any_more_is_not_looked_after(store: Store) -> None:
    store.use("a")
    live: LivePlanner | None = store.live(poll_seconds=0.01)
    assert live is not None
    thread, gone = live._thread, weakref.ref(live)
    live = None
    gc.collect()
    assert thread is not None
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert gone() is None


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_decides_and_follows_on(store: Store) -> None:
    store.use("a")
    with store.live(poll_seconds=0.01) as live:
        live._swap_lock.acquire()  # as if another thread held it at the moment of the fork
        pid = os.fork()
        if pid == 0:
            try:
                b = store.use("b")
                wait_until(lambda: model_of(live) == b)
                live.status()
                os._exit(0)
            finally:
                os._exit(1)
        live._swap_lock.release()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_decision_in_an_event_loop_does_not_wait_for_a_load(store: Store) -> None:
    async def both() -> list[str | None]:
        with store.live(poll_seconds=0.005) as live:
            seen = []
            for number in range(40):
                store.use("b" if number % 2 else "a")
                seen.append(model_of(live))
                await asyncio.sleep(0.003)
            return seen

    a = store.use("a")
    b = store.use("b")
    assert set(asyncio.run(both())) <= {a, b}


def test_threads_get_the_answers_of_one_thread_across_reloads(store: Store, made: Path) -> None:
    """Short of ``tests.fuzz.threads``, which takes 8 x 100,000 decisions across 50 reloads."""
    ids = {name: store.use(name) for name in ("a", "b")}
    alone = {
        (ids[name], i): Planner.open(made / name).plan(question, now_ms=0)
        for name in ids
        for i, question in enumerate(QUESTIONS)
    }
    wrong: list[Any] = []
    served: set[str | None] = set()
    stop = threading.Event()

    def decide(live: LivePlanner) -> None:
        while not stop.is_set():
            for i, question in enumerate(QUESTIONS):
                decision = live.decide(question, now_ms=0)
                served.add(decision.trace.bundle_id)
                if decision.action != alone[str(decision.trace.bundle_id), i]:
                    wrong.append(decision)

    live = store.live(metrics=None, deadline_ms=None)
    threads = [threading.Thread(target=decide, args=(live,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(10):
        store.use("ab"[number % 2])
        assert live.check_now() is True
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert served == set(ids.values())
    assert (made / "a" / MANIFEST).exists()
