"""Limits of time, memory, processes and output, each against a small program that ignores it."""

import os
import secrets
import shutil
import signal
import threading
import time
from pathlib import Path

import msgspec
import pytest

from planner_pipeline.bench.sandbox import Finished
from tests.hostile import LIMITS, Place, living

# of itself it stops at a thousand: a sandbox that fails must not take the machine with it
FORK_BOMB = """
import os, time
for _ in range(10):
    os.fork()
time.sleep(5)
"""
MANY_THAT_EAT = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        eaten = b"x" * (90 << 20)
        time.sleep(30)
time.sleep(30)
"""
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open("daemon", "w").close()
        time.sleep(60)
    os._exit(0)
os.wait()
while not os.path.exists("daemon"):
    time.sleep(0.01)
"""
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.fork()
print("ready", flush=True)
time.sleep(60)
"""


def test_an_exit_code_is_reported(place: Place) -> None:
    finished = place.run("print('out'); raise SystemExit(3)")
    assert (finished.ending, finished.exit_code, finished.stdout) == ("exited", 3, b"out\n")
    assert finished.isolation == place.sandbox.isolation
    assert finished.n_killed == 0


def test_a_signal_is_reported_as_a_shell_would(place: Place) -> None:
    finished = place.run("import os; os.kill(os.getpid(), 15)")
    assert (finished.ending, finished.exit_code) == ("signalled", 128 + signal.SIGTERM)


def test_a_program_that_is_not_there_is_the_command_s_fault(place: Place) -> None:
    assert place.run_argv("no-such-program").exit_code == 127
    (place.tree / "text").write_text("no program")
    assert place.run_argv("./text").exit_code == 126


def test_a_program_is_found_on_the_path_of_its_environment(place: Place) -> None:
    tool = place.tree / "bin" / "tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho $0 $1\n")
    tool.chmod(0o755)
    finished = place.run_argv("tool", "x", env={"PATH": f"{tool.parent}:/usr/bin:/bin"})
    assert finished.stdout.decode().split() == [str(tool), "x"]


def test_a_fork_bomb_is_contained(place: Place) -> None:
    finished = place.run(FORK_BOMB)
    assert finished.ending == "processes"
    # threads count for the kernel, so its own limit is twice what is watched and some
    assert LIMITS.processes < finished.peak_processes <= 2 * LIMITS.processes + 32 + 1
    assert place.run("print(1)").stdout == b"1\n"


def test_one_process_cannot_allocate_ten_gigabytes(place: Place) -> None:
    finished = place.run("b'x' * (10 << 30)")
    assert (finished.ending, finished.exit_code) == ("exited", 1)
    assert b"MemoryError" in finished.stderr


def test_many_processes_together_cannot_take_more_memory_than_one_attempt_may(
    place: Place,
) -> None:
    finished = place.run(MANY_THAT_EAT)
    assert finished.ending == "memory"
    assert finished.exit_code is None
    assert finished.peak_memory_mb >= LIMITS.memory_mb


def test_memory_that_processes_share_counts_once(place: Place) -> None:
    shared = "import os,time; eaten = b'x' * (90 << 20)\nfor _ in range(3): os.fork()\n"
    finished = place.run(shared + "time.sleep(0.3)")
    assert finished.ending == "exited"
    assert finished.peak_processes == 8


def test_a_file_cannot_fill_the_disk(place: Place) -> None:
    finished = place.run("open('big', 'wb').write(b'x' * (30 << 20))")
    assert finished.exit_code == 1
    assert b"File too large" in finished.stderr
    assert (place.tree / "big").stat().st_size <= LIMITS.file_mb << 20


def test_a_loop_without_end_is_stopped_after_its_processor_time(place: Place) -> None:
    limits = msgspec.structs.replace(LIMITS, cpu_seconds=1)
    finished = place.run("while True: pass", limits=limits)
    assert (finished.ending, finished.exit_code) == ("signalled", 128 + signal.SIGXCPU)


def test_a_gigabyte_of_output_is_read_and_dropped(place: Place) -> None:
    program = "import os\nos.write(1, b'first')\nfor _ in range(1024): os.write(1, bytes(1 << 20))"
    finished = place.run(program + "\nos.write(1, b'last')")
    kept = LIMITS.output_kb * 1024
    assert finished.ending == "exited"
    assert finished.stdout.startswith(b"first")
    assert finished.stdout.endswith(b"last")
    assert finished.stdout_dropped == (1 << 30) + len(b"firstlast") - kept
    marker = b"\n... %d bytes dropped ...\n" % finished.stdout_dropped
    assert finished.stdout.index(marker) == kept // 4
    assert len(finished.stdout) == kept + len(marker)


def test_both_streams_are_kept_apart_and_may_be_opened_by_name(place: Place) -> None:
    finished = place.run_argv("sh", "-c", "echo a; echo b >&2; echo c >/dev/stderr")
    assert (finished.stdout, finished.stderr) == (b"a\n", b"b\nc\n")


def test_an_hour_of_sleep_ends_at_its_limit(place: Place) -> None:
    finished = place.run_argv("sleep", "3600", wall_seconds=0.5)
    assert (finished.ending, finished.exit_code, finished.n_killed) == ("timeout", None, 1)
    assert finished.duration_ms >= 500


def test_a_program_that_is_asked_to_stop_may_say_goodbye(place: Place) -> None:
    program = "import signal, time, sys\nsignal.signal(15, lambda *_: sys.exit(print('bye')))\n"
    limits = msgspec.structs.replace(LIMITS, grace_seconds=5.0)
    finished = place.run(program + "time.sleep(60)", wall_seconds=0.5, limits=limits)
    assert (finished.ending, finished.stdout) == ("timeout", b"bye\n")
    assert finished.duration_ms < 5_000


def test_who_ignores_the_request_to_stop_is_killed(place: Place) -> None:
    finished = place.run(STUBBORN, wall_seconds=0.5)
    assert (finished.ending, finished.n_killed) == ("timeout", 2)


def test_a_daemon_does_not_outlive_its_command(place: Place) -> None:
    finished = place.run(DAEMON)
    assert (finished.ending, finished.exit_code, finished.n_killed) == ("exited", 0, 1)


def test_a_child_that_runs_on_is_killed_and_counted(place: Place) -> None:
    finished = place.run("import os, time\nif os.fork() == 0: time.sleep(60)")
    assert (finished.ending, finished.n_killed) == ("exited", 1)
    assert finished.duration_ms < 5_000


def test_a_program_that_closes_its_output_runs_on(place: Place) -> None:
    program = "import os, time\nos.close(1); os.close(2); time.sleep(0.2); open('x', 'w')"
    assert place.run(program).ending == "exited"
    assert (place.tree / "x").exists()


def test_what_nobody_reads_from_its_input_blocks_nothing(place: Place) -> None:
    finished = place.run("print('done')", stdin=b"x" * (1 << 20))
    assert (finished.ending, finished.stdout) == ("exited", b"done\n")


def test_input_arrives_whole(place: Place) -> None:
    program = "import sys; print(len(sys.stdin.buffer.read()))"
    assert place.run(program, stdin=b"x" * (1 << 20)).stdout == b"1048576\n"
    assert place.run(program).stdout == b"0\n"


def test_a_command_cannot_kill_its_supervisor_and_live(place: Place) -> None:
    program = "import os, time\nif os.fork() == 0: time.sleep(60)\nos.kill(os.getppid(), 9)"
    finished = place.run(program)
    # process 1 of a namespace takes no signal from inside; another user's takes none either
    is_safe = place.sandbox.isolation == "bubblewrap" or place.has_own_user
    assert finished.ending == ("exited" if is_safe else "signalled")


def test_a_supervisor_that_hangs_is_outlasted(place: Place) -> None:
    finished: list[Finished] = []
    command = "import time; open('started', 'w').close(); time.sleep(60)"
    mark = secrets.token_hex(8)
    thread = threading.Thread(
        target=lambda: finished.append(place.run(command, wall_seconds=0.5, unit_mark=mark))
    )
    thread.start()
    while not (place.tree / "started").exists():
        time.sleep(0.01)
    for pid in living(mark):
        if b"/proc/self/fd/" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGSTOP)
    thread.join()
    assert finished[0].ending == "timeout"
    assert living(mark) == []


def test_two_threads_run_at_once(place: Place) -> None:
    trees = [place.folder / name for name in ("a", "b")]
    finished: list[Finished] = []

    def run(index: int) -> None:
        trees[index].mkdir()
        program = f"import os, time; time.sleep(0.3); os.mkdir('done'); print({index})"
        finished.append(place.run(program, cwd=trees[index], writable=(trees[index],)))

    threads = [threading.Thread(target=run, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.stdout for one in finished) == [b"0\n", b"1\n"]
    assert all((tree / "done").stat().st_uid == os.getuid() for tree in trees)
    if place.has_own_user:
        assert len({one.user_id for one in finished} | {0}) == 3


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_a_shell_s_background_jobs_end_with_it(place: Place) -> None:
    finished = place.run_argv("bash", "-c", "for i in 1 2 3; do (sleep 60 &) ; done; echo ok")
    assert (finished.stdout, finished.n_killed) == (b"ok\n", 3)
