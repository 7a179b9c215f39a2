"""Signing a bundle with an offline key, in the format of OpenSSF model signing.

Belongs here: the only use of ``model_signing`` (extra ``sign``). Does not: verifying, which the
runtime does with its own few lines (``planner_runtime.bundles.signature``).
Source: reference/reliability.md 1; github.com/ossf/model-signing-spec.
"""

import os
from pathlib import Path

from planner_runtime.bundle import Bundle
from planner_runtime.bundles.files import SIGNATURE
from planner_runtime.planner import load_bundle
from planner_runtime.whole_files import sync_directory


class SigningError(ValueError):
    """A bundle was not signed; the text says why."""


def sign_bundle(folder: Path, private_key: Path) -> Bundle:
    """Verify a bundle and write ``manifest.sig`` into its folder; an older one is replaced.

    Args:
        private_key: PEM file of a P-256 key, not encrypted.

    Raises:
        BundleError: the bundle must not serve, so it is not signed.
        SigningError: the key cannot be used, or the extra is not installed.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from model_signing import hashing, signing
    except ImportError as error:
        raise SigningError(f"needs pip install 'cyntra-planner[sign]' ({error})") from error
    folder = folder.resolve()
    bundle, _ = load_bundle(folder)
    try:
        key = serialization.load_pem_private_key(private_key.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise SigningError(f"{private_key}: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise SigningError(f"{private_key}: not a P-256 key")
    # beside the folder, so that nobody who reads it meanwhile meets half a file in it
    part = folder.with_name(f".{folder.name}.{os.getpid()}.sig.part")
    try:
        hashed = hashing.Config().set_ignored_paths(
            paths=[folder / SIGNATURE], ignore_git_paths=False
        )
        signer = signing.Config().use_elliptic_key_signer(private_key=private_key)
        signer.set_hashing_config(hashed).sign(folder, part)
        os.replace(part, folder / SIGNATURE)
    finally:
        part.unlink(missing_ok=True)
    sync_directory(folder)
    return bundle
