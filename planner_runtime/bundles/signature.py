"""Who a bundle is from: an OpenSSF model signature over all of its files, checked offline.

Belongs here: verifying ``manifest.sig`` with public keys that the caller trusts, and the statement
a signature is about. Does not: signing (``planner_pipeline.release.signing``), key management.
Source: github.com/ossf/model-signing-spec (DSSE envelope over an in-toto statement, in a sigstore
bundle v0.3); reference/reliability.md 1. ``cryptography`` is the extra ``verify``, imported when a
key is given.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from planner_runtime.bundles.files import SIGNATURE, BundleError, Fault
from planner_runtime.contracts.canonical import sha256_hex

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
CURVE: Final = "secp256r1"
MAX_KEYS: Final = 16


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """Whose bundles are opened.

    Attributes:
        public_key: A PEM file with one P-256 key, or a folder of them (``*.pem``), whose own folder
            ``retired`` holds those that are trusted no more. With a key, a signature is required.
        require_signature: Refuse bundles also where no key says whose signature would do.
    """

    public_key: Path | None = None
    require_signature: bool = False


class _Hint(msgspec.Struct, frozen=True):
    hint: str | None = None


class _Material(msgspec.Struct, frozen=True, rename="camel"):
    public_key: _Hint = _Hint()


class _Signed(msgspec.Struct, frozen=True):
    sig: str


class _Envelope(msgspec.Struct, frozen=True, rename="camel"):
    payload: str
    payload_type: str
    signatures: tuple[_Signed, ...]


class _SignatureFile(msgspec.Struct, frozen=True, rename="camel"):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope


class _Subject(msgspec.Struct, frozen=True):
    digest: dict[str, str]


class _Resource(msgspec.Struct, frozen=True):
    name: str
    algorithm: str
    digest: str


class _Predicate(msgspec.Struct, frozen=True):
    resources: tuple[_Resource, ...]


class _Statement(
    msgspec.Struct, frozen=True, rename={"type": "_type", "predicate_type": "predicateType"}
):
    type: str
    predicate_type: str
    subject: tuple[_Subject, ...]
    predicate: _Predicate


class _Keys(msgspec.Struct, frozen=True):
    """Public keys by the sha256 of their PEM form, which a signature names them by."""

    trusted: dict[str, Any]
    retired: frozenset[str]


def _refused(reason: str, detail: str) -> BundleError:
    return BundleError([Fault(SIGNATURE, reason, detail)])


def _load_keys(files: list[Path]) -> dict[str, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        detail = "needs pip install 'cyntra-planner[verify]'"
        raise _refused("signature_not_checkable", f"{detail} ({error})") from error
    keys: dict[str, Any] = {}
    for file in files[:MAX_KEYS]:
        try:
            key = serialization.load_pem_public_key(file.read_bytes())
        except (OSError, ValueError, TypeError) as error:
            raise _refused("public_key_unusable", f"{file.name}: {error}") from error
        except Exception as error:  # cryptography has one more exception, of its own, for this
            raise _refused("public_key_unusable", f"{file.name}: {error}") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != CURVE:
            raise _refused("public_key_unusable", f"{file.name}: not a P-256 key")
        pem = key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        keys[sha256_hex(pem)] = key
    return keys


def _read_keys(place: Path) -> _Keys:
    if not place.is_dir():
        return _Keys(_load_keys([place]), frozenset())
    trusted = _load_keys(sorted(place.glob("*.pem")))
    retired = frozenset(_load_keys(sorted(place.glob("retired/*.pem"))))
    if not trusted:
        raise _refused("public_key_unusable", f"no *.pem in {place}")
    return _Keys({hint: key for hint, key in trusted.items() if hint not in retired}, retired)


def signed_bytes(payload: bytes) -> bytes:
    """What is signed of a payload (DSSE's pre-authentication encoding).

    >>> signed_bytes(b"{}")
    b'DSSEv1 28 application/vnd.in-toto+json 2 {}'
    """
    return b"DSSEv1 %d %s %d %s" % (
        len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload,
    )  # fmt: skip


def _verifies(key: Any, signature: bytes, payload: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key.verify(signature, signed_bytes(payload), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _signed_payload(data: bytes, keys: _Keys) -> bytes:
    """The payload of a signature that one of the trusted keys made."""
    try:
        file = msgspec.json.decode(data, type=_SignatureFile)
        envelope = file.dsse_envelope
        payload = base64.b64decode(envelope.payload, validate=True)
        signatures = [base64.b64decode(one.sig, validate=True) for one in envelope.signatures]
    except (msgspec.DecodeError, UnicodeError, RecursionError, binascii.Error, ValueError) as error:
        raise _refused("signature_malformed", str(error)) from error
    if (file.media_type, envelope.payload_type) != (MEDIA_TYPE, PAYLOAD_TYPE):
        detail = f"{file.media_type[:80]} of {envelope.payload_type[:80]}"
        raise _refused("signature_malformed", detail)
    if len(signatures) != 1:
        raise _refused("signature_malformed", f"{len(signatures)} signatures, not one")
    hint = file.verification_material.public_key.hint
    if hint in keys.retired:
        raise _refused("signature_key_retired", "made with a key that is trusted no more")
    if hint and hint not in keys.trusted:
        raise _refused("signature_key_unknown", "made with a key that is not trusted")
    tried = [keys.trusted[hint]] if hint else list(keys.trusted.values())
    if not any(_verifies(key, signatures[0], payload) for key in tried):
        raise _refused("signature_invalid", "the key did not sign this statement")
    return payload


def _signed_digests(payload: bytes) -> dict[str, str]:
    """sha256 by file name, as a statement that was signed says."""
    try:
        statement = msgspec.json.decode(payload, type=_Statement)
        resources = statement.predicate.resources
        digests = b"".join(bytes.fromhex(resource.digest) for resource in resources)
    except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError) as error:
        raise _refused("signature_malformed", f"its statement: {error}") from error
    if (statement.type, statement.predicate_type) != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise _refused("signature_malformed", f"a statement of {statement.predicate_type[:80]}")
    if any(resource.algorithm != "sha256" for resource in resources):
        raise _refused("signature_malformed", "its statement has digests other than sha256")
    whole = hashlib.sha256(digests).hexdigest()
    if len(statement.subject) != 1 or statement.subject[0].digest.get("sha256") != whole:
        raise _refused("signature_malformed", "its statement contradicts itself")
    return {resource.name: resource.digest for resource in resources}


def verify_signature(files: Mapping[str, bytes], trust: Trust) -> bool:
    """Whether a bundle's files are signed by whom the caller trusts; False: nobody asked.

    Args:
        files: Every file of the bundle by name, the signature among them.

    Raises:
        BundleError: it is asked for, and missing, of another key, or about other files.
    """
    if trust.public_key is None:
        if trust.require_signature:
            raise _refused("signature_no_key", "a signature is required and no key is given")
        return False
    if SIGNATURE not in files:
        raise _refused("signature_missing", "a signature is required")
    signed = _signed_digests(_signed_payload(files[SIGNATURE], _read_keys(trust.public_key)))
    found = {name: sha256_hex(data) for name, data in files.items() if name != SIGNATURE}
    if signed != found:
        names = sorted(n for n in {*signed, *found} if signed.get(n) != found.get(n))
        raise _refused("signature_mismatch", f"not what was signed: {', '.join(names)[:200]}")
    return True
