"""The ``cyntra`` executor against a command line that behaves as formats 1 to 7 say."""

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from planner_pipeline.bench.config import BenchConfig, BenchConfigError, Limits, Toolchain
from planner_pipeline.bench.executors.cyntra import CyntraExecutor, CyntraSettings
from planner_pipeline.bench.protocol import Case, Executor, HarnessError, Result, Unit
from planner_pipeline.sample.settings import config_yaml
from planner_pipeline.sources.workspace import read_workspace
from planner_runtime.actions import NA, Action
from planner_runtime.inputs import blank_planner_input

STUB = Path(__file__).parents[2] / "fixtures" / "stub_cyntra.py"
SETTINGS = CyntraSettings(command=("{python}", str(STUB)), grace_seconds=30.0)
CONFIG = BenchConfig(
    minute_seconds=1 / 15, gate_seconds=0.01, limits=Limits(grace_seconds=0.3), default_minutes=60
)
SERIAL, PAIR = Action("serial_handoff", 1, 15, NA), Action("speculate_vote", 2, 15, NA)
ISSUE = {"id": "7", "title": "Fix it", "status": "done", "dk_attempts": "3", "tags": []}
OTHERS = [{"id": "1", "title": "blocks", "status": "open"}, {"id": "8", "status": "ready"}]


