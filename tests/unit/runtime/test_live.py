"""A live planner: what is good takes over between decisions, what is bad is refused and told once."""

import gc
import os
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest

from planner_runtime import LivePlanner, Planner
from planner_runtime.bundle import CALIBRATION, MODEL
from planner_runtime.bundles.channels import bundle_folder, rollback
from planner_runtime.decision import Decision
from planner_runtime.exploration import ExplorationBudget
from planner_runtime.kernel_config import KernelConfig
from planner_runtime.outcomes.policy_file import OutcomePolicy
from tests.outcome_bundles import calibration_of, write_outcome_bundle
from tests.unit.runtime.bundle_cases import QUESTIONS, reseal, write_imitation_bundle
from tests.unit.runtime.live_cases import Store, make_bundles, model_of, wait_until


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundles(tmp_path_factory.mktemp("made"))


@pytest.fixture
def store(tmp_path: Path, made: Path) -> Store:
    return Store(tmp_path / "store", made)


def test_a_moved_pointer_is_followed_between_two_decisions(store: Store) -> None:
    a = store.use("a")
    live = store.live()
    assert model_of(live) == a
    assert live.check_now() is False
    b = store.use("b")
    assert model_of(live) == a  # not before somebody looked
    assert live.check_now() is True
    assert model_of(live) == b
    assert live.check_now() is False
    rollback(store.root, by="test", now_ms=1)
    assert live.check_now() is True
    assert model_of(live) == a
    assert store.counted.loads == [(True, None)] * 3
    assert [line.split()[:2] for line in store.log] == [["bundle", x] for x in (a, b, a)]
    assert live.status().n_loads == 3


def test_a_decision_of_several_steps_keeps_its_bundle(store: Store) -> None:
    a = store.use("a")
    live = store.live()
    pinned = live.pinned()
    b = store.use("b")
    assert live.check_now()
    assert pinned.decide(QUESTIONS[0]).trace.bundle_id == a
    assert pinned.planner is not live.planner
    assert model_of(live) == b
    assert [one.trace.bundle_id for one in store.counted.decisions] == [a, b]


def test_answers_are_those_of_a_planner_on_the_same_bundle(store: Store, made: Path) -> None:
    store.use("a")
    live, plain = store.live(), Planner.open(made / "a")
    for question in QUESTIONS:
        assert live.plan(question, now_ms=5) == plain.plan(question, now_ms=5)
    assert len(store.counted.decisions) == len(QUESTIONS)


def test_a_replaced_folder_and_a_moved_link_are_seen(tmp_path: Path, made: Path) -> None:
    shutil.copytree(made / "a", tmp_path / "bundle")
    (tmp_path / "current").symlink_to(tmp_path / "bundle")
    in_folder = LivePlanner(tmp_path / "bundle", poll_seconds=None)
    by_link = LivePlanner(tmp_path / "current", poll_seconds=None)
    before = model_of(in_folder)
    shutil.copytree(made / "b", tmp_path / "other")
    (tmp_path / "new").symlink_to(tmp_path / "other")
    os.replace(tmp_path / "new", tmp_path / "current")
    assert (by_link.check_now(), in_folder.check_now()) == (True, False)
    os.rename(tmp_path / "bundle", tmp_path / "old")
    assert in_folder.check_now() is False
    assert model_of(in_folder) == before  # its folder is gone, it serves on
    shutil.copytree(made / "b", tmp_path / "bundle")
    assert in_folder.check_now() is True
    assert model_of(in_folder) == model_of(by_link) != before


def flip(folder: Path) -> None:
    data = bytearray((folder / MODEL).read_bytes())
    data[99] ^= 4
    (folder / MODEL).write_bytes(data)


