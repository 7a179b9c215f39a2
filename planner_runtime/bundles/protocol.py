"""Manifests of every protocol that is still read, as the newest one.

Belongs here: which protocols there are, the contract of each, the step from each to the next.
Does not: the files a manifest lists (``bundle``). How to add a protocol: docs/bundles.md.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from planner_runtime.bundles.files import MANIFEST, BundleError, Fault
from planner_runtime.contracts.bundle_manifest import BundleManifest, BundleManifestV1
from planner_runtime.contracts.canonical import canonical_json, document_hash
from planner_runtime.contracts.reading import (
    ContractError,
    decode_json,
    read_document,
    to_document,
)

PROTOCOL: Final = 2
N_READ: Final = 3  # the newest and two before it
OLDEST_PROTOCOL: Final = max(1, PROTOCOL - N_READ + 1)

Document = dict[str, Any]

CONTRACTS: Final[Mapping[int, type[msgspec.Struct]]] = {1: BundleManifestV1, 2: BundleManifest}


def _from_1(manifest: Document) -> Document:
    """Protocol 2 records the operators; of an older bundle none are known from its manifest."""
    return {
        **manifest,
        "schema_version": "cyntra.bundle_manifest.v2",
        "format_version": 2,
        "model": {**manifest["model"], "op_types": []},
    }


UPGRADES: Final[Mapping[int, Callable[[Document], Document]]] = {1: _from_1}


class _RepeatedKeyError(Exception):
    """An object has a key twice; the argument is the key."""


def _object_of(pairs: list[tuple[str, Any]]) -> Document:
    found: Document = {}
    for key, value in pairs:
        if key in found:
            raise _RepeatedKeyError(key)
        found[key] = value
    return found


def canonical_fault(name: str, data: bytes, document: Any) -> Fault | None:
    """Why bytes are not the one way to write a document; None when they are."""
    try:
        if canonical_json(document) == data:
            return None
    except (ValueError, RecursionError) as error:
        return Fault(name, "malformed", str(error))
    try:
        json.loads(data, object_pairs_hook=_object_of)
    except _RepeatedKeyError as error:
        return Fault(name, "duplicate_key", f"the key {str(error)[:80]!r} is there twice")
    except (ValueError, RecursionError):
        pass
    return Fault(name, "not_canonical", "it is not in canonical form")


def decode_member(name: str, data: bytes, contract: type[msgspec.Struct]) -> Any:
    """The JSON value of a member that is in canonical form: no key twice, no NaN, no white space.

    Raises:
        BundleError: it is not.
    """
    try:
        document = decode_json(data, contract)
    except ContractError as error:
        raise BundleError([Fault(name, "malformed", f"{error.path}: {error.why}")]) from error
    if (fault := canonical_fault(name, data, document)) is not None:
        raise BundleError([fault])
    return document


def manifest_id(manifest: BundleManifest) -> str:
    """The id a manifest must carry: the first 16 hex digits of the hash of all the rest."""
    return _id_of(to_document(manifest))


def _id_of(document: Document) -> str:
    return document_hash({k: v for k, v in document.items() if k != "bundle_id"})[:16]


def _protocol_of(document: Any) -> int:
    found = document.get("format_version") if isinstance(document, dict) else None
    if not isinstance(found, int) or isinstance(found, bool):
        raise BundleError([Fault(MANIFEST, "malformed", "$.format_version: no protocol number")])
    if found > PROTOCOL:
        detail = f"protocol {found}, this runtime reads {OLDEST_PROTOCOL} to {PROTOCOL}"
        raise BundleError([Fault(MANIFEST, "protocol_too_new", detail)])
    if found < OLDEST_PROTOCOL:
        detail = f"protocol {found}, this runtime reads {OLDEST_PROTOCOL} to {PROTOCOL}"
        raise BundleError([Fault(MANIFEST, "protocol_too_old", detail)])
    return found


def upgraded(document: Document, protocol: int) -> Document:
    """A manifest of some protocol as one of the newest, step by step."""
    for number in range(protocol, PROTOCOL):
        document = UPGRADES[number](document)
    return document


def parse_manifest(data: bytes) -> tuple[BundleManifest, int]:
    """A manifest as of the newest protocol, and the protocol it was written in.

    Its id and its form are checked as they were written.

    Raises:
        BundleError: it keeps no contract, or is not what its id says.
    """
    try:
        document = decode_json(data, BundleManifest)
        protocol = _protocol_of(document)
        read_document(document, CONTRACTS[protocol])
        if _id_of(document) != document["bundle_id"]:
            detail = f"its content hashes to {_id_of(document)}, it says {document['bundle_id']}"
            raise BundleError([Fault(MANIFEST, "altered", detail)])
        manifest = read_document(upgraded(document, protocol), BundleManifest)
    except ContractError as error:
        raise BundleError([Fault(MANIFEST, "malformed", f"{error.path}: {error.why}")]) from error
    except (ValueError, RecursionError) as error:
        raise BundleError([Fault(MANIFEST, "malformed", str(error))]) from error
    if (fault := canonical_fault(MANIFEST, data, document)) is not None:
        raise BundleError([fault])
    if protocol >= 2 and not manifest.model.op_types:
        detail = "$.model.op_types: it records no operators"
        raise BundleError([Fault(MANIFEST, "malformed", detail)])
    return manifest, protocol
