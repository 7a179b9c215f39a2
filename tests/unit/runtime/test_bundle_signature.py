"""Whose a bundle is: every way a signature can fail has its own reason code."""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner_runtime import Planner, Trust, read_bundle, verify_bundle
from planner_runtime.bundle import CALIBRATION, MANIFEST, SIGNATURE
from planner_runtime.bundles.files import read_files
from planner_runtime.bundles.signature import (
    MEDIA_TYPE,
    PAYLOAD_TYPE,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    signed_bytes,
)
from planner_runtime.contracts import canonical_json, sha256_hex
from tests.unit.runtime.bundle_cases import QUESTIONS, reseal, write_imitation_bundle

NEEDS_NONE = """
import sys
sys.modules["cryptography"] = None  # as where it is not installed
from pathlib import Path
from planner_runtime import Planner, Trust, verify_bundle
folder, key = map(Path, sys.argv[1:])
(fault,) = verify_bundle(folder, trust=Trust(public_key=key))
print(fault.reason, fault.detail)
print(Planner.open(folder, trust=Trust(public_key=key)).bundle, verify_bundle(folder))
"""


def test_without_cryptography_a_required_signature_is_refused_and_says_what_to_install(
    tmp_path: Path,
) -> None:
    write_imitation_bundle(tmp_path / "b")
    (tmp_path / "b" / SIGNATURE).write_bytes(b"{}")
    (tmp_path / "key.pem").write_bytes(b"any")
    arguments = [sys.executable, "-c", NEEDS_NONE, str(tmp_path / "b"), str(tmp_path / "key.pem")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    first, second = done.stdout.splitlines()
    assert first.startswith("signature_not_checkable needs pip install 'cyntra-planner[verify]'")
    assert second == "None []"


pytest.importorskip("cryptography")

from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, ed25519  # noqa: E402


def pem_of(key: Any) -> bytes:
    return bytes(
        key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def statement_of(folder: Path) -> dict[str, Any]:
    data = read_files(folder).data
    digests = {name: sha256_hex(data[name]) for name in sorted(data) if name != SIGNATURE}
    whole = sha256_hex(b"".join(bytes.fromhex(digest) for digest in digests.values()))
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": folder.name, "digest": {"sha256": whole}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": [
                {"name": name, "algorithm": "sha256", "digest": digest}
                for name, digest in digests.items()
            ],
        },
    }


def sign(
    folder: Path, key: ec.EllipticCurvePrivateKey, *, hint: str | None = "own",
    statement: Callable[[dict[str, Any]], None] = lambda told: None,
    file: Callable[[dict[str, Any]], None] = lambda told: None,
) -> None:  # fmt: skip
    """A signature in the format of OpenSSF model signing, by the tests' own hand."""
    told = statement_of(folder)
    statement(told)
    payload = json.dumps(told).encode()
    signature = key.sign(signed_bytes(payload), ec.ECDSA(hashes.SHA256()))
    own = sha256_hex(pem_of(key.public_key()))
    document: dict[str, Any] = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": own if hint == "own" else hint}, "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }  # fmt: skip
    file(document)
    (folder / SIGNATURE).write_bytes(canonical_json(document))


KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_imitation_bundle(tmp_path / "bundle")
    sign(tmp_path / "bundle", KEY)
    return tmp_path / "bundle"


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    (tmp_path / "key.pem").write_bytes(pem_of(KEY.public_key()))
    return Trust(public_key=tmp_path / "key.pem")


def refused(bundle: Path, trust: Trust) -> str:
    assert Planner.open(bundle, trust=trust).bundle is None
    (fault,) = verify_bundle(bundle, trust=trust)
    assert fault.file == SIGNATURE
    return fault.reason


def test_a_signed_bundle_opens_under_any_folders_name(bundle: Path, trust: Trust) -> None:
    moved = bundle.rename(bundle.with_name("elsewhere"))
    assert verify_bundle(moved, trust=trust) == []
    assert read_bundle(moved, trust=trust).is_signed is True
    assert Planner.open(moved, trust=trust).plan(QUESTIONS[0]).model is not None
    assert read_bundle(moved).is_signed is False  # nobody asked


def test_a_missing_signature_is_refused_where_a_key_is_given(bundle: Path, trust: Trust) -> None:
    (bundle / SIGNATURE).unlink()
    assert refused(bundle, trust) == "signature_missing"


def test_another_key_is_not_trusted(bundle: Path, trust: Trust) -> None:
    sign(bundle, OTHER)
    assert refused(bundle, trust) == "signature_key_unknown"


def test_another_key_under_the_trusted_ones_name_did_not_sign(bundle: Path, trust: Trust) -> None:
    sign(bundle, OTHER, hint=sha256_hex(pem_of(KEY.public_key())))
    assert refused(bundle, trust) == "signature_invalid"
    sign(bundle, OTHER, hint=None)
    assert refused(bundle, trust) == "signature_invalid"
    sign(bundle, KEY, hint=None)  # as signers before 1.0 wrote it
    assert verify_bundle(bundle, trust=trust) == []