def git(repo: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=e@x")
    done = subprocess.run(
        ("git", "-C", str(repo), *identity, *arguments), check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a past, and with what is not committed."""
    repo = tmp_path_factory.mktemp("cyntra") / "workspace"
    write(repo / "src" / "main.py", "print(1)\n")
    write(repo / ".cyntra" / "archives" / "wc-1-20260101T000000Z" / "manifest.json", "{}")
    write(repo / ".cyntra" / "config.yaml", "planner: {mode: enforce}\n")
    git(repo.parent, "init", "-q", "-b", "trunk", str(repo))
    git(repo, "add", "-A", "-f")
    git(repo, "commit", "-q", "-m", "one")
    write(repo / "src" / "main.py", "print(2)\n")
    git(repo, "commit", "-q", "-a", "-m", "two")
    write(repo / ".cyntra" / "shared.yaml", config_yaml())
    write(repo / ".cyntra" / "config.yaml", "include: shared.yaml\nplanner: {mode: enforce}\n")
    write(
        repo / ".cyntra" / "logs" / "events.jsonl", '{"type": "issue.started", "issue_id": "7"}\n'
    )
    write(repo / ".beads" / "issues.jsonl", "".join(json.dumps(one) + "\n" for one in OTHERS))
    write(repo / ".beads" / "deps.jsonl", '{"from": "1", "to": "7"}\n{"from": "1", "to": "8"}\n')
    write(repo / "prompts" / "plan.md", "think\n")
    write(repo / "universes" / "medica" / "universe.yaml", "universe_id: medica\n")
    write(repo / "universes" / "medica" / "stub.json", json.dumps({"passed": [[False], [True]]}))
    return repo


def tree_hash(folder: Path) -> str:
    """Of every name, mode and byte below a folder, git's own files included."""
    digest = sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(f"{path.relative_to(folder)} {path.lstat().st_mode}".encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module", autouse=True)
def _untouched(workspace: Path) -> Any:
    """Whatever is run: the user's workspace is the same bytes afterwards."""
    before = tree_hash(workspace)
    yield
    assert tree_hash(workspace) == before


class Bench:
    """An executor of the shared workspace, with a place of its own for what it keeps."""

    def __init__(self, workspace: Path, place: Path) -> None:
        self.workspace, self.keep, self.scratch = workspace, place / "keep", place / "scratch"
        self.scratch.mkdir()
        self.executor = self.with_settings(SETTINGS)

    def with_settings(self, settings: CyntraSettings) -> CyntraExecutor:
        return CyntraExecutor(
            self.workspace, config=CONFIG, keep=self.keep, settings=settings, scratch=self.scratch
        )

    def run(self, action: Action, name: str = "0" * 16, **issue: Any) -> Result:
        (result,) = self.executor.run(a_unit(action, name, **issue))
        assert not list(self.scratch.iterdir())
        return result

    def refusal(self, action: Action, **issue: Any) -> str:
        with pytest.raises(HarnessError) as refused:
            self.executor.run(a_unit(action, **issue))
        assert not list(self.scratch.iterdir())
        return str(refused.value)


@pytest.fixture
def bench(workspace: Path, tmp_path: Path) -> Bench:
    return Bench(workspace, tmp_path)


def a_case(**changes: Any) -> Case:
    fields = {
        "case_id": "7@then", "issue_id": "7", "job_type": "code", "issue": ISSUE,
        "planner_input": blank_planner_input(), "input_hash": "0" * 64, "baseline": SERIAL,
    }  # fmt: skip
    return Case(**fields | changes)


def a_unit(action: Action, name: str = "0" * 16, case: Case | None = None, **stub: Any) -> Unit:
    fields = {key: stub.pop(key) for key in ("dk_tool_hint", "dk_risk") if key in stub}
    return Unit(
        unit_id=name, case=case or a_case(issue={**ISSUE, **fields, "stub": stub}), action=action,
        repeat=0, seed=11, n_candidates=CONFIG.n_candidates(action),
        limit_seconds=CONFIG.limit_seconds(action),
    )  # fmt: skip


def test_one_that_passes_has_all_that_the_kernel_tells(bench: Bench) -> None:
    executor: Executor = bench.executor
    assert executor.why_not(a_case()) is None
    result = bench.run(SERIAL, dk_tool_hint="codex", work_ms={"codex": 120})
    assert (result.status, result.is_censored, result.reason) == ("passed", False, None)
    assert [(gate.name, gate.passed) for gate in result.gates] == [
        ("lint", True), ("test", True), ("typecheck", True),
    ]  # fmt: skip
    (attempt,) = result.attempts
    assert (attempt.attempt, attempt.toolchain, attempt.status) == (1, "codex", "success")
    assert (attempt.duration_ms, attempt.is_passed, attempt.exit_code) == (120, True, 0)
    assert str(attempt.workcell_id).startswith("wc-7-")
    assert (result.winner, result.agent_ms, result.cost_usd) == (1, 120, 0.25)
    assert result.duration_ms is not None
    assert 120 <= result.duration_ms < 5_000
    assert result.metrics == {
        "overall": 1.0, "duration_ms": float(result.duration_ms), "cost_usd": 0.25,
    }  # fmt: skip
    assert (result.isolation, result.base_commit) == (
        "none",
        git(bench.workspace, "rev-parse", "HEAD"),
    )


def test_what_ran_is_kept_as_a_workspace_that_can_be_read(bench: Bench, tmp_path: Path) -> None:
    bench.run(SERIAL, name="a" * 16)
    bench.run(SERIAL, name="a" * 16, endings={"claude": "gates_failed"})
    assert sorted(path.name for path in bench.keep.iterdir()) == ["a" * 16, "a" * 16 + ".2"]
    kept = read_workspace(bench.keep / ("a" * 16), tmp_path / "store")
    assert kept.quarantine.is_empty()
    assert (len(kept.archives.live_table()), len(kept.dispatches), len(kept.issues)) == (1, 1, 3)
    assert (bench.keep / ("a" * 16) / "kernel-stderr.log").read_bytes() == b""
    now = json.loads(
        (bench.keep / ("a" * 16 + ".2") / ".beads/issues.jsonl").read_text().splitlines()[-1]
    )
    assert (now["status"], now["dk_attempts"]) == ("escalated", "3")


@pytest.mark.parametrize(
    ("ending", "status", "attempt", "codes"),
    [
        ("gates_failed", "failed", "success", ("lint",)),
        ("partial", "failed", "partial", ("lint",)),
        ("exit_2", "failed", "failed", ("status:failed",)),
        ("forbidden", "failed", "success", ("forbidden_path",)),
        ("exception", "error", "error", ("error",)),
    ],
)
def test_one_that_does_not_pass_says_how_it_failed(
    bench: Bench, ending: str, status: str, attempt: str, codes: tuple[str, ...]
) -> None:
    result = bench.run(SERIAL, endings={"claude": ending})
    assert (result.status, result.metrics["overall"]) == (status, 0.0)
    assert [one.status for one in result.attempts] == [attempt]
    assert result.attempts[0].failed_gates == codes
    assert not result.attempts[0].is_passed
    assert result.reason == ", ".join(codes)
    assert not result.is_censored


@pytest.mark.parametrize("toolchain", ["claude", "crush"])
def test_a_timeout_takes_the_actions_time_whether_or_not_the_toolchain_logs(
    bench: Bench, toolchain: str
) -> None:
    result = bench.run(SERIAL, dk_tool_hint=toolchain, endings={toolchain: "timeout"})
    assert (result.status, result.is_censored) == ("timeout", True)
    assert [one.status for one in result.attempts] == ["timeout"]
    assert result.agent_ms is not None
    assert 1_000 <= result.agent_ms < 1_100
    assert result.cost_usd is None


def test_a_winner_among_several_is_told_and_of_the_losers_nothing_is_claimed(bench: Bench) -> None:
    result = bench.run(
        Action("speculate_vote", 3, 30, NA),
        endings={"codex": "gates_failed", "claude": "passed", "opencode": "exit_2"},
    )
    assert (result.status, result.winner) == ("passed", 2)
    assert [(one.attempt, one.toolchain) for one in result.attempts] == [(2, "claude")]
    assert (result.agent_ms, result.cost_usd, result.harness_ms) == (None, None, None)
    assert result.reason == "of 2 of 3 attempts the kernel keeps nothing"


def test_when_all_fail_the_first_is_what_the_kernel_keeps(bench: Bench) -> None:
    result = bench.run(PAIR, endings={"codex": "exit_2", "claude": "gates_failed"})
    assert (result.status, result.winner) == ("failed", 1)
    assert result.attempts[0].failed_gates == ("status:failed",)


def test_a_timeout_of_the_kept_candidate_is_a_timeout(bench: Bench) -> None:
    result = bench.run(PAIR, endings={"codex": "timeout", "claude": "timeout"})
    assert (result.status, result.is_censored) == ("timeout", True)


def test_one_candidate_that_speculates_is_known_entirely(bench: Bench) -> None:
    result = bench.run(Action("speculate_vote", 1, 15, NA), work_ms={"codex": 30})
    assert (result.status, result.agent_ms, result.cost_usd) == ("passed", 30, 0.25)


def test_a_hint_competes_first_and_adds_no_candidate(bench: Bench) -> None:
    result = bench.run(PAIR, dk_tool_hint="crush", dk_risk="high", endings={"codex": "exit_2"})
    assert [(one.attempt, one.toolchain) for one in result.attempts] == [(1, "crush")]
    assert result.reason == "of 1 of 2 attempts the kernel keeps nothing"


def test_a_dynamics_report_does_not_change_the_number(bench: Bench) -> None:
    result = bench.run(Action("speculate_vote", 3, 15, NA), dk_risk="critical", rate=0.9)
    assert result.status == "passed"


def test_a_missing_toolchain_gives_way_to_another_one(bench: Bench) -> None:
    result = bench.run(PAIR, available=["claude", "crush"], endings={"claude": "exit_2"})
    assert (result.status, result.attempts[0].toolchain) == ("passed", "crush")
    alone = bench.run(SERIAL, available=["codex"])
    assert (alone.status, alone.attempts[0].toolchain) == ("passed", "codex")


def test_too_few_toolchains_are_no_label_but_say_what_ran(bench: Bench) -> None:
    result = bench.run(PAIR, available=["crush"])
    assert (result.status, result.is_censored) == ("infra_error", False)
    assert result.reason == (
        "wanted speculate_vote of 2, 1 s, executed speculate_vote of 1, 1 s: only crush is "
        "available; it passed"
    )
    assert [one.toolchain for one in result.attempts] == ["crush"]


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("crash", "KeyError: 'toolchain_config'"),
        ("create", "a workcell was not created: git worktree add failed"),
        ("planless", "does not tell which plan ran"),
        ("other_plan", "wanted serial_handoff of 1, 1 s, executed serial_handoff of 1, 2 s"),
        ("no_logs", "it left no archive that tells what came of the issue"),
    ],
)
def test_a_kernel_that_fails_or_does_something_else_gives_no_label(
    bench: Bench, damage: str, why: str
) -> None:
    said = bench.refusal(SERIAL, damage=damage)
    assert said.startswith("cyntra run: ")
    assert why in said
    assert "\n" not in said
    assert (bench.keep / ("0" * 16) / "kernel-stderr.log").exists()


def test_a_kernel_without_any_toolchain_says_that_it_ran_nothing(bench: Bench) -> None:
    said = bench.refusal(PAIR, available=[])
    assert said == "cyntra run: it ran nothing; it said: no toolchain is available"


def test_an_exit_code_after_the_end_of_the_issue_does_not_unmake_its_outcome(bench: Bench) -> None:
    assert bench.run(SERIAL, damage="late_crash").status == "passed"


def test_an_unarchived_failure_is_what_the_log_tells(bench: Bench) -> None:
    late = bench.run(SERIAL, damage="no_logs", endings={"claude": "timeout"})
    assert (late.status, late.is_censored, late.attempts) == ("timeout", True, ())
    broken = bench.run(SERIAL, damage="no_logs", endings={"claude": "exception"})
    assert (broken.status, broken.agent_ms) == ("error", None)
    assert broken.reason == "adapter lost its process (simulated)"


def test_a_kernel_that_hangs_is_killed_with_all_it_started(bench: Bench) -> None:
    bench.executor = bench.with_settings(
        CyntraSettings(command=SETTINGS.command, grace_seconds=0.25, n_gates=0)
    )
    began = time.monotonic()
    said = bench.refusal(SERIAL, damage="hang")
    assert said.startswith("cyntra run: no answer within 1.25 s")
    assert time.monotonic() - began < 6


def test_units_at_the_same_time_do_not_disturb_each_other(bench: Bench) -> None:
    wanted = {
        "a" * 16: ("passed", SERIAL, {}),
        "b" * 16: ("failed", SERIAL, {"claude": "gates_failed"}),
        "c" * 16: ("passed", PAIR, {"codex": "exit_2"}),
        "d" * 16: ("failed", PAIR, {"codex": "exit_2", "claude": "exit_2"}),
    }
    units = [a_unit(action, name, endings=ends) for name, (_, action, ends) in wanted.items()]
    with ThreadPoolExecutor(4) as pool:
        results = dict(zip(wanted, pool.map(bench.executor.run, units), strict=True))
    assert {name: one[0].status for name, one in results.items()} == {
        name: status for name, (status, _, _) in wanted.items()
    }
    assert {path.name for path in bench.keep.iterdir()} == set(wanted)
    assert not list(bench.scratch.iterdir())


def test_a_case_starts_from_its_own_commit_and_keeps_no_way_back(bench: Bench) -> None:
    first = git(bench.workspace, "rev-parse", "HEAD~1")
    probe = (
        "import subprocess, pathlib; g = lambda *a: subprocess.run(('git', *a), text=True,"
        "capture_output=True).stdout; "
        "pathlib.Path('.cyntra/seen').write_text(repr([pathlib.Path('src/main.py').read_text(),"
        "g('remote'), g('branch', '--show-current'), g('rev-parse', 'HEAD'),"
        "sorted(str(p) for p in pathlib.Path('.').glob('.cyntra/*')),"
        "pathlib.Path('.beads/deps.jsonl').read_text(), pathlib.Path('prompts/plan.md').exists()]))"
    )
    bench.executor = bench.with_settings(
        CyntraSettings(command=("{python}", "-c", probe), run_command=())
    )
    with pytest.raises(HarnessError, match="it ran nothing"):
        bench.executor.run(a_unit(SERIAL, case=a_case(base_commit=first)))
    seen = (bench.keep / ("0" * 16) / ".cyntra/seen").read_text()
    assert seen == repr(
        ["print(1)\n", "", "main\n", f"{first}\n", [".cyntra/config.yaml"],
         '{"from": "1", "to": "8"}\n', True]
    )  # fmt: skip


def a_world(**changes: Any) -> Case:
    fields = {"case_id": "world:outora@then", "issue_id": "world:outora", "job_type": "fab-world"}
    return a_case(**fields | changes)


def test_a_world_is_evolved_with_the_actions_population_and_generations(bench: Bench) -> None:
    unit = a_unit(Action("speculate_vote", 2, 60, 2), case=a_world())
    assert bench.executor.why_not(unit.case) is None
    (result,) = bench.executor.run(unit)
    assert (result.status, result.winner, result.cost_usd) == ("passed", 3, None)
    assert result.metrics == {"overall": 0.9, "duration_ms": 40.0, "hard_failures": 0.0}
    assert [one.is_passed for one in result.attempts] == [False, False, True, True]
    assert [(gate.name, gate.passed) for gate in result.gates] == [("interior", True)]
    assert result.duration_ms == result.agent_ms
    (folder,) = (bench.keep / ("0" * 16) / ".cyntra/runs").glob("evolve_world_outora_*")
    told = json.loads((folder / "evolve_world.json").read_text())
    assert (told["seed"], told["generations"], told["population_size"]) == (11, 2, 2)


def test_a_world_none_of_whose_candidates_passes_has_failed(bench: Bench) -> None:
    (result,) = bench.executor.run(a_unit(Action("serial_handoff", 1, 60, 1), case=a_world()))
    assert (result.status, result.winner, result.metrics) == ("failed", None, {"overall": 0.0})
    assert result.reason == "no candidate passed"
    assert len(result.attempts) == 1


@pytest.fixture
def scripted(bench: Bench, tmp_path: Path) -> Any:
    """A bench whose workspace's universe does what it is told."""

    def of(**script: Any) -> Bench:
        copied = tmp_path / "scripted"
        git(tmp_path, "clone", "-q", str(bench.workspace), str(copied))
        write(copied / "universes/medica/universe.yaml", "universe_id: medica\n")
        write(copied / "universes/medica/stub.json", json.dumps({"passed": [[True]], **script}))
        bench.workspace = copied
        bench.executor = bench.with_settings(SETTINGS)
        return bench

    return of


def test_an_evolution_that_is_not_over_in_time_is_killed_and_a_timeout(scripted: Any) -> None:
    bench = scripted(damage="hang")
    began = time.monotonic()
    (result,) = bench.executor.run(a_unit(Action("serial_handoff", 1, 15, 1), case=a_world()))
    assert time.monotonic() - began < 6
    assert (result.status, result.is_censored) == ("timeout", True)
    assert result.duration_ms is not None
    assert 1_000 <= result.duration_ms < 3_000


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("crash", "RuntimeError: blender is not installed"),
        (
            "other_population",
            "wanted ('medica', 'outora', 1, 3), it ran ('medica', 'outora', 2, 3)",
        ),
    ],
)
def test_an_evolution_that_fails_or_is_another_one_gives_no_label(
    scripted: Any, damage: str, why: str
) -> None:
    bench = scripted(damage=damage)
    with pytest.raises(HarnessError) as refused:
        bench.executor.run(a_unit(Action("serial_handoff", 1, 60, NA), case=a_world()))
    assert why in str(refused.value)


