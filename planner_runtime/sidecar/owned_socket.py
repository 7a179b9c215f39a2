"""A Unix socket that its owner alone can reach: bound, held, checked, taken away again.

Belongs here: the folder's and the socket's permissions, one server to a path, who is calling.
Does not: what is said over it (``sidecar``).
Source: unix(7): permissions of the socket and of its folder, ``SO_PEERCRED``; sshd's StrictModes
(nobody else may write any folder on the way).
"""

import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
from pathlib import Path
from typing import Final

MAX_PATH_BYTES: Final = 107  # of sockaddr_un's 108, one ends the text
_OWNER_ONLY: Final = 0o600
_OTHERS_WRITE: Final = 0o022


class SocketError(OSError):
    """A path at which no server may listen.

    Attributes:
        path: The path.
        why: What is wrong with it.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path, self.why = path, why


def _checked_folders(path: Path) -> Path:
    """The path with its folder resolved, where no one else can put another socket."""
    try:
        folder = path.parent.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise SocketError(path, f"its folder cannot be used: {error}") from error
    for place in (folder, *folder.parents):
        info = place.stat()
        if not stat.S_ISDIR(info.st_mode):
            raise SocketError(path, f"{place} is no folder")
        if info.st_uid not in (os.geteuid(), 0):
            raise SocketError(path, f"{place} belongs to user {info.st_uid}")
        shared = info.st_mode & _OTHERS_WRITE
        # others may make files in a sticky folder on the way, but not replace ours
        if shared and (place == folder or not info.st_mode & stat.S_ISVTX):
            raise SocketError(path, f"others can write to {place}; it needs mode 0700 or 0755")
    bound = folder / path.name
    if len(os.fsencode(bound)) > MAX_PATH_BYTES:
        raise SocketError(bound, f"a socket's path has at most {MAX_PATH_BYTES} bytes")
    return bound


def _remove_stale(path: Path) -> None:
    """Take away the socket of a server that is gone; refuse a live one, and what is no socket."""
    try:
        info = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(info.st_mode):
        raise SocketError(path, "something that is no socket is there")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as error:
            raise SocketError(path, f"a socket is there that does not answer: {error}") from error
    raise SocketError(path, "another server listens there")


class OwnedSocket:
    """A listening socket of mode 0600; ``close`` takes it away if it is still this one.

    A lock on ``PATH.lock``, which stays behind empty, keeps two servers from starting at a time.

    Raises:
        SocketError: the path is unsafe, taken or too long.
    """

    def __init__(self, path: Path, *, backlog: int) -> None:
        self.path = _checked_folders(path)
        self._lock = self._locked()
        try:
            _remove_stale(self.path)
            self.listener = self._bound(backlog)
        except BaseException:
            os.close(self._lock)
            raise
        info = self.path.lstat()
        self._identity = (info.st_dev, info.st_ino)

    def _locked(self) -> int:
        lock = self.path.with_name(self.path.name + ".lock")
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(lock, flags, _OWNER_ONLY)
        except OSError as error:
            raise SocketError(self.path, f"{lock} cannot be made: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise SocketError(self.path, "another server holds its lock") from error
            raise SocketError(self.path, f"{lock} cannot be locked: {error.strerror}") from error
        return fd

    def _bound(self, backlog: int) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)  # so that it never has another mode, not even for a moment
        try:
            listener.bind(str(self.path))
        except OSError as error:
            listener.close()
            raise SocketError(self.path, f"cannot be bound: {error.strerror}") from error
        finally:
            os.umask(before)
        listener.listen(backlog)
        return listener

    def close(self) -> None:
        """Stop listening and take the socket away. May be called again."""
        self.listener.close()
        with contextlib.suppress(OSError):
            info = self.path.lstat()
            if (info.st_dev, info.st_ino) == self._identity:
                self.path.unlink()
        with contextlib.suppress(OSError):
            os.close(self._lock)
        self._lock = -1


def peer_uid(connection: socket.socket) -> int | None:
    """The user at the other end; None where the system does not tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    layout = struct.Struct("3i")  # pid, uid, gid
    _, uid, _ = layout.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, layout.size)
    )
    return int(uid)
