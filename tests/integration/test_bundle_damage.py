"""Whatever happens to a bundle: verify says which file and why, plan answers from the baseline."""

import os
import shutil
from pathlib import Path

import pytest

from planner_runtime import Planner, verify_bundle
from planner_runtime.bundle import MANIFEST, MEMBERS

FILES = (MANIFEST, *MEMBERS)


@pytest.fixture
def bundle(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built / "bundle", tmp_path / "bundle")
    return tmp_path / "bundle"


def refused(bundle: Path) -> list[tuple[str, str]]:
    faults = verify_bundle(bundle)
    action = Planner.open(bundle, deadline_ms=None).plan({})
    assert action.abstain_to_default is True
    planner = Planner.open(bundle, deadline_ms=None)
    assert planner.bundle is None
    return [(fault.file, fault.reason) for fault in faults]


def answer_reason(bundle: Path, built: Path) -> str:
    import json

    line = (built / "bundle" / "golden.jsonl").read_text().splitlines()[0]
    action = Planner.open(bundle, deadline_ms=None).plan(json.loads(line)["planner_input"])
    assert action.model is not None
    assert action.model.checkpoint_id == "baseline_heuristic_v0"
    return action.reason or ""


@pytest.mark.parametrize("name", FILES)
def test_a_deleted_file_is_named(bundle: Path, built: Path, name: str) -> None:
    (bundle / name).unlink()
    assert refused(bundle) == [(name, "missing")]
    assert answer_reason(bundle, built).startswith(f"bundle_load_failed:{name}: missing")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_named(bundle: Path, built: Path, name: str, share: float) -> None:
    data = (bundle / name).read_bytes()
    (bundle / name).write_bytes(data[: int(len(data) * share)])
    reason = "malformed" if name == MANIFEST else "size_mismatch"
    assert refused(bundle) == [(name, reason)]
    assert answer_reason(bundle, built).startswith(f"bundle_load_failed:{name}: {reason}")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.02, 0.37, 0.93])
def test_one_flipped_bit_is_named(bundle: Path, name: str, place: float) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[int(len(data) * place)] ^= 1
    (bundle / name).write_bytes(data)
    faults = refused(bundle)
    assert [file for file, _ in faults] == [name]


def test_white_space_in_the_manifest_is_an_alteration(bundle: Path) -> None:
    (bundle / MANIFEST).write_bytes((bundle / MANIFEST).read_bytes() + b"\n")
    assert refused(bundle) == [(MANIFEST, "not_canonical")]


def test_an_extra_file_is_named(bundle: Path) -> None:
    (bundle / "planner.onnx.data").write_bytes(b"x")
    assert refused(bundle) == [("planner.onnx.data", "unexpected")]


def test_links_are_no_members(bundle: Path, tmp_path: Path) -> None:
    shutil.move(bundle / "vocab.json", tmp_path / "vocab.json")
    (bundle / "vocab.json").symlink_to(tmp_path / "vocab.json")
    assert refused(bundle) == [("vocab.json", "not_regular")]
    (bundle / "vocab.json").unlink()
    os.link(tmp_path / "vocab.json", bundle / "vocab.json")
    assert refused(bundle) == [("vocab.json", "hard_linked")]


def test_a_pipe_does_not_hang_the_reader(bundle: Path) -> None:
    (bundle / "vocab.json").unlink()
    os.mkfifo(bundle / "vocab.json")
    assert refused(bundle) == [("vocab.json", "not_regular")]


def test_a_bundle_that_is_not_there_has_its_own_reason(tmp_path: Path, built: Path) -> None:
    assert answer_reason(tmp_path / "none", built) == f"bundle_dir_not_found:{tmp_path / 'none'}"
    assert [f.reason for f in verify_bundle(tmp_path / "none")] == ["missing"]


def test_a_renamed_directory_is_the_same_bundle(bundle: Path, tmp_path: Path) -> None:
    bundle.rename(tmp_path / "other name")
    assert verify_bundle(tmp_path / "other name") == []
