"""Which bundle of a store is in use: one-line pointer files beside immutable bundles.

Belongs here: reading and moving the pointers ``current``, ``previous`` and ``candidate``, rollback.
Does not: copying bundles into a store (``planner_pipeline.release.publish``), serving (``live``).
Source: reference/reliability.md 1; docs/adr/0012-pointer-files-and-a-pinned-directory.md.
Layout: ``STORE/bundles/<bundle_id>/`` and ``STORE/channels/<channel>``.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from planner_runtime.contracts.canonical import canonical_json
from planner_runtime.contracts.planner_input import Timestamp
from planner_runtime.contracts.reading import ContractError, read_document, to_document
from planner_runtime.inputs import rfc3339
from planner_runtime.whole_files import sync_directory, write_whole

Channel = Literal["current", "previous", "candidate"]
CHANNELS: Final[tuple[Channel, ...]] = ("current", "previous", "candidate")
MAX_POINTER_BYTES: Final = 4_096


class Pointer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a channel's file says."""

    bundle_id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
    promoted_at: Timestamp
    by: Annotated[str, msgspec.Meta(max_length=200)]


class ChannelError(ValueError):
    """A channel does not lead to a bundle.

    Attributes:
        path: The pointer file, or the bundle that is not there.
        why: What is wrong with it.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path, self.why = path, why


def bundle_folder(store: Path, bundle_id: str) -> Path:
    """Where a store keeps a bundle."""
    return store / "bundles" / bundle_id


def read_pointer(path: Path) -> Pointer:
    """What a pointer file says.

    Raises:
        ChannelError: it is not there, or is no pointer.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_POINTER_BYTES + 1)
    except OSError as error:
        raise ChannelError(path, error.strerror or str(error)) from error
    if len(data) > MAX_POINTER_BYTES:
        raise ChannelError(path, f"longer than {MAX_POINTER_BYTES} bytes")
    try:
        return read_document(data, Pointer)
    except ContractError as error:
        raise ChannelError(path, f"no pointer: {error.path}: {error.why}") from error


def pointed_folder(path: Path) -> Path:
    """The bundle's folder that a pointer file of a store leads to. Raises ``ChannelError``."""
    return bundle_folder(path.parent.parent, read_pointer(path).bundle_id)


def write_pointer(path: Path, pointer: Pointer) -> None:
    """Replace a pointer file: whoever reads it sees the old one or the new one, whole."""
    write_whole(path, canonical_json(to_document(pointer)), b"\n")
    sync_directory(path.parent)


@contextmanager
def _one_writer(store: Path) -> Iterator[Path]:
    """The folder of the channels, which one process at a time writes to."""
    folder = store / "channels"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield folder


def _pointer_or_none(path: Path) -> Pointer | None:
    return read_pointer(path) if path.exists() else None


def promote(
    store: Path, bundle_id: str, *, by: str, now_ms: int, channel: Channel = "current"
) -> Pointer:
    """Point a channel at a bundle of the store. What was current becomes previous, and is written
    first, so that a crash in between leaves a current bundle that serves.

    Raises:
        ChannelError: the store has no such bundle, or a pointer cannot be read.
    """
    folder = bundle_folder(store, bundle_id)
    if not folder.is_dir():
        raise ChannelError(folder, "the store has no such bundle")
    pointer = Pointer(bundle_id=bundle_id, promoted_at=rfc3339(now_ms), by=by)
    with _one_writer(store) as channels:
        if channel == "current":
            before = _pointer_or_none(channels / "current")
            if before is not None and before.bundle_id != bundle_id:
                write_pointer(channels / "previous", before)
        write_pointer(channels / channel, pointer)
    return pointer


def rollback(store: Path, *, by: str, now_ms: int) -> Pointer:
    """Point ``current`` at the previous bundle; what was current becomes the previous one.

    Raises:
        ChannelError: there is no previous bundle, or it is gone.
    """
    with _one_writer(store) as channels:
        before = read_pointer(channels / "previous")
        folder = bundle_folder(store, before.bundle_id)
        if not folder.is_dir():
            raise ChannelError(folder, "the previous bundle is gone")
        left = _pointer_or_none(channels / "current")
        pointer = Pointer(bundle_id=before.bundle_id, promoted_at=rfc3339(now_ms), by=by)
        write_pointer(channels / "current", pointer)
        if left is not None and left.bundle_id != before.bundle_id:
            write_pointer(channels / "previous", left)
    return pointer


def channels_of(store: Path) -> dict[Channel, Pointer | None]:
    """Where every channel of a store points; None: nowhere.

    Raises:
        ChannelError: a pointer cannot be read.
    """
    return {name: _pointer_or_none(store / "channels" / name) for name in CHANNELS}