def test_what_cannot_run_is_said_before_it_runs(bench: Bench, tmp_path: Path) -> None:
    executor = bench.with_settings(CyntraSettings(command=("no-such-cyntra",)))
    assert executor.why_not(a_case()) == "no executable no-such-cyntra is found"
    bare = CyntraExecutor(tmp_path, config=CONFIG, keep=bench.keep, settings=SETTINGS)
    assert "is no git repository" in str(bare.why_not(a_case()))
    assert "with commit 12ab" in str(bench.executor.why_not(a_case(base_commit="12ab")))
    elsewhere = a_world(planner_input={"universe_id": "other"})
    assert "no universe 'other'" in str(bench.executor.why_not(elsewhere))
    assert "no swarm tournament" in bench.refusal(Action("tournament", 2, 15, NA))


def test_a_broken_configuration_is_the_harnesss_failure(scripted: Any) -> None:
    bench = scripted()
    write(bench.workspace / ".cyntra/config.yaml", "routing: [")
    assert "bad_yaml" in bench.refusal(SERIAL)


def test_budgets_that_are_no_whole_seconds_are_refused_at_once(bench: Bench) -> None:
    with pytest.raises(BenchConfigError, match="counts whole seconds"):
        CyntraExecutor(bench.workspace, config=BenchConfig(minute_seconds=0.05), keep=bench.keep)