def test_a_bad_bundle_is_refused_told_once_and_the_last_good_one_serves_on(store: Store) -> None:
    a = store.use("a")
    live = store.live()
    b = store.use("b")
    flip(bundle_folder(store.root, b))
    for _ in range(5):
        assert live.check_now() is False
        assert model_of(live) == a
    assert store.counted.loads == [(True, None), (False, "sha256_mismatch")]
    assert len(store.log) == 2
    assert store.log[1].startswith(f"bundle refused, {a} serves on: sha256_mismatch: planner.onnx")
    status = live.status()
    assert (status.bundle_id, status.n_refused) == (a, 1)
    assert (status.last_refusal or "").startswith("sha256_mismatch")
    store.use("a")
    assert live.check_now() is False  # what serves is what is wanted again
    assert live.status().last_refusal is None
    store.use("b")
    live.check_now()
    assert store.counted.loads[2:] == [(False, "sha256_mismatch")]  # a new event is told anew


def test_a_copy_that_goes_on_unseen_is_tried_again(tmp_path: Path, made: Path) -> None:
    shutil.copytree(made / "a", tmp_path / "bundle")
    whole = (tmp_path / "bundle" / CALIBRATION).read_bytes()
    (tmp_path / "bundle" / CALIBRATION).write_bytes(whole[:50])
    log: list[str] = []
    with LivePlanner(tmp_path / "bundle", poll_seconds=0.01, log=log.append) as live:
        assert live.planner.bundle is None
        (tmp_path / "bundle" / CALIBRATION).write_bytes(whole)  # neither folder nor manifest change
        wait_until(lambda: live.planner.bundle is not None)
    assert len(log) == 2


@pytest.mark.parametrize("text", [b"", b"{}", b'{"bundle_id":"x"}', b"\xff" * 9_000])
def test_a_pointer_that_is_none_is_refused_with_its_reason(store: Store, text: bytes) -> None:
    a = store.use("a")
    live = store.live()
    store.pointer.write_bytes(text)
    assert live.check_now() is False
    assert model_of(live) == a
    assert store.counted.loads[-1] == (False, "pointer_malformed")
    store.pointer.unlink()
    assert live.check_now() is False
    assert (model_of(live), store.counted.loads[-1]) == (a, (False, "missing"))


def test_without_a_good_bundle_the_baseline_answers_until_there_is_one(store: Store) -> None:
    live = store.live()
    reason = live.plan(QUESTIONS[0]).reason
    assert reason == f"bundle_dir_not_found:{store.pointer}"
    b = store.use("b")
    flip(bundle_folder(store.root, b))
    live.check_now()
    assert (live.plan(QUESTIONS[0]).reason or "").startswith("bundle_load_failed:planner.onnx: sha")
    a = store.use("a")
    assert live.check_now() is True
    assert model_of(live) == a
    assert live.status().is_on_trial is False  # there is nothing to go back to


def test_a_required_signature_is_required_of_every_bundle(store: Store) -> None:
    store.use("a")
    live = store.live(require_signature=True)
    assert (live.plan(QUESTIONS[0]).reason or "").startswith("bundle_load_failed:manifest.sig")
    assert store.counted.loads == [(False, "signature_no_key")]


def test_a_bundle_that_fails_too_often_goes_back_by_itself(store: Store) -> None:
    a = store.use("a")
    live = store.live(trial_decisions=20, trial_failure_ratio=0.1)
    bad = store.use("fails")
    assert live.check_now() is True
    assert live.status().is_on_trial is True
    reasons = [live.plan(QUESTIONS[i]).reason for i in range(3)]  # 2 of 20 may fail, 3 not
    assert all((reason or "").startswith("inference_failed") for reason in reasons)
    assert model_of(live) == a
    assert live.status().n_rollbacks == 1
    assert store.counted.loads == [(True, None), (True, None), (False, "rolled_back")]
    assert store.log[-1].startswith(f"bundle {bad} rolled back to {a}: too many of its first 20")
    assert live.check_now() is False
    store.use("a")
    live.check_now()
    store.use("fails")
    assert live.check_now() is False  # it had its chance
    assert store.counted.loads[-1] == (False, "rolled_back")
    assert model_of(live) == a


