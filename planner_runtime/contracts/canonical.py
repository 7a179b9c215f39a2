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


def document_hash(document: Any) -> str:
    """sha256 of the canonical JSON of ``document``. Raises as ``canonical_json``."""
    return sha256_hex(canonical_json(document))


def input_hash(planner_input: Mapping[str, Any]) -> str:
    """Hash of a planner input without ``created_at``, so that asking again asks the same.

    Raises as ``canonical_json``. Source: formats 7.4.
    """
    return document_hash({k: v for k, v in planner_input.items() if k != "created_at"})


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
