"""Damage by the hundred: everything is refused, with a reason, and nothing is raised.

Short of ``python -m tests.fuzz.bundles``, which does the same ten thousand times.
"""

import shutil
from pathlib import Path
from random import Random

import pytest

from planner_runtime import Planner, verify_bundle
from planner_runtime.planner import load_bundle
from tests.outcome_bundles import write_outcome_bundle
from tests.unit.runtime.bundle_cases import DAMAGES, QUESTIONS, damaged, write_imitation_bundle


@pytest.fixture(scope="module", params=["imitation", "outcome"])
def shipped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp(request.param) / "bundle"
    if request.param == "imitation":
        write_imitation_bundle(folder)
    else:
        write_outcome_bundle(folder)
    load_bundle(folder)
    return folder


def reasons(folder: Path) -> set[str]:
    faults = verify_bundle(folder)
    assert all(fault.file and fault.reason and fault.detail for fault in faults)
    return {fault.reason for fault in faults}


def test_not_one_of_500_flipped_bits_passes(shipped: Path, tmp_path: Path) -> None:
    """500 for each of two bundles; every file has its share."""
    folder = shutil.copytree(shipped, tmp_path / "b")
    luck = Random(7)
    files = sorted(folder.iterdir())
    found: set[str] = set()
    for number in range(500):
        path = files[number % len(files)]
        whole = path.read_bytes()
        data = bytearray(whole)
        place = luck.randrange(len(data) * 8)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        why = reasons(folder)
        assert why, f"bit {place} of {path.name}"
        found |= why
        path.write_bytes(whole)
    assert found <= {"sha256_mismatch", "altered", "malformed", "file_set", "protocol_too_new"}
    assert verify_bundle(folder) == []


def test_a_file_cut_at_any_percent_is_refused(shipped: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(shipped, tmp_path / "b")
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for percent in range(100):
            path.write_bytes(whole[: len(whole) * percent // 100])
            assert reasons(folder) <= {"size_mismatch", "malformed"}
            assert reasons(folder)
        path.write_bytes(whole)
    assert verify_bundle(folder) == []


def test_no_damage_serves_and_no_refusal_is_raised(shipped: Path, tmp_path: Path) -> None:
    kinds: dict[str, set[str]] = {}
    for damage, folder in damaged(shipped, tmp_path / "b", 8 * len(DAMAGES)):
        why = reasons(folder)
        assert why, damage
        kinds.setdefault(damage.kind, set()).update(why)
        planner = Planner.open(folder)
        assert planner.bundle is None
        assert (planner.plan(QUESTIONS[0]).reason or "").startswith("bundle_load_failed:")
    assert len(set().union(*kinds.values())) >= 16
    assert kinds["resealed weights"] == kinds["resealed golden"] == {"golden_mismatch"}
