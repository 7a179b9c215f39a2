"""What a command may see, reach and leave behind, and what becomes of a killed harness's."""

import json
import os
import secrets
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from planner_pipeline.bench.protocol import HarnessError
from planner_pipeline.bench.sandbox import (
    GUARANTEES,
    UNIT_VARIABLE,
    Command,
    open_sandbox,
    reap_orphans,
)
from tests.hostile import LIMITS, Place, living, told, wait_until_gone

INTERPRETER = (sys.prefix, sys.base_prefix, sys.executable)
READ_EVERY_ENVIRONMENT = """
import glob
found = []
for path in glob.glob("/proc/[0-9]*/environ"):
    try:
        found.append(open(path, "rb").read())
    except OSError:
        pass
print("SECRET" if any(b"canary-" + b"5f1e" in text for text in found) else f"{len(found)} read")
"""
DAEMON_AND_SLEEP = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open("daemon", "w").close()
        time.sleep(60)
    os._exit(0)
time.sleep(60)
"""
ATTEMPT = """
import json
def attempt(what):
    try:
        return what() or "done"
    except OSError as error:
        return type(error).__name__
"""


def has_no_walls(place: Place) -> bool:
    """Whether only bubblewrap would hold the line: same user, same file system."""
    return place.sandbox.isolation == "subreaper" and not place.has_own_user


def test_the_environment_is_built_from_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", "secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    environment = told(place.run(program, env={"GIVEN": "yes", "TZ": "Asia/Tokyo"}))
    constant = {
        "PATH", "HOME", "TMPDIR", "USER", "LOGNAME", "LANG", "TZ", "PYTHONHASHSEED",
        "PYTHONDONTWRITEBYTECODE", "SOURCE_DATE_EPOCH", "CUDA_VISIBLE_DEVICES",
    }  # fmt: skip
    # the run's mark finds what outlives its supervisor; a C library may tell Python its locale
    extra = {UNIT_VARIABLE, "CYNTRA_BENCH_RUN", "LC_CTYPE"}
    assert environment.keys() - extra == constant | {"GIVEN"}
    assert (environment["GIVEN"], environment["TZ"]) == ("yes", "Asia/Tokyo")
    assert set(environment["PATH"].split(":")) == {
        str(place.python.parent), "/usr/local/bin", "/usr/bin", "/bin",
    }  # fmt: skip


def test_home_and_scratch_are_empty_writable_and_gone_afterwards(place: Place) -> None:
    program = """
import json, os, tempfile
home = os.environ["HOME"]
before = os.listdir(home)
open(home + "/x", "w").close()
print(json.dumps([home, before, tempfile.mkdtemp()]))
"""
    home, before, scratch = told(place.run(program))
    assert before == []
    assert not Path(home).exists()
    assert not Path(scratch).exists()


def test_a_secret_of_the_harness_is_not_found_in_any_process(place: Place) -> None:
    mark = secrets.token_hex(8)
    with place.harness(READ_EVERY_ENVIRONMENT, mark, {"CANARY": "canary-5f1e"}) as harness:
        said, _ = harness.communicate(timeout=30)
    assert harness.returncode == 0
    assert said.strip().endswith(" read")


def test_nothing_outside_its_trees_is_written(place: Place) -> None:
    if has_no_walls(place):
        pytest.skip("a subreaper of the same user has no file system of its own")
    targets = [str(place.outside / "x"), "/usr/x", "/x", "/etc/x", "/var/x"]
    program = f"{ATTEMPT}\nprint(json.dumps([attempt(lambda: open(p, 'w')) for p in {targets}]))"
    assert not {"done"} & set(told(place.run(program)))
    assert list(place.outside.iterdir()) == []


def test_a_readable_directory_inside_a_tree_stays_as_it_is(place: Place) -> None:
    if place.sandbox.isolation != "bubblewrap":
        pytest.skip("needs a file system of its own")
    (place.tree / "tests").mkdir()
    program = f"{ATTEMPT}\nprint(attempt(lambda: open('tests/x', 'w')))"
    finished = place.run(program, readable=(place.tree / "tests",))
    assert finished.stdout == b"OSError\n"


def test_a_link_out_of_the_tree_leads_nowhere(place: Place) -> None:
    if has_no_walls(place):
        pytest.skip("a subreaper of the same user has no file system of its own")
    secret = place.outside / "secret"
    secret.write_text("canary")
    secret.chmod(0o600)
    program = f"""{ATTEMPT}
import os
os.symlink({str(place.outside)!r}, "link")
os.symlink({str(secret)!r}, "file")
print(json.dumps([attempt(lambda: open(p, mode)) for p, mode in
      [("link/secret", "r"), ("file", "r"), ("link/new", "w"), ("file", "w")]]))
"""
    assert not {"done"} & set(told(place.run(program)))
    assert secret.read_text() == "canary"
    status = secret.lstat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (os.getuid(), 0o600)


def test_the_machine_cannot_be_seen(place: Place) -> None:
    if place.sandbox.isolation != "bubblewrap":
        pytest.skip("needs a file system of its own")
    program = """
import glob, json, os
print(json.dumps([os.listdir("/home") if os.path.exists("/home") else [], os.listdir("/tmp"),
      os.path.exists("/etc/shadow"), len(glob.glob("/proc/[0-9]*")), os.uname().nodename]))
