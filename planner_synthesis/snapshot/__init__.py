"""Registry snapshots: what marketplaces, MCP servers and A2A agents offer, as cards.

Belongs here: the public names of reading and writing. Does not: choosing among cards.
Spec: planner-synthesis, "New API surface"; formats and trust in docs/registries.md.
"""

from planner_synthesis.snapshot.files import (
    SnapshotFile,
    canonical_snapshot,
    read_snapshot,
    snapshot_sha256,
    write_snapshot,
)
from planner_synthesis.snapshot.reading import (
    QuarantineRow,
    RegistryReading,
    RegistrySource,
    discover_registry_snapshots,
    read_registries,
)

__all__ = [
    "QuarantineRow",
    "RegistryReading",
    "RegistrySource",
    "SnapshotFile",
    "canonical_snapshot",
    "discover_registry_snapshots",
    "read_registries",
    "read_snapshot",
    "snapshot_sha256",
    "write_snapshot",
]
