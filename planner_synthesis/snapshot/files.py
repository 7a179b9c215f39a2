"""Registry snapshots as files: one JSON document, canonical, with its own hash.

Belongs here: reading and writing that file. Does not: other formats (``ccos``, ``mcp``, ``a2a``).
Source: design/architecture.md, "artifacts appear by an atomic rename"; format in
docs/registries.md.

The hash is the sha256 of the canonical text with an empty hash. It finds a file that was changed
after it was written; it is no signature.
"""

import hashlib
from codecs import BOM_UTF8
from pathlib import Path
from typing import Any, Final

import msgspec

from planner_synthesis.documents import ContractError, canonical_bytes, read_contract
from planner_synthesis.snapshot.reading import (
    CardRefused,
    EntryKind,
    QuarantineRow,
    RegistryReading,
    checked_agent,
    checked_capability,
    merged_readings,
)
from planner_synthesis.snapshot.redaction import redact
from planner_synthesis.types import AgentCard, CapabilityCard, RegistrySnapshot
from planner_synthesis.whole_files import write_whole

TAG: Final = "cyntra.registry_snapshot.v1"
MAX_BYTES: Final = 256 * 1024 * 1024


class _File(msgspec.Struct, frozen=True):
    schema_version: Any = None
    capabilities: Any = ()
    agents: Any = ()
    sha256: Any = ""


class _Entries(msgspec.Struct, frozen=True):
    capabilities: tuple[msgspec.Raw, ...] = ()
    agents: tuple[msgspec.Raw, ...] = ()


def canonical_snapshot(snapshot: RegistrySnapshot) -> RegistrySnapshot:
    """The same cards, once each, in order of id, every list that means a set sorted.

    Raises:
        CardRefused: a card cannot be written, e.g. its id holds a secret.
    """
    reading = merged_readings(
        [
            RegistryReading(
                capabilities=tuple(checked_capability(card) for card in snapshot.capabilities),
                agents=tuple(checked_agent(card) for card in snapshot.agents),
            )
        ]
    )
    return reading.snapshot()


def snapshot_sha256(snapshot: RegistrySnapshot) -> str:
    """Hash of the canonical form; equal for the same cards in whatever order.

    Raises:
        CardRefused: see ``canonical_snapshot``.
    """
    return _sha256(canonical_snapshot(snapshot))


def _sha256(canonical: RegistrySnapshot) -> str:
    blank = msgspec.structs.replace(canonical, sha256="")
    return hashlib.sha256(canonical_bytes(blank)).hexdigest()


def write_snapshot(path: Path, snapshot: RegistrySnapshot) -> str:
    """Write the canonical form with its hash, by an atomic rename.

    Returns:
        The hash.

    Raises:
        CardRefused: see ``canonical_snapshot``.
        OSError: the file cannot be written.
    """
    canonical = canonical_snapshot(snapshot)
    digest = _sha256(canonical)
    document = msgspec.structs.replace(canonical, sha256=digest)
    text = msgspec.json.format(canonical_bytes(document), indent=1)
    write_whole(path, text + b"\n")
    return digest


def read_snapshot(path: Path) -> RegistryReading:
    """Read a snapshot file; what is wrong in it is a row and costs no other entry.

    Cards come back in canonical form. A file that is not there, not JSON or of another version
    gives one row and no card.
    """
    source = str(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            return _refused(source, f"the file is larger than {MAX_BYTES} bytes")
        text = path.read_bytes().removeprefix(BOM_UTF8)
    except OSError as error:
        return _refused(source, f"the file cannot be read: {error.strerror}")
    return parse_snapshot(text, source=source)


def parse_snapshot(text: bytes, *, source: str) -> RegistryReading:
    """Parse the text of a snapshot file; as ``read_snapshot``."""
    try:
        head = msgspec.json.decode(text, type=_File)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        return _refused(source, f"this is no JSON object of ours: {redact(str(error))}")
    if head.schema_version != TAG:
        return _refused(source, f"schema_version is not {TAG}")
    try:
        entries = msgspec.json.decode(text, type=_Entries)
    except msgspec.DecodeError:
        return _refused(source, "capabilities and agents must be lists")
    reading = _read_entries(entries, source)
    row = _hash_row(head.sha256, reading, source)
    rows = reading.quarantine + ((row,) if row else ()) + _unknown_fields(text, source)
    return msgspec.structs.replace(reading, quarantine=rows)


def _read_entries(entries: _Entries, source: str) -> RegistryReading:
    capabilities: list[CapabilityCard] = []
    agents: list[AgentCard] = []
    rows: list[QuarantineRow] = []
    for at, raw in enumerate(entries.capabilities):
        try:
            card = read_contract(raw, CapabilityCard)
            capabilities.append(checked_capability(card))
        except (ContractError, CardRefused) as error:
            rows.append(_entry_row(source, f"capabilities[{at}]", error, "capability"))
    for at, raw in enumerate(entries.agents):
        try:
            agents.append(checked_agent(read_contract(raw, AgentCard)))
        except (ContractError, CardRefused) as error:
            rows.append(_entry_row(source, f"agents[{at}]", error, "agent"))
    reading = RegistryReading(
        capabilities=tuple(capabilities), agents=tuple(agents), quarantine=tuple(rows)
    )
    return merged_readings([reading])


def _entry_row(source: str, position: str, error: Exception, kind: EntryKind) -> QuarantineRow:
    reason = redact(str(error))[:300]
    return QuarantineRow(source=source, position=position, reason=reason, kind=kind)


def _hash_row(said: Any, reading: RegistryReading, source: str) -> QuarantineRow | None:
    if said == "" or (not reading.quarantine and said == _sha256(reading.snapshot())):
        return None
    return QuarantineRow(
        source=source,
        position="sha256",
        reason="the file was changed after it was written: its hash is another",
        kind="source",
        is_left_out=False,
    )


def _unknown_fields(text: bytes, source: str) -> tuple[QuarantineRow, ...]:
    names = msgspec.json.decode(text, type=dict[str, msgspec.Raw]).keys() - set(
        _File.__struct_fields__
    )
    return tuple(
        QuarantineRow(
            source=source,
            position=redact(name)[:100],
            reason="no field of this version",
            kind="source",
        )
        for name in sorted(names)
    )


def _refused(source: str, reason: str) -> RegistryReading:
    row = QuarantineRow(source=source, position="", reason=reason, kind="source")
    return RegistryReading(quarantine=(row,))


class SnapshotFile(msgspec.Struct, frozen=True):
    """A snapshot file as a source."""

    path: Path

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def read(self) -> RegistryReading:
        """See ``read_snapshot``."""
        return read_snapshot(self.path)
