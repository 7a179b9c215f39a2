"""Where a live planner looks for its bundle, and how it sees that something changed there.

Belongs here: a folder, a link or a pointer file as one place; a few ``stat`` calls as its look.
Does not: reading bundles (``bundle``), loading and swapping (``live``).
"""

import os
import stat
from pathlib import Path

import msgspec

from planner_runtime.bundles.channels import ChannelError, pointed_folder
from planner_runtime.bundles.files import MANIFEST, SIGNATURE, BundleError, Fault

Stamp = tuple[int, int, int, int, int]


class Sight(msgspec.Struct, frozen=True):
    """How a place looks; equal as long as nothing there changed.

    Attributes:
        folder: The bundle's; None when the place leads to none.
        why: What the place leads to instead.
        stamps: Of the place, the folder, the manifest and the signature; None where there is none.
    """

    folder: str | None
    why: str
    stamps: tuple[Stamp | None, ...]


def _stamp(path: Path) -> tuple[Stamp | None, int]:
    """What tells a file from its successor, and its kind."""
    try:
        info = os.stat(path)
    except (OSError, ValueError):
        return None, 0
    stamp = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
    return stamp, info.st_mode


class Place:
    """A bundle's folder, a link to one, or a pointer file of a store."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._pointer: tuple[Stamp, Path] | None = None

    def look(self) -> Sight:
        """How the place looks now. Never raises."""
        own, mode = _stamp(self.path)
        folder = self.path
        if own is not None and stat.S_ISREG(mode):
            if self._pointer is None or self._pointer[0] != own:
                try:
                    self._pointer = (own, pointed_folder(self.path))
                except ChannelError as error:
                    self._pointer = None
                    return Sight(None, str(error), (own,))
            folder = self._pointer[1]
        parts = (folder, folder / MANIFEST, folder / SIGNATURE)
        return Sight(str(folder), "", (own, *(_stamp(part)[0] for part in parts)))

    def folder_of(self, sight: Sight) -> Path:
        """The bundle's folder.

        Raises:
            BundleError: the place leads to none.
        """
        if sight.folder is None:
            raise BundleError([Fault(str(self.path), "pointer_malformed", sight.why)])
        return Path(sight.folder)