def test_versions_are_those_of_the_kernel_and_of_its_toolchains(bench: Bench) -> None:
    assert bench.executor.versions() == {"cyntra": "cyntra 0.0.0 (stub)"}
    tools = {
        "codex": Toolchain(command=("codex",), version_command=("{python}", "-c", "print(3)")),
        "claude": Toolchain(command=("claude",), version_command=("no-such-program",)),
    }
    executor = CyntraExecutor(
        bench.workspace, config=BenchConfig(toolchains=tools), keep=bench.keep,
        settings=CyntraSettings(command=("no-such-cyntra",)),
    )  # fmt: skip
    assert executor.versions() == {"cyntra": "unknown", "codex": "3", "claude": "unknown"}


def test_the_worst_case_counts_every_attempt_and_a_worlds_one_limit(bench: Bench) -> None:
    spend = bench.executor.worst_case(a_unit(PAIR))
    assert (spend.attempts, round(spend.agent_minutes, 6), spend.cost_usd) == (2, 30.0, None)
    assert spend.wall_seconds == pytest.approx(1 + 2 * 3 * 0.01 + 30)
    world = bench.executor.worst_case(a_unit(Action("speculate_vote", 2, 60, 5), case=a_world()))
    assert (world.attempts, round(world.agent_minutes, 6), world.wall_seconds) == (10, 60.0, 4.0)
