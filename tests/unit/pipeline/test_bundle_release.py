"""From a bundle to a signed one in a store: the format's own signer and verifier, and the commands."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from planner_pipeline.cli import main
from planner_pipeline.release.onnx_check import ModelNotShippableError, shipped_op_types
from planner_pipeline.release.publish import publish_bundle
from planner_pipeline.release.signing import SigningError, sign_bundle
from planner_runtime import LivePlanner, Trust, read_bundle, verify_bundle
from planner_runtime.bundle import CALIBRATION, MODEL, SIGNATURE, BundleError
from planner_runtime.bundles.channels import bundle_folder, channels_of
from tests.outcome_bundles import tiny_onnx
from tests.unit.runtime.bundle_cases import (
    HOSTILE_MODELS,
    imitation_onnx,
    write_imitation_bundle,
)
from tests.unit.runtime.test_bundle_signature import pem_of, sign


def write_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> Path:
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_imitation_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Trust]:
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "public.pem").write_bytes(pem_of(key.public_key()))
    return write_key(tmp_path / "key.pem", key), Trust(public_key=tmp_path / "public.pem")


def verified_by_its_makers(folder: Path, public_key: Path) -> int:
    """Exit code of model-signing's own command line."""
    arguments = [sys.executable, "-m", "model_signing", "verify", "key", str(folder)]
    arguments += ["--signature", str(folder / SIGNATURE), "--public_key", str(public_key)]
    arguments += ["--no-ignore-git-paths"]
    return subprocess.run(arguments, capture_output=True, check=False).returncode


def test_what_the_formats_own_signer_writes_our_verifier_accepts(
    bundle: Path, keys: tuple[Path, Trust]
) -> None:
    key, trust = keys
    before = sign_bundle(bundle, key).manifest.bundle_id
    assert verify_bundle(bundle, trust=trust) == []
    found = read_bundle(bundle, trust=trust)
    assert (found.is_signed, found.manifest.bundle_id) == (True, before)
    sign_bundle(bundle, key)  # signing again replaces the signature
    assert verify_bundle(bundle, trust=trust) == []
    assert sorted(p.name for p in bundle.parent.iterdir()) == ["bundle", "key.pem", "public.pem"]
    (bundle / CALIBRATION).write_bytes(b"{}")
    assert [f.reason for f in verify_bundle(bundle, trust=trust)] == ["signature_mismatch"]


@pytest.mark.slow
def test_the_formats_own_verifier_accepts_both_its_signature_and_the_tests_own(
    bundle: Path, keys: tuple[Path, Trust], tmp_path: Path
) -> None:
    key, trust = keys
    assert trust.public_key is not None
    sign_bundle(bundle, key)
    assert verified_by_its_makers(bundle, trust.public_key) == 0
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    sign(bundle, private)
    assert verified_by_its_makers(bundle, trust.public_key) == 0
    (bundle / CALIBRATION).write_bytes(b"{}")
    assert verified_by_its_makers(bundle, trust.public_key) != 0


def test_neither_a_bad_bundle_nor_with_a_bad_key_is_anything_signed(
    bundle: Path, keys: tuple[Path, Trust], tmp_path: Path
) -> None:
    key, _ = keys
    others = [
        write_key(tmp_path / "rsa.pem", rsa.generate_private_key(65537, 2048)),
        write_key(tmp_path / "p384.pem", ec.generate_private_key(ec.SECP384R1())),
        tmp_path / "public.pem",
        tmp_path / "none.pem",
    ]
    for other in others:
        with pytest.raises(SigningError):
            sign_bundle(bundle, other)
    (bundle / CALIBRATION).write_bytes(b"{}")
    with pytest.raises(BundleError):
        sign_bundle(bundle, key)
    assert not (bundle / SIGNATURE).exists()


def test_publishing_is_by_content_and_whole(bundle: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = publish_bundle(bundle, store)
    place = bundle_folder(store, first.manifest.bundle_id)
    assert first.path == str(place.resolve())
    inode = place.stat().st_ino
    assert publish_bundle(bundle, store).identity == first.identity
    assert place.stat().st_ino == inode
    (bundle / MODEL).write_bytes(b"x")
    with pytest.raises(BundleError):
        publish_bundle(bundle, store)
    assert [path.name for path in place.parent.iterdir()] == [first.manifest.bundle_id]
    assert verify_bundle(place) == []


def test_an_unsigned_bundle_is_not_published_where_a_key_is_asked_for(
    bundle: Path, keys: tuple[Path, Trust], tmp_path: Path
) -> None:
    key, trust = keys
    with pytest.raises(BundleError, match="signature_missing"):
        publish_bundle(bundle, tmp_path / "store", trust=trust)
    sign_bundle(bundle, key)
    assert publish_bundle(bundle, tmp_path / "store", trust=trust).is_signed is True


def test_the_commands_lead_a_kernel_there_and_back(
    bundle: Path, keys: tuple[Path, Trust], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, trust = keys
    store = tmp_path / "store"
    write_imitation_bundle(tmp_path / "second", seed=1)

    def run(*arguments: object) -> tuple[int, dict[str, object]]:
        code = main([str(argument) for argument in arguments])
        out = capsys.readouterr().out
        return code, json.loads(out) if out else {}

    def publish(folder: Path, *more: object) -> tuple[int, dict[str, object]]:
        told = ("--store", store, "--public-key", trust.public_key, *more)
        return run("publish", "--bundle", folder, *told)

    assert publish(bundle)[0] == 1  # not signed
    assert run("sign", "--bundle", bundle, "--key", key)[0] == 0
    assert run("sign", "--bundle", tmp_path / "second", "--key", key)[0] == 0
    code, first = publish(bundle)
    assert (code, first["signed"]) == (0, True)
    live = LivePlanner(store / "channels/current", public_key=trust.public_key, poll_seconds=None)
    assert live.status().bundle_id == first["bundle_id"]
    code, second = publish(tmp_path / "second", "--channel", "candidate")
    assert (code, live.check_now()) == (0, False)
    publish(store / "bundles" / str(second["bundle_id"]), "--by", "ann")
    assert live.check_now() is True
    assert live.status().bundle_id == second["bundle_id"]
    assert run("rollback", "--store", store)[1]["bundle_id"] == first["bundle_id"]
    assert live.check_now() is True
    assert live.status().bundle_id == first["bundle_id"]
    told = {name: p.bundle_id for name, p in channels_of(store).items() if p is not None}
    assert told == {
        "current": first["bundle_id"], "previous": second["bundle_id"],
        "candidate": second["bundle_id"],
    }  # fmt: skip
    shutil.rmtree(store)
    assert run("rollback", "--store", store)[0] == 1


@pytest.mark.parametrize("model", [tiny_onnx(), imitation_onnx()])
def test_what_may_be_shipped_is_recorded_by_its_operators(model: bytes) -> None:
    ops = shipped_op_types(model)
    assert ops == tuple(sorted({n.op_type for n in onnx.load_model_from_string(model).graph.node}))


@pytest.mark.parametrize("kind", sorted(HOSTILE_MODELS))
def test_what_no_bundle_may_hold_is_not_exported(kind: str) -> None:
    proto = onnx.load_model_from_string(imitation_onnx())
    HOSTILE_MODELS[kind](proto)
    with pytest.raises(ModelNotShippableError) as refused:
        shipped_op_types(proto.SerializeToString())
    assert refused.value.reasons


@pytest.mark.parametrize("data", [b"", b"not a model", imitation_onnx()[:-40]])
def test_what_is_no_model_is_not_exported(data: bytes) -> None:
    with pytest.raises(ModelNotShippableError):
        shipped_op_types(data)