"""
    homes, temporary, has_shadow, n_processes, name = told(place.run(program))
    assert (homes, has_shadow, n_processes, name) == ([], False, 2, "sandbox")
    # a checkout may lie below /tmp, and the way to its interpreter is there then
    interpreter = {Path(path).parts[2] for path in INTERPRETER if Path(path).parts[1] == "tmp"}
    assert set(temporary) - interpreter == {"home", place.folder.name}


def test_what_is_readable_can_be_read(place: Place) -> None:
    (place.outside / "data").write_text("given")
    program = f"print(open({str(place.outside / 'data')!r}).read())"
    assert place.run(program, readable=(place.outside,)).stdout == b"given\n"


def test_scratch_space_is_bounded(place: Place) -> None:
    if place.sandbox.isolation != "bubblewrap":
        pytest.skip("shares the machine's /tmp")
    program = f"""{ATTEMPT}
def fill():
    for i in range(20):
        open(f"/tmp/{{i}}", "wb").write(bytes(1 << 20))
print(attempt(fill))
"""
    assert place.run(program).stdout == b"OSError\n"


def test_the_network_is_closed_unless_it_is_allowed(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = f"""{ATTEMPT}
import socket
print(attempt(lambda: socket.create_connection(("127.0.0.1", {port}), 2).close()))
"""
        assert place.run(program, has_network=True).stdout == b"done\n"
        if place.sandbox.isolation == "bubblewrap":
            assert place.run(program).stdout == b"ConnectionRefusedError\n"


def test_set_user_id_programs_gain_nothing(place: Place) -> None:
    program = "print([line for line in open('/proc/self/status') if line.startswith('NoNewPriv')])"
    assert b"\\t1" in place.run(program).stdout


def test_a_command_is_never_root(place: Place) -> None:
    finished = place.run("import os; print(os.getuid(), os.getgroups())")
    user, groups = finished.stdout.decode().split(" ", 1)
    assert int(user) == finished.user_id != 0
    if place.has_own_user:
        assert json.loads(groups) in ([], [int(user)])


def test_the_tree_is_the_harness_s_again_whatever_was_done_to_it(place: Place) -> None:
    program = """
import os
open("program", "w").close()
os.chmod("program", 0o6755)
os.mkdir("closed", 0o000)
for _ in range(1500):
    os.mkdir("d")
    os.chdir("d")
"""
    assert place.run(program).exit_code == 0
    owners = {path.lstat().st_uid for path in place.tree.iterdir()} | {place.tree.stat().st_uid}
    assert owners == {os.getuid()}
    if place.has_own_user:
        assert stat.S_IMODE((place.tree / "program").stat().st_mode) == 0o755
    (place.tree / "closed").chmod(0o700)


def test_a_file_with_a_second_name_outside_does_not_change_hands(place: Place) -> None:
    if not place.has_own_user:
        pytest.skip("nothing changes hands where the harness is not root")
    (place.outside / "kept").write_text("kept")
    os.link(place.outside / "kept", place.tree / "name")
    finished = place.run(f"{ATTEMPT}\nprint(attempt(lambda: open('name', 'w')))")
    assert finished.stdout == b"PermissionError\n"
    assert (place.outside / "kept").read_text() == "kept"


def test_a_harness_that_cannot_start_a_command_says_so(place: Place) -> None:
    missing, link = place.folder / "missing", place.tree / "link"
    link.symlink_to(place.outside)
    for fields in (
        {"cwd": missing},
        {"writable": (missing,)},
        {"writable": (link,)},
        {"readable": (missing,)},
        {"readable": (link,)},
        {"argv": ()},
        {"argv": ("a\0b",)},
    ):
        command = {"argv": ("true",), "cwd": place.tree, "writable": (place.tree,), **fields}
        with pytest.raises(HarnessError):
            place.sandbox.run(Command(wall_seconds=1.0, **command), LIMITS)  # type: ignore[arg-type]


def test_a_path_that_is_closed_to_other_users_is_refused_rather_than_opened_as_root(
    place: Place,
) -> None:
    if not place.has_own_user:
        pytest.skip("only a harness of root's runs commands as other users")
    place.outside.chmod(0o700)
    with pytest.raises(HarnessError, match="closed to other users"):
        place.run("", readable=(place.outside,))


def test_a_killed_harness_leaves_nothing_alive(place: Place) -> None:
    mark = secrets.token_hex(8)
    with place.harness(DAEMON_AND_SLEEP, mark) as harness:
        while not (place.tree / "daemon").exists() and harness.poll() is None:
            time.sleep(0.02)
        assert len(living(mark)) >= 3  # the command, its daemon, and who watches them
        harness.kill()
    assert wait_until_gone(mark) == []


def test_orphans_are_found_by_their_mark() -> None:
    mark, other = secrets.token_hex(8), secrets.token_hex(8)
    sleepers = [
        subprocess.Popen(["sleep", "60"], env={"PATH": os.defpath, UNIT_VARIABLE: f"{text}/unit"})
        for text in (mark, other)
    ]
    while not (living(mark) and living(other)):
        time.sleep(0.01)
    assert reap_orphans(mark) == 1
    assert sleepers[0].wait(timeout=5) == -9
    assert sleepers[1].poll() is None
    sleepers[1].kill()
    sleepers[1].wait()
    with pytest.raises(ValueError, match="empty"):
        reap_orphans("")


def test_every_isolation_says_what_it_guarantees_and_bubblewrap_misses_nothing() -> None:
    assert set(GUARANTEES["subreaper"]) < set(GUARANTEES["bubblewrap"])


def test_a_sandbox_that_falls_back_says_why() -> None:
    try:
        sandbox = open_sandbox()
    except HarnessError:
        pytest.skip("no isolation works here with this interpreter")
    assert (sandbox.why is None) == (sandbox.isolation == "bubblewrap")
