"""The ``command`` executor against commands that answer, lie, hang, flood and leave things behind."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from planner_pipeline.bench.config import BenchConfig, Limits
from planner_pipeline.bench.executors.children import run_child
from planner_pipeline.bench.executors.command import CommandExecutor
from planner_pipeline.bench.executors.repositories import commit_of
from planner_pipeline.bench.protocol import Case, Executor, HarnessError, Result, Unit
from planner_runtime.actions import Action
from planner_runtime.contracts import BenchRequest, read_document
from planner_runtime.inputs import blank_planner_input

CONFIG = BenchConfig(
    gates={"test": "pytest -q"}, gate_seconds=0.5, minute_seconds=1 / 30,
    limits=Limits(grace_seconds=0.3),
)  # fmt: skip
REPLY: dict[str, Any] = {
    "schema_version": "cyntra.bench_reply.v1", "status": "passed", "duration_ms": 20, "winner": 1,
    "gates": [{"name": "test", "passed": True}], "metrics": {"overall": 0.75},
    "attempts": [
        {"attempt": n, "toolchain": "t", "seed": n, "status": "success", "is_passed": True,
         "duration_ms": 10 * n, "gates_ms": 3}
        for n in (1, 2)
    ],
}  # fmt: skip


def a_unit(**changes: Any) -> Unit:
    case = Case(
        case_id="7@then", issue_id="7", job_type="code", issue={"id": "7", "title": "t", "x": [1]},
        planner_input=blank_planner_input(), input_hash="0" * 64,
        baseline=Action("serial_handoff", 1, 60, "NA"), **changes,
    )  # fmt: skip
    action = Action("speculate_vote", 2, 15, "NA")
    return Unit(
        unit_id="0123456789abcdef", case=case, action=action, repeat=3, seed=5, n_candidates=2,
        limit_seconds=CONFIG.limit_seconds(action),
    )  # fmt: skip


def an_executor(repository: Path, script: str, **settings: Any) -> CommandExecutor:
    settings = {"overhead_seconds": 20.0, **settings}
    return CommandExecutor(
        ("{python}", "-c", script), repository=repository, config=CONFIG, **settings
    )


def replying(**changes: Any) -> str:
    document = {name: value for name, value in (REPLY | changes).items() if value is not ...}
    return f"import sys; sys.stdin.read(); print({json.dumps(json.dumps(document))})"


def run(repository: Path, script: str, **settings: Any) -> Result:
    (result,) = an_executor(repository, script, **settings).run(a_unit())
    return result


def refusal(repository: Path, script: str, **settings: Any) -> str:
    with pytest.raises(HarnessError) as refused:
        run(repository, script, **settings)
    assert refused.value.what == "command"
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_reply_becomes_the_result(tmp_path: Path) -> None:
    executor: Executor = an_executor(tmp_path, replying(cost_usd=0.25, tokens=9, reason="fine"))
    (result,) = executor.run(a_unit())
    assert (result.status, result.winner, result.isolation) == ("passed", 1, "none")
    assert (result.duration_ms, result.agent_ms, result.cost_usd) == (20, 30, 0.25)
    expected = {"overall": 0.75, "duration_ms": 20.0, "cost_usd": 0.25, "tokens": 9.0}
    assert result.metrics == expected
    assert [one.duration_ms for one in result.attempts] == [10, 20]
    assert (result.is_censored, result.reason) == (False, "fine")


def test_the_command_is_asked_in_a_strict_document_with_everything_it_needs(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    commit = ["-c", "user.name=n", "-c", "user.email=e@x", "commit", "-q", "--allow-empty", "-m."]
    subprocess.run(["git", "-C", tmp_path, *commit], check=True)
    script = "import sys; open('asked.json', 'w').write(sys.stdin.read());" + replying()
    assert run(tmp_path, script).base_commit == commit_of(tmp_path)
    asked = read_document((tmp_path / "asked.json").read_bytes(), BenchRequest)
    written = msgspec.json.encode(an_executor(tmp_path, "").request_of(a_unit()))
    assert asked == read_document(written, BenchRequest)
    assert asked.issue == {"id": "7", "title": "t", "x": [1]}
    assert (asked.n_candidates, asked.limit_seconds, asked.seed, asked.repeat) == (2, 0.5, 5, 3)
    assert (asked.gates, asked.gate_seconds) == ({"test": "pytest -q"}, 0.5)
    assert asked.repository == str(tmp_path)


def test_an_issues_own_gates_replace_the_configured_ones(tmp_path: Path) -> None:
    unit = a_unit()
    unit.case.issue["dk_quality_gates"] = {"lint": "ruff check ."}
    assert an_executor(tmp_path, "").request_of(unit).gates == {"lint": "ruff check ."}


def test_the_command_inherits_the_environment_but_no_place_of_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "told")
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    script = "import os; assert os.environ['SOME_KEY'] == 'told' and 'GIT_DIR' not in os.environ;"
    assert run(tmp_path, script + replying()).status == "passed"


def test_a_timeout_is_an_answer_and_counts_as_cut_off(tmp_path: Path) -> None:
    late = {"status": "timeout", "winner": None, "attempts": [], "gates": [], "metrics": {}}
    result = run(tmp_path, replying(**late))
    assert (result.status, result.is_censored) == ("timeout", True)
    assert result.metrics == {"overall": 0.0, "duration_ms": 20.0}
    assert result.agent_ms is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"duration_ms": 900_000}, "duration_ms 900000, but it ran for"),
        ({"agent_ms": 2_000}, "agent_ms 2000, at most 1600"),
        ({"attempts": [REPLY["attempts"][0] | {"duration_ms": 801}]}, "attempt 1 took 801 ms"),
        (
            {"attempts": [REPLY["attempts"][0] | {"attempt": n, "duration_ms": 700} for n in (1, 2, 3)]},
            "agent_ms 2100, at most 1600",
        ),
        ({"attempts": [REPLY["attempts"][0]] * 2}, "two attempts have one number"),
        ({"winner": 3}, "winner 3 is none of its attempts"),
        ({"winner": None}, "its winner is no attempt that passed"),
        ({"attempts": [REPLY["attempts"][0] | {"is_passed": False}]}, "no attempt that passed"),
        ({"gates": [{"name": "lint", "passed": False}]}, "passed, but gates failed: lint"),
        ({"is_censored": True}, "ended by a limit before"),
        ({"status": "failed"}, "failed, but its winner passed"),
        ({"status": "infra_error"}, "$.status"),
        ({"duration_ms": ...}, "duration_ms"),
        ({"duration_ms": -1}, "$.duration_ms"),
        ({"cost_usd": -0.5}, "$.cost_usd"),
        ({"extra": 1}, "unknown field `extra`"),
        ({"schema_version": "cyntra.bench_reply.v2"}, "$.schema_version"),
    ],
)  # fmt: skip
def test_a_reply_that_cannot_be_is_refused(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    assert why in refusal(tmp_path, replying(**changes))


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("pass", "no reply"),
        ("print('{\"status\": ')", "cyntra.bench_reply.v1: $: Input data was truncated"),
        ("print('[1]')", "expected an object"),
        ("print('NaN')", "bench_reply"),
        ("raise KeyError('no such model')", "exit code 1; stderr: "),
        ("import os; os.kill(os.getpid(), 9)", "exit code -9"),
        ("import sys; sys.stderr.write('a\\nb\\n'); sys.exit(3)", "exit code 3; stderr: a b"),
        ("import sys; sys.stdout.write('x' * (5 << 20))", "a reply of over 4194304 bytes"),
    ],
)
def test_an_orchestrator_that_fails_is_the_harnesss_failure(
    tmp_path: Path, script: str, why: str
) -> None:
    assert why in refusal(tmp_path, script)


def test_a_command_that_is_not_there_is_said_before_and_when_it_runs(tmp_path: Path) -> None:
    executor = CommandExecutor(("no-such-program",), repository=tmp_path, config=CONFIG)
    assert executor.why_not(a_unit().case) == "no executable no-such-program is found"
    with pytest.raises(HarnessError, match="it does not start"):
        executor.run(a_unit())
    assert an_executor(tmp_path, "").why_not(a_unit().case) is None
    assert "no directory" in str(an_executor(tmp_path / "gone", "").why_not(a_unit().case))


HIDING = """
import os, subprocess, sys, time
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
moved = subprocess.Popen([sys.executable, '-c', child], start_new_session=True)
stayed = subprocess.Popen([sys.executable, '-c', child])
open('pids', 'w').write(f'{moved.pid} {stayed.pid} {os.getpid()}')
time.sleep(SECONDS)
"""


def _is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("seconds", ["0", "60"])
def test_nothing_is_left_of_a_command_that_ended_or_hung(tmp_path: Path, seconds: str) -> None:
    began = time.monotonic()
    child = run_child(
        (sys.executable, "-c", HIDING.replace("SECONDS", seconds)), cwd=tmp_path,
        limit_seconds=1.5, grace_seconds=0.2,
    )  # fmt: skip
    assert time.monotonic() - began < 6
    assert child.is_late == (seconds == "60")
    assert child.n_killed == (3 if child.is_late else 2)
    assert not any(map(_is_alive, map(int, (tmp_path / "pids").read_text().split())))


def test_no_answer_in_time_is_the_harnesss_failure(tmp_path: Path) -> None:
    began = time.monotonic()
    said = refusal(
        tmp_path, "import time, sys; print('busy', file=sys.stderr, flush=True); time.sleep(60)",
        overhead_seconds=-1.0,
    )  # fmt: skip
    assert said == "command: no answer within 0.5 s; stderr: busy"
    assert time.monotonic() - began < 5


def test_a_large_request_reaches_a_command_that_reads_it_late_or_not_at_all(tmp_path: Path) -> None:
    unit = a_unit()
    unit.case.issue["description"] = "x" * 1_000_000
    for reading in ("import time; time.sleep(0.2);", "import sys; sys.stdin.close();"):
        script = reading + replying().replace("sys.stdin.read()", "len(sys.argv)")
        (result,) = an_executor(tmp_path, script).run(unit)
        assert result.status == "passed"


def test_the_worst_case_is_every_attempt_and_every_gate_to_its_limit(tmp_path: Path) -> None:
    spend = an_executor(tmp_path, "", usd_per_minute=0.1).worst_case(a_unit())
    assert (spend.attempts, round(spend.agent_minutes, 9)) == (2, 48.0)
    assert spend.wall_seconds == 0.5 + 2 * 0.5 + 20.0
    assert spend.cost_usd == pytest.approx(4.8)
    alone = msgspec.structs.replace(
        a_unit(), action=Action("serial_handoff", 1, 15, "NA"), n_candidates=1
    )
    assert an_executor(tmp_path, "").worst_case(alone).attempts == CONFIG.handoffs
    assert an_executor(tmp_path, "").worst_case(a_unit()).cost_usd is None


def test_versions_are_asked_once_and_a_reply_must_not_contradict_them(tmp_path: Path) -> None:
    count = f"open({str(tmp_path / 'asked')!r}, 'a').write('x')"
    command = ("{python}", "-c", f"print('3.1'); {count}")
    executor = an_executor(tmp_path, replying(), version_command=command)
    assert executor.versions() == executor.versions() == {"command": "3.1"}
    assert (tmp_path / "asked").read_text() == "x"
    assert an_executor(tmp_path, "").versions() == {"command": "unknown"}
    silent = an_executor(tmp_path, "", version_command=("no-such-program",))
    assert silent.versions() == {"command": "unknown"}
    script = replying(toolchain_versions={"command": "4.0"})
    assert "command says it is 4.0, not 3.1" in refusal(tmp_path, script, version_command=command)