def test_a_folder_of_keys_lets_one_be_rotated_out(bundle: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    (keys / "retired").mkdir(parents=True)
    (keys / "2026.pem").write_bytes(pem_of(KEY.public_key()))
    (keys / "2027.pem").write_bytes(pem_of(OTHER.public_key()))
    trust = Trust(public_key=keys)
    assert verify_bundle(bundle, trust=trust) == []
    shutil.move(keys / "2026.pem", keys / "retired")
    assert refused(bundle, trust) == "signature_key_retired"
    sign(bundle, OTHER)
    assert verify_bundle(bundle, trust=trust) == []
    (keys / "2026.pem").write_bytes(pem_of(KEY.public_key()))  # retired is retired
    sign(bundle, KEY)
    assert refused(bundle, trust) == "signature_key_retired"
    shutil.rmtree(keys)
    keys.mkdir()
    assert refused(bundle, trust) == "public_key_unusable"


def test_files_altered_after_signing_are_named_however_well_resealed(
    bundle: Path, trust: Trust
) -> None:
    (bundle / CALIBRATION).write_bytes(
        (bundle / CALIBRATION).read_bytes().replace(b'"n_validation":0', b'"n_validation":9')
    )
    signature = (bundle / SIGNATURE).read_bytes()
    (bundle / SIGNATURE).unlink()
    reseal(bundle)
    assert verify_bundle(bundle) == []  # a good bundle, only not the one that was signed
    (bundle / SIGNATURE).write_bytes(signature)
    assert refused(bundle, trust) == "signature_mismatch"
    (fault,) = verify_bundle(bundle, trust=trust)
    assert fault.detail == f"not what was signed: {CALIBRATION}, {MANIFEST}"


def test_a_file_more_or_less_than_was_signed_is_an_alteration(bundle: Path, trust: Trust) -> None:
    (bundle / "extra.json").write_bytes(b"{}")
    assert refused(bundle, trust) == "signature_mismatch"
    (bundle / "extra.json").unlink()
    (bundle / "vocab.json").unlink()
    assert refused(bundle, trust) == "signature_mismatch"


STATEMENTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "type": lambda told: told.update(_type="https://in-toto.io/Statement/v0.1"),
    "predicate": lambda told: told.update(predicateType="https://slsa.dev/provenance/v1"),
    "digest": lambda told: told["subject"][0]["digest"].update(sha256="0" * 64),
    "subjects": lambda told: told["subject"].append(told["subject"][0]),
    "algorithm": lambda told: told["predicate"]["resources"][0].update(algorithm="blake3"),
    "hex": lambda told: told["predicate"]["resources"][0].update(digest="xyz"),
    "resources": lambda told: told["predicate"].pop("resources"),
}
FILES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "media": lambda told: told.update(mediaType="application/json"),
    "payload type": lambda told: told["dsseEnvelope"].update(payloadType="text/plain"),
    "base64": lambda told: told["dsseEnvelope"].update(payload="%"),
    "none": lambda told: told["dsseEnvelope"].update(signatures=[]),
    "two": lambda told: told["dsseEnvelope"]["signatures"].append({"sig": "AA=="}),
    "empty": lambda told: told.clear(),
}


@pytest.mark.parametrize("kind", sorted(STATEMENTS))
def test_a_statement_that_says_something_else_is_malformed(
    bundle: Path, trust: Trust, kind: str
) -> None:
    sign(bundle, KEY, statement=STATEMENTS[kind])
    assert refused(bundle, trust) == "signature_malformed"


@pytest.mark.parametrize("kind", sorted(FILES))
def test_a_signature_file_of_another_shape_is_malformed(
    bundle: Path, trust: Trust, kind: str
) -> None:
    sign(bundle, KEY, file=FILES[kind])
    assert refused(bundle, trust) == "signature_malformed"


def test_a_flipped_bit_in_the_signature_is_always_noticed(bundle: Path, trust: Trust) -> None:
    whole = (bundle / SIGNATURE).read_bytes()
    envelope = json.loads(whole)["dsseEnvelope"]
    found = set()
    for part in (envelope["payload"], envelope["signatures"][0]["sig"], MEDIA_TYPE, PAYLOAD_TYPE):
        start = whole.index(part.encode())
        for at in range(start, start + len(part) - 4, max(1, len(part) // 40)):
            data = bytearray(whole)
            data[at] ^= 1
            (bundle / SIGNATURE).write_bytes(data)
            found.add(refused(bundle, trust))
    assert found == {"signature_malformed", "signature_invalid"}


def test_a_key_that_cannot_be_used_is_told_from_a_bad_signature(
    bundle: Path, tmp_path: Path
) -> None:
    usable = [
        b"", b"nonsense", pem_of(ed25519.Ed25519PrivateKey.generate().public_key()),
        pem_of(ec.generate_private_key(ec.SECP384R1()).public_key()),
    ]  # fmt: skip
    for pem in usable:
        (tmp_path / "k.pem").write_bytes(pem)
        assert refused(bundle, Trust(public_key=tmp_path / "k.pem")) == "public_key_unusable"
    assert refused(bundle, Trust(public_key=tmp_path / "none.pem")) == "public_key_unusable"
