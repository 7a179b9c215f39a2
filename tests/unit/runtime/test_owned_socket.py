"""Where a server may listen: permissions, other servers, stale sockets, who is calling."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from planner_runtime.sidecar.owned_socket import MAX_PATH_BYTES, OwnedSocket, SocketError, peer_uid
from tests.sidecars import Caller, a_short_folder, a_sidecar


@pytest.fixture
def folder() -> Iterator[Path]:
    with a_short_folder() as path:
        yield path


def bound(path: Path) -> OwnedSocket:
    return OwnedSocket(path, backlog=1)


def refusal(path: Path) -> str:
    with pytest.raises(SocketError) as refused:
        bound(path).close()
    return refused.value.why


def leave_a_stale_socket(path: Path) -> None:
    code = f"import os, socket; s = socket.socket(socket.AF_UNIX); s.bind({str(path)!r}); s.listen(); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert stat.S_ISSOCK(path.lstat().st_mode)


def test_the_socket_is_its_owners_alone_and_the_umask_is_as_before(folder: Path) -> None:
    before = os.umask(0o000)
    try:
        owned = bound(folder / "s")
        assert os.umask(0o000) == 0o000
    finally:
        os.umask(before)
    info = owned.path.lstat()
    assert stat.S_IMODE(info.st_mode) == 0o600
    assert info.st_uid == os.geteuid()
    assert stat.S_IMODE((folder / "s.lock").stat().st_mode) == 0o600
    owned.close()
    assert not owned.path.exists()
    owned.close()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(folder: Path, mode: int) -> None:
    (folder / "open").mkdir()
    (folder / "open").chmod(mode)
    assert "others can write" in refusal(folder / "open" / "s")


def test_so_is_one_below_a_folder_in_which_others_can_replace_it(folder: Path) -> None:
    (folder / "open" / "mine").mkdir(parents=True, mode=0o700)
    (folder / "open").chmod(0o777)
    assert "others can write" in refusal(folder / "open" / "mine" / "s")
    (folder / "open").chmod(0o1777)  # sticky, as /tmp is
    bound(folder / "open" / "mine" / "s").close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(folder: Path) -> None:
    (folder / "theirs").mkdir()
    os.chown(folder / "theirs", 65534, 65534)
    assert refusal(folder / "theirs" / "s").endswith("belongs to user 65534")


def test_a_link_is_followed_before_its_folder_is_judged(folder: Path) -> None:
    (folder / "open").mkdir()
    (folder / "open").chmod(0o777)
    (folder / "link").symlink_to(folder / "open")
    assert "others can write" in refusal(folder / "link" / "s")


def test_a_stale_socket_is_taken_away(folder: Path) -> None:
    leave_a_stale_socket(folder / "s")
    owned = bound(folder / "s")
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(owned.path))
    owned.close()


def test_a_live_server_is_left_alone(folder: Path) -> None:
    first = bound(folder / "s")
    assert refusal(folder / "s") == "another server holds its lock"
    (folder / "s.lock").unlink()
    assert refusal(folder / "s") == "another server listens there"
    assert first.path.exists()
    first.close()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_left_alone(folder: Path, kind: str) -> None:
    path = folder / "s"
    {"file": path.touch, "folder": path.mkdir, "link": lambda: path.symlink_to("x")}[kind]()
    assert refusal(path) == "something that is no socket is there"
    assert path.is_symlink() or path.exists()


def test_the_lock_is_no_link_to_something_else(folder: Path) -> None:
    (folder / "s.lock").symlink_to(folder / "precious")
    assert "cannot be made" in refusal(folder / "s")
    assert not (folder / "precious").exists()


def test_a_path_has_room_for_its_end_and_no_more(folder: Path) -> None:
    name = "s" * (MAX_PATH_BYTES - len(os.fsencode(folder)) - 1)
    bound(folder / name).close()
    assert refusal(folder / (name + "s")) == "a socket's path has at most 107 bytes"


def test_a_missing_folder_is_named(folder: Path) -> None:
    assert refusal(folder / "none" / "s").startswith("its folder cannot be used")


def test_a_socket_that_took_the_place_of_ours_is_not_taken_away(folder: Path) -> None:
    owned = bound(folder / "s")
    owned.path.unlink()
    leave_a_stale_socket(folder / "s")
    owned.close()
    assert (folder / "s").exists()


def test_the_caller_is_known_and_strangers_are_turned_away() -> None:
    left, right = socket.socketpair()
    with left, right:
        assert peer_uid(left) == os.geteuid()
    with a_sidecar(allowed_uids=frozenset({os.geteuid() + 1})) as served:
        with Caller(served.path) as caller:
            assert caller.read()["error"]["reason"] == "wrong_user"
            assert caller.read() is None
        assert served.log == [f"user {os.geteuid()} was turned away"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_cannot_even_connect() -> None:
    with a_sidecar() as served:
        served.path.parent.chmod(0o755)
        code = (
            "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX)\n"
            f"try: s.connect({str(served.path)!r})\nexcept PermissionError: sys.exit(7)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7
