"""Data versions: a hash of what an asset holds, so that Dagster knows what is stale.

Belongs here: one function for every kind of value. Does not: deciding what to materialize
(``staleness``).
"""

from hashlib import sha256
from typing import Any

import msgspec
import polars as pl

from planner_pipeline.sources.store import Stored
from planner_pipeline.sources.workspace import SourceReport


def content_version(value: Any) -> str:
    """Equal for equal contents, wherever and whenever they were read."""
    if isinstance(value, pl.DataFrame):
        return _of_json(value.to_dict(as_series=False))  # equal tables differ in their buffers
    if isinstance(value, Stored):
        return value.version
    if isinstance(value, SourceReport):  # whether a thing was read now or before is no difference
        told = [(c.source, c.discovered, c.quarantined, c.pending) for c in value.counts]
        return _of_json([told, value.has_default_config, value.knows_git_history])
    if isinstance(value, bytes):
        return sha256(value).hexdigest()
    return _of_json(value)


def _of_json(value: Any) -> str:
    return sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()
