"""A store of bundles with a live planner on it, for tests of hot reload.

Belongs here: the store and what it remembers. Does not: what has to come of it (the tests).
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from planner_runtime import LivePlanner, Planner
from planner_runtime.bundles.channels import bundle_folder, promote
from planner_runtime.decision import Decision
from tests.outcome_bundles import tiny_onnx, write_outcome_bundle
from tests.unit.runtime.bundle_cases import QUESTIONS, write_imitation_bundle


class Counted:
    """Metrics that keep what they are told."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.loads: list[tuple[bool, str | None]] = []

    def observe_decision(self, decision: Decision, seconds: float) -> None:
        assert seconds >= 0
        self.decisions.append(decision)

    def observe_load(self, ok: bool, reason: str | None) -> None:
        self.loads.append((ok, reason))


def make_bundles(folder: Path) -> Path:
    """Bundles ``a`` and ``b`` that imitate, ``fails`` whose model answers NaN."""
    write_imitation_bundle(folder / "a")
    write_imitation_bundle(folder / "b", seed=1)
    write_outcome_bundle(folder / "fails", model=tiny_onnx(nan=True))
    return folder


class Store:
    """A store of bundles under their ids, and what was logged about it."""

    def __init__(self, root: Path, made: Path) -> None:
        self.root, self.made = root, made
        self.pointer = root / "channels" / "current"
        self.log: list[str] = []
        self.counted = Counted()

    def use(self, name: str) -> str:
        planner = Planner.open(self.made / name)
        assert planner.bundle is not None
        bundle_id = planner.bundle.manifest.bundle_id
        place = bundle_folder(self.root, bundle_id)
        if not place.exists():
            shutil.copytree(self.made / name, place)
        promote(self.root, bundle_id, by="test", now_ms=0)
        return bundle_id

    def live(self, **options: Any) -> LivePlanner:
        told: dict[str, Any] = {
            "poll_seconds": None, "log": self.log.append, "metrics": self.counted, **options,
        }  # fmt: skip
        return LivePlanner(self.pointer, **told)


def model_of(live: LivePlanner) -> str | None:
    return live.decide(QUESTIONS[0]).trace.bundle_id


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if true():
            return
        time.sleep(0.005)
    raise AssertionError("it never became true")
