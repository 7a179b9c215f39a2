"""Canonical JSON and content hashes: one byte string for one document.

Belongs here: canonical encoding, sha256 of bytes and documents, the search for non-finite numbers.
Does not: what a document may contain (``reading`` and the contract modules).
Source: reference/cyntra-formats.md 7.4 (``input_hash``).
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import msgspec


def sha256_hex(data: bytes) -> str:
    """Lower-case hex sha256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def canonical_json(document: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces; equal documents give equal bytes.

    Raises:
        ValueError: a number is NaN or infinite, or a string holds a lone surrogate.
        TypeError: a value has no JSON form.
        RecursionError: nesting is deeper than the interpreter allows.

    >>> canonical_json({"b": 1, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    text = json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8")


def canonical_json_of_simple(document: Any) -> bytes:
    """``canonical_json`` ten times as fast, for documents that ``plain`` calls simple: of those
    msgspec writes every byte as Python does. Of others it does not: 1e16, 0.00001, keys of numbers.

    Raises:
        ValueError: a string holds a lone surrogate, or an integer is longer than Python prints.
    """
    return msgspec.json.encode(document, order="sorted")


def document_hash(document: Any) -> str:
    """sha256 of the canonical JSON of ``document``. Raises as ``canonical_json``."""
    return sha256_hex(canonical_json(document))


def input_hash(planner_input: Mapping[str, Any], *, is_simple: bool = False) -> str:
    """Hash of a planner input without ``created_at``, so that asking again asks the same.

    Args:
        is_simple: Whether ``plain`` calls it so; the hash is the same either way.

    Raises as ``canonical_json``. Source: formats 7.4.
    """
    rest = {k: v for k, v in planner_input.items() if k != "created_at"}
    return sha256_hex(canonical_json_of_simple(rest) if is_simple else canonical_json(rest))


def first_non_finite(document: Any, path: str = "$") -> str | None:
    """Path of the first NaN or infinity in ``document``, or None when there is none.

    >>> first_non_finite({"a": [1.0, float("nan")]})
    '$.a[1]'
    """
    if isinstance(document, float):
        return None if math.isfinite(document) else path
    if isinstance(document, Mapping):
        children = ((f"{path}.{key}", value) for key, value in document.items())
    elif isinstance(document, list | tuple):
        children = ((f"{path}[{i}]", value) for i, value in enumerate(document))
    else:
        return None
    for child_path, value in children:
        if (found := first_non_finite(value, child_path)) is not None:
            return found
    return None
