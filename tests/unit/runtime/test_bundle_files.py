"""A bundle's directory: what may be in it, and each thing that may not by its own reason code."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner_runtime import Planner, Trust, read_bundle, verify_bundle
from planner_runtime.bundle import CALIBRATION, MANIFEST, MEMBERS, MODEL, SIGNATURE, BundleError
from planner_runtime.bundles.files import (
    MAX_FILES,
    MAX_MODEL_BYTES,
    MAX_TEXT_BYTES,
    MAX_TOTAL_BYTES,
    read_files,
)
from planner_runtime.contracts import canonical_json
from tests.unit.runtime.bundle_cases import QUESTIONS, reseal, write_imitation_bundle


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shipped") / "bundle"
    write_imitation_bundle(folder)
    return folder


@pytest.fixture
def bundle(shipped: Path, tmp_path: Path) -> Path:
    shutil.copytree(shipped, tmp_path / "bundle")
    return tmp_path / "bundle"


def refused(bundle: Path) -> list[tuple[str, str]]:
    assert Planner.open(bundle).bundle is None
    assert Planner.open(bundle).plan(QUESTIONS[0]).abstain_to_default is True
    return [(fault.file, fault.reason) for fault in verify_bundle(bundle)]


def test_a_whole_bundle_is_read_with_where_it_lay(bundle: Path) -> None:
    found = read_bundle(bundle)
    info = bundle.stat()
    assert found.identity == (info.st_dev, info.st_ino)
    assert found.protocol == 2
    assert found.is_signed is False
    assert verify_bundle(bundle) == []


@pytest.mark.parametrize("name", ["x y", ".hidden", "Vocab.json", "ä.json", "a" * 101, "-x"])
def test_names_are_flat_and_plain(bundle: Path, name: str) -> None:
    (bundle / name).touch()
    assert refused(bundle) == [(name, "bad_name")]


def test_a_name_that_is_no_text_can_still_be_told(bundle: Path) -> None:
    with open(os.fsencode(bundle) + b"/\xff", "wb"):
        pass
    ((name, reason),) = refused(bundle)
    assert (name.encode(), reason) == (b"\\udcff", "bad_name")


@pytest.mark.parametrize("name", [MANIFEST, *MEMBERS])
def test_a_member_is_a_regular_file_with_one_link(bundle: Path, tmp_path: Path, name: str) -> None:
    shutil.move(bundle / name, tmp_path / name)
    (bundle / name).symlink_to(tmp_path / name)
    assert refused(bundle) == [(name, "not_regular")]
    (bundle / name).unlink()
    os.link(tmp_path / name, bundle / name)
    assert refused(bundle) == [(name, "hard_linked")]
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    assert refused(bundle) == [(name, "not_regular")]
    (bundle / name).unlink()
    (bundle / name).mkdir()
    assert refused(bundle) == [(name, "not_regular")]


def test_sizes_have_limits_one_by_one_and_together(bundle: Path) -> None:
    kept = (bundle / CALIBRATION).read_bytes()
    os.truncate(bundle / CALIBRATION, MAX_TEXT_BYTES + 1)
    assert refused(bundle) == [(CALIBRATION, "too_large")]
    (bundle / CALIBRATION).write_bytes(kept)
    os.truncate(bundle / MODEL, MAX_MODEL_BYTES + 1)
    assert refused(bundle) == [(MODEL, "too_large")]
    os.truncate(bundle / MODEL, MAX_MODEL_BYTES)
    n_full = (MAX_TOTAL_BYTES - MAX_MODEL_BYTES) // MAX_TEXT_BYTES + 1
    for number in range(n_full):
        (bundle / f"x{number}").touch()
        os.truncate(bundle / f"x{number}", MAX_TEXT_BYTES)
    assert refused(bundle) == [(".", "total_too_large")]


def test_a_directory_with_a_crowd_in_it_is_not_read_to_its_end(bundle: Path) -> None:
    for number in range(MAX_FILES):
        (bundle / f"x{number}").touch()
    assert refused(bundle) == [(".", "too_many_files")]


def test_what_is_no_directory_has_its_own_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert [f.reason for f in verify_bundle(tmp_path / "file")] == ["not_directory"]
    assert [f.reason for f in verify_bundle(tmp_path / "pipe")] == ["not_directory"]
    assert [f.reason for f in verify_bundle(tmp_path / "loop")] == ["unreadable"]
    assert [f.reason for f in verify_bundle(tmp_path / "none")] == ["missing"]
    assert [f.reason for f in verify_bundle(Path("a\0b"))] == ["unreadable"]
    (tmp_path / "empty").mkdir()
    assert [(f.file, f.reason) for f in verify_bundle(tmp_path / "empty")] == [
        (MANIFEST, "missing")
    ]


def test_a_link_to_the_directory_is_followed_once_and_pinned(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(bundle)
    found = read_files(tmp_path / "current")
    assert found.path == str(bundle.resolve())
    assert found.data == read_files(bundle).data


def test_a_signature_is_the_one_file_beside_the_manifests_list(bundle: Path) -> None:
    (bundle / SIGNATURE).write_bytes(b"{}")
    assert verify_bundle(bundle) == []
    os.mkfifo(bundle / "manifest.sig2")
    assert refused(bundle) == [("manifest.sig2", "not_regular")]


@pytest.mark.parametrize("path", ["../x.json", "/etc/passwd", "sub/vocab.json", "..", "", "a\0b"])
def test_a_manifest_cannot_name_a_file_elsewhere(bundle: Path, path: str) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["files"][0]["path"] = path

    reseal(bundle, change)
    assert refused(bundle) == [(MANIFEST, "malformed")]


def test_a_file_listed_twice_is_another_set_of_files(bundle: Path) -> None:
    reseal(bundle, lambda manifest: manifest["files"].append(manifest["files"][0]))
    assert refused(bundle) == [(MANIFEST, "file_set")]


CALIBRATION_KEY = b'"n_validation":0'


@pytest.mark.parametrize(
    ("alter", "reason"),
    [
        (lambda text: text.replace(CALIBRATION_KEY, CALIBRATION_KEY + b"," + CALIBRATION_KEY), "duplicate_key"),
        (lambda text: text.replace(CALIBRATION_KEY, b'"n_validation":NaN'), "malformed"),
        (lambda text: text.replace(CALIBRATION_KEY, b'"n_validation":1e999'), "malformed"),
        (lambda text: text + b"\n", "not_canonical"),
        (lambda text: text.replace(b":0", b": 0"), "not_canonical"),
        (lambda text: b"\xef\xbb\xbf" + text, "malformed"),
        (lambda text: text.replace(b"planner", b"plann\xff"), "malformed"),
        (lambda text: text.replace(b"planner", b"pl\\u0061nner"), "not_canonical"),
        (lambda text: b"[" * 5_000 + text, "malformed"),
    ],
)  # fmt: skip
def test_json_is_read_strictly_however_well_it_is_sealed(
    bundle: Path, alter: Callable[[bytes], bytes], reason: str
) -> None:
    altered = alter((bundle / CALIBRATION).read_bytes())
    assert altered != (bundle / CALIBRATION).read_bytes()
    (bundle / CALIBRATION).write_bytes(altered)
    reseal(bundle)
    assert refused(bundle) == [(CALIBRATION, reason)]


def test_a_key_twice_in_the_manifest_is_named(bundle: Path) -> None:
    text = (bundle / MANIFEST).read_bytes()
    (bundle / MANIFEST).write_bytes(text.replace(b'"n_golden":4', b'"n_golden":4,"n_golden":4'))
    assert refused(bundle) == [(MANIFEST, "duplicate_key")]


def test_other_answers_than_the_golden_ones_are_told_from_all_else(bundle: Path) -> None:
    lines = (bundle / "golden.jsonl").read_bytes().splitlines()
    case = json.loads(lines[2])
    case["action"]["confidence"] = 0.123
    lines[2] = canonical_json(case)
    (bundle / "golden.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    reseal(bundle)
    assert refused(bundle) == [("golden.jsonl", "golden_mismatch")]


def test_a_required_signature_without_a_key_opens_nothing(bundle: Path) -> None:
    with pytest.raises(BundleError) as error:
        read_bundle(bundle, trust=Trust(require_signature=True))
    assert [(f.file, f.reason) for f in error.value.faults] == [(SIGNATURE, "signature_no_key")]
    planner = Planner.open(bundle, trust=Trust(require_signature=True))
    assert "signature_no_key" in (planner.plan(QUESTIONS[0]).reason or "")