def test_a_trial_that_is_passed_lets_the_old_bundle_go(store: Store) -> None:
    store.use("a")
    live = store.live(trial_decisions=5)
    old = weakref.ref(live.planner)
    store.use("b")
    live.check_now()
    for number in range(5):
        assert live.status().is_on_trial is True
        live.plan(QUESTIONS[number])
    assert live.status().is_on_trial is False
    gc.collect()
    assert old() is None


def test_a_bundle_on_trial_is_nothing_to_go_back_to(store: Store) -> None:
    a = store.use("a")
    live = store.live(trial_decisions=50)
    store.use("b")
    live.check_now()
    model_of(live)
    store.use("fails")
    live.check_now()
    for question in QUESTIONS[:6]:
        live.plan(question)
    assert model_of(live) == a


CHANCE = OutcomePolicy(exploration=ExplorationBudget(epsilon=1.0, seed="x", budget_share=1.0))


def test_decisions_are_counted_on_from_bundle_to_bundle_of_an_epoch(tmp_path: Path) -> None:
    for name, level in (("a", 0.5), ("b", 0.6)):
        write_outcome_bundle(
            tmp_path / name, policy=CHANCE, calibration=calibration_of(confidence_threshold=level)
        )
    write_imitation_bundle(tmp_path / "imitates")
    (tmp_path / "current").symlink_to("a")

    def use(name: str) -> None:
        (tmp_path / "new").symlink_to(name)
        os.replace(tmp_path / "new", tmp_path / "current")
        assert live.check_now() is True

    live = LivePlanner(tmp_path / "current", poll_seconds=None, exploration_counts=(40, 3))
    for question in QUESTIONS[:4]:
        live.plan(question)
    decided, explored = live.planner.exploration_counts
    assert decided == 44
    assert explored > 3
    use("imitates")
    live.plan(QUESTIONS[0])
    use("b")
    assert live.planner.exploration_counts == (decided, explored)
    live.plan(QUESTIONS[5])
    assert live.planner.exploration_counts[0] == decided + 1


def test_another_kernel_configuration_starts_an_epoch_of_its_own(tmp_path: Path) -> None:
    write_outcome_bundle(tmp_path / "a", policy=CHANCE)
    shutil.copytree(tmp_path / "a", tmp_path / "b")

    def slower(manifest: dict[str, Any]) -> None:
        manifest["kernel_config"]["scheduling"]["max_concurrent_workcells"] += 1

    reseal(tmp_path / "b", slower)
    (tmp_path / "current").symlink_to("a")
    own = LivePlanner(tmp_path / "current", poll_seconds=None, exploration_counts=(40, 3))
    given = LivePlanner(
        tmp_path / "current", poll_seconds=None, exploration_counts=(40, 3),
        kernel_config=KernelConfig(),
    )  # fmt: skip
    for name, counts in (("b", (0, 0)), ("a", (40, 3))):
        (tmp_path / "new").symlink_to(name)
        os.replace(tmp_path / "new", tmp_path / "current")
        assert own.check_now() is given.check_now() is True
        assert own.planner.exploration_counts == counts
        assert given.planner.exploration_counts == (40, 3)  # one configuration, one epoch


def test_an_option_that_planners_do_not_have_is_a_mistake_of_the_caller(store: Store) -> None:
    with pytest.raises(TypeError):
        store.live(no_such_option=1)


def test_neither_a_broken_log_nor_broken_metrics_stop_a_decision(store: Store) -> None:
    class Broken:
        def observe_decision(self, decision: Decision, seconds: float) -> None:
            raise RuntimeError("full")

        def observe_load(self, ok: bool, reason: str | None) -> None:
            raise RuntimeError("full")

    def broken(text: str) -> None:
        raise OSError("no space")

    a = store.use("a")
    live = store.live(log=broken, metrics=Broken())
    assert model_of(live) == a
    store.use("b")
    assert live.check_now() is True
    live.plan(QUESTIONS[0])
